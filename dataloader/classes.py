"""The classes of a data set, their texts and the form of its lists, read from JSON.

The file is annotation/<dataset>/classes.json or the user's own. It states the format of the lists of a set completely;
nothing is guessed from a list.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from utils.errors import UserError, closest, quote
from utils.json_files import Range, check_type, read_json

ANNOTATION = Path(__file__).resolve().parent.parent / "annotation"
SPLITS = ("train", "val", "test")
TEXT_KINDS = ("class_names_with_context", "class_descriptor", "prompt_ensemble", "descriptive")
Texts = tuple[tuple[str, ...], ...]  # C × P texts


class PublishedPart(TypedDict):
    """Published counts of a part of a set; those that are not known for certain are absent."""

    clips: NotRequired[int]
    persons: NotRequired[int]
    classes: NotRequired[dict[str, int]]  # clips of each class


class Published(TypedDict):
    """Published counts of a set: train, validation, test, or all lists together."""

    source: str
    parts: dict[Literal["train", "validation", "test", "all"], PublishedPart]


class Statements(TypedDict):
    """Keys that are allowed beside "classes" in a classes.json; any other key is an error."""

    dataset: NotRequired[str]
    label_base: NotRequired[int]
    layout: NotRequired[Literal["list", "names", "images"]]
    folds: NotRequired[Annotated[int, Range(0)]]
    persons: NotRequired[bool]
    clip_folders: NotRequired[list[str]]
    class_folders: NotRequired[bool]
    flat_face_boxes: NotRequired[bool]
    list_order: NotRequired[list[str]]
    two_column_label_base: NotRequired[int]
    csv_clip_column: NotRequired[str]
    csv_label_column: NotRequired[str]
    csv_label_base: NotRequired[int]
    csv_digits: NotRequired[Annotated[int, Range(0)]]
    csv_path: NotRequired[str]
    level_columns: NotRequired[list[str]]
    level_used: NotRequired[str]
    level_base: NotRequired[int]
    csv_columns: NotRequired[list[str]]
    vote_columns: NotRequired[list[str]]
    ignored_labels: NotRequired[list[str]]
    split_column: NotRequired[str]
    splits: NotRequired[dict[str, list[str]]]
    file_endings: NotRequired[list[str]]
    person_pattern: NotRequired[str]
    published: NotRequired[Published]


@dataclass(frozen=True)
class ListFormat:
    """How a line is read as a clip and a label, besides layout and label base; most of it is stated in the file."""

    clip_folders: tuple[str, ...] = ("",)  # folders of clips below the root, most likely first
    class_folders: bool = False  # the parent folder of a clip is named after its class
    two_column_label_base: int | None = None  # first label in lists of `image label`
    csv_clip_column: str = "video_name"
    csv_label_column: str = "label"
    csv_label_base: int | None = None  # None: labels of a CSV are names of classes
    csv_digits: int = 0  # 5: `7` in a CSV is the clip `00007`
    csv_path: str = "{clip}"  # path of a clip; `{clip:.6}` is the first six letters of its name
    level_columns: tuple[str, ...] = ()  # of lists with several columns of levels
    level_used: str | None = None  # which of these columns is the label
    level_base: int = 0
    folders: Texts = ()  # other names of each class that folders may have
    order: tuple[int, ...] | None = None  # class of each number, if lists number the classes in another order
    csv_columns: tuple[str, ...] = ()  # of a CSV without a header
    vote_columns: tuple[str, ...] = ()  # of a CSV with the number of votes for each class instead of a label
    ignored_labels: tuple[str, ...] = ()  # lines with these labels are left out
    split_column: str | None = None  # of a CSV with all splits; without a column, file names begin with the split
    splits: dict[str, list[str]] = field(default_factory=dict)  # what marks the lines of train, val and test
    split: str | None = None  # the lines that are read; None: all
    file_endings: tuple[str, ...] = ("",)  # image files may have these letters before their suffix
    person_pattern: str | None = None  # the part of a clip's name that matches is the person


@dataclass(frozen=True)
class Classes:
    """Class names in label order, the label of the first one in lists, texts of every kind, and the list format."""

    names: tuple[str, ...]
    label_base: int
    texts: dict[str, Texts]  # by kind; compound classes have those of their parts
    source: str
    layout: str = "list"
    folds: int = 0
    has_persons: bool = False  # the parent folder of a clip is a person
    parts: tuple[tuple[int, ...], ...] | None = None  # base classes of each class; only in compound sets
    has_flat_boxes: bool = False  # one face box may be for all frames of a clip
    format: ListFormat = field(default_factory=ListFormat)
    listed: "Classes | None" = None  # the classes of the lists, if the model has others
    published: Published | None = None  # the counts of the publisher of the set

    def __len__(self) -> int:
        return len(self.names)

    @property
    def base_names(self) -> tuple[str, ...]:
        """The classes that have texts and numbers in lists: all except combinations."""
        return self.names if self.parts is None else self.names[: sum(len(part) == 1 for part in self.parts)]

    @cached_property
    def words(self) -> dict[str, int]:
        """{name or folder name in lower case: base class}."""
        words = {name.lower(): label for label, name in enumerate(self.base_names)}
        return words | {word.lower(): label for label, words in enumerate(self.format.folders) for word in words}

    @property
    def entries(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """{base class: {kind: its texts}}."""
        kinds = self.texts.items()
        return {name: {kind: rows[label] for kind, rows in kinds} for label, name in enumerate(self.base_names)}

    def of_split(self, split: str | None) -> "Classes":
        """Return the classes for one list. If a list holds several splits, only the lines of ``split`` are read.

        With None all lines are read.
        """
        listed = self.listed and self.listed.of_split(split)
        return replace(self, format=replace(self.format, split=split), listed=listed)

    def texts_of(self, kind: str) -> Texts:
        """Return C × P texts of the base classes; P is 1 except for the ensemble."""
        if kind == "class_names":
            return tuple((name,) for name in self.base_names)
        if kind not in self.texts:
            raise UserError(f"{self.source}: no class has a {kind!r} text; add one to each class")
        return self.texts[kind]


def load_classes(
    dataset: str, own_file: str | None = None, clip_column: str | None = None, label_column: str | None = None
) -> Classes:
    """Return classes and texts of the user's own file, or of the data set.

    What the user's file does not state about the lists is taken from the data set. Columns of CSV lists replace those
    in the files if the user names them.
    """
    shipped = ANNOTATION / dataset / "classes.json"
    if not own_file and not shipped.is_file():
        datasets = sorted(folder.parent.name for folder in ANNOTATION.glob("*/classes.json"))
        raise UserError(f"--dataset {dataset}: unknown; pass one of {', '.join(datasets)}, or --class-texts FILE")
    path = Path(own_file) if own_file else shipped
    content = read_json(path)
    entries = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(f'{path}: expected {{"classes": [{{"name": ...}}, ...]}}, see annotation/README.md')
    _check_statements(content, path)
    names = tuple(_name(entry, number, path) for number, entry in enumerate(entries, 1))
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two classes have the same name: {', '.join(names)}")
    if own_file and shipped.is_file():
        defaults = read_json(shipped)
        if sorted(defaults.get("list_order", names)) != sorted(names):
            del defaults["list_order"]  # the user's classes are numbered in the order of the user's file
        defaults.pop("published", None)  # of the classes of the set
        content = defaults | content
    columns = {"csv_clip_column": clip_column, "csv_label_column": label_column}
    content = content | {name: column for name, column in columns.items() if column is not None}
    return Classes(
        names,
        content.get("label_base", 1),
        _read_texts(entries, names, path),
        str(path),
        layout=content.get("layout", "list"),
        folds=content.get("folds", 0),
        has_persons=content.get("persons", False),
        has_flat_boxes=content.get("flat_face_boxes", False),
        format=_read_format(content, names, path),
        published=_read_published(content, names, path),
    )


def list_classes(dataset: str, own_file: str | None, *columns: str | None) -> Classes | None:
    """Return ``load_classes`` for a trained model, None if the user's file or the data set no longer exists here."""
    own_file = own_file if own_file and Path(own_file).is_file() else None
    is_known = own_file or (ANNOTATION / dataset / "classes.json").is_file()
    return load_classes(dataset, own_file, *columns) if is_known else None


def with_compounds(classes: Classes, label_sets: Iterable[frozenset[int]]) -> Classes:
    """Return the base classes, then every combination that occurs: pairs before triples, sorted by their parts."""
    base = classes.base_names
    combinations = {tuple(sorted(labels)) for labels in label_sets if len(labels) > 1}
    parts = [(label,) for label in range(len(base))] + sorted(combinations, key=lambda part: (len(part), part))
    names = tuple("_".join(base[label] for label in part) for part in parts)
    return replace(classes, names=names, parts=tuple(parts))


def with_names(classes: Classes, names: tuple[str, ...], label_base: int, source: str) -> Classes:
    """Return ``classes`` with the names that a checkpoint stores, so that its model can read the lists.

    Combinations are recognised by the names in them. If the model has other classes, its names and label base are used.
    If it has the same classes in another order, each number in a list still means the same class.
    """
    base, form = classes.base_names, classes.format
    model_classes = replace(classes, names=names, label_base=label_base, texts={}, source=source, parts=None)
    if names != base and sorted(names) == sorted(base) and form.order is not None:
        order = tuple(names.index(base[label]) for label in form.order)
        folders = tuple(form.folders[base.index(name)] for name in names)
        return replace(model_classes, format=replace(form, order=order, folders=folders))
    if names[: len(base)] != base:
        return replace(model_classes, format=ListFormat(clip_folders=form.clip_folders))
    if len(names) == len(base):
        return model_classes
    sets = [frozenset(base.index(part) for part in name.split("_") if part in base) for name in names]
    compound = with_compounds(replace(model_classes, names=base), sets)
    if compound.names != names:
        raise UserError(f"{source}: its classes are not combinations of {', '.join(base)}")
    return compound


def translated(classes: Classes, names: tuple[str, ...], source: str) -> Classes:
    """Return the classes of a model whose lists are of another set; they are matched by name, not by number."""
    spellings = {name.lower(): name for name in names}
    classes = replace(classes, names=tuple(spellings.get(name.lower(), name) for name in classes.names))
    if not {*classes.names} & {*names}:
        raise UserError(
            f"{source}: no class of the model ({', '.join(names)}) is in {classes.source} ({', '.join(classes.names)})"
        )
    return replace(classes, names=names, texts={}, source=source, parts=None, listed=classes)


def _check_statements(content: dict[str, Any], path: Path) -> None:
    """Raise a UserError for an unknown key or a value of the wrong type."""
    words = [*Statements.__annotations__, "classes"]
    for word in content:
        if word not in words:
            raise UserError(f"{path}: unknown {quote(word)}{closest(word[:100], words)}")
    check_type(content, Statements, str(path))
    for word, value in content.items():
        if value == []:
            raise UserError(f'{path}: "{word}" must be a list of texts, got none')


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and len(values) > 0 and all(isinstance(value, str) for value in values)


def _name(entry: Any, number: int, path: Path) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise UserError(f'{path}: class {number} needs a "name"')
    return name.strip()


def _read_texts(entries: list[dict[str, Any]], names: tuple[str, ...], path: Path) -> dict[str, Texts]:
    """Return the texts by kind; a kind must have the same number of texts in every class."""
    texts = {}
    for kind in TEXT_KINDS:
        if not any(kind in entry for entry in entries):
            continue
        rows = []
        for entry, name in zip(entries, names, strict=True):
            value = entry.get(kind)
            values = [value] if isinstance(value, str) else value
            if not _are_texts(values) or not all(map(str.strip, values)):
                raise UserError(
                    f'{path}: class {name}, "{kind}": expected a text or a list of texts, got {quote(value)}'
                )
            rows.append(tuple(map(str.strip, values)))
        counts = [len(row) for row in rows]
        if len(set(counts)) > 1:
            raise UserError(f'{path}: "{kind}" must hold the same number of texts in every class, got {counts}')
        texts[kind] = tuple(rows)
    return texts


def _read_published(content: dict[str, Any], names: tuple[str, ...], path: Path) -> Published | None:
    published = content.get("published")
    for part, counts in (published or {"parts": {}})["parts"].items():
        unknown = [name for name in counts.get("classes", {}) if name not in names]
        if unknown:
            raise UserError(f'{path}: "published" has the class {quote(unknown[0])} in {part}, which is not above')
    return published


def _read_format(content: dict[str, Any], names: tuple[str, ...], path: Path) -> ListFormat:
    order, columns, level = content.get("list_order"), content.get("level_columns", []), content.get("level_used")
    if order is not None and sorted(order) != sorted(names):
        raise UserError(f'{path}: "list_order" must hold every class once: {", ".join(names)}')
    unknown = [split for split in content.get("splits", {}) if split not in SPLITS]
    if unknown:
        raise UserError(f'{path}: "splits" has {quote(unknown[0])}; its keys are {", ".join(SPLITS)}')
    try:
        re.compile(content.get("person_pattern", ""))
    except re.error as error:
        raise UserError(f'{path}: "person_pattern" is not a regular expression ({error}); correct it') from None
    if columns and level not in columns:
        raise UserError(f'{path}: "level_used" must be one of {", ".join(columns)}, got {quote(level)}')
    try:
        content.get("csv_path", "").format(clip="")
    except (ValueError, LookupError, AttributeError):
        raise UserError(
            f'{path}: "csv_path" must be a path with {{clip}}, or {{clip:.6}} for its first six letters, '
            f"got {quote(content['csv_path'])}"
        ) from None
    stated = {field.name: content[field.name] for field in fields(ListFormat) if field.name in content}
    stated = {word: tuple(value) if isinstance(value, list) else value for word, value in stated.items()}
    folders = _read_folders(content["classes"], names, path)
    return ListFormat(**stated, folders=folders, order=order and tuple(map(names.index, order)))


def _read_folders(entries: list[dict[str, Any]], names: tuple[str, ...], path: Path) -> Texts:
    """Return the folder names of each class besides its name; no name may belong to two classes."""
    folders, owner = [], {name.lower(): name for name in names}
    for entry, name in zip(entries, names, strict=True):
        words = entry.get("folders", [])
        if words != [] and not (_are_texts(words) and all(map(str.strip, words))):
            raise UserError(f'{path}: class {name}, "folders": expected a list of folder names, got {quote(words)}')
        for word in words:
            if owner.setdefault(word.lower(), name) != name:
                raise UserError(f"{path}: the folder {quote(word)} is of {owner[word.lower()]} and of {name}; keep one")
        folders.append(tuple(words))
    return tuple(folders)
