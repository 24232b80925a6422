"""Options of several runs: {fold} in paths, seeds and grids are read; what cannot be meant is refused in one line."""

import shlex
from dataclasses import asdict

import pytest

from engine.config import make_config, read_command
from engine.series import is_series, read_grid, seeds_of
from utils.errors import UserError

FOLDS = "--train-annotation set_{fold}_train.txt --test-annotation set_{fold}_test.txt"
LISTS = "--train-annotation train.txt --test-annotation test.txt"
ABLATE = f"--mode ablate {LISTS}"
EVAL = "--mode eval --test-annotation t.txt --eval-checkpoint"


def read(command):
    return read_command(shlex.split(command))[1]


def assert_refused(command, *parts):
    with pytest.raises(UserError) as caught:
        read(command)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in parts), message


@pytest.mark.parametrize("fold", ["1", "5", "10"])
def test_a_fold_is_filled_into_every_path(fold):
    paths = "--val-annotation v/{fold}/{fold}.txt --captions c{fold}.json --init-from outputs/{fold}/best.pt"
    config = read(f"{FOLDS} --model emoclip {paths} --output-dir o/{{fold}} --fold {fold}")
    assert config.data.train_annotation == f"set_{fold}_train.txt"
    assert config.data.test_annotation == f"set_{fold}_test.txt"
    assert config.data.val_annotation == f"v/{fold}/{fold}.txt" and config.data.captions == f"c{fold}.json"
    assert config.model.init_from == f"outputs/{fold}/best.pt" and config.run.output_dir == f"o/{fold}"
    assert read(f"{EVAL} o/{{fold}}/best.pt --fold {fold}").run.eval_checkpoint == f"o/{fold}/best.pt"


def test_paths_without_a_placeholder_and_those_of_a_dry_run_stay():
    config = read("--train-annotation a{b}.txt --test-annotation set_{fold}_test.txt --fold 2")
    assert config.data.train_annotation == "a{b}.txt"
    assert read(f"{FOLDS} --dry-run").data.train_annotation == "set_{fold}_train.txt"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (f"{FOLDS} --fold all", True),
        (f"{EVAL} o/{{fold}}/best.pt --fold all", True),
        (f"{FOLDS} --model emoclip --fold all --leave-out Fatigue", True),
        (f"{FOLDS} --model emoclip --fold 2 --leave-out all", True),
        ("--model emoclip --leave-out all", True),
        (f"{LISTS} --seeds 2", True),
        (f"{FOLDS} --fold 2", False),
        ("--model emoclip --leave-out Fatigue", False),
        (f"{LISTS} --seed 2", False),
        (f"{ABLATE} --drop-one --seeds 2", False),
    ],
)
def test_which_commands_are_a_series(command, expected):
    assert is_series(read(command)) is expected


@pytest.mark.parametrize("fold", ["x", "-1", "1.5", "one", "ALL", "1/2", "²", "٣", "1 2", "99999"])
def test_a_fold_is_a_number_or_all(fold):
    assert_refused(f"{FOLDS} '--fold={fold}'", f"--fold {fold}", "number")


def test_a_fold_must_be_that_of_the_checkpoint_or_fill_a_path():
    """It is checked when the checkpoint is read, because only then its method is known."""
    flags = {"mode": "eval", "eval_checkpoint": "fold-1/best.pt", "fold": "2"}
    with pytest.raises(UserError, match="--fold 2"):
        make_config(flags, asdict(make_config({})))


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("--train-annotation train.txt --fold 2", ["--fold 2"]),
        (f"{FOLDS} --fold ''", ["--fold"]),
        # a path with {fold} asks which one
        (FOLDS, ["--train-annotation", "{fold}", "--fold"]),
        ("--bounding-box-face {fold}.json", ["--bounding-box-face", "{fold}", "--fold"]),
        ("--mode eval --eval-checkpoint o/{fold}.pt", ["--eval-checkpoint", "{fold}", "--fold"]),
        ("--init-from o/{fold}.pt", ["--init-from", "{fold}", "--fold"]),
        ("--output-dir o/{fold}", ["--output-dir", "{fold}", "--fold"]),
        # all folds of the same lists
        ("--train-annotation train.txt --fold all", ["--fold all", "{fold}"]),
        ("--fold all", ["--fold all", "{fold}"]),
        ("--output-dir o/{fold} --fold all", ["--fold all", "{fold}"]),
        (f"{EVAL} best.pt --fold all", ["--fold all", "{fold}"]),
        # one series at a time
        (f"--model emoclip {FOLDS} --fold all --leave-out all", ["--fold all", "--leave-out all"]),
        (f"{LISTS} --seeds 2 --fold all --bounding-box-face {{fold}}.json", ["--fold all", "one series at a time"]),
        (f"{LISTS} --seeds 2 --model emoclip --leave-out all", ["--seeds", "--leave-out all"]),
        # targets are numbers, which are scored by themselves
        *(
            (f"--model emoclip {words} --targets scores{{fold}}.csv {flag} all", [f"{flag} all"])
            for words in ("--mode eval --eval-checkpoint b.pt", "--task regression")
            for flag in ("--fold", "--leave-out")
        ),
        # seeds
        (f"{LISTS} --seeds 1", ["--seeds 1", "one run has no spread"]),
        (f"{LISTS} --seeds 7,", ["--seeds 7,"]),
        (f"{LISTS} --seeds 2 --mode eval --eval-checkpoint x.pt", ["--seeds", "--mode eval"]),
        (f"{LISTS} --seeds 2 --mode zero-shot", ["--seeds", "--mode zero-shot"]),
        (f"{LISTS} --seeds 2 --model emoclip --task regression --targets t.csv", ["--seeds", "regression"]),
        (f"{LISTS} --seeds 2 --seed 4294967295", ["--seeds", "4294967296"]),
        # ablations
        ("--mode ablate", ["--grid", "--drop-one"]),
        ("--grid lr=1", ["--grid", "--mode ablate"]),
        ("--mode eval --eval-checkpoint x.pt --drop-one", ["--drop-one", "--mode ablate"]),
        ("--mode ablate --drop-one --model sequence", ["sequence", "clip by clip"]),
        ("--mode ablate --drop-one --model frame-expr", ["frame-expr"]),
        ("--mode ablate --drop-one --leave-out all --model emoclip", ["--leave-out all"]),
        ("--mode ablate --drop-one --seeds x", ["--seeds x"]),
        (f"{ABLATE} --drop-one --adapter residual --streams context", ["--adapter residual"]),
        # grids
        (f"{ABLATE} --grid slerp_weight", ["slerp_weight", "NAME=VALUE"]),
        (f"{ABLATE} --grid slerp_weight=", ["--grid", "NAME=VALUE"]),
        (f"{ABLATE} --grid slerp_weight=0,,1", ["--grid", "NAME=VALUE"]),
        (f"{ABLATE} --grid =1", ["--grid", "NAME=VALUE"]),
        (f"{ABLATE} --grid slerp_wieght=0", ["slerp_wieght", "did you mean slerp_weight"]),
        (f"{ABLATE} --grid slerp_weight=two", ["--grid", "slerp_weight=two", "expected a number"]),
        (f"{ABLATE} --grid slerp_weight=2", ["--grid", "must be at most 0.999"]),
        (f"{ABLATE} --grid adapter=no", ["--grid", "adapter=no", "none", "residual"]),
        (f"{ABLATE} --grid epochs=1.5", ["--grid", "whole number"]),
        (f"{ABLATE} --grid epochs=0", ["--grid", "at least 1"]),
        (f"{ABLATE} --grid logit_adj=maybe", ["--grid", "True or False"]),
        (f"{ABLATE} --grid 'slerp_weight=0 slerp-weight=0.5'", ["--grid", "named twice"]),
        (f"{ABLATE} --grid seed=1,2", ["--grid", "--seeds"]),
        (f"{ABLATE} --grid test_annotation=other.txt", ["--grid", "test_annotation", "same clips"]),
        (f"{ABLATE} --grid workers=0,2", ["--grid", "workers", "no option of"]),
    ],
)
def test_what_cannot_be_meant_is_refused(command, parts):
    assert_refused(command, *parts)


def test_seeds_are_a_count_or_a_list():
    assert seeds_of("3", 42) == [42, 43, 44]
    assert seeds_of("1,2,7", 42) == [1, 2, 7]
    assert seeds_of("0,4294967295", 42) == [0, 4294967295]


@pytest.mark.parametrize("text", ["x", "0", "-1", "1,", ",1", "1.5", "1,1", "1 2", "1001", "4294967296,1", "²"])
def test_what_are_no_seeds(text):
    with pytest.raises(UserError, match="--seeds"):
        seeds_of(text, 42)


def test_values_of_a_grid_have_the_type_of_their_option():
    grid = read_grid(["slerp_weight=0,0.5 --epochs=2", "logit-adj=off,True", "adapter=none", "milestones=10,10+15"])
    assert grid == {
        "slerp_weight": [0.0, 0.5],
        "epochs": [2],
        "logit_adj": [False, True],
        "adapter": ["none"],
        "milestones": [(10,), (10, 15)],
    }
    assert type(grid["slerp_weight"][0]) is float and type(grid["epochs"][0]) is int
    assert read_grid(["lambda_mi=0"]) == {"mi_loss_weight": [0.0]}, "an alias is its option"
