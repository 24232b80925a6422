"""Intervals of agreement against lists that are drawn again one by one."""

import numpy as np
import pytest

from analysis.agreement import (
    KINDS,
    agreement,
    agreement_intervals,
    agreement_of,
    grouped_moments,
    moments,
    shift_of,
)
from analysis.bootstrap import draw_kinds, interval, kinds_of
from analysis.intervals import grouped

DRAWS = 120


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """The loops below are slow."""
    monkeypatch.setattr("analysis.bootstrap.draw_sums.__defaults__", (DRAWS, 0))


def by_definition(x, y):
    """CCC of two lists."""
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def example(G=9, N=200, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    names = [f"s{g}" for g in rng.integers(G, size=N)]
    target = rng.normal(size=(N, 2)) + np.array([int(name[1:]) for name in names])[:, None] / 3 + offset
    predicted = 0.6 * target + rng.normal(size=(N, 2)) + 0.2
    target[rng.random(N) < 0.3, 1] = np.nan
    return target, predicted, names


@pytest.mark.parametrize("offset", [0.0, 1e6], ids=["near 0", "a million away"])
def test_agreement_intervals_are_those_of_lists_drawn_again(offset):
    """A million away squares have 12 digits before those that count."""
    target, predicted, names = example(offset=offset)
    groups = grouped(names, "subjects")
    got = agreement_intervals(target, predicted, ("one", "two"), groups)
    sums, _ = grouped_moments(target, predicted, groups)
    kinds, sizes = kinds_of(sums)
    group_of_kind = [next(g for g in range(9) if (sums[g] == kind).all()) for kind in kinds]
    found = {kind: [] for kind in KINDS}
    for weights in draw_kinds(sizes, DRAWS):
        rows = [np.flatnonzero(groups.rows == group_of_kind[k]) for k, n in enumerate(weights) for _ in range(n)]
        rows = np.concatenate(rows)
        scores = []
        for k in (0, 1):
            there = rows[~np.isnan(target[rows, k])]
            x, y = target[there, k], predicted[there, k]
            errors = {"mae": np.abs(x - y).mean(), "rmse": ((x - y) ** 2).mean() ** 0.5}
            scores.append(errors | {"pearson": np.corrcoef(x, y)[0, 1], "ccc": by_definition(x, y)})
        for kind in KINDS:
            found[kind].append([one[kind] for one in scores])
    for kind in KINDS:
        values = np.array(found[kind])
        for k, name in enumerate(("one", "two")):
            assert got["targets"][name][kind] == pytest.approx(interval(values[:, k]), rel=1e-5, abs=1e-9), kind
        assert got["mean"][kind] == pytest.approx(interval(values.mean(axis=1)), rel=1e-5, abs=1e-9), kind


def test_a_replicate_whose_numbers_are_all_the_same_has_no_concordance():
    """The second group's prediction is constant: drawn alone it has 0, as two such lists have."""
    target, predicted = np.array([1.0, 2.0, 5.0, 7.0]), np.array([1.0, 2.0, 1 / 3, 1 / 3])
    sums = moments(target, predicted)
    alone = agreement_of(2 * sums[2:].sum(axis=0), shift_of(target, predicted))
    assert alone["ccc"] == alone["pearson"] == 0 == agreement(target[2:], predicted[2:])["ccc"]
    assert np.isnan(agreement_of(np.zeros(8), 0.0)["ccc"])  # nothing was drawn at all


def test_numbers_that_agree_with_nothing_have_no_point_for_an_interval():
    """A constant prediction has a CCC of 0 in every drawing, which says nothing of other subjects."""
    target, predicted, names = example(G=6)
    got = agreement_intervals(target, np.full_like(predicted, 3), ("one", "two"), grouped(names, "subjects"))
    assert got["mean"]["ccc"] is None and got["targets"]["one"]["pearson"] is None
    assert got["targets"]["one"]["mae"][0] < got["targets"]["one"]["mae"][1]


def test_one_subject_has_no_interval():
    target, predicted, names = example(G=1)
    got = agreement_intervals(target, predicted, ("one", "two"), grouped(names, "subjects"))
    assert got["mean"]["ccc"] is None and got["targets"]["two"]["pearson"] is None
