"""JSON that anyone may have written or damaged: parsed, and compared with a type before it is used.

A reader states the type of what it expects, such as ``dict[str, list[int]]`` or a TypedDict. Everything after the check
may rely on it, so that no reader needs its own tests of keys and types.
"""

import json
import math
import re
import types
import typing
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from utils.errors import UserError, reason_of

MAX_BYTES = 2**30  # of a JSON file; boxes of a million clips need a quarter of it
Number = typing.NewType("Number", float)  # a float that may be infinite or not a number
LEAVES = {  # types without parts
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    Number: "a number",
    type(None): "null",
    None: "null",
}


class Range(NamedTuple):
    """Bounds of a number, both included: ``Annotated[int, Range(0, 10)]``."""

    low: float
    high: float = math.inf


def read_json(path: Path, kind: Any = Any) -> Any:
    """Return the content of a JSON file, which is of the type ``kind``."""
    return parse_json(read_bytes(path), kind, str(path))


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return the bytes of a file. A pipe, which may never end, and a file above ``limit`` are refused."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is {'a folder' if path.is_dir() else 'no regular file'}; name a file")
        if path.stat().st_size > limit:
            raise UserError(f"{path}: {path.stat().st_size / 1e6:.0f} MB, more than the {limit / 1e6:.0f} MB allowed")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None


def parse_json(data: bytes | str, kind: Any = Any, where: str = "JSON") -> Any:
    """Return the content of JSON text, which is of the type ``kind``. ``where`` is named in errors.

    A repeated key, which JSON readers drop silently, is an error, and so is half a surrogate pair, which cannot be
    printed or written.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{where}: not a UTF-8 text file; expected JSON") from None
    try:
        content = json.loads(text, object_pairs_hook=lambda pairs: _without_repeats(pairs, where))
    except json.JSONDecodeError as error:
        raise UserError(f"{where}, line {error.lineno}, column {error.colno}: broken JSON ({error.msg})") from None
    except UserError:
        raise
    except ValueError:
        long_number = re.search(r"[0-9]{4000,}", text)
        line = text.count("\n", 0, long_number.start()) + 1 if long_number else 1
        raise UserError(f"{where}, line {line}: broken JSON (a number of too many digits)") from None
    except RecursionError:
        raise UserError(f"{where}: broken JSON (nested too deeply)") from None
    if "\\u" in text:
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UserError(f"{where}: broken JSON (half a surrogate pair, which is no letter)") from None
    return check_type(content, kind, where)


def _without_repeats(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise UserError(f"{where}: the key {repeated[:100]!r} stands twice in one object; keep one")
    return content


def check_type(value: Any, kind: Any, where: str) -> Any:
    """Return ``value`` if it is of the type ``kind``, else raise a UserError that names the first wrong entry.

    ``kind`` is made of None, bool, int, float, str, Any, Literal, Annotated with a ``Range``, unions, list, dict with
    texts as keys, tuple (JSON writes it as a list), and TypedDict, which may hold more keys than it names. A ``float``
    may be written as a whole number; a number that is not finite is refused.
    """
    fault = _fault(value, kind)
    if fault is not None:
        raise UserError(f"{where}: {fault}")
    return value


@cache
def _parts_of(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return what a type is made of; of a TypedDict its keys that must be there, and (key, type) of every key."""
    if typing.is_typeddict(kind):
        return TypedDict, (kind.__required_keys__, tuple(typing.get_type_hints(kind, include_extras=True).items()))
    return typing.get_origin(kind) or kind, typing.get_args(kind)


def _fault(value: Any, kind: Any) -> str | None:
    """Return what is wrong with a value and where in it, such as ``clips, 3, label: expected ...``."""
    if kind is Any:
        return None
    if kind in LEAVES:
        return None if _is_leaf(value, kind) else _expected(LEAVES[kind], value)
    origin, parts = _parts_of(kind)
    if origin is typing.Annotated:
        low, high = parts[1]
        fault = _fault(value, parts[0])
        return fault or (None if low <= value <= high else _expected(f"a number from {low} to {high}", value))
    if origin is typing.Literal:
        is_listed = any(type(value) is type(choice) and value == choice for choice in parts)
        return None if is_listed else _expected(" or ".join(map(repr, parts)), value)
    if origin in (types.UnionType, typing.Union):
        faults = [_fault(value, part) for part in parts]
        return None if None in faults else next((f for f in faults if not f.startswith("expected")), faults[0])
    if origin is NotRequired:
        return _fault(value, parts[0])
    if origin is TypedDict:
        return _expected("a table", value) if not isinstance(value, dict) else _fault_in_table(value, *parts)
    if origin is dict:
        is_table = isinstance(value, dict) and all(type(key) is str for key in value)
        return _first_fault(value.items(), parts[1]) if is_table else _expected("a table", value)
    if not isinstance(value, (list, tuple)):
        return _expected("a list", value)
    if origin is tuple and parts[-1] is not ...:
        if len(value) != len(parts):
            return f"expected a list of {len(parts)}, got {len(value)}"
        faults = ((key, _fault(item, part)) for key, (item, part) in enumerate(zip(value, parts, strict=True)))
        return next((_inside(key, fault) for key, fault in faults if fault is not None), None)
    types_inside = set(map(type, value))  # a short way for long lists of texts or numbers
    if types_inside <= {parts[0]} and (parts[0] is not float or all(map(math.isfinite, value))):
        return None
    return _first_fault(enumerate(value), parts[0])


def _fault_in_table(value: dict[str, Any], required: frozenset[str], kinds: tuple[tuple[str, Any], ...]) -> str | None:
    if missing := sorted(required - value.keys()):
        return f"lacks {missing[0]!r}"
    for name, kind in kinds:
        if name in value and (fault := _fault(value[name], kind)) is not None:
            return _inside(name, fault)
    return None


def _first_fault(items: Iterable[tuple[Any, Any]], kind: Any) -> str | None:
    for key, item in items:
        if (fault := _fault(item, kind)) is not None:
            return _inside(key, fault)
    return None


def _is_leaf(value: Any, kind: Any) -> bool:
    if kind is Number:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind or (value is None and kind is None)


def _inside(key: str | int, fault: str) -> str:
    name = str(key)[:100]
    return f"{name}: {fault}" if fault.startswith(("expected", "lacks")) else f"{name}, {fault}"


def _expected(words: str, value: Any) -> str:
    if isinstance(value, (dict, list, tuple)):
        return f"expected {words}, got a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    if not isinstance(value, (str, int, float, type(None))):  # from a file that is no JSON
        return f"expected {words}, got a {type(value).__name__}"
    text = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else json.dumps(value)
    return f"expected {words}, got {text if len(text) <= 60 else text[:57] + '...'}"
