"""Runs that are no classifiers of clips: predicted numbers, every frame of long videos, anything else."""

from typing import Any

from analysis.report.classes import confusion_table
from analysis.report.collect import Run, is_number
from analysis.report.document import Cell, Figure, Heading, Paragraph, Picture, Table
from analysis.report.drawings import cell_bar, whiskers
from analysis.report.words import KINDS, TASKS, ccc_interval, drawn_again, interval_of, is_interval, number, span


def number_parts(run: Run, level: int) -> list[Any]:
    """Of predicted numbers: a row a target."""
    rows = [*run.metrics["targets"].items(), ("mean", run.metrics.get("mean") or {})]
    cells = [
        [name, *(number(row.get(kind)) for kind in KINDS), span(ccc_interval(run, name), 3), str(row.get("clips", ""))]
        for name, row in rows
    ]
    head = ["target", *KINDS.values(), "95 % interval of CCC", "clips"]
    parts: list[Any] = [Heading(level, "Scores"), Table("Agreement", head, cells)]
    parts += [Paragraph(f"{drawn_again(run)}.")] if drawn_again(run) else []
    drawn = run.picture("agreement.png")
    if drawn:
        said = "Predicted over true numbers, a square a target: " + "; ".join(
            f"{name}: Pearson {number(row.get('pearson'), 2)}, CCC {number(row.get('ccc'), 2)}"
            for name, row in run.metrics["targets"].items()
        )
        parts.append(Picture(drawn, said, "Predicted over true"))
    return parts


def video_parts(run: Run, level: int) -> list[Any]:
    """Of long videos: a row a task, then the classes of each."""
    found = {task: run.metrics[task] for task in TASKS if isinstance(run.metrics.get(task), dict)}
    main = {task: (found[task].get(TASKS[task][1]), interval_of(run, task)) for task in found}
    drawn = [
        (TASKS[task][0].split(",")[0], value, bounds) for task, (value, bounds) in main.items() if is_number(value)
    ]
    said = "; ".join(f"{name} {value:.3f}" for name, value, _ in drawn)
    parts: list[Any] = [Heading(level, "Scores")]
    if drawn and all(value >= 0 for _, value, _ in drawn):
        figure = whiskers(drawn, 1.0, None, f"Main number of each task: {said}")
        parts.append(
            Figure(figure, "Main number of each task, from 0 to 1", drawn_again(run) or "No intervals are stored")
        )
    rows = [
        [TASKS[task][0], number(value), span(bounds, 3), str(found[task].get("num_frames", "–"))]
        for task, (value, bounds) in main.items()
    ]
    parts.append(Table("Scores of all labelled frames", ["task", "value", "95 % interval", "frames"], rows))
    if "va" in found:
        stored = run.metrics.get("intervals") or {}
        pairs = [
            [name, number(found["va"].get(f"ccc_{name}")), span(stored.get(f"va_ccc_{name}"), 3)]
            for name in ("valence", "arousal")
        ]
        parts.append(Table("Concordance", ["dimension", "CCC", "95 % interval"], pairs))
    for task in ("expr", "au"):
        if task in found and found[task].get("per_class"):
            parts.append(f1_table(found[task], "expression" if task == "expr" else "action unit"))
    if "confusion" in found.get("expr", {}) and "classes" in found["expr"]:
        parts += [Heading(level, "Confusion of expressions"), confusion_table(found["expr"], "frames")]
    drawn = run.picture("timeline.png")
    if drawn:
        said = "Labels and predictions over time of the first validation videos, a panel a task; " + said
        parts += [Heading(level, "Videos over time"), Picture(drawn, said, "Labels and predictions over time")]
    return parts


def f1_table(scores: dict[str, Any], what: str) -> Table:
    rows = []
    for name, row in scores["per_class"].items():
        bounds = next((b for b in (row.get("interval"), row.get("f1_interval")) if is_interval(b)), None)
        drawing = cell_bar(row["f1"], bounds, 1.0) if is_number(row.get("f1")) else ""
        rows.append(
            [name, number(row.get("f1")), span(bounds, 3), Cell("", drawing=drawing), str(row.get("support", "–"))]
        )
    return Table(f"F1 of each {what}", [what, "F1", "95 % interval", "0 – 0.5 – 1", "frames"], rows)


def other_parts(run: Run, level: int) -> list[Any]:
    if run.members:  # mean and spread over seeds
        names = [name.removesuffix("_mean") for name in run.metrics if name.endswith("_mean")]
        spread = [[n, number(run.metrics[f"{n}_mean"]), number(run.metrics.get(f"{n}_sd"))] for n in names]
        head = ["name", "mean", "standard deviation"]
        return [Heading(level, "Scores"), Table(f"Over {len(run.members)} runs", head, spread)]
    rows = [[name, number(value)] for name, value in run.metrics.items() if is_number(value)]
    return [Heading(level, "Scores"), Table("What metrics.json holds", ["name", "value"], rows)]
