"""Options from frozen dataclasses: one field defines a flag with its type, default, range and help.

    @dataclass(frozen=True)
    class Optim:
        lr: float = option(1e-2, "learning rate", minimum=0)

``parse`` reads flags and recipe files (``@file``: one flag per line, ``#`` comments, later flags win) and returns the
options that the user passed; ``resolve`` combines them with the defaults and returns one frozen instance per class.
``--flag=`` takes back what a recipe sets.
"""

import argparse
import dataclasses
import math
import re
import shlex
import sys
import types
import typing
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from utils.errors import UserError, closest, quote, shorten
from utils.json_files import read_text

Groups = dict[str, type]  # group name → dataclass
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
OFF = (False, 0, None, "none", "off")  # values that switch an option off
ON = None  # in ``needs``: every other value


def option(
    default: Any,
    help: str,
    *,
    aliases: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    choices: Sequence[str] | Callable[[], Sequence[str]] | None = None,
    metavar: str | None = None,
    positional: bool = False,
    words: dict[str, Any] | None = None,
    needs: dict[str, Sequence[Any] | None] | None = None,
    facts: dict[str, Any] | None = None,
) -> Any:
    """Return a dataclass field that is also a flag, or words without a flag (``positional``).

    ``choices``: the allowed texts, or a function that returns them; a Literal type does the same. ``words``: {text:
    value} that a number may also be. ``needs``: {option or property: values}, the option is read only if that one has
    such a value; ``ON``: any but off. ``facts``: other facts about the option, stored in the field's metadata.
    """
    form = {"help": help, "aliases": aliases, "minimum": minimum, "maximum": maximum, "above": above}
    form |= {"choices": choices, "metavar": metavar, "positional": positional, "words": words or {}}
    form["needs"] = needs or {}
    return dataclasses.field(default=default, metadata=form | (facts or {}))


def choices_of(field: dataclasses.Field) -> tuple[str, ...]:
    """Return the texts that an option may be; an empty tuple if any text is allowed."""
    choices = field.metadata["choices"]
    if choices is not None:
        return tuple(choices() if callable(choices) else choices)
    kind = _inner_type(field.type)
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors."""

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(message.replace("argument ", "", 1))


def parse(groups: Groups, arguments: Sequence[str], description: str, help_hint: str = "--help") -> dict[str, Any]:
    """Return {field name: value} of the options in ``arguments``, without defaults."""
    values, unknown = parse_known(groups, arguments, description)
    if unknown:
        word = unknown[0].split("=")[0]
        flags = [flag for action in build_parser(groups, description)._actions for flag in action.option_strings]
        if not word.startswith("-"):
            raise UserError(
                f"{word}: does not belong to a flag ({help_hint} lists them); words without a flag come first"
            )
        raise UserError(f"unknown flag {word}{closest(word, flags)} ({help_hint} lists them all)")
    return values


def parse_known(groups: Groups, arguments: Sequence[str], description: str) -> tuple[dict[str, Any], list[str]]:
    """Return {field name: value} of the options in ``arguments``, and the words that are not options.

    ``--flag=`` removes every earlier value of a flag, for example that of a recipe.
    """
    parser, words, unknown = build_parser(groups, description), expand_recipes(arguments), []
    namespace, begin = argparse.Namespace(), 0
    for end, word in enumerate([*words, None]):
        flag = parser._option_string_actions.get(word[:-1]) if word is not None and word.endswith("=") else None
        if word is not None and (flag is None or flag.nargs == 0):
            continue
        unknown += parser.parse_known_args(words[begin:end], namespace)[1]
        begin = end + 1
        if flag is not None and flag.nargs == "*":  # a list may be empty
            setattr(namespace, flag.dest, [])
        elif flag is not None and hasattr(namespace, flag.dest):
            delattr(namespace, flag.dest)
    return {n: tuple(value) if isinstance(value, list) else value for n, value in vars(namespace).items()}, unknown


def read_with_recipes(group: type, arguments: Sequence[str], description: str) -> tuple[Any, list[str]]:
    """Return an instance of ``group`` for a command that reads recipes of main.py, and the flags in them that it lacks.

    Such flags are left out with their values; typed by hand, they are errors. So are options without an effect.
    """
    groups, words, ignored = {"command": group}, [], set()
    flags = build_parser(groups, description)._option_string_actions
    for argument in arguments:
        is_read = True
        for word in expand_recipes([argument]):
            if word.startswith("--"):
                is_read = not argument.startswith("@") or word.partition("=")[0] in flags
            if is_read:
                words.append(word)
            elif word.startswith("--"):
                ignored.add(word.partition("=")[0])
    values = parse(groups, words, description)
    options = resolve(groups, values)["command"]
    require_needs(options, values)
    return options, sorted(ignored)


def unmet_need(field: dataclasses.Field, value_of: Callable[[str], Any]) -> str | None:
    """Return the option whose value makes another one meaningless."""
    for needed, values in field.metadata["needs"].items():
        value = value_of(needed)
        if value in OFF if values is ON else value not in values:
            return needed
    return None


def require_needs(options: Any, values: dict[str, Any]) -> None:
    """Raise a UserError for an option in ``values`` that is not read because of another; its default is allowed."""
    for field in dataclasses.fields(options):
        needed = unmet_need(field, partial(getattr, options))
        value = values.get(field.name, field.default)
        if needed is not None and value != field.default:
            flag = flag_of(field.name)
            if value is False:
                flag = f"--no-{flag[2:]}"
            elif value is not True:
                flag += f" {written(value)}"
            remedy = f" or set {flag_of(needed)}" if field.metadata["needs"][needed] is ON else ""
            raise UserError(f"{flag} is not used {_condition(options, needed)}; leave it out{remedy}")


def _condition(options: Any, name: str) -> str:
    """Return the value of an option, or of a property, which is a text, as words."""
    value = getattr(options, name)
    if name not in {field.name for field in dataclasses.fields(options)}:
        return f"with {value}"
    if value in OFF:
        return f"without {flag_of(name)}"
    return f"with {flag_of(name)}" if value is True else f"with {flag_of(name)} {written(value)}"


def expand_recipes(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` with every ``@file`` replaced by its flags; a recipe may include another."""
    expanded: list[str] = []
    for argument in arguments:
        expanded += read_recipe(Path(argument[1:])) if argument.startswith("@") else [argument]
    return expanded


def read_recipe(path: Path, depth: int = 0, source: str = "") -> list[str]:
    try:
        lines = read_text(path).splitlines()
    except UserError as error:
        raise UserError(f"{source}recipe @{error}; expected a file of flags such as recipes/demo.args") from None
    arguments: list[str] = []
    for number, line in enumerate(lines, 1):
        try:
            words = _split_line(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {str(error).lower()}: {shorten(line.strip())}") from None
        for word in words:
            if word.startswith("@") and depth > 4:
                raise UserError(f"{path}, line {number}: recipes that include one another endlessly")
            if word.startswith("@"):
                arguments += read_recipe(path.parent / word[1:], depth + 1, f"{path}, line {number}: ")
            else:
                arguments.append(word)
    return arguments


def _split_line(line: str) -> list[str]:
    """Return the words of a line as a shell splits it, but keep backslashes; a comment starts only after a blank."""
    lexer = shlex.shlex(re.sub(r"(^|\s)#.*$", "", line), posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    return list(lexer)


def build_parser(
    groups: Groups, description: str, *, shows: Callable[[dataclasses.Field], bool] = lambda field: True
) -> Parser:
    """Return a parser of every option; its help lists those for which ``shows`` is true."""
    parser = Parser(
        prog=_program(),
        description=description,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=110),
    )
    for group_name, group in groups.items():
        section = parser.add_argument_group(group_name)
        for field in dataclasses.fields(group):
            _add_flag(section, field, is_listed=shows(field))
    return parser


def _program() -> str:
    """Return the command of the program, such as ``main.py`` or ``python -m dataloader.pack``."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return Path(sys.argv[0]).name if spec is None else f"python -m {spec.name.removesuffix('.__main__')}"


def resolve(groups: Groups, *layers: dict[str, Any]) -> dict[str, Any]:
    """Return one frozen instance per group; later layers win over earlier ones and over the defaults."""
    values: dict[str, Any] = {}
    for layer in layers:
        values.update(layer)
    return {
        name: group(**{f.name: values[f.name] for f in dataclasses.fields(group) if f.name in values})
        for name, group in groups.items()
    }


def from_json(groups: Groups, stored: Any) -> dict[str, Any]:
    """Return a stored config as a layer for ``resolve``; fields that no longer exist are left out.

    A field is found in any group, because it may have been in another one when the config was stored.
    """
    layer, values = {}, {}
    for name in groups:
        table = stored.get(name, {}) if isinstance(stored, dict) else None
        if not isinstance(table, dict):
            raise UserError(f"the stored options {quote(name)} are not a table of options")
        values |= table
    for group in groups.values():
        for field in dataclasses.fields(group):
            if field.name in values:
                value = values[field.name]
                layer[field.name] = tuple(value) if isinstance(value, list) else value
                _check_stored(field, layer[field.name])
    return layer


def _check_stored(field: dataclasses.Field, value: Any) -> None:
    """Raise a UserError for a stored value that the parser would refuse."""
    if value is None and field.default is None:
        return
    choices, kind, values = choices_of(field), _inner_type(field.type), (value,)
    if typing.get_origin(kind) is tuple:
        kind, values = typing.get_args(kind)[0], value if isinstance(value, tuple) else (None,)
    types = (int, float) if kind is float else (str,) if choices else (kind,)
    is_valid = all(type(v) in types and (not choices or v in choices) for v in values)
    if not is_valid or (kind in (int, float) and any(_outside(v, field.metadata) for v in values)):
        text = repr(value)[:40] if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
        raise UserError(f"the stored option {flag_of(field.name)} cannot be {text}")


def checked_numbers(groups: Groups, values: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with NumPy numbers as Python's; raise a UserError for those that the parser would refuse."""
    fields = {field.name: field for group in groups.values() for field in dataclasses.fields(group)}
    checked = dict(values)
    for name, value in values.items():
        field, kind = fields[name], _inner_type(fields[name].type)
        if kind in (int, float) and not (value is None and field.default is None):
            is_number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
            fault = _outside(value, field.metadata) if is_number else f"expected {_article(kind)}"
            if fault:
                raise UserError(f"{name}: {fault}, got {quote(value)}")
            checked[name] = kind(value)
    return checked


def _add_flag(section: Any, field: dataclasses.Field, is_listed: bool) -> None:
    meta, kind = field.metadata, _inner_type(field.type)
    default = "" if field.default in (None, ()) else f" (default: {written(field.default)})"
    help = (meta["help"] + default).replace("%", "%%") if is_listed else argparse.SUPPRESS
    if meta["positional"]:
        section.add_argument(field.name, nargs="*", metavar=meta["metavar"], help=help)
        return
    settings: dict[str, Any] = {"dest": field.name, "help": help}
    flags = [flag_of(field.name), *meta["aliases"]]
    if kind is bool:
        section.add_argument(*flags, nargs="?", const=True, type=_boolean, metavar="True|False", **settings)
        opposite = [f"--no-{flag.removeprefix('--')}" for flag in flags]
        section.add_argument(*opposite, dest=field.name, action="store_false", help=argparse.SUPPRESS)
        return
    if choices := choices_of(field):
        settings |= {"choices": choices}
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        settings |= {"nargs": "+"} if item is str else {"nargs": "*", "type": _number(item, meta)}
    elif kind in (int, float):
        settings |= {"type": _number(kind, meta)}
    if "choices" not in settings or meta["metavar"]:
        is_text = str in (kind, *typing.get_args(kind))
        settings["metavar"] = meta["metavar"] or ("TEXT" if is_text else "N")
    section.add_argument(*flags, **settings)


def _inner_type(kind: Any) -> Any:
    """Return ``int`` for ``int | None``, and any other type as it is."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _boolean(text: str) -> bool:
    if text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    raise argparse.ArgumentTypeError(f"expected True or False, got {quote(text)} (a file is put before the flag)")


def _number(kind: type, meta: Any) -> Any:
    """Return a parser of one number that checks the field's range."""

    def convert(text: str) -> Any:
        if text in meta["words"]:
            return meta["words"][text]
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {_article(kind)}, got {quote(text)}") from None
        if fault := _outside(value, meta):
            raise argparse.ArgumentTypeError(f"{fault}, got {text}")
        return value

    return convert


def _outside(value: float, meta: Any) -> str | None:
    """Return what is wrong with the size of a number, or None."""
    low, high, above = meta["minimum"], meta["maximum"], meta["above"]
    if not isinstance(value, int) and not math.isfinite(value):
        return "expected a finite number"
    if abs(value) > sys.maxsize and isinstance(value, int):  # no float and no counter of Python's own holds it
        return f"must be at most {sys.maxsize}"
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
    """Return every option with its value as it is typed, and a star if it is not the default."""
    lines = ["* marks a value that is not the default"]
    for name, group in groups.items():
        lines.append(f"{name}:")
        for field in dataclasses.fields(group):
            value = getattr(group, field.name)
            mark = " " if value == field.default else "*"
            text = "(not set)" if value is None else written(value)
            flag = f"[{field.metadata['metavar']}]" if field.metadata["positional"] else flag_of(field.name)
            lines.append(f"  {mark} {flag:<26} {text}")
    return "\n".join(lines)
