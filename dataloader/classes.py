"""The classes of a data set and their texts, read from JSON: annotation/<dataset>/classes.json or the user's own."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dataloader.formats import ListFormat, check_statements, read_format
from utils.errors import UserError, reason_of

ANNOTATION = Path(__file__).resolve().parent.parent / "annotation"
TEXT_KINDS = ("class_names_with_context", "class_descriptor", "prompt_ensemble", "descriptive")


@dataclass(frozen=True)
class Classes:
    """Names in label order, the label that the lists give to the first of them, the texts of every kind, the lists."""

    names: tuple[str, ...]
    label_base: int
    texts: dict[str, tuple[tuple[str, ...], ...]]  # kind → C × P texts; of compound classes, those of their parts
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
    def is_compound(self) -> bool:
        return self.parts is not None

    @property
    def base_names(self) -> tuple[str, ...]:
        """The classes that texts are of and that lists count: all but the combinations."""
        return self.names if self.parts is None else self.names[: sum(len(part) == 1 for part in self.parts)]

    @cached_property
    def words(self) -> dict[str, int]:
        """Names and folder names in lower case → base class."""
        words = {name.lower(): label for label, name in enumerate(self.base_names)}
        return words | {w.lower(): label for label, own in enumerate(self.format.folders) for w in own}

    def texts_of(self, kind: str) -> tuple[tuple[str, ...], ...]:
        """C × P texts of the base classes: P is 1 but for the ensemble."""
        if kind == "class_names":
            return tuple((name,) for name in self.base_names)
        if kind not in self.texts:
            raise UserError(f"{self.source}: no class has a {kind!r} text; add one to each class")
        return self.texts[kind]


def load_classes(dataset: str, own_file: str | None = None) -> Classes:
    """Classes and texts of the user's own file; what it does not say of the lists holds as for the data set."""
    shipped = ANNOTATION / dataset / "classes.json"
    if not own_file and not shipped.is_file():
        known = sorted(folder.parent.name for folder in ANNOTATION.glob("*/classes.json"))
        raise UserError(f"--dataset {dataset}: not known; one of {', '.join(known)}, or name --class-texts FILE")
    path = Path(own_file) if own_file else shipped
    stored = read_json(path)
    entries = stored.get("classes") if isinstance(stored, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(f'{path}: expected {{"classes": [{{"name": ...}}, ...]}}, see annotation/README.md')
    check_statements(stored, path)
    names = tuple(_name(entry, number, path) for number, entry in enumerate(entries, 1))
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two classes have the same name: {', '.join(names)}")
    if own_file and shipped.is_file():
        base = read_json(shipped)
        if sorted(base.get("list_order", names)) != sorted(names):
            del base["list_order"]  # other classes: their numbers count as the user's file has them
        stored = base | stored
    return Classes(
        names,
        stored.get("label_base", 1),
        _texts(entries, names, path),
        str(path),
        layout=stored.get("layout", "list"),
        folds=stored.get("folds", 0),
        has_persons=stored.get("persons", False),
        has_flat_boxes=stored.get("flat_face_boxes", False),
        format=read_format(stored, names, path),
    )


def list_classes(dataset: str, own_file: str | None) -> Classes | None:
    """``load_classes`` after training: the user's own file may be gone since, and not every set is shipped."""
    own_file = own_file if own_file and Path(own_file).is_file() else None
    return load_classes(dataset, own_file) if own_file or (ANNOTATION / dataset / "classes.json").is_file() else None


def with_compounds(classes: Classes, label_sets: Iterable[frozenset[int]]) -> Classes:
    """The base classes, then every combination that occurs: pairs before triples, each in the order of its parts."""
    base = classes.base_names
    found = {tuple(sorted(labels)) for labels in label_sets if len(labels) > 1}
    parts = [(label,) for label in range(len(base))] + sorted(found, key=lambda part: (len(part), part))
    names = tuple("_".join(base[label] for label in part) for part in parts)
    return replace(classes, names=names, parts=tuple(parts))


def with_names(classes: Classes, names: tuple[str, ...], label_base: int, source: str) -> Classes:
    """The lists of ``classes`` read for a model that stored ``names``: combinations are known by the names they join.

    Where the model's classes are others, its own names and label base hold; where they are the same in another order,
    so does what each number of a list means.
    """
    base = classes.base_names
    told = replace(classes, label_base=label_base, texts={}, source=source, parts=None)
    if names != base and sorted(names) == sorted(base) and classes.format.order is not None:
        order = tuple(names.index(base[label]) for label in classes.format.order)
        folders = tuple(classes.format.folders[base.index(name)] for name in names)
        return replace(told, names=names, format=replace(classes.format, order=order, folders=folders))
    if names[: len(base)] != base:
        plain = ListFormat(clip_folders=classes.format.clip_folders)
        return replace(told, names=names, format=plain)
    if len(names) == len(base):
        return replace(told, names=names)
    sets = [frozenset(base.index(part) for part in name.split("_") if part in base) for name in names]
    compound = with_compounds(replace(told, names=base), sets)
    if compound.names != names:
        raise UserError(f"{source}: its classes are not combinations of {', '.join(base)}")
    return compound


def translated(classes: Classes, names: tuple[str, ...], source: str) -> Classes:
    """The lists of a set read for a model of another: what counts is the name of a class, not its number."""
    if not {*classes.names} & {*names}:
        raise UserError(
            f"{source}: no class of the model ({', '.join(names)}) is one of {classes.source} "
            f"({', '.join(classes.names)})"
        )
    return replace(classes, names=names, texts={}, source=source, parts=None, listed=classes)


def _name(entry: Any, number: int, path: Path) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise UserError(f'{path}: class {number} needs a "name"')
    return name.strip()


def _texts(entries: list, names: tuple[str, ...], path: Path) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Every kind that some class has must be there for all, in the same number."""
    texts = {}
    for kind in TEXT_KINDS:
        if not any(kind in entry for entry in entries):
            continue
        rows = [
            _as_texts(entry.get(kind), f'{path}: class {name}, "{kind}"')
            for entry, name in zip(entries, names, strict=True)
        ]
        if len({len(row) for row in rows}) > 1:
            raise UserError(
                f'{path}: "{kind}" must hold equally many texts in every class, got {[len(r) for r in rows]}'
            )
        texts[kind] = tuple(rows)
    return texts


def _as_texts(value: Any, where: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v.strip() for v in values):
        raise UserError(f"{where}: expected a text or a list of texts, got {value!r}")
    return tuple(v.strip() for v in values)


def read_json(path: Path) -> Any:
    """A JSON file; a repeated key, which JSON readers drop silently, is an error too."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path))
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file; expected JSON") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: broken JSON ({error.msg})") from None
    except UserError:
        raise
    except ValueError:
        long = re.search(r"[0-9]{4000,}", text)
        line = text.count("\n", 0, long.start()) + 1 if long else 1
        raise UserError(f"{path}, line {line}: broken JSON (a number of too many digits)") from None
    except RecursionError:
        raise UserError(f"{path}: broken JSON (nested too deeply)") from None


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"{path}: the key {twice!r} stands twice in one object; keep one")
    return found
