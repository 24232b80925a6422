"""Measure how long a training waits for its data, advise how to shorten it, and estimate the remaining time."""

import time
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from engine.options import Config
from engine.session import Session
from utils.processes import cores_of_process


def seconds_left(durations: Sequence[float], count: int, once: float = 0.0) -> float:
    """Return the estimated seconds of ``count`` more epochs or runs, given the seconds of the finished ones.

    The first one is slower: it starts processes, compiles kernels and fills caches. It is used only while there is no
    other, without the ``once`` seconds of work that is not repeated.
    """
    return count * (fmean(durations[1:]) if len(durations) > 1 else max(durations[0] - once, 0.0))


SHARE = 0.1  # of an epoch; a smaller share gives no warning
SECONDS = 1.0


class TimedLoader:
    """A loader that counts the seconds until each batch is ready, except the first, whose workers have just started."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.seconds_waiting = loader, 0.0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        started = None
        for batch in self.loader:
            if started is not None:
                self.seconds_waiting += time.perf_counter() - started
            yield batch
            started = time.perf_counter()


class WaitingAdvice:
    """Warns once in a run if the device waits for frames, and names flags that help."""

    def __init__(self, config: Config, session: Session, decodes: bool) -> None:
        """``decodes``: whether frames are decoded; with cached features there is nothing to advise."""
        self.config, self.session, self.is_due = config, session, decodes

    def after_epoch(self, seconds: float, waiting: float) -> None:
        if not self.is_due or waiting < max(SECONDS, SHARE * seconds):
            return
        self.is_due = False
        remedies = ", or ".join(self.remedies())
        # Printed but not stored: measured times must not make two equal runs differ.
        self.session.log.say(
            f"warning: {waiting:.0f} of the {seconds:.0f} s of this epoch were spent waiting for frames: {remedies}"
        )

    def remedies(self) -> list[str]:
        data, workers, cores = self.config.data, self.config.run.workers, cores_of_process()
        remedies = []
        if workers < cores:
            remedies.append(f"more --workers (now {workers}, of {cores} cores)")
        if data.pack is None:
            remedies.append("store the crops once with python -m dataloader.pack and read them with --pack")
        if data.augment != "device" and self.session.device.type == "cuda":
            remedies.append("turn and mirror clips on the GPU with --augment device")
        return remedies or ["only a smaller model or a faster disk helps"]
