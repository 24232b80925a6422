"""Runs side by side: scores with intervals, recalls of each class, what differs in their options."""

from typing import Any

from analysis.report.document import Cell, Figure, Heading, Paragraph, Table
from analysis.report.runs import Run, interval_of, is_number, scored_clips
from analysis.report.sections import OptionFacts, score_figure
from analysis.report.statements import KINDS, SCORES, TASKS, number, option_text, percent, span, with_span
from utils.config import flag_of


def comparison_parts(runs: list[Run], options: OptionFacts) -> list[Any]:
    parts: list[Any] = [Heading(2, "Comparison")]
    for kind, tables in (("classes", class_tables), ("long videos", video_tables), ("numbers", number_tables)):
        if runs_of_kind := [run for run in runs if run.kind == kind]:
            parts += tables(runs_of_kind)
    differing = option_table(runs, options)
    return [*parts, Heading(2, "What differs"), differing or Paragraph("No option differs but those of the place.")]


def ranking(runs: list[Run]) -> str:
    """Return the runs in one sentence, the highest UAR first where all of them have one."""
    if any(run.kind != "classes" for run in runs):
        return f"{len(runs)} runs: {', '.join(run.name for run in runs)}."
    ranked = sorted(runs, key=lambda run: -run.metrics["uar"])
    scores = [with_span(f"{run.name} {percent(run.metrics['uar'])}", interval_of(run, "uar")) for run in ranked]
    return f"UAR, highest first: {', '.join(scores)}."


def different_clips(runs: list[Run]) -> str | None:
    """Return why the scores of these runs cannot be compared, if they were measured on different clips or labels."""
    classifiers = [run for run in runs if run.kind == "classes"]
    first = scored_clips(classifiers[0]) if classifiers else None
    differing = [run.name for run in classifiers[1:] if first is not None and scored_clips(run) not in (None, first)]
    if not differing:
        return None
    names = ", ".join(differing)
    return f"{names}: scored on other clips or labels than {classifiers[0].name}; scores are not comparable"


def class_tables(runs: list[Run]) -> list[Any]:
    head = ["run", *(title for score in SCORES.values() for title in (score, "95 % interval")), "clips", "selected on"]
    best = {name: highest([run.metrics.get(name) for run in runs]) for name in SCORES}
    rows = []
    for run in runs:
        row: list[Any] = [run.name]
        for name in SCORES:
            value = run.metrics.get(name)
            row += [Cell(percent(value, 2), is_best=value == best[name]), span(interval_of(run, name))]
        rows.append([*row, str(run.clips), str(run.metrics.get("selected_on", "not known"))])
    return [uar_figure(runs), Table("Scores; the highest is marked", head, rows), recalls(runs)]


def uar_figure(runs: list[Run]) -> Figure:
    rows = [(run.name, run.metrics["uar"], interval_of(run, "uar")) for run in runs]
    details = "Intervals that overlap do not say that runs are equal: --mode compare tests two runs clip by clip."
    return score_figure(rows, 100.0, "UAR of each run, in percent", details)


def recalls(runs: list[Run]) -> Table:
    """Return one row per class of any run, the best marked; a run that does not know a class has a dash."""
    names = list(dict.fromkeys(name for run in runs for name in run.metrics["classes"]))
    rows = []
    for name in names:
        scores = [run.metrics["per_class"].get(name, {}) for run in runs]
        best, counts = highest([row.get("recall") for row in scores]), {row.get("support") for row in scores if row}
        cells = []
        for row in scores:
            text = with_span(percent(row.get("recall")), row.get("interval"))
            text += f" of {row.get('support')}" if row and len(counts) > 1 else ""
            cells.append(Cell(text, is_best=is_number(row.get("recall")) and row["recall"] == best))
        rows.append([name, *cells, str(counts.pop()) if len(counts) == 1 else "differs"])
    return Table("Recall of each class; the highest is marked", ["class", *(run.name for run in runs), "clips"], rows)


def highest(values: list[Any]) -> float | None:
    """Return the highest value; None where nothing is to be marked: a single value, or equal ones."""
    numbers = [value for value in values if is_number(value)]
    return max(numbers) if len(set(numbers)) > 1 else None


def video_tables(runs: list[Run]) -> list[Any]:
    values = {
        (run.name, task): (run.metrics.get(task) or {}).get(main) for run in runs for task, (_, main) in TASKS.items()
    }
    best = {task: highest([values[run.name, task] for run in runs]) for task in TASKS}
    rows = []
    for run in runs:
        cells = []
        for task in TASKS:
            value = values[run.name, task]
            text = with_span(number(value), interval_of(run, task), 3)
            cells.append(Cell(text, is_best=is_number(value) and value == best[task]))
        rows.append([run.name, *cells, str(run.metrics.get("videos", "–")), str(run.metrics.get("fold", "–"))])
    head = ["run", *(title for title, _ in TASKS.values()), "videos", "fold"]
    return [Table("Long videos; the highest is marked", head, rows)]


def number_tables(runs: list[Run]) -> list[Any]:
    rows = []
    for run in runs:
        mean = run.metrics.get("mean") or {}
        rows.append([run.name, *(number(mean.get(kind)) for kind in KINDS), ", ".join(run.metrics["targets"])])
    return [Table("Predicted numbers, mean over targets", ["run", *KINDS.values(), "targets"], rows)]


def option_table(runs: list[Run], options: OptionFacts) -> Table | None:
    """Return the options that differ; a folder that is older than an option has that option's default."""
    names = list(dict.fromkeys(name for run in runs for name in run.options if name not in options.unimportant))
    rows = []
    for name in names:
        values = [option_text(run.options.get(name, options.defaults.get(name))) for run in runs]
        if len(set(values)) > 1:
            rows.append([flag_of(name), *values])
    head = ["option", *(run.name for run in runs)]
    return Table("Options that differ between the runs", head, rows, "texts") if rows else None
