"""Work divided over processes, where Ctrl-C reaches only the first, and the CPU cores available for it."""

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

MAX_WORKERS = 32  # each keeps two batches ready: more would only take memory


@contextmanager
def ordered_map(count: int, begin: Callable[..., None], *arguments: int, chunk: int = 1) -> Iterator[Callable]:
    """Yield a ``map`` over ``count`` processes that keeps the order; with one process it is Python's own.

    Each process starts with ``begin(*arguments)`` and takes ``chunk`` items at a time.
    """
    if count <= 1:
        yield map
        return
    allow_interrupt(False)  # the workers inherit it
    try:
        with multiprocessing.get_context("spawn").Pool(count, begin, arguments) as pool:  # leaving it ends the workers
            allow_interrupt(True)  # a Ctrl-C that came meanwhile is raised here
            yield partial(pool.imap, chunksize=chunk)
    finally:
        allow_interrupt(True)


def allow_interrupt(allowed: bool) -> None:
    """Deliver or hold back Ctrl-C in this process and in those it starts. Windows cannot hold it back."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # before the change, because its own start would undo a block
        signal.pthread_sigmask(signal.SIG_UNBLOCK if allowed else signal.SIG_BLOCK, {signal.SIGINT})


def default_workers() -> int:
    """Return how many processes decode where the user names no number: one for each core of this process."""
    return min(MAX_WORKERS, cores_of_process())


def cores_of_process() -> int:
    """Return this process's part of the usable cores; the processes that torchrun started beside it have the rest."""
    return max(usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def usable_cores() -> int:
    """Return how many of the machine's cores affinity and the container's quota leave."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = processor_quota(Path("/sys/fs/cgroup"))
    return max(1, cores if quota is None else min(cores, math.floor(quota)))


def processor_quota(root: Path) -> float | None:
    """Return how many cores a container may use at a time, by version 2 or 1 of Linux's control groups."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((root / name).read_text(encoding="ascii") for name in names).split()[:2]
            return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None
