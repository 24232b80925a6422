"""A long video in windows: one prediction a frame out of all that cover it."""

import numpy as np


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
