"""Checks of a command line: options that contradict one another, or that a mode or a method does not use."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from engine.methods import method_named
from engine.options import FILES, TRAINING, Config, defaults, group_of, options_by_name, value_of
from engine.series import check_ablation, check_seeds, check_series
from utils.config import ON, flag_of, unmet_need, written
from utils.errors import UserError

FILES_NEEDED = {  # mode → fewest and most words without a flag, what they are, an example
    "inspect": (1, 1, "a file", "FILE"),
    "convert": (1, 1, "a file", "FILE"),
    "compare": (2, 2, "two run folders", "RUN_A RUN_B"),
    "report": (1, 10_000, "run folders", "RUN..."),
}


def check_command(config: Config, flags: Mapping[str, Any]) -> None:
    """Raise a UserError where a command line lacks what its mode needs."""
    run, video, files = config.run, config.video, config.run.files
    fewest, most, kind, example = FILES_NEEDED.get(run.mode, (0, 0, "", ""))
    if run.average:
        check_average(config)
        fewest = most = 0
    if files and not most:
        raise UserError(f"{files[0]}: only --mode {', '.join(FILES)} take files without a flag")
    if not fewest <= len(files) <= most:
        raise UserError(f"--mode {run.mode} needs {kind}: python main.py --mode {run.mode} {example}")
    if run.mode == "export" and video.format == "hub":
        raise UserError("--format hub belongs to --mode convert; --mode export writes onnx")
    if run.mode == "convert" and video.format == "onnx":
        raise UserError("--format onnx belongs to --mode export; --mode convert takes hub")
    if "license" in flags and video.format != "hub":
        raise UserError(f"--license {video.license} is for the card of --format hub; add it, or leave --license out")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", video.license):
        raise UserError(f"--license {video.license}: expected the hub's name of a licence, such as mit or cc-by-nc-4.0")
    if run.dry_run:
        return
    if run.mode in ("eval", "export") and run.eval_checkpoint is None:
        raise UserError(f"--mode {run.mode} needs --eval-checkpoint FILE")
    if run.mode == "attention" and run.eval_checkpoint is None:
        raise UserError("--mode attention needs --eval-checkpoint FILE, whose model is explained")
    if run.mode not in ("predict", "serve"):
        return
    has_model = run.eval_checkpoint is not None or video.onnx is not None
    if run.mode == "predict" and video.input is None:
        if about_videos := [name for name in flags if group_of(name) == "video"]:
            raise UserError(f"{flag_of(about_videos[0])} is about videos: name one, --input FILE")
        if not has_model:
            raise UserError("--mode predict needs --eval-checkpoint FILE")
    elif not has_model and not {"class_texts", "clip_path"} & set(flags):
        raise UserError(
            f"--mode {run.mode} needs --eval-checkpoint FILE or --onnx FILE (or, for plain CLIP, --clip-path and "
            f"--class-texts)"
        )


def check_average(config: Config) -> None:
    """Raise a UserError for files that ``--average`` cannot be of."""
    names, files = config.run.average, config.run.files
    if files:
        raise UserError(f"{files[0]}: --average names all the checkpoints; put it behind --average, or leave one out")
    if len(set(names)) < max(len(names), 2):
        raise UserError(f"--average {written(names)}: name two or more different checkpoints")


def check_config(config: Config, flags: Mapping[str, Any], reads_videos: bool) -> None:
    """Raise a UserError where options contradict one another; ``flags``: those that the user named.

    ``reads_videos``: the command reads videos. Faces are then detected, and unused training options are no error.
    """
    check_values(config, flags)
    check_modes(config, flags, reads_videos)
    check_data(config, flags, reads_videos)
    check_optim(config)
    check_series(config)
    check_seeds(config)
    check_ablation(config)
    method = method_named(config.model.model)
    if config.optim.select_on == "test" and method.splits_by_fold(config):
        raise UserError(f"--select-on test: --model {method.name} has no test videos; pass val or last")
    method.check(config, flags)
    check_videos(config, flags)
    if config.run.mode == "train":
        check_training(config, flags)


def check_values(config: Config, flags: Mapping[str, Any]) -> None:
    """Raise a UserError for a value that no mode can use."""
    run, milestones = config.run, list(config.optim.milestones)
    for name, value in flags.items():
        if value == "" or (isinstance(value, tuple) and "" in value):
            raise UserError(
                f"{flag_of(name)} is empty; is it a shell variable that is not set? ({flag_of(name)}= with nothing "
                f"after it takes back what a recipe sets)"
            )
    if "gpu" in flags and "device" in flags:
        raise UserError("--gpu and --device both name the device; keep one")
    if run.device not in ("auto", "cpu", "cuda", "mps") and not re.fullmatch("cuda:[0-9]+", run.device):
        raise UserError(f"--device {run.device}: expected auto, cpu, cuda, cuda:N or mps")
    if run.gpu is not None and run.gpu != "mps" and not re.fullmatch("[0-9]+", run.gpu):
        raise UserError(f"--gpu {run.gpu}: expected a number or mps")
    if milestones != sorted(set(milestones)):
        raise UserError(f"--milestones must rise, got {' '.join(map(str, milestones))}")


def check_modes(config: Config, flags: Mapping[str, Any], reads_videos: bool) -> None:
    """Raise a UserError for an option of another mode. With videos, unused training options only get a warning."""
    mode, fields = config.run.mode, options_by_name()
    for name, value in flags.items():
        facts = fields[name].metadata
        if not facts["belongs"] or facts["positional"] or mode in facts["modes"]:
            continue
        if mode in TRAINING and value == fields[name].default and not set(facts["modes"]).isdisjoint(TRAINING):
            continue  # each run of an ablation resets the options of the ablation itself
        if reads_videos and "train" in facts["modes"]:
            continue
        if mode == "serve" and name == "overlay":
            raise UserError("--overlay is not used by --mode serve, whose page always shows it; leave it out")
        raise UserError(f"{flag_of(name)} belongs to --mode {', '.join(facts['modes'])}, not to --mode {mode}")
    if mode == "zero-shot" and "targets" in flags:
        raise UserError(
            f"--targets {config.data.targets}: zero-shot compares with classes; --mode eval scores a readout"
        )


def check_data(config: Config, flags: Mapping[str, Any], reads_videos: bool) -> None:
    """Raise a UserError for crops, augmentation and streams that do not go together."""
    data, model = config.data, config.model
    if not reads_videos and data.crop_body and data.bounding_box_body is None:
        raise UserError("--crop-body needs --bounding-box-body FILE, the boxes to crop to")
    if model.streams == "context" and flags.get("adapter", "none") != "none":
        raise UserError(f"--adapter {model.adapter} works on the face stream, which --streams context leaves out")
    if model.streams == "context" and flags.get("adapter_dropout", 0) > 0:
        raise UserError(
            f"--adapter-dropout {model.adapter_dropout:g}: --streams context leaves out the face stream, and with it "
            f"the adapter; leave one out"
        )
    if data.sampling == "window" and data.duration != 1:
        raise UserError(f"--duration {data.duration}: --sampling window takes consecutive frames; pass --duration 1")
    if data.sampling != "window" and flags.get("downsample", 1) != 1:
        raise UserError(f"--downsample {data.downsample} belongs to --sampling window, not to {data.sampling}")
    if data.cache_features and flags.get("augment") == "device":
        raise UserError("--augment device: --cache-features augments frames before storing them; leave one of them out")
    if config.run.mode != "train":
        return


def check_optim(config: Config) -> None:
    """Raise a UserError for options that need a trained or a frozen image encoder, and for --mode pretrain-clip."""
    optim, caches = config.optim, config.data.cache_features and config.run.mode == "train"
    for tower, rate in (("image", optim.lr_image_encoder), ("text", optim.lr_text_encoder)):
        if optim.has_lora(tower) and optim.weights_learn(tower):
            raise UserError(
                f"--lr-{tower}-encoder {rate:g}: --lora-rank freezes the weights of the {tower} tower and learns "
                f"corrections at --lr-lora; pass --lr-{tower}-encoder 0"
            )
    if caches and optim.has_lora("image"):
        raise UserError("--cache-features stores features, which --lora-rank changes in every step; leave out one")
    if caches and optim.learns("image"):
        raise UserError("--cache-features needs a frozen encoder: add --lr-image-encoder 0")
    if optim.grad_checkpointing and not optim.learns("image"):
        raise UserError("--grad-checkpointing needs a trained image encoder, but --lr-image-encoder is 0")
    if optim.layer_decay < 1 and not optim.weights_learn("image"):
        raise UserError("--layer-decay needs a trained image encoder, but --lr-image-encoder is 0")
    if optim.compile and caches:
        raise UserError("--compile speeds up the image encoder, which --cache-features runs only once; keep one")
    if config.run.mode != "pretrain-clip":
        return
    if not 2 <= optim.batch_size <= 2 * config.pretrain.stills:
        raise UserError(f"--batch-size {optim.batch_size}: half of them are faces, so 2 to twice --stills")
    if optim.amp == "fp16":
        raise UserError("--amp fp16: pre-training does not scale gradients; use --amp bf16 or off")


def check_training(config: Config, flags: Mapping[str, Any]) -> None:
    """Raise a UserError for a choice of the best epoch that is not possible, or an option that the method ignores."""
    data, select_on, model = config.data, config.optim.select_on, config.model
    method = method_named(model.model)
    if data.val_annotation is not None and flags.get("val_fraction", 0) > 0:
        raise UserError("--val-fraction holds clips out of train, but --val-annotation names a list; keep one")
    if select_on == "val" and data.val_annotation is None and data.val_fraction == 0:
        raise UserError("--select-on val needs --val-annotation or a --val-fraction above 0 (or use --select-on last)")
    if select_on == "test" and data.test_annotation is None and not config.run.dry_run:
        raise UserError("--select-on test needs --test-annotation FILE")
    if model.task not in method.tasks:
        raise UserError(
            f"--task {model.task} is not used by --model {method.name}, whose tasks are {', '.join(method.tasks)}"
        )
    check_method(model.model, flags, model.task)
    check_targets(config)
    if config.loss.mixup > 0 and config.optim.batch_size == 1:
        raise UserError(f"--mixup {config.loss.mixup:g}: mixes two clips of a batch; pass --batch-size 2 or more")


def check_needs(config: Config, flags: Mapping[str, Any]) -> None:
    """Raise a UserError if training does not read one of ``flags`` because of the value of another option."""
    if idle := idle_options(config, flags):
        raise UserError(idle_message(config, idle[0]))


def idle_options(config: Config, flags: Mapping[str, Any]) -> list[str]:
    """Return the options in ``flags`` that training does not read because of the value of another option.

    The default is allowed as a value, and so is an empty list.
    """
    usual = defaults() | dict(method_named(config.model.model).defaults)
    return [name for name in flags if flags[name] not in (usual[name], ()) and needed_option(config, name) is not None]


def needed_option(config: Config, name: str) -> str | None:
    """Return the option whose value makes another one meaningless."""
    return unmet_need(options_by_name()[name], partial(value_of, config))


def idle_message(config: Config, name: str) -> str:
    """Return why training does not read an option of ``idle_options``."""
    needed = needed_option(config, name)
    values = options_by_name()[name].metadata["needs"][needed]
    flag, other = flag_of(name), flag_of(needed)
    return (
        f"{flag} {written(value_of(config, name))} is not used with {other} {written(value_of(config, needed))}; leave "
        f"it out ({flag}= takes back what a recipe sets), or "
        + (f"set {other} as well" if values is ON else f"pass {other} {values[0]}")
    )


def check_targets(config: Config) -> None:
    """Raise a UserError for two options that both state the target of a clip, or for LDAM without one true class."""
    loss = config.loss
    semantic, smoothing = f"--semantic-labels {loss.semantic_labels:g}", f"--label-smoothing {loss.label_smoothing:g}"
    if loss.semantic_labels > 0 and loss.label_smoothing > 0:
        raise UserError(f"{semantic} and {smoothing} both spread the target over several classes; keep one")
    if loss.ldam != "off" and loss.semantic_labels > 0:
        raise UserError(
            f"--ldam {loss.ldam} has a margin for one true class, {semantic} spreads the target over several; keep one"
        )


def check_method(name: str, flags: Mapping[str, Any], task: str | None = None) -> None:
    """Raise a UserError for an option that a method, or one of its tasks, does not use.

    The method's own default is allowed as a value. For a task with its own training it is not: ``--task regression``
    takes the options of the video model from its checkpoint, so that the default would be wrong.
    """
    method, fields = method_named(name), options_by_name()
    usual = defaults() | dict(method.defaults)
    readers = [(f"--model {name}", method.reads, usual)]
    if task in method.task_reads:
        readers.append(
            (f"--task {task}", method.task_reads[task], {} if ("train", task) in method.functions else usual)
        )
    for reader, parts, allowed in readers:
        for option in sorted(flags):
            part = fields[option].metadata["part"]
            is_allowed = option in allowed and flags[option] == allowed[option]
            if part is not None and part not in parts and not is_allowed:
                raise UserError(f"{flag_of(option)} {written(flags[option])} is not used by {reader}; leave it out")


def check_videos(config: Config, flags: Mapping[str, Any]) -> None:
    """Raise a UserError for options of ``--mode predict`` and ``serve`` that exclude one another."""
    run, video = config.run, config.video
    if run.mode not in ("predict", "serve"):
        return
    if run.mode == "serve" and "output_dir" in flags:
        raise UserError("--output-dir is not used by --mode serve, which stores nothing; leave it out")
    if config.sequence.smooth % 2 == 0:
        raise UserError(f"--smooth {config.sequence.smooth}: must be odd, so that the windows have a centre")
    if video.onnx is not None:
        read, groups = read_options(run.mode), ("data", "model", "optim")
        settled = [name for name in flags if name in read and (name == "encoder" or group_of(name) in groups)]
        if settled:
            raise UserError(f"{flag_of(settled[0])} is fixed in the file of --onnx; leave it out")
        if "mps" in (run.device, run.gpu):
            raise UserError("--onnx runs on the CPU or on CUDA, not on mps")
    if video.input is not None and "features" in flags:
        raise UserError("--input reads videos and --features reads their stored features; keep one")
    if video.onnx is not None and run.eval_checkpoint is not None:
        raise UserError("--onnx and --eval-checkpoint both name the model; keep one")


def reads_videos(config: Config) -> bool:
    """Return whether a command reads videos, where a training recipe may be given too."""
    return config.run.mode in ("serve", "export") or config.video.input is not None


def read_options(mode: str) -> set[str]:
    """Return the names of the options that a mode or the model of a checkpoint reads."""
    fields = options_by_name()
    return {n for n, f in fields.items() if mode in f.metadata["modes"] or f.metadata["checkpoint"] is not None}


def idle_flags(config: Config, flags: Mapping[str, Any]) -> str | None:
    """Return a sentence on options that the user passed, often by a recipe, and that this mode does not read."""
    mode, read = config.run.mode, read_options(config.run.mode)
    idle = [flag_of(name) for name in flags if name not in read]
    if not idle:
        return None
    return f"--mode {mode} does not read {' '.join(idle[:8])}" + (" ..." if len(idle) > 8 else "")
