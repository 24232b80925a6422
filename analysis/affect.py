"""Scores of long videos, all frames pooled: CCC of valence and arousal, F1 of expressions and of action units.

Scores are shares, not percent. A frame without a label has NaN (valence, arousal, action units) or -1 (expressions,
action units). The 95 % intervals resample whole videos, and all tasks share the same resampled videos.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.intervals import (
    Groups,
    as_share,
    confusions,
    draw_weights,
    f1_interval,
    grouped,
    grouped_moments,
    moved_interval,
    replicate_sums,
    row_sums,
)
from analysis.metrics import Interval, agreement, agreement_of, brackets, confusion_matrix, mean_of_known, rates, share
from dataloader.affwild import Video, group_of
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS
from utils.errors import UserError

VA_NAMES = ("valence", "arousal")
MAIN = {"va": "ccc", "expr": "f1", "au": "f1"}  # the main score of each task
TITLES = {"va": "VA CCC", "expr": "EXPR F1", "au": "AU F1"}


@dataclass(frozen=True)
class VideoPredictions:
    """Predictions for every frame of one video; None for a task that the model was not trained on.

    ``va`` (L, 2) in [-1, 1], ``expr`` (L,) class numbers, ``au`` (L, 12) probabilities.
    """

    video: Video
    va: np.ndarray | None = None
    expr: np.ndarray | None = None
    au: np.ndarray | None = None


class PooledVideos:
    """Labels and predictions of several videos, one task at a time."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self.rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {task: [] for task in tasks}
        self.names: list[str] = []  # two persons of one video share a name
        self.lengths: list[int] = []

    def add(self, predictions: VideoPredictions) -> None:
        video = predictions.video
        self.names.append(group_of(video.id))
        self.lengths.append(len(video))
        for task, rows in self.rows.items():
            values = getattr(predictions, task)
            rows.append((video.labels[task], values if task == "expr" else values.astype(np.float32)))

    def arrays(self, task: str) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and predictions of all videos, concatenated."""
        labels, predictions = zip(*self.rows[task], strict=True)
        return np.concatenate(labels), np.concatenate(predictions)

    def groups(self) -> Groups:
        """Return the group of every frame: its video, so that two persons of one video are in one group."""
        videos = grouped(self.names, "videos")
        return Groups(np.repeat(videos.rows, self.lengths), videos.count, videos.resampled)

    def best_thresholds(self) -> list[float]:
        return best_thresholds(*self.arrays("au")).tolist()

    def score(self, thresholds: list[float] | float = 0.5) -> dict[str, Any]:
        """Return the scores of each task, and ``score``, the mean of their main scores."""
        metrics: dict[str, Any] = {}
        if "va" in self.rows:
            metrics["va"] = va_score(*self.arrays("va"))
        if "expr" in self.rows:
            metrics["expr"] = expression_score(*self.arrays("expr"), EXPRESSIONS)
        if "au" in self.rows:
            metrics["au"] = au_score(*self.arrays("au"), ACTION_UNITS, thresholds)
        return metrics | {"score": float(np.mean([metrics[task][MAIN[task]] for task in metrics]))}


# -- scores ---------------------------------------------------------------------------------------------------------


def va_score(label: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Return the CCC of valence and of arousal and their mean, of (N, 2) arrays; a constant prediction has 0."""
    require_finite(predicted)
    ccc = {}
    for name, true, guess in zip(VA_NAMES, label.T, predicted.T, strict=True):
        labelled = ~np.isnan(true)
        require_labels(labelled, name)
        ccc[name] = agreement(true[labelled].astype(float), guess[labelled].astype(float))["ccc"]
    return {
        "ccc": float(np.mean(list(ccc.values()))),
        **{f"ccc_{name}": value for name, value in ccc.items()},
        "num_frames": int((~np.isnan(label)).any(axis=1).sum()),
    }


def expression_score(label: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Return macro F1 and the F1 of each class, of (N,) class numbers.

    A class that neither occurs nor is predicted is left out of the mean and listed in ``absent_classes``.
    """
    labelled = label >= 0
    require_labels(labelled, "expression")
    confusion = confusion_matrix(label[labelled].astype(np.int64), predicted[labelled].astype(np.int64), len(names))
    f1 = rates(confusion).f1
    return {
        "f1": mean_f1(f1),
        "per_class": class_rows(f1, confusion.sum(axis=1), names),
        "confusion": confusion.tolist(),
        "classes": list(names),
        "absent_classes": absent_classes(f1, names),
        "num_frames": int(labelled.sum()),
    }


def au_score(
    label: np.ndarray,
    probabilities: np.ndarray,
    names: tuple[str, ...],
    thresholds: np.ndarray | list[float] | float = 0.5,
) -> dict[str, Any]:
    """Return the mean F1 and the F1 of each action unit, of (N, K) arrays.

    A unit counts as predicted where its probability reaches its threshold, (K,) or one for all. Units that neither
    occur nor are predicted are treated like such expressions.
    """
    require_finite(probabilities)
    require_labels(label >= 0, "action unit")
    thresholds = np.broadcast_to(np.asarray(thresholds, dtype=float), len(names))
    counts = unit_counts(label, probabilities, thresholds).sum(axis=0)
    f1 = unit_f1(counts)
    return {
        "f1": mean_f1(f1),
        "per_class": class_rows(f1, counts[:, 1], names),
        "thresholds": thresholds.tolist(),
        "classes": list(names),
        "absent_classes": absent_classes(f1, names),
        "num_frames": int((label >= 0).any(axis=1).sum()),
    }


def unit_counts(label: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return (N, K, 3): whether each unit is a true positive, active, and predicted, where it has a label."""
    active = label > 0  # False for NaN
    predicted = (probabilities >= thresholds) & (label >= 0)
    return np.stack([predicted & active, active, predicted], axis=-1)


def unit_f1(counts: np.ndarray) -> np.ndarray:
    """Return F1 (..., K) from the counts of ``unit_counts`` (..., K, 3), NaN where there is nothing to count."""
    return share(2 * counts[..., 0], counts[..., 1] + counts[..., 2])


def mean_f1(f1: np.ndarray) -> float:
    """Return the mean F1 of the classes that have one, 0 if none has."""
    return float(np.nan_to_num(mean_of_known(f1)))


def class_rows(f1: np.ndarray, support: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: {"f1": None if np.isnan(f1[c]) else float(f1[c]), "support": int(support[c])}
        for c, name in enumerate(names)
    }


def absent_classes(f1: np.ndarray, names: tuple[str, ...]) -> list[str]:
    return [name for name, value in zip(names, f1, strict=True) if np.isnan(value)]


def require_labels(labelled: np.ndarray, kind: str) -> None:
    if not labelled.any():
        raise UserError(f"no frame has a valid {kind} label: there is nothing to score")


def require_finite(predicted: np.ndarray) -> None:
    if not np.isfinite(predicted).all():
        raise UserError("the predictions hold values that are not finite")


def best_thresholds(label: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (K,) thresholds with the highest F1 of each unit, of (N, K) arrays; 0.5 for a unit that never occurs."""
    if (label > 1).any() or ((label > 0) & (label < 1)).any():
        raise UserError("labels of action units are 0 or 1, or NaN or -1 where there is none")
    require_finite(probabilities)
    columns = zip(label.T, probabilities.T, (label >= 0).T, strict=True)
    return np.array([best_threshold(true[labelled] > 0, p[labelled].astype(float)) for true, p, labelled in columns])


def best_threshold(active: np.ndarray, probability: np.ndarray) -> float:
    """Return the threshold with the highest F1 for one unit, of (N,) arrays.

    Thresholds lie halfway between neighbouring probabilities; of equally good ones the nearest to 0.5 is returned.
    """
    if not active.any():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    ranked, hits = probability[order], np.cumsum(active[order])
    # A threshold cannot separate equal probabilities, so only the last frame of each run of equal ones is a candidate.
    is_last = np.append(ranked[:-1] > ranked[1:], True)
    f1 = np.where(is_last, 2 * hits / (np.arange(1, len(ranked) + 1) + active.sum()), -1.0)
    below = np.append(ranked[1:], 0.0)
    halfway = (ranked + below) / 2
    # Between two neighbouring floats the mean rounds to one of them; the upper one still separates them.
    thresholds = np.where(halfway > below, halfway, ranked)[f1 == f1.max()]
    return float(thresholds[np.abs(thresholds - 0.5).argmin()])


# -- intervals ------------------------------------------------------------------------------------------------------


def add_intervals(
    metrics: dict[str, Any], pooled: PooledVideos, thresholds: list[float] | float, groups: Groups
) -> dict[str, Any]:
    """Return the metrics of ``PooledVideos.score`` with an interval for every score; None with fewer than two videos.

    Each score is a function of sums over frames, so a replicate is the weighted sum of what every video adds.
    """
    names = [f"{task}_{MAIN[task]}" for task in MAIN if task in metrics]
    if groups.count < 2:
        return metrics | {"intervals": groups.about() | dict.fromkeys([*names, "score"])}
    weights = draw_weights(groups.count)
    with_intervals, bounds = dict(metrics), {}
    means = []  # of each task, (R,) values of its main score
    if "va" in metrics:
        sums, shifts = grouped_moments(*pooled.arrays("va"), groups)
        ccc = agreement_of(replicate_sums(sums, weights), shifts)["ccc"]  # (R, 2)
        means.append(ccc.mean(axis=1))
        bounds |= {f"va_ccc_{name}": moved_interval(ccc[:, k]) for k, name in enumerate(VA_NAMES)}
        bounds["va_ccc"] = moved_interval(means[-1])
    if "expr" in metrics:
        label, predicted = pooled.arrays("expr")
        labelled = label >= 0
        frames = Groups(groups.rows[labelled], groups.count, groups.resampled)
        label, predicted = (values[labelled].astype(np.int64) for values in (label, predicted))
        sums = confusions(label, predicted, frames, len(EXPRESSIONS))  # (G, C, C)
        f1 = rates(replicate_sums(sums, weights)).f1
        means.append(mean_of_known(f1))
        videos = (sums.sum(axis=2) + sums.sum(axis=1) > 0).sum(axis=0)
        with_intervals["expr"] = add_class_intervals(metrics["expr"], f1, videos)
        bounds["expr_f1"] = f1_bounds(metrics["expr"]["f1"], means[-1], groups.count)
    if "au" in metrics:
        label, probabilities = pooled.arrays("au")
        counts = unit_counts(label, probabilities, np.broadcast_to(np.asarray(thresholds, dtype=float), label.shape[1]))
        sums = row_sums(counts, groups.rows, groups.count)  # (G, K, 3)
        f1 = unit_f1(replicate_sums(sums, weights))
        means.append(np.nan_to_num(mean_of_known(f1)))
        with_intervals["au"] = add_class_intervals(metrics["au"], f1, (sums[:, :, 1:].sum(axis=2) > 0).sum(axis=0))
        bounds["au_f1"] = f1_bounds(metrics["au"]["f1"], means[-1], groups.count)
    bounds["score"] = bounds[names[0]] if len(names) == 1 else moved_interval(np.mean(means, axis=0))
    return with_intervals | {"intervals": groups.about() | bounds}


def add_class_intervals(scores: dict[str, Any], f1: np.ndarray, videos: np.ndarray) -> dict[str, Any]:
    """Return the scores of a task with an interval for the F1 of each class.

    ``f1`` (R, C) of the replicates; ``videos`` (C,): the number of videos where the class occurs or is predicted.
    """
    per_class = {}
    for c, (name, row) in enumerate(scores["per_class"].items()):
        point = np.nan if row["f1"] is None else row["f1"]
        per_class[name] = row | {"f1_interval": f1_bounds(point, f1[:, c], videos[c])}
    return scores | {"per_class": per_class}


def f1_bounds(point: float, replicates: np.ndarray, groups: int) -> Interval:
    return as_share(f1_interval(point, replicates, groups))


# -- text -----------------------------------------------------------------------------------------------------------


def main_scores(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the main score of each task and their mean: what is logged for an epoch."""
    scores = {f"{task}_{name}": metrics[task][name] for task, name in MAIN.items() if task in metrics}
    return scores | {"score": metrics["score"]}


def score_lines(metrics: dict[str, Any]) -> str:
    """Return the scores as text: for each task its main score, then valence and arousal or its classes."""
    intervals, lines = metrics.get("intervals", {}), []
    for task in (task for task in MAIN if task in metrics):
        scores = metrics[task]
        interval = brackets(intervals.get(f"{task}_{MAIN[task]}"), 3)
        lines.append(f"{TITLES[task]:<12} {scores[MAIN[task]]:.4f} {interval:>17}   ({scores['num_frames']} frames)")
        if task == "va":
            parts = {name: (scores[f"ccc_{name}"], intervals.get(f"va_ccc_{name}")) for name in VA_NAMES}
        else:
            parts = {name: (row["f1"], row.get("f1_interval")) for name, row in scores["per_class"].items()}
        lines += [score_line(f"  {name}", *part) for name, part in parts.items()]
    lines.append(score_line("mean", metrics["score"], intervals.get("score")))
    if intervals.get("groups", 0) > 1:
        lines.append(f"95 % intervals in brackets: {intervals['groups']} videos drawn again")
    return "\n".join(lines)


def score_line(name: str, value: float | None, interval: Interval) -> str:
    return f"{name:<12} {'-' if value is None else format(value, '.4f')} {brackets(interval, 3):>17}".rstrip()
