"""--grid and --drop-one: words to variants, and what cannot be meant refused in one line."""

import pytest

from engine.config import read_command
from sweep.grid import read_grid, variants_of
from tests.support.tools import error_of

BASE = ["--mode", "ablate", "--train-annotation", "train.txt", "--test-annotation", "test.txt"]


def read(*words):
    return read_command([*BASE, *words])[1]


def variants(*words):
    return {variant.name: variant.changes for variant in variants_of(read(*words))}


def test_values_are_of_the_options_own_type():
    found = read_grid(["slerp_weight=0,0.5 --epochs=2", "logit-adj=off,True", "adapter=none", "milestones=10,10+15"])
    assert found == {
        "slerp_weight": [0.0, 0.5],
        "epochs": [2],
        "logit_adj": [False, True],
        "adapter": ["none"],
        "milestones": [(10,), (10, 15)],
    }
    assert type(found["slerp_weight"][0]) is float and type(found["epochs"][0]) is int


def test_long_combinations_have_a_folder_each():
    words = "mi_loss_weight=0.25 dc_loss_weight=0.25 label_smoothing=0.25 logit_adj_tau=0.25 adapter_ratio=0.25 lr=1,2"
    folders = [variant.folder for variant in variants_of(read("--grid", words))]
    assert len(set(folders)) == 3 and max(map(len, folders)) <= 100


def test_an_alias_is_its_option():
    assert read_grid(["lambda_mi=0"]) == {"mi_loss_weight": [0.0]}


def test_all_combinations_but_the_base():
    """The defaults are 0.5 and 0.5."""
    assert variants("--grid", "slerp_weight=0,0.5 mi_loss_weight=0,0.5") == {
        "base": {},
        "slerp_weight=0.0 mi_loss_weight=0.0": {"slerp_weight": 0.0, "mi_loss_weight": 0.0},
        "slerp_weight=0.0": {"slerp_weight": 0.0},
        "mi_loss_weight=0.0": {"mi_loss_weight": 0.0},
    }


def test_the_base_is_what_the_command_says():
    found = variants("--slerp-weight", "0", "--grid", "slerp_weight=0,0.5")
    assert list(found) == ["base", "slerp_weight=0.5"]


def test_every_part_that_is_on_is_left_out_in_turn():
    found = variants("--drop-one", "--logit-adj", "--label-smoothing", "0.05")
    assert found == {
        "base": {},
        "without adapter (EAA)": {"adapter": "none"},
        "without IEC": {"slerp_weight": 0.0},
        "without MI": {"mi_loss_weight": 0.0},
        "without DC": {"dc_loss_weight": 0.0},
        "without learnable prompts": {"tune_prompts": False, "mi_loss_weight": 0.0, "dc_loss_weight": 0.0},
        "without logit adjustment": {"logit_adj": False},
        "without label smoothing": {"label_smoothing": 0.0},
        "without context stream": {"streams": "face"},
        "without face stream": {"streams": "context", "adapter": "none"},
    }


def test_parts_that_are_off_are_no_variants():
    found = variants("--drop-one", "--adapter", "none", "--slerp-weight", "0", "--streams", "face", "--no-tune-prompts")
    assert list(found) == ["base"]
    others = variants("--drop-one", "--use-weighted-sampler", "--class-balanced-loss", "--focal-gamma", "2")
    assert {"without weighted sampler", "without class-balanced loss", "without focal loss"} <= set(others)


def test_other_families_have_other_parts():
    assert list(variants("--drop-one", "--model", "dfer-clip")) == ["base", "without learnable prompts"]
    assert list(variants("--drop-one", "--model", "emoclip")) == ["base", "without merged captions"]


def test_both_together_name_nothing_twice():
    found = variants("--drop-one", "--grid", "slerp_weight=0,0.25")
    assert (
        list(found)[:3] == ["base", "without adapter (EAA)", "without IEC"] and list(found)[-1] == "slerp_weight=0.25"
    )
    assert [changes for changes in found.values() if changes == {"slerp_weight": 0.0}] == [{"slerp_weight": 0.0}]


def test_a_folder_for_each():
    folders = [
        variant.folder for variant in variants_of(read("--drop-one", "--grid", "slerp_weight=0,0.25 adapter=none"))
    ]
    assert len(set(folders)) == len(folders)
    assert all(
        set(folder) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.=_-") for folder in folders
    )


def test_what_changes_is_shown_as_it_would_be_typed():
    changed = {variant.name: variant.changed for variant in variants_of(read("--drop-one", "--logit-adj"))}
    assert changed["without face stream"] == "--streams context --adapter none" and changed["base"] == ""


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("slerp_weight", ["slerp_weight", "NAME=VALUE"]),
        ("slerp_weight=", ["NAME=VALUE"]),
        ("slerp_weight=0,,1", ["NAME=VALUE"]),
        ("=1", ["NAME=VALUE"]),
        ("slerp_wieght=0", ["slerp_wieght", "did you mean slerp_weight"]),
        ("slerp_weight=two", ["slerp_weight=two", "expected a number"]),
        ("slerp_weight=2", ["must be at most 0.999"]),
        ("adapter=no", ["adapter=no", "none", "residual"]),
        ("epochs=1.5", ["whole number"]),
        ("epochs=0", ["at least 1"]),
        ("logit_adj=maybe", ["True or False"]),
        ("slerp_weight=0 slerp-weight=0.5", ["named twice"]),
        ("seed=1,2", ["--seeds"]),
        ("test_annotation=other.txt", ["test_annotation", "same clips"]),
        ("workers=0,2", ["workers", "no option of"]),
    ],
)
def test_a_grid_that_cannot_be_read_is_one_line(words, parts, capsys):
    message = error_of([*BASE, "--grid", words], capsys)
    assert "--grid" in message and all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--mode", "ablate"], ["--grid", "--drop-one"]),
        (["--grid", "lr=1"], ["--grid", "--mode ablate"]),
        (["--mode", "eval", "--eval-checkpoint", "x.pt", "--drop-one"], ["--drop-one", "--mode ablate"]),
        (["--mode", "ablate", "--drop-one", "--model", "sequence"], ["sequence", "clip by clip"]),
        (["--mode", "ablate", "--drop-one", "--model", "frame-expr"], ["frame-expr"]),
        (["--mode", "ablate", "--drop-one", "--leave-out", "all", "--model", "emoclip"], ["--leave-out all"]),
        (["--mode", "ablate", "--drop-one", "--seeds", "x"], ["--seeds x"]),
        ([*BASE, "--drop-one", "--adapter", "residual", "--streams", "context"], ["--adapter residual"]),
    ],
)
def test_what_is_no_ablation_is_one_line(words, parts, capsys):
    message = error_of(words, capsys)
    assert all(part in message for part in parts), message
