"""What a run folder holds, as plain data: a report and a model card read everything here."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError, reason_of

TASKS = {  # of long videos, each with its title and its main number
    "va": ("Valence and arousal, CCC", "ccc"),
    "expr": ("Expression, macro F1", "f1"),
    "au": ("Action units, mean F1", "f1"),
}


@dataclass(frozen=True)
class Run:
    """A scored run. ``kind`` is what was scored: classes, numbers, long videos, or other."""

    folder: Path
    name: str
    kind: str
    options: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, Any]]  # metrics of each epoch
    mistakes: list[dict[str, Any]]
    note: str | None  # of the data set about itself

    def option(self, name: str) -> Any:
        return self.options.get(name)

    @property
    def facts(self) -> dict[str, Any]:
        """Warnings, contents of the lists and the best epoch; runs of older versions have none."""
        facts = self.metrics.get("facts")
        return facts if isinstance(facts, dict) else {}

    @property
    def intervals(self) -> dict[str, Any]:
        """Intervals of the scores, and how they were made; empty with ``--ci off``."""
        return self.metrics.get("intervals") or {}

    @property
    def members(self) -> dict[str, dict[str, Any]]:
        """Scores of the runs of a series."""
        return self.metrics.get("runs") or {}

    @property
    def split(self) -> str:
        return self.metrics.get("split", "test")

    @property
    def present(self) -> int:
        """Number of classes that have a clip."""
        return len(self.metrics["classes"]) - len(self.metrics.get("absent_classes", []))

    @property
    def clips(self) -> int:
        return sum(row.get("support", 0) for row in self.metrics["per_class"].values())

    def picture(self, name: str) -> Path | None:
        return self.folder / name if (self.folder / name).is_file() else None


def read_runs(folders: tuple[str, ...] | list[str]) -> list[Run]:
    """Return the run of each folder, with names that tell them apart."""
    paths = [Path(folder) for folder in folders]
    resolved = [path.resolve() for path in paths]
    for number, path in enumerate(paths):
        if resolved[number] in resolved[:number]:
            raise UserError(f"{path}: named twice; name each run folder once")
    return [read_run(path, name) for path, name in zip(paths, distinct_names(paths), strict=True)]


def distinct_names(paths: list[Path]) -> list[str]:
    """Return the names of folders, with as many parents as it takes to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts))):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def read_run(folder: Path, name: str | None = None, metrics: dict[str, Any] | None = None) -> Run:
    """Return what a run folder holds. ``metrics``: of a run that has yet to write its metrics.json."""
    if folder.is_file():
        raise UserError(f"{folder}: a file; name the run folder that it is in")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name a run folder, such as outputs/<name>-<time>")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json, so it is no run folder")
    if metrics is None and not (folder / "metrics.json").is_file():
        raise UserError(f"{folder}: no metrics.json: this run is not scored; finish it with --resume {folder}")
    metrics = read_object(folder / "metrics.json") if metrics is None else metrics
    groups = [group for group in read_object(folder / "config.json").values() if isinstance(group, dict)]
    mistakes, note = read_mistakes(folder, metrics)
    return Run(
        folder=folder,
        name=name or folder.resolve().name,
        kind=kind_of(metrics),
        options={option: value for group in groups for option, value in group.items()},
        metrics=metrics,
        history=read_history(folder / "metrics.jsonl"),
        mistakes=mistakes,
        note=note,
    )


def kind_of(metrics: dict[str, Any]) -> str:
    if {"uar", "per_class", "classes"} <= metrics.keys():
        return "classes"
    if "targets" in metrics:
        return "numbers"
    return "long videos" if any(task in metrics for task in TASKS) else "other"


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; the run folder is damaged") from None
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file."""
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg}); the run folder is damaged") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a table of names and values; the run folder is damaged")
    return content


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return one object per epoch; none where nothing was trained."""
    rows = []
    for number, line in enumerate(read_text(path).splitlines() if path.is_file() else [], 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: not JSON; the run folder is damaged")
        rows.append(row)
    return rows


def read_mistakes(folder: Path, metrics: dict[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    """Return the mistakes of a run or of the runs of a series, surest first, and the note of the data set.

    ``file`` of each becomes a whole path, or None where there is no picture.
    """
    mistakes, note = [], None
    for part in [folder, *(folder / name for name in metrics.get("runs") or {})]:
        path = part / "mistakes" / "mistakes.json"
        if not path.is_file():
            continue
        content = read_object(path)
        note = note or content.get("note")
        for mistake in content.get("mistakes", []):
            picture = part / "mistakes" / Path(mistake["file"]).name if mistake.get("file") else None
            mistakes.append(mistake | {"file": picture if picture and picture.is_file() else None})
    return sorted(mistakes, key=lambda mistake: -mistake["confidence"]), note


def scored_clips(run: Run) -> set[tuple[str, str]] | None:
    """Return (clip, label) of every row of ``predictions.csv``; None where there is none, as for long videos."""
    first = next(iter(run.members), "")  # the runs of several seeds share their clips
    files = [run.folder / "predictions.csv", run.folder / first / "predictions.csv"]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        return None
    with open(path, newline="", encoding="utf-8") as file:
        return {(row.get("clip", ""), row.get("label", "")) for row in csv.DictReader(file)}


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_interval(bounds: Any) -> bool:
    return isinstance(bounds, (list, tuple)) and len(bounds) == 2 and all(map(is_number, bounds))


def interval_of(run: Run, name: str) -> list[float] | None:
    """Return the interval of a score of all clips, or of the main number of a task of long videos."""
    bounds = run.intervals.get(f"{name}_{TASKS[name][1]}" if name in TASKS else name)
    return bounds if is_interval(bounds) else None


def ccc_interval(run: Run, target: str) -> list[float] | None:
    """Return the interval of the CCC of a target, or of ``mean``, the mean over all of them."""
    rows = {"mean": run.intervals.get("mean")} | (run.intervals.get("targets") or {})
    return (rows.get(target) or {}).get("ccc")
