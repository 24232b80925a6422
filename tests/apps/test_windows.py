"""Frames sampled on a grid of times, and windows that slide over them."""

import numpy as np
import pytest

from apps.predict.windows import ANYONE, FrameWindows, Grid, Sample, SlidingWindows, View
from dataloader.sequences import window_starts


def samples(times, persons=()):
    return [Sample(float(t), {p: View(True, {}) for p in persons}) for t in times]


def run(windows, found, end):
    closed = [w for sample in found for w in windows.push(sample)]
    return closed + list(windows.finish(end))


def test_a_grid_takes_the_first_frame_of_each_slot():
    grid = Grid(4.0, 25.0)
    taken = [n for n in range(50) if grid.takes(n / 25)]
    # slots at 0, 0.25, 0.5 ... s; the frame nearest to each, half a frame early at most
    assert taken == [0, 6, 12, 19, 25, 31, 37, 44]


def test_a_grid_finer_than_the_frames_takes_them_all_and_a_gap_takes_one():
    grid = Grid(100.0, 25.0)
    assert all(grid.takes(n / 25) for n in range(20))
    grid = Grid(4.0, 25.0)
    assert [grid.takes(t) for t in (0.0, 7.3, 7.31, 7.5)] == [True, True, False, True]
    assert all(Grid(None, 25.0).takes(t) for t in (0.0, 0.001))


def test_windows_of_four_seconds_every_second():
    found = run(SlidingWindows(4.0, 1.0), samples(np.arange(40) / 4), 10.0)
    assert [(w.start, w.stop) for w in found] == [(float(s), float(s + 4)) for s in range(7)]
    assert all(len(w.samples) == 16 for w in found)
    assert [s.seconds for s in found[3].samples] == [3 + n / 4 for n in range(16)]


@pytest.mark.parametrize("end, last", [(10.5, (7.0, 10.5)), (2.0, (0.0, 2.0)), (4.0, (0.0, 4.0)), (10.0, (6.0, 10.0))])
def test_the_end_of_the_video_is_in_some_window(end, last):
    found = run(SlidingWindows(4.0, 1.0), samples(np.arange(0, end, 0.25)), end)
    assert (found[-1].start, found[-1].stop) == last
    assert {s.seconds for w in found for s in w.samples} == set(np.arange(0, end, 0.25))


def test_gaps_give_windows_without_frames():
    found = run(SlidingWindows(2.0, 1.0), samples([0.0, 0.5, 6.0]), 6.5)
    assert [len(w.samples) for w in found] == [2, 0, 0, 0, 0, 1]
    assert found[1].persons() == []


def test_windows_further_apart_than_they_are_long_leave_frames_out():
    found = run(SlidingWindows(1.0, 3.0), samples(np.arange(0, 7, 0.5)), 7.0)
    assert [[s.seconds for s in w.samples] for w in found] == [[0.0, 0.5], [3.0, 3.5], [6.0, 6.5]]


def test_memory_is_that_of_one_window():
    windows = SlidingWindows(4.0, 1.0)
    for sample in samples(np.arange(4000) / 4):
        list(windows.push(sample))
        assert len(windows.samples) <= 4 * 4 + 1


@pytest.mark.parametrize("count", [1, 7, 20, 21, 32, 44, 45, 90])
def test_frame_windows_are_those_of_evaluation(count):
    found = run(FrameWindows(20, 12), samples(range(count)), float(count))
    assert [w.first for w in found] == window_starts(count, 20, 12).tolist()
    assert all([s.seconds for s in w.samples] == list(range(w.first, min(w.first + 20, count))) for w in found)


def test_a_body_alone_counts_where_no_face_was_found():
    alone, known = Sample(0.0, {ANYONE: View(False, {})}), Sample(1.0, {3: View(True, {})})
    (first,) = run(SlidingWindows(2.0, 2.0), [alone], 2.0)
    (both,) = run(SlidingWindows(2.0, 2.0), [alone, known], 2.0)
    assert first.persons() == [ANYONE] and both.persons() == [3]
