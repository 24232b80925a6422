"""Times that can be compared on a busy machine: variants take turns, each round gives its own ratio, and on a CPU the
seconds are those that the process computed, all threads together, whatever else the machine does meanwhile.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch

Work = Callable[[], Any]


class Seconds(NamedTuple):
    """``computed``: by all threads of the process; on a GPU the same as ``wall``."""

    computed: float
    wall: float

    def scaled(self, factor: float) -> "Seconds":
        return Seconds(self.computed * factor, self.wall * factor)

    def plus(self, other: "Seconds") -> "Seconds":
        return Seconds(self.computed + other.computed, self.wall + other.wall)


def take_turns(
    variants: dict[str, Work], rounds: int, device: str = "cpu", warm: bool = True
) -> dict[str, list[Seconds]]:
    """The times of every variant in each round."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in variants}
    for round_number in range(-warm, rounds):
        for name, work in variants.items():
            duration = time_of(work, device)
            if round_number >= 0:
                seconds[name].append(duration)
    return seconds


def time_of(work: Work, device: str = "cpu") -> Seconds:
    wait(device)
    started, computed = time.perf_counter(), time.process_time()
    work()
    wait(device)
    wall = time.perf_counter() - started
    return Seconds(time.process_time() - computed if torch.device(device).type == "cpu" else wall, wall)


def wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def compare(slow: Work, fast: Work, rounds: int = 5, device: str = "cpu") -> dict[str, float]:
    seconds = take_turns({"slow": slow, "fast": fast}, rounds, device)
    return ratio_of(seconds["slow"], seconds["fast"])


def ratio_of(slow: list[Seconds], fast: list[Seconds]) -> dict[str, float]:
    """The median of the rounds' ratios slow / fast, its range, the same by the clock, and the median seconds."""
    ratios = sorted(one.computed / max(other.computed, 1e-9) for one, other in zip(slow, fast, strict=True))
    walls = [one.wall / other.wall for one, other in zip(slow, fast, strict=True)]
    return {
        "ratio": round(median(ratios), 2),
        "lowest": round(ratios[0], 2),
        "highest": round(ratios[-1], 2),
        "by_the_clock": round(median(walls), 2),
        "slow_seconds": round(median(one.computed for one in slow), 4),
        "fast_seconds": round(median(one.computed for one in fast), 4),
    }
