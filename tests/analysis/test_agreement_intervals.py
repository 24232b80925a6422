"""Intervals of CCC and of frames' F1 against lists that are drawn again one by one."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from analysis.agreement import (
    KINDS,
    agreement,
    agreement_intervals,
    agreement_of,
    grouped_moments,
    moments,
    shift_of,
)
from analysis.bootstrap import draw_kinds, draw_weights, interval, kinds_of
from analysis.intervals import grouped
from dataloader.affwild import Video
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS
from engine.sequence.intervals import add_intervals
from engine.sequence.predict import Predicted
from engine.sequence.score import Pooled, main_numbers, table

DRAWS = 120


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """The loops below are slow."""
    monkeypatch.setattr("analysis.bootstrap.draw_sums.__defaults__", (DRAWS, 0))
    monkeypatch.setattr("analysis.bootstrap.draw_weights.__defaults__", (DRAWS, 0))


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


# -- long videos ----------------------------------------------------------------------------------------------------


def pooled_example(V=8, seed=0):
    """Videos of unlike length; one has no expressions, two are of two persons of one video."""
    rng, pooled = np.random.default_rng(seed), Pooled(("va", "expr", "au"))
    for v in range(V):
        N = int(rng.integers(20, 60))
        labels = {
            "va": rng.uniform(-1, 1, (N, 2)),
            "expr": rng.integers(-1, 8, N) if v else np.full(N, -1),
            "au": (rng.random((N, 12)) < 0.3).astype(float),
        }
        labels["va"][rng.random(N) < 0.2] = np.nan
        labels["au"][rng.random((N, 12)) < 0.1] = np.nan
        labels["au"][:, 0] = 0  # never active
        name = f"v{v}" if v > 1 else ("v0", "v0_left")[v]
        video = Video(name, None, tuple(f"{i}.jpg" for i in range(N)), labels)
        guess = np.where(rng.random(N) < 0.5, labels["expr"].clip(0), rng.integers(8, size=N))
        va = (0.5 * np.nan_to_num(labels["va"]) + rng.normal(0, 0.3, (N, 2))).clip(-1, 1)
        au = np.clip(0.3 * np.nan_to_num(labels["au"]) + 0.7 * rng.random((N, 12)), 0, 1)
        au[:, 0] = 0.1  # and never found
        pooled.add(Predicted(video, va, guess, au))
    return pooled


@pytest.mark.filterwarnings("ignore")
def test_every_interval_of_videos_is_that_of_videos_drawn_again():
    pooled = pooled_example()
    groups = pooled.groups()
    assert groups.count == 7  # two persons of one video are one
    got = add_intervals(pooled.score(), pooled, 0.5, groups)
    found = []
    for weights in draw_weights(7):
        rows = np.concatenate([np.flatnonzero(groups.rows == g) for g in range(7) for _ in range(weights[g])])
        one = {}
        label, guess = (part[rows] for part in pooled.of("va"))
        for k, name in enumerate(("valence", "arousal")):
            there = ~np.isnan(label[:, k])
            one[f"va_ccc_{name}"] = by_definition(label[there, k], guess[there, k].astype(float))
        one["va_ccc"] = (one["va_ccc_valence"] + one["va_ccc_arousal"]) / 2
        label, guess = (part[rows] for part in pooled.of("expr"))
        label, guess = label[label >= 0], guess[label >= 0]
        seen = sorted(set(label) | set(guess))
        f1 = f1_score(label, guess, labels=seen, average=None)
        one |= {"expr": dict(zip(seen, f1, strict=True)), "expr_f1": f1.mean()}
        label, guess = (part[rows] for part in pooled.of("au"))
        known = [label[:, k] >= 0 for k in range(12)]
        f1 = [f1_score(label[known[k], k], guess[known[k], k] >= 0.5) for k in range(1, 12)]
        one |= {"au": f1, "au_f1": np.mean(f1)}
        one["score"] = (one["va_ccc"] + one["expr_f1"] + one["au_f1"]) / 3
        found.append(one)
    for name in ("va_ccc", "va_ccc_valence", "va_ccc_arousal", "expr_f1", "au_f1", "score"):
        expected = interval(np.array([one[name] for one in found]))
        assert got["intervals"][name] == pytest.approx(expected, rel=1e-5), name
    for c, name in enumerate(EXPRESSIONS):
        expected = interval(np.array([one["expr"].get(c, np.nan) for one in found]))
        assert got["expr"]["per_class"][name]["f1_interval"] == pytest.approx(expected), name
    for k, name in enumerate(ACTION_UNITS[1:]):
        expected = interval(np.array([one["au"][k] for one in found]))
        assert got["au"]["per_class"][name]["f1_interval"] == pytest.approx(expected), name
    assert got["au"]["per_class"][ACTION_UNITS[0]]["f1_interval"] is None
    assert (got["intervals"]["resampled"], got["intervals"]["groups"]) == ("videos", 7)
    assert main_numbers(got) == main_numbers(pooled.score())


def test_the_table_shows_them_and_fits_a_screen():
    pooled = pooled_example()
    got = add_intervals(pooled.score(), pooled, 0.5, pooled.groups())
    lines = table(got).splitlines()
    low, high = got["intervals"]["va_ccc"]
    assert f"[{low:.3f}, {high:.3f}]" in lines[0] and max(map(len, lines)) <= 80
    assert "7 videos drawn again" in lines[-1]


def test_one_video_has_no_interval():
    pooled = pooled_example(V=2)
    got = add_intervals(pooled.score(), pooled, 0.5, pooled.groups())
    assert got["intervals"]["score"] is None and "[" not in table(got)
    assert len(pooled.groups().doubts()) == 1


def test_videos_of_which_nothing_is_right_have_bounds_of_f1_and_none_of_concordance():
    """Seven videos without a hit: the share of right frames is below 1 - 0.025 ** (1 / 7), F1 = 2 J / (1 + J)."""
    pooled = pooled_example()
    for label, guess in pooled.rows["expr"]:
        guess[:] = (np.maximum(label, 0) + 1) % 8
    for _, guess in pooled.rows["va"]:
        guess[:] = 0.25
    got = add_intervals(pooled.score(), pooled, 0.5, pooled.groups())
    reach = 1 - 0.025 ** (1 / 7)
    assert got["intervals"]["expr_f1"] == [0, pytest.approx(2 * reach / (1 + reach))]
    assert got["va"]["ccc"] == 0 and got["intervals"]["va_ccc"] is got["intervals"]["va_ccc_arousal"] is None
