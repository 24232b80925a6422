"""The variants of an ablation: what --grid combines and what --drop-one leaves out."""

import re

import pytest

from engine.config import read_command
from sweep.plan import plan_ablation, variants_of
from tests.support.tools import error_of

BASE = ["--mode", "ablate", "--train-annotation", "train.txt", "--test-annotation", "test.txt"]
LONG = "mi_loss_weight=0.25 dc_loss_weight=0.25 label_smoothing=0.25 logit_adj_tau=0.25 adapter_ratio=0.25 lr=1,2"


def variants(*words):
    return variants_of(read_command([*BASE, *words])[1])


def changes(*words):
    return {variant.name: variant.changes for variant in variants(*words)}


def test_a_grid_has_all_combinations_except_the_base():
    """The defaults are 0.5 and 0.5."""
    assert changes("--grid", "slerp_weight=0,0.5 mi_loss_weight=0,0.5") == {
        "base": {},
        "slerp_weight=0.0 mi_loss_weight=0.0": {"slerp_weight": 0.0, "mi_loss_weight": 0.0},
        "slerp_weight=0.0": {"slerp_weight": 0.0},
        "mi_loss_weight=0.0": {"mi_loss_weight": 0.0},
    }
    assert list(changes("--slerp-weight", "0", "--grid", "slerp_weight=0,0.5")) == ["base", "slerp_weight=0.5"]


def test_every_active_part_is_left_out_in_turn():
    assert changes("--drop-one", "--logit-adj", "--label-smoothing", "0.05") == {
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
    losses = changes("--drop-one", "--use-weighted-sampler", "--class-balanced-loss", "--focal-gamma", "2")
    assert {"without weighted sampler", "without class-balanced loss", "without focal loss"} <= set(losses)


def test_what_needs_a_part_goes_with_it():
    """A run without class weights also has no epoch from which they begin; otherwise it would be refused."""
    words = "--drop-one --class-balanced-loss --drw-epoch 8 --class-beta 0.99 --adapter-dropout 0.5 --ldam cosine"
    words += " --ldam-margin 0.3 --label-smoothing 0.1 --smoothing-weights published --temporal-pool mean"
    found = changes(*words.split(), "--grid", "adapter=none,published")
    expected = {
        "without pooling of frames": {"temporal_pool": "class-token"},
        "without adapter (EAA)": {"adapter": "none"},
        "without adapter dropout": {"adapter_dropout": 0.0},
        "without LDAM": {"ldam": "off"},
        "without class-balanced loss": {"class_balanced_loss": False},
        "without effective numbers": {"class_beta": 1.0},
        "without deferred re-weighting": {"drw_epoch": 0},
        "without label smoothing": {"label_smoothing": 0.0},
        "without fixed smoothing weights": {"smoothing_weights": "uniform"},
        "without face stream": {"streams": "context", "adapter": "none"},
        "adapter=published": {"adapter": "published"},
    }
    assert {name: found.get(name) for name in expected} == expected
    flags, config = read_command([*BASE, *words.split()])
    runs, refusals = plan_ablation(config, flags)
    assert not refusals
    without = next(run.config for run in runs if run.variant.name == "without class-balanced loss")
    assert (without.loss.drw_epoch, without.loss.class_beta) == (0, 1.0)


def test_variants_of_earlier_versions_keep_their_options():
    """What a part of an earlier version needs stays beside it, so that the hashes of its runs do."""
    flags, config = read_command([*BASE, "--drop-one", "--mi-warmup", "3", "--lr-adapter", "0.1"])
    runs = {run.variant.name: run.config for run in plan_ablation(config, flags)[0]}
    assert runs["without MI"].loss.mi_warmup == 3 and runs["without adapter (EAA)"].optim.lr_adapter == 0.1


def test_a_grid_of_values_without_an_effect_is_refused():
    flags, config = read_command([*BASE, "--grid", "logit_adj_tau=0.5"])
    assert ["logit_adj_tau=0.5" in line and "--logit-adj " in line for line in plan_ablation(config, flags)[1]] == [
        True
    ]


AUGMENTED = "--brightness 0.5 --hue 0.2 --grayscale 0.2 --random-erasing 0.3"


def test_every_augmentation_is_a_part():
    rows = {
        "without colour jitter": {"brightness": 0.0, "hue": 0.0},
        "without greyscale": {"grayscale": 0.0},
        "without random erasing": {"random_erasing": 0.0},
    }
    mixed = rows | {"without mixup": {"mixup": 0.0}}
    changed = changes(*AUGMENTED.split(), "--mixup", "0.2", "--drop-one")
    assert {name: changed.get(name) for name in mixed} == mixed
    for model in ("dfer-clip", "emoclip", "frame-expr"):
        changed = changes("--model", model, *AUGMENTED.split(), "--drop-one")
        assert all(changed.get(name) == row for name, row in rows.items())
    assert not any("erasing" in name or "jitter" in name for name in changes("--drop-one"))


def test_the_parts_of_single_frames():
    words = "--ema 0.99 --class-balanced-loss --label-smoothing 0.1 --use-weighted-sampler --lora-rank 2"
    changed = changes("--model", "frame-expr", "--drop-one", *words.split())
    assert list(changed) == [
        "base", "without LoRA", "without moving average of the weights", "without class-balanced loss",
        "without weighted sampler", "without label smoothing",
    ]  # fmt: skip


def test_semantic_labels_are_a_part():
    semantic = changes("--drop-one", "--semantic-labels", "0.1", "--semantic-warmup", "5")
    assert semantic["without semantic labels"] == {"semantic_labels": 0.0}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--adapter none --slerp-weight 0 --streams face --no-tune-prompts", ["base"]),
        ("--model dfer-clip", ["base", "without learnable prompts"]),
        ("--model emoclip", ["base", "without merged captions"]),
    ],
)
def test_parts_that_a_method_does_not_have_give_no_variants(words, expected):
    assert list(changes("--drop-one", *words.split())) == expected


def test_a_grid_does_not_repeat_parts_that_are_left_out():
    together = changes("--drop-one", "--grid", "slerp_weight=0,0.25")
    assert list(together)[:3] == ["base", "without adapter (EAA)", "without IEC"]
    assert list(together)[-1] == "slerp_weight=0.25"
    assert [change for change in together.values() if change == {"slerp_weight": 0.0}] == [{"slerp_weight": 0.0}]


@pytest.mark.parametrize("words", [["--drop-one", "--grid", "slerp_weight=0,0.25 adapter=none"], ["--grid", LONG]])
def test_every_variant_has_its_own_folder(words):
    folders = [variant.folder for variant in variants(*words)]
    assert len(folders) > 2 and len(set(folders)) == len(folders)
    assert all(re.fullmatch("[A-Za-z0-9.=_-]{1,100}", folder) for folder in folders)


def test_changes_are_written_as_they_would_be_typed():
    flags = {variant.name: variant.changed_flags for variant in variants("--drop-one", "--logit-adj")}
    assert flags["without face stream"] == "--streams context --adapter none" and flags["base"] == ""


def test_a_bar_begins_another_grid():
    assert changes("--grid", "slerp_weight=0 mi_loss_weight=0,1 | ema=0.9") == {
        "base": {},
        "slerp_weight=0.0 mi_loss_weight=0.0": {"slerp_weight": 0.0, "mi_loss_weight": 0.0},
        "slerp_weight=0.0 mi_loss_weight=1.0": {"slerp_weight": 0.0, "mi_loss_weight": 1.0},
        "ema=0.9": {"ema": 0.9},
    }


@pytest.mark.parametrize("more", [["--mode", "ablate", "--grid", "dropout=0.3"], ["--seeds", "2"]])
def test_a_sweep_that_nothing_can_score_is_refused_before_it_trains(more, tiny_arguments, tmp_path, capsys):
    words = [*tiny_arguments, "--test-annotation=", "--select-on", "last", *more, "--output-dir", str(tmp_path / "run")]
    message = error_of(words, capsys)
    assert "--select-on last" in message and "--test-annotation" in message and not (tmp_path / "run").exists()
