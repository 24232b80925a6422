"""Figures of a report: Matplotlib draws them, and their SVG takes the colours and the font of the page around it."""

import io
import re
import warnings
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Point = tuple[float, float]
Row = tuple[str, float, list[float] | None]  # name, score, interval
WIDTH, HEIGHT = 380, 240  # pixels of the page
NAME_LETTERS = 24  # of a row's name; longer ones are cut
LEGEND_LETTERS = 34  # that fit into one line above a figure
INK, MUTED, LINE = "#16191d", "#555e68", "#d3d9df"
SERIES = {"#0a569f": "-", "#a84a00": (0, (3.5, 2)), "#00695c": (0, (1, 2)), "#8a3480": (0, (4.5, 1.5, 1, 1.5))}
FIRST = next(iter(SERIES))
VARIABLES = dict(  # colour of a figure → variable of style.css, which differs in light and dark
    zip((INK, MUTED, LINE, *SERIES), ("ink", "muted", "line", "first", "second", "third", "fourth"), strict=True)
)
STYLE = matplotlib.rc_context(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "report",
        "text.parse_math": False,  # a $ in a name is a $
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


@STYLE
def draw_intervals(rows: list[Row], top: float, guess: float | None = None) -> Figure:
    """Draw a dot for each score from 0 to ``top`` and a line over its interval; ``guess``: the score of guessing."""
    figure, axes = new_axes(36 + 30 * len(rows) + (16 if guess is not None else 0))
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
    names = [name if len(name) <= NAME_LETTERS else name[: NAME_LETTERS - 1] + "…" for name, *_ in rows]
    axes.set_yticks(range(len(rows)), names, color=INK)
    axes.set(xlim=(0, top), ylim=(len(rows) - 0.5, -0.5))
    return figure


@STYLE
def draw_curves(
    series: list[tuple[str, list[Point]]], unit: str, top: float | None = None, best: int | None = None
) -> Figure:
    """Draw values over epochs, up to four series; ``best`` is the epoch that was kept."""
    figure, axes = new_axes(HEIGHT)
    points = [point for _, line in series for point in line]
    epochs, values = zip(*points, strict=True)
    low, high = min(0.0, *values), top or max(values) * 1.05 or 1.0
    if best is not None and min(epochs) <= best <= max(epochs):
        guide(axes, [best, best], [low, high])
    for (name, line), (colour, dashes) in zip(series, SERIES.items(), strict=False):
        x, y = zip(*line, strict=True)
        axes.plot(x, y, color=colour, linestyle=dashes, linewidth=2, clip_on=False, label=name)
        if len(line) == 1:
            dot(axes, *line[0], 7, colour)
    axes.grid(axis="y", color=LINE, linewidth=1, clip_on=False)
    axes.set(xlim=(min(epochs), max(*epochs, min(epochs) + 1)), ylim=(low, high), xlabel="epoch", ylabel=unit)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    columns = 4 if sum(len(name) for name, _ in series) <= LEGEND_LETTERS else 2
    legend = {"ncols": columns, "loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False, "fontsize": 10}
    axes.legend(handlelength=1.8, columnspacing=1.2, borderaxespad=0.2, labelcolor=MUTED, **legend)
    return figure


@STYLE
def draw_reliability(bins: list[tuple[float, float, int, float, float]]) -> Figure:
    """Draw (low, high, clips, mean confidence, accuracy) of each bin: bars are accuracy, dots mean confidence."""
    figure, axes = new_axes(HEIGHT)
    axes.grid(axis="y", color=LINE, linewidth=1, clip_on=False)
    guide(axes, [0, 100], [0, 100])
    for low, high, count, confidence, accuracy in bins:
        width = 100 * (high - low) - 0.6
        axes.bar(50 * (low + high), 100 * accuracy, width, color=FIRST, alpha=0.28, clip_on=False)
        dot(axes, 100 * confidence, 100 * accuracy, 7)
        axes.text(50 * (low + high), 2, count, ha="center", fontsize=9, color=INK)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="confidence, %", ylabel="correct, %")
    return figure


@STYLE
def draw_risk(coverage: list[float], risk: list[float]) -> Figure:
    """Draw the share of wrong answers among those that are given when the least sure are withheld."""
    figure, axes = new_axes(HEIGHT)
    axes.grid(axis="y", color=LINE, linewidth=1, clip_on=False)
    axes.plot([100 * c for c in coverage], [100 * r for r in risk], color=FIRST, linewidth=2, clip_on=False)
    axes.set(xlim=(0, 100), ylim=(0, max(5.0, 110 * max(risk))), xlabel="clips answered, %", ylabel="of these wrong, %")
    return figure


def new_axes(height: float) -> tuple[Figure, Axes]:
    """Return axes without frame and tick marks. SVG units are points of 1/72 inch, which the page takes as pixels."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(bottom=False, left=False, labelsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    for patch in (figure.patch, axes.patch):
        patch.set_visible(False)
    return figure, axes


def dot(axes: Axes, x: float, y: float, size: float, colour: str = FIRST) -> None:
    """Draw a dot as a line of length 0 with round ends: a marker's SVG needs an id that is unique in the page."""
    axes.plot([x, x], [y, y], color=colour, linewidth=size, clip_on=False)


def guide(axes: Axes, x: list[float], y: list[float]) -> None:
    """Draw a thin dashed line."""
    axes.plot(x, y, color=MUTED, linestyle=(0, (3, 3)), linewidth=1, clip_on=False)


@STYLE
def to_svg(figure: Figure, description: str) -> str:
    """Return a figure as an SVG element that a screen reader describes with ``description``."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that Matplotlib's font lacks: the browser has them
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    width, height = (72 * inches for inches in figure.get_size_inches())
    drawing = buffer.getvalue().partition("</defs>")[2]  # before it stands a style that would hold for the whole page
    drawing = re.sub(r"\s*(<[^>]*>)\s*", lambda tag: page_tag(tag[1]), drawing)
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(description)}">{drawing}'


def page_tag(tag: str) -> str:
    """Return a tag of an SVG with the colours and the font of the page, fewer digits, and no id."""
    if re.fullmatch(r'<g( id="[^"]*")?>|</g>', tag):
        return ""
    tag = re.sub(r' id="[^"]*"| transform="rotate\(-0 [^"]*"|font-family: [^;"]*;? ?|\n', "", tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    return re.sub("|".join(VARIABLES), lambda colour: f"var(--{VARIABLES[colour[0]]})", tag)
