"""The classes of a data set and their texts, read from JSON: annotation/<dataset>/classes.json or the user's own."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError

ANNOTATION = Path(__file__).resolve().parent.parent / "annotation"
TEXT_KINDS = ("class_names_with_context", "class_descriptor", "prompt_ensemble", "descriptive")


@dataclass(frozen=True)
class Classes:
    """Names in label order, the label that the lists give to the first of them, and the texts of every kind."""

    names: tuple[str, ...]
    label_base: int
    texts: dict[str, tuple[tuple[str, ...], ...]]  # kind → C × P texts
    source: str

    def __len__(self) -> int:
        return len(self.names)

    def texts_of(self, kind: str) -> tuple[tuple[str, ...], ...]:
        """C × P texts: P is 1 but for the ensemble."""
        if kind == "class_names":
            return tuple((name,) for name in self.names)
        if kind not in self.texts:
            raise UserError(f"{self.source}: no class has a {kind!r} text; add one to each class")
        return self.texts[kind]


def load_classes(dataset: str, own_file: str | None = None) -> Classes:
    path = Path(own_file) if own_file else ANNOTATION / dataset / "classes.json"
    if not own_file and not path.is_file():
        known = sorted(folder.parent.name for folder in ANNOTATION.glob("*/classes.json"))
        raise UserError(f"--dataset {dataset}: not known; one of {', '.join(known)}, or name --class-texts FILE")
    stored = read_json(path)
    entries = stored.get("classes") if isinstance(stored, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(f'{path}: expected {{"classes": [{{"name": ...}}, ...]}}, see annotation/README.md')
    base = stored.get("label_base", 1)
    if not isinstance(base, int) or isinstance(base, bool):
        raise UserError(f'{path}: "label_base" must be a whole number, got {base!r}')
    names = tuple(_name(entry, number, path) for number, entry in enumerate(entries, 1))
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two classes have the same name: {', '.join(names)}")
    return Classes(names, base, _texts(entries, names, path), str(path))


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
        raise UserError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
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
