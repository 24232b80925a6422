"""Names of the methods behind ``--model``, and where ``register`` keeps them.

Every file of ``engine/methods`` is a method of the same name. It is imported when it is first asked for
(``engine.methods.method_named``), so that ``--help`` stays quick.
"""

import pkgutil
from pathlib import Path
from typing import Any, Protocol


class Named(Protocol):
    """What the registry knows of a method."""

    name: str


SHARED_FILES = {"base"}  # files of engine/methods that are no method
METHODS: dict[str, Any] = {}  # those that were imported so far


def register(method: Named) -> None:
    """Make ``--model <method.name>`` known."""
    METHODS[method.name] = method


def method_names() -> tuple[str, ...]:
    """Return every name that ``--model`` takes: those of the files, then those that were registered elsewhere."""
    files = [file.name for file in pkgutil.iter_modules([str(Path(__file__).parent / "methods")])]
    names = [name.replace("_", "-") for name in files if name not in SHARED_FILES]
    return (*names, *(name for name in METHODS if name not in names))
