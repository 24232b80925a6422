"""The classes of a data set, their texts and the form of its lists, read from JSON.

The file is annotation/<dataset>/classes.json or the user's own. It states everything that the lists of a set mean;
nothing about a list is guessed from the list.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from utils.errors import UserError, closest, quote
from utils.json_files import Range, check_type, read_json

ANNOTATION = Path(__file__).resolve().parent.parent / "annotation"
TEXT_KINDS = ("class_names_with_context", "class_descriptor", "prompt_ensemble", "descriptive")
Texts = tuple[tuple[str, ...], ...]  # C × P texts


class Statements(TypedDict):
    """What may stand beside "classes" in a classes.json; any other word is an error."""

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


@dataclass(frozen=True)
class ListFormat:
    """How a line becomes a clip and a label, beyond the layout and the label base; most of it as the file states it."""

    clip_folders: tuple[str, ...] = ("",)  # where clips lie below the root, likeliest first
    class_folders: bool = False  # the folder above a clip names its class
    two_column_label_base: int | None = None  # of `image label`, beside `image number label`
    csv_clip_column: str = "video_name"
    csv_label_column: str = "label"
    csv_label_base: int | None = None  # None: labels of a CSV are names of classes
    csv_digits: int = 0  # with 5, `7` in a CSV is the clip `00007`
    csv_path: str = "{clip}"  # path of a clip; `{clip:.6}` is the first six letters of its name
    level_columns: tuple[str, ...] = ()  # of lists with a column for each quality
    level_used: str | None = None  # which of these columns is the label
    level_base: int = 0
    folders: Texts = ()  # other words for each class, as folders carry them
    order: tuple[int, ...] | None = None  # the class of each number, where lists count the classes in another order


@dataclass(frozen=True)
class Classes:
    """Names in label order, the label that the lists give to the first of them, the texts of every kind, the lists."""

    names: tuple[str, ...]
    label_base: int
    texts: dict[str, Texts]  # by kind; of compound classes, those of their parts
    source: str
    layout: str = "list"
    folds: int = 0
    has_persons: bool = False  # the folder above a clip is a person
    parts: tuple[tuple[int, ...], ...] | None = None  # the base classes that each class is made of, compound sets only
    has_flat_boxes: bool = False  # a face box may stand for all frames of a clip
    format: ListFormat = field(default_factory=ListFormat)
    listed: "Classes | None" = None  # the classes of the lists, where a model has others

    def __len__(self) -> int:
        return len(self.names)

    @property
    def base_names(self) -> tuple[str, ...]:
        """The classes that texts are of and that lists count: all but the combinations."""
        return self.names if self.parts is None else self.names[: sum(len(part) == 1 for part in self.parts)]

    @cached_property
    def words(self) -> dict[str, int]:
        """Names and folder names in lower case → base class."""
        words = {name.lower(): label for label, name in enumerate(self.base_names)}
        return words | {word.lower(): label for label, words in enumerate(self.format.folders) for word in words}

    def texts_of(self, kind: str) -> Texts:
        """Return C × P texts of the base classes: P is 1 but for the ensemble."""
        if kind == "class_names":
            return tuple((name,) for name in self.base_names)
        if kind not in self.texts:
            raise UserError(f"{self.source}: no class has a {kind!r} text; add one to each class")
        return self.texts[kind]


def load_classes(
    dataset: str, own_file: str | None = None, clip_column: str | None = None, label_column: str | None = None
) -> Classes:
    """Return classes and texts of the user's own file, or of the data set.

    What the user's file does not state of the lists holds as for the data set. The columns, of CSV lists, replace
    what the files state where they are named.
    """
    shipped = ANNOTATION / dataset / "classes.json"
    if not own_file and not shipped.is_file():
        datasets = sorted(folder.parent.name for folder in ANNOTATION.glob("*/classes.json"))
        raise UserError(f"--dataset {dataset}: not known; one of {', '.join(datasets)}, or name --class-texts FILE")
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
            del defaults["list_order"]  # other classes: their numbers count as the user's file has them
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
    )


def list_classes(dataset: str, own_file: str | None, *columns: str | None) -> Classes | None:
    """Return ``load_classes`` after training: the user's file may be gone since, and not every set is shipped."""
    own_file = own_file if own_file and Path(own_file).is_file() else None
    is_known = own_file or (ANNOTATION / dataset / "classes.json").is_file()
    return load_classes(dataset, own_file, *columns) if is_known else None


def with_compounds(classes: Classes, label_sets: Iterable[frozenset[int]]) -> Classes:
    """Return the base classes, then every combination that occurs: pairs before triples, in order of their parts."""
    base = classes.base_names
    combinations = {tuple(sorted(labels)) for labels in label_sets if len(labels) > 1}
    parts = [(label,) for label in range(len(base))] + sorted(combinations, key=lambda part: (len(part), part))
    names = tuple("_".join(base[label] for label in part) for part in parts)
    return replace(classes, names=names, parts=tuple(parts))


def with_names(classes: Classes, names: tuple[str, ...], label_base: int, source: str) -> Classes:
    """Return the lists of ``classes`` as a model reads them whose checkpoint stores ``names``.

    Combinations are recognised by the names that they join. Where the model has other classes, its own names and label
    base hold; where it has the same in another order, so does what each number of a list means.
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
    """Return the lists of a set for a model of another set: what counts is the name of a class, not its number."""
    if not {*classes.names} & {*names}:
        raise UserError(
            f"{source}: no class of the model ({', '.join(names)}) is one of {classes.source} "
            f"({', '.join(classes.names)})"
        )
    return replace(classes, names=names, texts={}, source=source, parts=None, listed=classes)


def _check_statements(content: dict[str, Any], path: Path) -> None:
    """Raise an error where a word is not known or its value is of the wrong kind."""
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
    """Return the texts by kind; a kind that some class has must be there for all, in the same number."""
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
            raise UserError(f'{path}: "{kind}" must hold equally many texts in every class, got {counts}')
        texts[kind] = tuple(rows)
    return texts


def _read_format(content: dict[str, Any], names: tuple[str, ...], path: Path) -> ListFormat:
    order, columns, level = content.get("list_order"), content.get("level_columns", []), content.get("level_used")
    if order is not None and sorted(order) != sorted(names):
        raise UserError(f'{path}: "list_order" must hold every class once: {", ".join(names)}')
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
    """Return the folder names of each class besides its own name; no word may stand for two classes."""
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
