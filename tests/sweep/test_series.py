"""--fold all: one run a fold, their scores together, and going on where a series was stopped."""

import re
import shutil
import signal

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from tests.support.drawn import QUICK, SEVEN, classes_in_columns, flags, stop_at_step, truth, write_colours
from tests.support.rescored import rows_of, scores_of
from tests.support.resuming import assert_same_end, call, one_line, send, snapshot
from tests.support.tools import RANDOM_CLIP, ROOT, Run, error_of, run_main

FOLDS = [f"fold-{fold}" for fold in range(1, 6)]
LEARN = (
    "--model dfer-clip --optimizer AdamW --lr 3e-3 --lr-image-encoder 3e-3 --lr-prompt-learner 1e-2 --normalize clip"
)
EVAL = [*RANDOM_CLIP, *"--device cpu --workers 0 --mode eval --eval-checkpoint".split()]
TWICE = ["--epochs", "2", "--batch-size", "4", "--temperature", "0.05", "--num-segments", "1"]
STEPS = 6  # of an epoch of the first two folds: 21 or 24 clips without those for validation, 4 a step


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_colours(tmp_path_factory.mktemp("colours") / "set")


@pytest.fixture(scope="module")
def words(root):
    return [*LEARN.split(), "@recipes/data/dfew.args", "--root-dir", str(root), *QUICK, *TWICE]


@pytest.fixture(scope="module")
def series(words, tmp_path_factory):
    run = run_main(words, tmp_path_factory.mktemp("series") / "run")
    assert run.status == 0, run.err
    return run


@pytest.fixture(scope="module")
def stopped(words, tmp_path_factory):
    """Stopped in the second epoch of fold 2."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_at_step(patch, 2 * STEPS + STEPS + 2, send(signal.SIGTERM))
        run = call(*words, "--output-dir", folder, folder=folder)
    assert run.status == 143, run.err
    return run


def member(series, name):
    return Run(0, series.folder / name, "", "")


def test_every_fold_has_a_folder_with_its_own_test_clips(series, root):
    assert sorted(path.name for path in series.folder.glob("*/") if path.name != "tensorboard") == FOLDS
    for fold, name in enumerate(FOLDS, 1):
        assert {row["clip"]: row["label"] for row in rows_of(series.folder / name)} == truth("dfew", root, fold)
        assert len(member(series, name).history) == 2 and (series.folder / name / "best.pt").exists()


def test_the_folds_differ_and_one_learns_something(series):
    """What follows would hold for runs that guess one class, too."""
    assert len({row["predicted"] for row in rows_of(series.folder)}) > 4
    assert len({member(series, name).metrics["uar"] for name in FOLDS}) > 1


def test_pooled_predictions_are_those_of_the_folds(series):
    parts = [row for name in FOLDS for row in rows_of(series.folder / name)]
    key = lambda row: (row["clip"], row["label"], row["predicted"], *(row[f"logit_{name}"] for name in SEVEN))  # noqa: E731
    assert sorted(map(key, rows_of(series.folder))) == sorted(map(key, parts)) and len(parts) == 38


def test_pooled_scores_are_those_of_all_clips_together(series):
    rows = [row for name in FOLDS for row in rows_of(series.folder / name)]
    for name, value in scores_of(rows).items():
        assert series.metrics[name] == pytest.approx(value, abs=1e-9), name
    true, guess = [row["label"] for row in rows], [row["predicted"] for row in rows]
    assert series.metrics["confusion"] == confusion_matrix(true, guess, labels=SEVEN).tolist()
    assert series.metrics["num_clips"] == 38
    for name in SEVEN:
        assert series.metrics["per_class"][name]["support"] == true.count(name)


def test_means_and_deviations_are_over_the_folds(series):
    by_fold = [scores_of(rows_of(series.folder / name)) for name in FOLDS]
    assert list(series.metrics["runs"]) == FOLDS
    for name in ("uar", "war", "macro_f1"):
        values = [scores[name] for scores in by_fold]
        assert [series.metrics["runs"][fold][name] for fold in FOLDS] == pytest.approx(values)
        assert [member(series, fold).metrics[name] for fold in FOLDS] == pytest.approx(values)
        assert series.metrics[f"{name}_mean"] == pytest.approx(np.mean(values))
        assert series.metrics[f"{name}_sd"] == pytest.approx(np.std(values, ddof=1))
    assert series.metrics["selected_on"] == "val"


def test_the_table_says_what_metrics_json_holds(series):
    for name in FOLDS:
        uar, war = re.search(rf"^{name} +UAR +([\d.]+) +WAR +([\d.]+)", series.out, re.M).groups()
        got = series.metrics["runs"][name]
        assert (uar, war) == (f"{got['uar']:.2f}", f"{got['war']:.2f}")
    mean = f"{series.metrics['uar_mean']:.2f} ± {series.metrics['uar_sd']:.2f}"
    assert mean in next(line for line in series.out.splitlines() if "mean of 5 runs" in line)


def test_evaluation_of_every_fold_repeats_the_scores_to_the_last_digit(series, words, tmp_path):
    data = words[words.index("@recipes/data/dfew.args") :][:3]
    run = run_main([*EVAL, str(series.folder / "fold-{fold}/best.pt"), *data], tmp_path / "run")
    assert run.status == 0, run.err
    for name in (".", *FOLDS):
        expected, got = ((folder / name / "predictions.csv").read_bytes() for folder in (series.folder, run.folder))
        assert got == expected, name
    same = ("uar", "war", "macro_f1", "confusion", "runs", "uar_mean", "uar_sd", "war_mean", "macro_f1_sd")
    assert {key: run.metrics[key] for key in same} == {key: series.metrics[key] for key in same}


def test_a_stopped_series_says_how_to_go_on_and_has_no_score_yet(stopped):
    assert not (stopped.folder / "metrics.json").exists()
    assert (stopped.folder / "fold-1/metrics.json").exists() and not (stopped.folder / "fold-2/metrics.json").exists()
    assert not (stopped.folder / "fold-3").exists()
    said = (stopped.out + stopped.err).splitlines()[-3:]
    assert any("--resume" in line and str(stopped.folder) in line for line in said), said


def test_a_resumed_series_ends_as_one_that_was_left_alone(series, stopped, tmp_path):
    folder = shutil.copytree(stopped.folder, tmp_path / "run")
    first = snapshot(folder / "fold-1")
    run = call("--resume", folder, folder=folder)
    assert run.status == 0, run.err
    assert snapshot(folder / "fold-1") == first
    assert "epoch   1" not in run.out.split("fold-3:")[0], "fold 2 went on inside its second epoch"
    for name in FOLDS:
        assert_same_end(folder / name, series.folder / name)
    assert (folder / "predictions.csv").read_bytes() == (series.folder / "predictions.csv").read_bytes()
    assert run.metrics == series.metrics


def test_a_finished_series_is_scored_again_and_nothing_is_trained(series, tmp_path):
    folder = shutil.copytree(series.folder, tmp_path / "run")
    before = {name: snapshot(folder / name) for name in FOLDS}
    run = call("--resume", folder, folder=folder)
    assert run.status == 0, run.err
    assert {name: snapshot(folder / name) for name in FOLDS} == before
    assert run.metrics == series.metrics


def test_more_epochs_are_for_every_fold_and_are_remembered(words, series, stopped, tmp_path):
    """Fold 1 was complete with two epochs; stopped again, the series goes on to three by itself."""
    folder = shutil.copytree(stopped.folder, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        stop_at_step(patch, STEPS + 3, send(signal.SIGINT))
        assert call("--resume", folder, "--epochs", "3", folder=folder).status == 130
    run = call("--resume", folder, folder=folder)
    assert run.status == 0, run.err
    for name in FOLDS:
        history = Run(0, folder / name, "", "").history
        assert [line["epoch"] for line in history] == [1, 2, 3]
        assert history[1]["train/loss"] == member(series, name).history[1]["train/loss"]


@pytest.mark.parametrize("more", [["--lr", "0.5"], ["--batch-size", "2"], ["--seed", "3"], ["--temperature", "0.5"]])
def test_a_series_goes_on_as_it_began(more, stopped, tmp_path):
    """Folds that were not begun yet would take other options without a word."""
    folder = shutil.copytree(stopped.folder, tmp_path / "run")
    shutil.rmtree(folder / "fold-2")
    message = one_line(call("--resume", folder, *more))
    assert more[0] in message and str(folder) in message and not (folder / "fold-2").exists()


def test_a_folder_without_a_series_is_one_line(words, series, tmp_path):
    assert "no series" in one_line(call(*words, "--resume", tmp_path))
    assert "no series" in one_line(call(*words, "--resume", series.folder / "fold-1"))


def test_auto_finds_the_series_or_begins_it(words, series, stopped, tmp_path, monkeypatch):
    """One command that is started again and again until it is done, as a cluster does."""
    monkeypatch.chdir(tmp_path)
    recipe = str(ROOT / "recipes/data/dfew.args")
    again = [f"@{recipe}" if word.startswith("@") else word for word in words] + ["--resume", "auto"]
    with pytest.MonkeyPatch.context() as patch:
        stop_at_step(patch, 2 * STEPS + STEPS + 2, send(signal.SIGTERM))
        assert call(*again, "--exper-name", "mine").status == 143
    assert call(*again, "--exper-name", "mine").status == 0
    (folder,) = (tmp_path / "outputs").glob("mine-*")
    assert (folder / "predictions.csv").read_bytes() == (series.folder / "predictions.csv").read_bytes()
    named = shutil.copytree(stopped.folder, tmp_path / "named")
    run = call(*again, "--output-dir", named, folder=named)
    assert run.status == 0 and run.metrics == series.metrics
    assert "--seed 9" in one_line(call(*again, "--output-dir", named, "--seed", "9"))


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--fold", "6"], ["DFEW_set_6_train.txt"]),
        (["--fold", "0"], ["DFEW_set_0_train.txt"]),
        (["--fold", "zwei"], ["--fold zwei"]),
    ],
)
def test_a_fold_that_is_not_there(more, parts, words, tmp_path, capsys):
    message = error_of([*words, *more, "--output-dir", str(tmp_path / "run")], capsys)
    assert all(part in message for part in parts)


def test_which_fold_is_asked_for(words, tmp_path, capsys):
    recipe = [word for word in words if word != "@recipes/data/dfew.args"]
    lists = "--dataset DFEW --train-annotation a/DFEW_{fold}_train.txt --test-annotation a/DFEW_{fold}_test.txt".split()
    message = error_of([*recipe, *lists, "--output-dir", str(tmp_path / "run")], capsys)
    assert "--fold" in message and "{fold}" in message and not (tmp_path / "run").exists()


def test_a_missing_list_of_a_later_fold_is_found_before_the_first_is_trained(words, root, tmp_path, capsys):
    shutil.copytree(root, tmp_path / "set")
    (tmp_path / "set/annotation/DFEW_set_4_test.txt").unlink()
    message = error_of([*words, "--root-dir", str(tmp_path / "set"), "--output-dir", str(tmp_path / "run")], capsys)
    assert "DFEW_set_4_test.txt" in message
    assert not (tmp_path / "run/fold-1/best.pt").exists()


def test_folds_with_other_combinations_cannot_be_pooled(drawn, tmp_path, capsys):
    """Each fold's test list alone holds other combinations; with the train lists all folds have the same."""
    words = [*flags("mafw_compound", drawn("mafw")), "--fold", "all", "--mode", "zero-shot"]
    run = run_main(words, tmp_path / "run")
    assert run.status == 0, run.err
    assert len({tuple(classes_in_columns(run.folder / name / "predictions.csv")) for name in FOLDS}) == 1
    test = "Train_Test_Set/compound/no_caption_new/set_{fold}/test.txt"
    alone = [word for word in words if not word.startswith("@")] + "--dataset MAFW --label-type compound".split()
    message = error_of([*alone, "--test-annotation", test, "--output-dir", str(tmp_path / "alone")], capsys)
    assert "--train-annotation" in message and not (tmp_path / "alone").exists()


def test_several_processes_take_one_fold_at_a_time(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = error_of([*words, "--output-dir", str(tmp_path / "run")], capsys)
    assert "torchrun" in message and "--fold N" in message and not (tmp_path / "run").exists()
