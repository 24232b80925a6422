"""Contradictions among the options of answers on videos."""

from dataclasses import fields
from typing import Any

from utils.config import flag_of
from utils.errors import UserError

OF_VIDEOS = (
    "input", "onnx", "face_model", "face_width", "every", "seconds", "detect_every", "threshold", "max_persons",
    "overlay", "encoder",
)  # fmt: skip
READ_VIDEOS = ("predict", "serve")
SHAPING = (  # what a model is fed with, and how it computes, besides the options of the model
    "dataset", "class_texts", "num_segments", "duration", "image_size", "sampling", "downsample", "normalize",
    "crop_body", "amp", "use_amp", "tf32",
)  # fmt: skip
IN_FILE = (*SHAPING, "clip_path", "encoder")  # what an exported file settles
READ_OF_OTHERS = (  # what else of main.py's options is read where videos are
    *SHAPING, "mode", "files", "exper_name", "output_dir", "eval_checkpoint", "allow_partial", "device", "gpu", "seed",
)  # fmt: skip
NOT_SERVED = {"overlay": "the page shows it", "output_dir": "nothing is kept"}
OF_SERVE = ("host", "port", "max_upload_mb", "max_minutes")


def check_video(config: Any, given: dict[str, Any]) -> None:
    """Flags of videos belong to modes that read some, and each of them to what it changes."""
    run, video = config.run, config.video
    named = [name for name in OF_VIDEOS if name in given]
    if named and run.mode not in READ_VIDEOS:
        raise UserError(f"{flag_of(named[0])} belongs to --mode {', '.join(READ_VIDEOS)}, not to --mode {run.mode}")
    served = [name for name in OF_SERVE if name in given]
    if served and run.mode != "serve":
        raise UserError(f"{flag_of(served[0])} belongs to --mode serve, not to --mode {run.mode}")
    if "format" in given and run.mode != "export":
        raise UserError(f"--format belongs to --mode export, not to --mode {run.mode}")
    if run.mode == "serve":
        for name in NOT_SERVED.keys() & given.keys():
            raise UserError(f"{flag_of(name)} means nothing to --mode serve: {NOT_SERVED[name]}")
    if run.mode in READ_VIDEOS and config.sequence.smooth % 2 == 0:
        raise UserError(f"--smooth {config.sequence.smooth}: an odd number of windows has a centre")
    settled = [name for name in given if name in IN_FILE or hasattr(config.model, name)]
    if video.onnx is not None and settled:
        raise UserError(f"{flag_of(settled[0])} is settled in the file of --onnx; leave it out")
    if video.onnx is not None and "mps" in (run.device, run.gpu):
        raise UserError("--onnx runs on the CPU or on CUDA, not on mps")
    if run.mode != "predict":
        return
    if video.input is None and named:
        raise UserError(f"{flag_of(named[0])} is about videos: name one, --input FILE")
    if video.input is None and run.eval_checkpoint is None and not run.dry_run:
        raise UserError("--mode predict needs --eval-checkpoint FILE")
    if video.input is None:
        return
    if "features" in given:
        raise UserError("--input reads videos, --features what was made of them; keep one")
    if video.onnx is not None and run.eval_checkpoint is not None:
        raise UserError("--onnx and --eval-checkpoint both name the model; keep one")
    has_model = video.onnx is not None or run.eval_checkpoint is not None
    if not has_model and not {"class_texts", "clip_path"} & set(given) and not run.dry_run:
        raise UserError(
            "--mode predict needs --eval-checkpoint FILE or --onnx FILE (or, for plain CLIP, --clip-path and "
            "--class-texts)"
        )


def names_idle(config: Any) -> bool:
    """Whether ``idle_flags`` are told, so that a recipe of training serves here, too."""
    return config.run.mode in ("serve", "export") or config.video.input is not None


def idle_flags(config: Any, given: dict[str, Any]) -> str | None:
    """What was given, by a recipe for one, and changes no answer on a video; in a sentence."""
    read = {field.name for group in (config.model, config.sequence, config.video) for field in fields(group)}
    idle = [flag_of(name) for name in given if name not in {*read, *READ_OF_OTHERS}]
    if not idle:
        return None
    return f"--mode {config.run.mode} does not read {' '.join(idle[:8])}" + (" ..." if len(idle) > 8 else "")
