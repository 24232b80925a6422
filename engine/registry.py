"""Names of the methods of ``--model``, and the table in which ``register`` stores them.

Every file of ``engine/methods`` is a method of the same name. It is imported when it is first used
(``engine.methods.method_named``), so that ``--help`` is fast.
"""

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # methods import this file
    from engine.methods.base import Method

SHARED_FILES = {"base"}  # files of engine/methods that are not methods
METHODS: "dict[str, Method]" = {}  # those imported so far


def register(method: "Method") -> None:
    """Add a method, so that ``--model <method.name>`` finds it."""
    METHODS[method.name] = method


def method_names() -> tuple[str, ...]:
    """Return every name that ``--model`` accepts: those of the files, then those registered elsewhere."""
    files = [file.name for file in pkgutil.iter_modules([str(Path(__file__).parent / "methods")])]
    names = [name.replace("_", "-") for name in files if name not in SHARED_FILES]
    return (*names, *(name for name in METHODS if name not in names))
