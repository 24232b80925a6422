"""Options that contradict one another, or belong to another mode: refused by the flags' names."""

import dataclasses
import math
import re
from typing import Any, NamedTuple

from apps.predict.settings import check_video, names_idle
from engine.families import check_family, check_frame_task, check_task, family_defaults
from engine.options import Config, RunOptions, defaults
from engine.series import SPLIT_BY_FOLD, check_ablation, check_seeds, check_series
from utils.config import flag_of
from utils.errors import UserError

READ_CHECKPOINT = ("eval", "zero-shot", "cache", "predict", "serve", "attention", "export")


class Words(NamedTuple):
    """What a mode takes without a flag."""

    fewest: int
    most: float
    what: str
    example: str


READ_FILES = {
    "inspect": Words(1, 1, "a file", "FILE"),
    "convert": Words(1, 1, "a file", "FILE"),
    "compare": Words(2, 2, "two run folders", "RUN_A RUN_B"),
    "report": Words(1, math.inf, "run folders", "RUN..."),
}
HONOURED_BY = {  # options of results → the modes that act on them; others have checks of their own
    "ci": ("train", "eval", "zero-shot", "compare", "ablate"),
    "calibrate": ("train", "eval", "ablate"),
    "abstain": ("train", "eval", "zero-shot", "ablate"),
    "mistake_frames": ("train", "eval", "zero-shot", "ablate", "report"),
}


def check(config: Config, given: dict[str, Any]) -> None:
    """Refuse what cannot be meant."""
    check_values(config, given)
    check_files(config.run)
    check_mode(config, given)
    check_data(config, given)
    check_optim(config)
    check_pretraining(config, given)
    check_results(config, given)
    check_series(config)
    check_seeds(config)
    check_ablation(config)
    check_sequence(config)
    check_attention(config, given)
    check_video(config, given)
    if config.run.mode == "train":
        check_training(config, given)


def check_values(config: Config, given: dict[str, Any]) -> None:
    """Values that no mode can use."""
    run, milestones = config.run, list(config.optim.milestones)
    for name, value in given.items():
        if value == "" or (isinstance(value, tuple) and "" in value):
            raise UserError(f"{flag_of(name)} is empty; is it a shell variable that is not set?")
    if "gpu" in given and "device" in given:
        raise UserError("--gpu and --device both name the device; keep one")
    if run.device not in ("auto", "cpu", "cuda", "mps") and not re.fullmatch("cuda:[0-9]+", run.device):
        raise UserError(f"--device {run.device}: expected auto, cpu, cuda, cuda:N or mps")
    if run.gpu is not None and run.gpu != "mps" and not re.fullmatch("[0-9]+", run.gpu):
        raise UserError(f"--gpu {run.gpu}: expected a number or mps")
    if milestones != sorted(set(milestones)):
        raise UserError(f"--milestones must rise, got {' '.join(map(str, milestones))}")


def check_mode(config: Config, given: dict[str, Any]) -> None:
    """What belongs to other modes, and the checkpoint that some need."""
    run = config.run
    if run.resume is not None and run.mode not in ("train", "ablate"):
        raise UserError(f"--resume goes on with a training, not with --mode {run.mode}")
    if run.mode == "eval" and run.eval_checkpoint is None and not run.dry_run:
        raise UserError(f"--mode {run.mode} needs --eval-checkpoint FILE")
    if run.mode not in READ_CHECKPOINT and run.eval_checkpoint is not None:
        raise UserError(f"--eval-checkpoint is read by --mode {', '.join(READ_CHECKPOINT)}, not by --mode {run.mode}")
    if run.mode != "train" and "init_from" in given:
        raise UserError(f"--init-from {config.model.init_from}: only training starts from it, not --mode {run.mode}")
    if run.mode == "zero-shot" and "targets" in given:
        raise UserError(
            f"--targets {config.data.targets}: zero-shot compares with classes; --mode eval scores a readout"
        )


def check_data(config: Config, given: dict[str, Any]) -> None:
    """Crops, augmentation, and streams that are not there."""
    data, model = config.data, config.model
    reads_boxes = not names_idle(config)  # bodies of a video are found in it
    if reads_boxes and data.crop_body and data.bounding_box_body is None:
        raise UserError("--crop-body needs --bounding-box-body FILE, the boxes to crop to")
    if model.streams == "context" and given.get("adapter", "none") != "none":
        raise UserError(f"--adapter {model.adapter} works on the face stream, which --streams context leaves out")
    _check_augmentation(config, given)
    if data.cache_features and given.get("augment") == "device":
        raise UserError("--augment device: --cache-features augments the frames that it stores; leave out one of them")


def check_optim(config: Config) -> None:
    """What is about a learning image encoder, or a frozen one."""
    optim, caches = config.optim, config.data.cache_features and config.run.mode == "train"
    if caches and optim.lr_image_encoder > 0:
        raise UserError("--cache-features needs a frozen encoder: add --lr-image-encoder 0")
    if optim.grad_checkpointing and optim.lr_image_encoder == 0:
        raise UserError("--grad-checkpointing saves memory of a learning image encoder, but --lr-image-encoder is 0")
    if optim.layer_decay < 1 and optim.lr_image_encoder == 0:
        raise UserError("--layer-decay is about a learning image encoder, but --lr-image-encoder is 0")
    if optim.compile and caches:
        raise UserError("--compile speeds up the image encoder, which --cache-features runs only once; keep one")


def check_pretraining(config: Config, given: dict[str, Any]) -> None:
    """Pairs of stills, and what is theirs alone."""
    mode, optim = config.run.mode, config.optim
    if mode == "pretrain-clip" and not 2 <= optim.batch_size <= 2 * config.pretrain.stills:
        raise UserError(f"--batch-size {optim.batch_size}: half of it are faces, so 2 to twice --stills")
    if mode == "pretrain-clip" and optim.amp == "fp16":
        raise UserError("--amp fp16: pre-training scales no gradients; use --amp bf16 or off")
    own = [flag_of(f.name) for f in dataclasses.fields(config.pretrain) if f.name in given]
    if own and mode != "pretrain-clip":
        raise UserError(f"{own[0]} belongs to --mode pretrain-clip, not to --mode {mode}")


def check_training(config: Config, given: dict[str, Any]) -> None:
    """Which epoch is kept, and what the family and the task have no use for."""
    data, model = config.data, config.model
    _check_selection(config, given)
    if data.captions is not None and config.loss.caption_source == "class":
        raise UserError(f"--captions {data.captions}: --caption-source class reads none; keep one")
    check_frame_task(model.model, model.task)
    check_family(model.model, given, defaults())
    check_task(model.task, given, defaults() | family_defaults(model.model))


def check_results(config: Config, given: dict[str, Any]) -> None:
    """What only some modes make of predictions, and what is drawn again where clips are long videos or numbers."""
    run, model = config.run, config.model
    for name, modes in HONOURED_BY.items():
        if name in given and run.mode not in modes and not names_idle(config):
            raise UserError(f"{flag_of(name)} belongs to --mode {', '.join(modes)}, not to --mode {run.mode}")
    if model.model == "sequence" and config.results.ci in ("persons", "clips"):
        raise UserError(f"--ci {config.results.ci}: of --model sequence whole videos are drawn again; auto or off")


def check_files(run: RunOptions) -> None:
    """Words without a flag, of the modes that read them."""
    needed = READ_FILES.get(run.mode)
    if needed is None and run.files:
        raise UserError(f"{run.files[0]}: only --mode {', '.join(READ_FILES)} take files without a flag")
    if needed is not None and not needed.fewest <= len(run.files) <= needed.most:
        raise UserError(f"--mode {run.mode} needs {needed.what}: python main.py --mode {run.mode} {needed.example}")


def check_sequence(config: Config) -> None:
    """Windows that cover a video, and what only other families can do."""
    options, model = config.sequence, config.model.model
    if model in SPLIT_BY_FOLD and config.optim.select_on == "test":
        raise UserError(f"--select-on test: --model {model} knows training and validation videos; val or last")
    if model != "sequence":
        return
    if options.stride > options.window:
        raise UserError(f"--stride {options.stride}: at most --window {options.window}, so that no frame is left out")
    if options.smooth % 2 == 0:
        raise UserError(f"--smooth {options.smooth}: an odd number of frames has a centre")
    if not options.tcn_channels:
        raise UserError("--tcn-channels needs a number for each block; --no-tcn leaves the convolutions out")
    if not options.tcn and not options.causal:
        raise UserError("--no-causal is about the convolutions, which --no-tcn leaves out")


def check_attention(config: Config, given: dict[str, Any]) -> None:
    """What ``--mode attention`` needs, and what belongs to it alone."""
    run = config.run
    if run.mode == "attention" and run.eval_checkpoint is None and not run.dry_run:
        raise UserError("--mode attention needs --eval-checkpoint FILE, whose model is explained")
    foreign = [flag_of(field.name) for field in dataclasses.fields(config.attention) if field.name in given]
    if foreign and run.mode != "attention":
        raise UserError(f"{foreign[0]} belongs to --mode attention, not to --mode {run.mode}")


def _check_augmentation(config: Config, given: dict[str, Any]) -> None:
    data = config.data
    if data.sampling == "window" and data.duration != 1:
        raise UserError(f"--duration {data.duration}: --sampling window is of consecutive frames; pass --duration 1")
    if data.sampling != "window" and given.get("downsample", 1) != 1:
        raise UserError(f"--downsample {data.downsample} belongs to --sampling window, not to {data.sampling}")
    if not data.cache_features or config.run.mode != "train":
        return
    if data.random_crop < 1:
        raise UserError(f"--random-crop {data.random_crop}: --cache-features stores no parts; pass --random-crop 1")
    if data.brightness > 0:
        raise UserError(f"--brightness {data.brightness}: --cache-features stores fixed pixels; pass --brightness 0")


def _check_selection(config: Config, given: dict[str, Any]) -> None:
    data, select_on = config.data, config.optim.select_on
    if data.val_annotation is not None and given.get("val_fraction", 0) > 0:
        raise UserError("--val-fraction holds clips out of train, but --val-annotation names a list; keep one")
    if select_on == "val" and data.val_annotation is None and data.val_fraction == 0:
        raise UserError("--select-on val needs --val-annotation or a --val-fraction above 0 (or use --select-on last)")
    if select_on == "test" and data.test_annotation is None and not config.run.dry_run:
        raise UserError("--select-on test needs --test-annotation FILE")
