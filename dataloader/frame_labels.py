"""Labels for every frame of a video: a text file per task with a header; line i below it belongs to frame i."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import UserError, quote
from utils.json_files import read_text

EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
ACTION_UNITS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26")


@dataclass(frozen=True)
class FrameTask:
    """Format of the files of a task, and the names of their folders in the challenge."""

    names: tuple[str, ...]  # the first line of a file
    width: int  # numbers in every other line
    invalid: int  # the value that means "not labelled"
    bounds: tuple[int, int]
    is_whole: bool
    folders: tuple[str, ...]


TASKS = {
    "va": FrameTask(
        ("valence", "arousal"), 2, -5, (-1, 1), False, ("VA_Estimation_Challenge", "VA_Set", "VA")
    ),
    "expr": FrameTask(
        EXPRESSIONS, 1, -1, (0, 7), True,
        ("EXPR_Recognition_Challenge", "EXPR_Classification_Challenge", "EXPR_Set", "EXPR"),
    ),
    "au": FrameTask(
        ACTION_UNITS, 12, -1, (0, 1), True, ("AU_Detection_Challenge", "AU_Set", "AU")
    ),
}  # fmt: skip


def read_labels(path: Path, task: str) -> np.ndarray:
    """Return ``va`` (L, 2) and ``au`` (L, 12) float32, NaN where not labelled; ``expr`` (L,) int64, -1 there."""
    kind = TASKS[task]
    text = read_text(path)
    header, *lines = text.rstrip().replace("\r\n", "\n").split("\n") if text.strip() else [""]
    if [cell.strip().lower() for cell in header.split(",")] != [name.lower() for name in kind.names]:
        raise UserError(f"{path}, line 1: expected {','.join(kind.names)} for {task}, got {quote(header)}")
    if not lines:
        raise UserError(f"{path}: has no line below its header")
    values = _numbers(lines, kind, path)
    if task == "expr":
        return values[:, 0].astype(np.int64)
    values[(values == kind.invalid).any(1)] = np.nan  # a frame with one invalid number is unlabelled
    return values.astype(np.float32)


def unlabelled(task: str, frames: int) -> np.ndarray:
    """Return the labels of ``frames`` frames without labels."""
    if task == "expr":
        return np.full(frames, TASKS[task].invalid, dtype=np.int64)
    return np.full((frames, TASKS[task].width), np.nan, dtype=np.float32)


def find_labelled(task: str, labels: np.ndarray) -> np.ndarray:
    """Return (L,) bool: the frames that have a label."""
    return labels >= 0 if task == "expr" else ~np.isnan(labels).any(1)


def lengthen(task: str, labels: np.ndarray, frames: int) -> np.ndarray:
    """Return ``labels`` followed by unlabelled frames, ``frames`` in total."""
    return np.concatenate([labels, unlabelled(task, frames - len(labels))])


def _numbers(lines: list[str], kind: FrameTask, path: Path) -> np.ndarray:
    """Return the numbers (L, width) float64; raise a UserError for a value that the task does not allow."""
    for number, line in enumerate(lines, 2):
        if line.count(",") != kind.width - 1:
            raise UserError(f"{path}, line {number}: {line.count(',') + 1} columns, expected {kind.width}")
    cells = ",".join(lines).split(",")
    values = np.fromiter(map(number_in, cells), np.float64, len(cells))
    low, high = kind.bounds
    is_valid = ((values >= low) & (values <= high)) | (values == kind.invalid)
    if kind.is_whole:
        is_valid &= values == np.round(values)
    if not is_valid.all():
        index = int(np.argmin(is_valid))
        expected = f"a whole number from {low} to {high}" if kind.is_whole else f"a number from {low} to {high}"
        where = f"{path}, line {index // kind.width + 2}"
        raise UserError(f"{where}: expected {expected}, or {kind.invalid} for none, got {quote(cells[index].strip())}")
    return values.reshape(-1, kind.width)


def number_in(cell: str) -> float:
    """Return the number in a cell, NaN if there is none."""
    try:
        return float(cell) if "_" not in cell else np.nan  # Python reads 1_0 as 10
    except ValueError:
        return np.nan
