"""Every flag of the command line: its name, its default, its aliases, and what may not be combined."""

import dataclasses
import json

import pytest

from engine.config import make_config, read_command, warnings_of
from engine.options import GROUPS
from utils.config import flag_of, from_json
from utils.errors import UserError

DEFAULTS = {  # as the command line's documentation promises
    "seed": 42, "dry_run": False, "deterministic": False, "dataset": "RAER", "val_fraction": 0.2, "num_segments": 16,
    "duration": 1, "image_size": 224, "temporal_layers": 1, "contexts_number": 12, "slerp_weight": 0.5,
    "temperature": 0.07, "epochs": 50, "batch_size": 8, "lr_adapter": 1e-4, "mi_loss_weight": 0.5,
    "dc_loss_weight": 0.1, "mi_warmup": 0, "mi_ramp": 0, "dc_warmup": 0, "dc_ramp": 0, "logit_adj_tau": 1.0,
    "logit_adj": False, "class_balanced_loss": False, "use_weighted_sampler": False, "label_smoothing": 0.0,
    "focal_gamma": 0.0, "amp": "off", "grad_clip": 0.0, "accumulate": 1, "mode": "train", "device": "auto",
    "tune_prompts": True, "on_bad_frame": "error",
}  # fmt: skip
CHOICES = {
    "mode": ["train", "eval", "zero-shot"],
    "sampling": ["whole", "published"],
    "normalize": ["none", "clip"],
    "text_type": ["class_names", "class_names_with_context", "class_descriptor", "prompt_ensemble"],
    "class_token_position": ["end", "middle", "front"],
    "adapter": ["none", "residual", "published"],
    "iec_text": ["descriptive", "soft", "both"],
    "streams": ["both", "face", "context"],
    "optimizer": ["SGD", "AdamW"],
    "amp": ["off", "fp16", "bf16"],
    "select_on": ["val", "last", "test"],
    "on_bad_frame": ["error", "skip"],
}
BOOLEANS = [
    "dry_run", "deterministic", "shared_augmentation", "class_specific_contexts", "tune_prompts",
    "class_balanced_loss", "logit_adj", "use_weighted_sampler",
]  # fmt: skip
VALUES = {
    "exper_name": "x", "output_dir": "o", "workers": 3, "print_freq": 7, "root_dir": "r", "train_annotation": "a",
    "val_annotation": "b", "test_annotation": "c", "bounding_box_face": "f", "bounding_box_body": "g",
    "class_texts": "t.json", "clip_path": "ViT-B/16", "adapter_ratio": 0.3, "lr": 0.01, "lr_image_encoder": 0.0,
    "lr_prompt_learner": 0.02, "lr_adapter": 0.03, "weight_decay": 0.1, "momentum": 0.5, "gamma": 0.5,
    "accumulate": 4, "grad_clip": 1.0, "label_smoothing": 0.1, "focal_gamma": 2.0, "seed": 7, "slerp_weight": 0.0,
}  # fmt: skip
DRY = ["--dry-run", "--test-annotation", "t", "--bounding-box-body", "b"]  # what some choices need


def flat(config) -> dict:
    return {name: value for group in vars(config).values() for name, value in vars(group).items()}


def read(*arguments):
    return flat(read_command(list(arguments))[1])


def refused(*arguments) -> str:
    with pytest.raises(UserError) as caught:
        read_command(list(arguments))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name):
    assert read()[name] == DEFAULTS[name]


@pytest.mark.parametrize(("name", "choice"), [(name, choice) for name, row in CHOICES.items() for choice in row])
def test_choices(name, choice):
    assert read(*DRY, flag_of(name), choice)[name] == choice


@pytest.mark.parametrize("name", CHOICES)
def test_anything_else_is_no_choice(name):
    message = refused(flag_of(name), "other")
    assert flag_of(name) in message and CHOICES[name][0] in message


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    assert read(flag_of(name), str(VALUES[name]))[name] == VALUES[name]


@pytest.mark.parametrize("name", [*BOOLEANS, "crop_body"])
def test_booleans_as_flags_as_published_strings_and_switched_off(name):
    flag = flag_of(name)
    for words, value in (
        ([flag], True),
        ([flag, "True"], True),
        ([flag, "False"], False),
        (["--no-" + flag[2:]], False),
    ):
        assert read(*DRY, *words)[name] is value


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--lambda_mi", "0.7"], "mi_loss_weight", 0.7),
        (["--lambda-mi", "0.7"], "mi_loss_weight", 0.7),
        (["--lambda_dc", "1.2"], "dc_loss_weight", 1.2),
        (["--lambda-dc", "1.2"], "dc_loss_weight", 1.2),
        (["--load_and_tune_prompt_learner", "False"], "tune_prompts", False),
        (["--load_and_tune_prompt_learner", "True"], "tune_prompts", True),
        (["--use-amp"], "amp", "fp16"),
        (["--use-amp", "True"], "amp", "fp16"),
        (["--use-amp", "False"], "amp", "off"),
        (["--gpu", "0"], "gpu", "0"),
        (["--gpu", "mps"], "gpu", "mps"),
        (["--device", "cuda:1"], "device", "cuda:1"),
        (["--milestones", "10", "15"], "milestones", (10, 15)),
        (["--milestones"], "milestones", ()),
    ],
)
def test_aliases_and_short_forms(words, name, value):
    assert read(*words)[name] == value


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--slerp-weight", "1"], ["--slerp-weight"]),
        (["--slerp-weight", "-0.1"], ["--slerp-weight", "at least 0"]),
        (["--temperature", "0"], ["--temperature", "above 0"]),
        (["--epochs", "0"], ["--epochs"]),
        (["--batch-size", "0"], ["--batch-size"]),
        (["--lr", "-1"], ["--lr"]),
        (["--lr", "nan"], ["--lr"]),
        (["--val-fraction", "1.5"], ["--val-fraction"]),
        (["--label-smoothing", "1"], ["--label-smoothing"]),
        (["--device", "gpu"], ["--device gpu", "cuda:N"]),
        (["--gpu", "first"], ["--gpu first"]),
        (["--gpu", "²"], ["--gpu"]),
        (["--milestones", "20", "10"], ["--milestones", "rise"]),
        (["--gpu", "0", "--device", "cpu"], ["--gpu", "--device"]),
        (["--use-amp", "--amp", "bf16"], ["--use-amp", "--amp"]),
        (["--crop-body"], ["--crop-body", "--bounding-box-body"]),
        (["--mode", "eval"], ["--mode eval", "--eval-checkpoint"]),
        (["--eval-checkpoint", "x"], ["--eval-checkpoint", "--mode train"]),
        (["--val-annotation", "v", "--val-fraction", "0.1"], ["--val-fraction", "--val-annotation"]),
        (["--val-fraction", "0"], ["--select-on", "--val-fraction"]),
        (["--select-on", "test"], ["--select-on test", "--test-annotation"]),
        (["--streams", "context", "--adapter", "residual"], ["--adapter", "--streams context"]),
        (["--epoch", "3"], ["unknown flag --epoch", "did you mean --epochs"]),
        (["--lambda_mii", "3"], ["did you mean --lambda_mi"]),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_flags_names(words, parts):
    message = refused(*words)
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--use-weighted-sampler", "--logit-adj"], "twice"),
        (["--use-weighted-sampler", "--class-balanced-loss"], "twice"),
        (["--select-on", "test", "--test-annotation", "t"], "optimistic"),
        (["--mi-loss-weight", "0", "--dc-loss-weight", "0"], "learnable prompts"),
    ],
)
def test_what_is_doubtful_is_said(words, part):
    assert any(part in warning for warning in warnings_of(read_command(words)[1]))


def test_what_is_sound_is_not_warned_about():
    assert warnings_of(read_command([])[1]) == []
    assert warnings_of(read_command(["--label-smoothing", "0.1", "--class-balanced-loss"])[1]) == []


def test_the_whole_config_survives_json():
    given, config = read_command(
        "--lambda_mi 0.7 --milestones 3 9 --use-amp --no-shared-augmentation --bounding-box-body b --lr 0.5".split()
    )
    stored = json.loads(json.dumps(dataclasses.asdict(config)))
    assert make_config(given, stored) == config
    assert make_config({}, {k: v for k, v in stored.items()}) == config
    assert from_json(GROUPS, stored)["milestones"] == (3, 9)


def test_a_run_with_mixed_precision_can_be_evaluated_without():
    stored = dataclasses.asdict(read_command(["--use-amp"])[1])
    assert make_config({"amp": "off"}, stored).optim.amp == "off"


def test_normalisation_is_off_but_in_zero_shot():
    assert read()["normalize"] == "none"
    assert read("--mode", "zero-shot", "--dry-run")["normalize"] == "clip"
    assert read("--mode", "zero-shot", "--normalize", "none", "--dry-run")["normalize"] == "none"


def test_no_two_options_share_a_flag_and_each_has_a_help_text():
    fields = [field for group in GROUPS.values() for field in dataclasses.fields(group)]
    flags = [flag for f in fields for flag in (flag_of(f.name), *f.metadata["aliases"])]
    assert len(flags) == len(set(flags))
    assert all(len(field.metadata["help"]) > 5 for field in fields)
