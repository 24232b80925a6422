"""The runner of checkpoints of all methods."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from apps.predict.runners import CLASSES, FRAMES, NUMBERS, ModelInfo
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS, TASKS
from engine.checkpoints import Opened, doubtful_flags, open_checkpoint
from engine.device import choose_amp, choose_device, statistics_of, to_pixels, use_device
from engine.options import Config, SequenceOptions, group_of
from engine.video_features import FrameEncoder, open_encoder
from engine.zero_shot import caption_model, plain_clip
from utils.checkpoint import is_checkpoint_folder, read_checkpoint
from utils.errors import UserError
from utils.hub import is_folder, local_folder

CHUNK = 64  # frames in one pass of the image encoder


class TorchRunner:
    """A model of windows, or a sequence model of frames together with the image encoder whose features it reads."""

    def __init__(
        self,
        model: nn.Module,
        info: ModelInfo,
        device: torch.device,
        amp: torch.dtype | None = None,
        *,
        encoder: nn.Module | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """``encoder``: for a sequence model, the image encoder of its training features."""
        self.model, self.info, self.device, self.amp = model.eval().to(device), info, device, amp
        self.encoder = self.model.image_encoder if encoder is None else encoder.eval().to(device)
        self.warnings = warnings
        with torch.inference_mode():
            has_texts = hasattr(model, "encode_texts") and getattr(model, "readout", None) is None
            self.texts = model.encode_texts(model.classifies_with_soft_texts) if has_texts else None

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None)

    @torch.inference_mode()
    def encode(self, squares: np.ndarray) -> np.ndarray:
        """Return features (N, D) float32 of squares (N, 3, S, S) uint8, some squares at a time."""
        with self.autocast():
            chunks = (chunk.to(self.device) for chunk in torch.from_numpy(squares).split(CHUNK))
            pixels = (to_pixels(chunk, self.info.normalize, statistics_of(self.encoder)) for chunk in chunks)
            features = torch.cat([self.encoder(chunk).float().cpu() for chunk in pixels])
        if self.info.kind == FRAMES:  # --mode cache stores features in half precision
            features = features.half().float()
        return features.numpy()

    @torch.inference_mode()
    def head(self, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
        """Return outputs (B, C), or (B, T, C) of a sequence model, float32, of features (B, T, D) per stream."""
        streams = [None if rows is None else torch.from_numpy(rows).to(self.device) for rows in (face, context)]
        with self.autocast():
            if self.info.kind != FRAMES:
                return self.model.head(*streams, self.texts).logits.float().cpu().numpy()
            out = self.model(streams[0])
        parts = (
            None if out.expr is None else out.expr.float().softmax(dim=-1),
            None if out.va is None else nan_if_infinite(out.va.float()).clamp(-1, 1),
            None if out.au is None else nan_if_infinite(out.au.float()).sigmoid(),
        )
        return torch.cat([part for part in parts if part is not None], dim=-1).cpu().numpy()


def nan_if_infinite(values: torch.Tensor) -> torch.Tensor:
    """Return ``values`` with NaN for infinity, which clamp and sigmoid would turn into a confident answer."""
    return values.masked_fill(values.isinf(), torch.nan)


def open_runner(config: Config, flags: dict[str, Any]) -> TorchRunner:
    """Return the runner of ``--eval-checkpoint``, with ``--class-texts`` of a caption model; else of plain CLIP."""
    device, device_warning = choose_device(config.run.device, config.run.gpu)
    tf32_warning = use_device(device, config.optim.tf32)
    amp, amp_warning = choose_amp(config.optim.amp, device)
    warnings, encoder = [*filter(None, (device_warning, amp_warning, tf32_warning))], None
    of_videos = ("mode", "smooth", "features")
    options = {n: value for n, value in flags.items() if group_of(n) != "video" and n not in of_videos}
    if config.run.eval_checkpoint is None:
        config, classes, model = plain_clip(config)
        info = model_info(config, "zero-shot", Path(config.model.clip_path), classes.names)
        return TorchRunner(model, info, device, amp, warnings=warnings)
    opened = open_checkpoint(Path(config.run.eval_checkpoint), options)
    content, path = opened.content, opened.path
    if "class_texts" in options:
        config, classes, model = caption_model(opened, options)
        info = model_info(config, opened.method.name, path, classes.names)
    elif opened.unnamed:
        raise UserError(f"{path}: {opened.unnamed}")
    elif opened.method.reads_features:
        model, info, encoder = load_sequence(opened, options, config)
    elif config.video.encoder is not None:
        raise UserError(f"--encoder {config.video.encoder}: {path} has its own image encoder; leave it out")
    else:
        config, model = opened.load(options)
        info = model_info(config, content["family"], path, tuple(content["classes"]))
        if opened.config.model.task == "regression":
            info = replace(info, kind=NUMBERS, names=(), numbers=info.names)
        if calibration := content.get("calibration"):
            info = replace(info, temperature=float(calibration["temperature"]), calibrated=True)
        read = {name: value for name, value in options.items() if name != "missing_face"}  # windows mask such frames
        warnings += doubtful_flags(opened, read, config)
    info = replace(info, trained_on=content.get("trained_on"), face_width=content.get("face_width"))
    return TorchRunner(model, info, device, amp, encoder=encoder, warnings=warnings)


def model_info(config: Config, family: str, path: Path, names: tuple[str, ...]) -> ModelInfo:
    """Return the facts about a model of windows from its config."""
    data = config.data
    return ModelInfo(
        family=family,
        model=path.name,
        kind=CLASSES,
        names=names,
        streams=config.model.streams,
        frames=data.num_segments * data.duration,
        duration=data.duration,
        sampling=data.sampling,
        downsample=data.downsample,
        size=data.image_size,
        normalize=data.normalize,
        crop_body=data.crop_body,
    )


def load_sequence(opened: Opened, options: dict[str, Any], config: Config) -> tuple[nn.Module, ModelInfo, nn.Module]:
    """Return a sequence model, and the image tower of ``--encoder``, whose features it must read."""
    if config.video.encoder is None:
        raise UserError(f"{opened.path} reads features of frames; name their encoder with --encoder FILE")
    readable = {field.name for field in fields(SequenceOptions)} | {"device", "gpu", "seed", "amp", "tf32"}
    sequence_config, model = opened.load({name: value for name, value in options.items() if name in readable})
    encoder = open_image_encoder(config, options)
    width = encoder.tower.proj.shape[1]
    if width != model.features:
        raise UserError(
            f"--encoder {config.video.encoder}: {width} features per frame, but {opened.path} reads {model.features}"
        )
    tasks, sequence = list(model.readouts), sequence_config.sequence
    info = ModelInfo(
        family="sequence",
        model=opened.path.name,
        kind=FRAMES,
        names=EXPRESSIONS if "expr" in tasks else (),
        numbers=(*(TASKS["va"].names if "va" in tasks else ()), *(ACTION_UNITS if "au" in tasks else ())),
        streams="face",
        frames=1,
        size=encoder.size,
        normalize=encoder.normalize,
        window=sequence.window,
        stride=sequence.stride,
    )
    return model, info, encoder.tower


def open_image_encoder(config: Config, options: dict[str, Any]) -> FrameEncoder:
    """Return the image encoder in ``--encoder``: a checkpoint of this project, else a CLIP."""
    path, normalize = Path(config.video.encoder), options.get("normalize")
    try:
        if is_folder(path):
            is_checkpoint = is_checkpoint_folder(local_folder(path))
        else:
            is_checkpoint = path.is_file() and "config" in read_checkpoint(path)
    except UserError:  # a CLIP file, whose reader reports errors
        is_checkpoint = False
    config = replace(
        config,
        run=replace(config.run, eval_checkpoint=str(path) if is_checkpoint else None),
        data=replace(config.data, normalize=normalize or "clip"),
        model=replace(config.model, clip_path=str(path)),
    )
    return open_encoder(config, {} if normalize is None else {"normalize": normalize})
