"""Read face boxes (one per frame) and body boxes (one per clip), and match them to clips by the ends of their keys."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Literal

import numpy as np

from dataloader.annotation import Clip
from dataloader.frames import SUFFIXES, BadFrame, header_size
from dataloader.paths import clip_keys, resolve_path, slashes
from utils.errors import OnFault, UserError, quote, raise_error
from utils.json_files import collecting_paused, read_json
from utils.lazy import Lazy

videos = Lazy("dataloader.video")  # most clips are folders of frames

MAX_EDGE = 1e9  # pixels; also refuses NaN and infinity
MOST_OUTSIDE = 0.4  # share of a box; detectors go beyond the edge if it cuts off a face or a body
FEW_OUTSIDE = 0.03  # share of the clips, at least 2; with more, the boxes are for frames of another size
CLIPS_COMPARED = 500  # of a run; reading their headers takes a twentieth of a second
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
FaceBoxes = dict[str, dict[str, Box]]  # {clip key: {frame file name: box}}


class SameBox(dict):
    """The same box for every frame of a clip, for any frame name."""

    def __init__(self, box: Box) -> None:
        super().__init__({"every frame": box})

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Box:
        return self["every frame"]

    def get(self, name: str, default: Box | None = None) -> Box:
        return self[name]


def read_face_boxes(file: str, root: str | None, flat: bool = False, on_fault: OnFault = raise_error) -> FaceBoxes:
    """Return {clip key: {frame file name: box}}; an error in an entry is raised, or given to ``on_fault``.

    The entry of an image is its box; with ``flat`` a clip may also have one box for all its frames.
    """

    def parse(value: Any, is_image: bool, where: str) -> dict[str, Box]:
        if isinstance(value, dict):
            boxes = {
                slashes(name).rpartition("/")[2]: _as_box(box, f"{where}, {quote(name)}") for name, box in value.items()
            }
            return {name: box for name, box in boxes.items() if box is not None}
        if not (is_image or flat):
            raise UserError(f"{where} must hold one box per frame, {{name: [l, t, r, b]}}, got {quote(value)}")
        box = _as_box(value, where)
        return {} if box is None else SameBox(box)

    with collecting_paused():
        return _read_entries(file, root, parse, on_fault)


def read_body_boxes(file: str, root: str | None, on_fault: OnFault = raise_error) -> dict[str, Box]:
    """Return {clip key: box}; an error in an entry is raised, or given to ``on_fault``."""
    boxes = _read_entries(file, root, lambda value, _, where: _as_box(value, where), on_fault)
    return {key: box for key, box in boxes.items() if box is not None}


def _read_entries(
    file: str, root: str | None, parse: Callable[[Any, bool, str], Any], on_fault: OnFault
) -> dict[str, Any]:
    """Return {clip key: parse(value, whether the key names an image, file and key as a text)}."""
    path = resolve_path(file, root)
    content = read_json(path, dict[str, Any])
    entries: dict[str, tuple[bool, Any]] = {}
    for key, (name, value) in zip(clip_keys(content, root), content.items(), strict=True):
        entry = (name.lower().endswith(SUFFIXES), value)
        if entries.setdefault(key, entry) != entry:
            on_fault(UserError(f"{path}: two different entries for the clip {quote(key)}; keep one"))
    results = {}
    for key, (is_image, value) in entries.items():
        try:
            results[key] = parse(value, is_image, f"{path}: {quote(key)}")
        except UserError as error:
            on_fault(error)
    return results


def _as_box(value: Any, where: str) -> Box | None:
    """Return four finite numbers; ``null`` and a box without area count as missing."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4:
        raise UserError(f"{where}: a box is [left, top, right, bottom], got {quote(value)}")
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < MAX_EDGE for v in value):
        raise UserError(f"{where}: a box is four numbers, got {quote(value)}")
    return tuple(value) if value[2] > value[0] and value[3] > value[1] else None


@dataclass(frozen=True)
class HitRate:
    """Numbers of clips and of frames that have a box."""

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


def face_hits(clips: list[Clip], boxes: FaceBoxes) -> HitRate:
    """Count the clips and frames that have a face box."""
    matches = [(clip, boxes.get(clip.key, {})) for clip in clips]
    frames_with_box = sum(name in clip_boxes for clip, clip_boxes in matches for name in clip.frames)
    with_box = sum(bool(clip_boxes) for _, clip_boxes in matches)
    return HitRate("face", len(clips), with_box, sum(len(clip.frames) for clip in clips), frames_with_box)


def every_frame(boxes: dict[str, Box]) -> FaceBoxes:
    """Return body boxes in the form of face boxes: the box of a clip for each of its frames."""
    return {key: SameBox(box) for key, box in boxes.items()}


@dataclass(frozen=True)
class BoxOutside:
    """A clip, its box that reaches farthest, and the size of the frame, which most of the box is outside of."""

    clip: Clip
    box: Box
    size: tuple[int, int]

    def __str__(self) -> str:
        (width, height), (_, _, right, bottom) = self.size, self.box
        return f"frame {width} x {height}, box to {right:.0f} x {bottom:.0f}"


def boxes_outside(clips: list[Clip], boxes: FaceBoxes) -> tuple[list[BoxOutside], int]:
    """Return the clips with a box that is more than 40 % outside its frame, and how many clips were compared.

    The box of a clip that reaches farthest is compared with the header of its frame. Clips without boxes, or without
    frames on this disk, are left out.
    """
    outside, compared = [], 0
    for clip in clips:
        clip_boxes = boxes.get(clip.key, {})
        with_box = [(clip_boxes[name], name) for name in clip.frames if name in clip_boxes]
        if not with_box:
            continue
        box, name = max(with_box, key=lambda pair: (pair[0][2] + pair[0][3], pair[1]))
        try:
            size = videos.open_clip(clip.folder).size if clip.is_video else header_size(clip.folder / name)
        except BadFrame:  # reported when frames are read
            continue
        compared += 1
        if share_inside(box, size) < 1 - MOST_OUTSIDE:
            outside.append(BoxOutside(clip, box, size))
    return outside, compared


def share_inside(box: Box, size: tuple[int, int]) -> float:
    """Return the share of the area of a box that is inside a frame of this width and height."""
    left, top, right, bottom = box
    width, height = min(right, size[0]) - max(left, 0), min(bottom, size[1]) - max(top, 0)
    return max(width, 0) * max(height, 0) / ((right - left) * (bottom - top))


def is_other_size(outside: list[BoxOutside], compared: int) -> bool:
    """Return whether so many boxes are outside that they must be for frames of another size."""
    return len(outside) > max(2, FEW_OUTSIDE * compared) or 0 < len(outside) == compared


def require_inside(clips: list[Clip], boxes: FaceBoxes, flag: str) -> None:
    """Raise a UserError if the boxes are for frames of another size than those on disk.

    The list is divided into equal ranges, and one clip of each is sampled with a fixed seed and compared.
    """
    with_boxes = [clip for clip in clips if boxes.get(clip.key)]
    edges = np.linspace(0, len(with_boxes), min(CLIPS_COMPARED, len(with_boxes)) + 1).astype(int)
    indexes = np.random.default_rng(0).integers(edges[:-1], edges[1:])
    outside, compared = boxes_outside([with_boxes[index] for index in indexes], boxes)
    if is_other_size(outside, compared):
        farthest = max(outside, key=lambda entry: entry.box[2] + entry.box[3])
        (width, height), (_, _, right, bottom) = farthest.size, farthest.box
        raise UserError(
            f"{flag}: {len(outside)} of {compared} clips have boxes outside their frames, such as {farthest.clip.id}: "
            f"frame {width} x {height}, boxes reach {right:.0f} x {bottom:.0f}; use the frames in which the boxes "
            f"were detected, or scale the boxes"
        )


def check_boxes(clips: list[Clip], boxes: FaceBoxes, kind: Literal["face", "body"]) -> HitRate:
    """Return how many clips and frames have a box. Boxes that match no clip, or are outside frames, are an error."""
    hits, flag = replace(face_hits(clips, boxes), kind=kind), f"--bounding-box-{kind}"
    require_hits(hits, clips, boxes, flag)
    require_inside(clips, boxes, flag)
    return hits


def require_hits(hits: HitRate, clips: list[Clip], boxes: dict[str, Any], flag: str) -> None:
    """Raise a UserError if no clip or no frame has a box. It shows a key of the lists and one of the box file."""
    if not boxes:
        raise UserError(f"{flag}: no clip of the lists has a box in it, because it is empty")
    if hits.clips_with_box == 0:
        in_file, in_list = quote(next(iter(boxes))), quote(clips[0].key)
        raise UserError(
            f"{flag}: no clip of the lists has a box in it; its keys are like {in_file}, those of the lists like "
            f"{in_list}; make them name the same folders"
        )
    if hits.frames_with_box == 0:
        clip = next(clip for clip in clips if boxes.get(clip.key))
        in_file, on_disk = quote(next(iter(boxes[clip.key]))), quote(clip.frames[0])
        raise UserError(
            f"{flag}: its clips match, but no frame does: {quote(clip.key)} has boxes like {in_file} and "
            f"frames like {on_disk}; name the boxes like the frame files"
        )


def middle_width(clips: list[Clip], boxes: FaceBoxes) -> float | None:
    """Return the median width in pixels of the face boxes of all frames, None if there is no box."""
    face_boxes = (boxes.get(clip.key, {}).get(name) for clip in clips for name in clip.frames)
    widths = [box[2] - box[0] for box in face_boxes if box]
    return float(median(widths)) if widths else None


def nearest_boxes(frames: tuple[str, ...], boxes: dict[str, Box]) -> list[Box | None]:
    """Return a box for every frame of a clip: its own, or that of the nearest frame in time with a box."""
    with_box = [index for index, name in enumerate(frames) if name in boxes]
    if not with_box:
        return [None] * len(frames)
    nearest = []
    for index in range(len(frames)):
        after = bisect_left(with_box, index)
        nearest.append(min(with_box[max(after - 1, 0) : after + 1], key=lambda k, index=index: abs(k - index)))
    return [boxes[frames[index]] for index in nearest]
