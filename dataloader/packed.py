"""Reading a pack: crops of every frame, written once by ``python -m dataloader.pack``, read by memory map.

A pack is a folder of large files and ``index.json``, which is written last: without it nothing is read. The index says
what the crops were made from, so that a pack that no longer fits lists, boxes, frames or options is refused.
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from dataloader.annotation import Clip
from dataloader.clips import FrameFiles, Squares, Views, boxes_of, streams_of
from dataloader.frames import BadFrame, list_frames
from dataloader.transforms import PLAIN, WHOLE, Augmentation, augment_squares
from utils.errors import UserError, reason_of

FORMAT = 1
INDEX, JOURNAL = "index.json", "journal.jsonl"
STREAMS = ("face", "context")  # the order in which a clip's crops lie in a file


class Pack:
    """Squares from a pack; the same in every process, which maps the files for itself."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        content, self.identity = read_index(self.folder)
        self.settings = content["settings"]
        self.files = {file["name"]: file["bytes"] for file in content["files"]}
        self.clips = {entry["key"]: entry for entry in content["clips"]}
        self.maps: dict[str, np.ndarray] = {}
        for name, size in self.files.items():
            path = self.folder / name
            found = path.stat().st_size if path.is_file() else None
            if found != size:
                raise UserError(f"--pack {path}: {found or 'no'} bytes, expected {size}; make or copy the pack again")

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"maps": {}}  # a map that is sent to another process would be copied whole

    @property
    def frames(self) -> dict[str, tuple[str, ...]]:
        return {key: tuple(entry["frames"]) for key, entry in self.clips.items()}

    def check(self, clips: list[Clip], views: Views) -> int:
        """One line on the first thing that changed since; returns how many clips have no frames here to compare."""
        asked = {"image_size": views.size, "decode": views.decode}
        for name, value in asked.items():
            if self.settings[name] != value:
                flag = "--" + name.replace("_", "-")
                raise self.stale(f"made with {flag} {self.settings[name]}, this run has {value}")
        return sum(not self._check_clip(clip, views) for clip in clips)

    def _check_clip(self, clip: Clip, views: Views) -> bool:
        entry = self.clips.get(clip.key)
        if entry is None:
            raise self.stale(f"holds no crops of {clip.key}, which the list names")
        if entry["label"] != clip.label:
            raise self.stale(
                f"the lists changed: {clip.key} has label {clip.label} counted from 0, had {entry['label']}"
            )
        boxes = dict(zip(STREAMS, boxes_of(clip, views), strict=True))
        for stream in streams_of(views):
            if digest(boxes[stream]) != entry["boxes"][stream]:
                flags = (
                    "--bounding-box-face, --missing-face" if stream == "face" else "--bounding-box-body, --crop-body"
                )
                raise self.stale(f"the {stream} boxes of {clip.key} are not those that it was made with ({flags})")
        if entry["replaced"] and views.on_bad_frame == "error":
            raise self.stale(f"{entry['replaced']} frames of {clip.key} could not be read; pass --on-bad-frame skip")
        changed = changed_frame(clip, entry)
        if changed:
            raise self.stale(changed)
        return clip.folder.is_dir()

    def stale(self, what: str) -> UserError:
        return UserError(f"--pack {self.folder}: {what}; make the pack again, or leave out --pack")

    def squares(self, clip: Clip, indexes: np.ndarray, variants: dict[str, list[Augmentation]]) -> Squares:
        """As ``FrameFiles.squares``; augmented are the squares, turned by the shape of the crop that each was."""
        entry = self.clips[clip.key]
        sizes = torch.tensor(entry["face_sizes"])[torch.from_numpy(indexes)]
        pixels = {}
        for stream, wanted in variants.items():
            stored = torch.from_numpy(self._read(entry, stream, indexes))
            shapes = sizes if stream == "face" else torch.ones_like(sizes)
            made = [_augmented(stored, shapes, v) for v in wanted]
            pixels[stream] = made[0][None] if len(made) == 1 else torch.stack(made)  # a copy costs as much as reading
        return Squares(pixels, sizes, entry["replaced"])

    def _read(self, entry: dict[str, Any], stream: str, indexes: np.ndarray) -> np.ndarray:
        """(T, 3, S, S) of the frames ``indexes``."""
        N, S = len(entry["frames"]), self.settings["image_size"]
        stored, which = self._map(entry["file"]), STREAMS.index(stream)
        if self.settings["format"] == "raw":
            start = entry["offset"] + which * N * 3 * S * S
            return stored[start : start + N * 3 * S * S].reshape(N, 3, S, S)[indexes]
        ends = entry["offset"] + np.cumsum([0, *entry["lengths"]])
        made = np.empty((len(indexes), 3, S, S), dtype=np.uint8)
        for planes, index in zip(made, indexes.tolist(), strict=True):
            place = which * N + index
            pixels = cv2.imdecode(stored[ends[place] : ends[place + 1]], cv2.IMREAD_COLOR_RGB)
            if pixels is None or pixels.shape != (S, S, 3):
                raise BadFrame(f"--pack {self.folder / entry['file']}: damaged at {entry['key']}; make the pack again")
            cv2.split(pixels, list(planes))
        return made

    def _map(self, name: str) -> np.ndarray:
        if name not in self.maps:
            self.maps[name] = np.memmap(self.folder / name, np.uint8, "r")
        return self.maps[name]


def open_pack(folder: str) -> Pack:
    """One object for all that ask, as long as the index is the same."""
    try:
        written = (Path(folder) / INDEX).stat().st_mtime_ns
    except OSError:
        written = None
    return _open_pack(folder, written)


@lru_cache(maxsize=2)
def _open_pack(folder: str, written: int | None) -> Pack:
    return Pack(folder)


def open_source(views: Views) -> FrameFiles | Pack:
    return open_pack(views.pack) if views.pack else FrameFiles(views)


def _augmented(stored: Tensor, sizes: Tensor, wanted: Augmentation) -> Tensor:
    if wanted == PLAIN:
        return stored
    angle, flip = torch.tensor([wanted.angle], dtype=torch.float64), torch.tensor([wanted.flip])
    part = None if wanted.part == WHOLE else torch.tensor([wanted.part], dtype=torch.float64)
    brightness = None if wanted.brightness == 1 else torch.tensor([wanted.brightness])
    return augment_squares(stored[None], sizes[None], angle, flip, part, brightness)[0]


def read_index(folder: Path) -> tuple[dict[str, Any], str]:
    """The index, and a hash of it."""
    try:
        data = (folder / INDEX).read_bytes()
    except OSError as error:
        if (folder / JOURNAL).exists():
            raise UserError(f"--pack {folder}: is not finished; the command that began it goes on with it") from None
        raise UserError(f"--pack {folder / INDEX}: {reason_of(error)}") from None
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise UserError(
                f"--pack {folder}: of format {content['format']}, this version reads {FORMAT}; make it again"
            )
        if not all(key in content for key in ("settings", "files", "clips")):
            raise KeyError
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--pack {folder / INDEX}: not the index of a pack; make it again") from None
    return content, hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def stamps(clip: Clip) -> list[list[int]]:
    """Size and time of every frame file."""
    return [_stamp(clip.frame_path(index)) for index in range(len(clip.frames))]


def _stamp(path: Path) -> list[int]:
    try:
        stat = path.stat()
    except OSError:  # a broken link is an unreadable frame, dealt with where it is read
        return [-1, -1]
    return [stat.st_size, stat.st_mtime_ns]


def hash_frames(clip: Clip) -> str:
    total = hashlib.blake2b(digest_size=16)
    for index in range(len(clip.frames)):
        path = clip.frame_path(index)
        total.update(hashlib.blake2b(path.read_bytes() if path.is_file() else b"", digest_size=16).digest())
    return total.hexdigest()


def changed_frame(clip: Clip, entry: dict[str, Any]) -> str | None:
    """What differs between a clip's frame files and those that were packed; nothing where there are none here.

    A copied set has other times: then the bytes decide.
    """
    if not clip.folder.is_dir():
        return None
    names = clip.frames if clip.is_image else list_frames(clip.folder)
    if list(names) != entry["frames"]:
        other = min({*names} ^ {*entry["frames"]}, default="their order")
        return f"the frames of {clip.key} are others than those packed ({other})"
    now = stamps(clip)
    for name, one, other in zip(names, now, entry["stamps"], strict=True):
        if one[0] != other[0]:
            return f"{clip.folder / name} changed since ({one[0]} bytes, had {other[0]})"
    if now != entry["stamps"] and hash_frames(clip) != entry["content"]:
        name = next(n for n, one, other in zip(names, now, entry["stamps"], strict=True) if one != other)
        return f"{clip.folder / name} or another frame of its clip changed since"
    return None
