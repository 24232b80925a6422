"""What a run answered, scored again by scikit-learn."""

import csv
from pathlib import Path

from sklearn.metrics import accuracy_score, f1_score, recall_score


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores_of(rows: list[dict[str, str]]) -> dict[str, float]:
    """UAR, WAR and macro F1 in percent."""
    true, guess = [row["label"] for row in rows], [row["predicted"] for row in rows]
    uar = recall_score(true, guess, labels=sorted(set(true)), average="macro", zero_division=0)
    f1 = f1_score(true, guess, average="macro", zero_division=0)
    return {"uar": 100 * uar, "war": 100 * accuracy_score(true, guess), "macro_f1": 100 * f1}
