"""``--abstain``: what the scores are where answers that are not sure enough are withheld."""

from typing import Any

import numpy as np

from analysis.bootstrap import draw_sums, row_sums
from analysis.intervals import Groups, as_share, classifier_intervals, confusions, share_interval
from analysis.metrics import Interval, score, share, shown

KEPT = ("uar", "war", "macro_f1")


def abstaining(
    threshold: float,
    answered: np.ndarray,
    label: np.ndarray,
    predicted: np.ndarray,
    names: tuple[str, ...],
    groups: Groups | None,
) -> dict[str, Any]:
    """``answered`` (N,): whether an answer is as sure as ``threshold``; scores of none are None."""
    found: dict[str, Any] = {"threshold": threshold, "answered": int(answered.sum())}
    found["coverage"] = float(answered.mean())
    if answered.any():
        scores = score(label[answered], predicted[answered], names)
        found |= {name: scores[name] for name in (*KEPT, "absent_classes")}
    else:
        found |= dict.fromkeys(KEPT) | {"absent_classes": list(names)}
    if groups is not None:
        found["intervals"] = answered_intervals(answered, label, predicted, len(names), groups)
    return found


def answered_intervals(
    answered: np.ndarray, label: np.ndarray, predicted: np.ndarray, C: int, groups: Groups
) -> dict[str, Interval]:
    """All groups are drawn again, also those that nothing was answered of."""
    kept = Groups(groups.rows[answered], groups.count, groups.resampled)
    found = classifier_intervals(confusions(label[answered], predicted[answered], kept, C))
    return {name: found[name] for name in KEPT} | {"coverage": coverage_interval(answered, groups)}


def coverage_interval(answered: np.ndarray, groups: Groups) -> Interval:
    """From 0 to 1, as the coverage."""
    if groups.count < 2:
        return None
    counts = np.stack([answered, np.ones(len(answered))], axis=1)
    drawn = draw_sums(row_sums(counts, groups.rows, groups.count))
    return as_share(share_interval(answered.mean(), share(drawn[:, 0], drawn[:, 1]), groups.count))


def describe(found: dict[str, Any], total: int) -> str:
    """The line below the table."""
    threshold, answered = found["threshold"], found["answered"]
    if not answered:
        return (
            f"--abstain {threshold:g}: no answer is that sure: all {total} are withheld, and there is nothing to score"
        )
    bounds = found.get("intervals") or {}
    scores = "   ".join(
        f"{name.upper()} {found[name]:.2f} {shown(bounds.get(name))}".strip() for name in ("uar", "war")
    )
    absent = f"; of {', '.join(found['absent_classes'])} none" if found["absent_classes"] else ""
    return (
        f"--abstain {threshold:g}: {answered} of {total} answered ({100 * found['coverage']:.1f} %): {scores}{absent}"
    )
