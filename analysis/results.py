"""Results read back from run folders: metrics.json and predictions.csv."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError


@dataclass(frozen=True)
class Predictions:
    """The rows of one or more ``predictions.csv``, one per clip."""

    names: tuple[str, ...]  # of the classes
    ids: list[str]
    persons: list[str | None]  # None where the person is not known
    label: np.ndarray  # (N,)
    logits: np.ndarray  # (N, C)

    @property
    def predicted(self) -> np.ndarray:
        return self.logits.argmax(axis=-1)


def temperature_of(metrics: dict[str, Any]) -> float:
    return (metrics.get("calibration") or {}).get("temperature", 1.0)


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the scores of a complete run."""
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: holds no scores (metrics.json); name the folder of a run that is complete"
        ) from None


def read_predictions(files: list[Path]) -> Predictions:
    """Return the rows of several ``predictions.csv`` one after the other; all must have the same classes."""
    tables = [read_rows(file) for file in files]
    require_same_classes([(str(file), names) for file, (names, _) in zip(files, tables, strict=True)])
    names = tables[0][0]
    rows = [row for _, rows in tables for row in rows]
    try:
        label = np.array([names.index(row["label"]) for row in rows])
        logits = np.array([[float(row[f"logit_{name}"]) for name in names] for row in rows])
        return Predictions(
            names, [row["clip"] for row in rows], [row.get("person") or None for row in rows], label, logits
        )
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{files[0]}: not predictions as a run writes them ({error})") from None


def read_rows(file: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Return the class names and the rows of a ``predictions.csv``."""
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
    """Refuse runs, given as (where, class names), whose classes differ."""
    first, names = classes[0]
    for where, other_names in classes[1:]:
        if other_names != names:
            differing = sorted({*other_names} ^ {*names}) or other_names
            raise UserError(
                f"{first} and {where} have other classes ({', '.join(differing)}), so that they cannot be scored "
                f"together; with --label-type compound name --train-annotation too, whose combinations count as well"
            )
