"""Pooled scores of frames against scikit-learn, closed forms and plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from engine.sequence.affect_metrics import au_score, best_thresholds, expression_score, va_score
from utils.errors import UserError

FACES = tuple(f"face {c}" for c in range(8))
UNITS = tuple(f"AU{k}" for k in range(12))
PAIRS = st.lists(st.tuples(st.integers(-1, 7), st.integers(0, 7)), min_size=1, max_size=60)


def ccc_by_loops(x, y):
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    together = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / n
    spread = sum((a - mx) ** 2 for a in x) / n + sum((b - my) ** 2 for b in y) / n
    return 2 * together / (spread + (mx - my) ** 2)


def va_example(N=200, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.uniform(-1, 1, (N, 2))
    predicted = 0.5 * label + rng.normal(0, 0.3, (N, 2)) + 0.1
    label[rng.random(N) < 0.2] = np.nan
    label[3, 1] = np.nan
    return label, predicted


def test_concordance_is_pooled_over_valid_frames():
    label, predicted = va_example()
    got = va_score(label, predicted)
    known = [~np.isnan(label[:, k]) for k in (0, 1)]
    expected = [ccc_by_loops(label[there, k].tolist(), predicted[there, k].tolist()) for k, there in enumerate(known)]
    assert [got["ccc_valence"], got["ccc_arousal"]] == pytest.approx(expected)
    assert got["ccc"] == pytest.approx(sum(expected) / 2) and got["num_frames"] == known[0].sum()
    assert va_score(label, predicted.astype(np.float32))["ccc"] == pytest.approx(got["ccc"], abs=1e-6)


def test_concordance_by_hand():
    """Means 2 and 3, variances 2/3 and 8/3, covariance 4/3: 2 · 4/3 / (10/3 + 1); the other way round the same."""
    one, other = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 5.0])
    got = va_score(np.stack([one, other], axis=1), np.stack([other, one], axis=1))
    assert got == {"ccc": pytest.approx(8 / 13), "ccc_valence": got["ccc"], "ccc_arousal": got["ccc"], "num_frames": 3}


@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3])
def test_a_constant_prediction_has_no_concordance(value):
    label, _ = va_example()
    got = va_score(label, np.full_like(label, value))
    assert got["ccc"] == got["ccc_valence"] == got["ccc_arousal"] == 0


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(PAIRS)
def test_expression_scores_are_scikit_learns(pairs):
    label, predicted = np.array(pairs).T
    valid = label >= 0
    if not valid.any():
        with pytest.raises(UserError, match="no frame has a valid expression label"):
            expression_score(label, predicted, FACES)
        return
    got = expression_score(label, predicted, FACES)
    label, predicted = label[valid], predicted[valid]
    f1 = sk.f1_score(label, predicted, labels=range(8), average=None, zero_division=0)
    there = {*label.tolist(), *predicted.tolist()}
    assert got["f1"] == pytest.approx(sk.f1_score(label, predicted, average="macro", zero_division=0))
    for c, name in enumerate(FACES):
        expected = pytest.approx(f1[c]) if c in there else None
        assert got["per_class"][name] == {"f1": expected, "support": int((label == c).sum())}
    assert got["absent_classes"] == [name for c, name in enumerate(FACES) if c not in there]
    assert got["confusion"] == sk.confusion_matrix(label, predicted, labels=range(8)).tolist()
    assert got["num_frames"] == len(label) and got["classes"] == list(FACES)


def au_example(N=150, seed=0):
    """One unit is never active nor found, one is never active but found."""
    rng = np.random.default_rng(seed)
    label = (rng.random((N, 12)) < np.linspace(0.05, 0.7, 12)).astype(float)
    probability = np.clip(0.3 * label + rng.random((N, 12)) * 0.7, 0, 1)
    label[:, 3] = label[:, 4] = 0
    probability[:, 3] = 0.1
    label[rng.random(N) < 0.2] = np.nan
    label[0, 5] = -1
    return label, probability


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("thresholds", [0.5, np.linspace(0.3, 0.8, 12)], ids=["one", "each"])
def test_action_unit_scores_are_scikit_learns(thresholds):
    label, probability = au_example()
    got = au_score(label, probability, UNITS, thresholds)
    cuts, scores = np.broadcast_to(thresholds, 12), []
    for k, name in enumerate(UNITS):
        valid = label[:, k] >= 0
        true, found = label[valid, k].astype(int), (probability[valid, k] >= cuts[k]).astype(int)
        if not true.any() and not found.any():
            assert got["per_class"][name] == {"f1": None, "support": 0}
            continue
        scores.append(sk.f1_score(true, found, zero_division=0))
        assert got["per_class"][name] == {"f1": pytest.approx(scores[-1]), "support": true.sum()}
    assert got["absent_classes"] == ["AU3"] and len(scores) == 11
    assert got["f1"] == pytest.approx(np.mean(scores)) and got["thresholds"] == pytest.approx(list(cuts))
    assert got["num_frames"] == (~np.isnan(label[:, 0])).sum()


def test_units_that_are_neither_there_nor_found_score_nothing():
    assert au_score(np.zeros((4, 12)), np.zeros((4, 12)), UNITS)["f1"] == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, math.nan]), st.integers(0, 8)), min_size=1, max_size=25))
def test_no_threshold_is_better_than_the_best(pairs):
    """Every cut that parts the frames differently is tried; probabilities repeat."""
    label, probability = np.array(pairs).T[..., None] / [[[1]], [[8]]]
    (best,) = best_thresholds(label, probability)
    true, p = label[~np.isnan(label)].tolist(), probability[~np.isnan(label)].tolist()
    if 1 not in true:
        assert best == 0.5
        return

    def f1(cut):
        hits = sum(t == 1 and v >= cut for t, v in zip(true, p, strict=True))
        return 2 * hits / (sum(v >= cut for v in p) + sum(true))

    assert f1(best) == pytest.approx(max(f1(cut) for cut in p))
    assert 0 <= best <= 1


def test_each_unit_has_its_own_threshold_halfway_between_two_probabilities():
    label = np.array([[0, 1], [0, 1], [1, 0], [1, 1]], dtype=float)
    probability = np.array([[0.1, 0.9], [0.2, 0.8], [0.4, 0.3], [0.7, 0.5]])
    assert best_thresholds(label, probability).tolist() == pytest.approx([0.3, 0.4])
    tuned = au_score(label, probability, ("AU1", "AU2"), best_thresholds(label, probability))
    assert tuned["f1"] == 1 and au_score(label, probability, ("AU1", "AU2"))["f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_of_equally_good_thresholds_the_nearest_to_a_half_is_taken():
    """One found is 2 · 1 / (1 + 2), four found are 2 · 2 / (4 + 2)."""
    label = np.array([[1.0], [0.0], [0.0], [1.0], [0.0]])
    high, low = np.array([[0.99], [0.95], [0.9], [0.6], [0.3]]), np.array([[0.6], [0.3], [0.2], [0.15], [0.05]])
    assert best_thresholds(label, high).tolist() == pytest.approx([0.45])
    assert best_thresholds(label, low).tolist() == pytest.approx([0.45])


def test_a_threshold_between_neighbouring_floats_parts_them():
    low = 0.4
    high = np.nextafter(low, 1)
    label, probability = np.array([[1.0], [0.0]]), np.array([[high], [low]])
    (best,) = best_thresholds(label, probability)
    assert low < best <= high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: va_score(np.full((3, 2), np.nan), np.zeros((3, 2))), "no frame has a valid valence label"),
        (lambda: va_score(np.array([[0.1, np.nan]]), np.zeros((1, 2))), "no frame has a valid arousal label"),
        (lambda: au_score(np.full((3, 12), np.nan), np.zeros((3, 12)), UNITS), "no frame has a valid action unit"),
        (lambda: va_score(np.zeros((3, 2)), np.full((3, 2), np.nan)), "not finite"),
        (lambda: au_score(np.zeros((3, 12)), np.full((3, 12), np.inf), UNITS), "not finite"),
        (lambda: best_thresholds(np.array([[0.3]]), np.array([[1.0]])), "0 or 1"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(call, message):
    with pytest.raises(UserError, match=message):
        call()
