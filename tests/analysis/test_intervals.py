"""Intervals against resampled lists that scikit-learn scores one by one, and against exact bounds."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn import metrics as sk

from analysis.intervals import (
    Groups,
    add_intervals,
    agreement_intervals,
    classifier_intervals,
    confusions,
    grouped_moments,
    groups_of,
    interval,
    kinds_of,
    lowest_mean_apart,
    make_groups,
    replicate_sums,
    resample_counts,
    resample_sums,
)
from analysis.metrics import KINDS, agreement, agreement_of, brackets, mean_shift, moments, score, table
from utils.errors import UserError

NAMES = ("Calm", "Glad", "Lost")
SCORES = ("uar", "war", "macro_f1")
FEW_REPLICATES = 120


@pytest.fixture
def few_replicates(monkeypatch):
    """Resampling lists one by one is slow."""
    monkeypatch.setattr("analysis.intervals.resample_sums.__defaults__", (FEW_REPLICATES, 0))


def clips(N):
    return make_groups([str(i) for i in range(N)], "clips")


def resampled_rows(groups, sums):
    """The rows of every replicate: the list of clips that it stands for."""
    kinds, sizes = kinds_of(sums)
    group_of_kind = [next(g for g in range(groups.count) if (sums[g] == kind).all()) for kind in kinds]
    for weights in resample_counts(sizes, FEW_REPLICATES):
        rows = [np.flatnonzero(groups.rows == group_of_kind[k]) for k, n in enumerate(weights) for _ in range(n)]
        yield np.concatenate(rows)


# -- bootstrap ------------------------------------------------------------------------------------------------------


def test_a_replicate_is_the_sum_of_as_many_groups_as_there_are():
    sums, weights = np.random.default_rng(0).normal(size=(5, 2, 3)), resample_counts(np.ones(5), replicates=300)
    replicates = replicate_sums(sums, weights)
    for row in (0, 255, 256, 299):
        resampled = [sums[group] for group in range(5) for _ in range(weights[row, group])]
        assert len(resampled) == 5 and np.allclose(replicates[row], np.sum(resampled, axis=0))
    assert np.array_equal(weights, resample_counts(np.ones(5), replicates=300))
    assert not np.array_equal(weights, resample_counts(np.ones(5), replicates=300, seed=1))


def test_groups_with_equal_counts_are_sampled_together_with_the_same_spread():
    """300 clips, 30 % correct: the spread of the share is that of the binomial distribution."""
    kinds, sizes = kinds_of(np.array([[1, 0], [0, 2], [1, 0], [0, 1], [1, 0]]))
    assert dict(zip(map(tuple, kinds.tolist()), sizes, strict=True)) == {(1, 0): 3, (0, 2): 1, (0, 1): 1}
    right = (np.arange(300) < 90).astype(float)[:, None]
    by_kind = resample_sums(right, 20000)[:, 0]
    one_by_one = replicate_sums(right, resample_counts(np.ones(300), 20000))[:, 0]
    for values in (by_kind, one_by_one):
        assert values.mean() == pytest.approx(90, abs=0.3)
        assert values.std() == pytest.approx((300 * 0.3 * 0.7) ** 0.5, rel=0.03)


def test_many_clips_cost_neither_time_nor_memory():
    """Weights of each of them would take 16 GB."""
    right = (np.random.default_rng(0).random(1_000_000) < 0.5).astype(float)[:, None]
    assert resample_sums(right).shape == (2000, 1)


def test_the_middle_of_the_values_that_are_numbers():
    values = np.arange(0.0, 101.0)
    assert interval(values) == pytest.approx([2.5, 97.5])
    assert interval(np.append(values, [np.nan] * 50)) == pytest.approx([2.5, 97.5])
    assert interval(np.full(3, np.nan)) is None


def test_a_95_percent_interval_covers_the_true_value_in_95_percent_of_samples():
    """300 samples of 120 clips with a share of 0.7."""
    rng, covered = np.random.default_rng(3), 0
    for sample in range(300):
        right = (rng.random(120) < 0.7).astype(float)[:, None]
        low, high = interval(resample_sums(right, seed=sample)[:, 0] / 120)
        covered += low <= 0.7 <= high
    assert 0.90 <= covered / 300 <= 0.99


# -- classifiers ----------------------------------------------------------------------------------------------------


def answers(N=150, persons=15, seed=0):
    """Predictions with a different accuracy for each person; two persons have no clip of the last class."""
    rng = np.random.default_rng(seed)
    person = rng.integers(persons, size=N)
    label = np.where(person < 2, rng.integers(2, size=N), rng.integers(3, size=N))
    right = rng.random(N) < np.clip(0.6 + 0.3 * np.sin(person), 0, 1)
    return label, np.where(right, label, rng.integers(3, size=N)), [f"P{p}" for p in person]


def scored(label, predicted, groups):
    return add_intervals(score(label, predicted, NAMES), label, predicted, groups)


def scikit(label, predicted):
    """Scores over the classes that occur, as in the point estimate."""
    present, concerned = sorted(set(label)), sorted(set(label) | set(predicted))
    recall = dict(zip(present, sk.recall_score(label, predicted, labels=present, average=None), strict=True))
    f1 = sk.f1_score(label, predicted, labels=concerned, average=None, zero_division=0)
    f1 = dict(zip(concerned, f1, strict=True))
    means = {"uar": np.mean(list(recall.values())), "macro_f1": np.mean(list(f1.values()))}
    recalls, f1s = ({c: rows.get(c, np.nan) for c in range(3)} for rows in (recall, f1))
    return means | {"war": sk.accuracy_score(label, predicted), "recall": recalls, "f1": f1s}


@pytest.mark.filterwarnings("ignore")
def test_every_interval_is_that_of_resampled_lists(few_replicates):
    label, predicted, persons = answers()
    groups = make_groups(persons, "persons")
    replicates = [
        scikit(label[rows], predicted[rows]) for rows in resampled_rows(groups, confusions(label, predicted, groups, 3))
    ]
    metrics = scored(label, predicted, groups)
    for name in SCORES:
        expected = 100 * np.array(interval(np.array([scores[name] for scores in replicates])))
        assert metrics["intervals"][name] == pytest.approx(expected), name
    for c, name in enumerate(NAMES):
        for kind, key in (("recall", "interval"), ("f1", "f1_interval")):
            expected = 100 * np.array(interval(np.array([scores[kind][c] for scores in replicates])))
            assert metrics["per_class"][name][key] == pytest.approx(expected), (name, kind)
    about = {key: metrics["intervals"][key] for key in ("level", "resampled", "groups")}
    assert about == {"level": 95.0, "resampled": "persons", "groups": 15}


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
def test_a_perfect_score_does_not_have_a_zero_interval(shift):
    label = np.repeat([0, 1, 2], [7, 20, 73])
    metrics = scored(label, (label + shift) % 3, clips(100))
    bound = {n: 100 * 0.025 ** (1 / n) for n in (7, 20, 73, 100)}
    expected = lambda n: [bound[n], 100] if shift == 0 else [0, 100 - bound[n]]  # noqa: E731
    assert metrics["intervals"]["war"] == pytest.approx(expected(100))
    for name, n in zip(NAMES, (7, 20, 73), strict=True):
        assert metrics["per_class"][name]["interval"] == pytest.approx(expected(n))
    uar = metrics["intervals"]["uar"]
    assert uar[1] - uar[0] > 100 - bound[100] and metrics["intervals"]["macro_f1"] == uar


def test_a_mean_of_recalls_of_0_and_1_reaches_both_ways():
    """Two classes correct, one wrong, four clips each: 2/3 of the bound of 8 clips, and 1 - 1/3 of that of 4."""
    label = np.repeat([0, 1, 2], 4)
    metrics = scored(label, np.repeat([0, 1, 1], 4), clips(12))
    assert metrics["uar"] == pytest.approx(200 / 3)
    assert metrics["intervals"]["uar"] == pytest.approx([200 / 3 * 0.025 ** (1 / 8), 100 - 100 / 3 * 0.025 ** (1 / 4)])
    low, high = metrics["intervals"]["war"]
    assert low < metrics["war"] < high  # the number of sampled clips per class varies


def test_the_classes_of_a_person_are_not_resampled_separately():
    """Three persons, each correct in every class, count as three samples, not nine."""
    label = np.tile([0, 1, 2], 3)
    bounds = scored(label, label, make_groups(list("aaabbbccc"), "persons"))["intervals"]
    assert bounds["uar"] == bounds["war"] == bounds["macro_f1"] == pytest.approx([100 * 0.025 ** (1 / 3), 100])
    label, predicted = np.tile([0, 0, 1, 1], 3), np.tile([0, 1, 1, 1], 3)
    metrics = scored(label, predicted, make_groups([f"P{i // 4}" for i in range(12)], "persons"))
    assert [metrics["intervals"][name] for name in SCORES] == [None] * 3
    assert metrics["per_class"]["Calm"]["interval"] is None
    assert metrics["per_class"]["Glad"]["interval"] == pytest.approx([100 * 0.025 ** (1 / 3), 100])


def test_an_f1_of_1_has_the_exact_interval_of_its_clips():
    """J = correct / (of the class or predicted as it) is a share; F1 = 2 J / (1 + J)."""
    label = np.array([0] * 5 + [1] * 9 + [2] * 4)
    rows = scored(label, np.array([0] * 5 + [1] * 8 + [2] * 5), clips(18))["per_class"]
    J = 0.025 ** (1 / 5)
    assert rows["Calm"]["f1"] == 100 and rows["Calm"]["f1_interval"] == pytest.approx([100 * 2 * J / (1 + J), 100])
    assert rows["Lost"]["interval"] == pytest.approx([100 * 0.025 ** (1 / 4), 100])
    low, high = rows["Lost"]["f1_interval"]
    assert low < rows["Lost"]["f1"] < high


IDS, PERSONS = ["a/1", "a/2", "b/1", "x", "y"], ["a", "a", "b", None, None]


@pytest.mark.parametrize(
    ("ids", "persons", "ci", "resampled", "rows"),
    [
        (IDS, PERSONS, "auto", "persons", [2, 2, 3, 0, 1]),  # each clip without a person is its own group
        (IDS, PERSONS, "persons", "persons", [2, 2, 3, 0, 1]),
        (IDS, PERSONS, "clips", "clips", [0, 1, 2, 3, 4]),
        (IDS, [None] * 5, "auto", "clips", [0, 1, 2, 3, 4]),
        (["x", "x/1"], [None, "x"], "auto", "persons", [0, 1]),  # a person named like a clip is not that clip
        (["x", "y", "x"], [None] * 3, "auto", "clips", [0, 1, 0]),  # a clip that is listed twice is resampled as one
    ],
)
def test_clips_that_are_resampled_together(ids, persons, ci, resampled, rows):
    groups = groups_of(ids, persons, ci)
    assert (groups.resampled, groups.rows.tolist()) == (resampled, rows) and groups.count == len(set(rows))


def test_ci_off_gives_no_interval_and_unknown_persons_cannot_be_resampled():
    assert groups_of(IDS, PERSONS, "off") is None
    with pytest.raises(UserError, match="--ci persons") as caught:
        groups_of(IDS, [None] * 5, "persons")
    assert "\n" not in str(caught.value) and "--ci clips" in str(caught.value)


def test_one_group_says_nothing():
    groups = make_groups(["P"] * 4, "persons")
    metrics = scored(np.array([0, 1, 2, 0]), np.array([0, 1, 1, 1]), groups)
    assert [metrics["intervals"][name] for name in SCORES] == [None] * 3
    assert all(row["interval"] is None and row["f1_interval"] is None for row in metrics["per_class"].values())
    assert "[" not in table(metrics) and len(groups.doubts()) == 1


def test_a_partly_correct_class_of_one_person_has_no_interval():
    label, predicted = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 0, 2, 2])
    rows = scored(label, predicted, make_groups(["P", "P", "Q", "P", "Q", "Q"], "persons"))["per_class"]
    assert rows["Calm"]["interval"] is None and rows["Glad"]["interval"] is not None
    assert rows["Lost"]["interval"] == pytest.approx([2.5, 100])  # one clip that was correct


@pytest.mark.parametrize(("count", "text"), [(1, "no intervals"), (2, "narrower"), (9, "narrower"), (10, None)])
def test_few_groups_cause_one_warning(count, text):
    doubts = Groups(np.arange(count), count, "persons").doubts()
    assert len(doubts) == (text is not None) and (text is None or text in doubts[0])


def test_a_class_that_is_missing_in_a_replicate_is_left_out_there():
    """One person is wrong on Calm and right on Glad, the other right on Calm and never Glad: twice the latter is 100,
    not the 50 of a Glad that counts as missed."""
    sums = np.array([[[0, 1], [0, 1]], [[1, 0], [0, 0]]])
    assert classifier_intervals(sums)["uar"] == pytest.approx([50, 100])


def test_the_table_shows_every_interval_and_fits_a_screen():
    label, predicted, persons = answers()
    metrics = scored(label, predicted, make_groups(persons, "persons"))
    lines = table(metrics).splitlines()
    assert max(map(len, lines)) <= 100 and lines[-1] == "95 % intervals in brackets: bootstrap over 15 persons"
    for name in NAMES:
        line = next(line for line in lines if line.startswith(name))
        assert brackets(metrics["per_class"][name]["interval"]) in line
        assert f" {metrics['per_class'][name]['support']} " in line
    for title, key in (("UAR", "uar"), ("WAR", "war"), ("macro F1", "macro_f1")):
        assert f"{title} {metrics[key]:.2f} {brackets(metrics['intervals'][key])}" in lines[-2]
    assert brackets([84.249, 91.55001]) == "[84.2, 91.6]" and brackets(None) == ""


# -- numbers --------------------------------------------------------------------------------------------------------


def numbers(G=9, N=200, offset=0.0):
    rng = np.random.default_rng(0)
    names = [f"s{g}" for g in rng.integers(G, size=N)]
    target = rng.normal(size=(N, 2)) + np.array([int(name[1:]) for name in names])[:, None] / 3 + offset
    predicted = 0.6 * target + rng.normal(size=(N, 2)) + 0.2
    target[rng.random(N) < 0.3, 1] = np.nan
    return target, predicted, make_groups(names, "subjects")


def by_definition(x, y):
    """Each kind of agreement of two lists."""
    ccc = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    errors = {"mae": np.abs(x - y).mean(), "rmse": ((x - y) ** 2).mean() ** 0.5}
    return errors | {"pearson": np.corrcoef(x, y)[0, 1], "ccc": ccc}


@pytest.mark.parametrize("offset", [0.0, 1e6], ids=["near 0", "a million away"])
def test_agreement_intervals_are_those_of_resampled_lists(offset, few_replicates):
    """A million away squares have 12 digits before those that count."""
    target, predicted, groups = numbers(offset=offset)
    bounds = agreement_intervals(target, predicted, ("one", "two"), groups)
    replicates = []
    for rows in resampled_rows(groups, grouped_moments(target, predicted, groups)[0]):
        present = [rows[~np.isnan(target[rows, k])] for k in (0, 1)]
        replicates.append([by_definition(target[present[k], k], predicted[present[k], k]) for k in (0, 1)])
    for kind in KINDS:
        values = np.array([[scores[kind] for scores in columns] for columns in replicates])
        for k, name in enumerate(("one", "two")):
            assert bounds["targets"][name][kind] == pytest.approx(interval(values[:, k]), rel=1e-5, abs=1e-9), kind
        assert bounds["mean"][kind] == pytest.approx(interval(values.mean(axis=1)), rel=1e-5, abs=1e-9), kind


def test_a_replicate_whose_numbers_are_all_the_same_has_no_concordance():
    """The prediction of the second group is constant; if only this group is sampled, the concordance is 0."""
    target, predicted = np.array([1.0, 2.0, 5.0, 7.0]), np.array([1.0, 2.0, 1 / 3, 1 / 3])
    sums = 2 * moments(target, predicted)[2:].sum(axis=0)
    scores = agreement_of(sums, mean_shift(target, predicted))
    assert scores["ccc"] == scores["pearson"] == 0 == agreement(target[2:], predicted[2:])["ccc"]
    assert np.isnan(agreement_of(np.zeros(8), 0.0)["ccc"])  # no sample at all


def test_scores_that_do_not_vary_and_one_subject_have_no_interval():
    """A constant prediction has a CCC of 0 in every sample, which gives no information about other subjects."""
    target, predicted, groups = numbers(G=6)
    bounds = agreement_intervals(target, np.full_like(predicted, 3), ("one", "two"), groups)
    assert bounds["mean"]["ccc"] is None and bounds["targets"]["one"]["pearson"] is None
    assert bounds["targets"]["one"]["mae"][0] < bounds["targets"]["one"]["mae"][1]
    bounds = agreement_intervals(*numbers(G=1)[:2], ("one", "two"), numbers(G=1)[2])
    assert bounds["mean"]["ccc"] is None and bounds["targets"]["two"]["pearson"] is None
