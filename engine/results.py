"""What a scored set leaves behind: predictions.csv, metrics.json, the confusion matrix, the printed table."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from engine.metrics import table
from utils.runlog import RunLog


def write_results(
    log: RunLog,
    *,
    names: tuple[str, ...],
    ids: list[str],
    label: np.ndarray,
    logits: np.ndarray,
    metrics: dict[str, Any],
    split: str,
    selected_on: str,
    title: str,
) -> dict[str, Any]:
    """``metrics`` with what it was measured on, also written to the run folder."""
    from engine.plots import draw_confusion, save

    write_predictions(log.folder / "predictions.csv", names, ids, label, logits)
    metrics = metrics | {"split": split, "selected_on": selected_on}
    log.write_json("metrics.json", metrics)
    figure = draw_confusion(metrics, title)
    log.board.add_figure(f"confusion/{split}", figure, close=False)
    save(figure, log.folder / "confusion_matrix.png")
    log.say(f"\n{title}, {split} clips, selected on {selected_on}")
    log.say(table(metrics))
    if metrics["absent_classes"]:
        absent = ", ".join(metrics["absent_classes"])
        log.warn(f"no {split} clip of {absent}: UAR is the mean over the other classes")
    log.say(f"run folder: {log.folder}")
    return metrics


def write_predictions(
    path: Path, names: tuple[str, ...], ids: list[str], label: np.ndarray, logits: np.ndarray
) -> None:
    """One row a clip: names, then raw logits and probabilities of every class."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [f"logit_{name}" for name in names] + [f"prob_{name}" for name in names]
        writer.writerow(["clip", "label", "predicted", *columns])
        for clip, true, row, p in zip(ids, label, logits, probabilities, strict=True):
            numbers = [f"{value:.9g}" for value in (*row, *p)]
            writer.writerow([clip, names[true], names[int(row.argmax())], *numbers])
