"""Boxes against lists: how many clips and frames have one, class by class, and what is wrong with the files."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dataloader.annotation import Clip
from dataloader.audit.findings import SHOWN, Finding, found
from dataloader.audit.overlap import Splits
from dataloader.audit.reading import place
from dataloader.boxes import SameBox, middle_width, read_body_boxes, read_face_boxes
from dataloader.classes import Classes
from utils.errors import UserError

ENOUGH = 0.9  # of the frames of a class
Frames = dict[str, Any]  # clip key → what holds the names of the frames that have a box


@dataclass(frozen=True)
class Coverage:
    """Boxes of one kind in one split, clip by clip."""

    kind: str
    split: str
    clips: list[Clip]
    hits: np.ndarray  # frames with a box, of each clip
    frames: np.ndarray
    names: tuple[str, ...]
    width: float | None  # pixels, of the box in the middle

    @property
    def clips_with_box(self) -> int:
        return int((self.hits > 0).sum())

    @property
    def share(self) -> float:
        return float(self.hits.sum() / max(self.frames.sum(), 1))

    @property
    def by_class(self) -> dict[str, float]:
        """Share of the frames of each class that has any."""
        labels = np.array([clip.label for clip in self.clips], dtype=int)
        sums = [np.bincount(labels, values, minlength=len(self.names)) for values in (self.hits, self.frames)]
        return {name: float(hit / all_) for name, hit, all_ in zip(self.names, *sums, strict=True) if all_}

    @property
    def below(self) -> list[tuple[float, Clip]]:
        """Clips with frames that have no box, the emptiest first."""
        lacking = np.flatnonzero(self.hits < self.frames)
        shares = [(float(self.hits[i] / self.frames[i]), self.clips[i]) for i in lacking]
        return sorted(shares, key=lambda pair: pair[0])

    def as_dict(self) -> dict[str, Any]:
        return {
            "clips": len(self.clips),
            "clips_with_box": self.clips_with_box,
            "frames": int(self.frames.sum()),
            "frames_with_box": int(self.hits.sum()),
            "width": self.width,
            "classes": self.by_class,
            "clips_below": {clip.id: share for share, clip in self.below},
        }


def read_boxes(kind: str, file: str, root: str | None, classes: Classes) -> tuple[Frames | None, list[Finding]]:
    """{clip: frames with a box}, None where the file cannot be read; a body box is one of every frame."""
    faults: list[str] = []

    def keep(fault: UserError) -> None:
        faults.append(str(fault))

    try:
        if kind == "face":
            boxes: Frames = read_face_boxes(file, root, classes.has_flat_boxes, keep)
        else:
            boxes = {key: SameBox(box) for key, box in read_body_boxes(file, root, keep).items()}
    except UserError as fault:
        return None, found("box_file", f"{kind} boxes cannot be read", [str(fault)])
    return boxes, found("box_entry", f"{kind} boxes: {{clip}} with a broken entry, left out", faults)


def cover(kind: str, split: str, clips: list[Clip], boxes: Frames, classes: Classes) -> Coverage:
    there = [clip for clip in clips if clip.frames]
    hits = np.array([sum(name in boxes.get(clip.key, ()) for name in clip.frames) for clip in there], dtype=int)
    frames = np.array([len(clip.frames) for clip in there], dtype=int)
    return Coverage(kind, split, there, hits, frames, classes.names, middle_width(there, boxes))


def cover_all(kind: str, splits: Splits, boxes: Frames, classes: Classes) -> list[Coverage]:
    return [cover(kind, split, clips, boxes, classes) for split, clips in splits.items()]


def doubts(file: str, coverages: list[Coverage]) -> list[Finding]:
    """A file that matches nothing; else splits where clips, or many frames of a class, have no box."""
    if any(len(one.clips) for one in coverages) and not any(one.hits.sum() for one in coverages):
        text = f"{coverages[0].kind} boxes: no frame of any list has one; do the keys name the same clips and frames?"
        return [Finding("box_file", text, None, 1, (file,))]
    return [finding for one in coverages for finding in _coverage_doubts(one)]


def _coverage_doubts(one: Coverage) -> list[Finding]:
    without, low = len(one.clips) - one.clips_with_box, min(one.by_class.values(), default=1.0)
    if not without and low >= ENOUGH:
        return []
    classes = ", ".join(f"{name} {share:.1%}" for name, share in one.by_class.items() if share < ENOUGH)
    text = f"{one.kind} boxes for {one.share:.1%} of frames"
    if without:
        text = f"{without} of {len(one.clips)} clips have no {one.kind} box; {one.share:.1%} of frames have one"
    text = f"{one.split}: {text}" + (f" ({classes})" if classes else "")
    below = one.below
    examples = tuple(f"{place(clip)}: {share:.0%}" for share, clip in below[:SHOWN])
    return [Finding("box_coverage", text, one.split, len(below), examples)]
