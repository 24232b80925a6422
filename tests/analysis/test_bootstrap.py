"""Drawing again: sums of drawn groups are those of lists that are drawn again, and intervals cover the truth."""

import numpy as np
import pytest

from analysis.bootstrap import (
    draw_kinds,
    draw_sums,
    draw_weights,
    group_sums,
    interval,
    kinds_of,
    replicate_sums,
    row_sums,
)


def test_groups_add_what_their_clips_add():
    contributions = np.arange(12.0).reshape(6, 2)
    got = group_sums(contributions, ["b", "a", "b", "c", "a", "b"])
    assert got.tolist() == [[10, 12], [14, 17], [6, 7]]  # a: 2 + 8, b: 0 + 4 + 10, c: 6
    assert row_sums(contributions, np.array([1, 0, 1, 2, 0, 1]), 4).tolist() == [*got.tolist(), [0, 0]]


def test_every_replicate_draws_as_many_groups_as_there_are():
    weights = draw_weights(7, replicates=500)
    assert weights.shape == (500, 7) and (weights.sum(axis=1) == 7).all() and weights.min() == 0
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.2)
    assert np.array_equal(weights, draw_weights(7, replicates=500))
    assert not np.array_equal(weights, draw_weights(7, replicates=500, seed=1))


def test_a_replicate_is_the_sum_of_the_drawn_groups():
    rng = np.random.default_rng(0)
    sums, weights = rng.normal(size=(5, 2, 3)), draw_weights(5, replicates=300)
    got = replicate_sums(sums, weights)
    for row in (0, 255, 256, 299):
        drawn = [sums[group] for group in range(5) for _ in range(weights[row, group])]
        assert len(drawn) == 5 and np.allclose(got[row], np.sum(drawn, axis=0))


def test_alike_groups_drawn_by_kind_spread_as_drawn_one_by_one():
    """300 clips, 30 % right: the spread of the share is that of the binomial distribution."""
    right = (np.arange(300) < 90).astype(float)[:, None]
    by_kind, one_by_one = draw_sums(right, 20000)[:, 0], replicate_sums(right, draw_weights(300, 20000))[:, 0]
    for drawn in (by_kind, one_by_one):
        assert drawn.mean() == pytest.approx(90, abs=0.3)
        assert drawn.std() == pytest.approx((300 * 0.3 * 0.7) ** 0.5, rel=0.03)
    assert np.percentile(by_kind, [2.5, 97.5]) == pytest.approx(np.percentile(one_by_one, [2.5, 97.5]), abs=1)


def test_groups_that_add_the_same_are_one_kind():
    sums = np.array([[1, 0], [0, 2], [1, 0], [0, 1], [1, 0]])
    kinds, sizes = kinds_of(sums)
    assert {tuple(kind): size for kind, size in zip(kinds.tolist(), sizes, strict=True)} == {
        (1, 0): 3,
        (0, 2): 1,
        (0, 1): 1,
    }


def test_kinds_are_drawn_by_how_many_they_are():
    drawn = draw_kinds(np.array([6, 3, 1]), replicates=5000)
    assert (drawn.sum(axis=1) == 10).all() and drawn.mean(axis=0) == pytest.approx([6, 3, 1], abs=0.1)


def test_many_clips_cost_neither_time_nor_memory():
    """Weights of each of them would take 16 GB."""
    right = (np.random.default_rng(0).random(1_000_000) < 0.5).astype(float)[:, None]
    assert draw_sums(right).shape == (2000, 1)


def test_the_middle_of_the_values_that_can_be_told():
    values = np.arange(0.0, 101.0)
    assert interval(values) == pytest.approx([2.5, 97.5]) and interval(values, level=80) == pytest.approx([10, 90])
    assert interval(np.append(values, [np.nan] * 50)) == pytest.approx([2.5, 97.5])
    assert interval(np.full(3, np.nan)) is None


def test_a_95_percent_interval_covers_the_truth_as_often_as_it_says():
    """300 samples of 120 draws of a share of 0.7."""
    rng, covered = np.random.default_rng(3), 0
    for sample in range(300):
        right = (rng.random(120) < 0.7).astype(float)[:, None]
        low, high = interval(draw_sums(right, seed=sample)[:, 0] / 120)
        covered += low <= 0.7 <= high
    assert 0.90 <= covered / 300 <= 0.99
