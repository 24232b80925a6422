"""Windows over videos of every length: each frame covered, each mean that of a plain loop."""

import numpy as np
import pytest

from dataloader.sequences import window_starts
from engine.sequence.stitch import Stitcher
from utils.errors import UserError

SHAPES = [(300, 200), (300, 300), (50, 10), (7, 3), (1, 1), (64, 63), (16, 16), (5, 1)]


@pytest.mark.parametrize(("size", "stride"), SHAPES)
def test_every_length_is_covered(size, stride):
    """Starts grow, no window leaves the video unless it is alone, and no more windows than needed."""
    for n in range(1, 1001):
        starts = window_starts(n, size, stride).tolist()
        assert starts[0] == 0 and all(0 < b - a <= stride for a, b in zip(starts, starts[1:], strict=False))
        assert starts[-1] + size == n if n >= size else starts == [0]
        assert len(starts) == 1 + max(0, -(-(n - size) // stride))


def by_loops(n, starts, windows):
    """Frame by frame, window by window."""
    rows = []
    for t in range(n):
        over = [float(w[t - start, 0]) for start, w in zip(starts, windows, strict=True) if 0 <= t - start < len(w)]
        rows.append(sum(over) / len(over))
    return rows


@pytest.mark.parametrize(("size", "stride"), SHAPES)
def test_each_frame_has_the_mean_of_all_windows_over_it(size, stride):
    rng = np.random.default_rng(0)
    for n in [*range(1, 40), 99, 100, 299, 300, 301, 499, 500, 501, 1000]:
        starts = window_starts(n, size, stride).tolist()
        windows = rng.normal(size=(len(starts), size, 1)).astype(np.float32)
        stitcher = Stitcher(n, 1)
        for start, window in zip(starts, windows, strict=True):
            stitcher.add(start, window)
        assert stitcher.mean()[:, 0].tolist() == pytest.approx(by_loops(n, starts, windows), abs=1e-12)


@pytest.mark.parametrize(("size", "stride"), SHAPES)
def test_constant_windows_give_that_constant(size, stride):
    constant = np.float32([0.1, -7.3])
    window = np.tile(constant, (size, 1))
    for n in range(1, 1001, 7):
        stitcher = Stitcher(n, 2)
        for start in window_starts(n, size, stride):
            stitcher.add(start, window)
        assert stitcher.mean().shape == (n, 2) and (stitcher.mean() == constant).all()


def test_a_short_window_may_come_without_its_padding():
    stitcher = Stitcher(3, 1)
    stitcher.add(0, np.array([[1.0], [2.0], [3.0]]))
    assert stitcher.mean()[:, 0].tolist() == [1, 2, 3]


def test_memory_is_that_of_the_frames_however_many_windows():
    stitcher = Stitcher(1000, 22)
    before = stitcher.sums.nbytes + stitcher.counts.nbytes
    for start in window_starts(1000, 100, 1):
        stitcher.add(start, np.ones((100, 22)))
    assert stitcher.sums.nbytes + stitcher.counts.nbytes == before == 1000 * 23 * 8
    assert set(vars(stitcher)) == {"sums", "counts"}


def test_a_video_without_frames_has_no_windows():
    assert window_starts(0, 10, 5).tolist() == [] and Stitcher(0, 2).mean().shape == (0, 2)


def test_a_frame_that_no_window_covers_is_our_mistake():
    stitcher = Stitcher(5, 1)
    stitcher.add(0, np.ones((4, 1)))
    with pytest.raises(AssertionError, match="covers"):
        stitcher.mean()


@pytest.mark.parametrize(("size", "stride"), [(10, 11), (10, 0), (0, 0), (10, -1)])
def test_windows_that_leave_frames_out_are_refused(size, stride):
    with pytest.raises(UserError, match=f"{size} frames every {stride} do not cover"):
        window_starts(100, size, stride)
