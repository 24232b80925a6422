"""Results of a scored set: predictions.csv, metrics.json, pictures, the printed table; and how they are read again."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from analysis.calibration import (
    RAW,
    Calibration,
    abstention,
    calibration_metrics,
    describe_abstention,
    describe_calibration,
    risk_coverage,
    softmax,
)
from analysis.intervals import Groups, add_intervals, groups_of
from analysis.metrics import table
from utils.errors import UserError, one_line
from utils.files import atomic_write
from utils.runlog import RunLog


@dataclass(frozen=True)
class Predictions:
    """The rows of one or more ``predictions.csv``."""

    names: tuple[str, ...]  # of the classes
    ids: list[str]
    persons: list[str | None]  # None where a person is not known
    label: np.ndarray  # (N,)
    logits: np.ndarray  # (N, C)

    @property
    def predicted(self) -> np.ndarray:
        return self.logits.argmax(axis=-1)


def write_results(
    log: RunLog,
    predictions: Predictions,
    metrics: dict[str, Any],
    *,
    split: str,
    selected_on: str,
    title: str,
    ci: str = "auto",
    abstain: float | None = None,
    calibrated: Calibration = RAW,
) -> dict[str, Any]:
    """Write the results of a scored set into the run folder, print the scores, and return all metrics.

    ``ci`` and ``abstain``: as the flags.
    """
    label, logits = predictions.label, predictions.logits
    probabilities = softmax(logits, calibrated.temperature)
    answered = None if abstain is None else probabilities.max(axis=1) >= abstain
    write_predictions(log.folder / "predictions.csv", predictions, probabilities, answered)
    groups = groups_of(predictions.ids, predictions.persons, ci)
    metrics = assess(metrics, label, logits, calibrated, groups)
    if answered is not None:
        names = predictions.names
        metrics["abstain"] = abstention(abstain, answered, label, predictions.predicted, names, groups)
    metrics = metrics | {"split": split, "selected_on": selected_on}
    log.keep_metrics(metrics)
    draw(log, metrics, title, split)
    log.say(f"\n{title}, {split} clips, selected on {selected_on}")
    log.say(table(metrics))
    log.say(describe_calibration(metrics))
    if answered is not None:
        log.say(describe_abstention(metrics["abstain"], metrics["num_clips"]))
    for doubt in groups.doubts() if groups is not None else []:
        log.warn(doubt)
    if metrics["absent_classes"]:
        absent = ", ".join(metrics["absent_classes"])
        log.warn(f"no {split} clip of {absent}: UAR is the mean over the other classes", f"{split} class_missing")
    log.say(f"run folder: {log.folder}")
    return metrics


def assess(
    metrics: dict[str, Any], label: np.ndarray, logits: np.ndarray, calibrated: Calibration, groups: Groups | None
) -> dict[str, Any]:
    """Return ``metrics`` with intervals, calibration, and risk over coverage."""
    predicted = logits.argmax(axis=-1)
    if groups is not None:
        metrics = add_intervals(metrics, label, predicted, groups)
    confidence = softmax(logits.astype(np.float64), calibrated.temperature).max(axis=1)
    return metrics | {
        "calibration": calibration_metrics(logits, label, calibrated),
        "risk_coverage": risk_coverage(confidence, predicted == label),
    }


def draw(log: RunLog, metrics: dict[str, Any], title: str, split: str) -> None:
    """Draw the pictures into the run folder and into TensorBoard."""
    from analysis.plots import draw_confusion, draw_reliability, save

    for kind, draw_picture in (("confusion_matrix", draw_confusion), ("reliability", draw_reliability)):
        file = log.folder / f"{kind}.png"
        save(draw_picture(metrics, one_line(title)), file)
        with Image.open(file) as picture:  # drawing it once more for TensorBoard would take as long again
            pixels = np.asarray(picture.convert("RGB"))
        log.board.add_image(f"{kind.removesuffix('_matrix')}/{split}", pixels)


def write_predictions(
    path: Path, predictions: Predictions, probabilities: np.ndarray, answered: np.ndarray | None
) -> None:
    """Write one row per clip: names, logits and probabilities of every class; with ``--abstain``, if it is answered."""
    names, predicted = predictions.names, predictions.predicted
    numbers = [f"{kind}_{name}" for kind in ("logit", "prob") for name in names]
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        columns = ["clip", "person", "label", "predicted", *numbers]
        writer.writerow(columns if answered is None else [*columns, "answered"])
        for i, values in enumerate(np.concatenate([predictions.logits, probabilities], axis=1)):
            answers = names[predictions.label[i]], names[predicted[i]]
            person = predictions.persons[i] or ""
            row = [predictions.ids[i], person, *answers, *(f"{value:.9g}" for value in values)]
            writer.writerow(row if answered is None else [*row, int(answered[i])])


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the scores of a complete run."""
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: holds no scores (metrics.json); name the folder of a run that is complete"
        ) from None


def temperature_of(metrics: dict[str, Any]) -> float:
    return (metrics.get("calibration") or {}).get("temperature", 1.0)


def read_predictions(files: list[Path]) -> Predictions:
    """Return the rows of several files, one after the other; all must have the same classes."""
    rows: list[dict[str, str]] = []
    classes = []
    for file in files:
        names, rows_of_file = read_rows(file)
        classes.append((str(file), names))
        rows += rows_of_file
    require_same_classes(classes)
    try:
        label = np.array([names.index(row["label"]) for row in rows])
        logits = np.array([[float(row[f"logit_{name}"]) for name in names] for row in rows])
        persons = [row.get("person") or None for row in rows]
        return Predictions(names, [row["clip"] for row in rows], persons, label, logits)
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{files[0]}: not predictions as a run writes them ({error})") from None


def read_rows(file: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Return the class names and one row per clip."""
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            columns = [name for name in reader.fieldnames or () if name.startswith("logit_")]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error):
        raise UserError(f"{file}: no predictions there; name the folder of a run that is complete") from None
    if not columns or not rows:
        raise UserError(f"{file}: no answers with classes in it; single frames and numbers are not compared by clips")
    return tuple(name.removeprefix("logit_") for name in columns), rows


def require_same_classes(classes: list[tuple[str, tuple[str, ...]]]) -> None:
    """Refuse runs with different classes; ``classes``: (name of the run, its class names) each."""
    for run, names in classes[1:]:
        if names != classes[0][1]:
            differing = sorted(set(names) ^ set(classes[0][1])) or names
            raise UserError(
                f"{classes[0][0]} and {run} have other classes ({', '.join(differing)}), so that they cannot be scored "
                f"together; with --label-type compound name --train-annotation too, whose combinations count as well"
            )
