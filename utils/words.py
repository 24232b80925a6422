"""Numbers and lists as they stand in a sentence."""

from collections.abc import Sequence


def plural(count: int, word: str) -> str:
    """Return ``1 clip``, ``1,200 clips``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def some(names: Sequence[object], most: int = 5) -> str:
    """Return the first ``most`` names: ``a, b, ...``."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")
