"""Calibration of probabilities: ECE, NLL, Brier score, temperature, risk over coverage, ``--abstain``."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax

from analysis.intervals import (
    Groups,
    as_share,
    classifier_intervals,
    confusions,
    resample_sums,
    row_sums,
    share_interval,
)
from analysis.metrics import SCORES, Interval, brackets, score, share
from utils.errors import UserError
from utils.json_files import Range, check_type

BINS = 15
POINTS = 101  # at most, of a risk-coverage curve
COLDEST, HOTTEST = 1e-3, 1e3  # range of temperatures that is searched


class StoredCalibration(TypedDict):
    """The calibration as stored in best.pt."""

    temperature: Annotated[float, Range(COLDEST, HOTTEST)]
    fitted_on: str
    clips: Annotated[int, Range(1, 10**9)]


@dataclass(frozen=True)
class Calibration:
    """Probabilities are the softmax of logits / ``temperature``: one number, or (N,) for pooled runs."""

    temperature: float | np.ndarray = 1.0
    fitted_on: str | None = None
    clips: int = 0  # that it was fitted on

    def as_dict(self) -> dict[str, Any]:
        """Return the calibration as stored in best.pt."""
        return asdict(self)


RAW = Calibration()


def softmax(logits: np.ndarray, temperature: float | np.ndarray = 1.0) -> np.ndarray:
    """Return (N, C) probabilities of logits (N, C), in the precision of the logits."""
    return scipy_softmax(scaled_logits(logits, temperature), axis=1)


def scaled_logits(logits: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    return logits / np.reshape(temperature, (-1, 1)).astype(logits.dtype)


def nll(logits: np.ndarray, label: np.ndarray, temperature: float | np.ndarray = 1.0) -> float:
    """Return the mean negative log-likelihood, which is finite even for very confident wrong answers."""
    log_probabilities = log_softmax(scaled_logits(logits.astype(np.float64), temperature), axis=1)
    return float(-log_probabilities[np.arange(len(label)), label].mean())


def brier(probabilities: np.ndarray, label: np.ndarray) -> float:
    """Return the mean squared distance to the one-hot label, summed over classes: 0 to 2."""
    truth = np.eye(probabilities.shape[1])[label]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def reliability_bins(confidence: np.ndarray, is_right: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """Return bins of equal width. A bin includes its lower edge, and the last one also 1; empty bins have no means."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, weights=values, minlength=bins) for values in (confidence, is_right))
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
    """Return the ECE in percent: the mean distance of confidence and accuracy over clips."""
    filled = [row for row in bins if row["count"]]
    distance = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in filled)
    return 100 * distance / sum(row["count"] for row in filled)


def quality(logits: np.ndarray, label: np.ndarray, temperature: float | np.ndarray) -> dict[str, Any]:
    """Return ECE, NLL and Brier score at a temperature, and the bins of a reliability diagram."""
    probabilities = softmax(logits.astype(np.float64), temperature)
    bins = reliability_bins(probabilities.max(axis=1), logits.argmax(axis=1) == label)
    losses = {"nll": nll(logits, label, temperature), "brier": brier(probabilities, label)}
    return {"ece": expected_error(bins), "bins": bins} | losses


def calibration_metrics(logits: np.ndarray, label: np.ndarray, calibration: Calibration) -> dict[str, Any]:
    """Return the entries of metrics.json; with a fitted temperature, ``raw`` has the numbers without it."""
    metrics = quality(logits, label, calibration.temperature)
    temperatures = np.unique(calibration.temperature)
    metrics["temperature"] = float(temperatures[0]) if len(temperatures) == 1 else None  # None: pooled runs
    metrics["fitted_on"] = calibration.fitted_on
    if calibration.fitted_on is not None:
        raw = quality(logits, label, 1.0)
        metrics["raw"] = {name: raw[name] for name in ("ece", "nll", "brier")}
    return metrics


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float | None:
    """Return the temperature with the lowest NLL, which has a single minimum over 1 / T, by golden-section search.

    Return None if there is no minimum: all answers are correct, or all logits are equal. Ties move towards low
    temperatures, so that the search ends at the border for a constant NLL, which is then recognised.
    """
    low, high = np.log(COLDEST), np.log(HOTTEST)
    golden = (5**0.5 - 1) / 2
    inner, outer = high - golden * (high - low), low + golden * (high - low)
    at_inner, at_outer = (nll(logits, label, np.exp(position)) for position in (inner, outer))
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
    is_flat = np.ptp(logits, axis=1).max() == 0
    return None if is_flat or not COLDEST * 1.01 < temperature < HOTTEST / 1.01 else temperature


def risk_coverage(confidence: np.ndarray, is_right: np.ndarray) -> dict[str, Any]:
    """Return the error rate of the most confident answers over the share of answers; ``aurc`` is its mean.

    Answers of equal confidence have no order, so each counts with their mean error.
    """
    levels, level = np.unique(-confidence, return_inverse=True)
    wrong = np.bincount(level, weights=~is_right) / np.bincount(level)
    errors = np.cumsum(wrong[np.sort(level)])
    N = len(confidence)
    risk = errors / np.arange(1, N + 1)
    points = np.unique(np.linspace(0, N - 1, min(N, POINTS)).round().astype(int))
    return {"coverage": ((points + 1) / N).tolist(), "risk": risk[points].tolist(), "aurc": float(risk.mean())}


def describe_calibration(metrics: dict[str, Any]) -> str:
    """Return the line that is printed below the table of scores."""
    calibration = metrics["calibration"]
    line = f"ECE {calibration['ece']:.2f} %, NLL {calibration['nll']:.3f}, AURC {metrics['risk_coverage']['aurc']:.4f}"
    if calibration["fitted_on"] is None:
        return line
    raw, temperature = calibration["raw"], calibration["temperature"]
    fitted = f"temperature{'' if temperature is None else f' {temperature:.3f}'}, fitted on {calibration['fitted_on']}"
    return f"{line}   (without the {fitted}: ECE {raw['ece']:.2f} %, NLL {raw['nll']:.3f})"


def select_calibration(content: dict[str, Any], path: Path, user_options: dict[str, Any]) -> Calibration:
    """Return the calibration of a checkpoint, or none with ``--no-calibrate``."""
    calibration = stored_calibration(content, path)
    if user_options.get("calibrate") is True and calibration is RAW:
        raise UserError(
            f"--calibrate: {path} holds no temperature; it is fitted at the end of --mode train --calibrate"
        )
    return RAW if user_options.get("calibrate") is False else calibration


def stored_calibration(content: dict[str, Any], path: Path) -> Calibration:
    """Return the calibration of a checkpoint; without one, temperature 1."""
    values = content.get("calibration")
    if values is None:
        return RAW
    values = check_type(values, StoredCalibration, f"{path}: damaged: calibration")
    return Calibration(float(values["temperature"]), values["fitted_on"], values["clips"])


# -- withheld answers -------------------------------------------------------------------------------------------------


def abstention(
    threshold: float,
    answered: np.ndarray,
    label: np.ndarray,
    predicted: np.ndarray,
    names: tuple[str, ...],
    groups: Groups | None,
) -> dict[str, Any]:
    """Return coverage and scores of the answers that reach ``threshold``; ``answered`` (N,) marks them.

    Scores are None if nothing is answered.
    """
    metrics: dict[str, Any] = {"threshold": threshold, "answered": int(answered.sum())}
    metrics["coverage"] = float(answered.mean())
    if answered.any():
        scores = score(label[answered], predicted[answered], names)
        metrics |= {name: scores[name] for name in (*SCORES, "absent_classes")}
    else:
        metrics |= dict.fromkeys(SCORES) | {"absent_classes": list(names)}
    if groups is not None:  # all groups are resampled, even those without any answer
        subset = Groups(groups.rows[answered], groups.count, groups.resampled)
        bounds = classifier_intervals(confusions(label[answered], predicted[answered], subset, len(names)))
        metrics["intervals"] = {name: bounds[name] for name in SCORES}
        metrics["intervals"]["coverage"] = coverage_interval(answered, groups)
    return metrics


def coverage_interval(answered: np.ndarray, groups: Groups) -> Interval:
    """Return the interval of the coverage, from 0 to 1."""
    if groups.count < 2:
        return None
    counts = np.stack([answered, np.ones(len(answered))], axis=1)
    sums = resample_sums(row_sums(counts, groups.rows, groups.count))
    return as_share(share_interval(answered.mean(), share(sums[:, 0], sums[:, 1]), groups.count))


def describe_abstention(metrics: dict[str, Any], total: int) -> str:
    """Return the line that is printed below the table of scores."""
    threshold, answered = metrics["threshold"], metrics["answered"]
    if not answered:
        return f"--abstain {threshold:g}: no answer is that confident; all {total} are withheld, so there are no scores"
    bounds = metrics.get("intervals") or {}
    scores = "   ".join(
        f"{name.upper()} {metrics[name]:.2f} {brackets(bounds.get(name))}".strip() for name in ("uar", "war")
    )
    absent = f"; no answer for {', '.join(metrics['absent_classes'])}" if metrics["absent_classes"] else ""
    coverage = f"{answered} of {total} answered ({100 * metrics['coverage']:.1f} %)"
    return f"--abstain {threshold:g}: {coverage}: {scores}{absent}"
