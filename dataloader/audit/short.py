"""The audit in short, of lists that were read without a fault: what a run says before its first step."""

from collections.abc import Iterator
from pathlib import Path

from dataloader.annotation import Clip
from dataloader.audit.counts import Counts, count, doubts
from dataloader.audit.duplicates import repeated_clips, two_labels
from dataloader.audit.findings import Finding
from dataloader.audit.overlap import Splits, shared_clips, shared_persons
from dataloader.classes import Classes
from dataloader.frames import find_unreadable


def overview(splits: Splits, classes: Classes) -> Iterator[Counts | Finding]:
    """What the lists alone show: of each split its counts and the doubts about it, then what is in two of them."""
    splits = {split: clips for split, clips in splits.items() if clips}
    for split, clips in splits.items():
        counts = count(split, clips, classes)
        yield counts
        yield from doubts(counts)
        yield from repeated_clips(split, clips)
    yield from shared_persons(splits, ("train",))  # validation is held out of train: it shares what train shares
    yield from shared_clips(splits)
    yield from two_labels(splits, classes)


def bad_beginnings(clips: list[Clip]) -> list[Path]:
    """Frames whose first bytes are no image's."""
    return find_unreadable([clip.frame_path(index) for clip in clips for index in range(len(clip.frames))])
