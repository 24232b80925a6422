"""Clips as tensors: frames chosen, decoded once each, cut into both views, augmented. Pixels stay uint8."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from dataloader.annotation import Clip
from dataloader.boxes import Box, clip_key, nearest_boxes
from dataloader.crops import crop_context, crop_face, letterbox
from dataloader.frames import BadFrame, read_frame
from dataloader.sampling import choose_frames
from dataloader.transforms import Augmentation, draw_augmentation, to_square


@dataclass(frozen=True)
class Views:
    """How a clip is cut: the same for training and evaluation."""

    segments: int = 16
    duration: int = 1
    size: int = 224
    streams: str = "both"
    missing_face: str = "nearest"
    on_bad_frame: str = "error"
    root: str | None = None
    face_boxes: dict[str, dict[str, Box]] = field(default_factory=dict)
    body_boxes: dict[str, Box] = field(default_factory=dict)


class ClipDataset(Dataset):
    """``dataset[epoch, position, clip]``: all chance is a pure function of (seed, epoch, position)."""

    def __init__(
        self,
        clips: list[Clip],
        views: Views,
        *,
        training: bool = False,
        sampling: str = "whole",
        shared_augmentation: bool = True,
        seed: int = 0,
    ) -> None:
        self.clips, self.views = clips, views
        self.training, self.sampling, self.shared_augmentation, self.seed = (
            training,
            sampling,
            shared_augmentation,
            seed,
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        epoch, position, index = key
        clip = self.clips[index]
        rng = np.random.default_rng([self.seed, 1, epoch, position])
        N, T, duration = len(clip.frames), self.views.segments, self.views.duration
        indexes = choose_frames(N, T, duration, self.sampling, rng, self.training)
        face = context = Augmentation()
        if self.training:
            face, context = draw_augmentation(rng), draw_augmentation(rng)
            context = face if self.shared_augmentation else context
        frames, replaced = read_frames(clip, indexes, self.views)
        drawn = {"face": face, "context": context}
        item: dict[str, Any] = {"label": clip.label, "id": clip.id, "replaced_frames": replaced}
        for stream, crops in crop_streams(clip, frames, self.views).items():
            made = {i: to_square(crop, drawn[stream], self.views.size) for i, crop in crops.items()}
            item[stream] = torch.from_numpy(np.stack([made[i] for i in indexes]))  # (T, 3, H, W)
        return item


def read_frames(clip: Clip, indexes: np.ndarray, views: Views) -> tuple[dict[int, Image.Image], int]:
    """Each wanted frame decoded once; with ``skip`` an unreadable one is replaced by the nearest readable one."""
    frames: dict[int, Image.Image] = {}
    bad: set[int] = set()
    for index in sorted(set(indexes.tolist())):
        try:
            frames[index] = read_frame(clip.frame_path(index))
        except BadFrame:
            if views.on_bad_frame == "error":
                raise
            bad.add(index)
    if not frames:
        raise BadFrame(f"{clip.folder}: none of the {len(bad)} frames taken can be read; remove the clip from the list")
    readable = list(frames)
    for index in bad:
        frames[index] = frames[min(readable, key=lambda other: abs(other - index))]
    return frames, len(bad)


def crop_streams(clip: Clip, frames: dict[int, Image.Image], views: Views) -> dict[str, dict[int, Image.Image]]:
    """{stream: {frame index: its crop}}, for the streams that the model sees."""
    key, crops = clip_key(clip.id, views.root), {}
    if views.streams != "context":
        boxes = views.face_boxes.get(key, {})
        nearest = views.missing_face == "nearest"
        chosen = nearest_boxes(clip.frames, boxes) if nearest else [boxes.get(name) for name in clip.frames]
        crops["face"] = {i: crop_face(frame, chosen[i]) for i, frame in frames.items()}
    if views.streams != "face":
        box = views.body_boxes.get(key)
        crops["context"] = {i: letterbox(crop_context(frame, box), views.size) for i, frame in frames.items()}
    return crops


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A list of clips as one batch: pixels as ``face`` and ``context``, or features of the same streams."""
    batch: dict[str, Any] = {"id": [item["id"] for item in items]}
    for view in ("face", "context", "face_features", "context_features"):
        if view in items[0]:
            batch[view] = torch.stack([item[view] for item in items])  # (B, T, 3, H, W) or (B, T, D)
    batch["label"] = torch.tensor([item["label"] for item in items], dtype=torch.int64)
    batch["replaced_frames"] = sum(item["replaced_frames"] for item in items)
    return batch
