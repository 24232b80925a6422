"""Runs side by side: scores with intervals, what differs in their options, recalls of each class."""

from typing import Any

from analysis.report.collect import OF_THE_PLACE, Run, is_number, scored_clips, written
from analysis.report.document import Cell, Figure, Heading, Paragraph, Table
from analysis.report.drawings import whiskers
from analysis.report.words import KINDS, SCORES, TASKS, clips_of, interval_of, is_interval, number, percent, span
from engine.options import defaults
from utils.config import flag_of


def comparison_parts(runs: list[Run]) -> list[Any]:
    parts: list[Any] = [Heading(2, "Comparison")]
    for kind, make in (("classes", class_tables), ("long videos", video_tables), ("numbers", number_tables)):
        alike = [run for run in runs if run.kind == kind]
        if alike:
            parts += make(alike)
    differing = option_table(runs)
    return [*parts, Heading(2, "What differs"), differing or Paragraph("No option differs but those of the place.")]


def ranking(runs: list[Run]) -> str:
    """The highest score, and what follows."""
    if any(run.kind != "classes" for run in runs):
        return f"{len(runs)} runs: {', '.join(run.name for run in runs)}."
    told = []
    for run in sorted(runs, key=lambda run: -run.metrics["uar"]):
        bounds = interval_of(run, "uar")
        told.append(f"{run.name} {percent(run.metrics['uar'])}" + (f" ({span(bounds)})" if bounds else ""))
    return f"UAR, highest first: {', '.join(told)}."


def different_clips(runs: list[Run]) -> str | None:
    """Why scores of these runs do not belong side by side, if so."""
    alike = [run for run in runs if run.kind == "classes"]
    first = scored_clips(alike[0]) if alike else None
    others = [run.name for run in alike[1:] if first is not None and scored_clips(run) not in (None, first)]
    if not others:
        return None
    return f"{', '.join(others)}: scored on other clips or labels than {alike[0].name}; scores are not comparable"


def class_tables(runs: list[Run]) -> list[Any]:
    head = ["run", *(title for pair in SCORES.values() for title in (pair, "95 % interval")), "clips", "selected on"]
    best = {name: highest([run.metrics.get(name) for run in runs]) for name in SCORES}
    rows = []
    for run in runs:
        row: list[Any] = [run.name]
        for name in SCORES:
            value = run.metrics.get(name)
            row += [Cell(percent(value, 2), is_best=value == best[name]), span(interval_of(run, name))]
        rows.append([*row, str(clips_of(run)), str(run.metrics.get("selected_on", "not known"))])
    return [uar_figure(runs), Table("Scores; the highest is marked", head, rows), recalls(runs)]


def uar_figure(runs: list[Run]) -> Figure:
    rows = [(run.name, run.metrics["uar"], interval_of(run, "uar")) for run in runs]
    said = "; ".join(f"{name} {value:.1f}" + (f", {span(bounds)}" if bounds else "") for name, value, bounds in rows)
    drawing = whiskers(rows, 100.0, None, f"UAR of each run in percent: {said}")
    more = "Intervals that overlap do not say that runs are equal: --mode compare tests two runs clip by clip."
    return Figure(drawing, "UAR of each run, in percent", more)


def recalls(runs: list[Run]) -> Table:
    """A row a class of any run, the best marked; a run that does not know a class has a dash."""
    names = list(dict.fromkeys(name for run in runs for name in run.metrics["classes"]))
    rows = []
    for name in names:
        found = [run.metrics["per_class"].get(name, {}) for run in runs]
        best, counts = highest([row.get("recall") for row in found]), {row.get("support") for row in found if row}
        cells = [recall_cell(row, best, with_count=len(counts) > 1) for row in found]
        rows.append([name, *cells, str(counts.pop()) if len(counts) == 1 else "differs"])
    return Table("Recall of each class; the highest is marked", ["class", *(run.name for run in runs), "clips"], rows)


def recall_cell(row: dict[str, Any], best: float | None, with_count: bool) -> Cell:
    text = percent(row.get("recall"))
    if is_interval(row.get("interval")):
        text += f" ({span(row['interval'])})"
    if with_count and row:
        text += f" of {row.get('support')}"
    return Cell(text, is_best=is_number(row.get("recall")) and row["recall"] == best)


def highest(values: list[Any]) -> float | None:
    """None where nothing is to be marked: one value alone, or all the same."""
    known = [value for value in values if is_number(value)]
    return max(known) if len(known) > 1 and len(set(known)) > 1 else None


def video_tables(runs: list[Run]) -> list[Any]:
    best = {task: highest([main_number(run, task) for run in runs]) for task in TASKS}
    rows = []
    for run in runs:
        cells = []
        for task in TASKS:
            value, bounds = main_number(run, task), interval_of(run, task)
            told = number(value) + (f" ({span(bounds, 3)})" if bounds else "")
            cells.append(Cell(told, is_best=is_number(value) and value == best[task]))
        rows.append([run.name, *cells, str(run.metrics.get("videos", "–")), str(run.metrics.get("fold", "–"))])
    head = ["run", *(title for title, _ in TASKS.values()), "videos", "fold"]
    return [Table("Long videos; the highest is marked", head, rows)]


def main_number(run: Run, task: str) -> Any:
    found = run.metrics.get(task)
    return found.get(TASKS[task][1]) if isinstance(found, dict) else None


def number_tables(runs: list[Run]) -> list[Any]:
    rows = []
    for run in runs:
        mean = run.metrics.get("mean") or {}
        rows.append([run.name, *(number(mean.get(kind)) for kind in KINDS), ", ".join(run.metrics["targets"])])
    return [Table("Predicted numbers, mean over targets", ["run", *KINDS.values(), "targets"], rows)]


def option_table(runs: list[Run]) -> Table | None:
    """A folder older than an option has that option's default."""
    usual = defaults()
    names = list(dict.fromkeys(name for run in runs for name in run.options if name not in OF_THE_PLACE))
    rows = []
    for name in names:
        values = [written(run.options.get(name, usual.get(name))) for run in runs]
        if len(set(values)) > 1:
            rows.append([flag_of(name), *values])
    head = ["option", *(run.name for run in runs)]
    return Table("Options that differ between the runs", head, rows, is_text=True) if rows else None
