"""Which frames are sampled and the order of clips: golden values, ranges and frequencies."""

import numpy as np
import pytest
from scipy.stats import chisquare

from dataloader import sampling

T = 16
TEST_INDEXES = {
    1: [0] * 16,
    10: [*range(10), *[9] * 6],
    16: list(range(16)),
    17: [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16],
    30: [0, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 29],
    31: list(range(0, 31, 2)),
    32: list(range(1, 32, 2)),
    33: list(range(1, 32, 2)),
    45: [1, 4, 7, 9, 12, 15, 18, 21, 23, 26, 29, 32, 35, 37, 40, 43],
    60: [1, 5, 9, 13, 16, 20, 24, 28, 31, 35, 39, 43, 46, 50, 54, 58],
}


def sample(N: int, rule: str, samples: int = 300) -> np.ndarray:
    """(samples, T) frames of one clip."""
    rng = np.random.default_rng(0)
    return np.stack([sampling.choose_frames(N, T, 1, rule, rng, True) for _ in range(samples)])


def per_segment(rows: np.ndarray) -> list[set[int]]:
    return [set(column) for column in rows.T.tolist()]


@pytest.mark.parametrize("N", TEST_INDEXES)
def test_evaluation_samples_the_expected_frames(N):
    for rule in ("whole", "published"):  # without random choices
        assert sampling.choose_frames(N, T, 1, rule, None, False).tolist() == TEST_INDEXES[N]


@pytest.mark.parametrize(("N", "length"), [(16, 1), (23, 1), (31, 1), (32, 2), (47, 2), (48, 3), (63, 3)])
def test_the_published_rule_samples_from_whole_frame_segments(N, length):
    assert per_segment(sample(N, "published")) == [set(range(length * k, length * (k + 1))) for k in range(T)]


@pytest.mark.parametrize("rule", ["published", "whole"])
@pytest.mark.parametrize("N", [1, 5, 15, 16])
def test_a_short_clip_is_taken_whole_and_its_last_frame_repeated(N, rule):
    assert sample(N, rule, 1)[0].tolist() == [min(k, N - 1) for k in range(T)]


@pytest.mark.parametrize("N", [17, 23, 30, 31, 45, 60])
def test_the_whole_rule_keeps_each_frame_in_its_segment_and_reaches_every_frame(N):
    segments = per_segment(sample(N, "whole", samples=1500))
    shares = np.linspace(0, 1, 1000, endpoint=False)
    assert segments == [set(np.floor(N / T * (k + shares)).astype(int).tolist()) for k in range(T)]
    assert set().union(*segments) == set(range(N))


def test_samples_of_different_segments_are_independent():
    offsets = sample(64, "published", 400) - 4 * np.arange(T)
    assert abs(np.corrcoef(offsets[:, 0], offsets[:, 1])[0, 1]) < 0.2
    assert set(offsets.ravel().tolist()) == {0, 1, 2, 3}


def test_duration_samples_consecutive_frames_inside_the_clip():
    # room 18, step 4.5, starts floor(2.25 + 4.5 k)
    assert sampling.test_indexes(20, 4, 3).tolist() == [2, 3, 4, 6, 7, 8, 11, 12, 13, 15, 16, 17]
    assert sampling.test_indexes(3, 2, 3).tolist() == [0, 1, 2, 1, 2, 2]
    for rule in ("published", "whole"):
        rows = sampling.train_indexes(20, 4, 3, rule, np.random.default_rng(1)).reshape(4, 3)
        assert (np.diff(rows, axis=1) == 1).all() and rows.max() < 20


class From:
    """A random stream that samples a given start."""

    def __init__(self, start: int) -> None:
        self.start = start

    def integers(self, high: int) -> int:
        assert 0 <= self.start < high
        return self.start


class TestWindow:
    def test_a_window_continues_at_the_start_of_the_clip_and_goes_back_and_forth_by_hand(self):
        assert sampling.window_indexes(7, 3, 2, From(3)).tolist() == [6, 0, 2]
        assert sampling.window_indexes(3, 6, 1, From(2)).tolist() == [2, 0, 1, 0, 2, 0]
        assert sampling.choose_frames(40, 4, 1, "window", None, False, 2).tolist() == [16, 18, 20, 22]

    @pytest.mark.parametrize("downsample", [1, 2, 4, 64])
    @pytest.mark.parametrize("segments", [1, 16, 32])
    def test_a_window_of_any_length_equals_the_rolled_clip_padded_by_numpys_reflection(self, segments, downsample):
        for N in range(1, 201):
            frames = np.arange(0, N, downsample)
            middle = max(len(frames) - segments, 0) // 2
            for start, rng in [(middle, None), *((s, From(s)) for s in {0, len(frames) // 3, len(frames) - 1})]:
                window = np.roll(frames, -start)[:segments]
                expected = np.pad(window, (0, segments - len(window)), mode="reflect")
                assert np.array_equal(sampling.window_indexes(N, segments, downsample, rng), expected), (N, start)

    @pytest.mark.parametrize(("N", "downsample", "starts"), [(20, 1, 20), (39, 4, 10), (3, 1, 3)])
    def test_every_start_is_equally_likely(self, N, downsample, starts):
        rng, samples = np.random.default_rng(0), 300 * starts
        first = [sampling.choose_frames(N, 8, 1, "window", rng, True, downsample)[0] for _ in range(samples)]
        values, counts = np.unique(first, return_counts=True)
        assert values.tolist() == list(range(0, N, downsample))
        assert chisquare(counts).pvalue > 0.01


class TestClipOrder:
    def epoch(self, order, number):
        order.epoch = number
        return list(order)

    def test_every_clip_is_used_once_per_epoch_in_an_order_of_seed_and_epoch(self):
        order, later = sampling.ClipOrder(50, seed=1), sampling.ClipOrder(50, seed=1)
        first, second = self.epoch(order, 0), self.epoch(order, 1)
        orders = [[clip for _, _, clip in epoch] for epoch in (first, second)]
        assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
        assert orders[0] != orders[1] != list(range(50))
        assert [(e, p) for e, p, _ in second] == [(1, p) for p in range(50)]
        assert self.epoch(order, 3) == self.epoch(later, 3) != self.epoch(sampling.ClipOrder(50, seed=2), 3)

    def test_a_running_epoch_keeps_its_order_and_evaluation_keeps_the_list_order(self):
        order = sampling.ClipOrder(5, seed=3, shuffle=False)
        running = iter(order)
        next(running)
        order.epoch = 9
        assert list(running) == [(0, clip, clip) for clip in range(1, 5)]

    def test_balancing_weights_sample_every_class_equally_often(self):
        labels = [0] * 60 + [1] * 30 + [3] * 10  # class 2 does not occur
        weights = sampling.balancing_weights(labels, 4)
        assert weights == pytest.approx([1 / 60] * 60 + [1 / 30] * 30 + [1 / 10] * 10)
        order = sampling.ClipOrder(100, seed=0, weights=weights)
        samples = [labels[clip] for epoch in range(150) for _, _, clip in self.epoch(order, epoch)]
        assert len(order) == 100 and len(samples) == 15000
        assert np.bincount(samples, minlength=4) / 15000 == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.015)


@pytest.mark.parametrize(("N", "T", "duration"), [(40, 16, 1), (163, 16, 2), (17, 4, 3), (12, 16, 1)])
def test_an_offset_takes_a_frame_at_another_share_of_every_segment(N, T, duration):
    length = (N - duration + 1) / T
    for offset in (0.25, 0.5, 0.75):
        starts = [int(length * (number + offset)) for number in range(T)]
        if N <= T + duration - 1:
            starts = [min(number, N - 1) for number in range(T)]
        expected = [min(start + step, N - 1) for start in starts for step in range(duration)]
        assert sampling.test_indexes(N, T, duration, offset).tolist() == expected


def test_an_offset_moves_a_window():
    starts = [sampling.window_indexes(100, 20, 2, offset=offset)[0] for offset in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert starts == [0, 14, 30, 44, 60]  # 30 of every other frame are outside the window of 20
