"""Select frames of a clip: ``T`` segments of ``duration`` frames out of ``N``; and the order of clips in an epoch."""

from collections.abc import Iterator

import numpy as np


def test_indexes(N: int, T: int, duration: int = 1, offset: float = 0.5) -> np.ndarray:
    """Return the frame at the share ``offset`` of each of T equal segments, by default the middle.

    A clip of up to T frames is used whole, with its last one repeated.
    """
    if N <= T + duration - 1:
        return _whole_clip(N, T, duration)
    step = (N - duration + 1) / T
    return _with_following(np.floor(step * offset + step * np.arange(T)).astype(int), N, duration)


def train_indexes(N: int, T: int, duration: int, rule: str, rng: np.random.Generator) -> np.ndarray:
    """Return one random frame in each of T segments.

    ``whole`` divides the clip into segments of real-valued length, so every frame can be selected. ``published`` uses
    segments of ``N // T`` frames: in a clip with 16 to 31 frames it always selects the first 16.
    """
    num_starts = N - duration + 1
    if rule == "whole":
        if N <= T + duration - 1:
            return _whole_clip(N, T, duration)
        return _with_following(np.floor(num_starts / T * (np.arange(T) + rng.random(T))).astype(int), N, duration)
    length = num_starts // T
    if length > 0:
        return _with_following(np.arange(T) * length + rng.integers(length, size=T), N, duration)
    if N > T and num_starts > 0:
        return _with_following(np.sort(rng.integers(num_starts, size=T)), N, duration)
    return _whole_clip(N, T, duration)


def window_indexes(
    N: int, T: int, downsample: int, rng: np.random.Generator | None = None, offset: float = 0.5
) -> np.ndarray:
    """Return T consecutive frames among every ``downsample``-th frame.

    With ``rng`` they start at a random frame and wrap around at the end; without it the share ``offset`` of all other
    frames is before them. A shorter clip is used whole, then backwards and forwards until T frames are reached.
    """
    count = -(-N // downsample)
    start = int(max(count - T, 0) * offset) if rng is None else int(rng.integers(count))
    steps = np.arange(T)
    if count < T:
        steps = steps % max(2 * (count - 1), 1)  # forwards and backwards, both ends once
        steps = np.where(steps < count, steps, 2 * (count - 1) - steps)
    return ((start + steps) % count) * downsample


def choose_frames(
    N: int,
    T: int,
    duration: int,
    rule: str,
    rng: np.random.Generator,
    training: bool,
    downsample: int = 1,
    offset: float = 0.5,
) -> np.ndarray:
    """Return the frame indexes of one clip: sampled by ``rule`` in training, always the same in evaluation."""
    if rule == "window":
        return window_indexes(N, T, downsample, rng if training else None, offset)
    return train_indexes(N, T, duration, rule, rng) if training else test_indexes(N, T, duration, offset)


def _whole_clip(N: int, T: int, duration: int) -> np.ndarray:
    return _with_following(np.minimum(np.arange(T), N - 1), N, duration)


def _with_following(starts: np.ndarray, N: int, duration: int) -> np.ndarray:
    """Return each start followed by its ``duration - 1`` next frames, inside the clip."""
    return np.minimum(starts[:, None] + np.arange(duration), N - 1).ravel()


class ClipOrder:
    """The order of one epoch, a pure function of (seed, epoch). It yields ``(epoch, position, clip)``.

    With ``weights``, one per clip, clips are sampled with replacement; without them every clip comes once, shuffled.
    ``share`` is (rank, world, batch): this process gets every ``world``-th clip of each batch. ``whole_batches``: the
    size of batches where the last clips of the order, which fill none, are left out.
    """

    def __init__(
        self,
        num_clips: int,
        seed: int,
        weights: np.ndarray | None = None,
        shuffle: bool = True,
        share: tuple[int, int, int] | None = None,
        whole_batches: int | None = None,
    ) -> None:
        self.num_clips, self.seed, self.shuffle, self.share = num_clips, seed, shuffle, share
        self.epoch_clips = num_clips if whole_batches is None else num_clips - num_clips % whole_batches
        self.probabilities = None if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self.epoch = 0
        self.start = 0  # number of clips to skip in the next pass, trained on before an interruption

    def __len__(self) -> int:
        return len(self._positions())

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        epoch, start, order = self.epoch, self.start, self._order()  # copied: changes are for later passes
        return ((epoch, position, int(order[position])) for position in self._positions() if position >= start)

    def _positions(self) -> list[int]:
        """Return the positions of an epoch that belong to this process.

        A process without a clip in the last, smaller batch gets the first clip of it in addition to its owner, so that
        all processes make the same number of steps.
        """
        positions = np.arange(self.epoch_clips)
        if self.share is None:
            return positions.tolist()
        rank, world, batch = self.share
        index = positions % batch
        in_batch = self.epoch_clips - (positions - index)  # number of clips from the start of this batch on
        return positions[(index % world == rank) | ((index == 0) & (in_batch <= rank))].tolist()

    def clips_of_batch(self, step: int, batch_size: int) -> list[int]:
        """Return the clips of all processes in a step of this epoch."""
        return self._order()[step * batch_size : (step + 1) * batch_size].tolist()

    def _order(self) -> np.ndarray:
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.probabilities is not None:
            return rng.choice(self.num_clips, size=self.num_clips, p=self.probabilities)
        return rng.permutation(self.num_clips) if self.shuffle else np.arange(self.num_clips)


def balancing_weights(labels: list[int], num_classes: int) -> np.ndarray:
    """Return 1 / n_c for each clip, weights with which every class that occurs is sampled equally often."""
    counts = np.bincount(labels, minlength=num_classes)
    return 1.0 / counts[labels]
