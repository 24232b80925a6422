"""Scores of a classifier, in percent: UAR, WAR, macro F1, recall, F1 and support of each class, confusion matrix."""

from typing import Any, NamedTuple

import numpy as np

from utils.words import plural

Interval = list[float] | None


def confusion_matrix(label: np.ndarray, predicted: np.ndarray, C: int) -> np.ndarray:
    """(C, C) counts: rows are true classes, columns predicted ones, absent classes keep theirs."""
    return np.bincount(np.asarray(label) * C + np.asarray(predicted), minlength=C * C).reshape(C, C)


class Rates(NamedTuple):
    """From 0 to 1; NaN where nothing can be said: recall of an absent class, F1 of one that is not claimed either."""

    recall: np.ndarray  # (..., C)
    f1: np.ndarray
    uar: np.ndarray  # (...)
    war: np.ndarray
    macro_f1: np.ndarray


def rates(confusion: np.ndarray) -> Rates:
    """Of one confusion matrix or of many at once, (..., C, C)."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    support, claimed = confusion.sum(axis=-1), confusion.sum(axis=-2)
    recall, f1 = share(hits, support), share(2 * hits, support + claimed)
    war = share(hits.sum(axis=-1), support.sum(axis=-1))
    return Rates(recall, f1, mean_of_known(recall), war, mean_of_known(f1))


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where there is no whole."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """(..., C) → (...): the mean of those that are not NaN."""
    return share(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))


def score(label: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """What can be said without drawing again. A class without clips is left out of UAR and named."""
    confusion = confusion_matrix(label, predicted, len(names))
    found, support = rates(confusion), confusion.sum(axis=1)
    return {
        "uar": 100 * float(found.uar),
        "war": 100 * float(found.war),
        "macro_f1": 100 * float(found.macro_f1),
        "per_class": {
            name: {"recall": percent(found.recall[c]), "support": int(support[c]), "f1": percent(found.f1[c])}
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
    """The scores as they are printed at the end of a run."""
    width = max(16, *(len(name) + 2 for name in metrics["classes"]))
    drawn = metrics.get("intervals")
    head = f"{'95 % interval':>17}" if drawn else ""
    rows = [f"{'class':<{width}}{'recall':>9}{head}{'clips':>8}{'one clip =':>13}"]
    present = len(metrics["classes"]) - len(metrics["absent_classes"])
    for name, values in metrics["per_class"].items():
        between = f"{shown(values.get('interval')):>17}" if drawn else ""
        if values["support"] == 0:
            rows.append(f"{name:<{width}}{'absent':>9}{between}{0:>8}")
            continue
        worth = 100 / values["support"] / present
        rows.append(f"{name:<{width}}{values['recall']:>8.2f}%{between}{values['support']:>8}{worth:>9.2f} UAR")
    drawn = drawn or {}
    titles = {"uar": "UAR", "war": "WAR", "macro_f1": "macro F1"}
    scores = [f"{title} {metrics[key]:.2f} {shown(drawn.get(key))}".strip() for key, title in titles.items()]
    rows.append(f"{'   '.join(scores)}   ({plural(metrics['num_clips'], 'clip')})")
    if drawn.get("groups", 0) > 1:
        rows.append(f"95 % intervals in brackets: {drawn['groups']} {drawn['resampled']} drawn again")
    return "\n".join(rows)


def shown(bounds: Interval, digits: int = 1) -> str:
    return "" if bounds is None else f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"
