"""Checks that need only the lists: counts, and findings on persons, classes, duplicates and frame counts."""

import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from os.path import realpath
from typing import Any

import numpy as np

from dataloader.annotation import Clip
from dataloader.classes import Classes
from utils.text import plural

KINDS = {  # of findings, by severity
    "error": "list line label clip same_name two_labels clip_shared content_shared unreadable box_file box_entry "
    "boxes_size",
    "warning": "person_shared class_missing few_clips frame_count clip_repeated content_repeated box_coverage "
    "box_outside tiny_frames",
    "note": "frame_order frame_gaps sizes_change persons_unknown labels_ignored published_count",
}
SEVERITY = {kind: severity for severity, kinds in KINDS.items() for kind in kinds.split()}
MAX_EXAMPLES = 3  # of each finding
FEW_CLIPS = 20  # of a class; with fewer, one clip changes UAR too much to compare two epochs
SHARED_PERSONS = {"train": "the score is not on new persons", "val": "the epoch is selected on them"}
Splits = dict[str, list[Clip]]


@dataclass(frozen=True)
class Finding:
    kind: str
    text: str  # one line
    split: str | None = None
    count: int = 1
    examples: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        return SEVERITY[self.kind]

    @property
    def short(self) -> str:
        """The finding in one line, with one example."""
        return f"{self.text} ({self.examples[0]})" if self.examples else self.text

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"severity": self.severity}


def findings_of(kind: str, text: str, examples: Collection[str], split: str | None = None) -> list[Finding]:
    """Return one finding for all ``examples``, or an empty list if there are none.

    ``{clip}`` in the text is replaced by their number: "1 clip", "7 clips".
    """
    if not examples:
        return []
    text = re.sub(r"\{([a-z ]+)\}", lambda word: plural(len(examples), word[1]), text)
    return [Finding(kind, text, split, len(examples), tuple(examples)[:MAX_EXAMPLES])]


def location(clip: Clip) -> str:
    """Return a clip as an example of a finding."""
    return f"{clip.where}: {clip.id}" if clip.where else clip.id


@dataclass(frozen=True)
class Counts:
    """How many clips, persons and frames a split has, and how many clips of each class."""

    split: str
    clips: int
    persons: int  # 0: unknown
    frames: int
    median_frames: float
    classes: dict[str, int]  # clips of each class

    def prior(self, name: str) -> float:
        return self.classes[name] / max(self.clips, 1)

    def worth(self, name: str) -> float | None:
        """Return by how many points one clip of a class changes UAR; None if it has no clip."""
        count, present = self.classes[name], sum(map(bool, self.classes.values()))
        return 100 / count / present if count else None

    def as_dict(self) -> dict[str, Any]:
        classes = {
            name: {"clips": count, "prior": self.prior(name), "uar_points_of_a_clip": self.worth(name)}
            for name, count in self.classes.items()
        }
        return {
            "clips": self.clips,
            "persons": self.persons or None,
            "frames": self.frames,
            "median_frames": self.median_frames,
            "classes": classes,
        }

    def __str__(self) -> str:
        classes = ", ".join(f"{name} {count}" for name, count in self.classes.items())
        persons = f" of {self.persons} persons" if self.persons else ""
        return f"{self.split:<5} {self.clips:>5} clips{persons}: {classes}"


def count_clips(split: str, clips: list[Clip], classes: Classes) -> Counts:
    counts = np.bincount([clip.label for clip in clips], minlength=len(classes)).tolist()
    lengths = [len(clip.frames) for clip in clips]
    median = float(np.median(lengths)) if lengths else 0.0
    by_class = dict(zip(classes.names, counts, strict=True))
    return Counts(split, len(clips), len(persons_of(clips)), sum(lengths), median, by_class)


def persons_of(clips: list[Clip]) -> set[str]:
    return {clip.person for clip in clips if clip.person is not None}


def class_findings(counts: Counts) -> list[Finding]:
    """Return findings on classes without a clip and, outside train, on classes with few clips."""
    split, findings = counts.split, []
    missing = [name for name, count in counts.classes.items() if not count]
    rare = {name: count for name, count in counts.classes.items() if 0 < count < FEW_CLIPS}
    if missing:
        findings.append(Finding("class_missing", f"{split} has no clip of {', '.join(missing)}", split, len(missing)))
    if rare and split != "train":
        numbers = ", ".join(f"{name} {count}" for name, count in rare.items())
        most = "" if len(rare) == 1 else "up to "
        worth = max(map(counts.worth, rare))
        text = f"{split}: few clips in some classes ({numbers}), so one clip changes UAR by {most}{worth:.2f} points"
        findings.append(Finding("few_clips", text, split, len(rare)))
    return findings


def shared_persons(splits: Splits, firsts: tuple[str, ...] = ("train", "val")) -> list[Finding]:
    """Return findings on persons of a split that are also in an earlier one of ``firsts``, or on unknown persons."""
    persons = {split: persons_of(clips) for split, clips in splits.items() if clips}
    if persons and not any(persons.values()):
        text = "persons are not known in this set: the same person may be in several lists"
        return [Finding("persons_unknown", text)]
    findings = []
    for first, later in combinations(persons, 2):
        if first in firsts:
            shared = sorted(persons[first] & persons[later])
            text = f"{len(shared)} of {len(persons[later])} {later} persons are in {first}: {SHARED_PERSONS[first]}"
            findings += findings_of("person_shared", text, shared, later)
    return findings


def shared_clips(splits: Splits) -> list[Finding]:
    findings = []
    for first, later in combinations(splits, 2):
        keys = {clip.key for clip in splits[first]}
        shared = {clip.key: location(clip) for clip in splits[later] if clip.key in keys}
        text = f"{{{later} clip}} also in {first}: scores on them are optimistic"
        findings += findings_of("clip_shared", text, shared.values(), later)
    return findings


def repeated_clips(split: str, clips: list[Clip]) -> list[Finding]:
    """Return findings on clips that a list names more than once, with the same label and folder."""
    first: dict[str, Clip] = {}
    repeated = []
    for clip in clips:
        before = first.get(clip.key)
        if before is None:
            first[clip.key] = clip
        elif before.label == clip.label and realpath(before.folder) == realpath(clip.folder):
            repeated.append(location(clip))
    text = f"{split}: {{line}} with a clip that is already in the list and counts twice"
    return findings_of("clip_repeated", text, repeated, split)


def two_labels(splits: Splits, classes: Classes) -> list[Finding]:
    """Return findings on clips with different labels in different lines."""
    first: dict[str, Clip] = {}
    differing = {}
    for clip in (clip for clips in splits.values() for clip in clips):
        before = first.setdefault(clip.key, clip)
        if before.label != clip.label:
            labels = f"{classes.names[clip.label]}, before {classes.names[before.label]}"
            differing[clip.key] = f"{location(clip)} ({labels})"
    return findings_of("two_labels", "{clip} with two labels", differing.values())


def differing_counts(clips: list[Clip], split: str | None = None) -> list[Finding]:
    """Return findings on clips whose number of frames differs from their list."""
    # For a video, 0 in a list means that its author did not know the number.
    stated = [clip for clip in clips if clip.frames and clip.listed_frames is not None]
    stated = [clip for clip in stated if clip.listed_frames or not clip.is_video]
    differing = [clip for clip in stated if clip.listed_frames != len(clip.frames)]
    fewer = sum(clip.listed_frames > len(clip.frames) for clip in differing)
    prefix = f"{split}: " if split else ""
    text = (
        f"{prefix}{len(differing)} of {len(clips)} clips do not have the listed number of frames "
        f"({fewer} fewer, {len(differing) - fewer} more); the existing frames are used"
    )
    examples = [f"{location(clip)}: {clip.listed_frames} listed, {len(clip.frames)} exist" for clip in differing]
    return findings_of("frame_count", text, examples, split)


@dataclass(frozen=True)
class PublishedCount:
    """A count that the publisher of a set states, and what the lists hold."""

    part: str
    subject: str  # clips, persons, or a class
    published: int
    here: int


def published_counts(splits: Splits, classes: Classes) -> list[PublishedCount]:
    """Return the published counts of the parts that the given lists hold.

    Where a set has no public test part, the validation part may be the list for testing. All lists together are
    compared only if none of the published parts is missing. A clip without a file on the disk is missing.
    """
    if classes.published is None or classes.parts is not None:  # combinations of classes are not counted there
        return []
    parts = classes.published["parts"]
    splits = {split: [clip for clip in clips if clip.frames] for split, clips in splits.items()}
    clips = {
        part: splits[split]
        for part, split in (("train", "train"), ("validation", "val"), ("test", "test"))
        if split in splits
    }
    if "test" not in parts and "validation" not in clips and "test" in clips:
        clips["validation"] = clips.pop("test")
    needed = {*parts} - {"all"} or {"train", "test"}
    if needed <= {*clips}:
        clips["all"] = [clip for part_clips in splits.values() for clip in part_clips]
    rows = []
    for part, stated in parts.items():
        if part not in clips:
            continue
        counts = count_clips(part, clips[part], classes)
        here = {"clips": counts.clips, "persons": counts.persons}
        rows += [PublishedCount(part, name, stated[name], here[name]) for name in here if name in stated]
        named = stated.get("classes", {}).items()
        rows += [PublishedCount(part, name, count, counts.classes.get(name, 0)) for name, count in named]
    return rows


def published_findings(rows: list[PublishedCount]) -> list[Finding]:
    differing = [
        f"{row.part}, {row.subject}: {row.published:,} published, {row.here:,} here"
        for row in rows
        if row.published != row.here
    ]
    return findings_of("published_count", f"{len(differing)} of {len(rows)} published counts differ", differing)


def overview(splits: Splits, classes: Classes) -> Iterator[Counts | Finding]:
    """Yield what a run prints about lists without faults: the counts of each split, and findings."""
    splits = {split: clips for split, clips in splits.items() if clips}
    for split, clips in splits.items():
        counts = count_clips(split, clips, classes)
        yield counts
        yield from class_findings(counts)
        yield from repeated_clips(split, clips)
    yield from shared_persons(splits, ("train",))  # validation is held out of train, so it has the same persons
    yield from shared_clips(splits)
    yield from two_labels(splits, classes)
