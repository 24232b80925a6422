"""A long video in windows: where they start, and one prediction a frame out of all that cover it."""

import numpy as np

from utils.errors import UserError


def window_starts(n: int, size: int, stride: int) -> list[int]:
    """First frames of the windows over ``n`` frames; the last ends with the video, a short video has one.

    A window reaches over the end only where the video is shorter than it: its rest is padding.
    """
    if size < 1 or not 1 <= stride <= size:
        raise UserError(f"windows of {size} frames every {stride} do not cover a video: 1 <= stride <= size")
    return [*range(0, n - size, stride), max(n - size, 0)] if n > 0 else []


class Stitcher:
    """Sums and counts of window outputs: memory grows with the frames, not with the windows."""

    def __init__(self, n: int, width: int) -> None:
        """``n`` frames of ``width`` numbers."""
        self.sums, self.counts = np.zeros((n, width)), np.zeros(n, dtype=np.int64)

    def add(self, start: int, values: np.ndarray) -> None:
        """``values`` (size, width) from frame ``start`` on; what reaches over the video's end is padding."""
        stop = min(start + len(values), len(self.counts))
        self.sums[start:stop] += values[: stop - start]
        self.counts[start:stop] += 1

    def mean(self) -> np.ndarray:
        """(n, width): of all windows that cover a frame."""
        assert self.counts.all(), "a frame that no window covers"
        return self.sums / self.counts[:, None]
