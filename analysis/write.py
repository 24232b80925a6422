"""What a scored set leaves behind: predictions.csv, metrics.json, the pictures, the printed table."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from analysis import abstain, calibration
from analysis.calibration import RAW, Calibration
from analysis.intervals import Groups, add_intervals, groups_of
from analysis.metrics import table
from engine.options import ResultOptions
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
    calibrated: Calibration = RAW,
) -> dict[str, Any]:
    """``metrics`` with all that can be said of them, also written to the run folder.

    ``persons``: who is in each clip; None where that is not known of any.
    """
    persons = persons or [None] * len(ids)
    probabilities = calibrated.probabilities(logits)
    answered = None if options.abstain is None else probabilities.max(axis=1) >= options.abstain
    write_predictions(log.folder / "predictions.csv", names, ids, persons, label, logits, probabilities, answered)
    groups = groups_of(ids, persons, options.ci)
    metrics = assess(metrics, label, logits, calibrated, groups)
    if answered is not None:
        predicted = logits.argmax(axis=-1)
        metrics["abstain"] = abstain.abstaining(options.abstain, answered, label, predicted, names, groups)
    metrics = metrics | {"split": split, "selected_on": selected_on}
    log.write_json("metrics.json", metrics)
    draw(log, metrics, title, split)
    log.say(f"\n{title}, {split} clips, selected on {selected_on}")
    describe(log, metrics, groups, split)
    log.say(f"run folder: {log.folder}")
    return metrics


def assess(
    metrics: dict[str, Any], label: np.ndarray, logits: np.ndarray, calibrated: Calibration, groups: Groups | None
) -> dict[str, Any]:
    """Intervals, calibration, and risk over coverage."""
    predicted = logits.argmax(axis=-1)
    if groups is not None:
        metrics = add_intervals(metrics, label, predicted, groups)
    confidence = calibration.softmax(logits.astype(np.float64), calibrated.temperature).max(axis=1)
    return metrics | {
        "calibration": calibration.calibration_metrics(logits, label, calibrated),
        "risk_coverage": calibration.risk_coverage(confidence, predicted == label),
    }


def describe(log: RunLog, metrics: dict[str, Any], groups: Groups | None, split: str) -> None:
    """The scores on the screen, and what is doubtful about them."""
    log.say(table(metrics))
    log.say(calibration.describe(metrics))
    if "abstain" in metrics:
        log.say(abstain.describe(metrics["abstain"], metrics["num_clips"]))
    for doubt in groups.doubts() if groups is not None else []:
        log.warn(doubt)
    if metrics["absent_classes"]:
        absent = ", ".join(metrics["absent_classes"])
        log.warn(f"no {split} clip of {absent}: UAR is the mean over the other classes")


def draw(log: RunLog, metrics: dict[str, Any], title: str, split: str) -> None:
    """Pictures in the run folder and in TensorBoard."""
    from analysis.plots import draw_confusion, save
    from analysis.reliability import draw_reliability

    pictures = {
        "confusion": ("confusion_matrix.png", draw_confusion),
        "reliability": ("reliability.png", draw_reliability),
    }
    for kind, (file, drawn) in pictures.items():
        save(drawn(metrics, title), log.folder / file)
        with Image.open(log.folder / file) as picture:  # to draw it once more for TensorBoard would take as long again
            log.board.add_image(f"{kind}/{split}", np.asarray(picture.convert("RGB")), dataformats="HWC")


def write_predictions(
    path: Path,
    names: tuple[str, ...],
    ids: list[str],
    persons: Sequence[str | None],
    label: np.ndarray,
    logits: np.ndarray,
    probabilities: np.ndarray,
    answered: np.ndarray | None,
) -> None:
    """One row a clip: names, then raw logits and probabilities of every class; whether it is answered, if asked."""
    numbers = np.concatenate([logits, probabilities], axis=1)
    columns = [f"logit_{name}" for name in names] + [f"prob_{name}" for name in names]
    ends = [[]] * len(ids) if answered is None else [[int(value)] for value in answered]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "person", "label", "predicted", *columns, *([] if answered is None else ["answered"])])
        for clip, person, true, row, end in zip(ids, persons, label, numbers, ends, strict=True):
            predicted = names[int(row[: len(names)].argmax())]
            writer.writerow([clip, person or "", names[true], predicted, *(f"{value:.9g}" for value in row), *end])
