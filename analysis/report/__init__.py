"""``--mode report RUN...``: one page that needs nothing but itself, and a Markdown twin, from run folders alone."""

import time
from pathlib import Path
from typing import Any

from analysis.report.collect import Run, collect
from analysis.report.document import Document, Heading, Paragraph, Picture, Warnings
from analysis.report.html import page
from analysis.report.markdown import markdown
from analysis.report.sections import run_parts, warning_parts
from analysis.report.several import comparison_parts, different_clips, ranking
from analysis.report.words import cautions, title_of, verdict
from engine.options import Config
from utils.errors import UserError, reason_of

PICTURES, FEWEST = 24, 4  # of mistakes: in a whole report; in any case of each run
PEOPLE = (
    "This report holds pictures of persons of the data set. Show it only to whom the set's licence and the persons' "
    "consent allow; --no-mistake-frames writes it without them."
)


def report(config: Config, given: dict[str, Any]) -> None:
    """Write ``report.html`` and ``report.md``, and say where."""
    runs = collect(config.run.files)
    document = make_document(runs, config.results.mistake_frames)
    folder = report_folder(config, runs)
    footer = footer_of(runs, document)
    for name, text in (("report.html", page(document, footer)), ("report.md", markdown(document, footer, folder))):
        write(folder / name, text)
        print(folder / name)


def make_document(runs: list[Run], with_pictures: bool) -> Document:
    pictures = max(FEWEST, PICTURES // len(runs)) if with_pictures else 0
    document = single(runs[0], pictures) if len(runs) == 1 else several(runs, pictures)
    document.shows_people = any(
        isinstance(p, Picture) and p.file.parent.name == "mistakes" for p in flat(document.parts)
    )
    return document


def single(run: Run, pictures: int) -> Document:
    parts = [Paragraph(verdict(run), is_lead=True), Heading(2, "What to know first"), *warning_parts(run)]
    return Document(title_of(run), parts + run_parts(run, 2, pictures))


def several(runs: list[Run], pictures: int) -> Document:
    """The comparison first, then each run."""
    warned = [(f"{run.name}, {what}", text) for run in runs for what, text in cautions(run)]
    unlike = different_clips(runs)
    warned = ([("comparison", unlike)] if unlike else []) + shared(warned, runs)
    parts: list[Any] = [Paragraph(ranking(runs), is_lead=True)]
    parts += [
        Heading(2, "What to know first"),
        Warnings(warned) if warned else Paragraph("No run gave reason for a warning."),
    ]
    parts += comparison_parts(runs)
    for run in runs:
        parts += [Heading(2, f"Run {run.name}"), Paragraph(verdict(run)), *run_parts(run, 3, pictures)]
    return Document(f"{len(runs)} runs compared", parts)


def shared(warned: list[tuple[str, str]], runs: list[Run]) -> list[tuple[str, str]]:
    """A warning that all runs share is said once."""
    texts = [text for _, text in warned]
    found: dict[str, str] = {}
    for who, text in warned:
        if texts.count(text) == len(runs):
            found.setdefault(text, f"all runs, {who.rpartition(', ')[2]}")
    alone = [(who, text) for who, text in warned if text not in found]
    return [(who, text) for text, who in found.items()] + alone


def flat(parts: list[Any]) -> list[Any]:
    return [one for part in parts for one in (part, *flat(getattr(part, "parts", [])))]


def footer_of(runs: list[Run], document: Document) -> list[str]:
    folders = ", ".join(str(run.folder) for run in runs)
    made = f"Made on {time.strftime('%Y-%m-%d')} by python main.py --mode report from {folders} alone."
    return [made, PEOPLE] if document.shows_people else [made]


def report_folder(config: Config, runs: list[Run]) -> Path:
    """``--output-dir``; else the run's own folder, or a new one for several runs."""
    if config.run.output_dir:
        folder = Path(config.run.output_dir)
    elif len(runs) == 1:
        return runs[0].folder
    else:
        folder = Path("outputs") / f"report-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output-dir {folder}: {reason_of(error)}") from None
    return folder


def write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}; name another folder with --output-dir") from None
