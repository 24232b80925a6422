"""Figures of results, with few clips, absent classes and strange names; figures of reports; their colours."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from analysis import plots
from analysis.calibration import Calibration
from analysis.metrics import score
from analysis.results import assess
from tests.support.pictures import REAL, pixels_of
from tests.support.tools import ROOT

draw_confusion, draw_curves, draw_reliability = REAL[:3]
THREE = ("calm", "glad", "lost in thought")
SETS = {
    "many": (THREE, np.arange(30) % 3, 3 * np.eye(3)[np.arange(30) // 2 % 3]),
    "one clip": (THREE, np.array([0]), np.eye(3)[:1]),
    "one clip, wrong": (THREE, np.array([1]), np.eye(3)[:1]),
    "an absent class": (THREE, np.array([0, 1, 1, 0]), np.eye(3)[[0, 1, 2, 0]]),
    "all right": (THREE, np.arange(6) % 3, 9 * np.eye(3)[np.arange(6) % 3]),
    "two classes": (("$a$", "笑 <b>"), np.array([0, 1, 1]), np.array([[2.0, 1.0], [0.0, 0.0], [1e4, -1e4]])),
    "more classes": (tuple(f"class {n}" for n in range(11)), np.arange(11), np.eye(11)),
}
CALIBRATED = {"many": Calibration(1.7, "val"), "one clip": Calibration(0.05, "val")}


def metrics_of(name):
    names, label, logits = SETS[name]
    scores = score(label, logits.argmax(axis=1), names)
    return assess(scores, label, logits, CALIBRATED.get(name, Calibration()), None)


def history(epochs, *names):
    return [{"epoch": n} | {name: 50.0 / n for name in names} for n in range(1, epochs + 1)]


def assert_drawn(figure, path):
    plots.save(figure, path)
    pixels = pixels_of(path)
    assert min(pixels.shape) > 300 and pixels.std() > 10
    assert figure.number not in plots.plt.get_fignums()  # closed, because a series can have hundreds


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@pytest.mark.parametrize("name", SETS)
def test_figures_of_results_are_written(name, tmp_path):
    metrics = metrics_of(name)
    assert_drawn(draw_reliability(metrics, f"a title of {name}"), tmp_path / "reliability.png")
    assert_drawn(draw_confusion(metrics, f"a title of {name}"), tmp_path / "confusion.png")


def test_cells_hold_shares_and_counts_and_an_absent_class_holds_none(tmp_path):
    figure = draw_confusion(metrics_of("an absent class"), "a title")
    axes = figure.axes[0]
    cells = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}
    rows = {(0, 0): "100.0\n(2)", (0, 1): "0", (0, 2): "0", (1, 0): "0", (1, 1): "50.0\n(1)", (1, 2): "50.0\n(1)"}
    assert cells == rows  # nothing of the third class
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["calm (2)", "glad (2)", "lost in thought (0)"]
    assert axes.get_title().startswith("a title\nUAR 75.00")
    plots.save(figure, tmp_path / "confusion.png")


@pytest.mark.parametrize(
    "history",
    [
        history(1, "train/loss"),
        history(3, "train/loss", "train/loss_mi", "train/loss_dc", "train/uar", "val/uar", "val/war"),
        history(40, "train/loss", "train/uar", "test/uar", "test/war"),
        [*history(2, "train/loss"), {"epoch": 3, "train/loss": 1.0, "val/uar": float("nan")}],
        history(9, "train/loss", "train/loss_mi", "train/loss_dc", "val/loss", "train/uar", "val/uar"),
    ],
)
def test_figures_of_curves_are_written(history, tmp_path):
    assert_drawn(draw_curves(history, 2), tmp_path / "curves.png")


# -- figures of reports ---------------------------------------------------------------------------------------------

SCORES = [("UAR", 50.0, [0.0, 100.0]), ("<b> $x$ & a very long name of a run", 70.0, None)]
BINS = [{"low": 0.0, "high": 0.5, "count": 7, "confidence": 0.4, "accuracy": 0.3}]
FIGURES = {
    "scores": (plots.plot_intervals, SCORES, 100.0, 33.3),
    "curves": (
        plots.plot_curves,
        [plots.Curve("a", [(1, 0.0), (2, 4.0), (3, 2.0)]), plots.Curve("b", [(1, 1.0)], is_training=True)],
        "loss",
        None,
        2,
    ),
    "reliability": (plots.plot_bins, BINS),
    "risk": (plots.plot_risk, {"coverage": [0.5, 1.0], "risk": [0.1, 0.2]}),
}


def lines_of(svg):
    """The points of every line of a figure."""
    paths = [element.get("d") for element in ElementTree.fromstring(svg).iter("path")]
    return [[tuple(map(float, point.split())) for point in re.findall(r"[ML] ([\d. ]+)", path)] for path in paths]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_the_same_svg_every_time_and_fits_into_a_page(name):
    svg = plots.draw_svg('what "it" <shows>', *FIGURES[name])
    assert svg == plots.draw_svg('what "it" <shows>', *FIGURES[name])
    root = ElementTree.fromstring(svg)
    assert (root.get("role"), root.get("aria-label")) == ("img", 'what "it" <shows>') and len(svg) < 8000
    elements = list(root.iter())
    assert {element.tag for element in elements} == {"svg", "path", "text"}
    assert not any(element.get("id") or element.get("clip-path") for element in elements)  # ids of a page are unique
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) - {"none"}
    assert colours and all(colour.startswith("var(--") for colour in colours)  # of light and dark pages


def test_a_dot_is_at_its_value_and_names_are_text():
    svg = plots.draw_svg("", *FIGURES["scores"])
    lines = [line for line in lines_of(svg) if len(line) == 2]
    dots = [line[0] for line in lines if line[0] == line[1]]
    whisker = next(line for line in lines if line[0][1] == line[1][1] == dots[0][1] and line[0] != line[1])
    assert dots[0][0] == pytest.approx((whisker[0][0] + whisker[1][0]) / 2, abs=0.02)
    assert ">&lt;b&gt; $x$ &amp; a very long<" in svg and ">name of a run<" in svg  # complete, in two lines


def test_curves_put_the_highest_value_highest():
    (x1, y1), (x2, y2), (x3, y3) = next(
        line for line in lines_of(plots.draw_svg("", *FIGURES["curves"])) if len(line) == 3
    )
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.02) and y2 < y3 < y1
    assert y1 - y3 == pytest.approx(y3 - y2, abs=0.02)


def test_a_picture_is_replaced_only_when_it_is_complete(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    figure = plots.plt.figure()

    def write_half(file, **_):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    figure.savefig = write_half
    with pytest.raises(OSError, match="a.png") as error:
        plots.save(figure, tmp_path / "a.png")
    assert error.value.filename == str(tmp_path / "a.png")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.png", b"old")]


def contrast(a, b):
    """WCAG's ratio of two colours' luminances."""

    def luminance(colour):
        levels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
        return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_every_text_can_be_read_in_light_and_dark():
    """At least 4.5 : 1, as WCAG AA asks."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # a pair of colours that misses AA narrowly
    sheet = (ROOT / "analysis/report/templates/style.css").read_text(encoding="utf-8")
    light, dark = sheet.split("prefers-color-scheme: dark")
    for part in (light, dark):
        palette = dict(re.findall(r"--([\w-]+): (#\w{6});", part))
        inks = ("ink", "muted", "link", "first", "second", "third", "fourth")
        assert all(contrast(palette[ink], palette[ground]) >= 4.5 for ink in inks for ground in ("page", "surface"))
        assert contrast(palette["warning-ink"], palette["warning"]) >= 4.5
        shades = re.findall(r"td\.s(\d+) { background: (#\w{6}); color: (#\w{6}); }", part)
        assert [int(step) for step, *_ in shades] == list(range(11))
        assert all(contrast(ground, ink) >= 4.5 for _, ground, ink in shades)
    assert plots.VARIABLES.items() <= {colour: name for name, colour in re.findall(r"--(\w+): (#\w{6})", light)}.items()


def test_train_and_validation_of_one_quantity_share_a_hue_and_the_kept_epoch_is_marked():
    figure = draw_curves(history(6, "train/loss", "val/loss", "train/uar", "val/uar", "train/war", "val/war"), 4)
    for axes, quantities in zip(figure.axes, ([""], ["UAR", "WAR"]), strict=True):
        lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
        for quantity in quantities:
            pair = [line for name, line in lines.items() if name.endswith(quantity)]
            assert [line.get_label().split(",")[0].split()[0] for line in pair] == ["train", "val"]
            assert pair[0].get_color() == pair[1].get_color()
            assert [line.is_dashed() for line in pair] == [True, False]
        assert len({line.get_color() for line in lines.values()}) == len(quantities)
        assert [text.get_text() for text in axes.texts] == ["kept: epoch 4"]
        assert any(list(line.get_xdata()) == [4, 4] for line in axes.lines)
    plots.plt.close(figure)


def test_a_first_epoch_far_above_the_others_does_not_stretch_the_axis_and_is_named():
    values = [80.0, 2.0, 1.9, 1.7, 1.6, 1.5]
    rows = [{"epoch": epoch, "train/loss": value, "val/loss": 1.8} for epoch, value in enumerate(values, 1)]
    figure = draw_curves(rows)
    axes = figure.axes[0]
    assert 2.0 < axes.get_ylim()[1] < 2.2 and "outside: train 80 (epoch 1)" in axes.get_xlabel()
    heights = axes.lines[0].get_ydata()
    assert np.isnan(heights[0]) and np.nanmax(heights) == axes.get_ylim()[1]
    plots.plt.close(figure)
    figure = draw_curves([{"epoch": n, "train/loss": value} for n, value in enumerate(values[1:], 1)])
    assert figure.axes[0].get_xlabel() == "epoch"
    plots.plt.close(figure)
