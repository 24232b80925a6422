"""Which frames of a clip are taken, ``T`` segments of ``duration`` frames out of ``N``, and the order of clips."""

from collections.abc import Iterator

import numpy as np


def test_indexes(N: int, T: int, duration: int = 1) -> np.ndarray:
    """The middle of each of T equal segments; a clip of at most T frames is taken whole, its last frame repeated."""
    if N <= T + duration - 1:
        return _whole_then_repeat(N, T, duration)
    step = (N - duration + 1) / T
    return _spread(np.floor(step / 2 + step * np.arange(T)).astype(int), N, duration)


def train_indexes(N: int, T: int, duration: int, rule: str, rng: np.random.Generator) -> np.ndarray:
    """One random frame in each of T segments.

    ``whole`` cuts the clip into real-valued segments and so reaches every frame. ``published`` cuts it into ``N // T``
    whole frames: of a clip with 16 to 31 frames it always takes the first 16.
    """
    room = N - duration + 1
    if rule == "whole":
        if N <= T + duration - 1:
            return _whole_then_repeat(N, T, duration)
        return _spread(np.floor(room / T * (np.arange(T) + rng.random(T))).astype(int), N, duration)
    length = room // T
    if length > 0:
        return _spread(np.arange(T) * length + rng.integers(length, size=T), N, duration)
    if N > T and room > 0:
        return _spread(np.sort(rng.integers(room, size=T)), N, duration)
    return _whole_then_repeat(N, T, duration)


def window_indexes(N: int, T: int, downsample: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """T consecutive ones of every ``downsample``-th frame: from a random start, which wraps around at the end, or
    without ``rng`` those in the middle. A shorter clip is taken whole from its start, then back and forth."""
    kept = -(-N // downsample)
    start = max(kept - T, 0) // 2 if rng is None else int(rng.integers(kept))
    place = np.arange(T)
    if kept < T:
        place = place % max(2 * (kept - 1), 1)  # there and back, both ends once
        place = np.where(place < kept, place, 2 * (kept - 1) - place)
    return ((start + place) % kept) * downsample


def choose_frames(
    N: int, T: int, duration: int, rule: str, rng: np.random.Generator, training: bool, downsample: int = 1
) -> np.ndarray:
    """The frames of one clip: by ``rule`` and chance in training, always the same in evaluation."""
    if rule == "window":
        return window_indexes(N, T, downsample, rng if training else None)
    return train_indexes(N, T, duration, rule, rng) if training else test_indexes(N, T, duration)


def _whole_then_repeat(N: int, T: int, duration: int) -> np.ndarray:
    return _spread(np.minimum(np.arange(T), N - 1), N, duration)


def _spread(starts: np.ndarray, N: int, duration: int) -> np.ndarray:
    """Each start followed by its ``duration - 1`` next frames, inside the clip."""
    return np.minimum(starts[:, None] + np.arange(duration), N - 1).ravel()


class ClipOrder:
    """The order of one epoch, a pure function of (seed, epoch): yields ``(epoch, position, clip)``.

    ``weights`` (one a clip) draw with replacement; without them every clip comes once, shuffled.
    """

    def __init__(
        self,
        num_clips: int,
        seed: int,
        weights: np.ndarray | None = None,
        shuffle: bool = True,
        share: tuple[int, int, int] | None = None,
    ) -> None:
        """``share`` (rank, world, batch): every world-th clip of each batch, for one of several processes."""
        self.num_clips, self.seed, self.shuffle = num_clips, seed, shuffle
        self.shares = None if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self.share = share
        self.epoch = 0
        self.start = 0  # clips of the next pass that were seen before an interruption
        self._current: tuple[int, np.ndarray] | None = None  # the order that a process last asked about, and its epoch

    def __len__(self) -> int:
        return self.num_clips if self.share is None else sum(self._is_own(p) for p in range(self.num_clips))

    def _is_own(self, position: int) -> bool:
        """A process that has none of the last clips takes the first of them along: all make equally many steps."""
        if self.share is None:
            return True
        rank, world, batch = self.share
        place = position % batch
        left = self.num_clips - (position - place)  # clips from the beginning of this batch on
        return place % world == rank or (place == 0 and left <= rank)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        epoch, start, order = self.epoch, self.start, self._whole()  # bound now: later changes are for later passes
        own = ((position, clip) for position, clip in enumerate(order) if position >= start and self._is_own(position))
        return ((epoch, position, int(clip)) for position, clip in own)

    def clips_of_batch(self, step: int, batch_size: int) -> list[int]:
        """The clips of a step of this epoch, those of all processes."""
        if self._current is None or self._current[0] != self.epoch:
            self._current = self.epoch, self._whole()
        return self._current[1][step * batch_size : (step + 1) * batch_size].tolist()

    def _whole(self) -> np.ndarray:
        """The clips of this epoch in order."""
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.shares is not None:
            return rng.choice(self.num_clips, size=self.num_clips, p=self.shares)
        return rng.permutation(self.num_clips) if self.shuffle else np.arange(self.num_clips)


def balancing_weights(labels: list[int], num_classes: int) -> np.ndarray:
    """1 / n_c for each clip: every class that occurs is drawn equally often."""
    counts = np.bincount(labels, minlength=num_classes)
    return 1.0 / counts[labels]
