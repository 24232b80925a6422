"""Modules that are imported when they are first used."""

import importlib
from typing import Any


class Lazy:
    """A module that is imported when one of its attributes is first read.

    Files with facts and computations use it for torch and for modules that import torch, so that ``--help``, flag
    errors and ``--dry-run`` do not take seconds.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
