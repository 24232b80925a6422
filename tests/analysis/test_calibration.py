"""Calibration against numbers by hand, scikit-learn, and known temperatures."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from analysis.calibration import (
    RAW,
    Calibration,
    brier,
    calibration_metrics,
    expected_error,
    fit_temperature,
    nll,
    reliability_bins,
    risk_coverage,
    select_calibration,
    softmax,
    stored_calibration,
)
from analysis.results import read_predictions
from sweep.plan import PlannedRun
from sweep.scores import FinishedRun, calibration_of
from utils.errors import UserError

# -- ECE ------------------------------------------------------------------------------------------------------------


def test_expected_error_by_hand():
    """Two bins: 0.2 and 0.4, one of two right; 0.6, 0.9 and 0.9, all right: 2/5 · |0.5 - 0.3| + 3/5 · |1 - 0.8|."""
    confidence, right = np.array([0.2, 0.4, 0.6, 0.9, 0.9]), np.array([True, False, True, True, True])
    bins = reliability_bins(confidence, right, bins=2)
    assert [row["count"] for row in bins] == [2, 3]
    assert [row["confidence"] for row in bins] == pytest.approx([0.3, 0.8])
    assert [row["accuracy"] for row in bins] == pytest.approx([0.5, 1])
    assert expected_error(bins) == pytest.approx(20)


def test_fifteen_bins_hold_every_clip_once():
    confidence = np.array([0.0, 1 / 15, 0.0666, 0.5, 0.999, 1.0])
    bins = reliability_bins(confidence, np.ones(6, dtype=bool))
    assert len(bins) == 15 and bins[0]["low"] == 0 and bins[-1]["high"] == 1
    assert {k: row["count"] for k, row in enumerate(bins) if row["count"]} == {0: 2, 1: 1, 7: 1, 14: 2}
    assert bins[3] == {"low": 0.2, "high": pytest.approx(4 / 15), "count": 0, "confidence": None, "accuracy": None}
    assert all(a["high"] == b["low"] for a, b in zip(bins, bins[1:], strict=False))


def sample(N=20000, C=4, sharpness=1.0, seed=0):
    """Labels sampled from the softmax of logits, and these logits multiplied by a factor."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (N, C))
    chances = softmax(logits).cumsum(axis=1)
    label = np.minimum((rng.random(N)[:, None] > chances).sum(axis=1), C - 1)
    return sharpness * logits, label


def test_losses_are_scikit_learns():
    logits, label = sample(N=300)
    probabilities = softmax(logits)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(300))
    assert nll(logits, label) == pytest.approx(log_loss(label, probabilities))
    expected = sum(brier_score_loss(label == c, probabilities[:, c]) for c in range(4))
    assert brier(probabilities, label) == pytest.approx(expected)
    metrics = calibration_metrics(logits, label, RAW)
    assert (metrics["temperature"], metrics["fitted_on"]) == (1.0, None) and "raw" not in metrics


def test_a_confident_wrong_prediction_has_a_finite_loss():
    assert nll(np.array([[2000.0, 0.0]], dtype=np.float32), np.array([1])) == pytest.approx(2000)


# -- one temperature ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharpness", [0.02, 0.5, 1.0, 3.0, 100.0])
def test_the_temperature_undoes_a_known_factor(sharpness):
    """The best temperature of k · logits is k times that of the logits, and near 1 for calibrated logits."""
    honest, label = sample()
    base, fitted = fit_temperature(honest, label), fit_temperature(sharpness * honest, label)
    assert base == pytest.approx(1, abs=0.03) and fitted == pytest.approx(sharpness * base, rel=1e-4)


def test_the_temperature_of_two_kinds_of_clips_in_closed_form():
    """A margin of 2 that is correct 9 times in 10 is calibrated at 2 / T = log 9."""
    logits, label = np.tile([2.0, 0.0], (10, 1)), np.array([0] * 9 + [1])
    assert fit_temperature(logits, label) == pytest.approx(2 / np.log(9), rel=1e-4)


@pytest.mark.parametrize(
    ("logits", "label"),
    [
        ([[3.0, 0.0], [0.0, 1.0]], [0, 1]),  # all correct: the best temperature is the lowest
        ([[3.0, 0.0], [3.0, 0.0]], [1, 1]),  # all wrong: the best temperature is the highest
        ([[1.0, 1.0], [2.0, 2.0]], [0, 1]),  # equal logits: every temperature is the same
    ],
)
def test_if_there_is_no_best_temperature_none_is_returned(logits, label):
    assert fit_temperature(np.array(logits), np.array(label)) is None


def test_a_temperature_changes_probabilities_and_no_predicted_class():
    logits, label = sample(N=5000, sharpness=4)
    fitted = Calibration(fit_temperature(logits, label), "val", 5000)
    probabilities = softmax(logits, fitted.temperature)
    assert (probabilities.argmax(axis=1) == logits.argmax(axis=1)).all()
    metrics = calibration_metrics(logits, label, fitted)
    assert metrics["raw"]["ece"] > 8 > 5 > metrics["ece"] and metrics["raw"]["nll"] > metrics["nll"]
    assert metrics["raw"]["brier"] > metrics["brier"] and metrics["fitted_on"] == "val"
    assert metrics["temperature"] == fitted.temperature


def test_pooled_runs_keep_their_temperatures():
    logits, label = sample(N=6)
    pooled = Calibration(np.array([1.0, 1.0, 1.0, 2.5, 2.5, 2.5]), "val")
    assert np.allclose(softmax(logits, pooled.temperature)[:3], softmax(logits[:3]))
    assert np.allclose(softmax(logits, pooled.temperature)[3:], softmax(logits[3:], 2.5))
    assert calibration_metrics(logits, label, pooled)["temperature"] is None


def test_a_series_reads_persons_and_temperatures_from_its_runs(tmp_path):
    for fold, rows in (("fold-1", "x,anna,a,1,0\ny,,b,0,1"), ("fold-2", "z,ben,a,0,1")):
        (tmp_path / fold).mkdir()
        (tmp_path / fold / "predictions.csv").write_text(f"clip,person,label,logit_a,logit_b\n{rows}\n")
        (tmp_path / fold / "metrics.json").write_text("{}")  # a run folder from before calibration existed
    (tmp_path / "fold-1/metrics.json").write_text('{"calibration": {"temperature": 1.5, "fitted_on": "val"}}')
    folders = [tmp_path / "fold-1", tmp_path / "fold-2"]
    calibrated = calibration_of([FinishedRun(PlannedRun("", {}), folder) for folder in folders])
    assert read_predictions([folder / "predictions.csv" for folder in folders]).persons == ["anna", None, "ben"]
    assert calibrated.fitted_on == "val"
    assert calibrated.temperature.tolist() == [1.5, 1.5, 1.0]


def test_raw_probabilities_are_the_softmax_to_the_last_bit():
    logits = np.random.default_rng(0).normal(0, 9, (50, 5)).astype(np.float32)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = softmax(logits, RAW.temperature)
    assert probabilities.dtype == np.float32
    assert np.array_equal(probabilities, powers / powers.sum(axis=1, keepdims=True))


# -- risk over coverage ---------------------------------------------------------------------------------------------


def test_risk_over_coverage_by_hand():
    """Correct, wrong, correct, correct in order of confidence: risks 0, 1/2, 1/3, 1/4."""
    metrics = risk_coverage(np.array([0.6, 0.9, 0.7, 0.8]), np.array([True, True, True, False]))
    assert metrics["coverage"] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert metrics["risk"] == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert metrics["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_predictions_of_equal_confidence_have_no_order():
    """With equal confidences every coverage has the risk of all; the order of the list has no effect."""
    right = np.array([True, False, False, True])
    for order in ([0, 1, 2, 3], [1, 2, 3, 0]):
        metrics = risk_coverage(np.full(4, 0.5), right[order])
        assert metrics["risk"] == pytest.approx([0.5] * 4) and metrics["aurc"] == pytest.approx(0.5)
    metrics = risk_coverage(np.array([0.5, 0.9, 0.5]), np.array([False, True, True]))
    assert metrics["risk"] == pytest.approx([0, 0.25, 1 / 3])
    assert risk_coverage(np.array([0.4]), np.array([False])) == {"coverage": [1.0], "risk": [1.0], "aurc": 1.0}


def test_a_long_curve_is_thinned_and_its_area_is_not():
    rng = np.random.default_rng(0)
    confidence, right = rng.random(5000), rng.random(5000) < 0.7
    metrics = risk_coverage(confidence, right)
    order = np.argsort(-confidence)
    risk = np.cumsum(~right[order]) / np.arange(1, 5001)
    assert len(metrics["risk"]) == len(metrics["coverage"]) == 101 and metrics["coverage"][-1] == 1
    assert metrics["aurc"] == pytest.approx(risk.mean()) and metrics["risk"][-1] == pytest.approx((~right).mean())
    for coverage, value in zip(metrics["coverage"], metrics["risk"], strict=True):
        assert value == pytest.approx(risk[round(5000 * coverage) - 1])


# -- in a checkpoint ------------------------------------------------------------------------------------------------

FILE = Path("best.pt")
GOOD = {"temperature": 1.7, "fitted_on": "val", "clips": 30}


def test_a_checkpoint_keeps_it_and_the_user_may_leave_it_out():
    assert stored_calibration({"calibration": GOOD}, FILE).as_dict() == GOOD
    assert stored_calibration({}, FILE) is RAW
    assert select_calibration({"calibration": GOOD}, FILE, {}).temperature == 1.7
    assert select_calibration({"calibration": GOOD}, FILE, {"calibrate": True}).temperature == 1.7
    assert select_calibration({"calibration": GOOD}, FILE, {"calibrate": False}) is RAW
    with pytest.raises(UserError, match="--mode train --calibrate"):
        select_calibration({}, FILE, {"calibrate": True})


@pytest.mark.parametrize(
    "damaged",
    [
        "hot", 1.7, [], {}, GOOD | {"temperature": "1"}, GOOD | {"temperature": 0.0}, GOOD | {"temperature": -1.0},
        GOOD | {"temperature": float("nan")}, GOOD | {"temperature": float("inf")}, GOOD | {"clips": None},
    ],
)  # fmt: skip
def test_a_damaged_temperature_gives_a_one_line_error(damaged):
    with pytest.raises(UserError, match=r"best\.pt: damaged") as caught:
        stored_calibration({"calibration": damaged}, FILE)
    assert "\n" not in str(caught.value)
