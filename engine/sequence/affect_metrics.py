"""Scores of frames, pooled over a whole set, from 0 to 1: concordance, macro F1 of expressions, F1 of action units.

Labels are NaN (valence-arousal, action units) or -1 (expressions, action units) where there is none.
"""

from typing import Any

import numpy as np

from analysis.metrics import agreement, confusion_matrix, mean_of_known, share
from utils.errors import UserError

VA_NAMES = ("valence", "arousal")


def va_score(label: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """(N, 2) both. CCC of each and their mean; a constant prediction has 0."""
    check_finite(predicted)
    found = {}
    for name, true, guess in zip(VA_NAMES, label.T, predicted.T, strict=True):
        known = labelled(~np.isnan(true), name)
        found[name] = agreement(true[known].astype(float), guess[known].astype(float))["ccc"]
    return {
        "ccc": float(np.mean(list(found.values()))),
        **{f"ccc_{name}": ccc for name, ccc in found.items()},
        "num_frames": int((~np.isnan(label)).any(axis=1).sum()),
    }


def expression_score(label: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """(N,) class numbers both. A class that neither occurs nor is predicted is left out of the mean and named."""
    known = labelled(label >= 0, "expression")
    confusion = confusion_matrix(label[known].astype(np.int64), predicted[known].astype(np.int64), len(names))
    f1, support = f1_scores(np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0))
    return {
        "f1": mean_f1(f1),
        "per_class": described(f1, support, names),
        "confusion": confusion.tolist(),
        "classes": list(names),
        "absent_classes": absent(f1, names),
        "num_frames": int(known.sum()),
    }


def au_score(
    label: np.ndarray, probabilities: np.ndarray, names: tuple[str, ...], thresholds: np.ndarray | float = 0.5
) -> dict[str, Any]:
    """(N, K) both. F1 of each unit, active from its threshold (K,) on, as absent classes are treated above."""
    check_finite(probabilities)
    labelled(label >= 0, "action unit")
    thresholds = np.broadcast_to(np.asarray(thresholds, dtype=float), len(names))
    counts = unit_counts(label, probabilities, thresholds).sum(axis=0)
    f1, support = f1_scores(*counts.T)
    return {
        "f1": mean_f1(f1),
        "per_class": described(f1, support, names),
        "thresholds": thresholds.tolist(),
        "classes": list(names),
        "absent_classes": absent(f1, names),
        "num_frames": int((label >= 0).any(axis=1).sum()),
    }


def unit_counts(label: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(N, K, 3): whether each unit is found and active, active, found, of frames whose label is known."""
    known, active = label >= 0, label > 0  # NaN is neither
    claimed = (probabilities >= thresholds) & known
    return np.stack([claimed & active, active, claimed], axis=-1)


def best_thresholds(label: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(N, K) both → (K,): where each unit's F1 on these frames is highest; 0.5 for a unit that is never active."""
    if (label > 1).any() or ((label > 0) & (label < 1)).any():
        raise UserError("labels of action units are 0 or 1, or NaN or -1 where there is none")
    check_finite(probabilities)
    known = label >= 0
    columns = zip(label.T, probabilities.T, known.T, strict=True)
    return np.array([best_threshold(true[there] > 0, p[there].astype(float)) for true, p, there in columns])


def best_threshold(active: np.ndarray, probability: np.ndarray) -> float:
    """(N,) both. Halfway between two neighbouring probabilities; of equally good ones the nearest to 0.5."""
    if not active.any():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    ranked, hits = probability[order], np.cumsum(active[order])
    last = np.append(ranked[:-1] > ranked[1:], True)  # a threshold cannot part equal probabilities
    f1 = np.where(last, 2 * hits / (np.arange(1, len(ranked) + 1) + active.sum()), -1.0)
    below = np.append(ranked[1:], 0.0)
    halfway = (ranked + below) / 2
    cuts = np.where(halfway > below, halfway, ranked)[f1 == f1.max()]  # two neighbours may have nothing between them
    return float(cuts[np.abs(cuts - 0.5).argmin()])


def f1_scores(hits: np.ndarray, support: np.ndarray, claimed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C,) counts → F1, NaN where a class neither occurs nor is predicted, and support."""
    return share(2 * hits, support + claimed), support


def mean_f1(f1: np.ndarray) -> float:
    """Over the classes that have one; without any, nothing was found and nothing missed: 0."""
    return float(np.nan_to_num(mean_of_known(f1)))


def described(f1: np.ndarray, support: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: {"f1": None if np.isnan(f1[c]) else float(f1[c]), "support": int(support[c])}
        for c, name in enumerate(names)
    }


def absent(f1: np.ndarray, names: tuple[str, ...]) -> list[str]:
    return [name for name, value in zip(names, f1, strict=True) if np.isnan(value)]


def labelled(known: np.ndarray, what: str) -> np.ndarray:
    if not known.any():
        raise UserError(f"no frame has a valid {what} label: there is nothing to score")
    return known


def check_finite(predicted: np.ndarray) -> None:
    if not np.isfinite(predicted).all():
        raise UserError("the predictions hold values that are not finite")
