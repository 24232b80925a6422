"""The picture of an ablation: what each variant loses or wins beside the base, with its interval."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

COLOURS = {"yes": "tab:blue", "if tried alone": "#8fbfe0", "no": "0.45"}
BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # no line runs through a number


def draw_differences(rows: list[dict[str, Any]], resampled: str) -> Figure:
    """A dot and its 95 % interval a variant, the largest loss on top; the line at 0 is the base."""
    base, told = rows[0], sorted(rows[1:], key=lambda row: row["difference"]["uar"]["value"], reverse=True)
    figure, axes = plt.subplots(figsize=(8, 1.7 + 0.42 * len(told)), dpi=150, layout="constrained")
    for place, row in enumerate(told):
        found, colour = row["difference"]["uar"], COLOURS.get(row["verdict"], "0.6")
        if found["interval"] is not None and not found["identical"]:
            axes.plot(found["interval"], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
        axes.plot(found["value"], place, "o", color=colour, markersize=7, zorder=3)
        label = "identical predictions" if found["identical"] else f"{found['value']:+.1f}"
        axes.annotate(
            label, (found["value"], place), (0, 8), textcoords="offset points", ha="center", fontsize=8, bbox=BEHIND
        )
    axes.axvline(0, color="0.2", linewidth=1)
    axes.set_yticks(range(len(told)), [row["variant"] for row in told])
    axes.set_ylim(-0.6, len(told) - 0.2)
    axes.grid(axis="x", alpha=0.3)
    seeds = len(base["seeds"])
    drawn = f"{resampled} and seeds" if seeds > 1 else resampled
    axes.set_xlabel(f"difference of UAR to the base ({base['uar']:.1f}), points; 95 % interval over {drawn}")
    several = f"{seeds} seeds; blue: beyond noise; light: only if tried alone"
    alone = "one seed: nothing here can be told from the noise of training"
    axes.set_title(several if seeds > 1 else alone, fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
