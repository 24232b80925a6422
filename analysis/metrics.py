"""Scores of predictions: recalls, UAR, WAR and F1 of classes; errors and correlations of predicted numbers."""

from typing import Any, NamedTuple

import numpy as np

from utils.text import plural, text_table

Interval = list[float] | None
SCORES = {"uar": "UAR", "war": "WAR", "macro_f1": "macro F1"}  # of all clips, with their titles
KINDS = ("mae", "rmse", "pearson", "ccc")
NOISE = 1e-12  # a variance below this share of the mean square is rounding error of equal numbers


class Rates(NamedTuple):
    """Rates from 0 to 1. NaN: recall of a class without clips, F1 of a class that neither occurs nor is predicted."""

    recall: np.ndarray  # (..., C)
    f1: np.ndarray  # (..., C)
    uar: np.ndarray  # (...)
    war: np.ndarray  # (...)
    macro_f1: np.ndarray  # (...)


def confusion_matrix(label: np.ndarray, predicted: np.ndarray, C: int) -> np.ndarray:
    """Return (C, C) counts: rows are true classes, columns predicted ones. A class without clips has a row of zeros."""
    return np.bincount(np.asarray(label) * C + np.asarray(predicted), minlength=C * C).reshape(C, C)


def rates(confusion: np.ndarray) -> Rates:
    """Return the rates of one confusion matrix or of many, (..., C, C)."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    support, claimed = confusion.sum(axis=-1), confusion.sum(axis=-2)
    recall, f1 = share(hits, support), share(2 * hits, support + claimed)
    war = share(hits.sum(axis=-1), support.sum(axis=-1))
    return Rates(recall, f1, mean_without_nan(recall), war, mean_without_nan(f1))


def share(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return ``part / total``, NaN where ``total`` is 0."""
    return np.divide(part, total, out=np.full(np.shape(total), np.nan), where=np.asarray(total) > 0)


def mean_without_nan(values: np.ndarray) -> np.ndarray:
    """Return the mean (...) over the last axis of (..., C), without NaNs."""
    return share(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))


def score(label: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the scores of a classifier in percent. A class without clips is left out of UAR and named."""
    confusion = confusion_matrix(label, predicted, len(names))
    measured, support = rates(confusion), confusion.sum(axis=1)
    return {name: 100 * float(getattr(measured, name)) for name in SCORES} | {
        "per_class": {
            name: {"recall": percent(measured.recall[c]), "support": int(support[c]), "f1": percent(measured.f1[c])}
            for c, name in enumerate(names)
        },
        "confusion": confusion.tolist(),
        "classes": list(names),
        "absent_classes": [name for name, count in zip(names, support, strict=True) if not count],
        "num_clips": int(support.sum()),
    }


def percent(value: float) -> float | None:
    return None if np.isnan(value) else 100 * float(value)


def table(metrics: dict[str, Any]) -> str:
    """Return the text table of scores that is printed at the end of a run."""
    intervals = metrics.get("intervals") or {}
    present = len(metrics["classes"]) - len(metrics["absent_classes"])
    rows = [["class", "recall", "95 % interval", "clips", "one clip ="]]
    for name, row in metrics["per_class"].items():
        support = row["support"]
        recall, worth = (f"{row['recall']:.2f}%", f"{100 / support / present:.2f} UAR") if support else ("absent", "")
        rows.append([name, recall, brackets(row.get("interval")), str(support), worth])
    if not intervals:
        rows = [[cell for column, cell in enumerate(row) if column != 2] for row in rows]
    scores = [f"{title} {metrics[key]:.2f} {brackets(intervals.get(key))}".strip() for key, title in SCORES.items()]
    lines = [*text_table(rows, "lrrrr"), f"{'   '.join(scores)}   ({plural(metrics['num_clips'], 'clip')})"]
    if intervals.get("groups", 0) > 1:
        lines.append(f"95 % intervals in brackets: bootstrap over {intervals['groups']} {intervals['resampled']}")
    return "\n".join(lines)


def brackets(bounds: Interval, digits: int = 1) -> str:
    """Return an interval as ``[61.5, 83.2]``; an empty text if there is none."""
    return "" if bounds is None else f"[{bounds[0]:z.{digits}f}, {bounds[1]:z.{digits}f}]"


def agreement(target: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return MAE, RMSE, Pearson's correlation and concordance (CCC) of two series (N,)."""
    values = agreement_of(moments(target, predicted).sum(axis=0), mean_shift(target, predicted))
    return {kind: float(value) for kind, value in values.items()}


def agreements(target: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Return the agreement of each column of (N, K), over the rows that have a target, and the mean over columns."""
    targets = {}
    for name, true, guess in zip(names, target.T, predicted.T, strict=True):
        has_target = ~np.isnan(true)
        targets[name] = agreement(true[has_target], guess[has_target]) | {"clips": int(has_target.sum())}
    mean = {kind: float(np.mean([row[kind] for row in targets.values()])) for kind in KINDS}
    return {"targets": targets, "mean": mean}


def moments(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return (N, 8): the contribution of each pair of two series (N,) to the sums that ``agreement_of`` reads.

    Both series are centred first, because squares of large numbers would lose the digits in which they differ.
    """
    error, x, y = predicted - target, target - target.mean(), predicted - predicted.mean()
    return np.stack([np.ones(len(x)), np.abs(error), error**2, x, y, x * x, y * y, x * y], axis=1)


def mean_shift(target: np.ndarray, predicted: np.ndarray) -> float:
    """Return the difference of the two means that ``moments`` subtracted."""
    return float(target.mean() - predicted.mean())


def agreement_of(sums: np.ndarray, shift: float | np.ndarray) -> dict[str, np.ndarray]:
    """Return each kind of agreement, (...), from sums of ``moments``, (..., 8), and their ``mean_shift``.

    For a constant series both coefficients are 0. All values are NaN if there is no pair.
    """
    count = sums[..., 0]
    absolute, squared, x, y, xx, yy, xy = (share(sums[..., k], count) for k in range(1, 8))
    variance_x, variance_y = (np.where(m - c**2 > NOISE * m, m - c**2, 0) for c, m in ((x, xx), (y, yy)))
    varies = (variance_x > 0) & (variance_y > 0)
    covariance, scale = xy - x * y, np.sqrt(variance_x * variance_y)
    distance = variance_x + variance_y + (x - y + shift) ** 2
    zeros = np.where(count > 0, 0.0, np.nan)
    return {
        "mae": absolute,
        "rmse": np.sqrt(squared),
        "pearson": np.divide(covariance, scale, out=zeros.copy(), where=varies & (scale > 0)),
        "ccc": np.divide(2 * covariance, distance, out=zeros.copy(), where=varies & (scale > 0)),
    }
