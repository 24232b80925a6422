"""How settings declare a flag and turn a value down: the same for every layout."""

from dataclasses import field
from typing import Any


def option(default: Any, text: str) -> Any:
    """A field of settings that is also a flag, with its help."""
    return field(default=default, metadata={"help": text})


def require(settings: Any, is_fine: bool, flag: str, expected: str) -> None:
    """ValueError that names the flag, what it holds and what it may hold."""
    if not is_fine:
        raise ValueError(f"{flag} {getattr(settings, flag[2:].replace('-', '_'))}: expected {expected}")
