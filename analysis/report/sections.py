"""The sections about one run, from its facts to the pieces of a document."""

from typing import Any

from analysis.report.calibration import calibration_parts
from analysis.report.classes import class_parts
from analysis.report.collect import Run, chosen_options, flags_of
from analysis.report.document import Beside, Folded, Heading, Paragraph, Table, Warnings
from analysis.report.history import curve_figures
from analysis.report.other_kinds import number_parts, other_parts, video_parts
from analysis.report.words import best_epoch, cautions, data_lines
from analysis.report.wrong import mistake_parts


def warning_parts(run: Run) -> list[Any]:
    found = cautions(run)
    return [Warnings(found)] if found else [Paragraph("Nothing in this run gave reason for a warning.")]


def run_parts(run: Run, level: int, pictures: int) -> list[Any]:
    """Everything about a run but its warnings; ``pictures``: of mistakes, at most."""
    parts = {
        "classes": class_parts,
        "numbers": number_parts,
        "long videos": video_parts,
        "other": other_parts,
    }[run.kind](run, level)
    curves = curve_figures(run)
    if curves:
        parts += [Heading(level, "Training"), *training_words(run), Beside(curves)]
    if run.kind == "classes":
        parts += calibration_parts(run, level) + mistake_parts(run, level, pictures)
    return parts + setting_parts(run, level)


def training_words(run: Run) -> list[Any]:
    best = best_epoch(run)
    return [Paragraph(f"Kept: epoch {best[0]} of {best[1]} (dashed line).")] if best else []


def setting_parts(run: Run, level: int) -> list[Any]:
    chosen = [list(pair) for pair in flags_of(chosen_options(run))]
    every = [list(pair) for pair in flags_of(run.options)]
    parts: list[Any] = [Heading(level, "Settings and data")]
    counted = [[name, rest] for name, rest in map(split_line, data_lines(run))]
    if counted:
        parts.append(Table("What the lists hold", ["list", "contents"], counted, is_text=True))
    if chosen:
        caption = "Options that differ from what the method takes for granted"
        parts.append(Table(caption, ["option", "value"], chosen, is_text=True))
    return [*parts, Folded("Every option", [Table("Every option", ["option", "value"], every, is_text=True)])]


def split_line(line: str) -> tuple[str, str]:
    """``train 383 clips …`` → what, and the rest."""
    if ": " in line and line.split(": ")[0] in ("face boxes", "body boxes"):
        first, _, rest = line.partition(": ")
        return first, rest
    first, _, rest = line.partition(" ")
    return (first.rstrip(":"), rest) if not first.isdigit() else ("all", line)
