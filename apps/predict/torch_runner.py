"""A checkpoint of any family as a runner: windows of frames in, logits out."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from apps.predict.runner import CLASSES, FRAMES, NUMBERS, About
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS, TASKS
from engine.checkpoints import Opened, doubtful_flags, model_config, open_checkpoint, rebuild
from engine.device import choose_amp, choose_device, to_pixels, use_device
from engine.options import Config, SequenceOptions, VideoOptions
from engine.zero_shot import caption_model, plain_clip
from utils.errors import UserError, about

CHUNK = 64  # frames in one pass of the image tower
OF_VIDEOS = {field.name for field in fields(VideoOptions)} | {"mode", "smooth", "features"}


class TorchRunner:
    """The model of a checkpoint whose answers belong to a window: classes, or numbers that are read out."""

    doubts: tuple[str, ...] = ()  # what the user named and does not get, or what makes it another model

    def __init__(self, model: nn.Module, about: About, device: torch.device, amp: torch.dtype | None = None) -> None:
        self.model, self.about, self.device, self.amp = model.eval().to(device), about, device, amp
        with torch.inference_mode():
            has_texts = hasattr(model, "encode_texts") and getattr(model, "readout", None) is None
            self.texts = model.encode_texts(model.classifies_with_soft_texts) if has_texts else None

    def __call__(self, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
        """(B, T, 3, S, S) uint8 each, or None → (B, C) float32."""
        encoded = []
        for squares in (face, context):
            if squares is not None:
                squares = self.encode(squares.reshape(-1, *squares.shape[2:])).reshape(*squares.shape[:2], -1)
            encoded.append(squares)
        return self.head(*encoded)

    def encode(self, squares: np.ndarray) -> np.ndarray:
        """(N, 3, S, S) uint8 → (N, D)."""
        return encode(self.model.image_encoder, squares, self.about.normalize, self.device, self.amp)

    @torch.inference_mode()
    def head(self, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
        """Features (B, T, D) each, or None → (B, C) float32."""
        streams = [None if rows is None else torch.from_numpy(rows).to(self.device) for rows in (face, context)]
        with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
            return self.model.head(*streams, self.texts).logits.float().cpu().numpy()


class SequenceRunner:
    """A model of every frame, behind the image tower whose features it was trained on."""

    doubts: tuple[str, ...] = ()

    def __init__(
        self, model: nn.Module, tower: nn.Module, about: About, device: torch.device, amp: torch.dtype | None = None
    ) -> None:
        self.model, self.tower = model.eval().to(device), tower.eval().to(device)
        self.about, self.device, self.amp = about, device, amp

    def __call__(self, face: np.ndarray, context: None = None) -> np.ndarray:
        """(B, L, 3, S, S) uint8 → (B, L, C)."""
        features = self.encode(face.reshape(-1, *face.shape[2:]))
        return self.head(features.reshape(*face.shape[:2], -1), None)

    def encode(self, squares: np.ndarray) -> np.ndarray:
        """(N, 3, S, S) uint8 → (N, D), as coarse as ``--mode cache`` stores them."""
        seen = encode(self.tower, squares, self.about.normalize, self.device, self.amp)
        return seen.astype(np.float16).astype(np.float32)

    @torch.inference_mode()
    def head(self, face: np.ndarray, context: None = None) -> np.ndarray:
        """(B, L, D) → (B, L, C): probabilities of expressions, valence and arousal, probabilities of action units."""
        with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
            out = self.model(torch.from_numpy(face).to(self.device))
        parts = []
        if out.expr is not None:
            parts.append(out.expr.float().softmax(dim=-1))
        if out.va is not None:
            parts.append(out.va.float().clamp(-1, 1))
        if out.au is not None:
            parts.append(out.au.float().sigmoid())
        return torch.cat(parts, dim=-1).cpu().numpy()


@torch.inference_mode()
def encode(
    tower: nn.Module, squares: np.ndarray, normalize: str, device: torch.device, amp: torch.dtype | None
) -> np.ndarray:
    """(N, 3, S, S) uint8 → (N, D) float32."""
    rows: list[Tensor] = []
    for part in torch.from_numpy(squares).split(CHUNK):
        with torch.autocast(device.type, dtype=amp, enabled=amp is not None):
            rows.append(tower(to_pixels(part.to(device), normalize)).float().cpu())
    return torch.cat(rows).numpy()


def open_runner(config: Config, given: dict[str, Any]) -> TorchRunner | SequenceRunner:
    """``--eval-checkpoint``, with ``--class-texts`` for a caption model; without a checkpoint plain CLIP."""
    device, device_warning = choose_device(config.run.device, config.run.gpu)
    tf32_warning = use_device(device, config.optim.tf32)
    amp, amp_warning = choose_amp(config.optim.amp, device)
    own = {name: value for name, value in given.items() if name not in OF_VIDEOS}
    if config.run.eval_checkpoint is None:
        config, classes, model = plain_clip(config)
        told = describe(config, "zero-shot", Path(config.model.clip_path), classes.names)
        runner = TorchRunner(model, told, device, amp)
    else:
        opened = open_checkpoint(Path(config.run.eval_checkpoint), own)
        runner = open_trained(opened, own, config, device, amp)
        told = {name: opened.content.get(name) for name in ("trained_on", "face_width")}
        runner.about = replace(runner.about, **told)
    runner.doubts = (*filter(None, (device_warning, amp_warning, tf32_warning)), *runner.doubts)
    return runner


def open_trained(
    opened: Opened, given: dict[str, Any], config: Config, device: torch.device, amp: torch.dtype | None
) -> TorchRunner | SequenceRunner:
    if "class_texts" in given:
        config, classes, model = caption_model(opened, given)
        return TorchRunner(model, describe(config, "emoclip", opened.path, classes.names), device, amp)
    if opened.unnamed:
        raise UserError(f"{opened.path}: {opened.unnamed}")
    if opened.method.reads_features:
        return open_sequence(opened, given, config, device, amp)
    if config.video.encoder is not None:
        raise UserError(f"--encoder {config.video.encoder}: {opened.path} has one of its own; leave it out")
    return open_classifier(opened, given, device, amp)


def open_classifier(
    opened: Opened, given: dict[str, Any], device: torch.device, amp: torch.dtype | None
) -> TorchRunner:
    """A model of windows with the classes, or the numbers, that it was trained on."""
    content = opened.content
    with about(opened.path):
        config = model_config(content, given)
        model = rebuild(content, config)
    names = tuple(content["classes"])
    told = describe(config, content["family"], opened.path, names)
    if opened.config.model.task == "regression":
        told = replace(told, kind=NUMBERS, names=(), numbers=names)
    found = content.get("calibration")
    if found:
        told = replace(told, temperature=float(found["temperature"]), calibrated=True)
    runner = TorchRunner(model, told, device, amp)
    read = {name: value for name, value in given.items() if name != "missing_face"}  # windows mask those frames
    runner.doubts = tuple(doubtful_flags(asdict(opened.config), read, config, "left_out" in content))
    return runner


def describe(config: Config, family: str, path: Path, names: tuple[str, ...]) -> About:
    data = config.data
    return About(
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


def open_sequence(
    opened: Opened, given: dict[str, Any], config: Config, device: torch.device, amp: torch.dtype | None
) -> SequenceRunner:
    """``--encoder``: a CLIP file or a checkpoint, whose features must be as wide as those that the model reads."""
    from engine.feature_cache import open_encoder

    if config.video.encoder is None:
        raise UserError(f"{opened.path} reads features of frames: name what made them, --encoder FILE")
    kept = {field.name for field in fields(SequenceOptions)} | {"device", "gpu", "seed", "amp", "tf32"}
    with about(opened.path):
        own = model_config(opened.content, {name: value for name, value in given.items() if name in kept})
        model = rebuild(opened.content, own)
    encoder = open_encoder(*encoder_options(config, given))
    width = encoder.tower.proj.shape[1]
    if width != model.features:
        raise UserError(
            f"--encoder {config.video.encoder}: gives {width} numbers a frame, but {opened.path} reads {model.features}"
        )
    return SequenceRunner(model, encoder.tower, describe_sequence(own, opened.path, model, encoder), device, amp)


def encoder_options(config: Config, given: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """What ``--mode cache`` would have been told: a checkpoint where the file is one, else a CLIP."""
    path, named = Path(config.video.encoder), {name: given[name] for name in ("normalize",) if name in given}
    if is_checkpoint(path):
        return replace(config, run=replace(config.run, eval_checkpoint=str(path))), named
    data = replace(config.data, normalize=named.get("normalize", "clip"))
    model = replace(config.model, clip_path=str(path))
    return replace(config, run=replace(config.run, eval_checkpoint=None), data=data, model=model), named


def is_checkpoint(path: Path) -> bool:
    from utils.checkpoint import read_checkpoint

    if not path.is_file():
        return False
    try:
        return "config" in read_checkpoint(path)
    except UserError:  # a CLIP archive or safetensors: its own reader tells what is wrong with it
        return False


def describe_sequence(config: Config, path: Path, model: nn.Module, encoder: Any) -> About:
    tasks = list(model.readouts)
    names = EXPRESSIONS if "expr" in tasks else ()
    numbers = (*(TASKS["va"].names if "va" in tasks else ()), *(ACTION_UNITS if "au" in tasks else ()))
    return About(
        family="sequence",
        model=path.name,
        kind=FRAMES,
        names=names,
        numbers=numbers,
        streams="face",
        frames=1,
        size=encoder.size,
        normalize=encoder.normalize,
        window=config.sequence.window,
        stride=config.sequence.stride,
    )
