"""Long videos as tensors: frames for an image encoder, and windows of features for a sequence model."""

import tokenize
import zipfile
from pathlib import Path
from typing import Any, TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataloader.affwild import Video
from dataloader.crops import letterbox
from dataloader.frame_labels import TASKS, lengthen, unlabelled
from dataloader.frames import BadFrame, decode_frame
from dataloader.loader import Batch
from utils.archive import open_array
from utils.checksum import checksum
from utils.errors import UserError
from utils.json_files import read_json

BROKEN_NPY = (  # errors that numpy raises for a damaged header
    OSError, ValueError, EOFError, TypeError, SyntaxError, OverflowError, MemoryError, RecursionError, KeyError,
    AttributeError, tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip
GRID = 3  # number of the random stream that shifts the windows


class FeatureIndex(TypedDict):
    """The part of ``index.json`` that is read; ``--mode cache`` writes it beside features."""

    checksums: dict[str, str]  # video → checksum of its file


class VideoFrames(Dataset):
    """``dataset[i]``: the i-th frame that has a file, (3, S, S) uint8, and whether it could be read.

    With ``skips_unreadable`` an unreadable frame is black; otherwise it is an error.
    """

    def __init__(self, video: Video, size: int, skips_unreadable: bool = False) -> None:
        if video.folder is None:
            raise UserError(f"{video.id}: read without the folder of its frames")
        self.video, self.size, self.skips_unreadable = video, size, skips_unreadable
        self.present = np.flatnonzero(~video.missing)

    def __len__(self) -> int:
        return len(self.present)

    def __getitem__(self, index: int) -> tuple[Tensor, bool]:
        try:
            frame, _ = decode_frame(self.video.folder / self.video.files[self.present[index]])
        except BadFrame:
            if not self.skips_unreadable:
                raise
            return torch.zeros(3, self.size, self.size, dtype=torch.uint8), False
        return torch.from_numpy(frame_square(frame, self.size)).permute(2, 0, 1), True


def frame_square(frame: np.ndarray, size: int) -> np.ndarray:
    """Return a cropped and aligned frame resized to (size, size, 3); shrinking averages over pixels."""
    height, width = frame.shape[:2]
    if (height, width) == (size, size):
        return frame.copy()
    if height != width:
        return letterbox(frame, size)
    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if size < width else cv2.INTER_LINEAR)


class FeatureSource:
    """Features (L, D) of every video from ``<folder>/<video>.npy`` by memory map; folders are joined along D.

    A frame without a file gets the features of the last frame before it that has one, or of the next. The model reads
    them as normal input, and ``missing`` marks them. If a video has no frame at all, its features are zeros and
    ``padding`` is True.
    """

    def __init__(self, videos: list[Video], folders: list[Path]) -> None:
        self.folders, self.widths = [Path(folder) for folder in folders], [0] * len(folders)
        self.present = {video.id: np.flatnonzero(~video.missing).astype(np.int32) for video in videos}
        for folder in self.folders:
            check_features(folder, [video.id for video in videos])
        for video in videos:
            for index, folder in enumerate(self.folders):
                path = folder / f"{video.id}.npy"
                width = _feature_width(path, video)
                self.widths[index] = self.widths[index] or width
                if width != self.widths[index]:
                    raise UserError(f"{path}: {width} features per frame, files before it have {self.widths[index]}")

    @property
    def width(self) -> int:
        return sum(self.widths)

    def read(self, id: str, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return features (N, D) float32, ``missing`` (N,) and ``padding`` (N,) bool of frames ``start:stop``."""
        frames, present = np.arange(start, stop), self.present[id]
        if not len(present):
            everywhere = np.ones(len(frames), dtype=bool)
            return np.zeros((len(frames), self.width), np.float32), everywhere, everywhere.copy()
        rows = stand_ins(present, frames)
        features = np.concatenate([_read_rows(folder / f"{id}.npy", rows) for folder in self.folders], axis=1)
        return features, rows != frames, np.zeros(len(frames), dtype=bool)


def stand_ins(present: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return each of ``frames`` if it is in ``present`` (sorted), else the last one before it, else the next."""
    before = np.searchsorted(present, frames, side="right") - 1
    return present[np.maximum(before, 0)]


def open_features(path: Path) -> np.ndarray:
    """Return (L, D) floats of a ``.npy`` file as a memory map, opened for each read: processes share no state."""
    features = open_array(path)
    if features.ndim != 2 or features.dtype.kind != "f" or not features.shape[1]:
        shape = " × ".join(map(str, features.shape))
        raise UserError(f"{path}: expected frames × features of floats, got {shape} of {features.dtype}")
    return features


def check_features(folder: Path, ids: list[str]) -> None:
    """Raise a UserError for a file that ``--mode cache`` did not write, if its index has checksums."""
    try:
        expected = read_json(folder / "index.json", FeatureIndex)["checksums"]
    except UserError:
        return  # from an older version or another program
    for id in ids:
        path = folder / f"{id}.npy"
        if id in expected and path.is_file() and checksum(path) != expected[id]:
            raise UserError(f"{path}: damaged, or not listed in {folder / 'index.json'}; run --mode cache again")


def _feature_width(path: Path, video: Video) -> int:
    features = open_features(path)
    if len(features) != len(video):
        raise UserError(f"{path}: {len(features)} rows, the video has {len(video)} label lines")
    return features.shape[1]


def _read_rows(path: Path, rows: np.ndarray) -> np.ndarray:
    features = open_features(path)[rows].astype(np.float32)
    if not np.isfinite(features).all():
        row = rows[int(np.argmin(np.isfinite(features).all(1)))]
        raise UserError(f"{path}: row {row + 1} holds a number that is not finite")
    return features


def read_feature_videos(folder: Path) -> list[Video]:
    """Return an unlabelled video for each ``<video>.npy``, with a frame for each row; every frame counts as present."""
    if not folder.is_dir():
        raise UserError(f"--features {folder}: no such folder")
    lengths = {path: len(open_features(path)) for path in sorted(folder.glob("*.npy"))}
    if not lengths:
        raise UserError(f"--features {folder}: holds no .npy file of a video")
    for path, frames in lengths.items():
        if not frames:
            raise UserError(f"{path}: holds no frame")
    return [
        Video(path.stem, None, (None,) * frames, {task: unlabelled(task, frames) for task in TASKS})
        for path, frames in lengths.items()
    ]


def window_starts(frames: int, size: int, stride: int, phase: int | None = None) -> np.ndarray:
    """Return the first frames of windows: every ``stride`` frames, the last window at the end; a short video has one.

    With ``phase``, 0 to ``stride`` - 1, the grid starts that many frames before the video and has one more window.
    Windows that extend beyond the video are moved inside, so every frame is in a window and the number of windows does
    not depend on ``phase``.
    """
    require_cover(size, stride)
    if frames < 1:
        return np.zeros(0, dtype=np.int64)
    last = max(frames - size, 0)
    count = -(-last // stride) + 1
    if phase is None or not last:
        return np.minimum(np.arange(count) * stride, last)
    return np.clip(np.arange(count + 1) * stride - phase, 0, last)


def require_cover(size: int, stride: int) -> None:
    """Raise a UserError if windows would leave frames out."""
    if not 1 <= stride <= size:
        reason = f"windows of {size} frames every {stride} do not cover a video"
        raise UserError(f"--stride {stride}: expected 1 to {size}, the frames of a window: {reason}")


class WindowDataset(Dataset):
    """``dataset[epoch, position, index]``: one window of one video, features and all labels.

    In training the grid of each video is shifted by a phase, a pure function of (seed, epoch, video), and videos
    without any valid label or any frame are left out. In evaluation ``padding`` is True everywhere for a video without
    frames.
    """

    def __init__(
        self, videos: list[Video], source: FeatureSource, size: int, stride: int, training: bool, seed: int = 0
    ) -> None:
        require_cover(size, stride)
        usable = [video for video in videos if video.is_labelled and len(source.present[video.id])]
        self.videos = usable if training else videos
        self.source, self.size, self.stride, self.training, self.seed = source, size, stride, training, seed
        counts = [len(self._starts(0, video_index)) for video_index in range(len(self.videos))]
        self.first = np.cumsum([0, *counts])  # index of the first window of each video, and finally their number

    def __len__(self) -> int:
        return int(self.first[-1])

    def __getitem__(self, key: tuple[int, int, int]) -> Batch:
        epoch, _, index = key
        video_index = int(np.searchsorted(self.first, index, side="right")) - 1
        video, starts = self.videos[video_index], self._starts(epoch, video_index)
        start = int(starts[index - self.first[video_index]])
        stop = min(start + self.size, len(video))
        features, missing, padding = self.source.read(video.id, start, stop)
        item: Batch = {"id": video.id, "start": start, "features": _fill(features, self.size, 0.0)}
        item |= {"missing": _fill(missing, self.size, True), "padding": _fill(padding, self.size, True)}
        for task in TASKS:
            labels = video.labels[task][start:stop] if task in video.labels else unlabelled(task, 0)
            item[task] = torch.from_numpy(lengthen(task, labels, self.size))
        return item

    def _starts(self, epoch: int, video_index: int) -> np.ndarray:
        phase = None
        if self.training:
            phase = int(np.random.default_rng([self.seed, GRID, epoch, video_index]).integers(self.stride))
        return window_starts(len(self.videos[video_index]), self.size, self.stride, phase)


def _fill(rows: np.ndarray, size: int, value: Any) -> Tensor:
    """Return ``rows`` filled up with ``value`` to the size of a window."""
    lack = [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    return torch.from_numpy(np.pad(rows, lack, constant_values=value))
