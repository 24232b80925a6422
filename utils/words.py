"""Numbers and lists as a sentence holds them."""

from collections.abc import Sequence


def plural(count: int, word: str) -> str:
    """``1 clip``, ``1,200 clips``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def some(names: Sequence[object], most: int = 5) -> str:
    """The first of them: ``a, b, ...``."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")
