"""Parse the lines of clip lists in every layout. The disk is not searched for clips here."""

import csv
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dataloader.classes import Classes
from dataloader.frames import SUFFIXES
from dataloader.paths import slashes, without_suffix
from utils.errors import OnFault, UserError, closest, quote, raise_error, shorten
from utils.json_files import read_bytes

LINE_ENDS = r"\r\n|\r|\n"


@dataclass(frozen=True)
class Line:
    """One line of a list."""

    where: str  # file and line
    path: str
    labels: tuple[int, ...]  # 0-based, ascending; several: a combination of base classes; none: an ignored label
    frames: int | None = None
    caption: str | None = None
    text: str = ""  # the line itself; empty if a folder replaces the list
    names_person: bool = True  # whether the parent folder of a clip may be a person; in a folder of classes it is one


class BadLabel(UserError):
    """A line whose label is not a class of the set, or not that of its folder."""


def read_lines(path: Path, classes: Classes, on_fault: OnFault = raise_error) -> Iterator[Line]:
    """Yield every line that is not blank; an error that names its line is raised, or given to ``on_fault``."""
    numbered = enumerate(re.split(LINE_ENDS, _read_text(path, classes)), 1)
    rows = [(f"{path}, line {number}", row) for number, row in numbered if row.strip()]
    parse = {"list": _path_frames_label, "names": _video_and_class, "images": _image_and_label}[classes.layout]
    is_csv = bool(rows) and _is_csv(path, rows[0][1], classes)
    if is_csv:
        header = rows[0] if _has_header(rows[0][1], classes) else (rows[0][0], ",".join(classes.format.csv_columns))
        rows = rows[1:] if header == rows[0] else rows
        parse = _csv_parser(*header, classes)
    for where, row in rows:
        try:
            line = parse(row, where, classes)
            if line is not None and line.labels and classes.format.class_folders:
                _check_class_folder(line, classes)
        except UserError as error:
            on_fault(error)
        else:
            if line is not None and (is_csv or _is_of_split(posixpath.basename(slashes(line.path)), classes)):
                yield replace(line, text=row)


def _is_of_split(word: str, classes: Classes) -> bool:
    """Return whether a line is of the split that is read, by the beginning of ``word``; most lists hold one split."""
    form = classes.format
    return form.split is None or not form.splits or word.startswith(tuple(form.splits.get(form.split, ())))


def header_of(path: Path, classes: Classes) -> str | None:
    """Return the line that names the columns of a CSV list, in the file or in classes.json; None for other lists."""
    first = next(filter(str.strip, re.split(LINE_ENDS, _read_text(path, classes))), "")
    if not _is_csv(path, first, classes):
        return None
    return first if _has_header(first, classes) else ",".join(classes.format.csv_columns)


def _read_text(path: Path, classes: Classes) -> str:
    """Return the text of a UTF-8 file; lists with Chinese captions may be GBK, which is decoded as GB 18030."""
    try:
        content = read_bytes(path)
    except UserError as error:
        advice = "" if path.exists() else "; check it and --root-dir"
        raise UserError(f"annotation list {error}{advice}") from None
    may_be_gbk = classes.layout == "names"
    furthest = 0
    for encoding in ("utf-8-sig", "gb18030") if may_be_gbk else ("utf-8-sig",):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            furthest = max(furthest, error.start)
    line = len(re.split(LINE_ENDS.encode(), content[:furthest]))
    problem = "neither a UTF-8 nor a GBK" if may_be_gbk else "not a UTF-8"
    raise UserError(f"annotation list {path}, line {line}: {problem} text file")


def _path_frames_label(row: str, where: str, classes: Classes) -> Line:
    """Parse ``path frames label``, or ``path frames level level ...``, in which one of the levels is the label."""
    columns = classes.format.level_columns
    if columns:
        fields = row.strip().rsplit(maxsplit=1 + len(columns))
        if len(fields) > 3 and all(field.isdecimal() for field in fields[1:]):
            if len(fields) != 2 + len(columns):
                raise UserError(f"{where}: expected `path frames label` or `path frames {' '.join(columns)}`")
            levels = [
                _label(field, classes.format.level_base, where, classes, column)
                for column, field in zip(columns, fields[2:], strict=True)
            ]
            return Line(where, fields[0], (levels[columns.index(classes.format.level_used)],), int(fields[1]))
    fields = row.strip().rsplit(maxsplit=2)  # from the right, since paths may contain blanks
    if len(fields) < 3:
        raise UserError(f"{where}: expected `path frames label`, got {quote(row.strip())}")
    return _numbered_line(*fields, where, classes)


def _numbered_line(path: str, frames: str, label: str, where: str, classes: Classes) -> Line:
    try:
        listed_frames, listed_label = int(frames), int(label)
    except ValueError:
        raise UserError(
            f"{where}: frames and label must be whole numbers, got {quote(frames)} and {quote(label)}"
        ) from None
    number = _from_base(listed_label, classes.label_base, where, classes)
    order = classes.format.order
    return Line(where, path, (number if order is None else order[number],), listed_frames)


def _is_csv(path: Path, first: str, classes: Classes) -> bool:
    """Return whether a list is a CSV, by its suffix or by the first column name."""
    cells = _cells(first)
    return cells[0] == classes.format.csv_clip_column or (path.suffix.lower() == ".csv" and len(cells) > 1)


def _has_header(first: str, classes: Classes) -> bool:
    """Return whether the first line of a CSV names its columns; a set may state the columns of a CSV without names."""
    cells, columns = _cells(first), classes.format.csv_columns
    return len(cells) != len(columns) or not {*cells}.isdisjoint(columns)


def _cells(row: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([row.strip()], skipinitialspace=True), [""])]
    except csv.Error:  # a quoted cell that does not end
        return [row]


def _csv_parser(where: str, header: str, classes: Classes) -> Callable[[str, str, Classes], Line]:
    """Return a function that parses the lines below the header of a CSV."""
    columns, form = _cells(header), classes.format
    if "pixels" in columns:
        raise UserError(
            f"{where}: a list of pixels; write its images first: python -m dataloader.prepare FILE.csv --out DIR"
        )
    needed = [(form.csv_clip_column, "--clip-column"), (form.csv_label_column, "--label-column")]
    if form.vote_columns:
        absent = [column for column in form.vote_columns if columns.count(column) != 1]
        if absent:
            raise UserError(
                f"{where}: no column {quote(absent[0])} with its votes; the columns are "
                f"{', '.join(map(shorten, columns))}: correct the header, or name the data set of this list"
            )
        needed = needed[:1]
    for column, flag in needed:
        if columns.count(column) != 1:
            raise UserError(
                f"{where}: {'two columns' if column in columns else 'no column'} {quote(column)}; the columns are "
                f"{', '.join(map(shorten, columns))}: name one with {flag}"
            )
    return partial(_csv_row, columns=columns)


def _csv_row(row: str, where: str, classes: Classes, columns: list[str]) -> Line | None:
    """Parse a line of a CSV; return None for a line of another split, and no label for one that the set ignores."""
    cells, form = _cells(row), classes.format
    values = dict(zip(columns, cells, strict=len(cells) == len(columns)))
    is_whole = len(cells) == len(columns)
    if is_whole and form.split_column in values and not _is_of_split(values[form.split_column], classes):
        return None
    label: str | None = ""
    if is_whole:
        label = _most_voted(values, where, form.vote_columns) if form.vote_columns else values[form.csv_label_column]
        if label is None or label in form.ignored_labels:
            return Line(where, values[form.csv_clip_column], ())
    if not is_whole or not values[form.csv_clip_column]:
        label_columns = "votes" if form.vote_columns else form.csv_label_column
        raise UserError(
            f"{where}: expected {len(columns)} columns, among them {form.csv_clip_column} and {label_columns}, "
            f"got {quote(row.strip())}"
        )
    name = slashes(values[form.csv_clip_column])
    stem = without_suffix(name)
    clip = form.csv_path.format(clip=stem.zfill(form.csv_digits))
    if classes.layout == "images":  # an image is a file; a clip may be a folder or a video of any suffix
        clip += name[len(stem) :]
    return Line(where, clip, _csv_labels(label, where, classes))


def _csv_labels(label: str, where: str, classes: Classes) -> tuple[int, ...]:
    """Return the classes of a label: the name of a class, or a number if the set states the first one."""
    if label.lower() in classes.words:
        return labels_named(label, where, classes)
    if classes.format.csv_label_base is not None:
        return (_label(label, classes.format.csv_label_base, where, classes),)
    if label.lstrip("+-").isdecimal():
        raise UserError(
            f"{where}: the label {quote(label)} is a number, and {classes.source} does not state the first "
            f'number; add "csv_label_base" there'
        )
    return labels_named(label, where, classes)


def _most_voted(cells: dict[str, str], where: str, columns: tuple[str, ...]) -> str | None:
    """Return the column with more than half of the votes, without single votes; None if no column has so many.

    This is the majority rule of the publishers of FER+.
    """
    wrong = next((column for column in columns if not cells[column].isdecimal()), None)
    if wrong is not None:
        raise UserError(f"{where}, {wrong}: expected a number of votes, got {quote(cells[wrong])}")
    votes = {column: int(cells[column]) for column in columns if int(cells[column]) > 1}
    return next((column for column, count in votes.items() if 2 * count > sum(votes.values())), None)


def _video_and_class(row: str, where: str, classes: Classes) -> Line:
    """Parse ``video class``, with a Chinese and an English caption after tabs; or ``path frames label``."""
    has_tabs = "\t" in row.strip()
    columns = [column.strip() for column in row.split("\t")] if has_tabs else row.strip().rsplit(maxsplit=2)
    if len(columns) == 3 and columns[1].isdecimal():
        return _numbered_line(*columns, where, classes)
    if len(columns) not in ((2, 4) if has_tabs else (2,)) or not columns[0]:
        raise UserError(
            f"{where}: expected `video class`, the same with two captions separated by tabs, or `path frames label`; "
            f"got {len(columns) if has_tabs else len(row.split())} columns"
        )
    caption = columns[3] if len(columns) == 4 else None
    return Line(where, columns[0], labels_named(columns[1], where, classes), caption=caption or None)


def _image_and_label(row: str, where: str, classes: Classes) -> Line:
    """Parse ``image label`` or ``image number label``, whose first labels may differ.

    The meaning of the number in the middle is not documented. An image is one frame.
    """
    for columns, base in ((2, classes.format.two_column_label_base), (3, classes.label_base)):
        fields = row.strip().rsplit(maxsplit=columns - 1)
        if len(fields) < columns or not fields[0].lower().endswith(SUFFIXES):
            continue
        if base is None:
            raise UserError(
                f"{where}: two columns, but {classes.source} does not state their first label; "
                f'add "two_column_label_base" there'
            )
        return Line(where, fields[0], (_label(fields[-1], base, where, classes),))
    raise UserError(f"{where}: expected `image number label` or `image label`, got {quote(row.strip())}")


def labels_named(word: str, where: str, classes: Classes) -> tuple[int, ...]:
    """Return the base classes of a word such as ``anger_disgust``, in any order and case."""
    parts = [word] if word.lower() in classes.words else word.split("_")
    for part in parts:
        if part.lower() not in classes.words:
            words = [*classes.base_names, *(word for words in classes.format.folders for word in words)]
            guess = closest(part[:100], words) or f"; the classes are {', '.join(classes.base_names)}"
            raise BadLabel(f"{where}: unknown class {quote(part)}{guess}")
    labels = {classes.words[part.lower()] for part in parts}
    if len(labels) < len(parts):
        raise UserError(f"{where}: {quote(word)} names a class twice")
    return tuple(sorted(labels))


def _check_class_folder(line: Line, classes: Classes) -> None:
    """Raise a UserError if the parent folder of a clip is another class, because the first label must then be wrong."""
    parts = line.path.replace("\\", "/").rstrip("/").split("/")
    folder = parts[-2] if len(parts) > 1 else ""
    (folder_label,) = labels_named(folder, f"{line.where}, the folder above the clip", classes)
    if (folder_label,) != line.labels:
        names = ", ".join(classes.base_names[label] for label in line.labels)
        raise BadLabel(
            f"{line.where}: the label means {names}, but the clip is in {folder}/; check the first label of the list"
        )


def _label(text: str, base: int, where: str, classes: Classes, column: str | None = None) -> int:
    """Return a label written as a number, counted from 0."""
    try:
        number = int(text)
    except ValueError:
        raise UserError(f"{where}: the label must be a whole number, got {quote(text)}") from None
    return _from_base(number, base, f"{where}, {column}" if column else where, classes)


def _from_base(number: int, base: int, where: str, classes: Classes) -> int:
    """Return a label that counts from 0, given a number of a list that counts from ``base``."""
    names = classes.base_names
    if not base <= number < base + len(names):
        raise BadLabel(
            f"{where}: label {shorten(str(number))} is outside {base}..{base + len(names) - 1} "
            f"({', '.join(names)}); labels of this set count from {base}"
        )
    return number - base
