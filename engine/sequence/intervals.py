"""95 % intervals of the scores of long videos: whole videos drawn again, the same for every task."""

from collections.abc import Callable
from typing import Any

import numpy as np

from analysis.intervals import (
    Groups,
    as_share,
    confusions,
    draw_weights,
    f1_interval,
    grouped_moments,
    moved_interval,
    replicate_sums,
    row_sums,
)
from analysis.metrics import Interval, agreement_of, mean_of_known, rates, share
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS
from engine.sequence.affect_metrics import VA_NAMES, unit_counts
from engine.sequence.score import MAIN, Pooled

Redraw = Callable[[np.ndarray], np.ndarray]  # (G, ...) what each video adds → (R, ...) sums of drawn videos


def add_intervals(
    metrics: dict[str, Any], pooled: Pooled, thresholds: list[float] | float, groups: Groups
) -> dict[str, Any]:
    """``metrics`` of ``pooled.score``, from 0 to 1, with an interval at every score."""
    main = [f"{task}_{name}" for task, name in MAIN.items() if task in metrics]
    if groups.count < 2:
        return metrics | {"intervals": groups.about() | dict.fromkeys([*main, "score"])}
    weights = draw_weights(groups.count)
    draw = lambda sums: replicate_sums(sums, weights)  # noqa: E731
    found: dict[str, Interval] = {}
    means, described = [], dict(metrics)
    if "va" in metrics:
        ccc = drawn_concordance(*pooled.of("va"), groups, draw)  # (R, 2)
        means.append(ccc.mean(axis=1))
        found |= {f"va_ccc_{name}": moved_interval(ccc[:, k]) for k, name in enumerate(VA_NAMES)}
    if "expr" in metrics:
        sums = expression_sums(*pooled.of("expr"), groups)
        f1 = rates(draw(sums)).f1
        means.append(mean_of_known(f1))
        seen = (sums.sum(axis=2) + sums.sum(axis=1) > 0).sum(axis=0)
        described["expr"] = with_bounds(metrics["expr"], f1, seen)
    if "au" in metrics:
        sums = unit_sums(*pooled.of("au"), thresholds, groups)
        f1 = unit_f1(draw(sums))
        means.append(np.nan_to_num(mean_of_known(f1)))
        described["au"] = with_bounds(metrics["au"], f1, (sums[:, :, 1:].sum(axis=2) > 0).sum(axis=0))
    for name, drawn in zip(main, means, strict=True):
        task = name.partition("_")[0]
        is_f1 = MAIN[task] == "f1"
        found[name] = f1_bounds(metrics[task]["f1"], drawn, groups.count) if is_f1 else moved_interval(drawn)
    found["score"] = found[main[0]] if len(main) == 1 else moved_interval(np.mean(means, axis=0))
    return described | {"intervals": groups.about() | found}


def drawn_concordance(label: np.ndarray, predicted: np.ndarray, groups: Groups, draw: Redraw) -> np.ndarray:
    """(R, 2)."""
    sums, shifts = grouped_moments(label, predicted, groups)
    return agreement_of(draw(sums), shifts)["ccc"]


def expression_sums(label: np.ndarray, predicted: np.ndarray, groups: Groups) -> np.ndarray:
    """(G, C, C)."""
    known = label >= 0
    kept = Groups(groups.rows[known], groups.count, groups.resampled)
    return confusions(label[known].astype(np.int64), predicted[known].astype(np.int64), kept, len(EXPRESSIONS))


def unit_sums(
    label: np.ndarray, probabilities: np.ndarray, thresholds: list[float] | float, groups: Groups
) -> np.ndarray:
    """(G, K, 3)."""
    cuts = np.broadcast_to(np.asarray(thresholds, dtype=float), len(ACTION_UNITS))
    return row_sums(unit_counts(label, probabilities, cuts), groups.rows, groups.count)


def unit_f1(sums: np.ndarray) -> np.ndarray:
    """(..., K, 3) → (..., K)."""
    return share(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def with_bounds(scores: dict[str, Any], f1: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    """``f1`` (R, C); ``seen`` (C,): videos that have a class, or of which a frame is taken for one."""
    per_class = {}
    for c, (name, row) in enumerate(scores["per_class"].items()):
        point = np.nan if row["f1"] is None else row["f1"]
        per_class[name] = row | {"f1_interval": f1_bounds(point, f1[:, c], seen[c])}
    return scores | {"per_class": per_class}


def f1_bounds(point: float, drawn: np.ndarray, count: int) -> Interval:
    """From 0 to 1; ``count`` groups."""
    return as_share(f1_interval(point, drawn, count))
