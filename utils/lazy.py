"""Modules that are imported when they are first used."""

import importlib
from typing import Any


class Lazy:
    """Stands for a module until one of its attributes is read.

    Files that hold facts as well as computations use it for torch and for what imports torch, so that ``--help``, flag
    errors and ``--dry-run`` do not wait seconds for it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
