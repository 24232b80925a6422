"""The method families behind ``--model``: what each takes for granted, and the flags that mean nothing to it."""

from dataclasses import fields
from typing import Any

from engine.sequence.options import SequenceOptions
from utils.config import flag_of, written
from utils.errors import UserError

ONE_STREAM = {"streams": "face", "adapter": "none", "slerp_weight": 0.0, "mi_loss_weight": 0.0, "dc_loss_weight": 0.0}
DEFAULTS: dict[str, dict[str, Any]] = {  # in place of the options' own
    "clip-caer": {},
    "dfer-clip": ONE_STREAM | {"dropout": 0.0, "temperature": 0.01, "contexts_number": 8},
    "emoclip": ONE_STREAM
    | {"dropout": 0.0, "temporal_layers": 2, "normalize": "clip", "lr_image_encoder": 0.0, "lr": 1e-3}
    | {"num_segments": 32, "sampling": "window", "select_on": "last"},
    "sequence": ONE_STREAM
    | {"task": "multi", "fold": "0", "optimizer": "AdamW", "lr": 3e-4, "weight_decay": 1e-5, "epochs": 30}
    | {"batch_size": 32, "dropout": 0.3, "grad_clip": 1.0, "workers": 0},
    "frame-expr": ONE_STREAM
    | {"fold": "0", "num_segments": 1, "normalize": "clip", "optimizer": "AdamW", "lr": 1e-3}
    | {"lr_image_encoder": 1e-5, "epochs": 10, "batch_size": 64},
}
PROMPTS = (
    "contexts_number", "class_token_position", "class_specific_contexts", "tune_prompts", "lr_prompt_learner",
)  # fmt: skip
TWO_STREAMS = (
    "streams", "adapter", "adapter_ratio", "slerp_weight", "iec_text", "lr_adapter", "lr_fusion", "mi_loss_weight",
    "mi_warmup", "mi_ramp", "dc_loss_weight", "dc_warmup", "dc_ramp",
)  # fmt: skip
CAPTIONS = (
    "captions", "caption_source", "merge_positives", "leave_out", "swapped_heads", "lr_text_encoder", "finetune_visual",
    "finetune_text", "targets", "subject_folds", "regression_loss",
)  # fmt: skip
BY_CLASS = (
    "class_balanced_loss", "logit_adj", "logit_adj_tau", "label_smoothing", "focal_gamma", "temperature",
)  # fmt: skip
OF_SEQUENCES = tuple(field.name for field in fields(SequenceOptions))
MEANINGLESS = {
    "clip-caer": CAPTIONS + OF_SEQUENCES,
    "dfer-clip": TWO_STREAMS + CAPTIONS + OF_SEQUENCES,
    "emoclip": TWO_STREAMS + PROMPTS + BY_CLASS + OF_SEQUENCES,
}

OF_NUMBERS = ("targets", "subject_folds", "regression_loss")
READ_BY_REGRESSION = {
    "mode", "exper_name", "output_dir", "allow_partial", "device", "gpu", "seed", "deterministic", "workers",
    "dry_run", "print_freq", "save_every_minutes", "dataset", "class_texts", "root_dir", "bounding_box_face",
    "on_bad_frame", "fold", "targets", "subject_folds", "model", "task", "init_from", "epochs", "batch_size",
    "eval_batch_size", "optimizer", "lr", "weight_decay", "momentum", "milestones", "gamma", "amp", "use_amp", "tf32",
    "regression_loss", "ci",
}  # fmt: skip
LONG_VIDEOS = {
    "mode", "exper_name", "output_dir", "eval_checkpoint", "resume", "save_every_minutes", "device", "gpu", "seed",
    "deterministic", "workers", "print_freq", "dry_run", "root_dir", "fold", "model", "epochs", "batch_size",
    "eval_batch_size", "optimizer", "lr", "weight_decay", "momentum", "amp", "use_amp", "tf32", "grad_clip",
    "select_on", "class_balanced_loss", "label_smoothing", "focal_gamma", "patience", "ci", "seeds",
}  # fmt: skip
READ_BY = {  # by families that share little with the others
    "sequence": LONG_VIDEOS | {"task", "dropout", *OF_SEQUENCES} - {"frame_step"},
    "frame-expr": LONG_VIDEOS
    | {"clip_path", "image_size", "normalize", "max_angle", "flip", "random_crop", "brightness", "decode", "augment"}
    | {
        "lr_image_encoder",
        "layer_decay",
        "milestones",
        "gamma",
        "accumulate",
        "compile",
        "grad_checkpointing",
        "on_bad_frame",
    }
    | {"frame_step", "use_weighted_sampler", "calibrate", "abstain", "mistake_frames"},
}
FRAME_TASKS = ("va", "expr", "au", "multi")  # of --model sequence


def family_defaults(model: str) -> dict[str, Any]:
    return DEFAULTS.get(model, {})


def check_family(model: str, given: dict[str, Any], options: dict[str, Any]) -> None:
    """Refuse a flag that this family has no use for, unless it says what holds anyway.

    ``options``: every default by name.
    """
    neutral = options | DEFAULTS[model]
    meaningless = sorted(set(given) - READ_BY[model]) if model in READ_BY else MEANINGLESS[model]
    for name in meaningless:
        if name in given and given[name] != neutral[name]:
            raise UserError(f"{flag_of(name)} {written(given[name])} means nothing to --model {model}")


def check_frame_task(model: str, task: str) -> None:
    """Tasks of single frames belong to ``sequence``, and no others."""
    if (model == "sequence") != (task in FRAME_TASKS):
        has = ", ".join(FRAME_TASKS) if model == "sequence" else "classification or regression"
        raise UserError(f"--task {task} means nothing to --model {model}, whose tasks are {has}")


def check_task(task: str, given: dict[str, Any], options: dict[str, Any]) -> None:
    """Refuse what belongs to the other task; ``options``: as of ``check_family``. Video features of a regression come
    out as their model was trained to see, so nothing of that can be chosen."""
    if task in FRAME_TASKS:
        return
    foreign = set(given) - READ_BY_REGRESSION if task == "regression" else set(OF_NUMBERS)
    for name in sorted(foreign):
        if name in given and given[name] != options[name]:
            raise UserError(f"{flag_of(name)} {written(given[name])} means nothing to --task {task}")
