"""Clips that stand twice: in one list, with two labels, or under two paths that hold the same frames."""

from collections import defaultdict

from dataloader.annotation import Clip
from dataloader.audit.findings import Finding, found
from dataloader.audit.overlap import Splits
from dataloader.audit.reading import place
from dataloader.classes import Classes


def repeated_clips(split: str, clips: list[Clip]) -> list[Finding]:
    """A clip that a list names more than once; with another label, or lying elsewhere, it is another finding."""
    first: dict[str, Clip] = {}
    again = []
    for clip in clips:
        before = first.get(clip.key)
        if before is None:
            first[clip.key] = clip
        elif before.label == clip.label and _is_same_place(before, clip):
            again.append(place(clip))
    return found(
        "clip_repeated", f"{split}: {{line}} of a clip that the list has already: it counts twice", again, split
    )


def _is_same_place(one: Clip, other: Clip) -> bool:
    return one.folder == other.folder or one.folder.resolve() == other.folder.resolve()


def two_labels(splits: Splits, classes: Classes) -> list[Finding]:
    """A clip that is one class here and another there."""
    first: dict[str, Clip] = {}
    differing = {}
    for clip in (clip for clips in splits.values() for clip in clips):
        before = first.setdefault(clip.key, clip)
        if before.label != clip.label:
            labels = f"{classes.names[clip.label]}, before {classes.names[before.label]}"
            differing[clip.key] = f"{place(clip)} ({labels})"
    return found("two_labels", "{clip} with two labels", list(differing.values()))


def same_content(splits: Splits, contents: dict[str, str | None]) -> list[Finding]:
    """Clips of different paths and equal frames; ``contents``: a hash of every clip's frames, by key."""
    groups: dict[str, dict[str, tuple[str, Clip]]] = defaultdict(dict)
    for split, clips in splits.items():
        for clip in clips:
            if contents.get(clip.key) is not None:
                groups[contents[clip.key]].setdefault(clip.key, (split, clip))
    shared, repeated = [], defaultdict(list)
    for group in groups.values():
        (split, one), *others = group.values()
        across = next((clip for other, clip in others if other != split), None)
        if across is not None:
            shared.append(f"{place(one)} = {place(across)}")
        elif others:
            repeated[split].append(f"{place(one)} = {place(others[0][1])}")
    text = "{clip} of one split in another too, under a second path, frame by frame the same: a leak"
    said = found("content_shared", text, shared)
    for split, examples in repeated.items():
        text = f"{split}: {{clip}} twice under two paths, frame by frame the same"
        said += found("content_repeated", text, examples, split)
    return said
