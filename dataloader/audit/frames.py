"""Frame files by their names alone: how many there are against the list, their order, gaps in their numbers."""

import re

from dataloader.annotation import Clip
from dataloader.audit.findings import Finding, found
from dataloader.audit.reading import place


def differing_counts(clips: list[Clip], split: str | None = None) -> list[Finding]:
    """Clips that do not have the number of frames that their list says; those without any are another finding."""
    there = [clip for clip in clips if clip.frames and clip.listed_frames is not None]
    differing = [clip for clip in there if clip.listed_frames != len(clip.frames)]
    fewer = sum(clip.listed_frames > len(clip.frames) for clip in differing)
    prefix = f"{split}: " if split else ""
    text = (
        f"{prefix}{len(differing)} of {len(clips)} clips do not have the listed number of frames "
        f"({fewer} fewer, {len(differing) - fewer} more); those there are used"
    )
    examples = [f"{place(clip)}: {clip.listed_frames} listed, {len(clip.frames)} there" for clip in differing]
    return found("frame_count", text, examples, split)


def text_order(clips: list[Clip], split: str) -> list[Finding]:
    """``10.jpg`` before ``2.jpg``: how loaders that sort names as text would show a clip."""
    examples = []
    for clip in clips:
        as_text = sorted(clip.frames)
        if as_text != list(clip.frames):
            examples.append(f"{place(clip)}: {_begin(as_text)} instead of {_begin(clip.frames)}")
    text = (
        f"{split}: {{clip}} whose frame names sort otherwise as text than by number: here they are shown by number, "
        f"by the published loaders, which sort text, out of time"
    )
    return found("frame_order", text, examples, split)


def _begin(names: tuple[str, ...] | list[str]) -> str:
    return " ".join(names[:3])


def number_gaps(clips: list[Clip], split: str) -> list[Finding]:
    """Numbers left out where the others follow in even steps."""
    examples = [f"{place(clip)}: {gap}" for clip in clips if (gap := first_gap(clip.frames))]
    text = f"{split}: {{clip}} with gaps in the numbers of the frames: those on both sides are taken as neighbours"
    return found("frame_gaps", text, examples, split)


def first_gap(names: tuple[str, ...]) -> str | None:
    numbers = [int(found[-1]) if (found := re.findall(r"[0-9]+", name.rpartition(".")[0])) else None for name in names]
    if None in numbers or len(numbers) < 3:
        return None
    steps = [after - before for before, after in zip(numbers, numbers[1:], strict=False)]
    even = min(steps)
    if even < 1 or max(steps) == even:
        return None
    at = next(at for at, step in enumerate(steps) if step > even)
    return f"nothing between {names[at]} and {names[at + 1]}"
