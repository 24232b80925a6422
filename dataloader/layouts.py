"""Lists of clips, line by line, in every layout: what a line says of a clip, before anything is looked for on disk."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dataloader.classes import Classes
from dataloader.frames import SUFFIXES
from dataloader.paths import without_suffix
from utils.errors import OnFault, UserError, closest, raise_error, reason_of

CSV_HEADER = ["video_name", "label"]


@dataclass(frozen=True)
class Line:
    """One clip as a list has it."""

    where: str  # file and line
    path: str
    labels: tuple[int, ...]  # 0-based, rising; more than one: a combination of base classes
    frames: int | None = None
    caption: str | None = None
    text: str = ""  # the line itself; none where a folder stands in place of a list


class BadLabel(UserError):
    """A line whose label is none of the set's, or not that of its folder."""


def read_lines(path: Path, classes: Classes, on_fault: OnFault = raise_error) -> Iterator[Line]:
    """Every line that is not blank; what names a line at fault is raised, or given to ``on_fault``."""
    rows = [
        (f"{path}, line {n}", row)
        for n, row in enumerate(re.split(r"\r\n|\r|\n", _read_text(path, classes)), 1)
        if row.strip()
    ]
    parse = {"list": _path_frames_label, "names": _video_and_class, "images": _image_and_label}[classes.layout]
    if rows and classes.layout == "list" and _cells(rows[0][1])[:1] == CSV_HEADER[:1]:
        _check_csv(*rows.pop(0), classes)
        parse = _csv_row
    for where, row in rows:
        try:
            line = parse(row, where, classes)
            if classes.format.checks_class_folder:
                _check_class_folder(line, classes)
        except UserError as error:
            on_fault(error)
        else:
            yield replace(line, text=row)


def header_of(path: Path, classes: Classes) -> str | None:
    """The first line of a list whose first line is no clip: a csv."""
    first = next(filter(str.strip, re.split(r"\r\n|\r|\n", _read_text(path, classes))), "")
    return first if classes.layout == "list" and _cells(first)[:1] == CSV_HEADER[:1] else None


def _read_text(path: Path, classes: Classes) -> str:
    """UTF-8; lists with Chinese captions may be GBK, which its superset GB 18030 reads."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"annotation list {path}: {reason_of(error)}") from None
    encodings = ("utf-8-sig", "gb18030") if classes.layout == "names" else ("utf-8-sig",)
    furthest = 0
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            furthest = max(furthest, error.start)
    line = len(re.split(rb"\r\n|\r|\n", content[:furthest]))
    known = "neither a UTF-8 nor a GBK" if len(encodings) > 1 else "not a UTF-8"
    raise UserError(f"annotation list {path}, line {line}: {known} text file")


def _path_frames_label(row: str, where: str, classes: Classes) -> Line:
    if classes.format.level_columns:
        fields = row.strip().rsplit(maxsplit=1 + len(classes.format.level_columns))
        if len(fields) > 3 and all(field.isdecimal() for field in fields[1:]):
            return _levels(fields, where, classes)
    fields = row.strip().rsplit(maxsplit=2)  # from the right: paths may hold blanks
    if len(fields) < 3:
        raise UserError(f"{where}: expected `path frames label`, got {row.strip()!r}")
    return _numbered(fields, where, classes)


def _numbered(fields: list[str], where: str, classes: Classes) -> Line:
    written, frames, label = fields
    try:
        listed_frames, listed_label = int(frames), int(label)
    except ValueError:
        raise UserError(f"{where}: frames and label must be whole numbers, got {frames!r} and {label!r}") from None
    number = _from_base(listed_label, classes.label_base, where, classes)
    order = classes.format.order
    return Line(where, written, (number if order is None else order[number],), listed_frames)


def _levels(fields: list[str], where: str, classes: Classes) -> Line:
    """``path frames level level ...``: one of the levels is the label."""
    columns, used = classes.format.level_columns, classes.format.level_used
    if len(fields) != 2 + len(columns):
        raise UserError(f"{where}: expected `path frames label` or `path frames {' '.join(columns)}`")
    levels = [
        _from_base(_whole(field, where), classes.format.level_base, f"{where}, {column}", classes)
        for column, field in zip(columns, fields[2:], strict=True)
    ]
    return Line(where, fields[0], (levels[used],), _whole(fields[1], where))


def _check_csv(where: str, row: str, classes: Classes) -> None:
    if _cells(row) != CSV_HEADER:
        raise UserError(f"{where}: expected the header `{','.join(CSV_HEADER)}`, got {row.strip()!r}")
    if classes.format.csv_base is None:
        raise UserError(
            f'{where}: a csv, but {classes.source} does not say from what its labels count; state "csv_label_base"'
        )


def _csv_row(row: str, where: str, classes: Classes) -> Line:
    cells = _cells(row)
    if len(cells) != 2 or not cells[0]:
        raise UserError(f"{where}: expected `{','.join(CSV_HEADER)}`, got {row.strip()!r}")
    name, label = without_suffix(cells[0]), _whole(cells[1], where)
    labels = (_from_base(label, classes.format.csv_base, where, classes),)
    return Line(where, name.zfill(classes.format.csv_digits), labels)


def _cells(row: str) -> list[str]:
    return [cell.strip().strip('"') for cell in row.split(",")]


def _video_and_class(row: str, where: str, classes: Classes) -> Line:
    """``video class``, with a Chinese and an English caption after tabs; or ``path frames label``."""
    tabbed = "\t" in row.strip()
    columns = [column.strip() for column in row.split("\t")] if tabbed else row.strip().rsplit(maxsplit=2)
    if len(columns) == 3 and columns[1].isdecimal():
        return _numbered(columns, where, classes)
    if len(columns) not in ((2, 4) if tabbed else (2,)) or not columns[0]:
        raise UserError(
            f"{where}: expected `video class`, these and two captions with tabs between, or `path frames label`; "
            f"got {len(columns) if tabbed else len(row.split())} columns"
        )
    caption = columns[3] if len(columns) == 4 else None
    return Line(where, columns[0], labels_named(columns[1], where, classes), caption=caption or None)


def _image_and_label(row: str, where: str, classes: Classes) -> Line:
    """``image label`` or ``image number label``, which may count from different numbers; what the number says is not
    known, and an image is one frame."""
    for columns, base in ((2, classes.format.two_column_base), (3, classes.label_base)):
        fields = row.strip().rsplit(maxsplit=columns - 1)
        if len(fields) < columns or not fields[0].lower().endswith(SUFFIXES):
            continue
        if base is None:
            raise UserError(
                f"{where}: two columns, but {classes.source} does not say from what their labels count; "
                f'state "two_column_label_base"'
            )
        return Line(where, fields[0], (_from_base(_whole(fields[-1], where), base, where, classes),))
    raise UserError(f"{where}: expected `image number label` or `image label`, got {row.strip()!r}")


def labels_named(word: str, where: str, classes: Classes) -> tuple[int, ...]:
    """``anger_disgust`` in whatever order and case."""
    parts = [word] if word.lower() in classes.words else word.split("_")
    for part in parts:
        if part.lower() not in classes.words:
            known = [*classes.base_names, *(w for own in classes.format.folders for w in own)]
            guess = closest(part, known) or f"; the classes are {', '.join(classes.base_names)}"
            raise BadLabel(f"{where}: unknown class {part!r}{guess}")
    labels = {classes.words[part.lower()] for part in parts}
    if len(labels) < len(parts):
        raise UserError(f"{where}: {word!r} names a class twice")
    return tuple(sorted(labels))


def _check_class_folder(line: Line, classes: Classes) -> None:
    """A list that counts from another number shows in the folders."""
    parts = line.path.replace("\\", "/").rstrip("/").split("/")
    folder = parts[-2] if len(parts) > 1 else ""
    (said,) = labels_named(folder, f"{line.where}, the folder above the clip", classes)
    if (said,) != line.labels:
        names = ", ".join(classes.base_names[label] for label in line.labels)
        raise BadLabel(
            f"{line.where}: the label means {names}, but the clip lies in {folder}/; "
            f"do the labels count from another number?"
        )


def _whole(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{where}: the label must be a whole number, got {text!r}") from None


def _from_base(number: int, base: int, where: str, classes: Classes) -> int:
    """A number of a list as a label that counts from 0."""
    names = classes.base_names
    if not base <= number < base + len(names):
        raise BadLabel(
            f"{where}: label {number} is outside {base}..{base + len(names) - 1} "
            f"({', '.join(names)}); labels of this set count from {base}"
        )
    return number - base
