"""Write and read the results of a scored set: predictions.csv, metrics.json, pictures and the printed table."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np
from PIL import Image

from analysis.calibration import (
    RAW,
    Calibration,
    abstention,
    calibration_metrics,
    describe_abstention,
    describe_calibration,
    risk_coverage,
    softmax,
)
from analysis.intervals import Groups, add_intervals, groups_of
from analysis.metrics import table
from utils.errors import UserError, first_line, one_line, quote, reason_of
from utils.files import atomic_write
from utils.json_files import AnyNumber, Range, check_type, read_json, read_text
from utils.runlog import RunLog

Score = Annotated[float, Range(-1e6, 1e6)]
Share = Annotated[float, Range(-0.01, 1.01)]
Count = Annotated[int, Range(0, 1e12)]
Bounds = tuple[AnyNumber, AnyNumber] | None


class ClassRow(TypedDict):
    """Scores of one class."""

    support: NotRequired[Count]
    recall: NotRequired[Score | None]
    recall_sd: NotRequired[Score | None]
    interval: NotRequired[Bounds]
    f1: NotRequired[Score | None]
    f1_interval: NotRequired[Bounds]


class Intervals(TypedDict):
    """How intervals were made. The intervals themselves are beside these keys, under the names of the scores."""

    groups: NotRequired[Count]
    resampled: NotRequired[str]
    level: NotRequired[Score]
    replicates: NotRequired[Count]
    targets: NotRequired[dict[str, dict[str, Bounds]]]


class Bin(TypedDict):
    """Clips of similar confidence."""

    low: Share
    high: Share
    count: Count
    confidence: Share | None
    accuracy: Share | None


class Quality(TypedDict, total=False):
    """Quality of probabilities."""

    ece: AnyNumber
    nll: AnyNumber
    brier: AnyNumber
    bins: list[Bin]
    temperature: Annotated[float, Range(1e-6, 1e6)] | None
    fitted_on: str | None
    raw: "Quality | None"


class RiskCurve(TypedDict, total=False):
    """Share of wrong answers over the share that is answered."""

    coverage: list[Share]
    risk: list[Share]
    aurc: AnyNumber


class Abstention(TypedDict, total=False):
    """Scores of the answers that reach the threshold."""

    threshold: AnyNumber
    coverage: Share
    uar: AnyNumber | None
    intervals: dict[str, Bounds] | None


class TaskScores(TypedDict, total=False):
    """Scores of one task of long videos."""

    ccc: AnyNumber
    f1: AnyNumber
    num_frames: Count
    per_class: dict[str, ClassRow]
    classes: list[str]
    confusion: list[list[Count]]


class RunWarning(TypedDict):
    """A warning of a run; ``kind`` identifies its subject for programs."""

    kind: str
    text: str


class BestEpoch(TypedDict):
    epoch: Count
    epochs: Count


class ListContents(TypedDict):
    clips: Count
    persons: Count | None
    classes: dict[str, Count]


class BoxContents(TypedDict):
    kind: str
    clips: Annotated[int, Range(1)]
    clips_with_box: Count
    frames: Annotated[int, Range(1)]
    frames_with_box: Count


class VideoContents(TypedDict):
    videos: Count
    contents: list[str]


class TargetContents(TypedDict):
    subjects: Count
    clips: Count
    folds: Count
    targets: list[str]


CONTENTS = {  # types of the facts about a list or file, by a key that only this type has
    "classes": ListContents,
    "clips_with_box": BoxContents,
    "videos": VideoContents,
    "subjects": TargetContents,
}


class Facts(TypedDict):
    """Facts about a run besides its scores, for reports."""

    warnings: NotRequired[list[RunWarning]]
    data: NotRequired[dict[str, dict[str, Any]]]  # of ``CONTENTS``
    best: NotRequired[BestEpoch | None]


class Metrics(TypedDict, total=False):
    """Content of metrics.json. Runs measure different things, and older ones lack later keys."""

    uar: Score
    war: Score
    macro_f1: Score
    per_class: dict[str, ClassRow]
    confusion: list[list[Count]]
    classes: list[str]
    absent_classes: list[str]
    split: str
    selected_on: str | None
    intervals: Intervals | None
    calibration: Quality | None
    risk_coverage: RiskCurve | None
    abstain: Abstention | None
    seeds: list[int]
    runs: dict[str, dict[str, AnyNumber]] | None  # of a series, by folder
    ensemble: dict[str, AnyNumber] | None
    targets: dict[str, dict[str, AnyNumber]]
    mean: dict[str, AnyNumber] | None
    subjects: Count
    tested_on: str | None
    va: TaskScores
    expr: TaskScores
    au: TaskScores
    facts: Facts | None


@dataclass(frozen=True)
class Predictions:
    """The rows of one or more ``predictions.csv``."""

    names: tuple[str, ...]  # of the classes
    ids: list[str]
    persons: list[str | None]  # None for an unknown person
    label: np.ndarray  # (N,)
    logits: np.ndarray  # (N, C)

    @property
    def predicted(self) -> np.ndarray:
        return self.logits.argmax(axis=-1)


def write_results(
    log: RunLog,
    predictions: Predictions,
    metrics: dict[str, Any],
    *,
    split: str,
    selected_on: str,
    title: str,
    ci: str = "auto",
    abstain: float | None = None,
    calibrated: Calibration = RAW,
) -> dict[str, Any]:
    """Write the results of a scored set into the run folder, print the scores, and return all metrics.

    ``ci`` and ``abstain`` are the values of the flags.
    """
    label, logits = predictions.label, predictions.logits
    probabilities = softmax(logits, calibrated.temperature)
    answered = None if abstain is None else probabilities.max(axis=1) >= abstain
    write_predictions(log.folder / "predictions.csv", predictions, probabilities, answered)
    groups = groups_of(predictions.ids, predictions.persons, ci)
    metrics = assess(metrics, label, logits, calibrated, groups)
    if answered is not None:
        names = predictions.names
        metrics["abstain"] = abstention(abstain, answered, label, predictions.predicted, names, groups)
    metrics = metrics | {"split": split, "selected_on": selected_on}
    log.keep_metrics(metrics)
    draw(log, metrics, title, split)
    log.say(f"\n{title}, {split} clips, selected on {selected_on}")
    log.say(table(metrics))
    log.say(describe_calibration(metrics))
    if answered is not None:
        log.say(describe_abstention(metrics["abstain"], metrics["num_clips"]))
    for doubt in groups.doubts() if groups is not None else []:
        log.warn(doubt)
    if metrics["absent_classes"]:
        absent = ", ".join(metrics["absent_classes"])
        log.warn(f"no {split} clip of {absent}: UAR is the mean over the other classes", f"{split} class_missing")
    log.say(f"run folder: {log.folder}")
    return metrics


def assess(
    metrics: dict[str, Any], label: np.ndarray, logits: np.ndarray, calibrated: Calibration, groups: Groups | None
) -> dict[str, Any]:
    """Return ``metrics`` with intervals, calibration, and risk over coverage."""
    predicted = logits.argmax(axis=-1)
    if groups is not None:
        metrics = add_intervals(metrics, label, predicted, groups)
    confidence = softmax(logits.astype(np.float64), calibrated.temperature).max(axis=1)
    return metrics | {
        "calibration": calibration_metrics(logits, label, calibrated),
        "risk_coverage": risk_coverage(confidence, predicted == label),
    }


def draw(log: RunLog, metrics: dict[str, Any], title: str, split: str) -> None:
    """Draw the pictures into the run folder and into TensorBoard."""
    from analysis.plots import draw_confusion, draw_reliability, save

    for kind, draw_picture in (("confusion_matrix", draw_confusion), ("reliability", draw_reliability)):
        file = log.folder / f"{kind}.png"
        save(draw_picture(metrics, one_line(title)), file)
        with Image.open(file) as picture:  # drawing it again for TensorBoard would take as long
            pixels = np.asarray(picture.convert("RGB"))
        log.board.add_image(f"{kind.removesuffix('_matrix')}/{split}", pixels)


def write_predictions(
    path: Path, predictions: Predictions, probabilities: np.ndarray, answered: np.ndarray | None
) -> None:
    """Write one row per clip: names, logits and probabilities of every class; ``--abstain``: whether it is answered."""
    names, predicted = predictions.names, predictions.predicted
    numbers = [f"{kind}_{name}" for kind in ("logit", "prob") for name in names]
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        columns = ["clip", "person", "label", "predicted", *numbers]
        writer.writerow(columns if answered is None else [*columns, "answered"])
        for i, values in enumerate(np.concatenate([predictions.logits, probabilities], axis=1)):
            answers = names[predictions.label[i]], names[predicted[i]]
            person = predictions.persons[i] or ""
            row = [predictions.ids[i], person, *answers, *(f"{value:.9g}" for value in values)]
            writer.writerow(row if answered is None else [*row, int(answered[i])])


def require_run_folder(folder: Path) -> None:
    """Raise a UserError if ``folder`` is not a folder."""
    try:
        if folder.is_file():
            raise UserError(f"{folder}: a file; name the run folder that it is in")
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; name a run folder, such as outputs/<name>-<time>")
    except OSError as error:
        raise UserError(f"{folder}: {reason_of(error)}; name a run folder") from None


def read_metrics(folder: Path) -> Metrics:
    """Return the scores of a complete run."""
    path = folder / "metrics.json"
    if not path.exists():
        raise UserError(f"{folder}: holds no scores (metrics.json); name the folder of a run that is complete")
    metrics = read_json(path, Metrics)
    for name, contents in ((metrics.get("facts") or {}).get("data") or {}).items():
        kinds = [kind for word, kind in CONTENTS.items() if word in contents]
        check_type(contents, kinds[0] if kinds else Any, f"{path}: facts, data, {quote(name)}")
    for name in metrics.get("runs") or {}:
        if name in ("", ".", "..") or not {*name}.isdisjoint("/\\\0"):
            raise UserError(f"{path}: runs, {quote(name)}: not the name of a folder")
    if {"uar", "per_class", "classes"} <= metrics.keys():
        require_whole_classes(metrics, path)
    if "expr" in metrics and {"confusion", "classes"} <= metrics["expr"].keys():
        require_square(metrics["expr"]["confusion"], len(metrics["expr"]["classes"]), f"{path}: expr")
    return metrics


def require_whole_classes(metrics: Metrics, path: Path) -> None:
    """Raise a UserError if the parts of the scores of classes contradict one another."""
    names, absent = metrics["classes"], metrics.get("absent_classes", [])
    if len({*names}) < len(names) or {*names} != metrics["per_class"].keys():
        raise UserError(f"{path}: per_class: expected each of the classes once: {', '.join(names)}")
    if not {*absent} < {*names} or len({*absent}) < len(absent):
        raise UserError(f"{path}: absent_classes: expected some of the classes, got {quote(absent)}")
    for name, row in metrics["per_class"].items():
        if "support" not in row:
            raise UserError(f"{path}: per_class, {quote(name)}: lacks 'support'")
    if "confusion" in metrics:
        require_square(metrics["confusion"], len(names), str(path))


def require_square(confusion: list[list[int]], C: int, where: str) -> None:
    """Raise a UserError if a confusion matrix is not C × C."""
    if [len(row) for row in confusion] != [C] * C:
        raise UserError(f"{where}: confusion: expected {C} rows of {C} counts, one for each class")


class AblationRun(TypedDict):
    """A run of an ablation. Those of older versions lack ``folder``, the name of its variant's folder."""

    folder: NotRequired[str]
    seed: int


class AblationRuns(TypedDict):
    runs: dict[str, AblationRun]  # by run folder


def ablation_runs(folder: Path) -> dict[str, Path]:
    """Return {"seed-42": run folder} of a variant's folder in an ablation; an empty dict for any other folder.

    The table of the ablation also lists runs that were reused from other folders. An unfinished ablation has no table;
    then the folders of seeds with scores are returned.
    """
    if (folder / "config.json").exists():
        return {}
    table = folder.parent / "ablation.json"
    if table.is_file():
        entries = read_json(table, AblationRuns)["runs"].items()
        runs = {f"seed-{entry['seed']}": Path(run) for run, entry in entries if entry.get("folder") == folder.name}
        if runs:  # the ablation may have been moved, together with its own runs
            return {name: run if run.is_dir() else folder / name for name, run in sorted(runs.items())}
    if not folder.is_dir():
        return {}
    return {run.parent.name: run.parent for run in sorted(folder.glob("seed-*/metrics.json"))}


def read_options(folder: Path) -> dict[str, Any]:
    """Return every option of a run in one table."""
    groups = read_json(folder / "config.json", dict[str, Any]).values()
    return {name: value for group in groups if isinstance(group, dict) for name, value in group.items()}


def temperature_of(metrics: Metrics) -> float | None:
    """Return the temperature of the logits; None if runs with several temperatures are pooled."""
    return (metrics.get("calibration") or {}).get("temperature", 1.0)


def read_predictions(files: list[Path]) -> Predictions:
    """Return the rows of several files, one after the other; all must have the same classes."""
    parts = [read_answers(file) for file in files]
    require_same_classes([(str(file), part.names) for file, part in zip(files, parts, strict=True)])
    return Predictions(
        parts[0].names,
        [name for part in parts for name in part.ids],
        [person for part in parts for person in part.persons],
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.logits for part in parts]),
    )


def read_answers(file: Path) -> Predictions:
    """Return the rows of one file."""
    columns, rows = read_table(file)
    names = tuple(name.removeprefix("logit_") for name in columns if name.startswith("logit_"))
    if not names or not rows:
        raise UserError(f"{file}: holds no predictions of classes; single frames and numbers are not compared by clips")
    numbers, ids, persons, label, logits = {name: c for c, name in enumerate(names)}, [], [], [], []
    for where, row in rows:
        try:
            ids.append(row["clip"])
            label.append(numbers[row["label"]])
            logits.append([float(row[f"logit_{name}"]) for name in names])
        except (KeyError, ValueError, OverflowError) as error:
            raise UserError(f"{where}: not predictions of a run ({first_line(error)})") from None
        persons.append(row.get("person") or None)
    return Predictions(names, ids, persons, np.array(label), np.array(logits))


def read_table(file: Path) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """Return the columns of a CSV, and (file and line, {column: cell}) of each row."""
    if not file.exists():
        raise UserError(f"{file}: no predictions there; name the folder of a run that is complete")
    reader = csv.reader(io.StringIO(read_text(file), newline=""))
    try:
        columns = next(reader, [])
        if len({*columns}) < len(columns):
            raise UserError(f"{file}, line 1: two columns with the same name; the run folder is damaged")
        rows = []
        for cells in filter(None, reader):
            where = f"{file}, line {reader.line_num}"
            if len(cells) != len(columns):
                raise UserError(f"{where}: {len(cells)} columns, the first line has {len(columns)}")
            rows.append((where, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: not a CSV ({error})") from None
    return columns, rows


def require_same_classes(classes: list[tuple[str, tuple[str, ...]]]) -> None:
    """Refuse runs with different classes; ``classes``: (name of the run, its class names) each."""
    for run, names in classes[1:]:
        if names != classes[0][1]:
            differing = sorted(set(names) ^ set(classes[0][1])) or names
            raise UserError(
                f"{classes[0][0]} and {run} have different classes ({', '.join(differing)}), so they cannot be scored "
                f"together; with --label-type compound pass --train-annotation too, whose combinations are also classes"
            )
