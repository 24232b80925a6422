"""Two models on the same clips: intervals and p of their difference against closed forms, McNemar against scipy."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from analysis.comparing.paired import Pair, confusions_of, holm, mcnemar, mean_intervals, mean_over_seeds, sd, sign_p
from analysis.intervals import classifier_intervals, confusions, grouped

CLASSES = 3


def clips(N: int) -> list[str]:
    return [f"clip {n}" for n in range(N)]


def wrong(label: np.ndarray, rows: np.ndarray | list[int]) -> np.ndarray:
    """Answers that are right but for ``rows``."""
    answers = label.copy()
    answers[rows] = (answers[rows] + 1) % CLASSES
    return answers


def pair(label, one, other, names=None, **more) -> Pair:
    groups = grouped(names or clips(len(label)), "clips")
    return Pair(label, np.atleast_2d(one), np.atleast_2d(other), groups, CLASSES, **more)


@pytest.mark.parametrize("lost", [0, 1, 3, 10, 47, 300])
@pytest.mark.parametrize("won", [0, 1, 4, 10, 51, 280])
def test_mcnemar_is_the_exact_sign_test(lost, won):
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert mcnemar(lost, won) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_many_clips_overflows_nothing():
    assert mcnemar(9_900, 10_100) == pytest.approx(binomtest(9_900, 20_000).pvalue, rel=1e-9)
    assert mcnemar(0, 5_000) == pytest.approx(2.0**-4999)


def test_models_that_answer_alike_do_not_differ():
    label = np.arange(60) % CLASSES
    same = wrong(label, [3, 9, 20])
    found = pair(label, same, same.copy())
    assert found.is_identical
    for name in ("uar", "war", "macro_f1"):
        got = found.difference(name)
        assert (got.value, got.interval, got.p, got.identical, got.is_beyond_noise) == (0, [0, 0], 1, True, False)


def test_equal_scores_of_other_clips_are_not_identical():
    label = np.arange(60) % CLASSES
    got = pair(label, wrong(label, [0]), wrong(label, [3])).difference("war")
    assert got.value == 0 and not got.identical and got.interval[0] < 0 < got.interval[1]


def test_one_clip_won_is_as_likely_as_that_clip_is_drawn():
    """The replicate's difference is how often the clip is drawn: Binomial(N, 1/N) / N."""
    label = np.arange(60) % CLASSES
    got = pair(label, wrong(label, [7]), label).difference("war")
    assert got.value == pytest.approx(100 / 60)
    assert got.interval == pytest.approx([0, 100 / 60 * binom.ppf(0.975, 60, 1 / 60)])
    assert not got.is_beyond_noise
    assert got.p == 1, "as the sign test of one clip"


def test_the_interval_has_the_spread_of_a_paired_mean():
    """Of WAR with clips for groups: the standard error of the mean of the clips' differences."""
    rng, N = np.random.default_rng(0), 900
    label = rng.integers(CLASSES, size=N)
    one, other = wrong(label, rng.random(N) < 0.4), wrong(label, rng.random(N) < 0.3)
    gained = (other == label).astype(float) - (one == label)
    got = pair(label, one, other).difference("war")
    error = 100 * gained.std() / np.sqrt(N)
    assert got.value == pytest.approx(100 * gained.mean())
    assert got.interval == pytest.approx([got.value - 1.96 * error, got.value + 1.96 * error], abs=0.25 * error)
    assert got.is_beyond_noise and got.p < 0.01


def test_what_both_get_wrong_makes_no_noise():
    """Unpaired, 45 % errors of each would hide a difference of 5 points; the clips that both miss cancel."""
    label = np.arange(600) % CLASSES
    hard = np.arange(0, 600, 2)
    one, other = wrong(label, hard), wrong(label, hard[30:])
    assert pair(label, one, other).difference("war").is_beyond_noise
    alone = [mean_intervals(label, row[None], grouped(clips(600), "clips"), CLASSES)["war"] for row in (one, other)]
    assert alone[0][1] > alone[1][0], "the two intervals overlap"


def test_clips_of_one_person_count_as_one_draw():
    """All that B wins is one person's: that person is missing from a replicate in a third of them."""
    label = np.arange(120) % CLASSES
    one = wrong(label, range(12))
    persons = [f"person {n // 12}" for n in range(120)]
    assert pair(label, one, label).difference("war").is_beyond_noise
    got = pair(label, one, label, persons).difference("war")
    assert got.interval[0] == 0 and not got.is_beyond_noise


def test_a_better_model_for_every_person_is_on_one_side():
    label = np.arange(240) % CLASSES
    persons = [f"person {n // 20}" for n in range(240)]
    got = pair(label, wrong(label, range(0, 240, 4)), label, persons).difference("uar")
    assert got.interval[0] > 0 and got.is_beyond_noise
    assert got.p == pytest.approx(2 / 2001)
    back = pair(label, label, wrong(label, range(0, 240, 4)), persons).difference("uar")
    assert back.value == -got.value and back.interval == pytest.approx([-got.interval[1], -got.interval[0]])


def test_few_persons_prove_nothing_however_they_agree():
    label = np.arange(60) % CLASSES
    got = pair(label, wrong(label, range(0, 60, 4)), label, [f"person {n // 20}" for n in range(60)]).difference("uar")
    assert got.interval[0] > 0 and got.p == 0.25 and not got.is_beyond_noise


@pytest.mark.parametrize(("N", "p"), [(2, 0.5), (4, 0.125), (8, 2 / 2**8)])
def test_a_class_of_few_clips_proves_little_among_many_others(N, p):
    """All of a small class won, all else alike: the sign test of those clips, which the other 200 have no part in."""
    label = np.concatenate([np.zeros(N, dtype=int), np.arange(200) % 2 + 1])
    found = pair(label, wrong(label, range(N)), label)
    recall = found.recall_difference(0)
    assert (recall.value, recall.interval, recall.p) == (100, None, pytest.approx(p))
    uar = found.difference("uar")
    assert uar.differing == N and uar.p >= p
    assert uar.is_beyond_noise == (N == 8)


def test_persons_that_are_read_alike_prove_nothing():
    """Five of twenty persons, all of them better: as five alone, 2 in 2 ** 5."""
    label = np.arange(200) % CLASSES
    got = pair(label, wrong(label, range(50)), label, [f"person {n // 10:02d}" for n in range(200)]).difference("war")
    assert got.interval[0] > 0 and got.differing == 5
    assert got.p == 0.0625 and not got.is_beyond_noise


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_p_is_never_below_what_the_groups_can_show(count):
    assert sign_p(np.ones(2000), count) == max(2.0 ** (1 - count), 2 / 2001)


def test_p_counts_zeros_on_both_sides():
    assert sign_p(np.array([-1.0, 0, 1, 1]), 50) == 1.0
    assert sign_p(np.concatenate([np.full(99, 1.0), np.full(1, -1.0)]), 50) == pytest.approx(4 / 101)


def test_recalls_differ_by_class_and_an_absent_class_has_none():
    label = np.array([0, 1] * 50)
    one, other = label.copy(), label.copy()
    one[label == 0] = 2
    found = pair(label, one, other)
    assert found.recall_difference(0).value == 100 and found.recall_difference(1).value == 0
    assert found.recall_difference(2).value is None and found.recall_difference(2).p is None
    assert found.scores("uar") == (50, 100)


def test_the_score_of_several_seeds_is_their_mean():
    label = np.arange(30) % CLASSES
    seeds = np.stack([wrong(label, range(3)), wrong(label, range(9))])
    assert pair(label, seeds, label).scores("war") == (pytest.approx(80), 100)
    assert pair(label, seeds, label).difference("war").value == pytest.approx(20)


@pytest.mark.parametrize("S", [2, 3, 5, 10])
def test_seeds_drawn_again_vary_like_a_mean_over_seeds(S):
    """Scores that no replicate moves leave the noise of training alone: its standard error is sd / sqrt(S)."""
    values = np.random.default_rng(S).normal(size=S)
    drawn = mean_over_seeds(np.tile(values, (2000, 1)))
    assert drawn.std() == pytest.approx(np.std(values, ddof=1) / np.sqrt(S), rel=0.08)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.15)


def test_equal_seeds_are_drawn_together_and_others_apart():
    """Each seed moves both models alike: paired, nothing is left of that noise."""
    label = np.arange(90) % CLASSES
    one = np.stack([wrong(label, range(n)) for n in (0, 15, 30)])
    other = np.stack([wrong(label, range(n + 3)) for n in (0, 15, 30)])
    widths = []
    for same in (True, False):
        low, high = pair(label, one, other, same_seeds=same).difference("war").interval
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_the_noise_of_training_widens_the_interval():
    label = np.arange(300) % CLASSES
    calm = np.stack([wrong(label, range(45))] * 3)
    wild = np.stack([wrong(label, range(n)) for n in (0, 45, 90)])
    bounds = [pair(label, label, seeds).difference("war").interval for seeds in (calm, wild)]
    assert bounds[1][1] - bounds[1][0] > 2 * (bounds[0][1] - bounds[0][0])


def test_copies_of_one_model_have_its_interval():
    rng = np.random.default_rng(1)
    label = rng.integers(CLASSES, size=200)
    one = wrong(label, rng.random(200) < 0.3)
    groups = grouped([f"person {n % 20}" for n in range(200)], "persons")
    alone = classifier_intervals(confusions(label, one, groups, CLASSES))
    got = mean_intervals(label, np.stack([one] * 4), groups, CLASSES)
    for name in ("uar", "war", "macro_f1"):
        assert got[name] == pytest.approx(alone[name], abs=0.6), name


def test_a_perfect_score_has_a_lower_bound():
    label = np.arange(30) % CLASSES
    low, high = mean_intervals(label, np.stack([label, label]), grouped(clips(30), "clips"), CLASSES)["war"]
    assert (low, high) == (pytest.approx(100 * 0.025 ** (1 / 30)), 100)


def test_models_that_say_one_class_each_have_more_than_a_point():
    """UAR is 1/3 in every drawing, whoever is drawn; what one such model has for bounds holds for three of them."""
    label, groups = np.arange(60) % CLASSES, grouped([f"person {n // 6}" for n in range(60)], "persons")
    seeds = np.stack([np.full(60, c) for c in range(CLASSES)])
    one = 100 * 0.025 ** (1 / 10) / 3  # the lowest recall of its class, of which ten persons are all right
    low, high = mean_intervals(label, seeds, groups, CLASSES)["uar"]
    assert low == pytest.approx(one) and high == pytest.approx(100 - 2 * one)
    assert mean_intervals(label, seeds, groups, CLASSES)["war"] is None, "persons read equally well, as in a run"


def test_one_model_has_the_intervals_of_its_run():
    label, groups = np.arange(30) % CLASSES, grouped(clips(30), "clips")
    alone = classifier_intervals(confusions(label, np.ones(30, dtype=int), groups, CLASSES))
    got = mean_intervals(label, np.ones((1, 30), dtype=int), groups, CLASSES)
    assert got == {name: pytest.approx(alone[name]) for name in ("uar", "war", "macro_f1")}


def test_no_groups_no_intervals():
    label = np.arange(30) % CLASSES
    assert mean_intervals(label, label[None], None, CLASSES) == {"uar": None, "war": None, "macro_f1": None}
    got = Pair(label, wrong(label, [0])[None], label[None], None, CLASSES).difference("war")
    assert got.value == pytest.approx(100 / 30) and got.interval is None and not got.is_beyond_noise


def test_confusions_of_groups_add_up():
    label, one = np.array([0, 1, 2, 0]), np.array([0, 2, 2, 1])
    sums = confusions_of(label, np.stack([one, label]), grouped(list("abba"), "persons"), CLASSES)
    assert sums.shape == (2, 2, 3, 3)
    assert sums.sum(axis=0)[0].tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert sums.sum(axis=0)[1].tolist() == np.diag([2, 1, 1]).tolist()


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
