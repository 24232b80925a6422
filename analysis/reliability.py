"""Pictures of how far probabilities can be believed: reliability diagram, risk over coverage."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots import plt


def draw_reliability(metrics: dict[str, Any], title: str) -> Figure:
    """Left: accuracy of the clips in each bin of confidence; right: errors among the surest answers."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.8), dpi=150, layout="constrained")
    draw_bins(left, metrics["calibration"])
    draw_risk(right, metrics["risk_coverage"])
    figure.suptitle(title, fontsize=11)
    return figure


def draw_bins(axes: Axes, found: dict[str, Any]) -> None:
    """A bar a bin, the darker the more clips; the line says where confidence is accuracy."""
    bins = [row for row in found["bins"] if row["count"]]
    most = max(row["count"] for row in bins)
    colours = plt.get_cmap("Blues")([0.25 + 0.65 * row["count"] / most for row in bins])
    width = found["bins"][0]["high"]
    places = [row["low"] + width / 2 for row in bins]
    axes.bar(places, [row["accuracy"] for row in bins], 0.94 * width, color=colours, edgecolor="0.3", linewidth=0.6)
    axes.plot([0, 1], [0, 1], "--", color="0.45", linewidth=1)
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    for place, row in zip(places, bins, strict=True):
        above = {"ha": "center", "va": "bottom", "fontsize": 8, "color": "0.2", "bbox": behind}
        axes.text(place, row["accuracy"] + 0.014, row["count"], **above)
    temperature = "" if found["fitted_on"] is None else f", {told(found)} fitted on {found['fitted_on']}"
    axes.set_title(f"ECE {found['ece']:.1f} %{temperature}", fontsize=10)
    axes.set(xlim=(0, 1), ylim=(0, 1.08), xlabel="confidence (clips of a bin above its bar)", ylabel="accuracy")


def told(found: dict[str, Any]) -> str:
    return "T" if found["temperature"] is None else f"T {found['temperature']:.2f}"


def draw_risk(axes: Axes, found: dict[str, Any]) -> None:
    risk = [100 * value for value in found["risk"]]
    axes.plot([100 * value for value in found["coverage"]], risk, color="tab:blue", linewidth=1.8, clip_on=False)
    axes.axhline(risk[-1], linestyle=":", color="0.5", linewidth=1)
    axes.set_title(f"AURC {found['aurc']:.4f}; all answered: {risk[-1]:.1f} % wrong", fontsize=10)
    axes.set(xlim=(0, 100), ylim=(0, max(5, 1.15 * max(risk))), xlabel="answered, the surest first, %")
    axes.set_ylabel("wrong among them, %")
    axes.grid(alpha=0.3)
