"""Intervals of a classifier's scores against lists drawn again one by one and scored by scikit-learn."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import beta
from sklearn import metrics as sk

from analysis.bootstrap import draw_kinds, interval, kinds_of
from analysis.intervals import (
    Groups,
    add_intervals,
    classifier_intervals,
    confusions,
    grouped,
    groups_of,
    lowest_mean_apart,
    one_sided,
)
from analysis.metrics import score, shown, table
from utils.errors import UserError

NAMES = ("Calm", "Glad", "Lost")


def answers(N=150, persons=15, seed=0, sure=0.6):
    """Persons differ in how well they are read; two of them have no clip of the last class."""
    rng = np.random.default_rng(seed)
    person = rng.integers(persons, size=N)
    label = np.where(person < 2, rng.integers(2, size=N), rng.integers(3, size=N))
    right = rng.random(N) < np.clip(sure + 0.3 * np.sin(person), 0, 1)
    return label, np.where(right, label, rng.integers(3, size=N)), [f"P{p}" for p in person]


def scored(label, predicted, groups):
    return add_intervals(score(label, predicted, NAMES), label, predicted, groups)


def scikit(label, predicted):
    """Scores over the classes that are there, as the point estimate has them."""
    there, seen = sorted(set(label)), sorted(set(label) | set(predicted))
    recall = dict(zip(there, sk.recall_score(label, predicted, labels=there, average=None), strict=True))
    f1 = dict(zip(seen, sk.f1_score(label, predicted, labels=seen, average=None, zero_division=0), strict=True))
    means = {"uar": np.mean(list(recall.values())), "macro_f1": np.mean(list(f1.values()))}
    recalls, f1s = ({c: rows.get(c, np.nan) for c in range(3)} for rows in (recall, f1))
    return means | {"war": sk.accuracy_score(label, predicted), "recall": recalls, "f1": f1s}


@pytest.mark.filterwarnings("ignore")
def test_every_interval_is_that_of_lists_drawn_again(monkeypatch):
    """The same weights, as lists of clips."""
    monkeypatch.setattr("analysis.bootstrap.draw_sums.__defaults__", (150, 0))
    label, predicted, persons = answers()
    groups = grouped(persons, "persons")
    sums = confusions(label, predicted, groups, 3)
    kinds, sizes = kinds_of(sums)
    assert (sizes == 1).all()  # so that a kind is a person
    person_of = [next(g for g in range(15) if (sums[g] == kind).all()) for kind in kinds]
    found = []
    for weights in draw_kinds(sizes, 150):
        clips = [np.flatnonzero(groups.rows == person_of[k]) for k, times in enumerate(weights) for _ in range(times)]
        clips = np.concatenate(clips)
        found.append(scikit(label[clips], predicted[clips]))
    got = scored(label, predicted, groups)
    for name in ("uar", "war", "macro_f1"):
        expected = 100 * np.array(interval(np.array([one[name] for one in found])))
        assert got["intervals"][name] == pytest.approx(expected), name
    for c, name in enumerate(NAMES):
        recall, f1 = (100 * np.array(interval(np.array([one[key][c] for one in found]))) for key in ("recall", "f1"))
        assert got["per_class"][name]["interval"] == pytest.approx(recall)
        assert got["per_class"][name]["f1_interval"] == pytest.approx(f1)
    about = {key: got["intervals"][key] for key in ("level", "resampled", "groups")}
    assert about == {"level": 95.0, "resampled": "persons", "groups": 15}


def test_intervals_hold_their_score_and_are_wider_with_fewer_clips():
    label, predicted, _ = answers(N=400)
    wide = {}
    for N in (50, 400):
        got = scored(label[:N], predicted[:N], grouped([str(i) for i in range(N)], "clips"))
        for name in ("uar", "war", "macro_f1"):
            low, high = got["intervals"][name]
            assert low < got[name] < high
            wide[name, N] = high - low
    assert all(wide[name, 50] > 1.8 * wide[name, 400] for name in ("uar", "war", "macro_f1"))


def test_persons_whose_clips_agree_make_intervals_wider_than_clips_do():
    """20 persons of 10 clips, all right or all wrong: 20 draws, not 200; their width is that of 20."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(20), 10)
    label = rng.integers(3, size=200)
    predicted = np.where(person % 4 == 0, (label + 1) % 3, label)
    ids, names = [str(i) for i in range(200)], [f"P{p}" for p in person]
    by_clip, by_person = (
        np.diff(scored(label, predicted, groups_of(ids, names, ci))["intervals"]["war"])[0] for ci in ("clips", "auto")
    )
    assert by_person == pytest.approx(200 * 1.96 * (0.25 * 0.75 / 20) ** 0.5, rel=0.15)
    assert by_clip == pytest.approx(200 * 1.96 * (0.25 * 0.75 / 200) ** 0.5, rel=0.15)


# -- all right, none right ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 345])
def test_a_share_of_all_or_none_has_the_exact_bound(n):
    """Clopper and Pearson's by the beta distribution."""
    assert one_sided(1.0, n) == pytest.approx([100 * beta.ppf(0.025, n, 1), 100])
    assert one_sided(0.0, n) == pytest.approx([0, 100 * beta.ppf(0.975, 1, n)])


@pytest.mark.parametrize("counts", [(4, 4, 4), (345, 32, 7, 39, 105), (1, 1000), (3,), (2, 3, 50, 1000)])
def test_the_mean_of_shares_that_are_all_1_is_as_low_as_2_5_percent_allow(counts):
    """The lowest mean of e^-x with the sum of count · x at most -log 2.5 %, found by a general solver."""
    n = np.array(counts)
    limit = {"type": "ineq", "fun": lambda x: -np.log(0.025) - n @ x}
    starts = [np.full(len(n), -np.log(0.025) / n.sum()), -np.log(0.025) / n / len(n)]
    lowest = min(
        minimize(lambda x: np.exp(-x).mean(), x, bounds=[(0, None)] * len(n), constraints=[limit], tol=1e-12).fun
        for x in starts
    )
    assert lowest_mean_apart(n) == pytest.approx(lowest, abs=1e-5)


@pytest.mark.parametrize("shift", [0, 1], ids=["all right", "none right"])
def test_nothing_is_sure_because_everything_was_right(shift):
    label = np.repeat([0, 1, 2], [7, 20, 73])
    got = scored(label, (label + shift) % 3, grouped([str(i) for i in range(100)], "clips"))
    bound = {n: 100 * 0.025 ** (1 / n) for n in (7, 20, 73, 100)}
    expected = lambda n: [bound[n], 100] if shift == 0 else [0, 100 - bound[n]]  # noqa: E731
    assert got["intervals"]["war"] == pytest.approx(expected(100))
    for name, n in zip(NAMES, (7, 20, 73), strict=True):
        assert got["per_class"][name]["interval"] == pytest.approx(expected(n))
    uar = got["intervals"]["uar"]
    assert uar[1] - uar[0] > 100 - bound[100] and got["intervals"]["macro_f1"] == uar


def test_a_mean_of_recalls_of_0_and_1_reaches_both_ways():
    """Two classes right, one wrong, four clips each: 2/3 of what 8 clips say of 1, 1 - 1/3 of what 4 say of 0."""
    label = np.repeat([0, 1, 2], 4)
    got = scored(label, np.repeat([0, 1, 1], 4), grouped([str(i) for i in range(12)], "clips"))
    assert got["uar"] == pytest.approx(200 / 3)
    assert got["intervals"]["uar"] == pytest.approx([200 / 3 * 0.025 ** (1 / 8), 100 - 100 / 3 * 0.025 ** (1 / 4)])
    low, high = got["intervals"]["war"]
    assert low < got["war"] < high  # how many of each class are drawn differs


def test_the_classes_of_a_person_are_no_draws_of_their_own():
    """Three persons, each right in every class, are three draws, not nine."""
    label = np.tile([0, 1, 2], 3)
    got = scored(label, label, grouped(list("aaabbbccc"), "persons"))["intervals"]
    assert got["uar"] == got["war"] == got["macro_f1"] == pytest.approx([100 * 0.025 ** (1 / 3), 100])


def test_persons_that_are_all_the_same_say_nothing_between():
    label, predicted = np.tile([0, 0, 1, 1], 3), np.tile([0, 1, 1, 1], 3)
    got = scored(label, predicted, grouped([f"P{i // 4}" for i in range(12)], "persons"))
    assert [got["intervals"][name] for name in ("uar", "war", "macro_f1")] == [None] * 3
    assert got["per_class"]["Calm"]["interval"] is None
    assert got["per_class"]["Glad"]["interval"] == pytest.approx([100 * 0.025 ** (1 / 3), 100])


def test_an_f1_of_1_says_how_sure_its_clips_are():
    """J = right / (of the class or taken for it) is a share; F1 = 2 J / (1 + J)."""
    label = np.array([0] * 5 + [1] * 9 + [2] * 4)
    predicted = np.array([0] * 5 + [1] * 8 + [2] * 5)
    got = scored(label, predicted, grouped([str(i) for i in range(18)], "clips"))["per_class"]
    J = 0.025 ** (1 / 5)
    assert got["Calm"]["f1"] == 100 and got["Calm"]["f1_interval"] == pytest.approx([100 * 2 * J / (1 + J), 100])
    assert got["Lost"]["interval"] == pytest.approx([100 * 0.025 ** (1 / 4), 100])
    low, high = got["Lost"]["f1_interval"]
    assert low < got["Lost"]["f1"] < high


# -- what can be drawn ----------------------------------------------------------------------------------------------

IDS, PERSONS = ["a/1", "a/2", "b/1", "x", "y"], ["a", "a", "b", None, None]


@pytest.mark.parametrize(
    ("persons", "ci", "resampled", "rows"),
    [
        (PERSONS, "auto", "persons", [2, 2, 3, 0, 1]),
        (PERSONS, "persons", "persons", [2, 2, 3, 0, 1]),
        (PERSONS, "clips", "clips", [0, 1, 2, 3, 4]),
        ([None] * 5, "auto", "clips", [0, 1, 2, 3, 4]),
    ],
)
def test_clips_without_a_person_are_groups_of_their_own(persons, ci, resampled, rows):
    groups = groups_of(IDS, persons, ci)
    assert (groups.resampled, groups.rows.tolist()) == (resampled, rows) and groups.count == len(set(rows))


def test_a_person_named_like_a_clip_is_not_that_clip():
    assert groups_of(["x", "x/1"], [None, "x"], "auto").count == 2


def test_a_clip_that_is_listed_twice_is_drawn_twice_at_once():
    assert groups_of(["x", "y", "x"], [None] * 3, "auto").rows.tolist() == [0, 1, 0]


def test_off_is_off_and_unknown_persons_cannot_be_drawn():
    assert groups_of(IDS, PERSONS, "off") is None
    with pytest.raises(UserError, match="--ci persons") as caught:
        groups_of(IDS, [None] * 5, "persons")
    assert "\n" not in str(caught.value) and "--ci clips" in str(caught.value)


def test_one_group_says_nothing():
    label = np.array([0, 1, 2, 0])
    got = scored(label, np.array([0, 1, 1, 1]), grouped(["P"] * 4, "persons"))
    assert [got["intervals"][name] for name in ("uar", "war", "macro_f1")] == [None] * 3
    assert all(row["interval"] is None and row["f1_interval"] is None for row in got["per_class"].values())
    assert "[" not in table(got) and len(grouped(["P"] * 4, "persons").doubts()) == 1


def test_a_class_of_one_person_that_is_neither_right_nor_wrong_throughout_has_none():
    label, predicted = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 0, 2, 2])
    got = scored(label, predicted, grouped(["P", "P", "Q", "P", "Q", "Q"], "persons"))["per_class"]
    assert got["Calm"]["interval"] is None and got["Glad"]["interval"] is not None
    assert got["Lost"]["interval"] == pytest.approx([2.5, 100])  # one draw that was right


@pytest.mark.parametrize(("count", "said"), [(1, "no intervals"), (2, "narrower"), (9, "narrower"), (10, None)])
def test_few_groups_are_said_once(count, said):
    doubts = Groups(np.arange(count), count, "persons").doubts()
    assert len(doubts) == (said is not None) and (said is None or said in doubts[0])


def test_a_class_that_a_replicate_misses_is_left_out_there():
    """One person is wrong on Calm and right on Glad, the other right on Calm and never Glad: twice the latter is 100,
    not the 50 of a Glad that counts as missed."""
    sums = np.array([[[0, 1], [0, 1]], [[1, 0], [0, 0]]])
    assert classifier_intervals(sums)["uar"] == pytest.approx([50, 100])


# -- the table ------------------------------------------------------------------------------------------------------


def test_the_table_shows_every_interval_and_fits_a_screen():
    label, predicted, persons = answers()
    got = scored(label, predicted, grouped(persons, "persons"))
    lines = table(got).splitlines()
    assert max(map(len, lines)) <= 100 and lines[-1] == "95 % intervals in brackets: 15 persons drawn again"
    for name in NAMES:
        line = next(line for line in lines if line.startswith(name))
        assert shown(got["per_class"][name]["interval"]) in line and str(got["per_class"][name]["support"]) in line
    for title, key in (("UAR", "uar"), ("WAR", "war"), ("macro F1", "macro_f1")):
        assert f"{title} {got[key]:.2f} {shown(got['intervals'][key])}" in lines[-2]


def test_bounds_are_written_with_one_digit():
    assert shown([84.249, 91.55001]) == "[84.2, 91.6]" and shown(None) == ""
