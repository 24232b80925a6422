"""Times that can be compared on a busy machine: the variants take turns, and each round gives its own ratio."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

Work = Callable[[], Any]


def take_turns(
    variants: dict[str, Work], rounds: int, device: str = "cpu", warm: bool = True
) -> dict[str, list[float]]:
    """Seconds of every variant in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(-warm, rounds):
        for name, work in variants.items():
            taken = seconds_of(work, device)
            if round_number >= 0:
                seconds[name].append(taken)
    return seconds


def seconds_of(work: Work, device: str = "cpu") -> float:
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def compare(slow: Work, fast: Work, rounds: int = 5, device: str = "cpu") -> dict[str, float]:
    """The median of the rounds' ratios slow / fast, its range, and the median seconds of both."""
    seconds = take_turns({"slow": slow, "fast": fast}, rounds, device)
    return ratio_of(seconds["slow"], seconds["fast"])


def ratio_of(slow: list[float], fast: list[float]) -> dict[str, float]:
    ratios = sorted(one / other for one, other in zip(slow, fast, strict=True))
    return {
        "ratio": round(median(ratios), 2),
        "lowest": round(ratios[0], 2),
        "highest": round(ratios[-1], 2),
        "slow_seconds": round(median(slow), 4),
        "fast_seconds": round(median(fast), 4),
    }
