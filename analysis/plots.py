"""Pictures of a run as PNG: confusion matrix, training curves, agreement, reliability. They need no display."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

plt.rcParams["text.parse_math"] = False  # a $ in a name is a $


def draw_confusion(metrics: dict[str, Any], title: str) -> Figure:
    """Draw each row's shares in percent with the number of clips; the row of a class without clips stays grey."""
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
        axes.set_title(f"{name}\nPearson {row['pearson']:.2f}   CCC {row['ccc']:.2f}", fontsize=11)
    return figure


def draw_curves(history: list[dict[str, Any]]) -> Figure:
    """Draw loss terms, and UAR and WAR, over epochs."""
    figure, (losses, scores) = plt.subplots(1, 2, figsize=(10, 3.8), dpi=150, layout="constrained")
    epochs = [line["epoch"] for line in history]
    marker = "o" if len(epochs) < 30 else None
    terms = sorted({key for line in history for key in line if "loss" in key})
    for name in terms if len(terms) > 2 else terms[:1]:  # a single term is the whole loss
        label = name.replace("train/loss_", "train, ").replace("/", " ")
        losses.plot(epochs, [line.get(name, np.nan) for line in history], label=label, marker=marker, ms=3)
    losses.set(xlabel="epoch", title="loss")
    for split, style in (("train", "--"), ("val", "-"), ("test", "-")):
        for metric, colour in (("uar", "tab:blue"), ("war", "tab:orange")):
            if any(f"{split}/{metric}" in line for line in history):
                values = [line.get(f"{split}/{metric}", np.nan) for line in history]
                label = f"{split} {metric.upper()}"
                scores.plot(epochs, values, style, color=colour, label=label, marker=marker, ms=3)
    scores.set(xlabel="epoch", title="recall, %", ylim=(0, 100))
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.lines:
            axes.legend(fontsize=8)
    return figure


def draw_reliability(metrics: dict[str, Any], title: str) -> Figure:
    """Draw the accuracy in each bin of confidence, and the error rate among the surest answers."""
    figure, (bins, risk) = plt.subplots(1, 2, figsize=(10, 4.8), dpi=150, layout="constrained")
    draw_bins(bins, metrics["calibration"])
    draw_risk(risk, metrics["risk_coverage"])
    figure.suptitle(title, fontsize=11)
    return figure


def draw_bins(axes: Axes, calibration: dict[str, Any]) -> None:
    """Draw a bar per bin, the darker the more clips, and the line on which confidence equals accuracy."""
    bins = [row for row in calibration["bins"] if row["count"]]
    most = max(row["count"] for row in bins)
    colours = plt.get_cmap("Blues")([0.25 + 0.65 * row["count"] / most for row in bins])
    width = calibration["bins"][0]["high"]
    centres = [row["low"] + width / 2 for row in bins]
    axes.bar(centres, [row["accuracy"] for row in bins], 0.94 * width, color=colours, edgecolor="0.3", linewidth=0.6)
    axes.plot([0, 1], [0, 1], "--", color="0.45", linewidth=1)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    for centre, row in zip(centres, bins, strict=True):
        style = {"ha": "center", "va": "bottom", "fontsize": 8, "color": "0.2", "bbox": box}
        axes.text(centre, row["accuracy"] + 0.014, row["count"], **style)
    fitted_on, T = calibration["fitted_on"], calibration["temperature"]
    fitted = "" if fitted_on is None else f", T{'' if T is None else f' {T:.2f}'} fitted on {fitted_on}"
    axes.set_title(f"ECE {calibration['ece']:.1f} %{fitted}", fontsize=10)
    axes.set(xlim=(0, 1), ylim=(0, 1.08), xlabel="confidence (clips of a bin above its bar)", ylabel="accuracy")


def draw_risk(axes: Axes, curve: dict[str, Any]) -> None:
    risk = [100 * value for value in curve["risk"]]
    axes.plot([100 * value for value in curve["coverage"]], risk, color="tab:blue", linewidth=1.8, clip_on=False)
    axes.axhline(risk[-1], linestyle=":", color="0.5", linewidth=1)
    axes.set_title(f"AURC {curve['aurc']:.4f}; all answered: {risk[-1]:.1f} % wrong", fontsize=10)
    axes.set(xlim=(0, 100), ylim=(0, max(5, 1.15 * max(risk))), xlabel="answered, the surest first, %")
    axes.set_ylabel("wrong among them, %")
    axes.grid(alpha=0.3)


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path)
    plt.close(figure)
