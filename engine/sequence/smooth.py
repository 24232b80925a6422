"""Predictions of neighbouring frames smoothed: a centred mean, a majority. Nothing comes from beyond the video.

``missing`` (n,) is True where a frame is not there: it is left as it is, and no window reaches over it.
"""

from collections.abc import Callable, Iterator

import numpy as np

from utils.errors import UserError


def centred_mean(values: np.ndarray, width: int, missing: np.ndarray | None = None) -> np.ndarray:
    """(n, K) → (n, K): the mean of ``width`` frames around each, of those that are there near the ends."""
    if width < 1 or width % 2 == 0:
        raise UserError(f"a mean over {width} frames has no centre: their number is odd")
    return piecewise(values, missing, lambda part: mean_of_stretch(part, width // 2))


def majority(classes: np.ndarray, width: int = 40, missing: np.ndarray | None = None) -> np.ndarray:
    """(n,) → (n,): the most frequent class of ``width`` frames, ``width // 2`` of them before each.

    Of equally frequent classes the one wins that occurs nearest to the frame, its own first; then the one before it.
    """
    if width < 1:
        raise UserError(f"a majority of {width} frames: at least 1 is needed")
    return piecewise(classes, missing, lambda part: majority_of_stretch(part, width))


def piecewise(values: np.ndarray, missing: np.ndarray | None, smooth: Callable) -> np.ndarray:
    """Each stretch of frames by itself."""
    out = values.copy()
    for stretch in stretches(len(values), missing):
        out[stretch] = smooth(values[stretch])
    return out


def stretches(n: int, missing: np.ndarray | None) -> Iterator[slice]:
    """Frames between two gaps."""
    there = np.ones(n, dtype=np.int8) if missing is None else (~missing).astype(np.int8)
    edges = np.flatnonzero(np.diff(there, prepend=0, append=0))
    yield from (slice(start, stop) for start, stop in edges.reshape(-1, 2))


def mean_of_stretch(values: np.ndarray, half: int) -> np.ndarray:
    sums, size = window_sums(values.astype(float), half, half)
    return (sums / size[:, None]).astype(values.dtype)


def majority_of_stretch(classes: np.ndarray, width: int) -> np.ndarray:
    n, before = len(classes), width // 2
    names = np.unique(classes)
    same = classes[:, None] == names  # (n, C)
    counts, _ = window_sums(same.astype(np.int64), before, width - before - 1)
    rank = counts * (2 * n + 2) - nearness(same)  # a count outweighs every distance
    return names[rank.argmax(axis=1)]


def window_sums(values: np.ndarray, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, K) → sums (n, K) over the frames from ``before`` to ``after`` each one, and how many (n,) they are."""
    n = len(values)
    running = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    start, stop = np.maximum(np.arange(n) - before, 0), np.minimum(np.arange(n) + after + 1, n)
    return running[stop] - running[start], stop - start


def nearness(same: np.ndarray) -> np.ndarray:
    """(n, C): 0 for a frame's own class, twice the distance to another, one more where it comes after."""
    n = len(same)
    place = np.arange(n)[:, None]
    last = np.maximum.accumulate(np.where(same, place, -n), axis=0)
    following = np.minimum.accumulate(np.where(same, place, 2 * n)[::-1], axis=0)[::-1]
    ahead = following - place
    return np.minimum(2 * (place - last), np.where(ahead > 0, 2 * ahead + 1, 0))
