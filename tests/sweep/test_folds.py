"""--fold all: one run per fold, the scores of all together, and resuming a series that was stopped."""

import re
import shutil
import signal

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from analysis.results import read_predictions
from tests.support.drawn import QUICK, SEVEN, classes_in_columns, flags, stop_at_step, truth, write_colours
from tests.support.rescored import rows_of, scores_of
from tests.support.resuming import assert_same_end, call, one_line, resume, send, snapshot
from tests.support.tools import RANDOM_CLIP, ROOT, Run, error_of, run_ok
from utils.errors import UserError

FOLDS = [f"fold-{fold}" for fold in range(1, 6)]
RECIPE = "@recipes/data/dfew.args"
LEARN = (
    "--model dfer-clip --optimizer AdamW --lr 3e-3 --lr-image-encoder 3e-3 --lr-prompt-learner 1e-2 --normalize clip"
)
EVAL = [*RANDOM_CLIP, *"--device cpu --workers 0 --mode eval --eval-checkpoint".split()]
TWICE = ["--epochs", "2", "--batch-size", "4", "--temperature", "0.05", "--num-segments", "1"]
STEPS = 6  # of an epoch of the first two folds: 21 or 24 clips without those for validation, 4 per step
IN_FOLD_2 = 2 * STEPS + STEPS + 2  # a step in the second epoch of fold 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_colours(tmp_path_factory.mktemp("colours") / "set")


@pytest.fixture(scope="module")
def words(root):
    return [*LEARN.split(), RECIPE, "--root-dir", str(root), *QUICK, *TWICE]


@pytest.fixture(scope="module")
def series(words, tmp_path_factory):
    return run_ok(words, tmp_path_factory.mktemp("series") / "run")


def stop_in_step(step, number, *arguments, folder=None):
    with pytest.MonkeyPatch.context() as patch:
        stop_at_step(patch, step, send(number))
        run = call(*arguments, folder=folder)
    assert run.status == 128 + number, run.err
    return run


@pytest.fixture(scope="module")
def stopped(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped") / "run"
    return stop_in_step(IN_FOLD_2, signal.SIGTERM, *words, "--output-dir", folder, folder=folder)


def member(series, name):
    return Run(0, series.folder / name, "", "")


def test_every_fold_has_a_folder_with_its_own_test_clips(series, root):
    assert sorted(path.name for path in series.folder.glob("*/") if path.name != "tensorboard") == FOLDS
    for fold, name in enumerate(FOLDS, 1):
        assert {row["clip"]: row["label"] for row in rows_of(series.folder / name)} == truth("dfew", root, fold)
        assert len(member(series, name).history) == 2 and (series.folder / name / "best.pt").exists()


def test_the_folds_differ_and_learn_something(series):
    """Otherwise the tests below would also pass for runs that always predict the same class."""
    assert len({row["predicted"] for row in rows_of(series.folder)}) > 4
    assert len({member(series, name).metrics["uar"] for name in FOLDS}) > 1


def test_pooled_scores_are_those_of_all_predictions_together(series):
    rows = [row for name in FOLDS for row in rows_of(series.folder / name)]
    key = lambda row: (row["clip"], row["label"], row["predicted"], *(row[f"logit_{name}"] for name in SEVEN))  # noqa: E731
    assert sorted(map(key, rows_of(series.folder))) == sorted(map(key, rows)) and len(rows) == 38
    for name, value in scores_of(rows).items():
        assert series.metrics[name] == pytest.approx(value, abs=1e-9), name
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    assert series.metrics["confusion"] == confusion_matrix(labels, predicted, labels=SEVEN).tolist()
    assert series.metrics["num_clips"] == 38 and series.metrics["selected_on"] == "val"
    assert {name: series.metrics["per_class"][name]["support"] for name in SEVEN} == {n: labels.count(n) for n in SEVEN}


def test_means_and_deviations_are_over_the_folds(series):
    by_fold = [scores_of(rows_of(series.folder / name)) for name in FOLDS]
    assert list(series.metrics["runs"]) == FOLDS
    for name in ("uar", "war", "macro_f1"):
        values = [scores[name] for scores in by_fold]
        assert [series.metrics["runs"][fold][name] for fold in FOLDS] == pytest.approx(values)
        assert [member(series, fold).metrics[name] for fold in FOLDS] == pytest.approx(values)
        assert series.metrics[f"{name}_mean"] == pytest.approx(np.mean(values))
        assert series.metrics[f"{name}_sd"] == pytest.approx(np.std(values, ddof=1))


def test_the_screen_shows_the_scores_of_metrics_json(series):
    for name in FOLDS:
        uar, war = re.search(rf"^{name} +UAR +([\d.]+) +WAR +([\d.]+)", series.out, re.M).groups()
        scores = series.metrics["runs"][name]
        assert (uar, war) == (f"{scores['uar']:.2f}", f"{scores['war']:.2f}")
    mean = f"{series.metrics['uar_mean']:.2f} ± {series.metrics['uar_sd']:.2f}"
    assert mean in next(line for line in series.out.splitlines() if "mean of 5 runs" in line)


def test_evaluation_of_every_fold_repeats_the_scores_to_the_last_digit(series, words, tmp_path):
    data = words[words.index(RECIPE) :][:3]
    run = run_ok([*EVAL, str(series.folder / "fold-{fold}/best.pt"), *data], tmp_path / "run")
    for name in (".", *FOLDS):
        expected, predictions = ((f / name / "predictions.csv").read_bytes() for f in (series.folder, run.folder))
        assert predictions == expected, name
    same = ("uar", "war", "macro_f1", "confusion", "runs", "uar_mean", "uar_sd", "war_mean", "macro_f1_sd")
    assert {key: run.metrics[key] for key in same} == {key: series.metrics[key] for key in same}


def test_a_stopped_series_prints_how_to_resume_and_has_no_score_yet(stopped):
    assert not (stopped.folder / "metrics.json").exists()
    assert (stopped.folder / "fold-1/metrics.json").exists() and not (stopped.folder / "fold-2/metrics.json").exists()
    assert not (stopped.folder / "fold-3").exists()
    last_lines = (stopped.out + stopped.err).splitlines()[-3:]
    assert any("--resume" in line and str(stopped.folder) in line for line in last_lines), last_lines


def test_a_resumed_series_ends_like_one_that_was_never_stopped(series, stopped, tmp_path):
    folder = shutil.copytree(stopped.folder, tmp_path / "run")
    first = snapshot(folder / "fold-1")
    run = resume(folder)
    assert snapshot(folder / "fold-1") == first
    assert "epoch   1" not in run.out.split("fold-3:")[0], "fold 2 went on inside its second epoch"
    for name in FOLDS:
        assert_same_end(folder / name, series.folder / name)
    assert (folder / "predictions.csv").read_bytes() == (series.folder / "predictions.csv").read_bytes()
    assert run.metrics == series.metrics


def test_a_finished_series_is_scored_again_and_nothing_is_trained(series, tmp_path):
    folder = shutil.copytree(series.folder, tmp_path / "run")
    before = {name: snapshot(folder / name) for name in FOLDS}
    run = call("--resume", folder, "--workers", "0", folder=folder).ok()
    assert {name: snapshot(folder / name) for name in FOLDS} == before
    assert run.metrics == series.metrics


def test_more_epochs_are_for_every_fold_and_are_remembered(series, stopped, tmp_path):
    """Fold 1 was complete with two epochs; after another stop, the series continues to three epochs."""
    folder = shutil.copytree(stopped.folder, tmp_path / "run")
    stop_in_step(STEPS + 3, signal.SIGINT, "--resume", folder, "--epochs", "3")
    resume(folder)
    for name in FOLDS:
        history = Run(0, folder / name, "", "").history
        assert [line["epoch"] for line in history] == [1, 2, 3]
        assert history[1]["train/loss"] == member(series, name).history[1]["train/loss"]


@pytest.mark.parametrize("option", [["--lr", "0.5"], ["--batch-size", "2"], ["--seed", "3"], ["--temperature", "0.5"]])
def test_a_series_cannot_be_resumed_with_other_options(option, stopped, tmp_path):
    """Otherwise folds that have not started would use them without a message."""
    folder = shutil.copytree(stopped.folder, tmp_path / "run")
    shutil.rmtree(folder / "fold-2")
    message = one_line(call("--resume", folder, *option))
    assert option[0] in message and str(folder) in message and not (folder / "fold-2").exists()


def test_a_folder_without_a_series_gives_a_one_line_error(words, series, tmp_path):
    assert "no series" in one_line(call(*words, "--resume", tmp_path))
    assert "no series" in one_line(call(*words, "--resume", series.folder / "fold-1"))


def test_auto_resumes_the_series_or_begins_it(words, series, stopped, tmp_path, monkeypatch):
    """The same command can be repeated until it is complete, as on clusters."""
    monkeypatch.chdir(tmp_path)
    again = [f"@{ROOT / word[1:]}" if word.startswith("@") else word for word in words] + ["--resume", "auto"]
    stop_in_step(IN_FOLD_2, signal.SIGTERM, *again, "--exper-name", "mine")
    assert call(*again, "--exper-name", "mine").status == 0
    (folder,) = (tmp_path / "outputs").glob("mine-*")
    assert (folder / "predictions.csv").read_bytes() == (series.folder / "predictions.csv").read_bytes()
    copy = shutil.copytree(stopped.folder, tmp_path / "copy")
    run = call(*again, "--output-dir", copy, folder=copy)
    assert run.status == 0 and run.metrics == series.metrics
    assert "--seed 9" in one_line(call(*again, "--output-dir", copy, "--seed", "9"))


@pytest.mark.parametrize(("fold", "part"), [("6", "DFEW_set_6_train.txt"), ("0", "DFEW_set_0_train.txt")])
def test_a_fold_without_lists_gives_a_one_line_error(fold, part, words, tmp_path, capsys):
    assert part in error_of([*words, "--fold", fold, "--output-dir", str(tmp_path / "run")], capsys)


def test_a_missing_list_of_a_later_fold_is_found_before_the_first_is_trained(words, root, tmp_path, capsys):
    shutil.copytree(root, tmp_path / "set")
    (tmp_path / "set/annotation/DFEW_set_4_test.txt").unlink()
    message = error_of([*words, "--root-dir", str(tmp_path / "set"), "--output-dir", str(tmp_path / "run")], capsys)
    assert "DFEW_set_4_test.txt" in message and not (tmp_path / "run/fold-1/best.pt").exists()


def test_folds_with_other_combinations_cannot_be_pooled(drawn, tmp_path, capsys):
    """The test lists of the folds hold different combinations; together with the training lists they are equal."""
    words = [*flags("mafw_compound", drawn("mafw")), "--fold", "all", "--mode", "zero-shot"]
    run = run_ok(words, tmp_path / "run")
    assert len({tuple(classes_in_columns(run.folder / name / "predictions.csv")) for name in FOLDS}) == 1
    test = "Train_Test_Set/compound/no_caption_new/set_{fold}/test.txt"
    test_only = [word for word in words if not word.startswith("@")] + "--dataset MAFW --label-type compound".split()
    folder = tmp_path / "test_only"
    message = error_of([*test_only, "--test-annotation", test, "--output-dir", str(folder)], capsys)
    assert "--train-annotation" in message and not folder.exists()


def test_predictions_of_different_classes_are_not_pooled(tmp_path):
    files = [tmp_path / "fold-1.csv", tmp_path / "fold-2.csv"]
    files[0].write_text("clip,label,logit_a,logit_b\nx,a,0.5,0.5\n")
    files[1].write_text("clip,label,logit_a,logit_b,logit_a_b\nx,a,0.5,0.5,0.5\n")
    assert read_predictions(files[:1]).names == ("a", "b")
    with pytest.raises(UserError, match=r"fold-2.*\(a_b\)"):
        read_predictions(files)


def test_several_processes_work_on_one_fold_at_a_time(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = error_of([*words, "--output-dir", str(tmp_path / "run")], capsys)
    assert "only in one process" in message and "torchrun" in message and "--fold N" in message
    assert not (tmp_path / "run").exists()
