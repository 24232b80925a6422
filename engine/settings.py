"""From the command line to one checked Config: aliases resolved, contradictions refused by the flags' names."""

import dataclasses
import math
import os
import re
from typing import Any, NamedTuple

from engine.comparing.grid import check_ablation
from engine.families import check_family, check_frame_task, check_task, family_defaults
from engine.options import GROUPS, Config, RunOptions
from engine.series.folds import SPLIT_BY_FOLD, check_fold, check_series, fill_fold, stored_series
from engine.series.seeds import check_seeds
from engine.video.settings import check_video
from utils.config import flag_of, from_json, parse, resolve
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
FINETUNE = 1e-3  # of --lr: the published rate of a tower that is fine-tuned
DESCRIPTION = "Emotion recognition from video with CLIP: train, evaluate, zero-shot. Recipes: @recipes/<name>.args"


def read_command(arguments: list[str]) -> tuple[dict[str, Any], Config]:
    """What the user gave, and the whole checked Config."""
    given = parse(GROUPS, arguments, DESCRIPTION)
    return given, make_config(given, stored_series(given.get("resume")))


def resumed_series(config: Config, given: dict[str, Any]) -> Config:
    """The options of the series that ``--resume`` names, below what the user gave; else as it is."""
    stored = stored_series(config.run.resume)
    return config if stored is None else make_config(given, stored)


def make_config(given: dict[str, Any], stored: dict[str, dict[str, Any]] | None = None) -> Config:
    """Defaults, below a checkpoint's stored options, below what the user gave."""
    layer = from_json(GROUPS, stored) if stored else {}
    model = given.get("model", layer.get("model", "clip-caer"))
    config = Config(**resolve(GROUPS, family_defaults(model), layer, given))
    check_fold(config, given, layer)
    config = _settle(config, given)
    check(config, given)
    return config


def _settle(config: Config, given: dict[str, Any]) -> Config:
    """Fill in the defaults that depend on other options."""
    run, data, optim = config.run, config.data, config.optim
    if run.workers is None:
        run = dataclasses.replace(run, workers=min(4, os.cpu_count() or 1))
    if data.pack == "none":
        data = dataclasses.replace(data, pack=None)
    if data.normalize is None:
        data = dataclasses.replace(data, normalize="clip" if config.run.mode in ("zero-shot", "cache") else "none")
    if data.crop_body is None:
        data = dataclasses.replace(data, crop_body=data.bounding_box_body is not None)
    if optim.use_amp:
        if given.get("amp", "fp16") != "fp16":
            raise UserError(f"--use-amp means --amp fp16, but --amp {optim.amp} is given as well; keep one")
        optim = dataclasses.replace(optim, amp="fp16", use_amp=False)
    if optim.lr_fusion is None:
        optim = dataclasses.replace(optim, lr_fusion=optim.lr)
    if optim.finetune_visual and optim.lr_image_encoder == 0:
        optim = dataclasses.replace(optim, lr_image_encoder=optim.lr * FINETUNE)
    if optim.finetune_text and optim.lr_text_encoder == 0:
        optim = dataclasses.replace(optim, lr_text_encoder=optim.lr * FINETUNE)
    return fill_fold(dataclasses.replace(config, run=run, data=data, optim=optim))


def check(config: Config, given: dict[str, Any]) -> None:
    """Refuse what cannot be meant."""
    run, data, model, optim = config.run, config.data, config.model, config.optim
    for name, value in given.items():
        if value == "" or (isinstance(value, tuple) and "" in value):
            raise UserError(f"{flag_of(name)} is empty; is it a shell variable that is not set?")
    if "gpu" in given and "device" in given:
        raise UserError("--gpu and --device both name the device; keep one")
    if run.device not in ("auto", "cpu", "cuda", "mps") and not re.fullmatch("cuda:[0-9]+", run.device):
        raise UserError(f"--device {run.device}: expected auto, cpu, cuda, cuda:N or mps")
    if run.gpu is not None and run.gpu != "mps" and not re.fullmatch("[0-9]+", run.gpu):
        raise UserError(f"--gpu {run.gpu}: expected a number or mps")
    check_files(run)
    if run.resume is not None and run.mode not in ("train", "ablate"):
        raise UserError(f"--resume goes on with a training, not with --mode {run.mode}")
    if run.mode == "eval" and run.eval_checkpoint is None and not run.dry_run:
        raise UserError(f"--mode {run.mode} needs --eval-checkpoint FILE")
    if run.mode not in READ_CHECKPOINT and run.eval_checkpoint is not None:
        raise UserError(f"--eval-checkpoint is read by --mode {', '.join(READ_CHECKPOINT)}, not by --mode {run.mode}")
    if run.mode != "train" and "init_from" in given:
        raise UserError(f"--init-from {model.init_from}: only training starts from it, not --mode {run.mode}")
    if run.mode == "zero-shot" and "targets" in given:
        raise UserError(f"--targets {data.targets}: zero-shot compares with classes; --mode eval scores a readout")
    if data.crop_body and data.bounding_box_body is None:
        raise UserError("--crop-body needs --bounding-box-body FILE, the boxes to crop to")
    if model.streams == "context" and given.get("adapter", "none") != "none":
        raise UserError(f"--adapter {model.adapter} works on the face stream, which --streams context leaves out")
    _check_augmentation(config, given)
    if data.cache_features and given.get("augment") == "device":
        raise UserError("--augment device: --cache-features augments the frames that it stores; leave out one of them")
    if list(optim.milestones) != sorted(set(optim.milestones)):
        raise UserError(f"--milestones must rise, got {' '.join(map(str, optim.milestones))}")
    if data.cache_features and run.mode == "train" and optim.lr_image_encoder > 0:
        raise UserError("--cache-features needs a frozen encoder: add --lr-image-encoder 0")
    if optim.grad_checkpointing and optim.lr_image_encoder == 0:
        raise UserError("--grad-checkpointing saves memory of a learning image encoder, but --lr-image-encoder is 0")
    if optim.layer_decay < 1 and optim.lr_image_encoder == 0:
        raise UserError("--layer-decay is about a learning image encoder, but --lr-image-encoder is 0")
    if optim.compile and data.cache_features and run.mode == "train":
        raise UserError("--compile speeds up the image encoder, which --cache-features runs only once; keep one")
    if run.mode == "pretrain-clip" and not 2 <= optim.batch_size <= 2 * config.pretrain.stills:
        raise UserError(f"--batch-size {optim.batch_size}: half of it are faces, so 2 to twice --stills")
    if run.mode == "pretrain-clip" and optim.amp == "fp16":
        raise UserError("--amp fp16: pre-training scales no gradients; use --amp bf16 or off")
    pretraining = [flag_of(f.name) for f in dataclasses.fields(config.pretrain) if f.name in given]
    if pretraining and run.mode != "pretrain-clip":
        raise UserError(f"{pretraining[0]} belongs to --mode pretrain-clip, not to --mode {run.mode}")
    check_results(config, given)
    check_series(config)
    check_seeds(config)
    check_ablation(config)
    check_sequence(config)
    check_attention(config, given)
    check_video(config, given)
    if run.mode == "train":
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
        if name in given and run.mode not in modes:
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


def defaults() -> dict[str, Any]:
    return {f.name: f.default for group in GROUPS.values() for f in dataclasses.fields(group)}


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


def warnings_of(config: Config) -> list[str]:
    """What is allowed but should not go unsaid."""
    loss, model, said = config.loss, config.model, []
    if config.run.mode != "train":
        return said
    if loss.use_weighted_sampler and loss.logit_adj:
        said.append(
            "--use-weighted-sampler and --logit-adj both correct for class sizes: rare classes are favoured twice"
        )
    if loss.use_weighted_sampler and loss.class_balanced_loss:
        said.append("--use-weighted-sampler and --class-balanced-loss both correct for class sizes: the same, twice")
    if loss.logit_adj and loss.class_balanced_loss:
        said.append("--logit-adj and --class-balanced-loss both correct for class sizes: the same, twice")
    if not model.tune_prompts and loss.mi_loss_weight + loss.dc_loss_weight > 0:
        said.append("--no-tune-prompts leaves MI and DC nothing to train: both are left out")
    if config.data.bounding_box_body is not None and model.streams == "face":
        said.append("--bounding-box-body is not read: this model sees faces alone")
    if config.optim.select_on == "test":
        said.append("the best epoch is selected on test: optimistic, and stored as such")
    if prompts_are_idle(config):
        said.append(
            "with --slerp-weight > 0 and descriptive texts the learnable prompts do not enter the classifier, and with "
            "MI and DC at 0 nothing trains them: they stay as they are (--iec-text soft or both uses them)"
        )
    return said


def prompts_are_idle(config: Config) -> bool:
    """True where no loss reaches the learnable prompts."""
    enter_classifier = config.model.slerp_weight == 0 or config.model.iec_text != "descriptive"
    loss, epochs = config.loss, config.optim.epochs
    mi_trains = loss.mi_loss_weight > 0 and loss.mi_warmup + (loss.mi_ramp > 0) < epochs
    reached_by_loss = mi_trains or (loss.dc_loss_weight > 0 and loss.dc_warmup + (loss.dc_ramp > 0) < epochs)
    return config.model.tune_prompts and not enter_classifier and not reached_by_loss
