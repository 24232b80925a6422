"""Scores of classes equal scikit-learn's; errors, Pearson and CCC of numbers equal closed forms and libraries."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn import metrics as sk

from analysis.metrics import agreement, agreements, score, table

NAMES = ("Calm", "Glad", "Lost", "Tired", "Away")
PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_every_score_is_scikit_learns(pairs):
    label, predicted = np.array(pairs).T
    scores = score(label, predicted, NAMES)
    present = sorted(set(label.tolist()))
    recalls = sk.recall_score(label, predicted, labels=range(5), average=None, zero_division=0)
    assert scores["uar"] == pytest.approx(100 * sk.balanced_accuracy_score(label, predicted))
    assert scores["war"] == pytest.approx(100 * sk.accuracy_score(label, predicted))
    assert scores["macro_f1"] == pytest.approx(100 * sk.f1_score(label, predicted, average="macro", zero_division=0))
    assert scores["confusion"] == sk.confusion_matrix(label, predicted, labels=range(5)).tolist()
    for c, name in enumerate(NAMES):
        support = int((label == c).sum())
        assert scores["per_class"][name]["support"] == support
        assert scores["per_class"][name]["recall"] == (pytest.approx(100 * recalls[c]) if support else None)
    assert scores["absent_classes"] == [name for c, name in enumerate(NAMES) if c not in present]
    assert scores["num_clips"] == len(pairs) and scores["classes"] == list(NAMES)


def test_the_table_shows_recall_support_and_what_one_clip_is_worth():
    label = np.array([0] * 345 + [1] * 32 + [2] * 7 + [3] * 39 + [4] * 105)
    lines = table(score(label, label, NAMES)).splitlines()
    row = next(line for line in lines if line.startswith("Lost"))
    assert row.split() == ["Lost", "100.00%", "7", "2.86", "UAR"]  # 100 / (7 · 5)
    assert "UAR 100.00" in lines[-1] and "528 clips" in lines[-1]
    lines = table(score(np.array([0, 1]), np.array([0, 1]), NAMES)).splitlines()
    assert next(line for line in lines if line.startswith("Lost")).split() == ["Lost", "absent", "0"]


# -- numbers --------------------------------------------------------------------------------------------------------


def series(N=50, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.normal(3, 2, N)
    return target, 0.6 * target + rng.normal(0, 1, N)


@pytest.mark.parametrize("N", [2, 3, 50])
def test_errors_are_scikit_learns_and_pearson_is_scipys(N):
    target, predicted = series(N)
    scores = agreement(target, predicted)
    assert scores["mae"] == pytest.approx(sk.mean_absolute_error(target, predicted))
    assert scores["rmse"] == pytest.approx(math.sqrt(sk.mean_squared_error(target, predicted)))
    assert scores["pearson"] == pytest.approx(pearsonr(target, predicted).statistic)
    assert agreement(predicted, target) == pytest.approx(scores)  # symmetric
    assert N < 50 or 0 < scores["ccc"] < scores["pearson"] < 1


@pytest.mark.parametrize("a", [-2.0, -0.3, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("b", [-4.0, 0.0, 0.1])
def test_a_line_has_a_known_concordance(a, b):
    """y = a x + b: cov = a v, so CCC = 2 a v / (v + a² v + (m - a m - b)²)."""
    x = np.array([-1.0, 0.0, 2.0, 5.0])  # mean 1.5, variance 5.25
    scores = agreement(x, a * x + b)
    assert scores["ccc"] == pytest.approx(2 * a * 5.25 / (5.25 + a * a * 5.25 + (1.5 - a * 1.5 - b) ** 2))
    assert scores["pearson"] == pytest.approx(math.copysign(1, a))
    assert scores["mae"] == pytest.approx(np.mean([abs((a - 1) * v + b) for v in (-1, 0, 2, 5)]))


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -3.3, 1e-9, 1e9 / 3])
@pytest.mark.parametrize("N", [1, 2, 3, 7, 10, 100])
def test_concordance_with_a_constant_is_zero(value, N):
    """Also if the computed mean of equal numbers is not exactly that number."""
    constant, line = np.full(N, value), np.linspace(-1, 2, N) if N > 1 else np.array([5.0])
    for target, predicted in ((constant, line), (line, constant), (constant, constant), (constant, constant + 1)):
        scores = agreement(target, predicted)
        assert scores["pearson"] == pytest.approx(0, abs=1e-12) and scores["ccc"] == pytest.approx(0, abs=1e-12)
        assert scores["mae"] == pytest.approx(sk.mean_absolute_error(target, predicted))


def test_unknown_targets_are_left_out_and_the_mean_is_over_the_targets():
    target, predicted = series(20)
    targets = np.stack([target, target], axis=1)
    targets[[0, 3, 19], 1] = np.nan
    rows = [row for row in range(20) if row not in (0, 3, 19)]
    scores = agreements(targets, np.stack([predicted, predicted[::-1]], axis=1), ("all", "some"))
    assert scores["targets"]["all"] == agreement(target, predicted) | {"clips": 20}
    assert scores["targets"]["some"] == pytest.approx(agreement(target[rows], predicted[::-1][rows]) | {"clips": 17})
    for kind in ("mae", "rmse", "pearson", "ccc"):
        pair = scores["targets"]["all"][kind], scores["targets"]["some"][kind]
        assert scores["mean"][kind] == pytest.approx(sum(pair) / 2)
