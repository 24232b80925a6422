"""Draw timeline.png: for each person a band of the predicted classes over time, and the probabilities."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from apps.drawing import UNCERTAIN_COLOUR, class_colours
from apps.predict.runners import ModelInfo
from apps.predict.timeline import CONTEXT_ONLY, FACE, UNCERTAIN

COLUMNS = 1200  # time steps of the picture
MAX_PERSONS = 6
TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds
LEGEND = 12  # classes in the legend


class Lane:
    """One person; the time is divided into ``COLUMNS`` equal moments."""

    def __init__(self, width: int) -> None:
        """``width``: number of the model's outputs."""
        self.sums, self.counts = np.zeros((COLUMNS, width)), np.zeros(COLUMNS)
        self.has_face, self.has_context = np.zeros((2, COLUMNS), dtype=bool)
        self.uncertain = np.zeros(COLUMNS, dtype=int)

    def add(self, moments: slice, row: dict[str, str], values: list[str]) -> None:
        self.has_face[moments] |= row["seen"] == FACE
        self.has_context[moments] |= row["seen"] == CONTEXT_ONLY
        if all(values) and values:
            self.sums[moments] += np.array(values, dtype=float)
            self.counts[moments] += 1
            self.uncertain[moments] += 1 if row["predicted"] == UNCERTAIN else -1

    @property
    def by_context(self) -> np.ndarray:
        """Return the moments whose answer is from context only."""
        return self.has_context & ~self.has_face

    @property
    def means(self) -> np.ndarray:
        """Return the mean outputs (COLUMNS, width), NaN without an answer."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.sums / self.counts[:, None]


def draw_timeline(folder: Path, info: ModelInfo, is_still: bool = False) -> None:
    """Write timeline.png from the timeline.csv beside it, so that long videos need little memory.

    ``is_still``: for a picture there is no time axis.
    """
    from analysis.plots import save

    lanes, end = read_lanes(folder / "timeline.csv", info)
    save(draw_lanes(lanes, end, info, is_still), folder / "timeline.png")


def read_lanes(table: Path, info: ModelInfo) -> tuple[dict[str, Lane], float]:
    """Return a lane per person and the end of the last row.

    Each row is used for the time that is nearer to its middle than to the middles of its neighbours.
    """
    end, shortest_step = 0.0, np.inf
    last_start: dict[str, float] = {}
    lanes: dict[str, Lane] = {}
    with open(table, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            start, end = float(row["from"]), max(end, float(row["to"]))
            step = start - last_start.get(row["person"], start)
            shortest_step = min(shortest_step, step) if step > 0 else shortest_step
            last_start[row["person"]] = start
        file.seek(0)
        for row in csv.DictReader(file):
            start, stop = float(row["from"]), float(row["to"])
            middle, half = (start + stop) / 2, (shortest_step if shortest_step < np.inf else stop - start) / 2
            first = int((start if start <= 0 else middle - half) / end * COLUMNS)
            last = int(np.ceil((stop if stop >= end else middle + half) / end * COLUMNS))
            lane = lanes.setdefault(row["person"], Lane(len(info.columns)))
            lane.add(slice(first, max(last, first + 1)), row, [row[name] for name in info.columns])
    return lanes, end


def draw_lanes(lanes: dict[str, Lane], end: float, info: ModelInfo, is_still: bool = False) -> Any:
    """Return a figure of at most ``MAX_PERSONS`` persons, and of answers without a known person."""
    import matplotlib.pyplot as plt

    persons = sorted((person for person in lanes if person), key=int)[:MAX_PERSONS]
    if not persons or ("" in lanes and lanes[""].counts.any()):
        persons.append("")
    numbers = dict(enumerate(info.numbers, len(info.names)))  # column → name
    units = {column: name for column, name in numbers.items() if name.startswith("AU")}
    lines = {column: name for column, name in numbers.items() if column not in units}
    parts = ([0.45, 1.5] if info.names else []) + ([1.4] if lines else []) + ([0.19 * len(units)] if units else [])
    heights = len(persons) * parts
    figure, axes = plt.subplots(
        len(heights),
        figsize=(11, 0.9 + 0.75 * sum(heights)),
        dpi=110,
        sharex=True,
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )
    panels = iter(axes[:, 0])
    for person in persons:
        lane = lanes.get(person) or Lane(len(info.columns))
        name = f"person {person}" if person else "someone"
        if info.names:
            draw_band(next(panels), lane, end, info, name)
            draw_probabilities(next(panels), lane, end, info)
        if lines:
            draw_numbers(next(panels), lane, end, lines, "" if info.names else name)
        if units:
            draw_units(next(panels), lane, end, units)
    time_axis = axes[-1, 0]
    time_axis.set_xlim(0, end or 1)
    if info.caution:
        figure.supxlabel(info.caution, fontsize=9, color="#7a4b00")
    add_legend(figure, info, [lanes[person] for person in persons if person in lanes])
    if is_still:
        time_axis.set_xticks([])
        return figure
    step = next((step for step in TICK_STEPS if end / step <= 12), TICK_STEPS[-1])
    time_axis.set_xticks(np.arange(0, end + 1e-6, step))
    time_axis.xaxis.set_major_formatter(lambda seconds, _: clock(seconds, end))
    time_axis.set_xlabel("time (minutes:seconds)" if end >= 120 else "time (s)")
    return figure


def draw_band(axes: Any, lane: Lane, end: float, info: ModelInfo, name: str) -> None:
    """Draw the most probable class: hatched without an answer, pale if uncertain."""
    colours, means = class_colours(info.names), lane.means[:, : len(info.names)]
    best = np.where(lane.counts > 0, np.nan_to_num(means, nan=-1.0).argmax(axis=1), -1)
    kinds = np.where(best < 0, -1, np.where(lane.uncertain > 0, -2, best))
    for start, stop in runs(kinds):
        kind, x, width = kinds[start], start / COLUMNS * end, (stop - start) / COLUMNS * end
        if kind == -1:
            axes.barh(0, width, 1, x, color="white", edgecolor="0.6", hatch="////", lw=0)
        else:
            axes.barh(0, width, 1, x, color=UNCERTAIN_COLOUR if kind == -2 else colours[info.names[kind]], lw=0)
    by_context = lane.by_context
    for start, stop in runs(by_context):
        if by_context[start]:
            axes.plot([start / COLUMNS * end, stop / COLUMNS * end], [-0.42, -0.42], color="black", lw=2.5, ls=":")
    axes.set(yticks=[], ylim=(-0.5, 0.5))
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw_probabilities(axes: Any, lane: Lane, end: float, info: ModelInfo) -> None:
    """Draw the probabilities of all classes stacked; hatched without an answer."""
    colours, means = class_colours(info.names), lane.means[:, : len(info.names)]
    time = (np.arange(COLUMNS) + 0.5) / COLUMNS * end
    axes.stackplot(time, *np.nan_to_num(means).T, colors=[colours[name] for name in info.names], lw=0, step="mid")
    for start, stop in runs(lane.counts > 0):
        if not lane.counts[start]:
            span = start / COLUMNS * end, stop / COLUMNS * end
            axes.axvspan(*span, color="white", zorder=3, lw=0)
            axes.axvspan(*span, fc="none", ec="0.75", hatch="////", zorder=4, lw=0)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=8)
    axes.set_ylabel("probability", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def draw_numbers(axes: Any, lane: Lane, end: float, lines: dict[int, str], name: str) -> None:
    """Draw a line for each number that is not an action unit; ``lines``: column → name."""
    time = (np.arange(COLUMNS) + 0.5) / COLUMNS * end
    colours = class_colours(lines.values())
    for column, number in lines.items():
        axes.plot(time, lane.means[:, column], color=colours[number], lw=1.4, label=number)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    axes.legend(fontsize=8, loc="upper right", ncols=4, framealpha=0.8)
    axes.set_ylabel(name, rotation=0, ha="right", fontsize=9)


def draw_units(axes: Any, lane: Lane, end: float, units: dict[int, str]) -> None:
    """Draw a row of shades for each action unit, the darker the more probable; ``units``: column → name."""
    extent = (0, end, len(units), 0)
    axes.imshow(lane.means[:, list(units)].T, aspect="auto", cmap="Greys", vmin=0, vmax=1, extent=extent)
    axes.set_yticks(np.arange(len(units)) + 0.5, units.values(), fontsize=7)


def add_legend(figure: Any, info: ModelInfo, lanes: list[Lane]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    classes = list(class_colours(info.names).items())[:LEGEND]
    entries = [Patch(color=colour, label=name) for name, colour in classes]
    if any((lane.uncertain[lane.counts > 0] > 0).any() for lane in lanes):
        entries.append(Patch(color=UNCERTAIN_COLOUR, label=UNCERTAIN))
    entries.append(Patch(fc="white", ec="0.6", hatch="////", label="no answer"))
    if any(lane.by_context.any() for lane in lanes):
        entries.append(Line2D([], [], color="black", ls=":", lw=2.5, label="by context only"))
    figure.legend(handles=entries, loc="outside upper center", ncols=min(len(entries), 10), fontsize=9, frameon=False)


def runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Return start and stop of every run of equal values."""
    edges = np.flatnonzero(np.diff(values.astype(int))) + 1
    bounds = [0, *edges.tolist(), len(values)]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def clock(seconds: float, end: float) -> str:
    """Return seconds of a short video, minutes:seconds of a longer one."""
    return f"{seconds:g}" if end < 120 else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
