"""Predictions for every frame of a video: windows averaged and predictions smoothed, against plain loops."""

import time
import tracemalloc
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dataloader.affwild import Video
from dataloader.frame_labels import unlabelled
from dataloader.sequences import FeatureSource, window_starts
from engine.config import make_config
from engine.long_videos.predict import WindowAverage, centred_mean, majority, predict_videos
from engine.methods.sequence import SequenceTask
from models.sequence import SequenceOutput
from utils.errors import UserError

SHAPES = [(300, 200), (300, 300), (50, 10), (7, 3), (1, 1), (64, 63), (16, 16), (5, 1)]  # window and stride

# -- windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "stride"), [(10, 11), (10, 0), (0, 0), (10, -1)])
def test_windows_that_leave_frames_out_are_refused(size, stride):
    with pytest.raises(UserError, match=f"{size} frames every {stride} do not cover"):
        window_starts(100, size, stride)


def average(n, windows, starts):
    mean = WindowAverage(n, windows[0].shape[1] if len(windows) else 2)
    for start, window in zip(starts, windows, strict=True):
        mean.add(start, window)
    return mean


@pytest.mark.parametrize(("size", "stride"), SHAPES)
def test_each_frame_has_the_mean_of_all_windows_over_it(size, stride):
    rng = np.random.default_rng(0)
    for n in [*range(1, 40), 99, 100, 299, 300, 301, 499, 500, 501, 1000]:
        starts = window_starts(n, size, stride).tolist()
        assert len(starts) == 1 + max(0, -(-(n - size) // stride))  # no more than needed
        constant = average(n, [np.full((size, 2), np.float32([0.1, -7.3]))] * len(starts), starts).mean()
        assert constant.shape == (n, 2) and (constant == np.float32([0.1, -7.3])).all()
        windows = rng.normal(size=(len(starts), size, 1)).astype(np.float32)
        expected = []
        for t in range(n):
            over = [float(w[t - start, 0]) for start, w in zip(starts, windows, strict=True) if 0 <= t - start < size]
            expected.append(sum(over) / len(over))
        assert average(n, windows, starts).mean()[:, 0].tolist() == pytest.approx(expected, abs=1e-12)


def test_short_and_empty_videos_and_frames_without_a_window():
    assert average(3, [np.array([[1.0], [2.0], [3.0]])], [0]).mean()[:, 0].tolist() == [1, 2, 3]  # without padding
    assert window_starts(0, 10, 5).tolist() == [] and average(0, [], []).mean().shape == (0, 2)
    with pytest.raises(AssertionError, match="covers"):
        average(5, [np.ones((4, 1))], [0]).mean()


def test_memory_is_that_of_the_frames_however_many_windows():
    starts = window_starts(1000, 100, 1)
    mean = average(1000, [np.ones((100, 22))] * len(starts), starts)
    assert mean.sums.nbytes + mean.counts.nbytes == 1000 * 23 * 8 and set(vars(mean)) == {"sums", "counts"}


# -- whole videos ---------------------------------------------------------------------------------------------------


class Echo(torch.nn.Module):
    """Predicts its input: valence and arousal are the first two features."""

    def forward(self, features, padding):
        B, L = padding.shape
        return SequenceOutput(features[..., :2], torch.zeros(B, L, 8), torch.full((B, L, 12), 9.0))


def predict(tmp_path, lengths: dict[str, int], missing: tuple[str, ...] = (), **given):
    videos = []
    for id, frames in lengths.items():
        rows = np.linspace(-2, 2, frames)[:, None] * np.array([1, -1, 0, 0])
        np.save(tmp_path / f"{id}.npy", rows.astype(np.float32))
        labels = {task: unlabelled(task, frames) for task in ("va", "expr", "au")}
        videos.append(Video(id, tmp_path if id in missing else None, (None,) * frames, labels))
    config = make_config({"model": "sequence", "window": 30, "stride": 20, "batch_size": 8} | given)
    session = SimpleNamespace(device=torch.device("cpu"), amp=None, pin_memory=False)
    task, features = SequenceTask(Echo(), config), FeatureSource(videos, [tmp_path])
    return list(predict_videos(task, videos, features, config, session, "test"))


def test_each_frame_of_each_video_comes_once_and_in_order(tmp_path):
    lengths = {"a": 1, "b": 29, "c": 30, "d": 31, "e": 95}
    predictions = predict(tmp_path, lengths)
    assert {video.video.id: len(video.va) for video in predictions} == lengths
    for video in predictions:
        line = np.linspace(-2, 2, len(video.va)).clip(-1, 1)
        assert video.va == pytest.approx(np.stack([line, -line], axis=1), abs=1e-6)
        assert video.expr.shape == (len(video.va),) and (video.au > 0.99).all()


def test_a_video_without_any_frame_has_zeros(tmp_path):
    empty, full = predict(tmp_path, {"a": 40, "b": 40}, missing=("a",))
    assert not empty.va.any() and not empty.au.any() and not empty.expr.any() and full.au.all()


def test_a_very_long_video_is_read_window_by_window(tmp_path, monkeypatch):
    frames, read, sizes = 100_000, FeatureSource.read, []

    def reading(self, id, start, stop):
        sizes.append(stop - start)
        return read(self, id, start, stop)

    monkeypatch.setattr(FeatureSource, "read", reading)
    tracemalloc.start()
    (video,) = predict(tmp_path, {"long": frames}, window=300, stride=200, batch_size=32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(video.va) == frames and max(sizes) == 300
    assert peak < 8 * frames * (22 * 4 + 8)  # a few times its 22 predictions, and its labels


# -- smoothing ------------------------------------------------------------------------------------------------------


def neighbours(n, t, before, after, missing):
    """The frames of a window, out to the nearest gap or end in both directions."""
    frames = [t]
    for step, reach in ((-1, before), (1, after)):
        for frame in range(t + step, t + step * (reach + 1), step):
            if not 0 <= frame < n or missing[frame]:
                break
            frames.append(frame)
    return frames


def mean_by_loops(values, width, missing):
    windows = [neighbours(len(values), t, width // 2, width // 2, missing) for t in range(len(values))]
    means = [sum(values[i] for i in window) / len(window) for window in windows]
    return [value if gap else mean for value, gap, mean in zip(values, missing, means, strict=True)]


def majority_by_loops(classes, width, missing):
    smoothed = []
    for t, gap in enumerate(missing):
        window = neighbours(len(classes), t, width // 2, width - width // 2 - 1, missing)
        counts = Counter(classes[i] for i in window)
        nearest = sorted(window, key=lambda i: (abs(i - t), i > t))
        winner = next(classes[i] for i in nearest if counts[classes[i]] == max(counts.values()))
        smoothed.append(classes[t] if gap else winner)
    return smoothed


def gaps(n, rng):
    yield None, [False] * n
    for missing in (rng.random(n) < 0.2, np.ones(n, dtype=bool)):
        yield missing, missing


@pytest.mark.parametrize("width", [1, 3, 5, 25])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 30, 77])
def test_the_mean_equals_the_plain_loop(width, n):
    rng = np.random.default_rng(n)
    values = rng.uniform(-1, 1, (n, 2))
    for missing, gap in gaps(n, rng):
        smoothed = centred_mean(values, width, missing)
        for k in (0, 1):
            assert smoothed[:, k].tolist() == pytest.approx(mean_by_loops(values[:, k].tolist(), width, gap), abs=1e-12)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 40])
@pytest.mark.parametrize("n", [1, 2, 5, 30, 130])
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_the_majority_equals_the_plain_loop(width, n, classes):
    rng = np.random.default_rng(n)
    for _ in range(5):
        values = rng.integers(0, classes, n)
        for missing, gap in gaps(n, rng):
            assert majority(values, width, missing).tolist() == majority_by_loops(values.tolist(), width, gap)


def test_of_equally_frequent_classes_the_nearest_wins():
    assert majority(np.array([0, 0, 1, 1]), 3).tolist() == [0, 0, 1, 1]
    assert majority(np.array([0, 1, 2]), 3).tolist() == [0, 1, 2]
    assert majority(np.array([5, 5, 0, 3, 3]), 5)[2] == 5  # both are next to it: the earlier one


def test_a_blink_disappears_and_a_change_stays():
    classes = np.array([4] * 50 + [1] * 3 + [4] * 50 + [6] * 60)
    assert majority(classes).tolist() == [4] * 103 + [6] * 60
    step, missing = np.array([[0.0]] * 4 + [[9.0]] + [[1.0]] * 4), np.arange(9) == 4
    assert centred_mean(step, 5, missing).tolist() == step.tolist()


def test_nothing_comes_from_beyond_the_video_and_the_input_stays():
    values, classes = np.full((30, 2), 0.7, dtype=np.float32), np.arange(20) % 3
    smoothed = centred_mean(values, 25)
    assert smoothed.dtype == np.float32 and smoothed == pytest.approx(values)
    values = np.random.default_rng(0).normal(size=(20, 2))
    copies = values.copy(), classes.copy()
    centred_mean(values, 5), majority(classes, 4)
    assert (values == copies[0]).all() and (classes == copies[1]).all()


def test_a_long_video_takes_moments():
    rng, began = np.random.default_rng(0), time.perf_counter()
    centred_mean(rng.normal(size=(100_000, 2)), 25)
    majority(rng.integers(0, 8, 100_000))
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("width", [0, 2, 40, -3])
def test_widths_that_mean_nothing_are_refused(width):
    with pytest.raises(UserError, match=f"over {width} frames has no centre"):
        centred_mean(np.zeros((3, 2)), width)
    if width < 1:
        with pytest.raises(UserError, match=f"of {width} frames"):
            majority(np.zeros(3, dtype=int), width)
