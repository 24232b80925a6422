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
    hear_interrupt(False)  # the workers inherit it
    try:
        with multiprocessing.get_context("spawn").Pool(count, begin, arguments) as pool:  # leaving it ends the workers
            hear_interrupt(True)  # one that came meanwhile is heard now
            yield partial(pool.imap, chunksize=chunk)
    finally:
        hear_interrupt(True)


def hear_interrupt(heard: bool) -> None:
    """By this process and those it starts; Windows has no such switch."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # by now: its start would unblock what is blocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK if heard else signal.SIG_BLOCK, {signal.SIGINT})
