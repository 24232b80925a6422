"""--fold: {fold} in paths filled, and what cannot be meant refused in one line."""

import json
from dataclasses import asdict

import pytest

from analysis.results import read_predictions
from engine.settings import make_config, read_command, resumed_series
from sweep.folds import is_series
from sweep.run import open_series
from tests.support.tools import error_of
from utils.errors import UserError

LISTS = ["--train-annotation", "set_{fold}_train.txt", "--test-annotation", "set_{fold}_test.txt"]


def read(*words):
    return read_command(list(words))[1]


def refused(*words):
    with pytest.raises(UserError) as caught:
        read(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("fold", ["1", "5", "10"])
def test_a_fold_takes_its_place_in_every_path(fold):
    paths = ["--val-annotation", "v/{fold}/{fold}.txt", "--captions", "c{fold}.json", "--model", "emoclip"]
    config = read(*LISTS, *paths, "--init-from", "outputs/{fold}/best.pt", "--fold", fold)
    assert config.data.train_annotation == f"set_{fold}_train.txt"
    assert config.data.test_annotation == f"set_{fold}_test.txt"
    assert config.data.val_annotation == f"v/{fold}/{fold}.txt"
    assert config.data.captions == f"c{fold}.json"
    assert config.model.init_from == f"outputs/{fold}/best.pt"
    assert not is_series(config)


def test_so_it_does_in_a_checkpoint_and_a_run_folder():
    config = read("--mode", "eval", "--eval-checkpoint", "o/{fold}/best.pt", *LISTS[2:], "--fold", "3")
    assert config.run.eval_checkpoint == "o/3/best.pt"
    assert read(*LISTS, "--fold", "2", "--output-dir", "o/{fold}").run.output_dir == "o/2"


def test_paths_without_it_stay_as_they_are():
    config = read("--train-annotation", "a{b}.txt", *LISTS[2:], "--fold", "2", "--exper-name", "x")
    assert config.data.train_annotation == "a{b}.txt"


def test_a_fold_that_no_path_asks_for_is_refused():
    assert "--fold 2" in refused("--train-annotation", "train.txt", "--fold", "2")
    given = {"mode": "eval", "eval_checkpoint": "fold-1/best.pt", "fold": "2"}
    with pytest.raises(UserError, match="--fold 2"):  # once the checkpoint has said of which family it is
        make_config(given, asdict(make_config({})))


@pytest.mark.parametrize(
    "words",
    [
        LISTS,
        ["--bounding-box-face", "{fold}.json"],
        ["--mode", "eval", "--eval-checkpoint", "o/{fold}.pt"],
        ["--init-from", "o/{fold}.pt"],
        ["--output-dir", "o/{fold}"],
    ],
)
def test_which_fold_is_asked_for_by_name(words):
    message = refused(*words)
    assert "--fold" in message and words[-2] in message or LISTS[0] in message
    assert "{fold}" in message


@pytest.mark.parametrize("fold", ["x", "-1", "1.5", "one", "ALL", "1/2", "²", "٣", "1 2", "99999"])
def test_a_fold_is_a_number_or_all(fold):
    message = refused(*LISTS, f"--fold={fold}")
    assert f"--fold {fold}" in message and "number" in message


def test_an_empty_fold_is_a_forgotten_variable():
    assert "--fold" in refused(*LISTS, "--fold", "")


def test_all_folds_are_a_series():
    assert is_series(read(*LISTS, "--fold", "all"))
    words = ["--mode", "eval", "--eval-checkpoint", "o/{fold}/best.pt", "--test-annotation", "t.txt", "--fold", "all"]
    assert is_series(read(*words))
    assert is_series(read("--model", "emoclip", "--leave-out", "all"))
    assert not is_series(read("--model", "emoclip", "--leave-out", "Fatigue"))


@pytest.mark.parametrize(
    "words",
    [
        ["--train-annotation", "train.txt"],
        [],
        ["--output-dir", "o/{fold}"],
        ["--mode", "eval", "--eval-checkpoint", "best.pt", "--test-annotation", "t.txt"],
    ],
)
def test_all_folds_of_one_list_are_one_fold(words):
    message = refused(*words, "--fold", "all")
    assert "--fold all" in message and "{fold}" in message


def test_one_series_at_a_time():
    message = refused("--model", "emoclip", *LISTS, "--fold", "all", "--leave-out", "all")
    assert "--fold all" in message and "--leave-out all" in message


@pytest.mark.parametrize("flag", ["--fold", "--leave-out"])
@pytest.mark.parametrize("words", [["--mode", "eval", "--eval-checkpoint", "b.pt"], ["--task", "regression"]])
def test_numbers_are_scored_by_themselves(words, flag):
    message = refused("--model", "emoclip", *words, "--targets", "scores{fold}.csv", flag, "all")
    assert f"{flag} all" in message


def test_one_class_of_all_folds_and_all_classes_of_one_fold_are_series():
    assert is_series(read("--model", "emoclip", *LISTS, "--fold", "all", "--leave-out", "Fatigue"))
    assert is_series(read("--model", "emoclip", *LISTS, "--fold", "2", "--leave-out", "all"))


def test_a_dry_run_shows_paths_as_they_are():
    assert read(*LISTS, "--dry-run").data.train_annotation == LISTS[1]


def test_predictions_of_different_classes_are_not_pooled(tmp_path):
    for fold, names in (("fold-1", "a,b"), ("fold-2", "a,b,a_b")):
        (tmp_path / fold).mkdir()
        columns = [f"logit_{name}" for name in names.split(",")]
        rows = [",".join(["clip", "label", *columns]), ",".join(["x", "a", *["0.5"] * len(columns)])]
        (tmp_path / fold / "predictions.csv").write_text("\n".join(rows) + "\n")
    files = [tmp_path / fold / "predictions.csv" for fold in ("fold-1", "fold-2")]
    assert read_predictions(files[:1]).names == ("a", "b")
    with pytest.raises(UserError, match="fold-2") as caught:
        read_predictions(files)
    assert "\n" not in str(caught.value)


def test_a_series_runs_in_one_process(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "one process alone" in error_of([*LISTS, "--dataset", "DFEW", "--fold", "all"], capsys)


def test_a_series_goes_on_as_it_began(tmp_path):
    began = read(*LISTS, "--dataset", "DFEW", "--fold", "all", "--epochs", "3")
    (tmp_path / "config.json").write_text(json.dumps(asdict(began)))
    given, config = read_command(["--resume", str(tmp_path), "--lr", "0.5"])
    with pytest.raises(UserError, match="--lr 0.5"):
        open_series(resumed_series(config, given))
    given, config = read_command(["--resume", str(tmp_path), "--workers", "0"])
    open_series(resumed_series(config, given)).close()
