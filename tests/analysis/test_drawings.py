"""Palettes that everybody can read, and drawings that show their numbers."""

import re

import pytest

from analysis.report import drawings
from analysis.report.style import DARK, LIGHT, STEPS, contrast, mix, text_on


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # known to miss AA narrowly


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_can_be_read(palette):
    for ink in ("ink", "muted", "link", "first", "second", "third", "fourth"):
        assert contrast(palette[ink], palette["page"]) >= 4.5, ink
    assert contrast(palette["warning-ink"], palette["warning"]) >= 4.5
    for step in range(STEPS + 1):
        back = mix(palette["shade-low"], palette["shade-high"], step / STEPS)
        assert contrast(text_on(back), back) >= 4.5, step


def test_ticks_are_round():
    assert drawings.ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert drawings.ticks(0, 1, most=5) == [0, 0.5, 1.0]
    assert drawings.ticks(1, 6, whole=True) == [1, 2, 3, 4, 5, 6]
    assert drawings.ticks(1, 2, whole=True) == [1, 2]


def test_a_dot_lies_where_its_number_is():
    drawing = drawings.cell_bar(50.0, [0.0, 100.0])
    places = [float(x) for x in re.findall(r'class="whisker" x1="([\d.]+)"', drawing)]
    middle = float(re.search(r'class="dot" cx="([\d.]+)"', drawing)[1])
    assert middle == pytest.approx((min(places) + max(places)) / 2)


def test_curves_put_the_highest_value_highest():
    drawing = drawings.curves([("a", [(1, 0.0), (2, 4.0), (3, 2.0)])], "loss", "d")
    points = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]+)"', drawing)[1].split()]
    (x1, y1), (x2, y2), (x3, y3) = points
    assert x2 - x1 == pytest.approx(x3 - x2) and y2 < y3 < y1 and y1 - y3 == pytest.approx(y3 - y2, abs=0.11)
