"""Work that the runs of a sweep share in one process: checks of frame files, and encoded test frames.

Nothing is shared outside ``with sharing()``, and sharing changes no result.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

MAX_ENTRIES = 4  # of each kind, for example of encoded test lists
_seconds = 0.0  # spent on results that later runs reuse
_memory: OrderedDict[tuple[str, Hashable], Any] | None = None  # None: nothing is shared


@contextmanager
def sharing() -> Iterator[None]:
    """Let ``cached_result`` keep results until the block ends; a block inside another one shares with it."""
    global _memory
    previous, _memory = _memory, OrderedDict() if _memory is None else _memory
    try:
        yield
    finally:
        _memory = previous


def cached_result(kind: str, key: Hashable, make: Callable[[], Any]) -> Any:
    """Return the stored result of ``make`` for this key, or call it; only the newest results of a kind are stored."""
    if _memory is None:
        return make()
    if (kind, key) not in _memory:
        with counting_seconds():
            _memory[kind, key] = make()
        entries = [entry for entry in _memory if entry[0] == kind]
        for entry in entries[:-MAX_ENTRIES]:
            del _memory[entry]
    return _memory[kind, key]


@contextmanager
def counting_seconds() -> Iterator[None]:
    """Count the seconds of the block as spent on results that later runs reuse, such as cached features."""
    global _seconds
    started = time.perf_counter()
    yield
    _seconds += time.perf_counter() - started


def shared_seconds() -> float:
    """Return the seconds that this process has spent on results that later runs reuse."""
    return _seconds


def is_sharing() -> bool:
    return _memory is not None
