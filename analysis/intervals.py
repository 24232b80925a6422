"""95 % intervals of scores by the bootstrap over groups: persons, or clips where persons are not known.

Every score is a function of sums over groups, so a bootstrap replicate is a weighted sum. Whole groups are resampled,
because the clips of one person are similar. If all clips of a class are right, or none is, all replicates are the same;
then the exact interval of Clopper and Pearson is used for the share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.metrics import KINDS, SCORES, Interval, agreement_of, mean_shift, moments, percent, rates
from utils.errors import UserError

REPLICATES = 2000
LEVEL = 95.0  # percent
TAIL = (1 - LEVEL / 100) / 2
FEW_GROUPS = 10  # with fewer, the bootstrap is known to give intervals that are too narrow
CHUNK = 256  # replicates that are computed at a time
ROUNDING = 1e-9  # largest relative difference that can be rounding


@dataclass(frozen=True)
class Groups:
    """The groups that the bootstrap resamples: ``rows`` (N,) is the group of each clip, from 0 to ``count`` - 1."""

    rows: np.ndarray
    count: int
    resampled: str  # persons, clips, subjects or videos

    def about(self) -> dict[str, Any]:
        """Return how the intervals were made, for metrics.json."""
        return {"level": LEVEL, "resampled": self.resampled, "groups": self.count, "replicates": REPLICATES}

    def doubts(self) -> list[str]:
        """Return warnings about intervals from so few groups."""
        if self.count < 2:
            return [f"no intervals: two {self.resampled} or more are needed for resampling, and there is one"]
        if self.count < FEW_GROUPS:
            return [f"intervals from only {self.count} {self.resampled} are narrower than they should be"]
        return []


def make_groups(names: Sequence[str], resampled: str) -> Groups:
    """Return groups, given the name of each clip's group (N,)."""
    unique, rows = np.unique(np.asarray(names), return_inverse=True)
    return Groups(rows, len(unique), resampled)


def groups_of(ids: Sequence[str], persons: Sequence[str | None], ci: str) -> Groups | None:
    """Return the groups that ``--ci`` names, None for off. A clip of an unknown person is a separate group."""
    if ci == "off":
        return None
    require_persons(persons, ci)
    if ci == "clips" or not any(persons):
        return make_groups(ids, "clips")
    names = [f"clip {id}" if person is None else f"person {person}" for id, person in zip(ids, persons, strict=True)]
    return make_groups(names, "persons")


def require_persons(persons: Sequence[str | None], ci: str) -> None:
    if ci == "persons" and not any(persons):
        raise UserError("--ci persons: the persons in these clips are unknown; --ci clips resamples clips")


# -- bootstrap ------------------------------------------------------------------------------------------------------


def row_sums(contributions: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Return the sums (G, ...) of each of ``count`` groups, given the contribution (N, ...) of each clip."""
    columns = contributions.reshape(len(contributions), -1).T
    sums = np.stack([np.bincount(rows, weights=column, minlength=count) for column in columns], axis=1)
    return sums.reshape(count, *contributions.shape[1:])


def resample_counts(sizes: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """Return (R, K): how many groups of each kind are sampled with replacement in each replicate.

    Kind k has ``sizes[k]`` groups that are equal; if all sizes are 1, every group is a separate kind.
    """
    count = int(sizes.sum())
    return np.random.default_rng([seed, 8]).multinomial(count, sizes / count, size=replicates)


def replicate_sums(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return sums (R, ...) of replicates from sums (G, ...) and weights (R, G). Equal weights pair two models."""
    flat = sums.reshape(len(sums), -1)
    chunks = [weights[start : start + CHUNK] @ flat for start in range(0, len(weights), CHUNK)]
    return np.concatenate(chunks).reshape(len(weights), *sums.shape[1:])


def resample_sums(sums: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """Return sums (R, ...) of resampled groups. Groups with equal sums are one kind, and clips have only few kinds."""
    kinds, sizes = kinds_of(sums)
    return replicate_sums(kinds, resample_counts(sizes, replicates, seed))


def kinds_of(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows (K, ...) of ``sums`` (G, ...) and the number of groups with each."""
    flat = np.ascontiguousarray(sums.reshape(len(sums), -1))
    as_bytes = flat.view(np.dtype((np.void, flat.itemsize * flat.shape[1]))).ravel()  # much faster than unique(axis=0)
    _, first, sizes = np.unique(as_bytes, return_index=True, return_counts=True)
    return sums[first], sizes


def interval(values: np.ndarray) -> Interval:
    """Return the middle 95 % of (R,) values. Replicates without a score are NaN and are ignored."""
    values = values[~np.isnan(values)]
    tail = (100 - LEVEL) / 2
    return [float(bound) for bound in np.percentile(values, [tail, 100 - tail])] if len(values) else None


def moved_interval(values: np.ndarray) -> Interval:
    """Return the interval, or None if all replicates are equal, so that the bootstrap shows no spread."""
    values = values[~np.isnan(values)]
    return None if not len(values) or np.ptp(values) <= ROUNDING * abs(values).max() else interval(values)


# -- classifiers ----------------------------------------------------------------------------------------------------


def add_intervals(metrics: dict[str, Any], label: np.ndarray, predicted: np.ndarray, groups: Groups) -> dict[str, Any]:
    """Return ``metrics`` of ``analysis.metrics.score`` with an interval for every score."""
    bounds = classifier_intervals(confusions(label, predicted, groups, len(metrics["classes"])))
    rows = zip(metrics["per_class"].items(), bounds["recall"], bounds["f1"], strict=True)
    return metrics | {
        "per_class": {name: values | {"interval": recall, "f1_interval": f1} for (name, values), recall, f1 in rows},
        "intervals": groups.about() | {name: bounds[name] for name in SCORES},
    }


def confusions(label: np.ndarray, predicted: np.ndarray, groups: Groups, C: int) -> np.ndarray:
    """Return (G, C, C): the confusion matrix of each group; (G, S, C, C) from (S, N) predictions of S models."""
    models = np.atleast_2d(predicted)
    S = len(models)
    cells = ((groups.rows * S + np.arange(S)[:, None]) * C + label) * C + models
    counts = np.bincount(cells.ravel(), minlength=groups.count * S * C * C)
    return counts.reshape(groups.count, *predicted.shape[:-1], C, C)


def classifier_intervals(sums: np.ndarray) -> dict[str, Any]:
    """Return the bounds of ``uar``, ``war``, ``macro_f1`` and of each class's ``recall`` and ``f1`` from (G, C, C).

    Groups without a clip are resampled too.
    """
    C = sums.shape[1]
    G = int((sums.sum(axis=(1, 2)) > 0).sum())
    if G < 2:
        return dict.fromkeys(SCORES) | {"recall": [None] * C, "f1": [None] * C}
    point, replicates = rates(sums.sum(axis=0)), rates(resample_sums(sums))
    has_class = sums.sum(axis=2) > 0  # (G, C)
    concerned = (has_class | (sums.sum(axis=1) > 0)).sum(axis=0)  # groups with a clip of the class or predicted as it
    bounds: dict[str, Any] = {
        "recall": [share_interval(point.recall[c], replicates.recall[:, c], has_class[:, c].sum()) for c in range(C)],
        "f1": [f1_interval(point.f1[c], replicates.f1[:, c], concerned[c]) for c in range(C)],
    }
    bounds |= {name: mean_interval(getattr(replicates, name)) for name in SCORES}
    present = has_class.any(axis=0)
    if np.isin(point.recall[present], (0, 1)).all():
        bounds["uar"] = mean_of_extremes(point.recall[present] == 1, has_class[:, present])
    if point.war in (0, 1):
        bounds |= {"war": one_sided(point.war, G), "macro_f1": bounds["uar"]}
    return bounds


def mean_interval(values: np.ndarray) -> Interval:
    """Return the bootstrap interval of (R,) rates, in percent."""
    return as_percent(moved_interval(values))


def share_interval(point: float, values: np.ndarray, count: int) -> Interval:
    """Return the interval of one class's rate, in percent; ``count`` groups have a clip of it.

    A single group gives bounds for a rate of 0 or 1, and None for one in between.
    """
    if point in (0, 1):
        return one_sided(point, count)
    return None if count < 2 else mean_interval(values)


def f1_interval(point: float, values: np.ndarray, count: int) -> Interval:
    """Return the interval of a class's F1, in percent.

    If F1 is 0 or 1, so is the share J of hits among clips that are of the class or predicted as it; F1 = 2J / (1 + J).
    """
    if point not in (0, 1):
        return share_interval(point, values, count)
    return [100 * 2 * bound / (100 + bound) for bound in one_sided(point, count)]


def one_sided(point: float, count: int) -> list[float]:
    """Return the exact (Clopper-Pearson) interval of a share of 0 or 1 in ``count`` independent samples, in percent."""
    reach = TAIL ** (1 / count)  # a share with this probability is 1 in all samples with 2.5 %
    return [100 * float(reach), 100.0] if point else [0.0, 100 * float(1 - reach)]


def mean_of_extremes(is_right: np.ndarray, has_class: np.ndarray) -> list[float]:
    """Return the interval of a mean of recalls that are all 0 or 1, in percent.

    ``is_right`` (C,): which recalls are 1. The lower bound follows from those at 1, the upper bound from those at 0.
    """
    low, high = (
        0 if not kind.any() else kind.mean() * lowest_mean(has_class[:, kind]) for kind in (is_right, ~is_right)
    )
    return [100 * float(low), 100 * float(1 - high)]


def lowest_mean(has_class: np.ndarray) -> float:
    """Return the lowest plausible mean of shares that are all 1. ``has_class`` (G, C): whether a group has such clips.

    Classes of the same persons may all be right together; classes of different persons are independent.
    """
    # The first bound is for classes whose clips belong to the same persons, the second for independent classes.
    together = TAIL ** (1 / has_class.any(axis=1).sum())
    return min(together, lowest_mean_apart(has_class.sum(axis=0)))


def lowest_mean_apart(counts: np.ndarray) -> float:
    """Return the lowest mean of shares p that are all 1 in ``counts`` samples with a probability of 2.5 %.

    That probability is the product of p ** count. At the minimum p is proportional to count, but at most 1.
    """
    counts = np.sort(counts)
    for free in range(len(counts), 0, -1):  # number of shares below 1, which are those with the fewest samples
        smallest = counts[:free]
        scale = np.exp((np.log(TAIL) - (smallest * np.log(smallest)).sum()) / smallest.sum())
        if scale * smallest[-1] <= 1:
            break
    return float((scale * smallest.sum() + len(counts) - free) / len(counts))


def as_percent(bounds: Interval) -> Interval:
    return None if bounds is None else [percent(bound) for bound in bounds]


def as_share(bounds: Interval) -> Interval:
    return None if bounds is None else [bound / 100 for bound in bounds]


# -- predicted numbers ----------------------------------------------------------------------------------------------


def grouped_moments(target: np.ndarray, predicted: np.ndarray, groups: Groups) -> tuple[np.ndarray, np.ndarray]:
    """Return sums (G, K, 8) of ``moments`` of each column of (N, K), and the mean shifts (K,)."""
    sums, shifts = [], []
    for true, guess in zip(target.T.astype(float), predicted.T.astype(float), strict=True):
        has_target = ~np.isnan(true)
        true, guess = true[has_target], guess[has_target]
        sums.append(row_sums(moments(true, guess), groups.rows[has_target], groups.count))
        shifts.append(mean_shift(true, guess))
    return np.stack(sums, axis=1), np.array(shifts)


def agreement_intervals(
    target: np.ndarray, predicted: np.ndarray, names: tuple[str, ...], groups: Groups
) -> dict[str, Any]:
    """Return intervals in the form of ``analysis.metrics.agreements``."""
    if groups.count < 2:
        none: dict[str, Interval] = dict.fromkeys(KINDS)
        return {"targets": {name: none for name in names}, "mean": none}
    sums, shifts = grouped_moments(target, predicted, groups)
    values = agreement_of(resample_sums(sums), shifts)  # (R, K) of each kind
    targets = {name: {kind: moved_interval(values[kind][:, k]) for kind in KINDS} for k, name in enumerate(names)}
    return {"targets": targets, "mean": {kind: moved_interval(values[kind].mean(axis=1)) for kind in KINDS}}
