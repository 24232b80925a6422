"""Models on the same clips: the mean over seeds, the difference of two with the same groups drawn for both, McNemar.

A model answers with (S, N) predictions, one row a training seed; its score is the mean over the seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.bootstrap import LEVEL, REPLICATES, SAME, draw_sums, interval
from analysis.intervals import Groups, as_percent, classifier_intervals, confusions, mean_interval
from analysis.metrics import Interval, Rates, rates

SCORES = ("uar", "war", "macro_f1")
OF_SEEDS = 1  # the stream that seeds are drawn from
ALPHA = 1 - LEVEL / 100


@dataclass(frozen=True)
class Difference:
    """Of two scores in points: the value, its 95 % interval, and the two-sided p of no difference."""

    value: float | None
    interval: Interval
    p: float | None
    identical: bool = False  # not one prediction differs
    differing: int | None = None  # groups in which the two are not equally good

    @property
    def is_beyond_noise(self) -> bool:
        """The interval does not hold 0, and the two differ in groups enough for that to mean something."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1] and self.p <= ALPHA

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"beyond_noise": self.is_beyond_noise}


@dataclass(frozen=True)
class Pair:
    """``other`` beside ``one``, (S, N) and (S', N) predictions of the same ``label`` (N,)."""

    label: np.ndarray
    one: np.ndarray
    other: np.ndarray
    groups: Groups | None  # None: no intervals
    C: int
    same_seeds: bool = True  # seed i of one is seed i of the other

    @cached_property
    def measured(self) -> Rates:
        return rates(self._sums.sum(axis=0))

    @cached_property
    def _sums(self) -> np.ndarray:
        """(G, S + S', C, C)."""
        groups = self.groups or Groups(np.zeros(len(self.label), dtype=int), 1, "clips")
        return confusions_of(self.label, np.concatenate([self.one, self.other]), groups, self.C)

    @cached_property
    def _drawn(self) -> Rates | None:
        return None if self.groups is None or self.groups.count < 2 else rates(draw_sums(self._sums))

    @property
    def is_identical(self) -> bool:
        return self.one.shape == self.other.shape and bool((self.one == self.other).all())

    def scores(self, name: str) -> tuple[float, float]:
        """In percent, of ``one`` and of ``other``."""
        values, S = 100 * getattr(self.measured, name), len(self.one)
        return float(values[:S].mean()), float(values[S:].mean())

    def difference(self, name: str) -> Difference:
        """Of one score: ``other`` minus ``one``."""
        return self._difference(name, ...)

    def recall_difference(self, label: int) -> Difference:
        return self._difference("recall", (..., label))

    def _difference(self, name: str, part: Any) -> Difference:
        S = len(self.one)
        values = getattr(self.measured, name)[part]
        value = values[S:].mean() - values[:S].mean()
        if np.isnan(value):
            return Difference(None, None, None)
        value = 100 * float(value)
        if self._drawn is None:
            return Difference(value, None, None, self.is_identical)
        drawn = getattr(self._drawn, name)[part]  # (R, S + S')
        other_stream = OF_SEEDS if self.same_seeds else OF_SEEDS + 1
        moved = mean_over_seeds(drawn[:, S:], other_stream) - mean_over_seeds(drawn[:, :S])
        told, count = moved[~np.isnan(moved)], self._differing(name, part)
        bounds = as_percent(interval(told))
        if name == "recall" and value and np.ptp(told) < SAME:
            bounds = None  # every clip of the class is won, or lost: drawing a few again shows no spread
        return Difference(value, bounds, sign_p(told, count), self.is_identical, count)

    def _differing(self, name: str, part: Any) -> int:
        """Groups in which what a score is made of is not the same: for F1 all answers, else those that are right."""
        made_of = self._sums if name == "macro_f1" else np.diagonal(self._sums, axis1=-2, axis2=-1)[part]
        S = len(self.one)
        apart = made_of[:, S:].mean(axis=1) - made_of[:, :S].mean(axis=1)
        return int((abs(apart.reshape(len(apart), -1)) > SAME).any(axis=1).sum())


def confusions_of(label: np.ndarray, predicted: np.ndarray, groups: Groups, C: int) -> np.ndarray:
    """(S, N) → (G, S, C, C): the confusion matrices of each group."""
    return np.stack([confusions(label, row, groups, C) for row in predicted], axis=1)


def mean_over_seeds(drawn: np.ndarray, stream: int = OF_SEEDS) -> np.ndarray:
    """(R, S) → (R,): in each replicate other seeds count.

    ``S - 1`` of S are drawn with replacement: their mean varies as much as a mean over S seeds does (S of them would
    vary too little). One seed is taken as it is: its noise nobody can tell.
    """
    S = drawn.shape[1]
    if S == 1:
        return drawn[:, 0]
    shares = np.random.default_rng([stream, 9]).multinomial(S - 1, np.full(S, 1 / S), size=REPLICATES) / (S - 1)
    return (shares * drawn).sum(axis=1)


def mean_intervals(label: np.ndarray, predicted: np.ndarray, groups: Groups | None, C: int) -> dict[str, Interval]:
    """Of the mean score of these very S models, (S, N) predictions: whole groups drawn again, the same for all."""
    if groups is None or groups.count < 2:
        return dict.fromkeys(SCORES)
    sums = confusions_of(label, predicted, groups, C)
    drawn = rates(draw_sums(sums))
    means = {name: mean_interval(getattr(drawn, name).mean(axis=1)) for name in SCORES}
    if len(predicted) > 1 and None not in means.values():
        return means
    own = [classifier_intervals(sums[:, s]) for s in range(len(predicted))]
    alone = {name: mean_of_bounds([one[name] for one in own]) for name in SCORES}
    return alone if len(predicted) == 1 else {name: means[name] or alone[name] for name in SCORES}


def mean_of_bounds(own: list[Interval]) -> Interval:
    """Of models whose mean no drawing moves: the mean of what can be said of each; None where that is nothing."""
    return None if None in own else np.mean(own, axis=0).tolist()


def sign_p(drawn: np.ndarray, count: int) -> float:
    """Twice the share of replicates on the rarer side of 0, which itself is on both.

    Never below what the replicates resolve, nor below the chance that ``count`` groups, those that differ, all point
    one way: with five persons that is 1 in 16, whatever they show.
    """
    rarer = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return min(1.0, float(max(2 * (rarer + 1) / (len(drawn) + 1), 2.0 ** (1 - count))))


def mcnemar(first_alone: int, second_alone: int) -> float:
    """Exact two-sided p that, of the clips that one model alone has right, half are each one's."""
    n, rarer = first_alone + second_alone, min(first_alone, second_alone)
    total = term = 1
    for k in range(rarer):
        term = term * (n - k) // (k + 1)
        total += term
    return min(1.0, 2 * total / 2**n)


def holm(p: Sequence[float]) -> list[float]:
    """Each p adjusted for how many were asked: the smallest times their number, the next times one less, and so on."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, highest = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = highest
    return adjusted


def sd(values: Sequence[float]) -> float | None:
    """Over seeds, ddof 1; None of a single one."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
