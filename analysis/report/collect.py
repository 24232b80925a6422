"""A run folder → plain data: everything that a report or a model card says is read here, and nowhere else."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.options import defaults
from engine.registry import method_named
from utils.config import flag_of
from utils.errors import UserError, reason_of

LONG_VIDEOS = ("va", "expr", "au")
OF_THE_PLACE = {
    "files",
    "output_dir",
    "exper_name",
    "mode",
    "workers",
    "device",
    "gpu",
    "resume",
    "print_freq",
    "cache_dir",
}
OF_THE_PLACE |= {"mistake_frames", "save_every_minutes", "dry_run"}
WARNING = "warning: "


@dataclass(frozen=True)
class Run:
    """What a folder holds; ``kind`` says what was scored: classes, numbers, long videos or something else."""

    folder: Path
    name: str
    kind: str
    config: dict[str, dict[str, Any]]
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    log: list[str]
    mistakes: list[dict[str, Any]]
    note: str | None  # of the data set about itself

    def option(self, name: str) -> Any:
        return self.options.get(name)

    @property
    def options(self) -> dict[str, Any]:
        return {name: value for group in self.config.values() for name, value in group.items()}

    @property
    def warned(self) -> list[str]:
        """What the log warned of, each once."""
        said = [line.removeprefix(WARNING).strip() for line in self.log if line.startswith(WARNING)]
        return list(dict.fromkeys(said))

    @property
    def members(self) -> dict[str, dict[str, Any]]:
        """Scores of the runs that a series is made of."""
        return self.metrics.get("runs") or {}

    def picture(self, name: str) -> Path | None:
        return self.folder / name if (self.folder / name).is_file() else None


def collect(folders: tuple[str, ...] | list[str]) -> list[Run]:
    """One ``Run`` a folder, with names that tell them apart."""
    paths = [Path(folder) for folder in folders]
    twice = next((path for n, path in enumerate(paths) if path.resolve() in [p.resolve() for p in paths[:n]]), None)
    if twice is not None:
        raise UserError(f"{twice}: named twice; name each run folder once")
    return [read_run(path, name) for path, name in zip(paths, names_of(paths), strict=True)]


def names_of(paths: list[Path]) -> list[str]:
    """The folders' own names, with the folder above where two are the same, and so on."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts))):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def read_run(folder: Path, name: str | None = None) -> Run:
    """The one line that a wrong folder deserves, or everything in it."""
    if folder.is_file():
        raise UserError(f"{folder}: a file; name the run folder that it is in")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name a run folder, such as outputs/<name>-<time>")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json, so it is no run folder")
    if not (folder / "metrics.json").is_file():
        raise UserError(f"{folder}: no metrics.json: this run is not scored; finish it with --resume {folder}")
    metrics = read_table(folder / "metrics.json")
    mistakes, note = read_mistakes(folder, metrics)
    return Run(
        folder=folder,
        name=name or folder.resolve().name,
        kind=kind_of(metrics),
        config={k: v for k, v in read_table(folder / "config.json").items() if isinstance(v, dict)},
        metrics=metrics,
        history=read_lines(folder / "metrics.jsonl"),
        log=read_text(folder / "log.txt").splitlines() if (folder / "log.txt").is_file() else [],
        mistakes=mistakes,
        note=note,
    )


def kind_of(metrics: dict[str, Any]) -> str:
    if {"uar", "per_class", "classes"} <= metrics.keys():
        return "classes"
    if "targets" in metrics:
        return "numbers"
    return "long videos" if any(task in metrics for task in LONG_VIDEOS) else "other"


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; the run folder is damaged") from None
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None


def read_table(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg}); the run folder is damaged") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a table of names and values; the run folder is damaged")
    return content


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Epochs, a line each."""
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: not JSON; the run folder is damaged")
        rows.append(row)
    return rows


def read_mistakes(folder: Path, metrics: dict[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    """Of the run, or of the runs of a series, surest first; ``file`` becomes a whole path, or None."""
    found, note = [], None
    for part in [folder, *(folder / name for name in metrics.get("runs") or {})]:
        path = part / "mistakes" / "mistakes.json"
        if not path.is_file():
            continue
        content = read_table(path)
        note = note or content.get("note")
        for one in content.get("mistakes", []):
            picture = part / "mistakes" / Path(one["file"]).name if one.get("file") else None
            found.append(one | {"file": picture if picture and picture.is_file() else None})
    return sorted(found, key=lambda one: -one["confidence"]), note


def scored_clips(run: Run) -> set[tuple[str, str]] | None:
    """(clip, label) of every row of ``predictions.csv``; None where there is none, as for long videos."""
    first = next(iter(run.members), "")  # the runs of several seeds share their clips
    places = [run.folder / "predictions.csv", run.folder / first / "predictions.csv"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    with open(path, newline="", encoding="utf-8") as file:
        return {(row.get("clip", ""), row.get("label", "")) for row in csv.DictReader(file)}


def chosen_options(run: Run) -> dict[str, Any]:
    """Options that differ from what this method takes for granted; those of the place, a device for one, left out."""
    usual = defaults() | dict(method_named(run.option("model") or "clip-caer").defaults)
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in usual.items()}
    found = {name: value for name, value in run.options.items() if name not in OF_THE_PLACE}
    settled = {"lr_fusion": run.option("lr"), "normalize": "none", "crop_body": False}  # filled in where not given
    return {
        name: value
        for name, value in found.items()
        if value != listed.get(name) and not (listed.get(name) is None and value == settled.get(name))
    }


def written(value: Any) -> str:
    """As it would be typed."""
    value = list(value) if isinstance(value, tuple) else value
    if value is None:
        return "(not set)"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def flags_of(options: dict[str, Any]) -> list[tuple[str, str]]:
    return [(flag_of(name), written(value)) for name, value in options.items()]


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
