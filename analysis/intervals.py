"""95 % intervals of a classifier's scores: whole persons, or clips, drawn again.

Where every clip of a class is right, or none is, drawing again shows no spread; there the exact bound of a share of
which all, or none, was seen (Clopper and Pearson) says how sure that can be at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.bootstrap import LEVEL, REPLICATES, draw_sums, moved_interval
from analysis.metrics import Interval, percent, rates
from utils.errors import UserError

FEW_GROUPS = 10  # below this drawing again is known to find too narrow an interval
TAIL = (1 - LEVEL / 100) / 2


@dataclass(frozen=True)
class Groups:
    """What is drawn again as a whole: ``rows`` (N,) says which of ``count`` groups each clip is of."""

    rows: np.ndarray
    count: int
    resampled: str  # persons, clips, subjects or videos

    def about(self) -> dict[str, Any]:
        """What metrics.json says of its intervals."""
        return {"level": LEVEL, "resampled": self.resampled, "groups": self.count, "replicates": REPLICATES}

    def doubts(self) -> list[str]:
        """What the user should know before an interval is believed."""
        if self.count < 2:
            return [f"no intervals: two {self.resampled} or more are needed to draw from, and there is one"]
        if self.count < FEW_GROUPS:
            return [f"intervals from {self.count} {self.resampled} alone are narrower than they should be"]
        return []


def grouped(names: Sequence[str], resampled: str) -> Groups:
    """``names`` (N,): of the group of each clip."""
    different, rows = np.unique(np.asarray(names), return_inverse=True)
    return Groups(rows, len(different), resampled)


def groups_of(ids: Sequence[str], persons: Sequence[str | None], ci: str) -> Groups | None:
    """As ``--ci`` asks; a clip whose person is not known is a group of its own; None where intervals are off."""
    if ci == "off":
        return None
    require_persons(persons, ci)
    if ci == "clips" or not any(persons):
        return grouped(ids, "clips")
    names = [f"clip {id}" if person is None else f"person {person}" for id, person in zip(ids, persons, strict=True)]
    return grouped(names, "persons")


def require_persons(persons: Sequence[str | None], ci: str) -> None:
    if ci == "persons" and not any(persons):
        raise UserError("--ci persons: it is not known who is in these clips; --ci clips draws clips")


def add_intervals(metrics: dict[str, Any], label: np.ndarray, predicted: np.ndarray, groups: Groups) -> dict[str, Any]:
    """``metrics`` of ``analysis.metrics.score`` with an interval at every score."""
    sums = confusions(label, predicted, groups, len(metrics["classes"]))
    found = classifier_intervals(sums)
    rows = zip(metrics["per_class"].items(), found["recall"], found["f1"], strict=True)
    return metrics | {
        "per_class": {name: values | {"interval": recall, "f1_interval": f1} for (name, values), recall, f1 in rows},
        "intervals": groups.about() | {name: found[name] for name in ("uar", "war", "macro_f1")},
    }


def confusions(label: np.ndarray, predicted: np.ndarray, groups: Groups, C: int) -> np.ndarray:
    """(G, C, C): the confusion matrix of each group."""
    cells = (groups.rows * C + label) * C + predicted
    return np.bincount(cells, minlength=groups.count * C * C).reshape(groups.count, C, C)


def classifier_intervals(sums: np.ndarray) -> dict[str, Any]:
    """(G, C, C) → the bounds of ``uar``, ``war``, ``macro_f1``, and of ``recall`` and ``f1`` of each class.

    Groups without a clip are drawn as well.
    """
    C = sums.shape[1]
    G = int((sums.sum(axis=(1, 2)) > 0).sum())
    if G < 2:
        return {"uar": None, "war": None, "macro_f1": None, "recall": [None] * C, "f1": [None] * C}
    point, drawn = rates(sums.sum(axis=0)), rates(draw_sums(sums))
    has = sums.sum(axis=2) > 0  # (G, C) whether a group has a clip of the class
    seen = (has | (sums.sum(axis=1) > 0)).sum(axis=0)  # groups with one, or with one that is taken for it
    found = {"recall": [share_interval(point.recall[c], drawn.recall[:, c], has[:, c].sum()) for c in range(C)]}
    found["f1"] = [f1_interval(point.f1[c], drawn.f1[:, c], seen[c]) for c in range(C)]
    found |= {name: mean_interval(getattr(drawn, name)) for name in ("uar", "war", "macro_f1")}
    there = has.any(axis=0)
    if np.isin(point.recall[there], (0, 1)).all():
        found["uar"] = mean_of_extremes(point.recall[there] == 1, has[:, there])
    if point.war in (0, 1):
        found |= {"war": one_sided(point.war, G), "macro_f1": found["uar"]}
    return found


def mean_interval(drawn: np.ndarray) -> Interval:
    return as_percent(moved_interval(drawn))


def share_interval(point: float, drawn: np.ndarray, groups: int) -> Interval:
    """Of one class; ``groups`` have a clip of it. One group alone shows how sure 0 and 100 % are, and nothing else."""
    if point in (0, 1):
        return one_sided(point, groups)
    return None if groups < 2 else mean_interval(drawn)


def f1_interval(point: float, drawn: np.ndarray, groups: int) -> Interval:
    """An F1 of 0 or 1 is a share J of 0 or 1: of right clips among those that are of the class or taken for it."""
    if point not in (0, 1):
        return share_interval(point, drawn, groups)
    return [100 * 2 * bound / (100 + bound) for bound in one_sided(point, groups)]  # F1 = 2 J / (1 + J)


def one_sided(point: float, count: int) -> list[float]:
    """In percent, of a share of 0 or 1 that was seen in ``count`` independent draws: exact, 2.5 % lie beyond."""
    reach = TAIL ** (1 / count)
    return [100 * float(reach), 100.0] if point else [0.0, 100 * float(1 - reach)]


def mean_of_extremes(right: np.ndarray, has: np.ndarray) -> list[float]:
    """Of the mean of shares that are all 0 or 1: ``right`` (C,), of what ``has`` (G, C) says.

    Down to where those of 1 may lie, up to where those of 0 may.
    """
    low, high = (0 if not kind.any() else kind.mean() * lowest_mean(has[:, kind]) for kind in (right, ~right))
    return [100 * float(low), 100 * float(1 - high)]


def lowest_mean(has: np.ndarray) -> float:
    """Of shares that are all 1; the classes of one person may be right together, those of different clips may not."""
    together = TAIL ** (1 / has.any(axis=1).sum())
    return min(together, lowest_mean_apart(has.sum(axis=0)))


def lowest_mean_apart(counts: np.ndarray) -> float:
    """The lowest mean of shares p whose chance to be all 1 in ``counts`` draws, the product of p ** count, is 2.5 %.

    p is a multiple of count, up to 1.
    """
    counts = np.sort(counts)
    for free in range(len(counts), 0, -1):  # the shares below 1, those of the fewest draws
        few = counts[:free]
        scale = np.exp((np.log(TAIL) - (few * np.log(few)).sum()) / few.sum())
        if scale * few[-1] <= 1:
            break
    return float((scale * few.sum() + len(counts) - free) / len(counts))


def as_percent(bounds: Interval) -> Interval:
    return None if bounds is None else [percent(bound) for bound in bounds]


def as_share(bounds: Interval) -> Interval:
    return None if bounds is None else [bound / 100 for bound in bounds]
