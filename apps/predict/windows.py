"""Frames sampled at a fixed rate, and windows of them that slide over time. No torch, no files.

Evaluation spreads its T frames over a clip. Windows overlap, so here frames are taken from one grid of times, T of them
in a window: neighbouring windows share frames, and each is looked at once.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

ANYONE = 0  # stands for someone whose face nobody found: a body alone; tracked persons count from 1
SLACK = 1e-6  # seconds: times are sums of fractions


@dataclass
class View:
    """One person in one sampled frame; ``squares`` become ``features`` when a window first needs them."""

    found: bool  # whether the face was found
    squares: dict[str, np.ndarray]
    features: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Sample:
    """A frame of the grid, and who is in it."""

    seconds: float
    views: dict[int, View]


@dataclass(frozen=True)
class Window:
    start: float
    stop: float
    samples: tuple[Sample, ...]
    first: int = 0  # the number of its first sample

    def persons(self) -> list[int]:
        """Everyone whose face was found in any of its frames. Where nobody's was, everyone who is only expected, else a
        body alone."""
        views = [pair for sample in self.samples for pair in sample.views.items()]
        there, found = {person for person, _ in views}, {person for person, view in views if view.found}
        return sorted(found or there - {ANYONE} or there)


class Grid:
    """Which frames are sampled: the first at or after each of ``rate`` times a second; without a rate every frame."""

    def __init__(self, rate: float | None, fps: float) -> None:
        self.rate, self.early, self.last = rate, 0.5 / fps, -1

    def takes(self, seconds: float) -> bool:
        if self.rate is None:
            return True
        slot = int(np.floor((seconds + self.early) * self.rate + SLACK))
        is_new, self.last = slot > self.last, max(slot, self.last)
        return is_new


class SlidingWindows:
    """Windows of ``seconds``, one every ``every`` seconds, each closed by the first frame behind it."""

    def __init__(self, seconds: float, every: float) -> None:
        self.seconds, self.every = seconds, every
        self.number, self.covered = 0, 0.0  # of the next window; until when windows were given
        self.samples: deque[Sample] = deque()

    @property
    def start(self) -> float:
        return self.number * self.every

    def push(self, sample: Sample) -> Iterator[Window]:
        while sample.seconds >= self.start + self.seconds - SLACK:
            yield self._close(self.start + self.seconds)
        self.samples.append(sample)

    def finish(self, end: float) -> Iterator[Window]:
        """What is left: whole windows, then one that is as long as the video lets it be."""
        while self.start + self.seconds <= end + SLACK:
            yield self._close(self.start + self.seconds)
        if self.covered < end - SLACK and end > self.start:
            yield self._close(end)

    def _close(self, stop: float) -> Window:
        start = self.start
        inside = tuple(s for s in self.samples if start - SLACK <= s.seconds < stop - SLACK)
        self.number, self.covered = self.number + 1, stop
        while self.samples and self.samples[0].seconds < self.start - SLACK:
            self.samples.popleft()
        return Window(start, stop, inside)


class FrameWindows:
    """Windows of ``size`` sampled frames, one every ``stride``, the last aligned to the end: as sequence models see
    long videos in evaluation."""

    def __init__(self, size: int, stride: int) -> None:
        self.size, self.stride = size, stride
        self.count, self.covered = 0, 0
        self.samples: deque[Sample] = deque(maxlen=size)

    def push(self, sample: Sample) -> Iterator[Window]:
        self.samples.append(sample)
        self.count += 1
        if self.count >= self.size and (self.count - self.size) % self.stride == 0:
            yield self._close(sample.seconds)

    def finish(self, end: float) -> Iterator[Window]:
        if self.count > self.covered:
            yield self._close(end)

    def _close(self, stop: float) -> Window:
        self.covered = self.count
        first = self.count - len(self.samples)
        return Window(self.samples[0].seconds, stop, tuple(self.samples), first)
