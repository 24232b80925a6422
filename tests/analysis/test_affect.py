"""Scores of long videos against scikit-learn, closed forms and loops; intervals against resampled videos."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from analysis.affect import (
    PooledVideos,
    VideoPredictions,
    add_intervals,
    au_score,
    best_thresholds,
    expression_score,
    main_scores,
    resample_counts,
    score_lines,
    va_score,
)
from dataloader.affwild import Video
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS
from utils.errors import UserError

PAIRS = st.lists(st.tuples(st.integers(-1, 7), st.integers(0, 7)), min_size=1, max_size=60)
REPLICATES = 120


def ccc(x, y):
    """Concordance by its definition."""
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def va_example(N=200, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.uniform(-1, 1, (N, 2))
    predicted = 0.5 * label + rng.normal(0, 0.3, (N, 2)) + 0.1
    label[rng.random(N) < 0.2] = np.nan
    label[3, 1] = np.nan
    return label, predicted


def test_concordance_is_pooled_over_labelled_frames():
    label, predicted = va_example()
    score = va_score(label, predicted)
    labelled = ~np.isnan(label)
    expected = [ccc(label[labelled[:, k], k], predicted[labelled[:, k], k]) for k in (0, 1)]
    assert [score["ccc_valence"], score["ccc_arousal"]] == pytest.approx(expected)
    assert score["ccc"] == pytest.approx(sum(expected) / 2) and score["num_frames"] == labelled[:, 0].sum()
    assert va_score(label, predicted.astype(np.float32))["ccc"] == pytest.approx(score["ccc"], abs=1e-6)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(PAIRS)
def test_expression_scores_are_scikit_learns(pairs):
    label, predicted = np.array(pairs).T
    labelled = label >= 0
    if not labelled.any():
        with pytest.raises(UserError, match="no frame has a valid expression label"):
            expression_score(label, predicted, EXPRESSIONS)
        return
    score = expression_score(label, predicted, EXPRESSIONS)
    label, predicted = label[labelled], predicted[labelled]
    f1 = sk.f1_score(label, predicted, labels=range(8), average=None, zero_division=0)
    present = {*label.tolist(), *predicted.tolist()}
    assert score["f1"] == pytest.approx(sk.f1_score(label, predicted, average="macro", zero_division=0))
    for c, name in enumerate(EXPRESSIONS):
        expected = pytest.approx(f1[c]) if c in present else None
        assert score["per_class"][name] == {"f1": expected, "support": int((label == c).sum())}
    assert score["absent_classes"] == [name for c, name in enumerate(EXPRESSIONS) if c not in present]
    assert score["confusion"] == sk.confusion_matrix(label, predicted, labels=range(8)).tolist()
    assert score["num_frames"] == len(label) and score["classes"] == list(EXPRESSIONS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("thresholds", [0.5, np.linspace(0.3, 0.8, 12)], ids=["one", "each"])
def test_action_unit_scores_are_scikit_learns(thresholds):
    """One unit is never active nor predicted, one is never active but predicted."""
    rng = np.random.default_rng(0)
    label = (rng.random((150, 12)) < np.linspace(0.05, 0.7, 12)).astype(float)
    probability = np.clip(0.3 * label + rng.random((150, 12)) * 0.7, 0, 1)
    label[:, 3], label[:, 4], probability[:, 3] = 0, 0, 0.1
    label[rng.random(150) < 0.2] = np.nan
    label[0, 5] = -1
    score = au_score(label, probability, ACTION_UNITS, thresholds)
    limits, f1 = np.broadcast_to(thresholds, 12), []
    for k, name in enumerate(ACTION_UNITS):
        labelled = label[:, k] >= 0
        true, predicted = label[labelled, k].astype(int), (probability[labelled, k] >= limits[k]).astype(int)
        if not true.any() and not predicted.any():
            assert score["per_class"][name] == {"f1": None, "support": 0}
            continue
        f1.append(sk.f1_score(true, predicted, zero_division=0))
        assert score["per_class"][name] == {"f1": pytest.approx(f1[-1]), "support": true.sum()}
    assert score["absent_classes"] == [ACTION_UNITS[3]] and len(f1) == 11
    assert score["f1"] == pytest.approx(np.mean(f1)) and score["thresholds"] == pytest.approx(list(limits))
    assert score["num_frames"] == (~np.isnan(label[:, 0])).sum()


def test_units_that_neither_occur_nor_are_predicted_score_zero():
    assert au_score(np.zeros((4, 12)), np.zeros((4, 12)), ACTION_UNITS)["f1"] == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, math.nan]), st.integers(0, 8)), min_size=1, max_size=25))
def test_no_threshold_is_better_than_the_best(pairs):
    """Tests every threshold that separates the frames differently; some probabilities are equal."""
    label, probability = np.array(pairs).T[..., None] / [[[1]], [[8]]]
    (best,) = best_thresholds(label, probability)
    true, p = label[~np.isnan(label)].tolist(), probability[~np.isnan(label)].tolist()
    if 1 not in true:
        assert best == 0.5
        return

    def f1(threshold):
        hits = sum(t == 1 and v >= threshold for t, v in zip(true, p, strict=True))
        return 2 * hits / (sum(v >= threshold for v in p) + sum(true))

    assert f1(best) == pytest.approx(max(f1(threshold) for threshold in p))
    assert 0 <= best <= 1


def test_each_unit_has_its_own_threshold_halfway_between_two_probabilities():
    label = np.array([[0, 1], [0, 1], [1, 0], [1, 1]], dtype=float)
    probability = np.array([[0.1, 0.9], [0.2, 0.8], [0.4, 0.3], [0.7, 0.5]])
    assert best_thresholds(label, probability).tolist() == pytest.approx([0.3, 0.4])
    tuned = au_score(label, probability, ("AU1", "AU2"), best_thresholds(label, probability))
    assert tuned["f1"] == 1 and au_score(label, probability, ("AU1", "AU2"))["f1"] == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("probability", [[0.99, 0.95, 0.9, 0.6, 0.3], [0.6, 0.3, 0.2, 0.15, 0.05]])
def test_of_equally_good_thresholds_the_nearest_to_a_half_is_selected(probability):
    """One predicted frame gives 2 · 1 / (1 + 2), four give 2 · 2 / (4 + 2)."""
    label = np.array([[1.0], [0.0], [0.0], [1.0], [0.0]])
    assert best_thresholds(label, np.array(probability)[:, None]).tolist() == pytest.approx([0.45])


def test_a_threshold_between_neighbouring_floats_separates_them():
    high = np.nextafter(0.4, 1)
    (best,) = best_thresholds(np.array([[1.0], [0.0]]), np.array([[high], [0.4]]))
    assert 0.4 < best <= high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: va_score(np.full((3, 2), np.nan), np.zeros((3, 2))), "no frame has a valid valence label"),
        (lambda: va_score(np.array([[0.1, np.nan]]), np.zeros((1, 2))), "no frame has a valid arousal label"),
        (lambda: au_score(np.full((3, 12), np.nan), np.zeros((3, 12)), ACTION_UNITS), "valid action unit"),
        (lambda: va_score(np.zeros((3, 2)), np.full((3, 2), np.nan)), "not finite"),
        (lambda: au_score(np.zeros((3, 12)), np.full((3, 12), np.inf), ACTION_UNITS), "not finite"),
        (lambda: best_thresholds(np.array([[0.3]]), np.array([[1.0]])), "0 or 1"),
    ],
)
def test_predictions_that_cannot_be_scored_give_a_one_line_error(call, message):
    with pytest.raises(UserError, match=message):
        call()


# -- intervals ------------------------------------------------------------------------------------------------------


def pooled_example(V=8, seed=0):
    """Videos of different lengths: one without expressions, two persons in one video, a unit that never occurs."""
    rng, pooled = np.random.default_rng(seed), PooledVideos(("va", "expr", "au"))
    for v in range(V):
        N = int(rng.integers(20, 60))
        labels = {
            "va": rng.uniform(-1, 1, (N, 2)),
            "expr": rng.integers(-1, 8, N) if v else np.full(N, -1),
            "au": (rng.random((N, 12)) < 0.3).astype(float),
        }
        labels["va"][rng.random(N) < 0.2] = np.nan
        labels["au"][rng.random((N, 12)) < 0.1] = np.nan
        labels["au"][:, 0] = 0
        video = Video(f"v{v}" if v > 1 else ("v0", "v0_left")[v], None, (None,) * N, labels)
        expression = np.where(rng.random(N) < 0.5, labels["expr"].clip(0), rng.integers(8, size=N))
        va = (0.5 * np.nan_to_num(labels["va"]) + rng.normal(0, 0.3, (N, 2))).clip(-1, 1)
        au = np.clip(0.3 * np.nan_to_num(labels["au"]) + 0.7 * rng.random((N, 12)), 0, 1)
        au[:, 0] = 0.1
        pooled.add(VideoPredictions(video, va, expression, au))
    return pooled


def bounds(values):
    """The middle 95 % of the replicates that have a value."""
    return np.nanpercentile(values, [2.5, 97.5]).tolist()


def with_intervals(pooled):
    return add_intervals(pooled.score(), pooled, 0.5, pooled.groups())


def scores_of(pooled, rows):
    """Return all scores of some frames, with scikit-learn: by name, by expression number, by action unit."""
    scores = {}
    label, guess = (part[rows] for part in pooled.arrays("va"))
    for k, name in enumerate(("va_ccc_valence", "va_ccc_arousal")):
        labelled = ~np.isnan(label[:, k])
        scores[name] = ccc(label[labelled, k], guess[labelled, k].astype(float))
    scores["va_ccc"] = (scores["va_ccc_valence"] + scores["va_ccc_arousal"]) / 2
    label, guess = (part[rows] for part in pooled.arrays("expr"))
    label, guess = label[label >= 0], guess[label >= 0]
    present = sorted(set(label) | set(guess))
    expressions = sk.f1_score(label, guess, labels=present, average=None)
    label, guess = (part[rows] for part in pooled.arrays("au"))
    labelled = label >= 0
    units = [sk.f1_score(label[labelled[:, k], k], guess[labelled[:, k], k] >= 0.5) for k in range(1, 12)]
    scores |= {"expr_f1": expressions.mean(), "au_f1": np.mean(units)}
    scores["score"] = (scores["va_ccc"] + scores["expr_f1"] + scores["au_f1"]) / 3
    return scores, dict(zip(present, expressions, strict=True)), units


@pytest.mark.filterwarnings("ignore")
def test_every_interval_is_that_of_resampled_videos(monkeypatch):
    monkeypatch.setattr("analysis.affect.resample_counts.__defaults__", (REPLICATES, 0))  # the loop is slow
    pooled = pooled_example()
    groups, metrics = pooled.groups(), with_intervals(pooled)
    assert groups.count == 7  # two persons of one video count as one
    replicates = []
    for weights in resample_counts(np.ones(7)):
        rows = [np.flatnonzero(groups.rows == g) for g in range(7) for _ in range(weights[g])]
        replicates.append(scores_of(pooled, np.concatenate(rows)))
    for name in ("va_ccc", "va_ccc_valence", "va_ccc_arousal", "expr_f1", "au_f1", "score"):
        expected = bounds(np.array([scores[name] for scores, _, _ in replicates]))
        assert metrics["intervals"][name] == pytest.approx(expected, rel=1e-5), name
    for c, name in enumerate(EXPRESSIONS):
        expected = bounds(np.array([expressions.get(c, np.nan) for _, expressions, _ in replicates]))
        assert metrics["expr"]["per_class"][name]["f1_interval"] == pytest.approx(expected), name
    for k, name in enumerate(ACTION_UNITS[1:]):
        expected = bounds(np.array([units[k] for _, _, units in replicates]))
        assert metrics["au"]["per_class"][name]["f1_interval"] == pytest.approx(expected), name
    assert metrics["au"]["per_class"][ACTION_UNITS[0]]["f1_interval"] is None
    assert (metrics["intervals"]["resampled"], metrics["intervals"]["groups"]) == ("videos", 7)
    assert main_scores(metrics) == main_scores(pooled.score())


def test_the_text_shows_them_and_fits_a_screen():
    metrics = with_intervals(pooled_example())
    lines = score_lines(metrics).splitlines()
    low, high = metrics["intervals"]["va_ccc"]
    assert f"[{low:.3f}, {high:.3f}]" in lines[0] and max(map(len, lines)) <= 80
    assert "bootstrap over 7 videos" in lines[-1]


def test_one_video_has_no_interval():
    pooled = pooled_example(V=2)
    metrics = with_intervals(pooled)
    assert metrics["intervals"]["score"] is None and "[" not in score_lines(metrics)
    assert len(pooled.groups().doubts()) == 1


def test_videos_without_any_hit_have_bounds_of_f1_and_none_of_concordance():
    """Seven videos without a hit: the share of correct frames is below 1 - 0.025 ** (1 / 7), F1 = 2 J / (1 + J)."""
    pooled = pooled_example()
    for label, guess in pooled.rows["expr"]:
        guess[:] = (np.maximum(label, 0) + 1) % 8
    for _, guess in pooled.rows["va"]:
        guess[:] = 0.25
    metrics = with_intervals(pooled)
    reach = 1 - 0.025 ** (1 / 7)
    assert metrics["intervals"]["expr_f1"] == [0, pytest.approx(2 * reach / (1 + reach))]
    assert metrics["va"]["ccc"] == 0 and metrics["intervals"]["va_ccc"] is None
    assert metrics["intervals"]["va_ccc_arousal"] is None
