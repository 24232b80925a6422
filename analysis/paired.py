"""Compare two models on the same clips by a paired bootstrap and McNemar's test; intervals of means over seeds.

A model is (S, N) predictions, one row per training seed; its score is the mean over its seeds.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.intervals import (
    LEVEL,
    REPLICATES,
    ROUNDING,
    Groups,
    as_percent,
    classifier_intervals,
    confusions,
    interval,
    mean_interval,
    resample_sums,
)
from analysis.metrics import SCORES, Interval, Rates, rates

SEED_STREAM = 1  # random stream from which seeds are sampled
ALPHA = 1 - LEVEL / 100


@dataclass(frozen=True)
class Difference:
    """Difference of two scores in points, its 95 % interval, and the two-sided p of no difference."""

    value: float | None
    interval: Interval
    p: float | None
    identical: bool = False  # no prediction differs
    differing: int | None = None  # number of groups in which the two are not equally good
    seeds: int = 1  # number of trainings of the model with fewer

    @property
    def is_significant(self) -> bool:
        """Return whether the interval excludes 0 and the models differ in enough groups."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1] and self.p <= ALPHA

    @property
    def verdict(self) -> str:
        """Return whether the difference is beyond noise: ``yes``, or why that cannot be claimed.

        The noise of training is unknown with one training of a model, so one seed is never beyond noise.
        """
        if self.identical:
            return "identical predictions"
        if self.interval is None:
            return "no interval"
        if self.interval[0] <= 0 <= self.interval[1]:
            return "no"
        if not self.is_significant:
            return "too few differ"
        return "one seed" if self.seeds == 1 else "yes"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"beyond_noise": self.verdict == "yes", "verdict": self.verdict}


@dataclass(frozen=True)
class Pair:
    """Model ``b`` against model ``a``: (S', N) and (S, N) predictions of the same ``label`` (N,)."""

    label: np.ndarray
    a: np.ndarray
    b: np.ndarray
    groups: Groups | None  # None: no intervals
    C: int
    same_seeds: bool = True  # seed i of a is seed i of b

    @cached_property
    def _sums(self) -> np.ndarray:
        """Confusion matrices (G, S + S', C, C)."""
        groups = self.groups or Groups(np.zeros(len(self.label), dtype=int), 1, "clips")
        return confusions(self.label, np.concatenate([self.a, self.b]), groups, self.C)

    @cached_property
    def _rates(self) -> Rates:
        return rates(self._sums.sum(axis=0))

    @cached_property
    def _replicates(self) -> Rates | None:
        return None if self.groups is None or self.groups.count < 2 else rates(resample_sums(self._sums))

    @property
    def is_identical(self) -> bool:
        return self.a.shape == self.b.shape and bool((self.a == self.b).all())

    def scores(self, name: str) -> tuple[float, float]:
        """Return the score of ``a`` and of ``b``, in percent."""
        values, S = 100 * getattr(self._rates, name), len(self.a)
        return float(values[:S].mean()), float(values[S:].mean())

    def difference(self, name: str, label: int | None = None) -> Difference:
        """Return the score of ``b`` minus that of ``a``; ``label``: the class, for ``recall``."""
        S, part = len(self.a), ... if label is None else (..., label)
        seeds = min(S, len(self.b))
        values = getattr(self._rates, name)[part]
        value = values[S:].mean() - values[:S].mean()
        if np.isnan(value):
            return Difference(None, None, None)
        value = 100 * float(value)
        if self._replicates is None:
            return Difference(value, None, None, self.is_identical, seeds=seeds)
        replicates = getattr(self._replicates, name)[part]  # (R, S + S')
        stream_b = SEED_STREAM if self.same_seeds else SEED_STREAM + 1
        differences = mean_over_seeds(replicates[:, S:], stream_b) - mean_over_seeds(replicates[:, :S])
        differences = differences[~np.isnan(differences)]
        bounds, count = as_percent(interval(differences)), self._count_differing(name, part)
        if name == "recall" and value and np.ptp(differences) < ROUNDING:
            bounds = None  # all clips of the class are won, or lost, so the bootstrap shows no spread
        return Difference(value, bounds, sign_p(differences, count), self.is_identical, count, seeds)

    def _count_differing(self, name: str, part: Any) -> int:
        """Return the number of groups in which the two differ: for F1 in any prediction, else in correct ones."""
        sums = self._sums if name == "macro_f1" else np.diagonal(self._sums, axis1=-2, axis2=-1)[part]
        S = len(self.a)
        distance = sums[:, S:].mean(axis=1) - sums[:, :S].mean(axis=1)
        return int((abs(distance.reshape(len(distance), -1)) > ROUNDING).any(axis=1).sum())


def mean_over_seeds(values: np.ndarray, stream: int = SEED_STREAM) -> np.ndarray:
    """Return (R,) means of (R, S) values over seeds, which are resampled in each replicate.

    ``S - 1`` of S seeds are sampled with replacement: their mean varies as much as a mean over S seeds, whereas the
    mean of S samples would vary too little. A single seed is not resampled, since its noise is unknown.
    """
    S = values.shape[1]
    if S == 1:
        return values[:, 0]
    shares = np.random.default_rng([stream, 9]).multinomial(S - 1, np.full(S, 1 / S), size=REPLICATES) / (S - 1)
    return (shares * values).sum(axis=1)


def mean_intervals(label: np.ndarray, predicted: np.ndarray, groups: Groups | None, C: int) -> dict[str, Interval]:
    """Return the interval of each mean score of S models with predictions (S, N), with the same resampled groups.

    If the bootstrap shows no spread of a mean, its bounds are the means of the bounds of each model.
    """
    if groups is None or groups.count < 2:
        return dict.fromkeys(SCORES)
    sums = confusions(label, predicted, groups, C)
    replicates = rates(resample_sums(sums))
    means = {name: mean_interval(getattr(replicates, name).mean(axis=1)) for name in SCORES}
    if len(predicted) > 1 and None not in means.values():
        return means
    models = [classifier_intervals(sums[:, s]) for s in range(len(predicted))]
    for name in SCORES:
        bounds = [model[name] for model in models]
        if len(predicted) == 1 or means[name] is None:
            means[name] = None if None in bounds else np.mean(bounds, axis=0).tolist()
    return means


def sign_p(differences: np.ndarray, count: int) -> float:
    """Return twice the share of replicates on the rarer side of 0; zeros count on both sides.

    It is never below the resolution of the replicates, nor below the probability that all of ``count`` differing groups
    have the same sign by chance: for five persons this is 1 in 16.
    """
    rarer = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    # Adding 1 to both counts avoids p = 0, which a finite number of replicates cannot show.
    return min(1.0, float(max(2 * (rarer + 1) / (len(differences) + 1), 2.0 ** (1 - count))))


def mcnemar(only_a_right: int, only_b_right: int) -> float:
    """Return the exact two-sided p of McNemar's test, a sign test over clips that only one model has right."""
    from scipy.stats import binomtest  # imported here, since it takes half a second and only a comparison needs it

    total = only_a_right + only_b_right
    return float(binomtest(only_a_right, total).pvalue) if total else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values: the smallest times their number, the next times one less, never decreasing."""
    p = np.asarray(p, dtype=float)
    order, adjusted = p.argsort(kind="stable"), np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]))
    return adjusted.tolist()


def sd(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation over seeds, None for a single one."""
    return statistics.stdev(values) if len(values) > 1 else None
