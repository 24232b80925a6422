"""What a scored set leaves behind: predictions.csv, metrics.json, the confusion matrix, the printed table."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.intervals import add_intervals, groups_of
from engine.metrics import table
from engine.result_options import ResultOptions
from utils.runlog import RunLog

DEFAULTS = ResultOptions()


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
    persons: Sequence[str | None] | None = None,
    options: ResultOptions = DEFAULTS,
) -> dict[str, Any]:
    """``metrics`` with intervals and with what it was measured on, also written to the run folder.

    ``persons``: who is in each clip; None where that is not known of any.
    """
    from engine.plots import draw_confusion, save

    persons = persons or [None] * len(ids)
    groups = groups_of(ids, persons, options.ci)
    write_predictions(log.folder / "predictions.csv", names, ids, persons, label, logits)
    if groups is not None:
        metrics = add_intervals(metrics, label, logits.argmax(axis=-1), groups)
    metrics = metrics | {"split": split, "selected_on": selected_on}
    log.write_json("metrics.json", metrics)
    figure = draw_confusion(metrics, title)
    log.board.add_figure(f"confusion/{split}", figure, close=False)
    save(figure, log.folder / "confusion_matrix.png")
    log.say(f"\n{title}, {split} clips, selected on {selected_on}")
    log.say(table(metrics))
    for doubt in groups.doubts() if groups is not None else []:
        log.warn(doubt)
    if metrics["absent_classes"]:
        absent = ", ".join(metrics["absent_classes"])
        log.warn(f"no {split} clip of {absent}: UAR is the mean over the other classes")
    log.say(f"run folder: {log.folder}")
    return metrics


def write_predictions(
    path: Path,
    names: tuple[str, ...],
    ids: list[str],
    persons: Sequence[str | None],
    label: np.ndarray,
    logits: np.ndarray,
) -> None:
    """One row a clip: names, then raw logits and probabilities of every class."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [f"logit_{name}" for name in names] + [f"prob_{name}" for name in names]
        writer.writerow(["clip", "person", "label", "predicted", *columns])
        for clip, person, true, row, p in zip(ids, persons, label, logits, probabilities, strict=True):
            numbers = [f"{value:.9g}" for value in (*row, *p)]
            writer.writerow([clip, person or "", names[true], names[int(row.argmax())], *numbers])
