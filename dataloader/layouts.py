"""Parse the lines of clip lists in every layout. The disk is not searched for clips here."""

import csv
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
    labels: tuple[int, ...]  # 0-based, ascending; several: a combination of base classes
    frames: int | None = None
    caption: str | None = None
    text: str = ""  # the line itself; empty if a folder replaces the list


class BadLabel(UserError):
    """A line whose label is not a class of the set, or not that of its folder."""


def read_lines(path: Path, classes: Classes, on_fault: OnFault = raise_error) -> Iterator[Line]:
    """Yield every line that is not blank; an error that names its line is raised, or given to ``on_fault``."""
    numbered = enumerate(re.split(LINE_ENDS, _read_text(path, classes)), 1)
    rows = [(f"{path}, line {number}", row) for number, row in numbered if row.strip()]
    parse = {"list": _path_frames_label, "names": _video_and_class, "images": _image_and_label}[classes.layout]
    if rows and _is_csv(path, rows[0][1], classes):
        parse = _csv_parser(*rows.pop(0), classes)
    for where, row in rows:
        try:
            line = parse(row, where, classes)
            if classes.format.class_folders:
                _check_class_folder(line, classes)
        except UserError as error:
            on_fault(error)
        else:
            yield replace(line, text=row)


def header_of(path: Path, classes: Classes) -> str | None:
    """Return the first line of a CSV list, and None for a list without a header."""
    first = next(filter(str.strip, re.split(LINE_ENDS, _read_text(path, classes))), "")
    return first if _is_csv(path, first, classes) else None


def _read_text(path: Path, classes: Classes) -> str:
    """Return the text of a UTF-8 file; lists with Chinese captions may be GBK, which is decoded as GB 18030."""
    try:
        content = read_bytes(path)
    except UserError as error:
        raise UserError(f"annotation list {error}") from None
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


def _cells(row: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([row.strip()], skipinitialspace=True), [""])]
    except csv.Error:  # a quoted cell that does not end
        return [row]


def _csv_parser(where: str, header: str, classes: Classes) -> Callable[[str, str, Classes], Line]:
    """Return a function that parses the lines below the header of a CSV."""
    columns, form = _cells(header), classes.format
    for column, flag in ((form.csv_clip_column, "--clip-column"), (form.csv_label_column, "--label-column")):
        if columns.count(column) != 1:
            raise UserError(
                f"{where}: {'two columns' if column in columns else 'no column'} {quote(column)}; the columns are "
                f"{', '.join(map(shorten, columns))}: name one with {flag}"
            )
    return partial(
        _csv_row,
        count=len(columns),
        clip_at=columns.index(form.csv_clip_column),
        label_at=columns.index(form.csv_label_column),
    )


def _csv_row(row: str, where: str, classes: Classes, count: int, clip_at: int, label_at: int) -> Line:
    """Parse a line of a CSV. A label is the name of a class, or a number if the set states the first one."""
    cells, form = _cells(row), classes.format
    if len(cells) != count or not cells[clip_at]:
        raise UserError(
            f"{where}: expected {count} columns, among them {form.csv_clip_column} and {form.csv_label_column}, "
            f"got {quote(row.strip())}"
        )
    clip = form.csv_path.format(clip=without_suffix(slashes(cells[clip_at])).zfill(form.csv_digits))
    is_number = cells[label_at].lower() not in classes.words and form.csv_label_base is not None
    if is_number:
        labels = (_label(cells[label_at], form.csv_label_base, where, classes),)
    elif cells[label_at].lstrip("+-").isdecimal() and cells[label_at] not in classes.words:
        raise UserError(
            f"{where}: the label {quote(cells[label_at])} is a number, and {classes.source} does not state the first "
            f'number; add "csv_label_base" there'
        )
    else:
        labels = labels_named(cells[label_at], where, classes)
    return Line(where, clip, labels)


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
