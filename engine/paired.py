"""Models on the same clips: replicates that share their draws, the paired difference of two, McNemar's exact test.

A model answers with (S, N) predictions, one row a training seed; its score is the mean over the seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.bootstrap import REPLICATES, draw_weights, interval, replicate_sums

SCORES = ("uar", "war", "macro_f1")
OF_SEEDS = 1  # the stream that seeds are drawn from; persons have stream 0


@dataclass(frozen=True)
class Difference:
    """Of two scores in points: the value, its 95 % interval, and the two-sided p of no difference."""

    value: float | None
    interval: list[float] | None
    p: float
    identical: bool = False  # not one prediction differs

    @property
    def is_beyond_noise(self) -> bool:
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"beyond_noise": self.is_beyond_noise}


def confusions_by_group(label: np.ndarray, predicted: np.ndarray, groups: Sequence[str], C: int) -> np.ndarray:
    """Labels (N,) and predictions (S, N) → (G, S, C, C) counts, rows true classes."""
    names, rows = np.unique(np.asarray(groups), return_inverse=True)
    S = len(predicted)
    sums = np.zeros((len(names), S, C, C))
    np.add.at(sums, (rows[None], np.arange(S)[:, None], label[None], predicted), 1)
    return sums


def scores_of(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """(..., C, C) → UAR, WAR and macro F1 (...) in percent, and ``recall`` (..., C), NaN for a class without clips."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    support, claimed = confusion.sum(axis=-1), confusion.sum(axis=-2)
    unknown = np.full(hits.shape, np.nan)
    recall = 100 * np.divide(hits, support, out=unknown.copy(), where=support > 0)
    f1 = 100 * np.divide(2 * hits, support + claimed, out=unknown, where=support + claimed > 0)
    return {
        "uar": np.nanmean(recall, axis=-1),
        "war": 100 * hits.sum(axis=-1) / support.sum(axis=-1),
        "macro_f1": np.nanmean(f1, axis=-1),
        "recall": recall,
    }


@dataclass(frozen=True)
class Replicated:
    """The scores of a model by seed, as measured (S, ...) and in every replicate (R, S, ...)."""

    measured: dict[str, np.ndarray]
    replicates: dict[str, np.ndarray]

    def means(self, name: str, seeds: np.ndarray | None = None) -> np.ndarray:
        """(R, ...) the mean over seeds; ``seeds`` (R, S): how much each counts in each replicate."""
        values = self.replicates[name]
        if seeds is None:
            return values.mean(axis=1)
        return np.einsum("rs,rs...->r...", seeds, values)


def replicate(label: np.ndarray, predicted: np.ndarray, groups: Sequence[str], C: int) -> Replicated:
    """Groups drawn again; the same draws for whoever has the same groups."""
    sums = confusions_by_group(label, predicted, groups, C)
    return Replicated(scores_of(sums.sum(axis=0)), scores_of(replicate_sums(sums, draw_weights(len(sums)))))


def seed_weights(S: int, stream: int = OF_SEEDS) -> np.ndarray | None:
    """(R, S) shares of each seed. ``S - 1`` of them are drawn: their mean then varies as a mean over S seeds does.

    None for one seed, whose noise nobody can tell.
    """
    if S == 1:
        return None
    drawn = np.random.default_rng([stream, 9]).multinomial(S - 1, np.full(S, 1 / S), size=REPLICATES)
    return drawn / (S - 1)


def difference(one: Replicated, other: Replicated, name: str, *, same_seeds: bool = True) -> Difference:
    """``other`` minus ``one``: groups paired, and seeds too where they are the same."""
    return _difference(*_mean_and_replicates(one, other, name, same_seeds))


def recall_differences(one: Replicated, other: Replicated, *, same_seeds: bool = True) -> list[Difference]:
    """Of every class; one without clips has none."""
    value, drawn = _mean_and_replicates(one, other, "recall", same_seeds)
    return [_difference(value[c], drawn[:, c]) for c in range(len(value))]


def _mean_and_replicates(one: Replicated, other: Replicated, name: str, same_seeds: bool) -> tuple[Any, np.ndarray]:
    S, other_S = (len(model.measured[name]) for model in (one, other))
    value = other.measured[name].mean(axis=0) - one.measured[name].mean(axis=0)
    seeds, other_seeds = seed_weights(S), seed_weights(other_S, OF_SEEDS if same_seeds else OF_SEEDS + 1)
    return value, other.means(name, other_seeds) - one.means(name, seeds)


def _difference(value: float, drawn: np.ndarray) -> Difference:
    if np.isnan(value):
        return Difference(None, None, 1.0)
    bounds, told = interval(drawn), drawn[~np.isnan(drawn)]
    return Difference(float(value), bounds, sign_p(told), bool(value == 0 and not told.any()))


def sign_p(drawn: np.ndarray) -> float:
    """Twice the share of replicates on the rarer side of 0, which itself is on both; never below what they resolve."""
    rarer = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return min(1.0, 2 * (rarer + 1) / (len(drawn) + 1))


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
