"""What the lists of a data set mean, as its classes.json states it: nothing about a list is guessed from the list."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError, closest

LAYOUTS = ("list", "names", "images")
STATEMENTS = {  # what may stand beside "classes"; every other word is a slip
    "dataset": str,
    "label_base": int,
    "layout": str,
    "folds": int,
    "persons": bool,
    "clip_folders": list,
    "class_folders": bool,
    "flat_face_boxes": bool,
    "list_order": list,
    "two_column_label_base": int,
    "csv_label_base": int,
    "csv_digits": int,
    "level_columns": list,
    "level_used": str,
    "level_base": int,
}
IN_WORDS = {int: "a whole number", bool: "true or false", str: "a text", list: "a list of texts"}


@dataclass(frozen=True)
class ListFormat:
    """How a line becomes a clip and a label, beyond the layout and the label base."""

    clip_folders: tuple[str, ...] = ("",)  # where clips lie below the root, likeliest first
    checks_class_folder: bool = False  # the folder above a clip names its class
    folders: tuple[tuple[str, ...], ...] = ()  # other words for each class, as folders carry them
    order: tuple[int, ...] | None = None  # the class of each number, where lists count the classes in another order
    two_column_base: int | None = None  # of `image label`, beside `image number label`
    csv_base: int | None = None
    csv_digits: int = 0  # a csv's `7` is the folder `00007`
    level_columns: tuple[str, ...] = ()  # of lists with a column for each quality
    level_used: int = 0  # which of these columns is the label
    level_base: int = 0


def check_statements(stored: dict[str, Any], path: Path) -> None:
    """Every word is known and its value is of the right kind."""
    for word, value in stored.items():
        if word == "classes":
            continue
        if word not in STATEMENTS:
            raise UserError(f"{path}: unknown {word!r}{closest(word, [*STATEMENTS, 'classes'])}")
        kind = STATEMENTS[word]
        wrong = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
        if wrong or (kind is list and not (value and all(isinstance(v, str) for v in value))):
            raise UserError(f'{path}: "{word}" must be {IN_WORDS[kind]}, got {value!r}')
    if stored.get("layout", "list") not in LAYOUTS:
        raise UserError(f'{path}: "layout" is one of {", ".join(LAYOUTS)}, got {stored["layout"]!r}')
    for word in ("folds", "csv_digits"):
        if stored.get(word, 0) < 0:
            raise UserError(f'{path}: "{word}" cannot be negative, got {stored[word]}')


def read_format(stored: dict[str, Any], names: tuple[str, ...], path: Path) -> ListFormat:
    return ListFormat(
        clip_folders=tuple(stored.get("clip_folders", [""])),
        checks_class_folder=stored.get("class_folders", False),
        folders=_folders(stored["classes"], names, path),
        order=_order(stored.get("list_order"), names, path),
        two_column_base=stored.get("two_column_label_base"),
        csv_base=stored.get("csv_label_base"),
        csv_digits=stored.get("csv_digits", 0),
        level_columns=tuple(stored.get("level_columns", [])),
        level_used=_level_used(stored, path),
        level_base=stored.get("level_base", 0),
    )


def _folders(entries: list[dict[str, Any]], names: tuple[str, ...], path: Path) -> tuple[tuple[str, ...], ...]:
    """The words of a class, its name left out; no word may stand for two classes."""
    words, owner = [], {name.lower(): name for name in names}
    for entry, name in zip(entries, names, strict=True):
        own = entry.get("folders", [])
        if not isinstance(own, list) or not all(isinstance(word, str) and word.strip() for word in own):
            raise UserError(f'{path}: class {name}, "folders": expected a list of folder names, got {own!r}')
        for word in own:
            if owner.setdefault(word.lower(), name) != name:
                raise UserError(f"{path}: the folder {word!r} is of {owner[word.lower()]} and of {name}; keep one")
        words.append(tuple(own))
    return tuple(words)


def _order(stated: list[str] | None, names: tuple[str, ...], path: Path) -> tuple[int, ...] | None:
    if stated is None:
        return None
    if sorted(stated) != sorted(names):
        raise UserError(f'{path}: "list_order" must hold every class once: {", ".join(names)}')
    return tuple(names.index(name) for name in stated)


def _level_used(stored: dict[str, Any], path: Path) -> int:
    columns, used = stored.get("level_columns"), stored.get("level_used")
    if columns is None:
        return 0
    if used not in columns:
        raise UserError(f'{path}: "level_used" must be one of {", ".join(columns)}, got {used!r}')
    return columns.index(used)
