"""A picture of videos over time: labels and predictions of every task, one below the other."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS
from engine.sequence.predict import Predicted

LONGEST = 2000  # frames drawn of a video: more than a picture has columns
HEIGHTS = {"va": 2.0, "expr": 1.6, "au": 2.4}  # inches


def draw_timelines(videos: list[Predicted], tasks: tuple[str, ...]) -> Figure:
    """A column a video, a row a task."""
    heights = [HEIGHTS[task] for task in tasks]
    figure, grid = plt.subplots(
        len(tasks),
        len(videos),
        figsize=(5.5 * len(videos), sum(heights) + 0.6),
        dpi=110,
        layout="constrained",
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    draw = {"va": draw_va, "expr": draw_expressions, "au": draw_action_units}
    for column, found in zip(grid.T, videos, strict=True):
        stop = min(len(found.video), LONGEST)
        column[0].set_title(f"{found.video.id}, frames 1 to {stop} of {len(found.video)}", fontsize=9)
        for axes, task in zip(column, tasks, strict=True):
            draw[task](axes, found.video.labels[task][:stop], getattr(found, task)[:stop])
            axes.set_xlim(0, stop)
    return figure


def draw_va(axes: Axes, label: np.ndarray, predicted: np.ndarray) -> None:
    for k, (name, colour) in enumerate((("valence", "tab:blue"), ("arousal", "tab:red"))):
        if not np.isnan(label).all():
            axes.plot(label[:, k], color=colour, lw=0.9, alpha=0.5, label=f"{name}, label")
        axes.plot(predicted[:, k], color=colour, lw=1.3, label=name)
    axes.set_ylim(-1.05, 1.05)
    axes.legend(fontsize=6, ncols=2, loc="lower right")


def draw_expressions(axes: Axes, label: np.ndarray, predicted: np.ndarray) -> None:
    known = np.flatnonzero(label >= 0)
    if len(known):
        axes.plot(known, label[known] - 0.15, "|", color="0.55", ms=5, label="label")
    axes.plot(predicted + 0.15, "|", color="tab:blue", ms=5, label="predicted")
    axes.set_yticks(range(len(EXPRESSIONS)), EXPRESSIONS, fontsize=6)
    axes.set_ylim(len(EXPRESSIONS) - 0.5, -0.5)
    axes.legend(fontsize=6, loc="lower right")


def draw_action_units(axes: Axes, label: np.ndarray, predicted: np.ndarray) -> None:
    """Shades for probabilities, a line below each where the label is active."""
    axes.imshow(predicted.T, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    for unit in range(label.shape[1]):
        active = np.flatnonzero(label[:, unit] > 0)
        axes.plot(active, np.full(len(active), unit + 0.4), ".", color="tab:red", ms=1)
    axes.set_yticks(range(len(ACTION_UNITS)), ACTION_UNITS, fontsize=6)
