"""Read the content of run folders as plain data, for reports and model cards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from analysis.metrics import Interval
from analysis.results import (
    Facts,
    Intervals,
    Metrics,
    Share,
    read_metrics,
    read_options,
    read_table,
    require_run_folder,
)
from utils.errors import UserError
from utils.json_files import check_type, is_number, read_json, read_lines

PICTURES = (".jpg", ".jpeg", ".png")

TASKS = {  # of long videos, each with its title and its main number
    "va": ("Valence and arousal, CCC", "ccc"),
    "expr": ("Expression, macro F1", "f1"),
    "au": ("Action units, mean F1", "f1"),
}


class Texts(TypedDict, total=False):
    """Options that a report puts into its sentences."""

    exper_name: str | None
    mode: str | None
    model: str | None
    select_on: str | None
    select_by: str | None


class Mistake(TypedDict):
    """A clip that was not classified correctly."""

    clip: str
    label: str
    predicted: str
    confidence: Share
    p_true: Share
    person: NotRequired[str | None]
    why: NotRequired[list[str]]
    file: NotRequired[str | None]  # a picture beside the file


class Mistakes(TypedDict):
    """Content of mistakes.json."""

    note: NotRequired[str | None]
    mistakes: NotRequired[list[Mistake]]


class VariantDifference(TypedDict):
    """The difference of a score of a variant to the first variant, paired over clips and seeds."""

    value: float
    interval: Interval
    p: NotRequired[float | None]
    p_holm: NotRequired[float | None]
    identical: bool


class Variant(TypedDict):
    """A row of ablation.json; the first one has no difference."""

    variant: str
    changed: str
    seeds: list[int]
    uar: float
    war: float
    macro_f1: float
    uar_sd: float | None
    war_sd: float | None
    macro_f1_sd: float | None
    intervals: dict[str, Interval]
    runs: list[str]
    difference: NotRequired[dict[str, VariantDifference]]
    verdict: NotRequired[str]


class Ablation(TypedDict):
    """Content of ablation.json."""

    rows: list[Variant]
    notes: list[str]
    left_out: list[str]
    split: str
    selected_on: str
    clips: int


@dataclass(frozen=True)
class Run:
    """A scored run. ``kind`` is what was scored: classes, numbers, long videos, or other."""

    folder: Path
    name: str
    kind: str
    options: dict[str, Any]
    metrics: Metrics
    history: list[dict[str, Any]]  # metrics of each epoch
    mistakes: list[dict[str, Any]]
    note: str | None  # of the data set about itself

    def option(self, name: str) -> Any:
        return self.options.get(name)

    @property
    def facts(self) -> Facts:
        """Warnings, contents of the lists and the best epoch; runs of older versions have none."""
        return self.metrics.get("facts") or {}

    @property
    def intervals(self) -> Intervals:
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
    """Return the run of each folder, with distinct names."""
    paths = [Path(folder) for folder in folders]
    for path in paths:
        require_run_folder(path)
    resolved = [path.resolve() for path in paths]
    for number, path in enumerate(paths):
        if resolved[number] in resolved[:number]:
            raise UserError(f"{path}: named twice; name each run folder once")
    return [read_run(path, name) for path, name in zip(paths, distinct_names(paths), strict=True)]


def is_ablation(folder: Path) -> bool:
    return (folder / "ablation.json").is_file()


def read_ablation(folder: Path) -> Ablation:
    """Return the variants of a finished ablation, the first one with no difference to itself."""
    ablation = read_json(folder / "ablation.json", Ablation)
    if not ablation["rows"] or any("uar" not in row.get("difference", {}) for row in ablation["rows"][1:]):
        raise UserError(f"{folder / 'ablation.json'}: incomplete; repeat the command of the ablation to write it again")
    return ablation


def scores_of_member(folder: Path, member: str) -> Metrics | None:
    """Return the metrics of a run of an ablation, even if the ablation was moved; None if it does not exist."""
    places = (Path(member), folder.joinpath(*Path(member).parts[-2:]))
    return next((read_metrics(path) for path in places if (path / "metrics.json").is_file()), None)


def distinct_names(paths: list[Path]) -> list[str]:
    """Return the names of folders, with as many parents as are needed to distinguish them."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts))):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def read_run(folder: Path, name: str | None = None, metrics: Metrics | None = None) -> Run:
    """Return what a run folder holds. ``metrics``: scores of a run without metrics.json yet."""
    require_run_folder(folder)
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: no config.json, so it is not a run folder")
    if metrics is None and is_ablation(folder):
        raise UserError(f"{folder}: is an ablation; name only this folder, or the folders of its runs")
    if metrics is None and not (folder / "metrics.json").exists():
        raise UserError(f"{folder}: no metrics.json, so this run is not scored; finish it with --resume {folder}")
    metrics, history = read_metrics(folder) if metrics is None else metrics, folder / "metrics.jsonl"
    mistakes, note = read_mistakes(folder, metrics)
    return Run(
        folder=folder,
        name=name or folder.resolve().name,
        kind=kind_of(metrics),
        options=check_type(read_options(folder), Texts, str(folder / "config.json")),
        metrics=metrics,
        history=read_lines(history, dict[str, Any]) if history.exists() else [],
        mistakes=mistakes,
        note=note,
    )


def kind_of(metrics: Metrics) -> str:
    if {"uar", "per_class", "classes"} <= metrics.keys():
        return "classes"
    if "targets" in metrics:
        return "numbers"
    return "long videos" if any(task in metrics for task in TASKS) else "other"


def read_mistakes(folder: Path, metrics: Metrics) -> tuple[list[dict[str, Any]], str | None]:
    """Return the mistakes of a run or of the runs of a series, most confident first, and the note of the data set.

    ``file`` of each becomes a full path, or None without a picture.
    """
    mistakes, note = [], None
    for part in [folder, *(folder / name for name in metrics.get("runs") or {})]:
        path = part / "mistakes" / "mistakes.json"
        if not path.exists():
            continue
        content = read_json(path, Mistakes)
        note = note or content.get("note")
        for mistake in content.get("mistakes", []):
            picture = path.with_name(Path(mistake.get("file") or ".").name or "none")
            is_picture = picture.suffix.lower() in PICTURES and picture.is_file()
            mistakes.append(mistake | {"file": picture if is_picture else None})
    return sorted(mistakes, key=lambda mistake: -mistake["confidence"]), note


def scored_clips(run: Run) -> set[tuple[str, str]] | None:
    """Return (clip, label) of every row of ``predictions.csv``; None without that file, as for long videos."""
    first = next(iter(run.members), "")  # the runs of several seeds share their clips
    files = [run.folder / "predictions.csv", run.folder / first / "predictions.csv"]
    path = next((file for file in files if file.exists()), None)
    if path is None:
        return None
    return {(row.get("clip", ""), row.get("label", "")) for _, row in read_table(path)[1]}


def is_interval(bounds: Any) -> bool:
    return isinstance(bounds, (list, tuple)) and len(bounds) == 2 and all(map(is_number, bounds))


def interval_of(run: Run, name: str) -> list[float] | None:
    """Return the interval of a score of all clips, or of the main number of a task of long videos."""
    bounds = run.intervals.get(f"{name}_{TASKS[name][1]}" if name in TASKS else name)
    return bounds if is_interval(bounds) else None


def ccc_interval(run: Run, target: str) -> list[float] | None:
    """Return the interval of the CCC of a target, or of ``mean``, the mean over all of them."""
    rows = {"mean": run.intervals.get("mean")} | (run.intervals.get("targets") or {})
    row = rows.get(target)
    return row.get("ccc") if isinstance(row, dict) else None
