"""Scores equal scikit-learn's; absent classes are left out and named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from analysis.metrics import confusion_matrix, score, table

NAMES = ("Calm", "Glad", "Lost", "Tired", "Away")
PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_every_score_is_scikit_learns(pairs):
    label, predicted = np.array(pairs).T
    got = score(label, predicted, NAMES)
    there = sorted(set(label.tolist()))
    recalls = sk.recall_score(label, predicted, labels=range(5), average=None, zero_division=0)
    assert got["uar"] == pytest.approx(100 * sk.balanced_accuracy_score(label, predicted))
    assert got["uar"] == pytest.approx(100 * np.mean([recalls[c] for c in there]))
    assert got["war"] == pytest.approx(100 * sk.accuracy_score(label, predicted))
    assert got["macro_f1"] == pytest.approx(100 * sk.f1_score(label, predicted, average="macro", zero_division=0))
    assert got["confusion"] == sk.confusion_matrix(label, predicted, labels=range(5)).tolist()
    for c, name in enumerate(NAMES):
        support = int((label == c).sum())
        assert got["per_class"][name]["support"] == support
        expected = pytest.approx(100 * recalls[c]) if support else None
        assert got["per_class"][name]["recall"] == expected
    assert got["absent_classes"] == [name for c, name in enumerate(NAMES) if c not in there]
    assert got["num_clips"] == len(pairs) and got["classes"] == list(NAMES)


def test_an_absent_class_is_neither_zero_nor_one_in_uar():
    got = score(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), NAMES)
    assert got["uar"] == pytest.approx(75) and got["absent_classes"] == ["Lost", "Tired", "Away"]


def test_a_class_that_is_predicted_but_absent_costs_recall_only_where_it_was_taken_from():
    got = score(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), NAMES)
    assert got["uar"] == pytest.approx(75)
    assert got["macro_f1"] == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert got["confusion"][0] == [1, 0, 1, 0, 0]


def test_rows_are_true_classes_and_columns_predictions():
    assert confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 0]), 2).tolist() == [[0, 2], [1, 0]]


def test_the_table_shows_recall_support_and_what_one_clip_is_worth():
    label = np.array([0] * 345 + [1] * 32 + [2] * 7 + [3] * 39 + [4] * 105)
    lines = table(score(label, label, NAMES)).splitlines()
    lost = next(line for line in lines if line.startswith("Lost"))
    assert "100.00%" in lost and " 7 " in lost and "2.86" in lost  # 100 / (7 · 5)
    assert "UAR 100.00" in lines[-1] and "528 clips" in lines[-1]


def test_the_table_says_absent():
    lines = table(score(np.array([0, 1]), np.array([0, 1]), NAMES)).splitlines()
    assert "absent" in next(line for line in lines if line.startswith("Lost"))
