"""MAE, RMSE, Pearson and CCC against closed forms, scikit-learn and numpy."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from analysis.agreement import agreement, agreements


def series(N=50, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.normal(3, 2, N)
    return target, 0.6 * target + rng.normal(0, 1, N)


@pytest.mark.parametrize("N", [2, 3, 50])
def test_errors_are_scikit_learns_and_pearson_is_numpys(N):
    target, predicted = series(N)
    got = agreement(target, predicted)
    assert got["mae"] == pytest.approx(sk.mean_absolute_error(target, predicted))
    assert got["rmse"] == pytest.approx(math.sqrt(sk.mean_squared_error(target, predicted)))
    assert got["pearson"] == pytest.approx(np.corrcoef(target, predicted)[0, 1])


@pytest.mark.parametrize("a", [-2.0, -0.3, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("b", [-4.0, 0.0, 0.1])
def test_a_line_has_a_known_concordance(a, b):
    """y = a x + b: cov = a v, so CCC = 2 a v / (v + a² v + (m - a m - b)²)."""
    x = np.array([-1.0, 0.0, 2.0, 5.0])  # mean 1.5, variance 5.25
    expected = 2 * a * 5.25 / (5.25 + a * a * 5.25 + (1.5 - a * 1.5 - b) ** 2)
    got = agreement(x, a * x + b)
    assert got["ccc"] == pytest.approx(expected)
    assert got["pearson"] == pytest.approx(math.copysign(1, a))
    assert got["mae"] == pytest.approx(np.mean([abs((a - 1) * v + b) for v in (-1, 0, 2, 5)]))


def test_concordance_by_hand():
    """Means 2 and 3, variances 2/3 and 8/3, covariance 4/3: 2 · 4/3 / (10/3 + 1)."""
    got = agreement(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 5.0]))
    assert got["ccc"] == pytest.approx(8 / 13)
    assert got == {"mae": 1.0, "rmse": pytest.approx(math.sqrt(5 / 3)), "pearson": pytest.approx(1), "ccc": got["ccc"]}


def test_it_is_symmetric_and_concordance_never_exceeds_correlation():
    target, predicted = series()
    one, other = agreement(target, predicted), agreement(predicted, target)
    assert one == pytest.approx(other)
    assert 0 < one["ccc"] < one["pearson"] < 1


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -3.3, 1e-9, 1e9 / 3])
@pytest.mark.parametrize("N", [1, 2, 3, 7, 10, 100])
def test_where_one_is_constant_nothing_agrees(value, N):
    """Also where the mean of equal numbers is not exactly that number."""
    flat, other = np.full(N, value), np.linspace(-1, 2, N) if N > 1 else np.array([5.0])
    for target, predicted in ((flat, other), (other, flat), (flat, flat), (flat, flat + 1)):
        got = agreement(target, predicted)
        assert got["pearson"] == pytest.approx(0, abs=1e-12) and got["ccc"] == pytest.approx(0, abs=1e-12)
        assert got["mae"] == pytest.approx(sk.mean_absolute_error(target, predicted))


def test_unknown_targets_are_left_out_and_the_rest_is_counted():
    target, predicted = series(20)
    both = np.stack([target, target], axis=1)
    both[[0, 3, 19], 1] = np.nan
    kept = [row for row in range(20) if row not in (0, 3, 19)]
    got = agreements(both, np.stack([predicted, predicted], axis=1), ("all", "some"))
    assert got["targets"]["all"] == agreement(target, predicted) | {"clips": 20}
    assert got["targets"]["some"] == pytest.approx(agreement(target[kept], predicted[kept]) | {"clips": 17})


def test_the_mean_is_over_the_targets():
    target, predicted = series(20)
    other = predicted[::-1].copy()
    got = agreements(np.stack([target] * 2, axis=1), np.stack([predicted, other], axis=1), ("one", "two"))
    for kind in ("mae", "rmse", "pearson", "ccc"):
        assert got["mean"][kind] == pytest.approx((got["targets"]["one"][kind] + got["targets"]["two"][kind]) / 2)
