"""Work divided among processes, so that Ctrl-C is heard by one alone; the cores that there are for it."""

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

MOST_WORKERS = 32  # each holds two batches ready: more would only take memory


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


def default_workers() -> int:
    """Decoding processes where nobody says how many: one for each core of this process's share of the machine."""
    return min(MOST_WORKERS, cores_of_process())


def cores_of_process() -> int:
    """This process's part of the usable cores; those that torchrun started beside it have the rest."""
    return max(usable_cores() // processes_here(), 1)


def usable_cores() -> int:
    """The cores that may be computed on: what affinity and the container's quota leave of the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = processor_quota(Path("/sys/fs/cgroup"))
    return max(1, cores if quota is None else min(cores, math.floor(quota)))


def processes_here() -> int:
    """How many of the processes that torchrun started share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def processor_quota(root: Path) -> float | None:
    """Cores that a container may use at a time, by version 2 of Linux's control groups or by version 1."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((root / name).read_text(encoding="ascii") for name in names).split()[:2]
            return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None
