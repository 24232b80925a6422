"""CSV files with numbers of clips: ``--targets`` to predict them, ``--votes`` to train on what annotators voted.

The first line is ``clip,subject,<name>,...`` or ``clip,<class>,...``, and then there is a line for each clip.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dataloader.annotation import Clip
from dataloader.classes import Classes
from dataloader.frame_labels import number_in
from dataloader.frames import list_frames
from dataloader.paths import clip_key, clip_keys, find_clip_folder, resolve_path
from utils.errors import UserError, quote, shorten
from utils.json_files import read_text

Row = tuple[int, list[str]]  # the number of a line, and its cells
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
    header, rows = _read_table(path, "--targets")
    names = _names(header, path)
    clips, values, line_of = [], [], {}
    for number, row in _lines_below(header, rows, path, "--targets"):
        where = f"{path}, line {number}"
        clip = _clip(row[0], row[1], root, where)
        if line_of.setdefault(clip.key, number) != number:
            raise UserError(f"{where}: the clip {shorten(row[0])} is already in line {line_of[clip.key]}")
        clips.append(clip)
        values.append([_number(cell, name, where) for cell, name in zip(row[2:], names, strict=True)])
    return Targets(clips, names, np.array(values, dtype=np.float64))


def read_votes(file: str, root: str | None, classes: Classes) -> dict[str, tuple[float, ...]]:
    """Return {clip key: share of the votes for each class}. A column ``label`` may be there; it is not read."""
    path = resolve_path(file, root)
    header, rows = _read_table(path, "--votes")
    columns = _class_columns(header, path, classes)
    lines, votes = [*_lines_below(header, rows, path, "--votes")], {}
    for key, (number, row) in zip(clip_keys([row[0] for _, row in lines], root), lines, strict=True):
        where = f"{path}, line {number}"
        counts = [_number(row[column], header[column], where) for column in columns]
        total = math.fsum(counts)  # NaN where a cell is empty
        if not (min(counts) >= 0 and 0 < total < math.inf):
            raise UserError(f"{where}: expected votes of 0 or more for every class, and one vote at least")
        shares = tuple(count / total for count in counts)
        if votes.setdefault(key, shares) != shares:
            raise UserError(f"{where}: the clip {shorten(row[0])} is already there with other votes; keep one line")
    return votes


def with_votes(clips: list[Clip], file: str, root: str | None, classes: Classes) -> list[Clip]:
    """Return training clips with their votes; every one must have some."""
    votes = read_votes(file, root, classes)
    silent = [clip.id for clip in clips if clip.key not in votes]
    if silent:
        raise UserError(
            f"--votes {resolve_path(file, root)}: {len(silent)} of {len(clips)} training clips have no votes, such as "
            f"{shorten(silent[0])}; add a line for each, or leave --votes out"
        )
    return [replace(clip, votes=votes[clip.key]) for clip in clips]


def _class_columns(header: list[str], path: Path, classes: Classes) -> list[int]:
    """Return the column of each class; its title is the name of the class, or that of its folder in the set."""
    label_of = {
        column: classes.words.get(title.lower())
        for column, title in enumerate(header)
        if column > 0 and title.lower() != "label"
    }
    if header[0].lower() != "clip" or Counter(label_of.values()) != Counter(range(len(classes))):
        raise UserError(
            f"--votes {path}: expected a first line `clip,{','.join(classes.names)}`, got {quote(','.join(header))}"
        )
    return sorted(label_of, key=lambda column: label_of[column])


def _read_table(path: Path, flag: str) -> tuple[list[str], list[Row]]:
    """Return the first line of a CSV file, and the others with their numbers."""
    try:
        table = csv.reader(io.StringIO(read_text(path), newline=""))
        rows = [(table.line_num, [cell.strip() for cell in row]) for row in table if any(row)]
    except csv.Error as error:
        raise UserError(f"{flag} {path}, line {table.line_num}: not a CSV ({error})") from None
    except UserError as error:
        raise UserError(f"{flag} {error}") from None
    return rows[0][1] if rows else [""], rows[1:]


def _lines_below(header: list[str], rows: list[Row], path: Path, flag: str) -> Iterator[Row]:
    """Yield the lines of clips; raise a UserError if there is none, or for a line with another number of columns."""
    if not rows:
        raise UserError(f"{flag} {path}: holds no clip below its first line")
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
    folder = find_clip_folder(name, root)
    if folder is None:
        raise UserError(f"{where}: no folder {shorten(str(Path(root or '.') / name))}; check the file and --root-dir")
    frames = list_frames(folder)
    if not frames:
        raise UserError(f"{where}: {folder} holds no image; remove the line or restore the frames")
    return Clip(name, folder, frames, None, 0, clip_key(name, root), subject)


def _number(cell: str, name: str, where: str) -> float:
    value = number_in(cell)
    if cell and not math.isfinite(value):
        raise UserError(f"{where}: {name} must be a number, or empty if unknown, got {quote(cell)}")
    return value
