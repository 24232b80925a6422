"""Clips as tensors: select frames, decode each once, crop both views, augment. Pixels stay uint8.

``ClipDataset`` gives pixels; ``FeatureDataset`` gives the stored features of the same choice of frames.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataloader.annotation import Clip
from dataloader.boxes import Box, FaceBoxes, nearest_boxes
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
from dataloader.frames import BadFrame, decode_frame, jpeg_size
from dataloader.loader import Batch
from dataloader.sampling import choose_frames
from dataloader.transforms import (
    DEFAULT_LIMITS,
    PLAIN,
    Augmentation,
    AugmentationLimits,
    as_tensors,
    cached_variants,
    sample_augmentation,
    to_square,
)
from utils.lazy import Lazy

videos = Lazy("dataloader.video")  # most clips are folders of frames


@dataclass(frozen=True)
class Views:
    """How frames are selected and cropped, in training and evaluation."""

    segments: int = 16
    duration: int = 1
    sampling: str = "whole"  # in evaluation ``whole`` and ``published`` are the same
    downsample: int = 1
    offset: float = 0.5  # in evaluation: where in its segment a frame is
    size: int = 224
    streams: str = "both"
    missing_face: str = "nearest"
    on_bad_frame: str = "error"
    decode: str = "exact"
    root: str | None = None
    face_boxes: FaceBoxes = field(default_factory=dict)
    body_boxes: dict[str, Box] = field(default_factory=dict)
    pack: str | None = None  # folder of a pack, from which crops are read instead of frames


@dataclass(frozen=True)
class Squares:
    """Crops of some frames of a clip, at their target size."""

    pixels: dict[str, Tensor]  # stream → (V, T, 3, S, S) uint8, V augmentations
    face_sizes: Tensor  # (T, 2) widths and heights of the face crops before they became squares
    replaced: int  # number of unreadable frames, replaced by neighbours


class Crop(NamedTuple):
    """One view of a frame before augmentation; the context is already letterboxed."""

    pixels: np.ndarray  # (H, W, 3) uint8
    inside: Box | None = None  # the part of the pixels that is the view; None: all


class SquareSource(Protocol):
    """Source of squares: frame files or a pack."""

    def squares(self, clip: Clip, indexes: np.ndarray, variants: dict[str, list[Augmentation]]) -> Squares: ...


class FrameFiles:
    """Squares from frame files."""

    def __init__(self, views: Views) -> None:
        self.views = views

    def squares(self, clip: Clip, indexes: np.ndarray, variants: dict[str, list[Augmentation]]) -> Squares:
        """Return the frames ``indexes`` of each stream in ``variants``, with each of its augmentations."""
        return self._squares_of(*read_crops(clip, indexes, self.views), indexes, variants)

    def squares_together(self, clips: list[Clip], variants: dict[str, list[Augmentation]]) -> list[Squares]:
        """Return the squares of all frames of several clips of one video, which is decoded once."""
        parts = read_shared_video(clips, self.views)
        return [
            self._squares_of(*part, np.arange(len(clip.frames)), variants)
            for clip, part in zip(clips, parts, strict=True)
        ]

    def _squares_of(
        self,
        crops: "dict[int, dict[str, Crop]]",
        replaced: int,
        indexes: np.ndarray,
        variants: dict[str, list[Augmentation]],
    ) -> Squares:
        frames, size, pixels = indexes.tolist(), self.views.size, {}
        for stream, augmentations in variants.items():
            by_frame = {index: frame_crops[stream] for index, frame_crops in crops.items()}
            rows = []
            for augmentation in augmentations:
                squares = {i: to_square(crop.pixels, augmentation, size, crop.inside) for i, crop in by_frame.items()}
                rows += [squares[index] for index in frames]
            pixels[stream] = torch.from_numpy(np.stack(rows)).unflatten(0, (-1, len(frames)))
        faces = [crops[i]["face"].pixels.shape for i in frames] if "face" in pixels else [(1, 1, 3)] * len(frames)
        sizes = torch.tensor([(width, height) for height, width, _ in faces])
        return Squares(pixels, sizes, replaced)


def read_crops(clip: Clip, indexes: np.ndarray, views: Views) -> tuple[dict[int, dict[str, Crop]], int]:
    """Return the crops of each frame in ``indexes``, by frame and stream, and the number of unreadable frames.

    Each frame is decoded once and cropped at once, so that only one full frame is in memory. With
    ``on_bad_frame="skip"`` an unreadable frame is replaced by the nearest readable one of the clip, cropped by its own
    box.
    """
    face_boxes, body_box = boxes_of(clip, views)
    numbers = sorted(set(indexes.tolist()))
    if clip.is_video:
        return read_video_crops(clip, numbers, face_boxes, body_box, views)
    crops: dict[int, dict[str, Crop]] = {}
    unreadable: set[int] = set()

    def nearest_readable(index: int) -> dict[str, Crop]:
        for other in sorted(range(len(clip.frames)), key=lambda other: abs(other - index)):
            if other not in unreadable:
                try:
                    return cut_frame(clip, other, face_boxes[index], body_box, views)
                except BadFrame:
                    unreadable.add(other)
        raise BadFrame(f"{clip.folder}: none of its frames can be read; remove the clip from the list")

    for index in numbers:
        try:
            crops[index] = cut_frame(clip, index, face_boxes[index], body_box, views)
        except BadFrame:
            if views.on_bad_frame == "error":
                raise
            unreadable.add(index)
    replaced = [index for index in numbers if index not in crops]
    return crops | {index: nearest_readable(index) for index in replaced}, len(replaced)


def read_video_crops(
    clip: Clip, indexes: list[int], face_boxes: list[Box | None], body_box: Box | None, views: Views
) -> tuple[dict[int, dict[str, Crop]], int]:
    """Return the same as ``read_crops`` for a video clip, whose frames are decoded in one pass."""
    video, crops = videos.open_clip(clip.folder), {}
    for index, frame in video.read(indexes, clip.span):
        crops[index] = cut_pixels(frame, 1, None, face_boxes[index], body_box, views)
    return crops, replace_unreadable(clip, indexes, crops, face_boxes, body_box, views)


def read_shared_video(clips: list[Clip], views: Views) -> list[tuple[dict[int, dict[str, Crop]], int]]:
    """Return ``read_crops`` of all frames of each of several clips of one video, decoded in one pass."""
    boxes, crops = [boxes_of(clip, views) for clip in clips], [{} for _ in clips]
    for part, index, frame in videos.open_clip(clips[0].folder).read_parts([clip.span for clip in clips]):
        if index < len(clips[part].frames):
            face_boxes, body_box = boxes[part]
            crops[part][index] = cut_pixels(frame, 1, None, face_boxes[index], body_box, views)
    return [
        (part, replace_unreadable(clip, [*range(len(clip.frames))], part, *clip_boxes, views))
        for clip, part, clip_boxes in zip(clips, crops, boxes, strict=True)
    ]


def replace_unreadable(
    clip: Clip,
    indexes: list[int],
    crops: dict[int, dict[str, Crop]],
    face_boxes: list[Box | None],
    body_box: Box | None,
    views: Views,
) -> int:
    """Add the crops of frames of a video that could not be decoded, taken from the nearest frames; return how many."""
    unreadable = [index for index in indexes if index not in crops]
    if not unreadable:
        return 0
    video = videos.open_clip(clip.folder)
    every_frame = [] if views.on_bad_frame == "error" else [*range(len(clip.frames))]
    readable = [index for index, _ in video.read(every_frame, clip.span)] if every_frame else []
    if not readable:
        raise BadFrame(
            f"{clip.folder}: frame {unreadable[0] + 1} of {len(clip.frames)} cannot be decoded; replace the file or "
            f"pass --on-bad-frame skip"
        )
    nearest = {index: min(readable, key=lambda other, index=index: abs(other - index)) for index in unreadable}
    frames = dict(video.read(sorted({*nearest.values()}), clip.span))
    for index, other in nearest.items():
        crops[index] = cut_pixels(frames[other], 1, None, face_boxes[index], body_box, views)
    return len(unreadable)


def cut_frame(clip: Clip, index: int, face_box: Box | None, body_box: Box | None, views: Views) -> dict[str, Crop]:
    """Return the crops of one frame by stream; the frame is decoded once.

    With ``decode="scaled"`` a JPEG is decoded at the smallest size that gives both crops enough pixels.
    """
    path, shrink = clip.frame_path(index), 1
    size = jpeg_size(path) if views.decode == "scaled" else None
    if size is not None:
        shrink = choose_shrink(*_areas(*size, face_box, body_box, views.streams), views.size)
    frame, shrink = decode_frame(path, shrink)
    return cut_pixels(frame, shrink, size, face_box, body_box, views)


def cut_pixels(
    frame: np.ndarray,
    shrink: int,
    size: tuple[int, int] | None,
    face_box: Box | None,
    body_box: Box | None,
    views: Views,
) -> dict[str, Crop]:
    """Return the crops of a decoded frame by stream. ``size``: size of the full frame if it was shrunk."""
    width, height = size if shrink > 1 else (frame.shape[1], frame.shape[0])
    face, context = _areas(width, height, face_box, body_box, views.streams)
    crops = {}
    if face is not None:
        pixels, inside = cut_shrunk(frame, face, shrink) if shrink > 1 else (cut(frame, face), None)
        crops["face"] = Crop(pixels.copy(), inside)  # a copy, because the next frame is decoded into the same memory
    if context is not None and shrink > 1:
        crops["context"] = Crop(letterbox_shrunk(frame, context, shrink, views.size))
    elif context is not None:
        crops["context"] = Crop(letterbox(cut(frame, context), views.size))
    return crops


def _areas(
    width: int, height: int, face_box: Box | None, body_box: Box | None, streams: str
) -> tuple[Area | None, Area | None]:
    """Return the areas of face and context in a frame, None for a stream that is not used."""
    face = face_area(width, height, face_box) if streams != "context" else None
    return face, context_area(width, height, body_box) if streams != "face" else None


def boxes_of(clip: Clip, views: Views) -> tuple[list[Box | None], Box | None]:
    """Return the face box of every frame of a clip, and its body box."""
    boxes = views.face_boxes.get(clip.key, {})
    if views.missing_face == "nearest":
        return nearest_boxes(clip.frames, boxes), views.body_boxes.get(clip.key)
    return [boxes.get(name) for name in clip.frames], views.body_boxes.get(clip.key)


def streams_of(views: Views) -> tuple[str, ...]:
    """Return the streams in use: face, context, or both."""
    return ("face", "context") if views.streams == "both" else (views.streams,)


def indexes_of(clip: Clip, views: Views, rng: np.random.Generator, training: bool) -> np.ndarray:
    """Return the indexes of the frames of ``clip`` that are used."""
    N, T = len(clip.frames), views.segments
    return choose_frames(N, T, views.duration, views.sampling, rng, training, views.downsample, views.offset)


class ClipDataset(Dataset):
    """``dataset[epoch, position, clip]``: all random numbers are a pure function of (seed, epoch, position).

    With ``augment="device"`` the pixels are as in evaluation, and the item holds the sampled augmentation of each
    stream, which is applied later.
    """

    def __init__(
        self,
        clips: list[Clip],
        views: Views,
        source: SquareSource | None = None,
        *,
        training: bool = False,
        shared_augmentation: bool = True,
        limits: AugmentationLimits = DEFAULT_LIMITS,
        seed: int = 0,
        augment: str = "worker",
    ) -> None:
        self.clips, self.views, self.source = clips, views, source or FrameFiles(views)
        self.training, self.shared, self.limits, self.seed = training, shared_augmentation, limits, seed
        self.augments_later = training and augment == "device"

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int, int]) -> Batch:
        epoch, position, index = key
        clip = self.clips[index]
        rng = np.random.default_rng([self.seed, 1, epoch, position])
        face = context = PLAIN
        indexes = indexes_of(clip, self.views, rng, self.training)
        if self.training:
            face, context = sample_augmentation(rng, self.limits), sample_augmentation(rng, self.limits)
            context = face if self.shared else context
        augmentations = {"face": face, "context": context}
        variants = {s: [PLAIN if self.augments_later else augmentations[s]] for s in streams_of(self.views)}
        squares = self.source.squares(clip, indexes, variants)
        item: Batch = {"label": clip.label, "id": clip.id, "replaced_frames": squares.replaced}
        item |= {stream: pixels[0] for stream, pixels in squares.pixels.items()}  # (T, 3, S, S)
        if self.augments_later:
            item |= as_tensors([face, context], self.limits.varied) | {"face_sizes": squares.face_sizes}
        return item


class EveryFrame(Dataset):
    """``dataset[i]``: all frames of a clip in V variants, {stream: (V, N, 3, S, S)} uint8, and ``replaced_frames``."""

    def __init__(
        self,
        clips: list[Clip],
        views: Views,
        variants: int,
        limits: AugmentationLimits = DEFAULT_LIMITS,
        source: SquareSource | None = None,
    ) -> None:
        self.clips, self.streams, self.source = clips, streams_of(views), source or FrameFiles(views)
        self.variants, self.limits = variants, limits

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Batch:
        clip = self.clips[index]
        variants = cached_variants(self.variants, self.limits, clip.id)
        squares = self.source.squares(clip, np.arange(len(clip.frames)), dict.fromkeys(self.streams, variants))
        return {"replaced_frames": squares.replaced, **squares.pixels}


class FeatureDataset(Dataset):
    """``dataset[epoch, position, clip]`` as ``ClipDataset``, from stored features {stream: (V, rows, D)}.

    ``starts`` maps a clip's id to its first row; its frames follow in order. In training a variant is sampled.
    """

    def __init__(
        self,
        clips: list[Clip],
        features: dict[str, np.ndarray],
        starts: dict[str, int],
        views: Views,
        *,
        training: bool = False,
        shared_augmentation: bool = True,
        seed: int = 0,
    ) -> None:
        self.clips, self.features, self.starts, self.views = clips, features, starts, views
        self.training, self.shared, self.seed = training, shared_augmentation, seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int, int]) -> Batch:
        epoch, position, index = key
        clip, rng = self.clips[index], np.random.default_rng([self.seed, 1, epoch, position])
        item: Batch = {"label": clip.label, "id": clip.id, "replaced_frames": 0}
        rows = self.starts[clip.id] + indexes_of(clip, self.views, rng, self.training)
        variant = None
        for stream, features in self.features.items():
            if variant is None or not self.shared:
                variant = int(rng.integers(len(features))) if self.training else 0
            item[f"{stream}_features"] = torch.from_numpy(features[variant, rows].astype(np.float32))  # (T, D)
        return item
