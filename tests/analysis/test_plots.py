"""Pictures of results as they are drawn, also of few clips, of absent classes and of strange names."""

import numpy as np
import pytest

from analysis.calibration import Calibration
from analysis.metrics import score
from analysis.plots import plt, save
from analysis.write import assess
from tests.support.pictures import REAL, pixels_of

draw_confusion, draw_curves, draw_reliability, _ = REAL
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
    save(figure, path)
    pixels = pixels_of(path)
    assert min(pixels.shape) > 300 and pixels.std() > 10
    assert figure.number not in plt.get_fignums()  # closed: hundreds of runs in a series


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@pytest.mark.parametrize("name", SETS)
def test_results_are_drawn(name, tmp_path):
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
    save(figure, tmp_path / "confusion.png")


@pytest.mark.parametrize(
    "history",
    [
        history(1, "train/loss"),
        history(3, "train/loss", "train/loss_mi", "train/loss_dc", "train/uar", "val/uar", "val/war"),
        history(40, "train/loss", "train/uar", "test/uar", "test/war"),
        [*history(2, "train/loss"), {"epoch": 3, "train/loss": 1.0, "val/uar": float("nan")}],
    ],
)
def test_curves_are_drawn(history, tmp_path):
    assert_drawn(draw_curves(history), tmp_path / "curves.png")
