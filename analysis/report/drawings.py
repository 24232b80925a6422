"""Drawings as SVG text: intervals, curves, reliability, risk over coverage. Colours come from the page's sheet."""

import math
from html import escape

Point = tuple[float, float]
WIDTH, HEIGHT = 380, 240
LETTER = 7.4  # pixels of a wide one, a digit for instance
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 38
STYLES = ("first", "second", "third", "fourth")


class Plot:
    """Axes, and where numbers lie on them."""

    def __init__(self, x: Point, y: Point, x_name: str, y_name: str, whole_x: bool = False) -> None:
        self.x, self.y = x, y
        self.parts: list[str] = []
        self._axes(x_name, y_name, whole_x)

    def place(self, x: float, y: float) -> Point:
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def line(self, points: list[Point], style: str) -> None:
        placed = [self.place(*point) for point in points]
        if len(placed) == 1:
            self.dot(points[0], style)
        self.parts.append(
            f'<polyline class="line {style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in placed)}"/>'
        )

    def dot(self, point: Point, style: str = "dot", radius: float = 3.5) -> None:
        x, y = self.place(*point)
        self.parts.append(f'<circle class="dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>')

    def guide(self, start: Point, end: Point) -> None:
        (x1, y1), (x2, y2) = self.place(*start), self.place(*end)
        self.parts.append(f'<line class="guide" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def bar(self, low: float, high: float, top: float) -> None:
        (x1, y1), (x2, y2) = self.place(low, top), self.place(high, self.y[0])
        self.parts.append(
            f'<rect class="bar" x="{x1 + 1:.1f}" y="{y1:.1f}" width="{x2 - x1 - 2:.1f}" height="{y2 - y1:.1f}"/>'
        )

    def legend(self, names: list[str]) -> None:
        """A short line and a name each, above the plot."""
        x, most = LEFT, WIDTH - LEFT
        if sum(33 + 6.2 * len(name) for name in names) > most:
            names = [fit(name, most / len(names) - 33) for name in names]
        for name, style in zip(names, STYLES, strict=False):
            self.parts.append(f'<line class="line {style}" x1="{x}" y1="12" x2="{x + 20}" y2="12"/>')
            self.parts.append(text(x + 25, 16, name, "tick"))
            x += 33 + round(6.2 * len(name))

    def svg(self, description: str) -> str:
        return svg(WIDTH, HEIGHT, self.parts, description)

    def _axes(self, x_name: str, y_name: str, whole_x: bool) -> None:
        low, high = self.place(self.x[0], self.y[0]), self.place(self.x[1], self.y[1])
        for value in ticks(*self.y):
            y = self.place(self.x[0], value)[1]
            self.parts.append(f'<line class="grid" x1="{low[0]:.1f}" y1="{y:.1f}" x2="{high[0]:.1f}" y2="{y:.1f}"/>')
            self.parts.append(text(LEFT - 6, y + 4, short(value), "tick", "end"))
        for value in ticks(*self.x, whole=whole_x):
            x = self.place(value, self.y[0])[0]
            self.parts.append(text(x, HEIGHT - BOTTOM + 15, short(value), "tick", "middle"))
        self.parts.append(
            f'<line class="axis" x1="{low[0]:.1f}" y1="{low[1]:.1f}" x2="{high[0]:.1f}" y2="{low[1]:.1f}"/>'
        )
        self.parts.append(text((low[0] + high[0]) / 2, HEIGHT - 6, x_name, "tick", "middle"))
        middle = (low[1] + high[1]) / 2
        self.parts.append(
            f'<text class="tick" text-anchor="middle" transform="rotate(-90 11 {middle:.0f})" x="11" y="{middle:.0f}">'
            f"{escape(y_name)}</text>"
        )


def svg(width: int, height: int, parts: list[str], description: str) -> str:
    """``description`` is what a screen reader says; without one the drawing is hidden from it."""
    said = f'role="img" aria-label="{escape(description)}"' if description else 'aria-hidden="true"'
    return f'<svg viewBox="0 0 {width} {height}" {said}>{"".join(parts)}</svg>'


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def ticks(low: float, high: float, whole: bool = False, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most ``most``."""
    if high <= low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most - 1)
    step = max(1, step) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    return f"{value:.10g}" if abs(value) < 1e6 else f"{value:.0e}"


def whiskers(
    rows: list[tuple[str, float, list[float] | None]], top: float, chance: float | None, description: str
) -> str:
    """A dot for each score and a line over its interval; ``chance`` a dashed line."""
    name_width = min(180, 14 + round(LETTER * max(len(name) for name, *_ in rows)))
    height, row_height = 34 + 30 * len(rows) + (14 if chance is not None else 0), 30
    bottom = 8 + row_height * len(rows)

    def across(value: float) -> float:
        return name_width + value / top * (WIDTH - name_width - 18)

    parts = []
    for value in ticks(0, top, most=5 if top == 1 else 6):
        x = across(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(text(x, bottom + 15, short(value), "tick", "middle"))
    if chance is not None:
        x = across(chance)
        parts.append(f'<line class="guide" x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(text(x, bottom + 30, f"chance {chance:.3g}", "tick", "middle"))
    for number, (name, value, bounds) in enumerate(rows):
        y = 8 + row_height * number + row_height / 2
        parts.append(text(0, y + 4, fit(name, name_width - 14), ""))
        parts += whisker(across, y, value, bounds, 5)
    return svg(WIDTH, height, parts, description)


def whisker(across, y: float, value: float, bounds: list[float] | None, end: float) -> list[str]:
    parts = []
    if bounds is not None:
        x1, x2 = across(bounds[0]), across(bounds[1])
        parts.append(f'<line class="whisker" x1="{x1:.1f}" y1="{y}" x2="{x2:.1f}" y2="{y}"/>')
        parts += [f'<line class="whisker" x1="{x:.1f}" y1="{y - end}" x2="{x:.1f}" y2="{y + end}"/>' for x in (x1, x2)]
    return [*parts, f'<circle class="dot" cx="{across(value):.1f}" cy="{y}" r="4.5"/>']


def fit(name: str, width: float) -> str:
    most = int(width / LETTER)
    return name if len(name) <= most else name[: most - 1] + "…"


def cell_bar(value: float, bounds: list[float] | None, top: float = 100.0) -> str:
    """A score within a table's row; the numbers stand beside it."""

    def across(share: float) -> float:
        return 5 + share / top * 126

    y = 9.0
    base = [
        f'<line class="grid" x1="5" y1="{y}" x2="131" y2="{y}"/>',
        *(
            f'<line class="grid" x1="{across(v * top):.1f}" y1="5" x2="{across(v * top):.1f}" y2="13"/>'
            for v in (0, 0.5, 1)
        ),
    ]
    return svg(136, 18, base + whisker(across, y, value, bounds, 4), "")


def curves(
    series: list[tuple[str, list[Point]]],
    y_name: str,
    description: str,
    top: float | None = None,
    mark: int | None = None,
) -> str:
    """Values over epochs; ``mark``: the epoch that was kept."""
    points = [point for _, line in series for point in line]
    epochs = [x for x, _ in points]
    high = top or max(y for _, y in points) * 1.05 or 1.0
    low = min(0.0, min(y for _, y in points))
    plot = Plot((min(epochs), max(max(epochs), min(epochs) + 1)), (low, high), "epoch", y_name, whole_x=True)
    if mark is not None and min(epochs) <= mark <= max(epochs):
        plot.guide((mark, low), (mark, high))
    for (_, line), style in zip(series, STYLES, strict=False):
        plot.line(line, style)
    plot.legend([name for name, _ in series])
    return plot.svg(description)


def reliability_bars(bins: list[tuple[float, float, int, float, float]], description: str) -> str:
    """(low, high, clips, mean confidence, accuracy) each: bars are accuracy, the dashed line is where both agree."""
    plot = Plot((0, 100), (0, 100), "confidence, %", "correct, %")
    for low, high, count, _, accuracy in bins:
        if count:
            plot.bar(100 * low, 100 * high, 100 * accuracy)
    plot.guide((0, 0), (100, 100))
    for low, high, count, confidence, accuracy in bins:
        if count:
            plot.dot((100 * confidence, 100 * accuracy))
            x, y = plot.place(50 * (low + high), 0)
            plot.parts.append(text(x, y - 4, str(count), "count", "middle"))
    return plot.svg(description)


def risk_over_coverage(coverage: list[float], errors: list[float], description: str) -> str:
    """Wrong answers among those that are given, when the least sure are withheld."""
    top = max(5.0, 100 * max(errors) * 1.1)
    plot = Plot((0, 100), (0, top), "clips answered, %", "of these wrong, %")
    plot.line([(100 * c, 100 * e) for c, e in zip(coverage, errors, strict=True)], "first")
    return plot.svg(description)
