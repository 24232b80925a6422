"""Parse JSON from any source, which may be damaged, and compare it with a type before it is used.

A reader states the type that it expects, such as ``dict[str, list[int]]`` or a TypedDict. All code after the check can
rely on it, so that no reader needs its own tests of keys and types.
"""

import gc
import json
import math
import re
import sys
import types
import typing
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired, Required, TypedDict

from utils.errors import UserError, quote, reason_of

AnyNumber = Annotated[float, "may be infinite or NaN"]  # for our own scores
MAX_BYTES = 2**30  # of a JSON file; boxes of a million clips need a quarter of this
MAX_NUMBER = 1e15  # of numbers that are shown to users
LEAVES = {  # types without parts
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    AnyNumber: "a number",
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


def read_lines(path: Path, kind: Any = Any) -> list[Any]:
    """Return the content of every line of a file of JSON lines, each of which is of the type ``kind``."""
    lines = enumerate(read_text(path).split("\n"), 1)
    return [parse_json(line, kind, f"{path}, line {number}") for number, line in lines if line.strip()]


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Return the text of a UTF-8 file, with unchanged line ends."""
    data = read_bytes(path, limit)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not a UTF-8 text file") from None


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return the bytes of a file. A pipe, which may never end, and a file above ``limit`` are refused."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is {'a folder' if path.is_dir() else 'not a regular file'}; name a file")
        if path.stat().st_size > limit:
            raise UserError(f"{path}: {path.stat().st_size / 1e6:.0f} MB, more than the {limit / 1e6:.0f} MB allowed")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None
    except UserError:
        raise
    except ValueError:  # a NUL in the name
        raise UserError(f"{path}: not a name of a file") from None


def parse_json(data: bytes | str, kind: Any = Any, where: str = "JSON") -> Any:
    """Return the content of JSON text, which is of the type ``kind``. ``where`` is named in errors.

    A repeated key, which JSON readers drop silently, is an error. Half a surrogate pair, which cannot be printed or
    written, is an error too, except for the halves with which Python represents file names that are not UTF-8.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{where}: not a UTF-8 text file; expected JSON") from None
    try:
        with collecting_paused():
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
            json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise UserError(f"{where}: broken JSON (half a surrogate pair, which is no letter)") from None
    return check_type(content, kind, where)


@contextmanager
def collecting_paused() -> Iterator[None]:
    """Pause the garbage collector, which takes longer than parsing a large file and frees nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _without_repeats(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise UserError(f"{where}: the key {quote(repeated)} is twice in one object; keep one")
    return content


def check_type(value: Any, kind: Any, where: str) -> Any:
    """Return ``value`` if it is of the type ``kind``, else raise a UserError that names the first wrong entry.

    ``kind`` is made of None, bool, int, float, str, Any, Literal, Annotated with a ``Range``, unions, list, dict with
    texts as keys, tuple (a list in JSON), and TypedDict, whose value may have other keys too. A ``float`` may be
    written as a whole number. A number that is not finite is refused, except for ``AnyNumber``.
    """
    fault = _fault(value, kind)
    if fault is not None:
        raise UserError(f"{where}: {fault}")
    return value


@cache
def _parts_of(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return origin and arguments of a type; for a TypedDict its required keys and (key, type) of every key."""
    if typing.is_typeddict(kind):
        return TypedDict, (kind.__required_keys__, tuple(typing.get_type_hints(kind, include_extras=True).items()))
    return typing.get_origin(kind) or kind, typing.get_args(kind)


def _fault(value: Any, kind: Any) -> str | None:
    """Return the place and the fault in a value, such as ``clips, 3, label: expected ...``, or None."""
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
    if origin in (NotRequired, Required):
        return _fault(value, parts[0])
    if origin is TypedDict:
        return _expected("a table", value) if not isinstance(value, dict) else _fault_in_table(value, *parts)
    if origin is dict:
        is_table = isinstance(value, dict) and all(type(key) is str for key in value)
        if not is_table:
            return _expected("a table", value)
        return None if _are_all([*value.values()], parts[1]) else _first_fault(value.items(), parts[1])
    if not isinstance(value, (list, tuple)):
        return _expected("a list", value)
    if origin is tuple and parts[-1] is not ...:
        if len(value) != len(parts):
            return f"expected a list of {len(parts)}, got {len(value)}"
        faults = ((key, _fault(item, part)) for key, (item, part) in enumerate(zip(value, parts, strict=True)))
        return next((_inside(key, fault) for key, fault in faults if fault is not None), None)
    return None if _are_all(value, parts[0]) else _first_fault(enumerate(value), parts[0])


def _are_all(values: list[Any], kind: Any) -> bool:
    """Return whether all values are of the type ``kind``. If it returns False, each value must be checked.

    It is the fast check: the values of each key, and the items of all lists, are checked together.
    """
    if kind is Any or not values:
        return True
    inside = set(map(type, values))
    if kind is float:
        try:
            return inside <= {int, float} and all(map(math.isfinite, values))
        except OverflowError:  # a whole number that is too large for a float
            return False
    if kind in (str, int):
        return inside <= {kind}
    if kind in LEAVES:
        return all(_is_leaf(value, kind) for value in values)
    origin, parts = _parts_of(kind)
    if origin is typing.Annotated:
        low, high = parts[1]
        return _are_all(values, parts[0]) and low <= min(values) and max(values) <= high
    if origin in (NotRequired, Required):
        return _are_all(values, parts[0])
    if origin is TypedDict:
        required, kinds = parts
        return (
            inside <= {dict}
            and all(required <= value.keys() for value in values)
            and all(_are_all([value[name] for value in values if name in value], kind) for name, kind in kinds)
        )
    if origin is dict:
        is_table = inside <= {dict} and set(map(type, chain.from_iterable(values))) <= {str}
        return is_table and _are_all([*chain.from_iterable(value.values() for value in values)], parts[1])
    if origin not in (list, tuple) or not inside <= {list}:
        return False
    if origin is tuple and (len({*parts}) > 1 or not {*map(len, values)} <= {len(parts)}):
        return False
    return _are_all([*chain.from_iterable(values)], parts[0])


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


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number that is not too large to be shown."""
    return type(value) in (int, float) and -MAX_NUMBER < value < MAX_NUMBER


def _is_leaf(value: Any, kind: Any) -> bool:
    if kind in (float, AnyNumber):
        is_number = type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max)
        return is_number and (kind is not float or math.isfinite(value))
    return type(value) is kind or (value is None and kind is None)


def _inside(key: str | int, fault: str) -> str:
    name = str(key)[:100]
    return f"{name}: {fault}" if fault.startswith(("expected", "lacks")) else f"{name}, {fault}"


def _expected(words: str, value: Any) -> str:
    if isinstance(value, (dict, list, tuple)):
        return f"expected {words}, got a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    if not isinstance(value, (str, int, float, type(None))):  # from a file that is not JSON
        return f"expected {words}, got a {type(value).__name__}"
    text = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else json.dumps(value)
    return f"expected {words}, got {text if len(text) <= 60 else text[:57] + '...'}"
