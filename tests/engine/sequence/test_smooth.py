"""Smoothing against plain loops; it reaches over no gap and over no end."""

import time
from collections import Counter

import numpy as np
import pytest

from engine.sequence.smooth import centred_mean, majority
from utils.errors import UserError


def neighbours(n, t, before, after, missing):
    """The frames of a window, out to the nearest gap or end on either side; ``t`` itself first."""
    found = [t]
    for step, reach in ((-1, before), (1, after)):
        for distance in range(1, reach + 1):
            place = t + step * distance
            if not 0 <= place < n or missing[place]:
                break
            found.append(place)
    return found


def mean_by_loops(values, width, missing):
    out = []
    for t, value in enumerate(values):
        window = [values[i] for i in neighbours(len(values), t, width // 2, width // 2, missing)]
        out.append(value if missing[t] else sum(window) / len(window))
    return out


def majority_by_loops(classes, width, missing):
    out = []
    for t, own in enumerate(classes):
        window = neighbours(len(classes), t, width // 2, width - width // 2 - 1, missing)
        counts = Counter(classes[i] for i in window)
        nearest = sorted(window, key=lambda i: (abs(i - t), i > t))
        winner = next(classes[i] for i in nearest if counts[classes[i]] == max(counts.values()))
        out.append(own if missing[t] else winner)
    return out


def gaps(n, rng):
    yield None
    yield rng.random(n) < 0.2
    yield np.ones(n, dtype=bool)


@pytest.mark.parametrize("width", [1, 3, 5, 25])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 30, 77])
def test_the_mean_equals_the_plain_loop(width, n):
    rng = np.random.default_rng(n)
    values = rng.uniform(-1, 1, (n, 2))
    for missing in gaps(n, rng):
        got = centred_mean(values, width, missing)
        for k in (0, 1):
            expected = mean_by_loops(values[:, k].tolist(), width, [False] * n if missing is None else missing)
            assert got[:, k].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 40])
@pytest.mark.parametrize("n", [1, 2, 5, 30, 130])
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_the_majority_equals_the_plain_loop(width, n, classes):
    rng = np.random.default_rng(n)
    for _ in range(5):
        values = rng.integers(0, classes, n)
        for missing in gaps(n, rng):
            expected = majority_by_loops(values.tolist(), width, [False] * n if missing is None else missing)
            assert majority(values, width, missing).tolist() == expected


def test_of_equally_frequent_classes_the_own_one_wins():
    assert majority(np.array([0, 0, 1, 1]), 3).tolist() == [0, 0, 1, 1]
    assert majority(np.array([0, 1, 2]), 3).tolist() == [0, 1, 2]
    assert majority(np.array([5, 5, 0, 3, 3]), 5)[2] == 5  # both next to it: the one before


def test_a_blink_disappears_and_a_change_stays():
    classes = np.array([4] * 50 + [1] * 3 + [4] * 50 + [6] * 60)
    assert majority(classes).tolist() == [4] * 103 + [6] * 60


def test_a_step_stays_a_step_at_a_gap():
    values, missing = np.array([[0.0]] * 4 + [[9.0]] + [[1.0]] * 4), np.arange(9) == 4
    assert centred_mean(values, 5, missing).tolist() == values.tolist()


def test_nothing_comes_from_beyond_the_video():
    values = np.full((30, 2), 0.7, dtype=np.float32)
    got = centred_mean(values, 25)
    assert got.dtype == np.float32 and got == pytest.approx(values)


def test_what_comes_in_is_left_alone():
    values, classes = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 3
    kept, kept_classes = values.copy(), classes.copy()
    centred_mean(values, 5), majority(classes, 4)
    assert (values == kept).all() and (classes == kept_classes).all()


def test_a_long_video_takes_moments():
    rng, began = np.random.default_rng(0), time.perf_counter()
    centred_mean(rng.normal(size=(100_000, 2)), 25)
    majority(rng.integers(0, 8, 100_000))
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("width", [0, 2, 40, -3])
def test_a_mean_has_a_centre(width):
    with pytest.raises(UserError, match=f"over {width} frames has no centre"):
        centred_mean(np.zeros((3, 2)), width)


def test_a_majority_is_of_something():
    with pytest.raises(UserError, match="of 0 frames"):
        majority(np.zeros(3, dtype=int), 0)
