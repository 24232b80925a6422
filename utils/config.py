"""Options from frozen dataclasses: one field is one flag, its type, its default, its range and its help.

    @dataclass(frozen=True)
    class Optim:
        lr: float = option(1e-2, "learning rate", minimum=0)

``parse`` reads flags and recipe files (``@file``: one flag a line, ``#`` comments, later flags win) and returns what
the user gave; ``resolve`` puts it over the defaults and returns one frozen group a class.
"""

import argparse
import dataclasses
import math
import re
import shlex
import sys
import types
import typing
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from utils.errors import UserError, closest

Groups = dict[str, type]  # group name → dataclass
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def option(
    default: Any,
    help: str,
    *,
    aliases: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    metavar: str | None = None,
    positional: bool = False,
    words: dict[str, Any] | None = None,
) -> Any:
    """A dataclass field that is also a flag, or words without one. ``words``: what a number may also be."""
    metadata = {
        "help": help,
        "aliases": tuple(aliases),
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "metavar": metavar,
        "positional": positional,
        "words": words or {},
    }
    return dataclasses.field(default=default, metadata=metadata)


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(message.replace("argument ", "", 1))


def parse(groups: Groups, arguments: Sequence[str], description: str) -> dict[str, Any]:
    """The options that ``arguments`` name, and only those: {field name: value}."""
    given, unknown = parse_known(groups, arguments, description)
    if unknown:
        known = [flag for action in build_parser(groups, description)._actions for flag in action.option_strings]
        word = unknown[0].split("=")[0]
        if not word.startswith("-"):
            raise UserError(f"{word}: no flag takes it (--help lists them all); words without one go before all flags")
        raise UserError(f"unknown flag {word}{closest(word, known)} (--help lists them all)")
    return given


def parse_known(groups: Groups, arguments: Sequence[str], description: str) -> tuple[dict[str, Any], list[str]]:
    """The same, and the words that are none of these options."""
    given, unknown = build_parser(groups, description).parse_known_args(expand_recipes(arguments))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in vars(given).items()}, unknown


def expand_recipes(arguments: Sequence[str]) -> list[str]:
    """``@file`` replaced by the flags in it, one a line, ``#`` comments; a recipe may name another."""
    expanded: list[str] = []
    for argument in arguments:
        expanded += read_recipe(Path(argument[1:])) if argument.startswith("@") else [argument]
    return expanded


def read_recipe(path: Path, depth: int = 0, named_in: str = "") -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(
            f"{named_in}recipe @{path}: {reason.lower()}; expected a file of flags such as recipes/demo.args"
        ) from None
    arguments: list[str] = []
    for number, line in enumerate(lines, 1):
        try:
            words = _split_line(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {str(error).lower()}: {line.strip()}") from None
        for word in words:
            if word.startswith("@") and depth > 4:
                raise UserError(f"{path}, line {number}: recipes that name one another without end")
            if word.startswith("@"):
                arguments += read_recipe(path.parent / word[1:], depth + 1, f"{path}, line {number}: ")
            else:
                arguments.append(word)
    return arguments


def _split_line(line: str) -> list[str]:
    """Words as a shell would split them, but backslashes are kept and a comment begins after a blank only."""
    lexer = shlex.shlex(re.sub(r"(^|\s)#.*$", "", line), posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    return list(lexer)


def build_parser(groups: Groups, description: str) -> Parser:
    parser = Parser(
        prog=_program(),
        description=description,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=110),
    )
    for group_name, group in groups.items():
        section = parser.add_argument_group(group_name)
        for field in dataclasses.fields(group):
            _add_flag(section, field)
    return parser


def _program() -> str:
    """As it is typed: ``main.py``, ``python -m dataloader.pack``."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return Path(sys.argv[0]).name if spec is None else f"python -m {spec.name.removesuffix('.__main__')}"


def resolve(groups: Groups, *layers: dict[str, Any]) -> dict[str, Any]:
    """One frozen instance a group; later layers win over earlier ones and over the defaults."""
    chosen: dict[str, Any] = {}
    for layer in layers:
        chosen.update(layer)
    return {
        name: group(**{f.name: chosen[f.name] for f in dataclasses.fields(group) if f.name in chosen})
        for name, group in groups.items()
    }


def from_json(groups: Groups, stored: Any) -> dict[str, Any]:
    """A stored config as a layer for ``resolve``; fields that no longer exist are left out, the others checked."""
    layer = {}
    for name, group in groups.items():
        values = stored.get(name, {}) if isinstance(stored, dict) else None
        if not isinstance(values, dict):
            raise UserError(f"the stored options {name!r} are not a table of options")
        for field in dataclasses.fields(group):
            if field.name in values:
                value = values[field.name]
                layer[field.name] = tuple(value) if isinstance(value, list) else value
                _check_stored(field, layer[field.name])
    return layer


def _check_stored(field: dataclasses.Field, value: Any) -> None:
    """What the parser asks of a typed value, asked of a stored one."""
    kind = _inner_type(field.type)
    if value is None and field.default is None:
        return
    if typing.get_origin(kind) is typing.Literal:
        good = isinstance(value, str) and value in typing.get_args(kind)
    elif typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        good = isinstance(value, tuple) and all(type(v) is item for v in value)
        good = good and (item is str or not any(_outside(v, field.metadata) for v in value))
    elif kind is float:
        good = type(value) in (int, float) and not _outside(value, field.metadata)
    else:
        good = type(value) is kind and not (kind is int and _outside(value, field.metadata))
    if not good:
        found = repr(value)[:40] if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
        raise UserError(f"the stored option {flag_of(field.name)} cannot be {found}")


def checked_numbers(groups: Groups, given: dict[str, Any]) -> dict[str, Any]:
    """What the parser asks of numbers, asked of those that a program gives; those of NumPy become Python's."""
    known = {field.name: field for group in groups.values() for field in dataclasses.fields(group)}
    checked = dict(given)
    for name, value in given.items():
        field, kind = known[name], _inner_type(known[name].type)
        if kind in (int, float) and not (value is None and field.default is None):
            is_one = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
            wrong = _outside(value, field.metadata) if is_one else f"expected {_article(kind)}"
            if wrong:
                raise UserError(f"{name}: {wrong}, got {value!r}")
            checked[name] = kind(value)
    return checked


def _add_flag(section: Any, field: dataclasses.Field) -> None:
    meta, kind = field.metadata, _inner_type(field.type)
    default = "" if field.default in (None, ()) else f" (default: {written(field.default)})"
    if meta["positional"]:
        section.add_argument(field.name, nargs="*", metavar=meta["metavar"], help=meta["help"])
        return
    settings: dict[str, Any] = {"dest": field.name, "help": (meta["help"] + default).replace("%", "%%")}
    flags = [flag_of(field.name), *meta["aliases"]]
    if kind is bool:
        section.add_argument(*flags, nargs="?", const=True, type=_boolean, metavar="True|False", **settings)
        opposite = [f"--no-{flag.removeprefix('--')}" for flag in flags]
        section.add_argument(*opposite, dest=field.name, action="store_false", help=argparse.SUPPRESS)
        return
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        settings |= {"nargs": "+"} if item is str else {"nargs": "*", "type": _number(item, meta)}
    elif typing.get_origin(kind) is typing.Literal:
        settings |= {"choices": typing.get_args(kind)}
    elif kind in (int, float):
        settings |= {"type": _number(kind, meta)}
    if "choices" not in settings:
        is_text = str in (kind, *typing.get_args(kind))
        settings["metavar"] = meta["metavar"] or ("TEXT" if is_text else "N")
    section.add_argument(*flags, **settings)


def _inner_type(kind: Any) -> Any:
    """``int`` for ``int | None``; anything else as it is."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _boolean(text: str) -> bool:
    if text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    raise argparse.ArgumentTypeError(f"expected True or False, got {text!r}")


def _number(kind: type, meta: Any) -> Any:
    """A parser of one number that also holds the field's range."""

    def convert(text: str) -> Any:
        if text in meta["words"]:
            return meta["words"][text]
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {_article(kind)}, got {text!r}") from None
        wrong = _outside(value, meta)
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong}, got {text}")
        return value

    return convert


def _outside(value: float, meta: Any) -> str | None:
    """What is wrong with a number's size, if anything."""
    low, high, above = meta["minimum"], meta["maximum"], meta["above"]
    if not isinstance(value, int) and not math.isfinite(value):
        return "expected a finite number"
    if above is not None and not value > above:
        return f"must be above {above}"
    if low is not None and value < low:
        return f"must be at least {low}"
    if high is not None and value > high:
        return f"must be at most {high}"
    return None


def _article(kind: type) -> str:
    return "a whole number" if kind is int else "a number"


def written(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def describe(groups: dict[str, Any]) -> str:
    """Every resolved option as it would be typed, a star where it differs from the default."""
    lines = []
    for name, group in groups.items():
        lines.append(f"{name}:")
        for field in dataclasses.fields(group):
            value = getattr(group, field.name)
            mark = " " if value == field.default else "*"
            shown = "(not set)" if value is None else written(value)
            flag = f"[{field.metadata['metavar']}]" if field.metadata["positional"] else flag_of(field.name)
            lines.append(f"  {mark} {flag:<26} {shown}")
    return "\n".join(lines)
