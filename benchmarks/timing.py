"""Measures times that can be compared on a busy machine.

Variants take turns, and each round gives its own ratio. On a CPU the seconds are the CPU time of the process, summed
over its threads, which other processes hardly change.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch

Work = Callable[[], Any]


class Seconds(NamedTuple):
    """``computed`` is the CPU time of all threads of the process; on a GPU it equals ``wall``."""

    computed: float
    wall: float

    def scaled(self, factor: float) -> "Seconds":
        return Seconds(self.computed * factor, self.wall * factor)

    def plus(self, seconds: "Seconds") -> "Seconds":
        return Seconds(self.computed + seconds.computed, self.wall + seconds.wall)


def take_turns(
    variants: dict[str, Work], rounds: int, device: str = "cpu", warm: bool = True
) -> dict[str, list[Seconds]]:
    """Return the times of every variant in each round."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in variants}
    for round_number in range(-warm, rounds):
        for name, work in variants.items():
            duration = time_of(work, device)
            if round_number >= 0:
                seconds[name].append(duration)
    return seconds


def time_of(work: Work, device: str = "cpu") -> Seconds:
    """Return the time of one call of ``work``."""
    wait(device)
    started, computed = time.perf_counter(), time.process_time()
    work()
    wait(device)
    wall = time.perf_counter() - started
    return Seconds(time.process_time() - computed if torch.device(device).type == "cpu" else wall, wall)


def wait(device: str) -> None:
    """Wait until the GPU has finished its work."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def compare(slow: Work, fast: Work, rounds: int = 5, device: str = "cpu") -> dict[str, float]:
    """Measure both variants in turns and return their ratio as ``ratio_of`` does."""
    seconds = take_turns({"slow": slow, "fast": fast}, rounds, device)
    return ratio_of(seconds["slow"], seconds["fast"])


def ratio_of(slow: list[Seconds], fast: list[Seconds]) -> dict[str, float]:
    """Return the median and range of the rounds' ratios slow / fast, the ratio of wall times and the median seconds."""
    ratios = sorted(s.computed / max(f.computed, 1e-9) for s, f in zip(slow, fast, strict=True))
    walls = [s.wall / f.wall for s, f in zip(slow, fast, strict=True)]
    return {
        "ratio": round(median(ratios), 2),
        "lowest": round(ratios[0], 2),
        "highest": round(ratios[-1], 2),
        "by_the_clock": round(median(walls), 2),
        "slow_seconds": round(median(s.computed for s in slow), 4),
        "fast_seconds": round(median(f.computed for f in fast), 4),
    }
