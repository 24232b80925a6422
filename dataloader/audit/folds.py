"""Clips divided into folds: persons whole, every class as even as possible, the same for the same seed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dataloader.annotation import Clip
from utils.errors import UserError

SMALL = 2000  # units: beyond it they are mostly single clips, which are even without exchanges
PASSES = 20
LITTLE = 1e-12  # what rounding alone may gain


@dataclass(frozen=True)
class Fold:
    """Numbers of clips."""

    train: list[int]
    val: list[int]
    test: list[int]


def units_of(clips: Sequence[Clip], contents: dict[str, str | None]) -> list[list[int]]:
    """What must stay together: the clips of a person, and clips with the same frames."""
    parent = list(range(len(clips)))

    def top(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, clip in enumerate(clips):
        for tie in (("person", clip.person), ("content", contents.get(clip.key))):
            if tie[1] is not None:
                parent[top(index)] = top(first.setdefault(tie, index))
    units = defaultdict(list)
    for index in range(len(clips)):
        units[top(index)].append(index)
    return list(units.values())


def make_folds(
    labels: Sequence[int], units: list[list[int]], number: int, val_fraction: float, num_classes: int, seed: int
) -> list[Fold]:
    """Every clip is in the test list of one fold; no unit is in two lists of a fold."""
    vectors = np.array([np.bincount([labels[i] for i in unit], minlength=num_classes) for unit in units])
    wanted = np.tile(vectors.sum(axis=0) / number, (number, 1))
    parts = divide(vectors, wanted, np.random.default_rng([seed, 3]))
    folds = []
    for fold in range(number):
        rest = np.flatnonzero(parts != fold)
        held = np.zeros(len(rest), dtype=int)
        if val_fraction > 0:
            if len(rest) < 2:
                raise UserError(
                    f"--make-folds {number}: fold {fold + 1} has one person left to train on, and none for validation; "
                    f"pass --val-fraction 0"
                )
            chance = np.random.default_rng([seed, 4, fold])
            held = divide(vectors[rest], held_out(vectors[rest].sum(axis=0), val_fraction), chance)
        chosen = (rest[held == 0], rest[held == 1], np.flatnonzero(parts == fold))
        folds.append(Fold(*(sorted(i for unit in part for i in units[unit]) for part in chosen)))
    return folds


def held_out(everything: np.ndarray, fraction: float) -> np.ndarray:
    """(2, C): clips to learn from and to select on; of a class with two or more, one at least."""
    held = fraction * everything
    held = np.where(everything > 1, np.maximum(held, 1), held)
    return np.stack([everything - held, held])


def divide(vectors: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``vectors`` (U, C): clips of each class in each unit; ``wanted`` (parts, C) → the part (U,) each goes to.

    No part stays empty. Large units first, each to where most is lacking; then moves and exchanges while they help.
    """
    order = rng.permutation(len(vectors))
    order = order[np.argsort(-vectors[order].sum(axis=1), kind="stable")]
    weight = 1 / np.maximum(vectors.sum(axis=0), 1) ** 2  # a rare class counts as much as a common one
    held, parts = np.zeros_like(wanted), np.zeros(len(vectors), dtype=int)
    size = np.zeros(len(wanted), dtype=int)
    for place, unit in enumerate(order):
        lacking = ((wanted - held) * weight) @ vectors[unit]
        spare = (wanted - held).sum(axis=1)
        allowed = size == 0 if len(order) - place <= (size == 0).sum() else np.ones(len(wanted), dtype=bool)
        best = allowed & (lacking >= lacking[allowed].max() - LITTLE)
        part = max(np.flatnonzero(best), key=lambda p: spare[p])
        parts[unit], size[part] = part, size[part] + 1
        held[part] += vectors[unit]
    if len(vectors) <= SMALL:
        improve(vectors, parts, wanted, weight)
    return parts


def improve(vectors: np.ndarray, parts: np.ndarray, wanted: np.ndarray, weight: np.ndarray) -> None:
    """Moves units, and exchanges pairs of them, while the squares of what is lacking shrink; changes ``parts``."""
    over = -wanted  # what each part has too much of
    np.add.at(over, parts, vectors)
    for _ in range(PASSES):
        moved = False
        for unit, vector in enumerate(vectors):
            here = parts[unit]
            if (parts == here).sum() > 1:
                # the squares after minus before: |a - v|² + |b + v|² - |a|² - |b|²
                gain = ((over[here] - over) * weight) @ vector - (vector**2 * weight).sum()
                gain[here] = 0
                there = int(gain.argmax())
                if gain[there] > LITTLE:
                    over[here] -= vector
                    over[there] += vector
                    parts[unit], moved = there, True
                    continue
            step = vector - vectors  # (U, C): what each exchange takes from here
            gain = ((over[here] - over[parts]) * step * weight).sum(axis=1) - (step**2 * weight).sum(axis=1)
            gain[parts == here] = 0
            other = int(gain.argmax())
            if gain[other] > LITTLE:
                there = parts[other]
                over[here] -= step[other]
                over[there] += step[other]
                parts[unit], parts[other], moved = there, here, True
        if not moved:
            return
