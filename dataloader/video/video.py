"""What a video is here: frames with their true times, RGB, upright, one in memory."""

import math
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np

from utils.errors import UserError

UNKNOWN_FPS = 25.0  # of a source that does not say
Shot = tuple[float, Callable[[], np.ndarray]]  # seconds, and what makes the picture where it is wanted


class TooLong(UserError):
    """A frame behind ``Video.longest``."""


class Video:
    """A source of frames. ``width`` and ``height`` are those of the upright picture; ``duration`` may be unknown.

    After a pass over it, ``damaged`` says what could not be read, or is None.
    """

    name: str
    width: int
    height: int
    fps: float  # nominal
    duration: float | None = None
    damaged: str | None = None
    longest: float | None = None  # seconds; a frame behind that ends a pass: TooLong
    end: float = 0.0  # of the last frame that passed, seconds
    is_still: bool = False  # one picture

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Files are open during a pass only."""

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        return self.frames()

    def frames(self, every: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """``(seconds, (H, W, 3) uint8)`` of each frame, or of the first one in every ``every`` seconds.

        What is not wanted is decoded, since others are built on it, but not turned into RGB, which costs as much.
        """
        due, early = 0.0, 0.5 / self.fps
        for seconds, picture in self._shots():
            if self.longest is not None and seconds > self.longest:
                raise TooLong(f"{self.name}: lasts longer than {self.longest:.0f} s")
            self.end = seconds + 1 / self.fps
            if every is None:
                yield seconds, picture()
            elif seconds + early >= due:
                due = every * (math.floor((seconds + early) / every) + 1)
                yield seconds, picture()

    def _shots(self) -> Iterator[Shot]:
        raise NotImplementedError
