"""timeline.png: for each person a band of the predicted classes over time, and the probabilities behind it."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from apps.predict.colours import UNCERTAIN_COLOUR, class_colours
from apps.predict.runner import About
from apps.predict.timeline import CONTEXT_ONLY, FACE, NO_ONE, UNCERTAIN

COLUMNS = 1200  # moments of time that the picture can tell apart
MOST = 6  # persons that are drawn
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds between two ticks
LEGEND = 12  # classes that are named


@dataclass
class Lane:
    """One person, time cut into ``COLUMNS`` equal moments."""

    width: int
    sums: np.ndarray = field(init=False)
    counts: np.ndarray = field(init=False)
    sees: np.ndarray = field(init=False)  # 0 nothing, 1 no face, 2 context alone, 3 a face
    uncertain: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.sums, self.counts = np.zeros((COLUMNS, self.width)), np.zeros(COLUMNS)
        self.sees, self.uncertain = np.zeros(COLUMNS, dtype=int), np.zeros(COLUMNS, dtype=int)

    def add(self, moments: slice, row: dict[str, str], values: list[str]) -> None:
        self.sees[moments] = np.maximum(self.sees[moments], {FACE: 3, CONTEXT_ONLY: 2, NO_ONE: 0}.get(row["seen"], 1))
        if all(values) and values:
            self.sums[moments] += np.array(values, dtype=float)
            self.counts[moments] += 1
            self.uncertain[moments] += 1 if row["predicted"] == UNCERTAIN else -1

    @property
    def means(self) -> np.ndarray:
        """(COLUMNS, width), NaN where nothing was said."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.sums / self.counts[:, None]


def draw_timeline(folder: Path, about: About) -> None:
    """From the table of the same folder, whose length costs no memory."""
    lanes, end = read_lanes(folder / "timeline.csv", about)
    from analysis.plots import save

    save(draw_lanes(lanes, end, about), folder / "timeline.png")


def read_lanes(table: Path, about: About) -> tuple[dict[str, Lane], float]:
    """A lane a person, and when the last row ends. Each row stands for the time around its middle that is nearer to it
    than to its neighbours."""
    end, shortest = 0.0, None
    last: dict[str, float] = {}
    for row in read_rows(table):
        start, end = float(row["from"]), max(end, float(row["to"]))
        step = start - last.get(row["person"], start)
        shortest = step if step > 0 and (shortest is None or step < shortest) else shortest
        last[row["person"]] = start
    lanes: dict[str, Lane] = {}
    for row in read_rows(table):
        start, stop = float(row["from"]), float(row["to"])
        half = (stop - start if shortest is None else shortest) / 2
        middle = (start + stop) / 2
        begin = start if start <= 0 else middle - half
        until = stop if stop >= end else middle + half
        lane = lanes.setdefault(row["person"], Lane(len(about.columns)))
        moments = slice(
            int(begin / end * COLUMNS), max(int(np.ceil(until / end * COLUMNS)), int(begin / end * COLUMNS) + 1)
        )
        lane.add(moments, row, [row[name] for name in about.columns])
    return lanes, end


def read_rows(table: Path) -> Any:
    with open(table, newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def draw_lanes(lanes: dict[str, Lane], end: float, about: About) -> Any:
    import matplotlib.pyplot as plt

    shown = sorted((person for person in lanes if person), key=int)[:MOST]
    if not shown or ("" in lanes and lanes[""].counts.any()):
        shown.append("")
    heights = [part for _ in shown for part in heights_of(about)]
    figure, axes = plt.subplots(
        len(heights),
        figsize=(11, 0.9 + 0.75 * sum(heights)),
        dpi=110,
        sharex=True,
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )
    rows = iter(axes[:, 0])
    for person in shown:
        lane = lanes.get(person) or Lane(len(about.columns))
        name = f"person {person}" if person else "someone"
        if about.names:
            draw_band(next(rows), lane, end, about, name)
            draw_chances(next(rows), lane, end, about)
        lines, units = numbers_of(about)
        if lines:
            draw_numbers(next(rows), lane, end, about, "" if about.names else name)
        if units:
            draw_units(next(rows), lane, end, about)
    last = axes[-1, 0]
    last.set_xlim(0, end or 1)
    step = next((step for step in STEPS if end / step <= 12), STEPS[-1])
    last.set_xticks(np.arange(0, end + 1e-6, step))
    last.xaxis.set_major_formatter(lambda seconds, _: clock(seconds, end))
    last.set_xlabel("time (minutes:seconds)" if end >= 120 else "time (s)")
    add_legend(figure, about, [lanes[person] for person in shown if person in lanes])
    return figure


def heights_of(about: About) -> list[float]:
    lines, units = numbers_of(about)
    return ([0.45, 1.5] if about.names else []) + ([1.4] if lines else []) + ([0.19 * len(units)] if units else [])


def numbers_of(about: About) -> tuple[list[int], list[int]]:
    """Columns of the numbers that are lines, and of the action units, which are shades."""
    numbered = list(enumerate(about.numbers, len(about.names)))
    units = [column for column, name in numbered if name.startswith("AU")]
    return [column for column, _ in numbered if column not in units], units


def draw_band(axes: Any, lane: Lane, end: float, about: About, name: str) -> None:
    """The class of the highest probability; hatched where there is no answer, pale where none is certain."""
    colours, means = class_colours(about.names), lane.means[:, : len(about.names)]
    best = np.where(lane.counts > 0, np.nan_to_num(means, nan=-1.0).argmax(axis=1), -1)
    kinds = np.where(best < 0, -1, np.where(lane.uncertain > 0, -2, best))
    for start, stop in runs(kinds):
        kind, x, wide = kinds[start], start / COLUMNS * end, (stop - start) / COLUMNS * end
        if kind == -1:
            axes.barh(0, wide, 1, x, color="white", edgecolor="0.6", hatch="////", lw=0)
        else:
            axes.barh(0, wide, 1, x, color=UNCERTAIN_COLOUR if kind == -2 else colours[about.names[kind]], lw=0)
    alone = lane.sees == 2
    for start, stop in runs(alone):
        if alone[start]:
            axes.plot([start / COLUMNS * end, stop / COLUMNS * end], [-0.42, -0.42], color="black", lw=2.5, ls=":")
    axes.set(yticks=[], ylim=(-0.5, 0.5))
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def draw_chances(axes: Any, lane: Lane, end: float, about: About) -> None:
    """Probabilities stacked on one another, those of many classes that matter least left white."""
    colours, means = class_colours(about.names), lane.means[:, : len(about.names)]
    time = (np.arange(COLUMNS) + 0.5) / COLUMNS * end
    drawn = np.nan_to_num(means)
    axes.stackplot(time, *drawn.T, colors=[colours[name] for name in about.names], lw=0, step="mid")
    for start, stop in runs(lane.counts > 0):
        if not lane.counts[start]:
            axes.axvspan(start / COLUMNS * end, stop / COLUMNS * end, color="white", zorder=3, lw=0)
            axes.axvspan(
                start / COLUMNS * end, stop / COLUMNS * end, fc="none", ec="0.75", hatch="////", zorder=4, lw=0
            )
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=8)
    axes.set_ylabel("probability", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_numbers(axes: Any, lane: Lane, end: float, about: About, name: str) -> None:
    lines, _ = numbers_of(about)
    time = (np.arange(COLUMNS) + 0.5) / COLUMNS * end
    names = [about.columns[column] for column in lines]
    for column, (number, colour) in zip(lines, class_colours(names).items(), strict=True):
        axes.plot(time, lane.means[:, column], color=colour, lw=1.4, label=number)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    axes.legend(fontsize=8, loc="upper right", ncols=4, framealpha=0.8)
    axes.set_ylabel(name, rotation=0, ha="right", fontsize=9)


def draw_units(axes: Any, lane: Lane, end: float, about: About) -> None:
    """The darker, the likelier."""
    _, units = numbers_of(about)
    extent = (0, end, len(units), 0)
    axes.imshow(lane.means[:, units].T, aspect="auto", cmap="Greys", vmin=0, vmax=1, extent=extent)
    axes.set_yticks(np.arange(len(units)) + 0.5, [about.columns[column] for column in units], fontsize=7)


def add_legend(figure: Any, about: About, lanes: list[Lane]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    named = list(class_colours(about.names).items())[:LEGEND]
    entries = [Patch(color=colour, label=name) for name, colour in named]
    if any((lane.uncertain[lane.counts > 0] > 0).any() for lane in lanes):
        entries.append(Patch(color=UNCERTAIN_COLOUR, label=UNCERTAIN))
    entries.append(Patch(fc="white", ec="0.6", hatch="////", label="no answer"))
    if any((lane.sees == 2).any() for lane in lanes):
        entries.append(Line2D([], [], color="black", ls=":", lw=2.5, label="by context alone"))
    figure.legend(handles=entries, loc="outside upper center", ncols=min(len(entries), 10), fontsize=9, frameon=False)


def runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Where stretches of one value begin and end."""
    edges = np.flatnonzero(np.diff(values.astype(int))) + 1
    bounds = [0, *edges.tolist(), len(values)]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def clock(seconds: float, end: float) -> str:
    if end < 120:
        return f"{seconds:g}"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
