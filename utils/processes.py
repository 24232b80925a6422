"""Work divided among processes, so that Ctrl-C is heard by one alone."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker


@contextmanager
def ordered_map(count: int, begin: Callable[..., None], *arguments: int, chunk: int = 1) -> Iterator[Callable]:
    """A ``map`` over ``count`` processes that keeps the order; one process needs no pool.

    Each process starts with ``begin(*arguments)`` and takes ``chunk`` items at a time.
    """
    if count <= 1:
        yield map
        return
    resource_tracker.ensure_running()  # by now: its start unblocks what is blocked below
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the workers inherit it and hear no Ctrl-C
    try:
        with multiprocessing.get_context("spawn").Pool(count, begin, arguments) as pool:  # leaving it ends the workers
            signal.pthread_sigmask(signal.SIG_SETMASK, before)  # one that came meanwhile is heard now
            yield partial(pool.imap, chunksize=chunk)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
