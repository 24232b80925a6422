"""Scores of predicted videos against their labels, all frames of a set together."""

from typing import Any

import numpy as np

from analysis.intervals import Groups, grouped
from analysis.metrics import Interval, brackets
from dataloader.affwild import group_of
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS
from engine.sequence.affect_metrics import VA_NAMES, au_score, best_thresholds, expression_score, va_score
from engine.sequence.predict import Predicted

MAIN = {"va": "ccc", "expr": "f1", "au": "f1"}  # the one number of each task
TITLES = {"va": "VA CCC", "expr": "EXPR F1", "au": "AU F1"}


class Pooled:
    """Labels and predictions of the videos seen so far, of the frames of each task."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self.rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {task: [] for task in tasks}
        self.videos: list[tuple[str, int]] = []  # and how many frames each has

    def add(self, found: Predicted) -> Predicted:
        self.videos.append((group_of(found.video.id), len(found.video)))
        for task, rows in self.rows.items():
            predicted = getattr(found, task)
            rows.append((found.video.labels[task], predicted if task == "expr" else predicted.astype(np.float32)))
        return found

    def of(self, task: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels and predictions, all videos one below the other."""
        return tuple(np.concatenate(part) for part in zip(*self.rows[task], strict=True))

    def groups(self) -> Groups:
        """Which video each frame is of; two persons of one video are of one."""
        names, lengths = zip(*self.videos, strict=True)
        one = grouped(names, "videos")
        return Groups(np.repeat(one.rows, lengths), one.count, one.resampled)

    def thresholds(self) -> list[float]:
        return best_thresholds(*self.of("au")).tolist()

    def score(self, thresholds: list[float] | float = 0.5) -> dict[str, Any]:
        """By task, and ``score``, the mean of their main numbers."""
        scores = {
            "va": lambda: va_score(*self.of("va")),
            "expr": lambda: expression_score(*self.of("expr"), EXPRESSIONS),
            "au": lambda: au_score(*self.of("au"), ACTION_UNITS, thresholds),
        }
        found = {task: scores[task]() for task in self.rows}
        return found | {"score": float(np.mean([found[task][MAIN[task]] for task in found]))}


def main_numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """One number a task, and their mean: what an epoch is told by."""
    return {f"{task}_{name}": metrics[task][name] for task, name in MAIN.items() if task in metrics} | {
        "score": metrics["score"]
    }


def table(metrics: dict[str, Any]) -> str:
    """The main number of each task, then its parts."""
    bounds = metrics.get("intervals", {})
    lines = []
    for task in (task for task in MAIN if task in metrics):
        scores = metrics[task]
        between = brackets(bounds.get(f"{task}_{MAIN[task]}"), 3)
        lines.append(f"{TITLES[task]:<12} {scores[MAIN[task]]:.4f} {between:>17}   ({scores['num_frames']} frames)")
        if task == "va":
            parts = {name: (scores[f"ccc_{name}"], bounds.get(f"va_ccc_{name}")) for name in VA_NAMES}
        else:
            parts = {name: (row["f1"], row.get("f1_interval")) for name, row in scores["per_class"].items()}
        lines += [line_of(f"  {name}", *part) for name, part in parts.items()]
    lines.append(line_of("mean", metrics["score"], bounds.get("score")))
    if bounds.get("groups", 0) > 1:
        lines.append(f"95 % intervals in brackets: {bounds['groups']} videos drawn again")
    return "\n".join(lines)


def line_of(name: str, value: float | None, bounds: Interval) -> str:
    return f"{name:<12} {'-' if value is None else format(value, '.4f')} {brackets(bounds, 3):>17}".rstrip()
