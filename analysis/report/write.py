"""``report.html`` and ``report.md`` about one run, or about several of them side by side."""

import time
from pathlib import Path
from typing import Any

from analysis.report.document import Document, Heading, Paragraph, Warnings, html_page, markdown_text
from analysis.report.runs import Run, read_runs
from analysis.report.sections import OptionFacts, run_parts, warning_parts
from analysis.report.several import comparison_parts, different_clips, ranking
from analysis.report.statements import cautions, title_of, verdict
from utils.errors import UserError, reason_of
from utils.files import write_text

PICTURES, FEWEST = 24, 4  # of mistakes: in a whole report; in any case of each run
PEOPLE = (
    "This report holds pictures of persons of the data set. Show it only to whom the set's licence and the persons' "
    "consent allow; --no-mistake-frames writes it without them."
)


def write_report(
    folders: tuple[str, ...], *, output_dir: str | None, with_pictures: bool, options: OptionFacts
) -> list[Path]:
    """Write ``report.html`` and ``report.md`` about run folders and return their paths.

    They go to ``output_dir``; without one, to the run's own folder, or to a new one for several runs.
    """
    runs = read_runs(folders)
    pictures = max(FEWEST, PICTURES // len(runs)) if with_pictures else 0
    document = about_one(runs[0], pictures, options) if len(runs) == 1 else about_several(runs, pictures, options)
    folder = report_folder(output_dir, runs)
    names = ", ".join(str(run.folder) for run in runs)
    footer = [f"Made on {time.strftime('%Y-%m-%d')} by python main.py --mode report from {names} alone."]
    footer += [PEOPLE] if document.shows_people else []
    texts = {
        folder / "report.html": html_page(document, footer),
        folder / "report.md": markdown_text(document, footer, folder),
    }
    for path, text in texts.items():
        try:
            write_text(path, text)
        except OSError as error:
            raise UserError(f"{path}: {reason_of(error)}; name another folder with --output-dir") from None
    return list(texts)


def about_one(run: Run, pictures: int, options: OptionFacts) -> Document:
    parts = [Paragraph(verdict(run), is_lead=True), Heading(2, "What to know first"), *warning_parts(run)]
    return Document(title_of(run), parts + run_parts(run, 2, pictures, options))


def about_several(runs: list[Run], pictures: int, options: OptionFacts) -> Document:
    """Return the comparison, then each run."""
    warnings = shared_warnings(runs)
    if incomparable := different_clips(runs):
        warnings.insert(0, ("comparison", incomparable))
    parts: list[Any] = [
        Paragraph(ranking(runs), is_lead=True),
        Heading(2, "What to know first"),
        Warnings(warnings) if warnings else Paragraph("No run gave reason for a warning."),
        *comparison_parts(runs, options),
    ]
    for run in runs:
        parts += [Heading(2, f"Run {run.name}"), Paragraph(verdict(run)), *run_parts(run, 3, pictures, options)]
    return Document(f"{len(runs)} runs compared", parts)


def shared_warnings(runs: list[Run]) -> list[tuple[str, str]]:
    """Return (run and subject, warning) of all runs; a warning that all of them share comes first and once."""
    warnings = [(run.name, subject, text) for run in runs for subject, text in cautions(run)]
    texts = [text for *_, text in warnings]
    shared = {text: f"all runs, {subject}" for _, subject, text in warnings if texts.count(text) == len(runs)}
    single = [(f"{name}, {subject}", text) for name, subject, text in warnings if text not in shared]
    return [(who, text) for text, who in shared.items()] + single


def report_folder(output_dir: str | None, runs: list[Run]) -> Path:
    if output_dir:
        folder = Path(output_dir)
    elif len(runs) == 1:
        return runs[0].folder
    else:
        folder = Path("outputs") / f"report-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output-dir {folder}: {reason_of(error)}") from None
    return folder
