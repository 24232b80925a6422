"""Hold validation clips out of train, stratified by class, with no person in both lists if possible."""

from collections import defaultdict

import numpy as np

from dataloader.annotation import Clip


def hold_out(
    clips: list[Clip], fraction: float, num_classes: int, seed: int
) -> tuple[list[Clip], list[Clip], list[int]]:
    """Return ``(train, validation, classes whose persons had to be split)``.

    Whole persons are moved to validation, in random order, while that brings the class counts closer to their targets.
    If a class with two or more clips then has none in one of the lists, single clips of it are moved.
    Clips without a known person are moved one by one.
    """
    rng = np.random.default_rng([seed, 2])
    labels = np.array([clip.label for clip in clips])
    targets = fraction * np.bincount(labels, minlength=num_classes)  # validation clips of each class
    validation = _choose_persons(clips, targets, num_classes, rng)
    split_classes = []
    for label in range(num_classes):
        members = np.flatnonzero(labels == label)
        in_validation = [int(i) for i in members if i in validation]
        has_persons = any(clips[i].person is not None for i in members)
        if len(members) == 1 and in_validation:  # a class with a single clip needs it in training
            split_classes += [label] * has_persons
            validation -= set(in_validation)
        if len(members) < 2 or 0 < len(in_validation) < len(members):
            continue
        split_classes += [label] * has_persons
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        validation -= set(in_validation)
        validation |= {int(i) for i in rng.permutation(members)[:count]}
    train_list = [clip for i, clip in enumerate(clips) if i not in validation]
    return train_list, [clip for i, clip in enumerate(clips) if i in validation], split_classes


def _choose_persons(clips: list[Clip], targets: np.ndarray, num_classes: int, rng: np.random.Generator) -> set[int]:
    """Return the clips of whole persons that together are closest to ``targets``, largest persons first."""
    by_person: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        by_person[(True, clip.key) if clip.person is None else (False, clip.person)].append(index)
    persons = sorted(by_person)
    rng.shuffle(persons)
    persons.sort(key=lambda person: -len(by_person[person]))  # stable, so equal sizes stay shuffled
    scale = 1 / np.maximum(targets, 1)  # so that a rare class counts as much as a common one
    counts, selection = np.zeros(num_classes), set()
    for person in persons:
        with_person = counts + np.bincount([clips[i].label for i in by_person[person]], minlength=num_classes)
        if np.square((with_person - targets) * scale).sum() < np.square((counts - targets) * scale).sum():
            counts = with_person
            selection |= set(by_person[person])
    return selection
