"""The CSV file of ``--targets``: numbers of clips that ``--task regression`` predicts.

The first line is ``clip,subject,<name>,...``, and then there is a line for each clip. Clips are named as in lists.
"""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloader.annotation import Clip, on_disk
from dataloader.classes import Classes
from dataloader.frame_labels import number_in
from dataloader.paths import clip_key, resolve_path
from utils.errors import UserError, quote, shorten
from utils.json_files import read_text

Row = tuple[int, list[str]]  # the number of a line, and its cells
NO_CLASSES = Classes(names=(), label_base=0, texts={}, source="")  # clips are folders or videos below the root
HEADER = "a first line `clip,subject,` and the names of the numbers"


@dataclass(frozen=True)
class Targets:
    """Clips, whose ``person`` is the subject, and their numbers: (N, K), NaN for an empty cell."""

    clips: list[Clip]
    names: tuple[str, ...]
    values: np.ndarray

    @property
    def subjects(self) -> list[str]:
        return [clip.person for clip in self.clips]


def read_targets(file: str, root: str | None) -> Targets:
    """Return the clips of a file with their numbers; raise a UserError for the first faulty line."""
    path = resolve_path(file, root)
    header, rows = _read_table(path)
    names = _names(header, path)
    clips, values, line_of = [], [], {}
    for number, row in _lines_below(header, rows, path):
        where = f"{path}, line {number}"
        clip = _clip(row[0], row[1], root, where)
        if line_of.setdefault(clip.key, number) != number:
            raise UserError(f"{where}: the clip {shorten(row[0])} is already in line {line_of[clip.key]}")
        clips.append(clip)
        values.append([_number(cell, name, where) for cell, name in zip(row[2:], names, strict=True)])
    return Targets(clips, names, np.array(values, dtype=np.float64))


def _read_table(path: Path) -> tuple[list[str], list[Row]]:
    """Return the first line of a CSV file, and the others with their numbers."""
    try:
        table = csv.reader(io.StringIO(read_text(path), newline=""))
        rows = [(table.line_num, [cell.strip() for cell in row]) for row in table if any(row)]
    except csv.Error as error:
        raise UserError(f"--targets {path}, line {table.line_num}: not a CSV ({error})") from None
    except UserError as error:
        raise UserError(f"--targets {error}") from None
    return rows[0][1] if rows else [""], rows[1:]


def _lines_below(header: list[str], rows: list[Row], path: Path) -> Iterator[Row]:
    """Yield the lines of clips; raise a UserError if there is none, or for a line with another number of columns."""
    if not rows:
        raise UserError(f"--targets {path}: holds no clip below its first line")
    for number, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}, line {number}: {len(row)} columns, the first line has {len(header)}")
        yield number, row


def _names(header: list[str], path: Path) -> tuple[str, ...]:
    if [cell.lower() for cell in header[:2]] != ["clip", "subject"] or len(header) < 3:
        raise UserError(f"--targets {path}: expected {HEADER}, got {quote(','.join(header))}")
    names = tuple(header[2:])
    if len(set(names)) < len(names) or not all(names):
        raise UserError(f"--targets {path}: every column needs a different name, got {shorten(','.join(names))}")
    return names


def _clip(name: str, subject: str, root: str | None, where: str) -> Clip:
    if not subject:
        raise UserError(f"{where}: the clip {shorten(name)} has no subject")
    clip = Clip(name, Path(root or ".") / name, (), None, 0, clip_key(name, root), subject, where=where)
    return on_disk(clip, root, NO_CLASSES)


def _number(cell: str, name: str, where: str) -> float:
    value = number_in(cell)
    if cell and not math.isfinite(value):
        raise UserError(f"{where}: {name} must be a number, or empty if unknown, got {quote(cell)}")
    return value
