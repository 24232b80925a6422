"""Predictions of a run, scored by scikit-learn."""

import csv
from pathlib import Path

from sklearn.metrics import accuracy_score, f1_score, recall_score


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Return the rows of ``predictions.csv`` in a run folder."""
    with open(folder / "predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores_of(rows: list[dict[str, str]]) -> dict[str, float]:
    """Return UAR, WAR and macro F1 in percent."""
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    uar = recall_score(labels, predicted, labels=sorted(set(labels)), average="macro", zero_division=0)
    f1 = f1_score(labels, predicted, average="macro", zero_division=0)
    return {"uar": 100 * uar, "war": 100 * accuracy_score(labels, predicted), "macro_f1": 100 * f1}
