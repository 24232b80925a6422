"""The methods behind ``--model``: one file each, which registers itself when it is imported."""

import importlib

from engine.methods.base import Method
from engine.registry import METHODS, method_names
from utils.errors import UserError


def method_named(name: str) -> Method:
    """Return a method; a UserError where there is none of this name."""
    if name not in METHODS:
        if name not in method_names():
            raise UserError(f"--model {name[:40]}: no such method; there are {', '.join(method_names())}")
        importlib.import_module(f"engine.methods.{name.replace('-', '_')}")
    return METHODS[name]
