"""Checks of the files behind the lists: read every frame once, and count the boxes of clips and frames."""

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.annotation import Clip
from dataloader.audit.checks import MAX_EXAMPLES, Finding, Splits, findings_of, location
from dataloader.boxes import (
    FaceBoxes,
    HitRate,
    boxes_outside,
    every_frame,
    is_other_size,
    middle_width,
    read_body_boxes,
    read_face_boxes,
)
from dataloader.classes import Classes
from dataloader.frames import BadFrame, begins_like_an_image, decode_frame, jpeg_size
from utils.errors import UserError, reason_of
from utils.files import open_regular
from utils.lazy import Lazy
from utils.runlog import progress_bar

videos = Lazy("dataloader.video")  # most clips are folders of frames

TINY = 16  # pixels; no face can be recognised in less
ENOUGH_BOXES = 0.9  # of the frames of a class
FRAME_FAULTS = {
    "unreadable": "{file} that cannot be read, or not completely",
    "tiny_frames": f"{{clip}} with frames of less than {TINY} pixels",
    "sizes_change": "{clip} with frames of several sizes",
    "frame_order": "{clip} whose frame names have another order as text than as numbers: this project sorts by number; "
    "the published loaders sort as text and read the frames in the wrong order",
    "frame_gaps": "{clip} with gaps in the frame numbers; the frames on both sides are treated as neighbours",
}
Size = tuple[int, int]


@dataclass(frozen=True)
class ClipContent:
    """What the frames of one clip hold."""

    hash: str | None = None  # None: not hashed, or a frame cannot be read
    sizes: Counter[Size] = field(default_factory=Counter)
    bad: tuple[str, ...] = ()  # frames that cannot be read, and why


class Contents:
    """Contents of the frames of clips; each clip is read once, even if several lists and folds name it."""

    def __init__(self) -> None:
        self.by_clip: dict[tuple, ClipContent] = {}

    def __getitem__(self, clip: Clip) -> ClipContent:
        return self.by_clip.get(_identity(clip), ClipContent()) if clip.frames else ClipContent()

    def read(self, clips: Iterable[Clip], workers: int | None, quick: bool) -> None:
        """Read every clip that was not read before, in threads that read, hash and decode in parallel."""
        unread = {_identity(clip): clip for clip in clips if clip.frames}
        unread = {key: clip for key, clip in unread.items() if key not in self.by_clip}
        pool = ThreadPoolExecutor(max(min(4, os.cpu_count() or 1) if workers is None else workers, 1))
        try:
            contents = pool.map(partial(read_content, quick=quick), unread.values())
            self.by_clip.update(zip(unread, progress_bar(contents, len(unread), "audit"), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C no other clip is read


def same_content(splits: Splits, contents: dict[str, str | None]) -> list[Finding]:
    """Return findings on clips with different paths and equal frames; ``contents``: {key: hash of the frames}."""
    groups: dict[str, dict[str, tuple[str, Clip]]] = defaultdict(dict)
    for split, clips in splits.items():
        for clip in clips:
            if contents.get(clip.key) is not None:
                groups[contents[clip.key]].setdefault(clip.key, (split, clip))
    shared, repeated = [], defaultdict(list)
    for (split, first), *copies in (group.values() for group in groups.values()):
        elsewhere = next((clip for copy_split, clip in copies if copy_split != split), None)
        if elsewhere is not None:
            shared.append(f"{location(first)} = {location(elsewhere)}")
        elif copies:
            repeated[split].append(f"{location(first)} = {location(copies[0][1])}")
    text = "{clip} with exactly the same frames in another split, under another path: a leak"
    findings = findings_of("content_shared", text, shared)
    for split, examples in repeated.items():
        text = f"{split}: {{clip}} with exactly the same frames under two paths"
        findings += findings_of("content_repeated", text, examples, split)
    return findings


def frame_findings(split: str, clips: list[Clip], contents: Contents) -> list[Finding]:
    """Return findings on the frames of clips: unreadable files, sizes and names."""
    faults: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        sizes, as_text, gap = contents[clip].sizes, sorted(clip.frames), first_gap(clip.frames)
        faults["unreadable"] += contents[clip].bad
        if any(min(size) < TINY for size in sizes):
            faults["tiny_frames"].append(f"{location(clip)}: {size_text(min(sizes))}")
        if len(sizes) > 1:
            faults["sizes_change"].append(f"{location(clip)}: {' '.join(map(size_text, sizes))}")
        if as_text != list(clip.frames):
            order = f"{' '.join(as_text[:3])} instead of {' '.join(clip.frames[:3])}"
            faults["frame_order"].append(f"{location(clip)}: {order}")
        if gap:
            faults["frame_gaps"].append(f"{location(clip)}: {gap}")
    return fault_findings(FRAME_FAULTS, faults, split)


def fault_findings(texts: dict[str, str], faults: Mapping[str, Collection[object]], split: str) -> list[Finding]:
    """Return one finding for each kind of fault in a split; ``texts``: {kind: text}."""
    findings = []
    for kind, text in texts.items():
        findings += findings_of(kind, f"{split}: {text}", [str(fault) for fault in faults.get(kind, ())], split)
    return findings


def first_gap(names: tuple[str, ...]) -> str | None:
    """Return a text on the first gap in the frame numbers, None if they have equal steps."""
    digits = [re.findall(r"[0-9]+", name.rpartition(".")[0]) for name in names]
    if len(names) < 3 or not all(digits):
        return None
    steps = np.diff([int(groups[-1]) for groups in digits])
    if steps.min() < 1 or steps.max() == steps.min():
        return None
    index = int(np.argmax(steps > steps.min()))
    return f"nothing between {names[index]} and {names[index + 1]}"


def read_content(clip: Clip, quick: bool) -> ClipContent:
    """Read and decode every frame of a clip; with ``quick`` read only its first bytes."""
    if clip.is_video:
        return read_video(clip, quick)
    if quick:
        paths = (clip.folder / name for name in clip.frames)
        return ClipContent(bad=tuple(str(path) for path in paths if not begins_like_an_image(path)))
    total, sizes, bad, is_complete = hashlib.blake2b(digest_size=16), Counter(), [], True
    for name in clip.frames:
        path = clip.folder / name
        try:
            with open_regular(path) as file:
                total.update(hashlib.blake2b(file.read(), digest_size=16).digest())
            sizes[frame_size(path)] += 1
        except OSError as error:
            is_complete = False  # such a clip has no hash, so that two of them do not count as equal
            bad.append(f"{path}: {reason_of(error)}")
        except BadFrame as error:
            bad.append(str(error).partition(": cannot be read")[0])
    return ClipContent(total.hexdigest() if is_complete else None, sizes, tuple(bad))


def read_video(clip: Clip, quick: bool) -> ClipContent:
    """Decode every frame of a video clip; with ``quick`` nothing is read, since the file was already opened."""
    if quick:
        return ClipContent()
    total, sizes = hashlib.blake2b(digest_size=16), Counter()
    for _, frame in videos.open_clip(clip.folder).read(range(len(clip.frames)), clip.span):
        total.update(frame)
        sizes[frame.shape[1::-1]] += 1
    missing = len(clip.frames) - sizes.total()
    bad = (f"{clip.folder}: {missing} of {len(clip.frames)} frames cannot be decoded",) if missing else ()
    return ClipContent(None if missing else total.hexdigest(), sizes, bad)


def _identity(clip: Clip) -> tuple:
    return clip.frame_path(0), clip.span


def frame_size(path: Path) -> Size:
    """Decode a frame and return its width and height; a JPEG is decoded at an eighth, which reads all its bytes."""
    pixels, _ = decode_frame(path, shrink=8)
    return jpeg_size(path) or (pixels.shape[1], pixels.shape[0])


def size_text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


@dataclass(frozen=True)
class Coverage(HitRate):
    """Numbers of clips and frames of a split that have a box of one kind; clips without frames are not counted."""

    split: str
    width: float | None  # pixels, median over all boxes
    classes: dict[str, float]  # share of the frames of each class
    below: list[tuple[float, Clip]]  # share of frames with a box, for clips where some have none

    @property
    def share(self) -> float:
        return super().share if self.frames else 0.0

    def as_dict(self) -> dict[str, Any]:
        values = {name: value for name, value in vars(self).items() if name not in ("kind", "split", "below")}
        return values | {"clips_below": {clip.id: share for share, clip in self.below}}

    def findings(self) -> list[Finding]:
        """Return a finding if clips, or many frames of a class, have no box."""
        without = self.clips - self.clips_with_box
        low = ", ".join(f"{name} {share:.1%}" for name, share in self.classes.items() if share < ENOUGH_BOXES)
        if not without and not low:
            return []
        text = f"{self.kind} boxes for {self.share:.1%} of frames"
        if without:
            text = f"{without} of {self.clips} clips have no {self.kind} box; {self.share:.1%} of frames have one"
        text = f"{self.split}: {text}" + (f" ({low})" if low else "")
        examples = tuple(f"{location(clip)}: {share:.0%}" for share, clip in self.below[:MAX_EXAMPLES])
        return [Finding("box_coverage", text, self.split, len(self.below), examples)]


def audit_boxes(
    kind: str, file: str, root: str | None, splits: Splits, classes: Classes
) -> tuple[list[Coverage], list[Finding]]:
    """Return the coverage of each split by a file of boxes, and findings on it."""
    faults: list[UserError] = []
    try:
        if kind == "face":
            boxes = read_face_boxes(file, root, classes.has_flat_boxes, faults.append)
        else:  # a body box is for every frame
            boxes = every_frame(read_body_boxes(file, root, faults.append))
    except UserError as fault:
        findings = findings_of("box_file", f"{kind} boxes cannot be read", [str(fault)])
        return [_cover(kind, split, clips, {}, classes) for split, clips in splits.items()], findings
    text = f"{kind} boxes: {{clip}} with an invalid entry, left out"
    findings = findings_of("box_entry", text, [str(fault) for fault in faults])
    coverages = [_cover(kind, split, clips, boxes, classes) for split, clips in splits.items()]
    if any(coverage.clips for coverage in coverages) and not any(coverage.frames_with_box for coverage in coverages):
        text = f"{kind} boxes: no frame of any list has one; check that the keys name the same clips and frames"
        return coverages, [*findings, Finding("box_file", text, None, 1, (file,))]
    for split, clips in splits.items():
        findings += outside_findings(kind, split, clips, boxes)
    return coverages, findings + [finding for coverage in coverages for finding in coverage.findings()]


def outside_findings(kind: str, split: str, clips: list[Clip], boxes: FaceBoxes) -> list[Finding]:
    """Return a finding on clips with boxes outside their frames; an error if so many that a run would refuse them."""
    outside, compared = boxes_outside(clips, boxes)
    examples = [f"{location(entry.clip)}: {entry}" for entry in outside]
    text = f"{split}: {{clip}} with {kind} boxes that lie outside their frames by more than 40 %"
    if is_other_size(outside, compared):
        return findings_of("boxes_size", f"{text}: the boxes are for frames of another size", examples, split)
    return findings_of("box_outside", text, examples, split)


def _cover(kind: str, split: str, clips: list[Clip], boxes: dict[str, Any], classes: Classes) -> Coverage:
    clips = [clip for clip in clips if clip.frames]
    labels = np.array([clip.label for clip in clips], dtype=int)
    frames = np.array([len(clip.frames) for clip in clips], dtype=int)
    hits = np.array([sum(name in boxes.get(clip.key, ()) for name in clip.frames) for clip in clips], dtype=int)
    by_class = [np.bincount(labels, values, minlength=len(classes)) for values in (hits, frames)]
    shares = {name: float(hit / total) for name, hit, total in zip(classes.names, *by_class, strict=True) if total}
    below = [(float(hits[i] / frames[i]), clips[i]) for i in np.flatnonzero(hits < frames)]
    below.sort(key=lambda pair: pair[0])
    numbers = len(clips), int((hits > 0).sum()), int(frames.sum()), int(hits.sum())
    return Coverage(kind, *numbers, split, middle_width(clips, boxes), shares, below)
