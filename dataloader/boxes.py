"""Face boxes (one a frame) and body boxes (one a clip), found whatever prefix and slash their keys carry."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from dataloader.annotation import Clip
from dataloader.classes import read_json
from dataloader.frames import SUFFIXES
from dataloader.paths import clip_key, resolve_path, slashes
from utils.errors import OnFault, UserError, raise_error

LARGEST = 1e9  # pixels; also false for NaN and infinity
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


class SameBox(dict):
    """One box for every frame of a clip, whatever the frame's name."""

    def __init__(self, box: Box) -> None:
        super().__init__({"every frame": box})

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Box:
        return self["every frame"]

    def get(self, name: str, default: Box | None = None) -> Box:
        return self[name]


def read_face_boxes(
    file: str, root: str | None, flat: bool = False, on_fault: OnFault = raise_error
) -> dict[str, dict[str, Box]]:
    """{clip key: {frame file name: box}}; an entry at fault is raised, or given to ``on_fault`` and left out.

    An image has its one box as it is; with ``flat`` a clip may have one box for all its frames too.
    """
    boxes = {}
    path = resolve_path(file, root)
    for clip, is_image, frames in _entries(path, root, on_fault):
        try:
            boxes[clip] = _clip_boxes(frames, is_image or flat, f"{path}: {clip!r}")
        except UserError as error:
            on_fault(error)
    return boxes


def read_body_boxes(file: str, root: str | None, on_fault: OnFault = raise_error) -> dict[str, Box]:
    """{clip key: box}."""
    path, found = resolve_path(file, root), {}
    for clip, _, box in _entries(path, root, on_fault):
        try:
            found[clip] = _as_box(box, f"{path}: {clip!r}")
        except UserError as error:
            on_fault(error)
    return {clip: box for clip, box in found.items() if box is not None}


def _clip_boxes(frames: Any, flat: bool, where: str) -> dict[str, Box]:
    if flat and not isinstance(frames, dict):
        box = _as_box(frames, where)
        return {} if box is None else SameBox(box)
    if not isinstance(frames, dict):
        raise UserError(f"{where} must hold one box a frame, {{name: [l, t, r, b]}}, got {_short(frames)}")
    found = {slashes(name).rpartition("/")[2]: _as_box(box, f"{where}, {name!r}") for name, box in frames.items()}
    return {name: box for name, box in found.items() if box is not None}


def _entries(path: Path, root: str | None, on_fault: OnFault) -> list[tuple[str, bool, Any]]:
    """``(clip key, whether it names an image, value)`` of every entry."""
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise UserError(f"{path}: expected an object keyed by clip folder, got {_short(stored)}")
    entries: dict[str, tuple[bool, Any]] = {}
    for written, value in stored.items():
        key, entry = clip_key(written, root), (written.lower().endswith(SUFFIXES), value)
        if entries.setdefault(key, entry) != entry:
            on_fault(UserError(f"{path}: two different entries for the clip {key!r}; keep one"))
    return [(key, *entry) for key, entry in entries.items()]


def _as_box(value: Any, where: str) -> Box | None:
    """Four finite numbers; ``null`` and a box without area count as missing."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4:
        raise UserError(f"{where}: a box is [left, top, right, bottom], got {_short(value)}")
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < LARGEST for v in value):
        raise UserError(f"{where}: a box is four numbers, got {_short(value)}")
    left, top, right, bottom = value
    return (left, top, right, bottom) if right > left and bottom > top else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


@dataclass(frozen=True)
class HitRate:
    """How many clips, and how many of their frames, have a box."""

    kind: str
    clips: int
    clips_with_box: int
    frames: int
    frames_with_box: int

    def __str__(self) -> str:
        clips = f"{self.clips_with_box} of {self.clips} clips ({self.clips_with_box / self.clips:.1%})"
        if self.kind == "body":
            return f"body boxes: {clips}"
        return f"face boxes: {clips}, {self.frames_with_box} of {self.frames} frames ({self.share:.1%})"

    @property
    def share(self) -> float:
        return self.frames_with_box / self.frames


def face_hits(clips: list[Clip], boxes: dict[str, dict[str, Box]]) -> HitRate:
    found = [boxes.get(clip.key, {}) for clip in clips]
    counts = [sum(name in box for name in clip.frames) for clip, box in zip(clips, found, strict=True)]
    return HitRate("face", len(clips), sum(map(bool, found)), sum(len(c.frames) for c in clips), sum(counts))


def middle_width(clips: list[Clip], boxes: dict[str, dict[str, Box]]) -> float | None:
    """Pixels, of the face that as many faces are wider than as narrower."""
    found = (boxes.get(clip.key, {}).get(name) for clip in clips for name in clip.frames)
    widths = [box[2] - box[0] for box in found if box]
    return float(median(widths)) if widths else None


def body_hits(clips: list[Clip], boxes: dict[str, Box]) -> HitRate:
    frames = [(clip.key in boxes, len(clip.frames)) for clip in clips]
    with_box = sum(n for hit, n in frames if hit)
    return HitRate("body", len(clips), sum(hit for hit, _ in frames), sum(n for _, n in frames), with_box)


def nearest_boxes(frames: tuple[str, ...], boxes: dict[str, Box]) -> list[Box | None]:
    """A box for every frame of a clip: its own, else that of the nearest frame in time that has one."""
    known = [index for index, name in enumerate(frames) if name in boxes]
    if not known:
        return [None] * len(frames)
    return [boxes[frames[min(known, key=lambda k: abs(k - index))]] for index in range(len(frames))]
