"""Pictures of a run, as PNG files and as SVG inside a report. They need no display."""

import io
import re
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.files import atomic_write
from utils.json_files import is_number

plt.rcParams["text.parse_math"] = False  # so that a $ in a name is printed as $
Point = tuple[float, float]
Row = tuple[str, float, list[float] | None]  # name, score, interval
WIDTH, HEIGHT = 380, 240  # of a figure in a report, in pixels of the page
NAME_LETTERS = 24  # in one line of a row's name
LEGEND_LETTERS = 34  # that fit into one line above a figure
INK, MUTED, LINE = "#16191d", "#555e68", "#d3d9df"
COLOURS = ("#0a569f", "#a84a00", "#00695c", "#8a3480")  # of curves
DASHED = (0, (3, 1.6))  # curves of training
OUTSIDE = 1.5  # times the usual highest loss; points above it lie outside the axis
FEWEST_EPOCHS = 5  # of a curve that may have points outside
MOST_OUTSIDE = 2  # points outside that are named
NOTE_LETTERS = 44  # in a line below the axis of a figure
FIRST = COLOURS[0]
VARIABLES = dict(  # colour of a figure → variable of style.css, which differs in light and dark
    zip((INK, MUTED, LINE, *COLOURS), ("ink", "muted", "line", "first", "second", "third", "fourth"), strict=True)
)
STYLE = matplotlib.rc_context(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "report",
        "font.size": 11,
        "text.color": INK,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "lines.solid_capstyle": "round",
        "lines.dash_capstyle": "round",
    }
)


@dataclass(frozen=True)
class Curve:
    """Values over epochs. Curves of one quantity share their ``hue``, a number of COLOURS; a term is a thin line."""

    name: str
    points: list[Point]
    hue: int = 0
    is_training: bool = False
    is_term: bool = False


# -- files ----------------------------------------------------------------------------------------------------------


def draw_confusion(metrics: dict[str, Any], title: str) -> Figure:
    """Draw each row's shares in percent with the number of clips; the row of a class without clips is grey."""
    counts, names = np.array(metrics["confusion"]), metrics["classes"]
    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100.0 * counts, support, out=np.full(counts.shape, np.nan), where=support > 0)
    size = 1.9 + 0.95 * len(names)
    figure, axes = plt.subplots(figsize=(size + 0.8, size), dpi=150, layout="constrained")
    colours = plt.get_cmap("Blues").with_extremes(bad="0.92")
    image = axes.imshow(shares, cmap=colours, vmin=0, vmax=100)
    for row, column in np.ndindex(counts.shape):
        if support[row, 0]:
            colour = "white" if shares[row, column] > 55 else "0.15"
            text = f"{shares[row, column]:.1f}\n({counts[row, column]})" if counts[row, column] else "0"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), [f"{n} ({s})" for n, s in zip(names, support[:, 0], strict=True)])
    axes.set(xlabel="predicted", ylabel="true (clips)")
    axes.set_title(f"{title}\nUAR {metrics['uar']:.2f}   WAR {metrics['war']:.2f}", fontsize=11)
    figure.colorbar(image, ax=axes, label="% of the true class", fraction=0.046)
    return figure


def draw_agreement(
    target: np.ndarray, predicted: np.ndarray, names: tuple[str, ...], metrics: dict[str, Any]
) -> Figure:
    """Draw predicted over true numbers, one square per target, with the line where they are equal."""
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4.2 * columns, 4.2 * rows), dpi=150, layout="constrained", squeeze=False
    )
    for axes in grid.flat[len(names) :]:
        axes.remove()
    for axes, name, true, guess in zip(grid.flat, names, target.T, predicted.T, strict=False):
        numbers = np.concatenate([true[~np.isnan(true)], guess])
        margin = 0.05 * (numbers.max() - numbers.min() or 1.0)
        low, high = numbers.min() - margin, numbers.max() + margin
        axes.plot([low, high], [low, high], color="0.6", linewidth=1)
        axes.scatter(true, guess, s=12, alpha=0.5, linewidths=0)
        row = metrics["targets"][name]
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal", xlabel="true", ylabel="predicted")
        axes.set_title(f"{name}\nPearson {row['pearson']:z.2f}   CCC {row['ccc']:z.2f}", fontsize=11)
    return figure


@STYLE
def draw_curves(history: list[dict[str, Any]], best: int | None = None, score: str = "") -> Figure:
    """Draw the losses, and UAR and WAR, over epochs; ``best`` is the epoch that ``score`` selected."""
    figure, grid = plt.subplots(1, 2, figsize=(10, 4), dpi=150, layout="constrained")
    panels = ((loss_curves(history), "loss", None), (score_curves(history), "recall, %", 100.0))
    for axes, (curves, unit, top) in zip(grid, panels, strict=True):
        clear_frame(axes)
        if curves:
            plot_curves(axes, curves, unit, top, best, score)
    return figure


@STYLE
def draw_reliability(metrics: dict[str, Any], title: str) -> Figure:
    """Draw the accuracy in each bin of confidence, and the error rate of the most confident answers."""
    calibration, curve = metrics["calibration"], metrics["risk_coverage"]
    figure, (bins, risk) = plt.subplots(1, 2, figsize=(10, 4.8), dpi=150, layout="constrained")
    for axes in (bins, risk):
        clear_frame(axes)
    plot_bins(bins, [row for row in calibration["bins"] if row["count"]])
    plot_risk(risk, curve)
    fitted_on, T = calibration["fitted_on"], calibration["temperature"]
    fitted = "" if fitted_on is None else f", T{'' if T is None else f' {T:.2f}'} fitted on {fitted_on}"
    bins.set_title(f"ECE {calibration['ece']:.1f} %{fitted}", fontsize=10)
    risk.set_title(f"AURC {curve['aurc']:.4f}; all answered: {100 * curve['risk'][-1]:.1f} % wrong", fontsize=10)
    figure.suptitle(title, fontsize=11)
    return figure


def draw_robustness(results: dict[str, list[dict[str, Any]]], title: str) -> Figure:
    """Draw UAR and its interval over the strength of each corruption, one small plot for each kind."""
    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.6 * columns, 2.4 * rows + 0.3), dpi=150, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for plot in axes.flat[len(results) :]:
        plot.set_visible(False)
    for plot, (kind, values) in zip(axes.flat, results.items(), strict=False):
        x, y = [row["strength"] for row in values], [row["uar"] for row in values]
        bounds = [row["interval"] for row in values]
        if None not in bounds:
            plot.fill_between(x, *zip(*bounds, strict=True), color=FIRST, alpha=0.18, linewidth=0)
        plot.plot(x, y, color=FIRST, linewidth=2, marker="o", markersize=4)
        plot.set_title(kind, fontsize=11)
        plot.set_xticks(x, [("as it is", "mild", "medium", "strong")[strength] for strength in x], fontsize=8)
        plot.set_ylim(0, 100)
        plot.grid(axis="y", color=LINE, linewidth=1)
    axes[0, 0].set_ylabel("UAR, %")
    figure.suptitle(title, fontsize=11)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture atomically and close the figure."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:])
    plt.close(figure)


# -- panels of files and of reports ---------------------------------------------------------------------------------


def points_of(history: list[dict[str, Any]], key: str) -> list[Point]:
    """Return (epoch, value) of a metric."""
    return [(row["epoch"], row[key]) for row in history if is_number(row.get(key)) and is_number(row.get("epoch"))]


def plot_intervals(axes: Axes, rows: list[Row], top: float, guess: float | None = None) -> None:
    """Draw a dot for each score from 0 to ``top`` and a line over its interval; ``guess``: the score of guessing."""
    names = ["\n".join(textwrap.wrap(name, NAME_LETTERS)) for name, *_ in rows]
    row_height = 17 + 13 * max(name.count("\n") + 1 for name in names)
    axes.figure.set_figheight((36 + row_height * len(rows) + (16 if guess is not None else 0)) / 72)
    for y, (_, value, bounds) in enumerate(rows):
        if bounds is not None:
            axes.plot(bounds, [y, y], color=FIRST, linewidth=2, clip_on=False)
            for end in bounds:
                axes.plot([end, end], [y - 0.16, y + 0.16], color=FIRST, linewidth=2, clip_on=False)
        dot(axes, value, y, 9)
    if guess is not None:
        guide(axes, [guess, guess], [-0.5, len(rows) - 0.5])
        axes.set_xlabel(f"dashed: chance {guess:.3g}")
    axes.grid(axis="x", color=LINE, linewidth=1, clip_on=False)
    axes.set_yticks(range(len(rows)), names, color=INK)
    axes.set(xlim=(0, top), ylim=(len(rows) - 0.5, -0.5))


def loss_curves(history: list[dict[str, Any]]) -> list[Curve]:
    """Return the training loss and its terms, and the loss of the checked split, in the order of the legend.

    Training loss and checked loss have one hue. A single term is the whole loss, so it gets no separate curve.
    """
    terms = sorted({key for row in history for key in row if key.startswith("train/loss_")})
    names = {"train/loss": "train", "val/loss": "val, cross entropy", "test/loss": "test, cross entropy"}
    names |= {key: f"train, {key.removeprefix('train/loss_')}" for key in (terms if len(terms) > 1 else [])}
    hues = {key: number for number, key in enumerate(terms, 1)}
    curves = [
        Curve(name, points_of(history, key), hues.get(key, 0), key.startswith("train/"), key in hues)
        for key, name in names.items()
    ]
    return [curve for curve in curves if curve.points]


def score_curves(history: list[dict[str, Any]]) -> list[Curve]:
    """Return UAR and WAR of training and of the checked split, one hue for each score."""
    curves = [
        Curve(f"{split} {score.upper()}", points_of(history, f"{split}/{score}"), hue, split == "train")
        for hue, score in enumerate(("uar", "war"))
        for split in ("train", "val", "test")
    ]
    return [curve for curve in curves if curve.points]


def plot_curves(
    axes: Axes, curves: list[Curve], unit: str, top: float | None = None, best: int | None = None, score: str = ""
) -> None:
    """Draw values over epochs: dashed for training, solid for other clips.

    ``best`` is the selected epoch, and ``score`` the name of the score that selected it.

    Without ``top`` the axis ends where most points do, and the label of the epochs names the points above it.
    """
    epochs = [epoch for curve in curves for epoch, _ in curve.points]
    low, high = (min(0.0, *values_of(curves)), top) if top else usual_range(curves)
    if best is not None and min(epochs) <= best <= max(epochs):
        guide(axes, [best, best], [low, high])
        is_late = best > (min(epochs) + max(epochs)) / 2
        place = {"ha": "right" if is_late else "left", "va": "bottom", "fontsize": 9, "color": MUTED}
        text = f"kept: epoch {best}" + (f" (by {score})" if score else "")
        axes.annotate(text, (best, low), (-4 if is_late else 4, 3), textcoords="offset points", **place)
    for curve in curves:
        colour = COLOURS[curve.hue % len(COLOURS)]
        x, y = zip(*points_below(curve.points, high), strict=True)
        line = {"linestyle": DASHED if curve.is_training else "-", "linewidth": 1.2 if curve.is_term else 2}
        axes.plot(x, y, color=colour, label=curve.name, clip_on=False, zorder=2 if curve.is_term else 2.1, **line)
        if len(curve.points) == 1:
            dot(axes, x[0], y[0], 7, colour)
    axes.grid(axis="y", color=LINE, linewidth=1, clip_on=False)
    outside = points_outside(curves, high)
    axes.set(xlim=(min(epochs), max(*epochs, min(epochs) + 1)), ylim=(low, high), ylabel=unit)
    axes.set_xlabel("\n".join(["epoch", *textwrap.wrap(outside, NOTE_LETTERS)]))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    columns = 4 if sum(len(curve.name) for curve in curves) <= LEGEND_LETTERS else 2
    legend = {"ncols": columns, "loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False, "fontsize": 10}
    axes.legend(handlelength=1.8, columnspacing=1.2, borderaxespad=0.2, labelcolor=MUTED, **legend)


def values_of(curves: list[Curve]) -> list[float]:
    return [value for curve in curves for _, value in curve.points]


def usual_range(curves: list[Curve]) -> tuple[float, float]:
    """Return the ends of an axis that holds most points of all curves.

    A point lies outside if it is more than ``OUTSIDE`` times as high as nine in ten points of the highest curve, as
    the first epochs of a large loss are. Without such points the axis holds all.
    """
    values = values_of(curves)
    heights = [sorted(value for _, value in curve.points) for curve in curves]
    usual = max(line[int(0.9 * (len(line) - 1))] if len(line) >= FEWEST_EPOCHS else line[-1] for line in heights)
    inside = [value for value in values if value <= OUTSIDE * usual] or values
    low, high = min(inside), max(inside)
    margin = 0.05 * (high - low or abs(high) or 1.0)
    return (low - margin if low < 0 or low > high / 2 else 0.0), high + margin


def points_outside(curves: list[Curve], high: float) -> str:
    """Return a text on the points above the axis, such as ``outside: train 8.41 (epoch 1)``; empty without any."""
    points = [(curve.name, epoch, value) for curve in curves for epoch, value in curve.points if value > high]
    texts = [f"{name} {value:.3g} (epoch {epoch})" for name, epoch, value in points[:MOST_OUTSIDE]]
    rest = f" and {len(points) - MOST_OUTSIDE} more" if len(points) > MOST_OUTSIDE else ""
    return f"outside: {', '.join(texts)}{rest}" if texts else ""


def points_below(points: list[Point], high: float) -> list[Point]:
    """Return a curve that ends at ``high``, with gaps (NaN) where it is above; a clip path would need an id."""
    visible: list[Point] = []
    for (x, y), (next_x, next_y) in zip(points, [*points[1:], points[-1]], strict=True):
        visible.append((x, y if y <= high else float("nan")))
        if (y > high) != (next_y > high):
            visible.append((x + (next_x - x) * (high - y) / (next_y - y), high))
    return visible


def plot_bins(axes: Axes, bins: list[dict[str, Any]]) -> None:
    """Draw bins that hold clips: bars are accuracy, dots mean confidence."""
    axes.grid(axis="y", color=LINE, linewidth=1, clip_on=False)
    guide(axes, [0, 100], [0, 100])
    for row in bins:
        middle, width = 50 * (row["low"] + row["high"]), 100 * (row["high"] - row["low"]) - 0.6
        axes.bar(middle, 100 * row["accuracy"], width, color=FIRST, alpha=0.28, clip_on=False)
        dot(axes, 100 * row["confidence"], 100 * row["accuracy"], 7)
        axes.text(middle, 2, row["count"], ha="center", fontsize=9, color=INK)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="confidence, %", ylabel="correct, %")


def plot_risk(axes: Axes, curve: dict[str, Any]) -> None:
    """Draw the share of wrong answers among the most confident answers, over the share that is answered."""
    coverage, risk = ([100 * share for share in curve[name]] for name in ("coverage", "risk"))
    axes.grid(axis="y", color=LINE, linewidth=1, clip_on=False)
    axes.plot(coverage, risk, color=FIRST, linewidth=2, clip_on=False)
    highest = max(5.0, 110 * max(curve["risk"]))
    axes.set(xlim=(0, 100), ylim=(0, highest), xlabel="clips answered, %", ylabel="of these wrong, %")


def clear_frame(axes: Axes) -> None:
    """Remove the frame and the marks of ticks."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(bottom=False, left=False, labelsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def dot(axes: Axes, x: float, y: float, size: float, colour: str = FIRST) -> None:
    """Draw a dot as a line with round ends, because the SVG of a marker needs an id that is unique in the page.

    The line is very short but not of length 0, which would be invisible in a PNG.
    """
    axes.plot([x, x + 1e-9], [y, y], color=colour, linewidth=size, clip_on=False, snap=False)


def guide(axes: Axes, x: list[float], y: list[float]) -> None:
    """Draw a thin dashed line."""
    axes.plot(x, y, color=MUTED, linestyle=(0, (3, 3)), linewidth=1, clip_on=False)


# -- SVG of a report ------------------------------------------------------------------------------------------------


@STYLE
def draw_svg(description: str, plot: Callable[..., None], *content: Any) -> str:
    """Return an SVG element of what ``plot(axes, *content)`` draws, with a description for screen readers.

    Its units are points of 1/72 inch, which the page treats as pixels. Colours and font are those of the page.
    """
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained")
    axes = figure.add_subplot()
    for patch in (figure.patch, axes.patch):
        patch.set_visible(False)
    clear_frame(axes)
    plot(axes, *content)
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Matplotlib's font lacks some letters, but the browser has them
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    width, height = (72 * inches for inches in figure.get_size_inches())
    drawing = buffer.getvalue().partition("</defs>")[2]  # removes a style that would apply to the whole page
    drawing = re.sub(r"\s*(<[^>]*>)\s*", lambda tag: page_tag(tag[1]), drawing)
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(description)}">{drawing}'


def page_tag(tag: str) -> str:
    """Return a tag of an SVG with the colours and the font of the page, fewer digits, and no id."""
    if re.fullmatch(r'<g( id="[^"]*")?>|</g>', tag):
        return ""
    tag = re.sub(r' id="[^"]*"| transform="rotate\(-0 [^"]*"|font-family: [^;"]*;? ?|\n', "", tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    return re.sub("|".join(VARIABLES), lambda colour: f"var(--{VARIABLES[colour[0]]})", tag)
