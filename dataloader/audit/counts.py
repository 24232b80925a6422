"""How many clips, persons and frames a split has, class by class, and what one clip of a class is worth."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dataloader.annotation import Clip
from dataloader.audit.findings import Finding
from dataloader.classes import Classes

FEW_CLIPS = 20  # below this one clip moves UAR so much that epochs cannot be told apart


@dataclass(frozen=True)
class Counts:
    split: str
    clips: int
    persons: int  # 0: not known
    frames: int
    median_frames: float
    names: tuple[str, ...]
    classes: tuple[int, ...]  # clips of each class

    @property
    def priors(self) -> tuple[float, ...]:
        return tuple(count / max(self.clips, 1) for count in self.classes)

    @property
    def worth(self) -> tuple[float | None, ...]:
        """UAR points of one clip of each class; None where there is no clip."""
        present = sum(map(bool, self.classes))
        return tuple(100 / count / present if count else None for count in self.classes)

    def as_dict(self) -> dict[str, Any]:
        classes = {
            name: {"clips": count, "prior": prior, "uar_points_of_a_clip": worth}
            for name, count, prior, worth in zip(self.names, self.classes, self.priors, self.worth, strict=True)
        }
        known = {"clips": self.clips, "persons": self.persons or None, "frames": self.frames}
        return known | {"median_frames": self.median_frames, "classes": classes}

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {count}" for name, count in zip(self.names, self.classes, strict=True))
        persons = f" of {self.persons} persons" if self.persons else ""
        return f"{self.split:<5} {self.clips:>5} clips{persons}: {listed}"


def count(split: str, clips: list[Clip], classes: Classes) -> Counts:
    counts = np.bincount([clip.label for clip in clips], minlength=len(classes))
    lengths = [len(clip.frames) for clip in clips]
    median = float(np.median(lengths)) if lengths else 0.0
    persons = len(persons_of(clips))
    return Counts(split, len(clips), persons, sum(lengths), median, classes.names, tuple(map(int, counts)))


def persons_of(clips: list[Clip]) -> set[str]:
    return {clip.person for clip in clips if clip.person is not None}


def doubts(counts: Counts) -> list[Finding]:
    """Classes without a clip; beside train, classes with so few that a score says little."""
    by_class = list(zip(counts.names, counts.classes, counts.worth, strict=True))
    missing = [name for name, count, _ in by_class if not count]
    few = [f"{name} {count} ({worth:.2f})" for name, count, worth in by_class if 0 < count < FEW_CLIPS]
    said = []
    if missing:
        text = f"{counts.split} has no clip of {', '.join(missing)}"
        said.append(Finding("class_missing", text, counts.split, len(missing)))
    if few and counts.split != "train":
        text = f"{counts.split}: few clips make a class, and one clip many UAR points: {', '.join(few)}"
        said.append(Finding("few_clips", text, counts.split, len(few)))
    return said
