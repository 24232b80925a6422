"""Checkpoints of every method as runners."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from apps.predict.runners import CLASSES, FRAMES, NUMBERS, ModelInfo
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS, TASKS
from engine.checkpoints import Opened, doubtful_flags, model_config, open_checkpoint, rebuild
from engine.device import choose_amp, choose_device, to_pixels, use_device
from engine.options import Config, SequenceOptions, group_of
from engine.video_features import FrameEncoder, open_encoder
from engine.zero_shot import caption_model, plain_clip
from utils.checkpoint import read_checkpoint
from utils.errors import UserError, about

CHUNK = 64  # frames in one pass of the image encoder


class TorchRunner:
    """A model of windows or, behind the image encoder whose features it reads, a sequence model of frames."""

    def __init__(
        self,
        model: nn.Module,
        info: ModelInfo,
        device: torch.device,
        amp: torch.dtype | None = None,
        *,
        encoder: nn.Module | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        """``encoder``: of a sequence model, the image encoder that it was trained behind."""
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
        """(N, 3, S, S) uint8 → (N, D) float32, a bounded number of squares at a time."""
        rows: list[Tensor] = []
        for chunk in torch.from_numpy(squares).split(CHUNK):
            with self.autocast():
                rows.append(self.encoder(to_pixels(chunk.to(self.device), self.info.normalize)).float().cpu())
        features = torch.cat(rows)
        if self.info.kind == FRAMES:  # --mode cache stores features in half precision
            features = features.half().float()
        return features.numpy()

    @torch.inference_mode()
    def head(self, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
        """(B, T, D) per stream → (B, C), or (B, T, C) of a sequence model; float32."""
        streams = [None if rows is None else torch.from_numpy(rows).to(self.device) for rows in (face, context)]
        with self.autocast():
            if self.info.kind != FRAMES:
                return self.model.head(*streams, self.texts).logits.float().cpu().numpy()
            out = self.model(streams[0])
        parts = []
        if out.expr is not None:
            parts.append(out.expr.float().softmax(dim=-1))
        if out.va is not None:
            parts.append(out.va.float().clamp(-1, 1))
        if out.au is not None:
            parts.append(out.au.float().sigmoid())
        return torch.cat(parts, dim=-1).cpu().numpy()


@dataclass(frozen=True)
class LoadedModel:
    """A model before it is placed on a device; the fields are those of ``TorchRunner``."""

    model: nn.Module
    info: ModelInfo
    encoder: nn.Module | None = None
    warnings: tuple[str, ...] = ()


def open_runner(config: Config, flags: dict[str, Any]) -> TorchRunner:
    """Return the runner of ``--eval-checkpoint``, with ``--class-texts`` of a caption model; else of plain CLIP."""
    device, device_warning = choose_device(config.run.device, config.run.gpu)
    tf32_warning = use_device(device, config.optim.tf32)
    amp, amp_warning = choose_amp(config.optim.amp, device)
    of_videos = ("mode", "smooth", "features")
    model_options = {n: value for n, value in flags.items() if group_of(n) != "video" and n not in of_videos}
    if config.run.eval_checkpoint is None:
        config, classes, model = plain_clip(config)
        loaded = LoadedModel(model, model_info(config, "zero-shot", Path(config.model.clip_path), classes.names))
    else:
        opened = open_checkpoint(Path(config.run.eval_checkpoint), model_options)
        loaded = load_model(opened, model_options, config)
        content = opened.content
        info = replace(loaded.info, trained_on=content.get("trained_on"), face_width=content.get("face_width"))
        loaded = replace(loaded, info=info)
    warnings = (*filter(None, (device_warning, amp_warning, tf32_warning)), *loaded.warnings)
    return TorchRunner(loaded.model, loaded.info, device, amp, encoder=loaded.encoder, warnings=warnings)


def load_model(opened: Opened, model_options: dict[str, Any], config: Config) -> LoadedModel:
    """Return the model of a checkpoint: with new class texts, of frames, or with its own classes or numbers."""
    if "class_texts" in model_options:
        config, classes, model = caption_model(opened, model_options)
        return LoadedModel(model, model_info(config, opened.method.name, opened.path, classes.names))
    if opened.unnamed:
        raise UserError(f"{opened.path}: {opened.unnamed}")
    content = opened.content
    if opened.method.reads_features:
        return load_sequence(opened, model_options, config)
    if config.video.encoder is not None:
        raise UserError(f"--encoder {config.video.encoder}: {opened.path} has one of its own; leave it out")
    with about(opened.path):
        config = model_config(content, model_options)
        model = rebuild(content, config)
    info = model_info(config, content["family"], opened.path, tuple(content["classes"]))
    if opened.config.model.task == "regression":
        info = replace(info, kind=NUMBERS, names=(), numbers=info.names)
    if calibration := content.get("calibration"):
        info = replace(info, temperature=float(calibration["temperature"]), calibrated=True)
    read = {name: value for name, value in model_options.items() if name != "missing_face"}  # windows mask such frames
    warnings = doubtful_flags(opened, read, config)
    return LoadedModel(model, info, warnings=tuple(warnings))


def model_info(config: Config, family: str, path: Path, names: tuple[str, ...]) -> ModelInfo:
    """Return what the config says of a model of windows."""
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


def load_sequence(opened: Opened, model_options: dict[str, Any], config: Config) -> LoadedModel:
    """Return a sequence model behind ``--encoder``, whose features must have the size that the model reads."""
    if config.video.encoder is None:
        raise UserError(f"{opened.path} reads features of frames: name what made them, --encoder FILE")
    readable = {field.name for field in fields(SequenceOptions)} | {"device", "gpu", "seed", "amp", "tf32"}
    with about(opened.path):
        own_options = {name: value for name, value in model_options.items() if name in readable}
        sequence_config = model_config(opened.content, own_options)
        model = rebuild(opened.content, sequence_config)
    encoder = open_image_encoder(config, model_options)
    width = encoder.tower.proj.shape[1]
    if width != model.features:
        raise UserError(
            f"--encoder {config.video.encoder}: gives {width} numbers a frame, but {opened.path} reads {model.features}"
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
    return LoadedModel(model, info, encoder.tower)


def open_image_encoder(config: Config, model_options: dict[str, Any]) -> FrameEncoder:
    """Return the image encoder in ``--encoder``: a checkpoint of this project, else a CLIP file."""
    path = Path(config.video.encoder)
    options = {name: model_options[name] for name in ("normalize",) if name in model_options}
    if is_checkpoint(path):
        return open_encoder(replace(config, run=replace(config.run, eval_checkpoint=str(path))), options)
    config = replace(
        config,
        run=replace(config.run, eval_checkpoint=None),
        data=replace(config.data, normalize=options.get("normalize", "clip")),
        model=replace(config.model, clip_path=str(path)),
    )
    return open_encoder(config, options)


def is_checkpoint(path: Path) -> bool:
    """Return whether the file is a checkpoint of this project."""
    if not path.is_file():
        return False
    try:
        return "config" in read_checkpoint(path)
    except UserError:  # a CLIP archive or safetensors, whose own reader reports what is wrong with it
        return False
