"""Divide work over processes, of which only the first reacts to Ctrl-C, and count the available CPU cores."""

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

MAX_WORKERS = 32  # each prepares two batches; more would only need memory


@contextmanager
def ordered_map(count: int, begin: Callable[..., None], *arguments: int, chunk: int = 1) -> Iterator[Callable]:
    """Yield a ``map`` over ``count`` processes that keeps the order; with one process it is the built-in ``map``.

    Each process starts with ``begin(*arguments)`` and takes ``chunk`` items at a time.
    """
    if count <= 1:
        yield map
        return
    allow_interrupt(False)  # the workers inherit it
    try:
        with multiprocessing.get_context("spawn").Pool(count, begin, arguments) as pool:  # its end stops them
            allow_interrupt(True)  # a Ctrl-C from the meantime is raised here
            yield partial(pool.imap, chunksize=chunk)
    finally:
        allow_interrupt(True)


def allow_interrupt(allowed: bool) -> None:
    """Deliver or delay Ctrl-C in this process and in processes that it starts. Windows cannot delay it."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # started now, because its start would undo the blocking of signals
        signal.pthread_sigmask(signal.SIG_UNBLOCK if allowed else signal.SIG_BLOCK, {signal.SIGINT})


def default_workers() -> int:
    """Return the default number of decoding processes: one for each core of this process."""
    return min(MAX_WORKERS, cores_of_process())


def cores_of_process() -> int:
    """Return the number of cores for this process; torchrun's processes on this machine share the usable cores."""
    return max(usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def usable_cores() -> int:
    """Return the number of cores that CPU affinity and the container's quota allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = processor_quota(Path("/sys/fs/cgroup"))
    return max(1, cores if quota is None else min(cores, math.floor(quota)))


def processor_quota(root: Path) -> float | None:
    """Return the number of cores that a container may use, from Linux control groups of version 2 or 1."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((root / name).read_text(encoding="ascii") for name in names).split()[:2]
            return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None
