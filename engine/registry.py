"""The methods behind ``--model``, by name.

Every file of ``engine/methods`` is a method. It is imported when it is first asked for, so that ``--help`` stays quick.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError

if TYPE_CHECKING:
    from engine.methods.base import Method

_methods: dict[str, "Method"] = {}
_SHARED = {"base", "tasks"}  # files of engine/methods that are no method


def register(method: "Method") -> "Method":
    """Make ``--model <method.name>`` known."""
    _methods[method.name] = method
    return method


def method_names() -> tuple[str, ...]:
    """Return every name that ``--model`` takes."""
    files = [file.name for file in pkgutil.iter_modules([str(Path(__file__).parent / "methods")])]
    return (*(name.replace("_", "-") for name in files if name not in _SHARED), *_added(files))


def _added(files: list[str]) -> list[str]:
    """Return methods that were registered elsewhere, by a test or by a program."""
    return [name for name in _methods if name.replace("-", "_") not in files]


def method_named(name: str) -> "Method":
    """Return a method; a UserError where there is none of this name."""
    if name not in _methods:
        if name not in method_names():
            raise UserError(f"--model {name[:40]}: no such method; there are {', '.join(method_names())}")
        importlib.import_module(f"engine.methods.{name.replace('-', '_')}")
    return _methods[name]
