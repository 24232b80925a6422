"""Pictures of a run: confusion matrix and curves, drawn without a display."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

plt.rcParams["text.parse_math"] = False  # a $ in a name is a $


def draw_confusion(metrics: dict[str, Any], title: str) -> Figure:
    """Recall in percent on a row's cells, with the number of clips below; a class without clips stays grey."""
    counts, names = np.array(metrics["confusion"]), metrics["classes"]
    support = counts.sum(axis=1, keepdims=True)
    share = np.divide(100.0 * counts, support, out=np.full(counts.shape, np.nan), where=support > 0)
    side = 1.9 + 0.95 * len(names)
    figure, axes = plt.subplots(figsize=(side + 0.8, side), dpi=150, layout="constrained")
    colours = plt.get_cmap("Blues").with_extremes(bad="0.92")
    image = axes.imshow(share, cmap=colours, vmin=0, vmax=100)
    for row, column in np.ndindex(counts.shape):
        if support[row, 0]:
            colour = "white" if share[row, column] > 55 else "0.15"
            text = f"{share[row, column]:.1f}\n({counts[row, column]})" if counts[row, column] else "0"
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
    """One square a target: what was predicted over what is true, and the line where both are equal."""
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.2 * columns, 4.2 * rows), dpi=150, layout="constrained", squeeze=False
    )
    for place in axes.flat[len(names) :]:
        place.remove()
    for place, name, true, guess in zip(axes.flat, names, target.T, predicted.T, strict=False):
        both = np.concatenate([true[~np.isnan(true)], guess])
        margin = 0.05 * (both.max() - both.min() or 1.0)
        low, high = both.min() - margin, both.max() + margin
        place.plot([low, high], [low, high], color="0.6", linewidth=1)
        place.scatter(true, guess, s=12, alpha=0.5, linewidths=0)
        row = metrics["targets"][name]
        place.set(xlim=(low, high), ylim=(low, high), aspect="equal", xlabel="true", ylabel="predicted")
        place.set_title(f"{name}\nPearson {row['pearson']:.2f}   CCC {row['ccc']:.2f}", fontsize=11)
    return figure


def draw_curves(history: list[dict[str, Any]]) -> Figure:
    """Loss terms on the left, UAR and WAR on the right, by epoch."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), dpi=150, layout="constrained")
    epochs = [line["epoch"] for line in history]
    marker = "o" if len(epochs) < 30 else None
    terms = sorted({key for line in history for key in line if "loss" in key})
    for name in terms if len(terms) > 2 else terms[:1]:  # a single term is the whole loss
        label = name.replace("train/loss_", "train, ").replace("/", " ")
        left.plot(epochs, [line.get(name, np.nan) for line in history], label=label, marker=marker, ms=3)
    left.set(xlabel="epoch", title="loss")
    for split, style in (("train", "--"), ("val", "-"), ("test", "-")):
        for metric, colour in (("uar", "tab:blue"), ("war", "tab:orange")):
            if any(f"{split}/{metric}" in line for line in history):
                values = [line.get(f"{split}/{metric}", np.nan) for line in history]
                label = f"{split} {metric.upper()}"
                right.plot(epochs, values, style, color=colour, label=label, marker=marker, ms=3)
    right.set(xlabel="epoch", title="recall, %", ylim=(0, 100))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.lines:
            axes.legend(fontsize=8)
    return figure


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path)
    plt.close(figure)
