"""Curves of a training, from ``metrics.jsonl``."""

from collections.abc import Callable
from typing import Any

from analysis.report.collect import Run, is_number
from analysis.report.document import Figure
from analysis.report.drawings import curves
from analysis.report.words import best_epoch

SCORES = ("val/uar", "test/uar", "train/uar", "val/war", "test/war")
NAMES = {"uar": "UAR", "war": "WAR", "va_ccc": "VA CCC", "expr_f1": "expression F1", "au_f1": "AU F1", "score": "mean"}
MOST = 4  # lines that can be told apart


def curve_figures(run: Run) -> list[Figure]:
    """Losses, and recalls or the main numbers of long videos; fewer where there is no training."""
    best = best_epoch(run)
    mark = best[0] if best else None
    found = {key for row in run.history for key in row}
    losses = ["train/loss", *sorted(key for key in found if key.startswith("train/loss_"))]
    losses = losses[:1] if len(losses) < 4 else losses  # one term, or two, are the whole loss
    scores = [key for key in SCORES if key in found]
    ranges: tuple[str, float | None] = ("percent", 100.0)
    if run.kind == "long videos":
        scores = [f"val/{name}" for name in ("va_ccc", "expr_f1", "au_f1", "score") if f"val/{name}" in found]
        ranges = ("score", 1.0 if all(v >= 0 for key in scores for _, v in line_of(run, key)) else None)
    made = [
        figure(run, "Loss", [key for key in losses if key in found], loss_name, "loss", None, mark),
        figure(run, "Recall" if ranges[1] == 100.0 else "Scores", scores, score_name, *ranges, mark),
    ]
    return [one for one in made if one is not None]


def figure(
    run: Run, title: str, keys: list[str], name: Callable[[str], str], unit: str, top: float | None, mark: int | None
) -> Figure | None:
    lines = [(name(key), line_of(run, key)) for key in keys]
    lines = [(label, line) for label, line in lines if line][:MOST]
    if not lines:
        return None
    said = "; ".join(f"{label} from {line[0][1]:.3g} to {line[-1][1]:.3g}" for label, line in lines)
    epochs = len({x for _, line in lines for x, _ in line})
    description = f"{title} over {epochs} epochs: {said}"
    drawing = curves(lines, unit, description, top, mark)
    return Figure(drawing, title, said, run.picture("curves.png") if title == "Loss" else None)


def line_of(run: Run, key: str) -> list[tuple[float, float]]:
    rows: list[dict[str, Any]] = [row for row in run.history if is_number(row.get(key)) and is_number(row.get("epoch"))]
    return [(row["epoch"], row[key]) for row in rows]


def loss_name(key: str) -> str:
    return "training" if key == "train/loss" else key.removeprefix("train/loss_")


def score_name(key: str) -> str:
    split, _, name = key.partition("/")
    return NAMES.get(name, name) if name in ("va_ccc", "expr_f1", "au_f1", "score") else f"{split} {NAMES[name]}"
