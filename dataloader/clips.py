"""Clips as tensors: frames chosen, decoded once each, cut into both views, augmented. Pixels stay uint8."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataloader.annotation import Clip
from dataloader.boxes import Box, nearest_boxes
from dataloader.crops import (
    Area,
    choose_shrink,
    context_area,
    cut,
    cut_shrunk,
    face_area,
    letterbox,
    letterbox_shrunk,
)
from dataloader.decode import decode_frame
from dataloader.frames import BadFrame
from dataloader.sampling import choose_frames
from dataloader.transforms import DEFAULT_LIMITS, PLAIN, Augmentation, AugmentationLimits, draw_augmentation, to_square

DRAWS = ("angle", "flip", "part", "brightness", "face_sizes")  # what an item carries that is augmented later


class Crop(NamedTuple):
    """(H, W, 3), and which part of it is meant where that is not all of it; the context is letterboxed."""

    pixels: np.ndarray
    inside: Box | None = None


Crops = dict[str, Crop]  # of each stream


@dataclass(frozen=True)
class Views:
    """How a clip is cut: the same for training and evaluation."""

    segments: int = 16
    duration: int = 1
    sampling: str = "whole"  # in evaluation ``whole`` and ``published`` are one rule
    downsample: int = 1
    size: int = 224
    streams: str = "both"
    missing_face: str = "nearest"
    on_bad_frame: str = "error"
    decode: str = "exact"
    root: str | None = None
    face_boxes: dict[str, dict[str, Box]] = field(default_factory=dict)
    body_boxes: dict[str, Box] = field(default_factory=dict)
    pack: str | None = None  # the folder that crops are read from instead of frames


@dataclass(frozen=True)
class Squares:
    """Crops of some frames of a clip, at their target size."""

    pixels: dict[str, Tensor]  # stream → (V, T, 3, S, S) uint8, V augmentations
    face_sizes: Tensor  # (T, 2) widths and heights of the face crops before they became squares
    replaced: int  # unreadable frames that their neighbours stand in for


class FrameFiles:
    """Squares from the frame files themselves."""

    def __init__(self, views: Views) -> None:
        self.views = views

    def squares(self, clip: Clip, indexes: np.ndarray, variants: dict[str, list[Augmentation]]) -> Squares:
        """``variants``: the augmentations wanted of each stream."""
        crops, replaced = read_crops(clip, indexes, self.views)
        pixels = {}
        for stream, wanted in variants.items():
            made = {i: [self._square(c[stream], v) for v in wanted] for i, c in crops.items()}
            rows = [[made[i][v] for i in indexes] for v in range(len(wanted))]
            pixels[stream] = torch.from_numpy(np.stack([np.stack(row) for row in rows]))
        faces = [crops[i]["face"].pixels.shape for i in indexes] if "face" in pixels else [(1, 1, 3)] * len(indexes)
        return Squares(pixels, torch.tensor([(width, height) for height, width, _ in faces]), replaced)

    def _square(self, crop: Crop, augmentation: Augmentation) -> np.ndarray:
        return to_square(crop.pixels, augmentation, self.views.size, crop.inside)


class ClipDataset(Dataset):
    """``dataset[epoch, position, clip]``: all chance is a pure function of (seed, epoch, position).

    ``source`` gives the squares: frame files or a pack. With ``augment="device"`` they are as in evaluation, and the
    item carries what was drawn for each stream, to be applied later.
    """

    def __init__(
        self,
        clips: list[Clip],
        views: Views,
        source: Any = None,
        *,
        training: bool = False,
        shared_augmentation: bool = True,
        limits: AugmentationLimits = DEFAULT_LIMITS,
        seed: int = 0,
        augment: str = "worker",
    ) -> None:
        self.clips, self.views, self.source = clips, views, source or FrameFiles(views)
        self.training, self.shared, self.limits, self.seed = training, shared_augmentation, limits, seed
        self.augment = augment

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        epoch, position, index = key
        clip = self.clips[index]
        rng = np.random.default_rng([self.seed, 1, epoch, position])
        indexes = indexes_of(clip, self.views, rng, self.training)
        face = context = PLAIN
        if self.training:
            face, context = draw_augmentation(rng, self.limits), draw_augmentation(rng, self.limits)
            context = face if self.shared else context
        later = self.training and self.augment == "device"
        drawn = {"face": face, "context": context}
        now = {stream: [PLAIN if later else drawn[stream]] for stream in streams_of(self.views)}
        squares = self.source.squares(clip, indexes, now)
        item: dict[str, Any] = {"label": clip.label, "id": clip.id, "replaced_frames": squares.replaced}
        item |= {stream: pixels[0] for stream, pixels in squares.pixels.items()}  # (T, 3, H, W)
        if later:
            item |= draws_of(face, context, self.limits) | {"face_sizes": squares.face_sizes}
        return item


def indexes_of(clip: Clip, views: Views, rng: np.random.Generator, training: bool) -> np.ndarray:
    """The frames of ``clip`` that are taken."""
    N, T = len(clip.frames), views.segments
    return choose_frames(N, T, views.duration, views.sampling, rng, training, views.downsample)


def draws_of(face: Augmentation, context: Augmentation, limits: AugmentationLimits) -> dict[str, Tensor]:
    """What the device needs, a row a stream; parts and brightness only where they are on."""
    both = face, context
    draws = {
        "angle": torch.tensor([drawn.angle for drawn in both], dtype=torch.float64),
        "flip": torch.tensor([drawn.flip for drawn in both]),
    }
    if limits.random_crop < 1:
        draws["part"] = torch.tensor([drawn.part for drawn in both], dtype=torch.float64)
    if limits.brightness > 0:
        draws["brightness"] = torch.tensor([drawn.brightness for drawn in both])
    return draws


def streams_of(views: Views) -> tuple[str, ...]:
    return ("face", "context") if views.streams == "both" else (views.streams,)


def boxes_of(clip: Clip, views: Views) -> tuple[list[Box | None], Box | None]:
    """The face box of every frame, and the body box."""
    key = clip.key
    boxes = views.face_boxes.get(key, {})
    nearest = views.missing_face == "nearest"
    faces = nearest_boxes(clip.frames, boxes) if nearest else [boxes.get(name) for name in clip.frames]
    return faces, views.body_boxes.get(key)


def read_crops(clip: Clip, indexes: np.ndarray, views: Views) -> tuple[dict[int, Crops], int]:
    """Each wanted frame decoded once and cut at once, so that one whole frame at a time is held.

    With ``skip`` the nearest readable frame takes the place of an unreadable one, cut by the latter's box.
    """
    faces, body = boxes_of(clip, views)
    crops: dict[int, Crops] = {}
    bad: list[int] = []
    for index in sorted(set(indexes.tolist())):
        try:
            crops[index] = cut_frame(clip, index, faces[index], body, views)
        except BadFrame:
            if views.on_bad_frame == "error":
                raise
            bad.append(index)
    if not crops:
        raise BadFrame(f"{clip.folder}: none of the {len(bad)} frames taken can be read; remove the clip from the list")
    readable = list(crops)
    for index in bad:
        nearest = min(readable, key=lambda other: abs(other - index))
        crops[index] = cut_frame(clip, nearest, faces[index], body, views)
    return crops, len(bad)


def cut_frame(clip: Clip, index: int, face: Box | None, body: Box | None, views: Views) -> Crops:
    """Both crops from one decoding: the whole frame, or with ``scaled`` the smallest part of it that is enough."""
    streams: tuple[str, ...] = streams_of(views)
    areas: dict[str, Area | None] = {}

    def choose(width: int, height: int) -> int:
        areas["face"] = face_area(width, height, face) if "face" in streams else None
        areas["context"] = context_area(width, height, body) if "context" in streams else None
        return choose_shrink(areas["face"], areas["context"], views.size)

    frame, shrink = decode_frame(clip.frame_path(index), choose if views.decode == "scaled" else None)
    if shrink == 1:
        choose(frame.shape[1], frame.shape[0])
    return _cut_whole(frame, areas, views.size) if shrink == 1 else _cut_shrunk(frame, areas, shrink, views.size)


def _cut_whole(frame: np.ndarray, areas: dict[str, Area | None], size: int) -> Crops:
    made = {}
    if areas["face"] is not None:
        made["face"] = Crop(cut(frame, areas["face"]).copy())  # the next frame is decoded over this one
    if areas["context"] is not None:
        made["context"] = Crop(letterbox(cut(frame, areas["context"]), size))
    return made


def _cut_shrunk(frame: np.ndarray, areas: dict[str, Area | None], shrink: int, size: int) -> Crops:
    made = {}
    if areas["face"] is not None:
        pixels, inside = cut_shrunk(frame, areas["face"], shrink)
        made["face"] = Crop(pixels.copy(), inside)
    if areas["context"] is not None:
        made["context"] = Crop(letterbox_shrunk(frame, areas["context"], shrink, size))
    return made


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A list of clips as one batch: pixels as ``face`` and ``context``, or features of the same streams."""
    batch: dict[str, Any] = {"id": [item["id"] for item in items]}
    for name in ("face", "context", "face_features", "context_features", *DRAWS):
        if name in items[0]:
            batch[name] = torch.stack([item[name] for item in items])  # (B, T, 3, H, W) or (B, T, D)
    batch["label"] = torch.tensor([item["label"] for item in items], dtype=torch.int64)
    batch["replaced_frames"] = sum(item["replaced_frames"] for item in items)
    return batch
