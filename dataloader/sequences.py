"""Windows of long videos as stored features: which frames, what stands in for a frame without a face, their labels."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from dataloader.affwild import Video
from dataloader.frame_labels import TASKS, lengthen, unlabelled
from utils.errors import UserError

GRID = 3  # the family of random streams that moves the windows


class FeatureSource:
    """(L, D) features of every video from ``<folder>/<video>.npy``, folders side by side along D, by memory map.

    A frame without a file carries the features of the frame before it that has one, else of the next: to a model they
    are real inputs, and ``missing`` tells them apart. Only where a video has no frame at all the features are zeros
    and ``padding`` is True.
    """

    def __init__(self, videos: list[Video], folders: list[Path]) -> None:
        self.folders, self.widths = [Path(folder) for folder in folders], [0] * len(folders)
        self.present = {video.id: np.flatnonzero(~video.missing).astype(np.int32) for video in videos}
        for video in videos:
            for place, folder in enumerate(self.folders):
                self._check(open_features(_file(folder, video.id)), _file(folder, video.id), video, place)

    @property
    def width(self) -> int:
        return sum(self.widths)

    def read(self, id: str, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of frames ``start`` to ``stop``: features (N, D) float32, ``missing`` (N,) and ``padding`` (N,) bool."""
        frames, present = np.arange(start, stop), self.present[id]
        if not len(present):
            everywhere = np.ones(len(frames), dtype=bool)
            return np.zeros((len(frames), self.width), np.float32), everywhere, everywhere.copy()
        rows = stand_ins(present, frames)
        features = np.concatenate([_rows(_file(folder, id), rows) for folder in self.folders], axis=1)
        return features, rows != frames, np.zeros(len(frames), dtype=bool)

    def _check(self, features: np.ndarray, path: Path, video: Video, place: int) -> None:
        """Rows fit the video, and columns the other videos of the folder."""
        if features.ndim != 2 or features.dtype.kind != "f" or not features.shape[1]:
            shape = " × ".join(map(str, features.shape))
            raise UserError(f"{path}: expected frames × features of floats, got {shape} of {features.dtype}")
        if len(features) != len(video):
            raise UserError(f"{path}: {len(features)} rows, the video has {len(video)} label lines")
        self.widths[place] = self.widths[place] or features.shape[1]
        if features.shape[1] != self.widths[place]:
            raise UserError(
                f"{path}: {features.shape[1]} features a frame, the files before it have {self.widths[place]}"
            )


def stand_ins(present: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """For each of ``frames`` itself where it is ``present`` (rising), else the one before it that is, else the next."""
    before = np.searchsorted(present, frames, side="right") - 1
    return present[np.maximum(before, 0)]


def open_features(path: Path) -> np.ndarray:
    """A ``.npy`` file by memory map, opened anew for each read: processes share no state."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of features") from None
    except (OSError, ValueError, EOFError):
        raise UserError(f"{path}: cannot be read as a .npy file of numbers") from None


def _file(folder: Path, id: str) -> Path:
    return folder / f"{id}.npy"


def _rows(path: Path, rows: np.ndarray) -> np.ndarray:
    features = open_features(path)[rows].astype(np.float32)
    if not np.isfinite(features).all():
        row = rows[int(np.argmin(np.isfinite(features).all(1)))]
        raise UserError(f"{path}: row {row + 1} holds a number that is not finite")
    return features


def window_starts(frames: int, size: int, stride: int, phase: int | None = None) -> np.ndarray:
    """Where windows begin: every ``stride`` frames, the last aligned to the end; a short video is one window.

    With ``phase``, 0 to ``stride`` - 1, the grid begins that much before the video, takes one window more, and windows
    that reach beyond an end are moved inside: every frame is in some window, and the count knows no chance.
    """
    require_cover(size, stride)
    if frames < 1:
        return np.zeros(0, dtype=np.int64)
    room = max(frames - size, 0)
    count = -(-room // stride) + 1
    if phase is None or not room:
        return np.minimum(np.arange(count) * stride, room)
    return np.clip(np.arange(count + 1) * stride - phase, 0, room)


def require_cover(size: int, stride: int) -> None:
    if not 1 <= stride <= size:
        found = f"windows of {size} frames every {stride} do not cover a video"
        raise UserError(f"--stride {stride}: expected 1 to {size}, the frames of a window: {found}")


class WindowDataset(Dataset):
    """``dataset[epoch, position, index]``: one window of one video, features and all labels.

    In training the grid of each video has a phase of its own, a pure function of (seed, epoch, video), and videos
    without any valid label or any frame are left out (``left_out`` names them). Where evaluation meets a video without
    any frame, ``padding`` is True throughout.
    """

    def __init__(
        self, videos: list[Video], source: FeatureSource, size: int, stride: int, training: bool, seed: int = 0
    ) -> None:
        require_cover(size, stride)
        useless = {video.id for video in videos if not (video.is_labelled and len(source.present[video.id]))}
        self.videos = [video for video in videos if not (training and video.id in useless)]
        self.left_out = [video.id for video in videos if training and video.id in useless]
        self.source, self.size, self.stride, self.training, self.seed = source, size, stride, training, seed
        counts = [len(self._starts(0, place)) for place in range(len(self.videos))]
        self.video_of = np.repeat(np.arange(len(self.videos)), counts)
        self.turn_of = np.concatenate([np.arange(count) for count in counts]) if counts else np.zeros(0, int)

    def __len__(self) -> int:
        return len(self.video_of)

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        epoch, _, index = key
        place = int(self.video_of[index])
        video, start = self.videos[place], int(self._starts(epoch, place)[self.turn_of[index]])
        stop = min(start + self.size, len(video))
        features, missing, padding = self.source.read(video.id, start, stop)
        item = {"features": _fill(features, self.size, 0.0), "missing": _fill(missing, self.size, True)}
        item["padding"] = _fill(padding, self.size, True)
        for task in TASKS:
            labels = video.labels[task][start:stop] if task in video.labels else unlabelled(task, stop - start)
            item[task] = torch.from_numpy(lengthen(task, labels, self.size))
        return item | {"id": video.id, "start": start}

    def _starts(self, epoch: int, place: int) -> np.ndarray:
        phase = None
        if self.training:
            phase = int(np.random.default_rng([self.seed, GRID, epoch, place]).integers(self.stride))
        return window_starts(len(self.videos[place]), self.size, self.stride, phase)


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Windows as one batch: tensors stacked, ``id`` a list, ``start`` (B,) int64."""
    batch = {name: torch.stack([item[name] for item in items]) for name in items[0] if name not in ("id", "start")}
    starts = torch.tensor([item["start"] for item in items], dtype=torch.int64)
    return batch | {"id": [item["id"] for item in items], "start": starts}


def _fill(rows: np.ndarray, size: int, value: Any) -> torch.Tensor:
    """``rows`` followed by as many of ``value`` as a window lacks."""
    filled = np.full((size, *rows.shape[1:]), value, dtype=rows.dtype)
    filled[: len(rows)] = rows
    return torch.from_numpy(filled)
