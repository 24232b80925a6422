"""``report.html`` and ``report.md`` about one run, or about several of them side by side."""

import time
from pathlib import Path
from typing import Any

from analysis.report.document import (
    Cell,
    Folded,
    Heading,
    Paragraph,
    Part,
    Table,
    html_page,
    markdown_text,
    shows_people,
)
from analysis.report.runs import (
    TASKS,
    Ablation,
    Run,
    Variant,
    interval_of,
    is_ablation,
    read_ablation,
    read_runs,
    scored_clips,
    scores_of_member,
)
from analysis.report.sections import OptionFacts, run_parts, score_figure, warning_part
from analysis.report.statements import (
    KINDS,
    SCORES,
    cautions,
    number,
    option_text,
    percent,
    selecting_score,
    span,
    title_of,
    verdict,
    with_span,
)
from analysis.results import read_options
from utils.config import flag_of
from utils.errors import UserError, reason_of
from utils.files import write_text
from utils.json_files import is_number
from utils.runlog import fresh_folder, require_new
from utils.text import plural

PICTURES, FEWEST = 24, 4  # of mistakes: in total, but at least so many of each run
PEOPLE = (
    "This report contains pictures of persons of the data set. Share it only with people whom the licence of the set "
    "and the consent of the persons allow. --no-mistake-frames writes it without them."
)


def write_report(
    folders: tuple[str, ...], *, output_dir: str | None, with_pictures: bool, options: OptionFacts
) -> list[Path]:
    """Write ``report.html`` and ``report.md`` about run folders and return their paths.

    They go to ``output_dir``; without one, to the folder of the run or the ablation, or to a new one for several runs.
    """
    places = [Path(folder) for folder in folders]
    pictures = max(FEWEST, PICTURES // len(places)) if with_pictures else 0
    if len(places) == 1 and is_ablation(places[0]):
        title, parts = about_ablation(places[0], options)
    elif len(places) == 1:
        run = read_runs(folders)[0]
        title, parts = title_of(run), about_one(run, pictures, options)
    else:
        title, parts = f"{len(places)} runs compared", about_several(read_runs(folders), pictures, options)
    folder = report_folder(output_dir, places)
    names = ", ".join(map(str, places))
    footer = [f"Written on {time.strftime('%Y-%m-%d')} by python main.py --mode report from {names}."]
    footer += [PEOPLE] if shows_people(parts) else []
    texts = {
        folder / "report.html": html_page(title, parts, footer),
        folder / "report.md": markdown_text(title, parts, footer, folder),
    }
    for path, text in texts.items():
        try:
            write_text(path, text)
        except OSError as error:
            raise UserError(f"{path}: {reason_of(error)}; name another folder with --output-dir") from None
    return list(texts)


def about_one(run: Run, pictures: int, options: OptionFacts) -> list[Part]:
    warnings = warning_part(cautions(run), "No warnings.")
    lead = [Paragraph(verdict(run), is_lead=True), Heading(2, "What to know first"), warnings]
    return lead + run_parts(run, 2, pictures, options)


def about_several(runs: list[Run], pictures: int, options: OptionFacts) -> list[Part]:
    """Return the comparison, then each run."""
    parts: list[Part] = [
        Paragraph(ranking(runs), is_lead=True),
        Heading(2, "What to know first"),
        warning_part(different_clips(runs) + shared_warnings(runs), "No warnings."),
        Heading(2, "Comparison"),
    ]
    for kind, tables in (("classes", class_tables), ("long videos", video_tables), ("numbers", number_tables)):
        if runs_of_kind := [run for run in runs if run.kind == kind]:
            parts += tables(runs_of_kind)
    differing = option_table(runs, options)
    parts += [
        Heading(2, "What differs"),
        differing or Paragraph("The options are the same, except names and places of files."),
    ]
    for run in runs:
        parts += [Heading(2, f"Run {run.name}"), Paragraph(verdict(run)), *run_parts(run, 3, pictures, options)]
    return parts


def report_folder(output_dir: str | None, places: list[Path]) -> Path:
    """Return the folder of the reported run, or a new one for several runs, unless ``output_dir`` names one."""
    if output_dir:
        require_new(Path(output_dir), [])
        return Path(output_dir)
    if len(places) == 1:
        return places[0]
    try:
        return fresh_folder("report")
    except OSError as error:
        raise UserError(f"outputs: {reason_of(error)}; name another folder with --output-dir") from None


# -- an ablation ----------------------------------------------------------------------------------------------------


def about_ablation(folder: Path, options: OptionFacts) -> tuple[str, list[Part]]:
    """Return the title and the parts of the report about a finished ablation."""
    ablation, settings = read_ablation(folder), read_options(folder)
    rows, title = ablation["rows"], f"{settings.get('exper_name') or folder.resolve().name}: ablation"
    warnings = [note for note in ablation["notes"] if note.startswith("warning: ")]
    items = [("reading", note.removeprefix("warning: ")) for note in warnings]
    items += [("variants", line) for line in ablation["left_out"]]
    scores = [(row["variant"], row["uar"], row["intervals"].get("uar")) for row in rows]
    notes = [Paragraph(note) for note in ablation["notes"] if note not in warnings]
    parts = [
        Paragraph(ablation_lead(ablation), is_lead=True),
        Heading(2, "What to know first"),
        warning_part(items, "No warnings."),
        Heading(2, "Variants"),
        score_figure(scores, 100.0, f"UAR of each variant on {ablation['split']}, in percent", "Mean over the seeds."),
        variant_table(rows),
        other_scores(rows),
        *notes,
    ]
    changes = [[row["variant"], row["changed"] or "nothing"] for row in rows]
    every = [[flag_of(name), option_text(value)] for name, value in settings.items()]
    parts += [
        Heading(2, "Runs"),
        seed_table(folder, rows),
        Heading(2, "Settings"),
        Table("What each variant changes", ["variant", "options"], changes, "texts"),
        Folded("Every option of the ablation", [Table("Every option", ["option", "value"], every, "texts")]),
    ]
    return title, parts


def ablation_lead(ablation: Ablation) -> str:
    first, *variants = ablation["rows"]
    seeds = plural(len(first["seeds"]), "seed")
    beyond = [row["variant"] for row in variants if row.get("verdict") == "yes"]
    result = f"Beyond noise: {', '.join(beyond)}." if beyond else "No difference is beyond noise."
    data = f"{plural(len(ablation['rows']), 'variant')} with {seeds} on {ablation['clips']} {ablation['split']} clips"
    selection = f"epochs selected on {ablation['selected_on']}"
    return f"{data}, {selection}. UAR of {first['variant']}: {mean_sd(first, 'uar')}. {result}"


def mean_sd(row: Variant, score: str) -> str:
    deviation = row[f"{score}_sd"]
    return number(row[score], 2) if deviation is None else f"{row[score]:.2f} ± {deviation:.2f}"


def variant_table(rows: list[Variant]) -> Table:
    """Return the UAR of each variant, and its difference to the first variant with the paired test."""
    lines = []
    for row in rows:
        cells = [row["variant"], mean_sd(row, "uar"), span(row["intervals"].get("uar"))]
        if (difference := row.get("difference", {}).get("uar")) is None:
            cells += [""] * 5
        elif difference["identical"]:
            cells += ["0", "", "", "", row.get("verdict", "")]
        else:
            cells += [f"{difference['value']:+z.1f}", span(difference["interval"])]
            cells += [number(difference.get(name)) for name in ("p", "p_holm")] + [row.get("verdict", "")]
        lines.append(cells)
    head = ["variant", "UAR", "95 % interval", "difference", "95 % interval", "p", "p (Holm)", "beyond noise"]
    caption = f"UAR, mean ± standard deviation over seeds, and its difference to {rows[0]['variant']} in points"
    return Table(caption, head, lines)


def other_scores(rows: list[Variant]) -> Table:
    lines = [[row["variant"], mean_sd(row, "war"), mean_sd(row, "macro_f1")] for row in rows]
    return Table("Other scores, mean ± standard deviation over seeds", ["variant", "WAR", "Macro F1"], lines)


def seed_table(folder: Path, rows: list[Variant]) -> Table:
    """Return the scores of every run: one row for each variant and seed."""
    lines = []
    for row in rows:
        for seed, member in zip(row["seeds"], row["runs"], strict=True):
            metrics = scores_of_member(folder, member) or {}
            scores = [number(metrics.get(name), 2) for name in SCORES]
            path = Path(member)
            inside = path.relative_to(folder) if path.is_relative_to(folder) else path
            lines.append([row["variant"], str(seed), *scores, str(inside)])
    return Table("Scores of each run, in percent", ["variant", "seed", *SCORES.values(), "folder"], lines)


# -- runs side by side ----------------------------------------------------------------------------------------------


def shared_warnings(runs: list[Run]) -> list[tuple[str, str]]:
    """Return (run and subject, warning) of all runs; a warning that all of them share comes first, once."""
    warnings = [(run.name, subject, text) for run in runs for subject, text in cautions(run)]
    texts = [text for *_, text in warnings]
    shared = {text: f"all runs, {subject}" for _, subject, text in warnings if texts.count(text) == len(runs)}
    single = [(f"{name}, {subject}", text) for name, subject, text in warnings if text not in shared]
    return [(who, text) for text, who in shared.items()] + single


def ranking(runs: list[Run]) -> str:
    """Return the runs in one sentence, the highest UAR first if all have one."""
    if any(run.kind != "classes" for run in runs):
        return f"{len(runs)} runs: {', '.join(run.name for run in runs)}."
    ranked = sorted(runs, key=lambda run: -run.metrics["uar"])
    scores = [with_span(f"{run.name} {percent(run.metrics['uar'])}", interval_of(run, "uar")) for run in ranked]
    return f"UAR, highest first: {', '.join(scores)}."


def different_clips(runs: list[Run]) -> list[tuple[str, str]]:
    """Return a warning that scores cannot be compared, if they were measured on different clips or labels."""
    classifiers = [run for run in runs if run.kind == "classes"]
    first = scored_clips(classifiers[0]) if classifiers else None
    differing = [run.name for run in classifiers[1:] if first is not None and scored_clips(run) not in (None, first)]
    if not differing:
        return []
    text = f"{', '.join(differing)}: scored on other clips or labels than {classifiers[0].name}"
    return [("comparison", f"{text}. The scores are not comparable.")]


def selection_cell(run: Run) -> str:
    """Return the clips and the score that chose the epoch: ``val, WAR``."""
    return ", ".join(filter(None, [str(run.metrics.get("selected_on", "not known")), selecting_score(run)]))


def class_tables(runs: list[Run]) -> list[Part]:
    scores = [(run.name, run.metrics["uar"], interval_of(run, "uar")) for run in runs]
    details = "Two runs can differ although their intervals overlap. --mode compare tests two runs on the same clips."
    head = ["run", *(title for score in SCORES.values() for title in (score, "95 % interval")), "clips", "selected on"]
    columns: list[list[Any]] = [[run.name for run in runs]]
    for name in SCORES:
        values = [run.metrics.get(name) for run in runs]
        columns.append(mark_highest(values, [percent(value, 2) for value in values]))
        columns.append([span(interval_of(run, name)) for run in runs])
    columns.append([str(run.clips) for run in runs])
    columns.append([selection_cell(run) for run in runs])
    return [
        score_figure(scores, 100.0, "UAR of each run, in percent", details),
        Table("Scores; the highest is marked", head, list(zip(*columns, strict=True))),
        recalls(runs),
    ]


def recalls(runs: list[Run]) -> Table:
    """Return one row per class of any run, the best marked; a run without a class has a dash."""
    rows = []
    for name in dict.fromkeys(name for run in runs for name in run.metrics["classes"]):
        scores = [run.metrics["per_class"].get(name, {}) for run in runs]
        supports = {row.get("support") for row in scores if row}
        texts = []
        for row in scores:
            of_clips = f" of {row.get('support')}" if row and len(supports) > 1 else ""
            texts.append(with_span(percent(row.get("recall")), row.get("interval")) + of_clips)
        cells = mark_highest([row.get("recall") for row in scores], texts)
        rows.append([name, *cells, str(supports.pop()) if len(supports) == 1 else "differs"])
    return Table("Recall of each class; the highest is marked", ["class", *(run.name for run in runs), "clips"], rows)


def mark_highest(values: list[Any], texts: list[str]) -> list[Cell]:
    """Return a cell for each run, the highest value marked; none if there is only one value or all are equal."""
    numbers = {value for value in values if is_number(value)}
    best = max(numbers) if len(numbers) > 1 else None
    return [Cell(text, is_best=value is not None and value == best) for value, text in zip(values, texts, strict=True)]


def video_tables(runs: list[Run]) -> list[Part]:
    columns: list[list[Any]] = [[run.name for run in runs]]
    for task, (_, main) in TASKS.items():
        values = [(run.metrics.get(task) or {}).get(main) for run in runs]
        texts = [with_span(number(v), interval_of(run, task), 3) for v, run in zip(values, runs, strict=True)]
        columns.append(mark_highest(values, texts))
    columns += [[str(run.metrics.get(name, "–")) for run in runs] for name in ("videos", "fold")]
    head = ["run", *(title for title, _ in TASKS.values()), "videos", "fold"]
    return [Table("Long videos; the highest is marked", head, list(zip(*columns, strict=True)))]


def number_tables(runs: list[Run]) -> list[Part]:
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
