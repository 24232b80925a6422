"""Packs: crops of every frame, written once by ``python -m dataloader.pack`` and read by memory map.

A pack is a folder of large files and ``index.json``, which is written last; without it the pack is not read. The index
states what the crops were made from, so that a pack that no longer fits the lists, boxes, frames or options is refused.
It holds a checksum of every crop, which is compared when a process first reads the crop, and a hash of itself. Older
packs have neither and are read without these checks.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor

from dataloader.annotation import Clip
from dataloader.clips import Squares, Views, boxes_of, streams_of
from dataloader.frames import BadFrame, hash_files, list_frames
from dataloader.transforms import PLAIN, Augmentation, as_tensors, augment_squares
from utils.errors import UserError, quote
from utils.json_files import Range, check_type, parse_json, read_bytes

FORMAT = 1
INDEX, JOURNAL = "index.json", "journal.jsonl"
STREAMS = ("face", "context")  # order of the crops of a clip in a file
SMALL = 2**14  # bytes; a plain CRC is faster for smaller crops, such as most JPEGs
SEAL = '{"digest": "'  # start of an index with a hash, which is of all bytes behind it


class PackSettings(TypedDict):
    """The options that the bytes of a pack depend on, besides clips and boxes."""

    format: Literal["raw", "jpeg"]
    image_size: Annotated[int, Range(1, 10_000)]
    decode: str


class PackFile(TypedDict):
    name: str
    bytes: Annotated[int, Range(0)]


class PackedClip(TypedDict):
    """Position of the crops of a clip, and what they were made from."""

    key: str
    label: int
    frames: list[str]
    stamps: list[tuple[int, int]]
    content: str
    boxes: dict[str, str]
    face_sizes: list[tuple[float, float]]
    replaced: Annotated[int, Range(0)]
    file: str
    offset: Annotated[int, Range(0)]
    bytes: Annotated[int, Range(0)]
    lengths: NotRequired[list[int]]  # of each JPEG


class PackIndex(TypedDict):
    """Content of index.json."""

    format: int
    settings: PackSettings
    files: list[PackFile]
    clips: list[PackedClip]


class Pack:
    """Squares from a pack. Every process maps the files itself."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        content, self.identity = read_index(self.folder)
        self.settings = content["settings"]
        self.clips = {entry["key"]: entry for entry in content["clips"]}
        self.maps: dict[str, np.ndarray] = {}
        self.unchecked: dict[str, np.ndarray] = {}  # clip key → (2 N,) bool, True for crops that were not read yet
        for file in content["files"]:
            path, size = self.folder / file["name"], file["bytes"]
            actual = path.stat().st_size if path.is_file() else None
            if actual != size:
                raise UserError(f"--pack {path}: {actual or 'no'} bytes, expected {size}; make or copy the pack again")

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"maps": {}, "unchecked": {}}  # pickling a map would copy the whole file

    @property
    def frames(self) -> dict[str, tuple[str, ...]]:
        return {key: tuple(entry["frames"]) for key, entry in self.clips.items()}

    def check(self, clips: list[Clip], views: Views) -> int:
        """Return how many clips have no frames here to compare with; raise a UserError at the first change."""
        options = {"image_size": views.size, "decode": views.decode}
        for name, value in options.items():
            if self.settings[name] != value:
                flag = "--" + name.replace("_", "-")
                raise self.stale(f"made with {flag} {self.settings[name]}, this run has {value}")
        return sum(not self._check_clip(clip, views) for clip in clips)

    def _check_clip(self, clip: Clip, views: Views) -> bool:
        entry = self.clips.get(clip.key)
        if entry is None:
            raise self.stale(f"holds no crops of {clip.key}, which is in the list")
        if entry["label"] != clip.label:
            raise self.stale(
                f"the lists have changed: {clip.key} has label {clip.label} (from 0), before {entry['label']}"
            )
        boxes = dict(zip(STREAMS, boxes_of(clip, views), strict=True))
        for stream in streams_of(views):
            if digest(boxes[stream]) != entry["boxes"][stream]:
                flags = (
                    "--bounding-box-face, --missing-face" if stream == "face" else "--bounding-box-body, --crop-body"
                )
                raise self.stale(f"the {stream} boxes of {clip.key} have changed ({flags})")
        if entry["replaced"] and views.on_bad_frame == "error":
            raise self.stale(f"{entry['replaced']} frames of {clip.key} could not be read; pass --on-bad-frame skip")
        if change := changed_frame(clip, entry):
            raise self.stale(change)
        return clip.folder.exists()

    def stale(self, reason: str) -> UserError:
        return UserError(f"--pack {self.folder}: {reason}; make the pack again, or leave out --pack")

    def squares(self, clip: Clip, indexes: np.ndarray, variants: dict[str, list[Augmentation]]) -> Squares:
        """Return the same as ``FrameFiles.squares``, but crops are augmented after they are resized to squares."""
        entry = self.clips[clip.key]
        sizes = torch.tensor(entry["face_sizes"])[torch.from_numpy(indexes)]
        pixels = {}
        for stream, augmentations in variants.items():
            squares = torch.from_numpy(self._read(entry, stream, indexes))
            shapes = sizes if stream == "face" else torch.ones_like(sizes)
            views = [_augment(squares, shapes, augmentation) for augmentation in augmentations]
            # Stacking makes a copy, which takes as long as reading; a single view needs no copy.
            pixels[stream] = views[0][None] if len(views) == 1 else torch.stack(views)
        return Squares(pixels, sizes, entry["replaced"])

    def _read(self, entry: dict[str, Any], stream: str, indexes: np.ndarray) -> np.ndarray:
        """Return the frames ``indexes`` as (T, 3, S, S)."""
        N, S = len(entry["frames"]), self.settings["image_size"]
        content, number = self._map(entry["file"]), STREAMS.index(stream)
        if self.settings["format"] == "raw":
            start = entry["offset"] + number * N * 3 * S * S
            squares = content[start : start + N * 3 * S * S].reshape(N, 3, S, S)[indexes]
            self._check_crops(entry, number * N + indexes, squares)
            return squares
        ends = entry["offset"] + np.cumsum([0, *entry["lengths"]])
        squares = np.empty((len(indexes), 3, S, S), dtype=np.uint8)
        crops = number * N + indexes
        encoded = [content[ends[crop] : ends[crop + 1]] for crop in crops.tolist()]
        self._check_crops(entry, crops, encoded)
        for planes, data in zip(squares, encoded, strict=True):
            pixels = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
            if pixels is None or pixels.shape != (S, S, 3):
                raise self._damaged(entry)
            cv2.split(pixels, list(planes))
        return squares

    def _check_crops(self, entry: dict[str, Any], crops: np.ndarray, contents: Iterable[np.ndarray]) -> None:
        """Compare crops of a clip with their checksums, once per process."""
        if "checksums" not in entry:
            return
        unchecked = self.unchecked.get(entry["key"])
        if unchecked is None:
            unchecked = self.unchecked[entry["key"]] = np.ones(len(STREAMS) * len(entry["frames"]), dtype=bool)
        if not unchecked[crops].any():
            return
        try:
            expected = np.frombuffer(base64.b64decode(entry["checksums"]), "<u4")[crops]
        except (ValueError, IndexError):
            raise self._damaged(entry) from None
        for crop, checksum, content in zip(crops.tolist(), expected, contents, strict=True):
            if unchecked[crop] and crop_checksum(content) != checksum:
                raise self._damaged(entry)
        unchecked[crops] = False

    def _damaged(self, entry: dict[str, Any]) -> BadFrame:
        return BadFrame(f"--pack {self.folder / entry['file']}: damaged at {entry['key']}; make the pack again")

    def _map(self, name: str) -> np.ndarray:
        if name not in self.maps:
            self.maps[name] = np.memmap(self.folder / name, np.uint8, "r")
        return self.maps[name]


def open_pack(folder: str) -> Pack:
    """Return the pack in a folder; it is opened again only if its index has changed."""
    try:
        modified = (Path(folder) / INDEX).stat().st_mtime_ns
    except OSError:
        modified = None
    return _open_pack(folder, modified)


@lru_cache(maxsize=2)
def _open_pack(folder: str, modified: int | None) -> Pack:
    return Pack(folder)


def _augment(squares: Tensor, sizes: Tensor, augmentation: Augmentation) -> Tensor:
    if augmentation == PLAIN:
        return squares
    numbers = as_tensors([augmentation], augmentation.changes)
    return augment_squares(squares[None], sizes[None], **numbers)[0]


def read_index(folder: Path) -> tuple[PackIndex, str]:
    """Return the index of a pack, and a hash of it."""
    path = folder / INDEX
    if not path.exists() and (folder / JOURNAL).exists():
        raise UserError(f"--pack {folder}: is not finished; the command that began it continues it")
    try:
        data = read_bytes(path)
    except UserError as error:
        raise UserError(f"--pack {error}") from None
    try:
        content = parse_json(data, dict[str, Any], str(path))
        version = content.get("format", FORMAT)
        if version != FORMAT:
            raise UserError(f"{path}: has format {quote(version)}, this version reads {FORMAT}")
        is_sealed, sealed = data.startswith(SEAL.encode()), len(SEAL) + 64
        identity = hashlib.sha256(memoryview(data)[sealed:] if is_sealed else data).hexdigest()
        if is_sealed and identity.encode() != data[len(SEAL) : sealed]:
            raise UserError(f"{path}: damaged")
        check_type(content, PackIndex, str(path))
        require_whole(content, str(path))
    except UserError as error:
        raise UserError(f"--pack {error}; make the pack again") from None
    return content, identity


def seal(content: dict[str, Any]) -> str:
    """Return an index as JSON that starts with a hash of the rest."""
    text = '", ' + json.dumps(content)[1:]
    return f"{SEAL}{hashlib.sha256(text.encode()).hexdigest()}{text}"


def crop_checksum(data: np.ndarray) -> int:
    """Return a number of 32 bits that changes with any byte of a crop.

    For a large crop it is the CRC-32 of 64 sums of 8-byte words and of the remaining bytes, which is six times as fast
    as a CRC of all bytes.
    """
    data = data.reshape(-1)
    if len(data) < SMALL:
        return zlib.crc32(data)
    end = len(data) // 512 * 512
    sums = data[:end].view(np.uint64).reshape(-1, 64).sum(axis=0)
    return zlib.crc32(data[end:], zlib.crc32(sums))


def require_whole(index: PackIndex, where: str) -> None:
    """Raise a UserError if the entry of a clip contradicts itself, or names crops outside the files."""
    sizes, settings = {file["name"]: file["bytes"] for file in index["files"]}, index["settings"]
    if any(name in ("", ".", "..") or not {*name}.isdisjoint("/\\\0") for name in sizes):
        raise UserError(f"{where}: files: expected names of files in the folder of the pack")
    for number, clip in enumerate(index["clips"]):
        N = len(clip["frames"])
        lengths = clip.get("lengths", [3 * settings["image_size"] ** 2] * 2 * N if settings["format"] == "raw" else [])
        is_whole = (
            len(clip["stamps"]) == len(clip["face_sizes"]) == N
            and len(lengths) == 2 * N
            and sum(lengths) == clip["bytes"]
            and min(lengths, default=0) >= 0
            and clip["offset"] + clip["bytes"] <= sizes.get(clip["file"], -1)
        )
        if not is_whole:
            raise UserError(f"{where}: clips, {number}: its frames and crops do not match")


def digest(value: Any) -> str:
    """Return a short hash of plain values."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def stamps(clip: Clip) -> list[list[int]]:
    """Return [size, time] of the file of every frame; [-1, -1] for a broken link, which is reported when it is read."""
    values = []
    for path in clip.paths:
        try:
            stat = path.stat()
            values.append([stat.st_size, stat.st_mtime_ns])
        except OSError:
            values.append([-1, -1])
    return values * len(clip.frames) if clip.is_video else values


def changed_frame(clip: Clip, entry: dict[str, Any]) -> str | None:
    """Return a text on the difference between a clip's frame files and those that were packed, None if there is none.

    Also return None if the frames are not on this disk. If times differ, as in a copied set, the bytes are compared.
    """
    if not clip.folder.exists():
        return None
    names = clip.frames if clip.is_image or clip.is_video else list_frames(clip.folder)
    if list(names) != entry["frames"]:
        difference = min({*names} ^ {*entry["frames"]}, default="their order")
        return f"the frames of {clip.key} are not those that were packed ({difference})"
    changed = [(n, new, old) for n, new, old in zip(names, stamps(clip), entry["stamps"], strict=True) if new != old]
    for name, new, old in changed:
        if new[0] != old[0]:
            return f"{clip.folder / name} has changed since ({new[0]} bytes, before {old[0]})"
    if changed and hash_files(clip.paths, all_bytes=True) != entry["content"]:
        name = changed[0][0]
        return f"{clip.folder / name} or another frame of its clip has changed since"
    return None
