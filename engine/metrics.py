"""Scores of a classifier, in percent: UAR, WAR, macro F1, recall and support of each class, confusion matrix."""

from typing import Any

import numpy as np


def confusion_matrix(label: np.ndarray, predicted: np.ndarray, C: int) -> np.ndarray:
    """(C, C) counts: rows are true classes, columns predicted ones, absent classes keep theirs."""
    return np.bincount(np.asarray(label) * C + np.asarray(predicted), minlength=C * C).reshape(C, C)


def score(label: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Everything that metrics.json holds. A class without clips is left out of UAR and named."""
    confusion = confusion_matrix(label, predicted, len(names))
    hits, support, claimed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    present, seen = support > 0, support + claimed > 0
    recall = np.divide(hits, support, out=np.zeros(len(names)), where=present)
    f1 = np.divide(2 * hits, support + claimed, out=np.zeros(len(names)), where=seen)
    return {
        "uar": 100 * float(recall[present].mean()),
        "war": 100 * float(hits.sum() / support.sum()),
        "macro_f1": 100 * float(f1[seen].mean()),
        "per_class": {
            name: {"recall": 100 * float(recall[c]) if present[c] else None, "support": int(support[c])}
            for c, name in enumerate(names)
        },
        "confusion": confusion.tolist(),
        "classes": list(names),
        "absent_classes": [name for name, there in zip(names, present, strict=True) if not there],
        "num_clips": int(support.sum()),
    }


def table(metrics: dict[str, Any]) -> str:
    """The scores as they are printed at the end of a run."""
    width = max(16, *(len(name) + 2 for name in metrics["classes"]))
    rows = [f"{'class':<{width}}{'recall':>9}{'clips':>8}{'one clip =':>13}"]
    present = len(metrics["classes"]) - len(metrics["absent_classes"])
    for name, values in metrics["per_class"].items():
        if values["support"] == 0:
            rows.append(f"{name:<{width}}{'absent':>9}{0:>8}")
            continue
        worth = 100 / values["support"] / present
        rows.append(f"{name:<{width}}{values['recall']:>8.2f}%{values['support']:>8}{worth:>9.2f} UAR")
    scores = f"UAR {metrics['uar']:.2f}   WAR {metrics['war']:.2f}   macro F1 {metrics['macro_f1']:.2f}"
    return "\n".join([*rows, f"{scores}   ({metrics['num_clips']} clips)"])
