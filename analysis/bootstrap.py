"""Intervals by resampling: every score here is a function of sums over groups, so a replicate is a weighted sum.

A group is a person where persons are known, else a clip, or a long video: what is drawn again as a whole, since the
clips of one person are alike.
"""

from collections.abc import Sequence

import numpy as np

REPLICATES = 2000
LEVEL = 95.0  # percent
PART = 256  # replicates at a time
SAME = 1e-9  # of the largest: what rounding alone makes


def group_sums(contributions: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """(N, ...) what each clip adds to the sums → (G, ...) what each group adds."""
    names, rows = np.unique(np.asarray(groups), return_inverse=True)
    return row_sums(contributions, rows, len(names))


def row_sums(contributions: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """The same for groups that are numbers below ``count``."""
    columns = contributions.reshape(len(contributions), -1).T
    sums = np.stack([np.bincount(rows, weights=column, minlength=count) for column in columns], axis=1)
    return sums.reshape(count, *contributions.shape[1:])


def draw_weights(count: int, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """(R, G): how often each of ``count`` groups is drawn, with replacement, in each replicate."""
    return draw_kinds(np.ones(count), replicates, seed)


def draw_kinds(sizes: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """(R, K): the same where ``sizes`` (K,) groups are alike, so that only how many of a kind are drawn matters."""
    count = int(sizes.sum())
    return np.random.default_rng([seed, 8]).multinomial(count, sizes / count, size=replicates)


def replicate_sums(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(G, ...), (R, G) → (R, ...): the sums of every replicate. Equal weights pair two models' replicates."""
    flat = sums.reshape(len(sums), -1)
    parts = [weights[start : start + PART] @ flat for start in range(0, len(weights), PART)]
    return np.concatenate(parts).reshape(len(weights), *sums.shape[1:])


def draw_sums(sums: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """(G, ...) → (R, ...): the sums of drawn groups. Groups that add the same are one kind: clips are of few."""
    kinds, sizes = kinds_of(sums)
    return replicate_sums(kinds, draw_kinds(sizes, replicates, seed))


def kinds_of(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(G, ...) → (K, ...) different ones, compared as bytes, which is fast, and how many groups are of each."""
    flat = np.ascontiguousarray(sums.reshape(len(sums), -1))
    whole = flat.view(np.dtype((np.void, flat.itemsize * flat.shape[1]))).ravel()
    _, first, sizes = np.unique(whole, return_index=True, return_counts=True)
    return sums[first], sizes


def interval(values: np.ndarray, level: float = LEVEL) -> list[float] | None:
    """The middle ``level`` percent of (R,) values; those that a replicate could not tell, NaN, do not count."""
    told = values[~np.isnan(values)]
    if not len(told):
        return None
    tail = (100 - level) / 2
    return [float(bound) for bound in np.percentile(told, [tail, 100 - tail])]


def moved_interval(values: np.ndarray) -> list[float] | None:
    """None where all replicates are the same: drawing alike groups again says nothing."""
    told = values[~np.isnan(values)]
    return None if not len(told) or np.ptp(told) <= SAME * abs(told).max() else interval(told)
