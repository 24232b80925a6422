"""The methods of ``--model``, one file for each. A file registers its method when it is imported."""

import importlib

from engine.methods.base import Method
from engine.registry import METHODS, method_names
from utils.errors import UserError


def method_named(name: str) -> Method:
    """Return a method by its name; raise a UserError if there is none."""
    if name not in METHODS:
        if name not in method_names():
            raise UserError(f"--model {name[:40]}: no such method; there are {', '.join(method_names())}")
        importlib.import_module(f"engine.methods.{name.replace('-', '_')}")
    return METHODS[name]
