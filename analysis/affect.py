"""Scores of long videos over all frames: CCC of valence and arousal, F1 of expressions and action units.

Scores are shares, not percent. A frame without a label has NaN (valence, arousal, action units) or -1 (expressions,
action units). The 95 % intervals resample whole videos, and all tasks share the same resampled videos.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.intervals import (
    Groups,
    as_share,
    f1_interval,
    grouped_moments,
    make_groups,
    moved_interval,
    replicate_sums,
    resample_counts,
    row_sums,
)
from analysis.metrics import Interval, agreement, agreement_of, brackets, confusion_matrix, mean_without_nan, share
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
        videos = make_groups(self.names, "videos")
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
    return f1_scores(expression_counts(label, predicted, len(names)), labelled, names, confusion=confusion.tolist())


def au_score(
    label: np.ndarray,
    probabilities: np.ndarray,
    names: tuple[str, ...],
    thresholds: np.ndarray | list[float] | float = 0.5,
) -> dict[str, Any]:
    """Return the mean F1 and the F1 of each action unit, of (N, K) arrays.

    A unit is predicted where its probability reaches its threshold, (K,) or one for all. Units that neither occur nor
    are predicted are treated like such expressions.
    """
    require_finite(probabilities)
    labelled = label >= 0  # False for NaN
    require_labels(labelled, "action unit")
    limits = np.broadcast_to(np.asarray(thresholds, dtype=float), len(names))
    counts = unit_counts(label, probabilities, limits)
    return f1_scores(counts, labelled.any(axis=1), names, thresholds=limits.tolist())


def f1_scores(counts: np.ndarray, labelled: np.ndarray, names: tuple[str, ...], **about: Any) -> dict[str, Any]:
    """Return F1 from counts (N, C, 3) of frames; the mean is over classes that have an F1, and 0 if none has.

    ``labelled`` (N,): which frames have a label. ``about``: further entries for this task.
    """
    sums = counts.sum(axis=0)
    f1, support = f1_of(sums), sums[:, 1]
    return {
        "f1": float(np.nan_to_num(mean_without_nan(f1))),
        "per_class": {
            name: {"f1": None if np.isnan(f1[c]) else float(f1[c]), "support": int(support[c])}
            for c, name in enumerate(names)
        },
        **about,
        "classes": list(names),
        "absent_classes": [name for name, value in zip(names, f1, strict=True) if np.isnan(value)],
        "num_frames": int(labelled.sum()),
    }


def expression_counts(label: np.ndarray, predicted: np.ndarray, C: int) -> np.ndarray:
    """Return (N, C, 3): whether each class is a true positive, true, and predicted, in frames that have a label."""
    active, claimed = (values[:, None] == np.arange(C) for values in (label, predicted))
    return counts_of(active, claimed & (label >= 0)[:, None])


def unit_counts(
    label: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | list[float] | float
) -> np.ndarray:
    """Return (N, K, 3): whether each unit is a true positive, active, and predicted, where it has a label."""
    return counts_of(label > 0, (probabilities >= np.asarray(thresholds, dtype=float)) & (label >= 0))


def counts_of(active: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.stack([active & predicted, active, predicted], axis=-1)


def f1_of(counts: np.ndarray) -> np.ndarray:
    """Return F1 (..., C) from counts (..., C, 3), NaN where all counts are 0."""
    return share(2 * counts[..., 0], counts[..., 1] + counts[..., 2])


def require_labels(labelled: np.ndarray, kind: str) -> None:
    if not labelled.any():
        raise UserError(f"no frame has a valid {kind} label, so there is nothing to score")


def require_finite(predicted: np.ndarray) -> None:
    if not np.isfinite(predicted).all():
        raise UserError("the predictions contain values that are not finite")


def best_thresholds(label: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (K,) thresholds with the highest F1 of each unit, of (N, K) arrays; 0.5 for a unit that never occurs."""
    if (label > 1).any() or ((label > 0) & (label < 1)).any():
        raise UserError("labels of action units are 0 or 1, or NaN or -1 where there is none")
    require_finite(probabilities)
    columns = zip(label.T, probabilities.T, (label >= 0).T, strict=True)
    return np.array([best_threshold(true[labelled] > 0, p[labelled].astype(float)) for true, p, labelled in columns])


def best_threshold(active: np.ndarray, probability: np.ndarray) -> float:
    """Return the threshold with the highest F1 for one unit, of (N,) arrays.

    Thresholds are halfway between neighbouring probabilities; among equally good ones the nearest to 0.5 is returned.
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
    # The mean of two neighbouring floats rounds to one of them; the upper one still separates them.
    thresholds = np.where(halfway > below, halfway, ranked)[f1 == f1.max()]
    return float(thresholds[np.abs(thresholds - 0.5).argmin()])


# -- intervals ------------------------------------------------------------------------------------------------------


def add_intervals(
    metrics: dict[str, Any], pooled: PooledVideos, thresholds: list[float] | float, groups: Groups
) -> dict[str, Any]:
    """Return the metrics of ``PooledVideos.score`` with an interval for every score; None with fewer than two videos.

    Each score is a function of sums over frames, so a replicate is a weighted sum of the sums of each video.
    """
    names = [f"{task}_{MAIN[task]}" for task in MAIN if task in metrics]
    if groups.count < 2:
        return metrics | {"intervals": groups.about() | dict.fromkeys([*names, "score"])}
    weights = resample_counts(np.ones(groups.count))
    with_intervals, bounds = dict(metrics), {}
    means = []  # of each task, (R,) values of its main score
    if "va" in metrics:
        sums, shifts = grouped_moments(*pooled.arrays("va"), groups)
        ccc = agreement_of(replicate_sums(sums, weights), shifts)["ccc"]  # (R, 2)
        means.append(ccc.mean(axis=1))
        bounds |= {f"va_ccc_{name}": moved_interval(ccc[:, k]) for k, name in enumerate(VA_NAMES)}
        bounds["va_ccc"] = moved_interval(means[-1])
    for task in (name for name in ("expr", "au") if name in metrics):
        if task == "expr":
            counts = expression_counts(*pooled.arrays(task), len(EXPRESSIONS))
        else:
            counts = unit_counts(*pooled.arrays(task), np.asarray(thresholds, dtype=float))
        sums = row_sums(counts, groups.rows, groups.count)  # (G, C, 3)
        f1, videos = f1_of(replicate_sums(sums, weights)), (sums[:, :, 1:].sum(axis=2) > 0).sum(axis=0)
        mean = mean_without_nan(f1)  # NaN if only videos without any expression label are sampled
        means.append(mean if task == "expr" else np.nan_to_num(mean))
        rows = {
            name: row | {"f1_interval": as_share(f1_interval(row["f1"], f1[:, c], videos[c]))}
            for c, (name, row) in enumerate(metrics[task]["per_class"].items())
        }
        with_intervals[task] = metrics[task] | {"per_class": rows}
        bounds[f"{task}_f1"] = as_share(f1_interval(metrics[task]["f1"], means[-1], groups.count))
    bounds["score"] = bounds[names[0]] if len(names) == 1 else moved_interval(np.mean(means, axis=0))
    return with_intervals | {"intervals": groups.about() | bounds}


# -- text -----------------------------------------------------------------------------------------------------------


def main_scores(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the main score of each task and their mean, for the log of an epoch."""
    scores = {f"{task}_{name}": metrics[task][name] for task, name in MAIN.items() if task in metrics}
    return scores | {"score": metrics["score"]}


def score_lines(metrics: dict[str, Any]) -> str:
    """Return the scores as text: for each task its main score, then valence and arousal or its classes."""
    intervals, lines = metrics.get("intervals", {}), []
    for task in (task for task in MAIN if task in metrics):
        scores = metrics[task]
        interval = brackets(intervals.get(f"{task}_{MAIN[task]}"), 3)
        lines.append(f"{TITLES[task]:<12} {scores[MAIN[task]]:z.4f} {interval:>17}   ({scores['num_frames']} frames)")
        if task == "va":
            parts = {name: (scores[f"ccc_{name}"], intervals.get(f"va_ccc_{name}")) for name in VA_NAMES}
        else:
            parts = {name: (row["f1"], row.get("f1_interval")) for name, row in scores["per_class"].items()}
        lines += [score_line(f"  {name}", *part) for name, part in parts.items()]
    lines.append(score_line("mean", metrics["score"], intervals.get("score")))
    if intervals.get("groups", 0) > 1:
        lines.append(f"95 % intervals in brackets: bootstrap over {intervals['groups']} videos")
    return "\n".join(lines)


def score_line(name: str, value: float | None, interval: Interval) -> str:
    return f"{name:<12} {'-' if value is None else format(value, 'z.4f')} {brackets(interval, 3):>17}".rstrip()
