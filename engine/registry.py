"""Names of the methods behind ``--model``, and where ``register`` keeps them.

Every file of ``engine/methods`` is a method of the same name. It is imported when it is first asked for
(``engine.methods.method_named``), so that ``--help`` stays quick.
"""

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # methods import this file
    from engine.methods.base import Method

SHARED_FILES = {"base"}  # files of engine/methods that are no method
METHODS: "dict[str, Method]" = {}  # those that were imported so far


def register(method: "Method") -> None:
    """Make ``--model <method.name>`` known."""
    METHODS[method.name] = method


def method_names() -> tuple[str, ...]:
    """Return every name that ``--model`` takes: those of the files, then those that were registered elsewhere."""
    files = [file.name for file in pkgutil.iter_modules([str(Path(__file__).parent / "methods")])]
    names = [name.replace("_", "-") for name in files if name not in SHARED_FILES]
    return (*names, *(name for name in METHODS if name not in names))
