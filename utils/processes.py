"""Work divided among processes, so that Ctrl-C is heard by one alone."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial


@contextmanager
def ordered_map(count: int, begin: Callable[..., None], *arguments: int, chunk: int = 1) -> Iterator[Callable]:
    """A ``map`` over ``count`` processes that keeps the order; one process needs no pool.

    Each process starts with ``begin(*arguments)`` and takes ``chunk`` items at a time.
    """
    if count <= 1:
        yield map
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by the workers: only this process hears Ctrl-C
    try:
        pool = multiprocessing.get_context("spawn").Pool(count, begin, arguments)
    finally:
        signal.signal(signal.SIGINT, handler)
    with pool:  # leaving it, in whatever way, ends the workers
        yield partial(pool.imap, chunksize=chunk)
