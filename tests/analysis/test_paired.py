"""Two models on the same clips: intervals and p of their difference against closed forms, McNemar by counting."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import binom

from analysis.intervals import classifier_intervals, confusions, make_groups
from analysis.paired import Pair, holm, mcnemar, mean_intervals, mean_over_seeds, sd, sign_p

C = 3
SCORES = ("uar", "war", "macro_f1")


def clips(N: int) -> list[str]:
    return [f"clip {n}" for n in range(N)]


def persons(N: int, clips_each: int) -> list[str]:
    return [f"person {n // clips_each:02d}" for n in range(N)]


def wrong(label: np.ndarray, rows: np.ndarray | list[int] | range) -> np.ndarray:
    """Return predictions that are correct except for ``rows``."""
    answers = label.copy()
    answers[rows] = (answers[rows] + 1) % C
    return answers


def pair(label, a, b, names=None, **settings) -> Pair:
    groups = make_groups(names or clips(len(label)), "clips")
    return Pair(label, np.atleast_2d(a), np.atleast_2d(b), groups, C, **settings)


@pytest.mark.parametrize("only_a", [0, 1, 3, 10, 47, 300])
@pytest.mark.parametrize("only_b", [0, 1, 4, 10, 51, 280])
def test_mcnemar_is_the_exact_sign_test(only_a, only_b):
    """The p-value is twice the probability of this number of heads, or fewer, in as many tosses."""
    n = only_a + only_b
    tail = sum(Fraction(comb(n, k), 2**n) for k in range(min(only_a, only_b) + 1))
    assert mcnemar(only_a, only_b) == pytest.approx(float(min(1, 2 * tail)), rel=1e-9)


def test_mcnemar_of_many_clips_overflows_nothing():
    assert mcnemar(9_900, 10_100) == pytest.approx(2 * binom.cdf(9_900, 20_000, 0.5), rel=1e-9)
    assert mcnemar(0, 5_000) == pytest.approx(2.0**-4999)


def test_models_with_equal_predictions_do_not_differ():
    label = np.arange(60) % C
    same = wrong(label, [3, 9, 20])
    models = pair(label, same, same.copy())
    assert models.is_identical
    for name in SCORES:
        uar = models.difference(name)
        assert (uar.value, uar.interval, uar.p, uar.identical, uar.is_significant) == (0, [0, 0], 1, True, False)
    equal = pair(label, wrong(label, [0]), wrong(label, [3])).difference("war")  # of other clips
    assert equal.value == 0 and not equal.identical and equal.interval[0] < 0 < equal.interval[1]


def test_the_p_value_of_one_differing_clip_is_the_chance_to_sample_it():
    """The difference of a replicate is the number of times that the clip is sampled: Binomial(N, 1/N) / N."""
    label = np.arange(60) % C
    war = pair(label, wrong(label, [7]), label).difference("war")
    assert war.value == pytest.approx(100 / 60) and not war.is_significant
    assert war.interval == pytest.approx([0, 100 / 60 * binom.ppf(0.975, 60, 1 / 60)])
    assert war.p == 1, "as the sign test of one clip"


def test_the_interval_has_the_spread_of_a_paired_mean():
    """For WAR with clips as groups: the standard error of the mean of the clips' differences."""
    rng, N = np.random.default_rng(0), 900
    label = rng.integers(C, size=N)
    a, b = wrong(label, rng.random(N) < 0.4), wrong(label, rng.random(N) < 0.3)
    gained = (b == label).astype(float) - (a == label)
    war = pair(label, a, b).difference("war")
    error = 100 * gained.std() / np.sqrt(N)
    assert war.value == pytest.approx(100 * gained.mean())
    assert war.interval == pytest.approx([war.value - 1.96 * error, war.value + 1.96 * error], abs=0.25 * error)
    assert war.is_significant and war.p < 0.01


def test_clips_of_one_person_are_resampled_together():
    """All differences are of one person, who is missing in a third of the replicates."""
    label = np.arange(120) % C
    a = wrong(label, range(12))
    assert pair(label, a, label).difference("war").is_significant
    war = pair(label, a, label, persons(120, 12)).difference("war")
    assert war.interval[0] == 0 and not war.is_significant


def test_a_model_that_is_better_for_every_person_has_a_one_sided_interval():
    label, a = np.arange(240) % C, wrong(np.arange(240) % C, range(0, 240, 4))
    uar = pair(label, a, label, persons(240, 20)).difference("uar")
    assert uar.interval[0] > 0 and uar.is_significant and uar.p == pytest.approx(2 / 2001)
    back = pair(label, label, a, persons(240, 20)).difference("uar")
    assert back.value == -uar.value and back.interval == pytest.approx([-uar.interval[1], -uar.interval[0]])


@pytest.mark.parametrize(
    ("N", "clips_each", "rows", "differing", "p"),
    [
        (60, 20, range(0, 60, 4), 3, 0.25),  # three persons are not enough, even if all agree
        (200, 10, range(50), 5, 0.0625),  # five of twenty persons, all of them better: as five alone, 2 in 2 ** 5
    ],
)
def test_few_persons_give_no_small_p_value(N, clips_each, rows, differing, p):
    label = np.arange(N) % C
    war = pair(label, wrong(label, rows), label, persons(N, clips_each)).difference("war")
    assert war.interval[0] > 0 and (war.differing, war.p) == (differing, p) and not war.is_significant


@pytest.mark.parametrize(("N", "p"), [(2, 0.5), (4, 0.125), (8, 2 / 2**8)])
def test_a_class_of_few_clips_gives_no_small_p_value_among_many_others(N, p):
    """Only clips of a small class differ: p is that of the sign test of those clips, without the other 200."""
    label = np.concatenate([np.zeros(N, dtype=int), np.arange(200) % 2 + 1])
    models = pair(label, wrong(label, range(N)), label)
    recall, uar = models.difference("recall", 0), models.difference("uar")
    assert (recall.value, recall.interval, recall.p) == (100, None, pytest.approx(p))
    assert uar.differing == N and uar.p >= p and uar.is_significant == (N == 8)


def test_p_counts_zeros_on_both_sides():
    assert sign_p(np.array([-1.0, 0, 1, 1]), 50) == 1.0
    assert sign_p(np.concatenate([np.full(99, 1.0), np.full(1, -1.0)]), 50) == pytest.approx(4 / 101)


def test_recalls_differ_by_class_and_an_absent_class_has_none():
    label = np.array([0, 1] * 50)
    models = pair(label, np.where(label == 0, 2, label), label)
    assert models.difference("recall", 0).value == 100 and models.difference("recall", 1).value == 0
    assert models.difference("recall", 2).value is None and models.difference("recall", 2).p is None
    assert models.scores("uar") == (50, 100)


# -- seeds ----------------------------------------------------------------------------------------------------------


def test_the_score_of_several_seeds_is_their_mean():
    label = np.arange(30) % C
    models = pair(label, np.stack([wrong(label, range(3)), wrong(label, range(9))]), label)
    assert models.scores("war") == (pytest.approx(80), 100)
    assert models.difference("war").value == pytest.approx(20)


@pytest.mark.parametrize("S", [2, 3, 5, 10])
def test_resampled_seeds_vary_like_a_mean_over_seeds(S):
    """If scores do not vary over persons, only the noise of training remains: its standard error is sd / sqrt(S)."""
    values = np.random.default_rng(S).normal(size=S)
    means = mean_over_seeds(np.tile(values, (2000, 1)))
    assert means.std() == pytest.approx(np.std(values, ddof=1) / np.sqrt(S), rel=0.08)
    assert means.mean() == pytest.approx(values.mean(), abs=0.15)


def width(difference) -> float:
    return difference.interval[1] - difference.interval[0]


def test_equal_seeds_are_resampled_together_and_others_separately():
    """Each seed changes both models equally, so the paired difference has no such noise."""
    label = np.arange(90) % C
    a, b = (np.stack([wrong(label, range(n + extra)) for n in (0, 15, 30)]) for extra in (0, 3))
    paired, unpaired = (pair(label, a, b, same_seeds=same).difference("war") for same in (True, False))
    assert width(unpaired) > 2 * width(paired)


def test_copies_of_one_model_have_its_interval():
    rng = np.random.default_rng(1)
    label = rng.integers(C, size=200)
    model = wrong(label, rng.random(200) < 0.3)
    groups = make_groups([f"person {n % 20}" for n in range(200)], "persons")
    bounds = classifier_intervals(confusions(label, model, groups, C))
    means = mean_intervals(label, np.stack([model] * 4), groups, C)
    for name in SCORES:
        assert means[name] == pytest.approx(bounds[name], abs=0.6), name


def test_a_perfect_score_has_a_lower_bound():
    label = np.arange(30) % C
    low, high = mean_intervals(label, np.stack([label, label]), make_groups(clips(30), "clips"), C)["war"]
    assert (low, high) == (pytest.approx(100 * 0.025 ** (1 / 30)), 100)


def test_models_that_say_one_class_each_have_more_than_a_point():
    """UAR is 1/3 in every drawing, whoever is drawn; what one such model has for bounds holds for three of them."""
    label, groups = np.arange(60) % C, make_groups(persons(60, 6), "persons")
    seeds = np.stack([np.full(60, c) for c in range(C)])
    lowest = 100 * 0.025 ** (1 / 10) / 3  # the lowest recall of its class, of which ten persons are all right
    low, high = mean_intervals(label, seeds, groups, C)["uar"]
    assert low == pytest.approx(lowest) and high == pytest.approx(100 - 2 * lowest)
    assert mean_intervals(label, seeds, groups, C)["war"] is None, "persons read equally well, as in a run"


def test_one_model_has_the_intervals_of_its_run():
    label, groups = np.arange(30) % C, make_groups(clips(30), "clips")
    bounds = classifier_intervals(confusions(label, np.ones(30, dtype=int), groups, C))
    means = mean_intervals(label, np.ones((1, 30), dtype=int), groups, C)
    assert means == {name: pytest.approx(bounds[name]) for name in SCORES}


def test_without_groups_there_are_no_intervals():
    label = np.arange(30) % C
    assert mean_intervals(label, label[None], None, C) == dict.fromkeys(SCORES)
    war = Pair(label, wrong(label, [0])[None], label[None], None, C).difference("war")
    assert war.value == pytest.approx(100 / 30) and war.interval is None and not war.is_significant


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
    ],
)
def test_holm(p, expected):
    assert holm(p) == pytest.approx(expected)


def test_deviation():
    assert sd([1.0, 2.0, 3.0]) == 1.0 and sd([5.0]) is None
