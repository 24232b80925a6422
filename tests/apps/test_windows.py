"""Frames sampled on a grid of times, and windows that slide over them."""

from dataclasses import replace

import numpy as np
import pytest

from apps.predict.windows import BODY_ONLY, FrameWindows, Grid, Sample, SlidingWindows, View, Watcher
from dataloader.detect import Detection, Detections
from dataloader.sequences import window_starts
from dataloader.track import Tracker
from tests.support.watched import TWO_STREAMS


def samples(times, persons=()):
    return [Sample(float(t), {p: View(True, {}) for p in persons}) for t in times]


def run(windows, samples, end):
    return [w for sample in samples for w in windows.push(sample)] + list(windows.finish(end))


def seconds(window):
    return [sample.seconds for sample in window.samples]


def test_a_grid_samples_the_first_frame_of_each_slot():
    grid = Grid(4.0, 25.0)
    # slots at 0, 0.25, 0.5 ... s; the frame nearest to each, half a frame early at most
    assert [n for n in range(50) if grid.takes(n / 25)] == [0, 6, 12, 19, 25, 31, 37, 44]


def test_a_grid_finer_than_the_frames_samples_all_of_them_and_one_per_gap():
    grid = Grid(100.0, 25.0)
    assert all(grid.takes(n / 25) for n in range(20))
    grid = Grid(4.0, 25.0)
    assert [grid.takes(t) for t in (0.0, 7.3, 7.31, 7.5)] == [True, True, False, True]
    assert all(Grid(None, 25.0).takes(t) for t in (0.0, 0.001))


@pytest.mark.parametrize(
    ("length", "every", "times", "end", "starts"),
    [
        (4.0, 1.0, np.arange(40) / 4, 10.0, range(7)),
        (4.0, 1.0, np.arange(42) / 4, 10.5, range(8)),  # the last is shorter: the end of the video is in some window
        (4.0, 1.0, np.arange(8) / 4, 2.0, [0]),
        (4.0, 1.0, np.arange(16) / 4, 4.0, [0]),
        (2.0, 1.0, [0.0, 0.5, 6.0], 6.5, range(6)),  # gaps in the video give windows without frames
        (1.0, 3.0, np.arange(14) / 2, 7.0, [0, 3, 6]),  # frames between windows are skipped
    ],
)
def test_windows_slide(length, every, times, end, starts):
    windows = run(SlidingWindows(length, every), samples(times), end)
    assert [(w.start, w.stop) for w in windows] == [(start, min(start + length, end)) for start in starts]
    assert [seconds(w) for w in windows] == [[t for t in times if w.start <= t < w.stop] for w in windows]
    assert not any(w.persons() for w in windows)


def test_memory_is_that_of_one_window():
    windows = SlidingWindows(4.0, 1.0)
    for sample in samples(np.arange(4000) / 4):
        list(windows.push(sample))
        assert len(windows.samples) <= 4 * 4 + 1


@pytest.mark.parametrize("count", [1, 7, 20, 21, 32, 44, 45, 90])
def test_frame_windows_are_those_of_evaluation(count):
    windows = run(FrameWindows(20, 12), samples(range(count)), float(count))
    assert [w.start for w in windows] == window_starts(count, 20, 12).tolist()
    assert all(seconds(w) == list(range(int(w.start), min(int(w.start) + 20, count))) for w in windows)


@pytest.mark.parametrize("cuts", [[30], [5, 50], [20, 40], [1]])
def test_no_frame_window_contains_a_cut(cuts):
    """Each scene has the windows of a separate video."""
    scenes = [Sample(float(t), {}, int(np.searchsorted(cuts, t, side="right"))) for t in range(60)]
    windows = run(FrameWindows(20, 12), scenes, 60.0)
    bounds = [0, *cuts, 60]
    expected = [first + s for first, stop in zip(bounds, bounds[1:], strict=False)
                for s in window_starts(stop - first, 20, 12).tolist()]  # fmt: skip
    assert [w.start for w in windows] == expected
    assert all(len({sample.scene for sample in w.samples}) == 1 for w in windows)
    assert {t for w in windows for t in seconds(w)} == set(range(60))


def test_a_body_counts_if_no_face_was_detected():
    body, face = Sample(0.0, {BODY_ONLY: View(False, {})}), Sample(1.0, {3: View(True, {})})
    (first,) = run(SlidingWindows(2.0, 2.0), [body], 2.0)
    (second,) = run(SlidingWindows(2.0, 2.0), [body, face], 2.0)
    assert first.persons() == [BODY_ONLY] and second.persons() == [3]


@pytest.mark.parametrize(
    ("crops_body", "hidden_from", "expected"),
    [
        (True, None, [0, 1, 2, 3]),  # once a second
        (False, None, []),
        (True, 2.0, [0, 1, 2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75]),  # without a face in every frame
        (False, 2.0, [2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75]),
    ],
)
def test_bodies_are_searched_where_a_model_or_a_missing_face_needs_them(crops_body, hidden_from, expected):
    now, searches = 0.0, []

    def detector(frame):
        faces = [] if hidden_from is not None and now >= hidden_from else [Detection(60, 20, 100, 60, 1.0)]
        return Detections(faces, lambda: searches.append(now) or [Detection(20, 10, 140, 115, 1.0)])

    tracker = Tracker(1, patience=0.1, hits=1)  # a person without a face is lost at once
    watcher = Watcher(detector, tracker, replace(TWO_STREAMS, crop_body=crops_body), Grid(4.0, 25.0), 0.25)
    for now in np.arange(0, 4, 0.25).tolist():
        sample = watcher.look(now, np.full((120, 160, 3), 90, np.uint8))
        assert sample.views.keys() == ({1} if hidden_from is None or now < hidden_from else {BODY_ONLY})
    assert searches == expected
