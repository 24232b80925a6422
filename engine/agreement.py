"""How well numbers agree: mean absolute and root mean squared error, Pearson's correlation, concordance (CCC)."""

import numpy as np

KINDS = ("mae", "rmse", "pearson", "ccc")


def agreement(target: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Of two series (N,). Where one of them is constant nothing correlates: both coefficients are 0."""
    error = predicted - target
    centred, other = target - target.mean(), predicted - predicted.mean()
    together = (centred * other).mean()
    spread, other_spread = (centred**2).mean(), (other**2).mean()
    varies = np.ptp(target) > 0 and np.ptp(predicted) > 0  # the mean of equal numbers may be off by a bit
    scale = np.sqrt(spread * other_spread)
    distance = spread + other_spread + (target.mean() - predicted.mean()) ** 2
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "pearson": float(together / scale) if varies and scale > 0 else 0.0,
        "ccc": float(2 * together / distance) if varies and scale > 0 else 0.0,
    }


def agreements(target: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Of each column of (N, K), over the rows that have a target, and the mean over the columns."""
    found = {}
    for name, true, guess in zip(names, target.T, predicted.T, strict=True):
        known = ~np.isnan(true)
        found[name] = agreement(true[known], guess[known]) | {"clips": int(known.sum())}
    mean = {kind: float(np.mean([row[kind] for row in found.values()])) for kind in KINDS}
    return {"targets": found, "mean": mean}
