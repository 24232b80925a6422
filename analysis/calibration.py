"""How far probabilities can be believed: ECE, NLL, Brier score, one temperature, risk over coverage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError

BINS = 15
POINTS = 101  # at most, of a risk-coverage curve
COLDEST, HOTTEST = 1e-3, 1e3  # temperatures that are looked at


@dataclass(frozen=True)
class Calibration:
    """Probabilities are the softmax of logits / ``temperature``: one number, or (N,) where runs are pooled."""

    temperature: float | np.ndarray = 1.0
    fitted_on: str | None = None
    clips: int = 0  # that it was fitted on

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return softmax(logits, self.temperature)

    def stored(self) -> dict[str, Any]:
        """As best.pt keeps it."""
        return {"temperature": self.temperature, "fitted_on": self.fitted_on, "clips": self.clips}


RAW = Calibration()


def softmax(logits: np.ndarray, temperature: float | np.ndarray = 1.0) -> np.ndarray:
    """(N, C) → (N, C)."""
    logits = scaled(logits, temperature)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def scaled(logits: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    return logits / np.reshape(temperature, (-1, 1)).astype(logits.dtype)


def nll(logits: np.ndarray, label: np.ndarray, temperature: float | np.ndarray = 1.0) -> float:
    """Mean negative logarithm of the true class's probability, finite however sure a wrong answer is."""
    logits = scaled(logits.astype(np.float64), temperature)
    logits = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(label)), label]).mean())


def brier(probabilities: np.ndarray, label: np.ndarray) -> float:
    """Mean squared distance to the true answer, all classes summed: 0 to 2."""
    truth = np.eye(probabilities.shape[1])[label]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def reliability_bins(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """Of equal width; a bin holds its lower edge, the last one 1 as well; an empty one has no mean."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, weights=values, minlength=bins) for values in (confidence, right))
    means = [np.divide(total, count, out=np.zeros(bins), where=count > 0) for total in sums]
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "count": int(count[b]),
            "confidence": float(means[0][b]) if count[b] else None,
            "accuracy": float(means[1][b]) if count[b] else None,
        }
        for b in range(bins)
    ]


def expected_error(bins: list[dict[str, Any]]) -> float:
    """ECE in percent: how far confidence and accuracy are apart, over the clips."""
    filled = [row for row in bins if row["count"]]
    apart = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in filled)
    return 100 * apart / sum(row["count"] for row in filled)


def quality(logits: np.ndarray, label: np.ndarray, temperature: float | np.ndarray) -> dict[str, Any]:
    """ECE, NLL and Brier score at a temperature, and the bins of a reliability diagram."""
    probabilities = softmax(logits.astype(np.float64), temperature)
    bins = reliability_bins(probabilities.max(axis=1), logits.argmax(axis=1) == label)
    found = {"ece": expected_error(bins), "bins": bins}
    return found | {"nll": nll(logits, label, temperature), "brier": brier(probabilities, label)}


def calibration_metrics(logits: np.ndarray, label: np.ndarray, calibration: Calibration) -> dict[str, Any]:
    """What metrics.json says; where a temperature was fitted, ``raw`` is how it was before."""
    found = quality(logits, label, calibration.temperature)
    different = np.unique(calibration.temperature)
    found["temperature"] = float(different[0]) if len(different) == 1 else None  # of pooled runs
    found["fitted_on"] = calibration.fitted_on
    if calibration.fitted_on is not None:
        raw = quality(logits, label, 1.0)
        found["raw"] = {name: raw[name] for name in ("ece", "nll", "brier")}
    return found


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float | None:
    """Where the NLL is lowest; it has one valley over 1 / T.

    None where it has no lowest point: every answer is right, or the logits tell nothing of the label.
    """
    low, high = np.log(COLDEST), np.log(HOTTEST)
    golden = (5**0.5 - 1) / 2
    inner, outer = high - golden * (high - low), low + golden * (high - low)
    at_inner, at_outer = (nll(logits, label, np.exp(place)) for place in (inner, outer))
    while high - low > 1e-7:
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - golden * (high - low)
            at_inner = nll(logits, label, np.exp(inner))
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + golden * (high - low)
            at_outer = nll(logits, label, np.exp(outer))
    temperature = float(np.exp((low + high) / 2))
    flat = np.ptp(logits, axis=1).max() == 0
    return None if flat or not COLDEST * 1.01 < temperature < HOTTEST / 1.01 else temperature


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """The share of wrong answers among the surest ones, over how many are answered; ``aurc`` is its mean.

    Answers that are equally sure come in no order: each adds the errors of their mean.
    """
    levels, level = np.unique(-confidence, return_inverse=True)
    wrong = np.bincount(level, weights=~right) / np.bincount(level)
    errors = np.cumsum(wrong[np.sort(level)])
    N = len(confidence)
    risk = errors / np.arange(1, N + 1)
    kept = np.unique(np.linspace(0, N - 1, min(N, POINTS)).round().astype(int))
    return {
        "coverage": ((kept + 1) / N).tolist(),
        "risk": risk[kept].tolist(),
        "aurc": float(risk.mean()),
    }


def describe(metrics: dict[str, Any]) -> str:
    """The line below the table."""
    found = metrics["calibration"]
    line = f"ECE {found['ece']:.2f} %, NLL {found['nll']:.3f}, AURC {metrics['risk_coverage']['aurc']:.4f}"
    if found["fitted_on"] is None:
        return line
    raw, temperature = found["raw"], found["temperature"]
    fitted = f"temperature{'' if temperature is None else f' {temperature:.3f}'}, fitted on {found['fitted_on']}"
    return f"{line}   (without the {fitted}: ECE {raw['ece']:.2f} %, NLL {raw['nll']:.3f})"


def chosen_calibration(content: dict[str, Any], path: Path, given: dict[str, Any]) -> Calibration:
    """Of a checkpoint, unless ``--no-calibrate`` asks for what the logits say."""
    found = stored_calibration(content, path)
    if given.get("calibrate") is True and found is RAW:
        raise UserError(
            f"--calibrate: {path} holds no temperature; it is fitted at the end of --mode train --calibrate"
        )
    return RAW if given.get("calibrate") is False else found


def stored_calibration(content: dict[str, Any], path: Path) -> Calibration:
    """Of a checkpoint; without one, probabilities are what the logits say."""
    stored = content.get("calibration")
    if stored is None:
        return RAW
    try:
        found = Calibration(stored["temperature"], stored["fitted_on"], stored["clips"])
        good = [type(value) is kind for value, kind in zip(vars(found).values(), (float, str, int), strict=True)]
        if all(good) and 0 < found.temperature < np.inf:
            return found
    except (KeyError, TypeError):
        pass
    raise UserError(f"{path}: damaged: its calibration is no temperature")
