"""A validation list held out of train: stratified by class, persons kept whole where possible."""

from collections import defaultdict

import numpy as np

from dataloader.annotation import Clip


def hold_out(
    clips: list[Clip], fraction: float, num_classes: int, seed: int
) -> tuple[list[Clip], list[Clip], list[int]]:
    """``(train, validation, classes whose persons had to be split)``.

    Whole persons move to validation, in random order, as long as that brings the class counts nearer to their share.
    A class that then has no clip on one side, though it has two or more in all, gives single clips across. Clips of
    whom nobody says who is in them go one by one.
    """
    rng = np.random.default_rng([seed, 2])
    labels = np.array([clip.label for clip in clips])
    wanted = fraction * np.bincount(labels, minlength=num_classes)
    held = _choose_persons(clips, wanted, num_classes, rng)
    split = []
    for label in range(num_classes):
        members = np.flatnonzero(labels == label)
        inside = [int(i) for i in members if i in held]
        has_persons = any(clips[i].person is not None for i in members)
        if len(members) == 1 and inside:  # a class with one clip learns from it
            split += [label] * has_persons
            held -= set(inside)
        if len(members) < 2 or 0 < len(inside) < len(members):
            continue
        split += [label] * has_persons
        share = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held -= set(inside)
        held |= {int(i) for i in rng.permutation(members)[:share]}
    train = [clip for i, clip in enumerate(clips) if i not in held]
    validation = [clip for i, clip in enumerate(clips) if i in held]
    return train, validation, split


def _choose_persons(clips: list[Clip], wanted: np.ndarray, num_classes: int, rng: np.random.Generator) -> set[int]:
    by_person: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        unit = (True, clip.key) if clip.person is None else (False, clip.person)
        by_person[unit].append(index)
    persons = sorted(by_person)
    rng.shuffle(persons)
    persons.sort(key=lambda person: -len(by_person[person]))  # stable: equal sizes stay shuffled
    scale = 1 / np.maximum(wanted, 1)  # so that a rare class counts as much as a common one
    counts, held = np.zeros(num_classes), set()
    for person in persons:
        more = counts + np.bincount([clips[i].label for i in by_person[person]], minlength=num_classes)
        if np.square((more - wanted) * scale).sum() < np.square((counts - wanted) * scale).sum():
            counts = more
            held |= set(by_person[person])
    return held
