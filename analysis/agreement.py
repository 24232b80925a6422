"""How well numbers agree: mean absolute and root mean squared error, Pearson's correlation, concordance (CCC)."""

from typing import Any

import numpy as np

from analysis.bootstrap import draw_sums, moved_interval, row_sums
from analysis.intervals import Groups
from analysis.metrics import Interval, share

KINDS = ("mae", "rmse", "pearson", "ccc")
NOISE = 1e-12  # a variance below this share of the mean square is that of equal numbers, rounded


def moments(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Of two series (N,) → (N, 8): what each pair adds to the sums that ``agreement_of`` reads.

    Both are centred first, or squares of large numbers would swallow what they differ by.
    """
    error, x, y = predicted - target, target - target.mean(), predicted - predicted.mean()
    return np.stack([np.ones(len(x)), np.abs(error), error**2, x, y, x * x, y * y, x * y], axis=1)


def agreement_of(sums: np.ndarray, shift: float) -> dict[str, np.ndarray]:
    """(..., 8) sums of ``moments`` → (...) each; ``shift``: how far apart the two means were that were taken away.

    Where one series is constant nothing correlates: both coefficients are 0. NaN where there is nothing.
    """
    count = sums[..., 0]
    absolute, squared, x, y, xx, yy, xy = (share(sums[..., k], count) for k in range(1, 8))
    spread, other_spread = (np.where(m - c**2 > NOISE * m, m - c**2, 0) for c, m in ((x, xx), (y, yy)))
    varies = (spread > 0) & (other_spread > 0)
    together, scale = xy - x * y, np.sqrt(spread * other_spread)
    distance = spread + other_spread + (x - y + shift) ** 2
    known = np.where(count > 0, 0.0, np.nan)
    return {
        "mae": absolute,
        "rmse": np.sqrt(squared),
        "pearson": np.divide(together, scale, out=known.copy(), where=varies & (scale > 0)),
        "ccc": np.divide(2 * together, distance, out=known.copy(), where=varies & (scale > 0)),
    }


def shift_of(target: np.ndarray, predicted: np.ndarray) -> float:
    return float(target.mean() - predicted.mean())


def agreement(target: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Of two series (N,)."""
    found = agreement_of(moments(target, predicted).sum(axis=0), shift_of(target, predicted))
    return {kind: float(value) for kind, value in found.items()}


def agreements(target: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Of each column of (N, K), over the rows that have a target, and the mean over the columns."""
    found = {}
    for name, true, guess in zip(names, target.T, predicted.T, strict=True):
        known = ~np.isnan(true)
        found[name] = agreement(true[known], guess[known]) | {"clips": int(known.sum())}
    mean = {kind: float(np.mean([row[kind] for row in found.values()])) for kind in KINDS}
    return {"targets": found, "mean": mean}


def grouped_moments(target: np.ndarray, predicted: np.ndarray, groups: Groups) -> tuple[np.ndarray, np.ndarray]:
    """Of each column of (N, K): (G, K, 8) sums over the rows that have a target, and the (K,) shifts."""
    sums, shifts = [], []
    for true, guess in zip(target.T.astype(float), predicted.T.astype(float), strict=True):
        known = ~np.isnan(true)
        sums.append(row_sums(moments(true[known], guess[known]), groups.rows[known], groups.count))
        shifts.append(shift_of(true[known], guess[known]))
    return np.stack(sums, axis=1), np.array(shifts)


def agreement_intervals(
    target: np.ndarray, predicted: np.ndarray, names: tuple[str, ...], groups: Groups
) -> dict[str, Any]:
    """A table like that of ``agreements``, of intervals."""
    if groups.count < 2:
        none: dict[str, Interval] = dict.fromkeys(KINDS)
        return {"targets": {name: none for name in names}, "mean": none}
    sums, shifts = grouped_moments(target, predicted, groups)
    drawn = agreement_of(draw_sums(sums), shifts)  # (R, K) each
    targets = {name: {kind: moved_interval(drawn[kind][:, k]) for kind in KINDS} for k, name in enumerate(names)}
    return {"targets": targets, "mean": {kind: moved_interval(drawn[kind].mean(axis=1)) for kind in KINDS}}
