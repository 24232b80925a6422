"""Who and what is in more than one split: persons, and clips by the path that names them."""

from itertools import combinations

from dataloader.annotation import Clip
from dataloader.audit.counts import persons_of
from dataloader.audit.findings import Finding, found
from dataloader.audit.reading import place

Splits = dict[str, list[Clip]]


MEANS = {
    "train": "the score is not of new persons",
    "val": "what is selected on them suits them",
}


def shared_persons(splits: Splits, firsts: tuple[str, ...] = ("train", "val")) -> list[Finding]:
    """Persons of a later split that one of ``firsts`` has, too; or that nobody knows who they are."""
    persons = {split: persons_of(clips) for split, clips in splits.items() if clips}
    if persons and not any(persons.values()):
        text = "persons are not known in this set: they may be in more than one of the lists"
        return [Finding("persons_unknown", text)]
    said = []
    for one, other in ((one, other) for one, other in combinations(persons, 2) if one in firsts):
        shared = sorted(persons[one] & persons[other])
        text = f"{len(shared)} of {len(persons[other])} {other} persons are in {one}: {MEANS[one]}"
        said += found("person_shared", text, shared, other)
    return said


def shared_clips(splits: Splits) -> list[Finding]:
    said = []
    for one, other in combinations(splits, 2):
        known = {clip.key for clip in splits[one]}
        shared = {clip.key: clip for clip in splits[other] if clip.key in known}
        text = f"{{{other} clip}} also in {one}: scores on them are optimistic"
        said += found("clip_shared", text, [place(clip) for clip in shared.values()], other)
    return said
