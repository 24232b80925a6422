"""Rows of an ablation's table: differences, intervals and verdicts."""

import numpy as np

from analysis.intervals import grouped
from analysis.results import Predictions
from sweep.grid import BASE, Variant
from sweep.table import Measured, make_rows


def test_make_rows_needs_no_intervals():
    label = np.array([0, 1, 0, 1])
    first = Predictions(("a", "b"), list("wxyz"), [None] * 4, label, np.eye(2)[label])
    scores = {"uar": [100.0], "war": [100.0], "macro_f1": [100.0]}
    one = Measured(BASE, [1], [], label[None], scores)
    other = Measured(Variant("x", {"lr": 1.0}), [1], [], 1 - label[None], {name: [0.0] for name in scores})
    rows = make_rows(first, [one, other], None)
    assert rows[1]["difference"]["uar"]["value"] == -100 and rows[1]["verdict"] == "no interval"


def test_one_of_many_variants_must_differ_more():
    """p near 0.03 alone; among six variants, five of them without any effect, that is no news."""
    label = np.arange(200) % 2
    first = Predictions(("a", "b"), [str(n) for n in range(200)], [None] * 200, label, np.eye(2)[label])
    scores = {"uar": [0.0] * 2, "war": [0.0] * 2, "macro_f1": [0.0] * 2}

    def measured(name, wrong):
        answers = label.copy()
        answers[wrong] = 1 - answers[wrong]
        variant = Variant(name, {"lr": 1.0}) if name else BASE
        return Measured(variant, [1, 2], [], np.stack([answers, answers]), scores)

    better = measured("better", range(6, 40))  # six clips won
    base, groups = measured("", range(40)), grouped([str(n) for n in range(200)], "clips")
    alone = make_rows(first, [base, better], groups)
    assert alone[1]["verdict"] == "yes" and alone[1]["difference"]["uar"]["p"] < 0.05
    others = [measured(f"other {n}", [n, *range(1, 40), 50 + n]) for n in range(40, 79)]
    among = make_rows(first, [base, better, *others], groups)
    assert among[1]["verdict"] == "if tried alone" and among[1]["difference"]["uar"]["p_holm"] > 0.05
