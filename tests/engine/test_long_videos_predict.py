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
from engine.long_videos import evaluate as evaluate_module
from engine.long_videos import predict as predict_module
from engine.long_videos.predict import centred_mean, majority, predict_videos
from engine.methods.sequence import SequenceTask
from models.sequence import SequenceOutput
from utils.errors import UserError

SHAPES = [(300, 200), (300, 300), (50, 10), (7, 3), (1, 1), (64, 63), (16, 16), (5, 1)]  # window and stride
LENGTHS = [*range(1, 40), 99, 100, 299, 300, 301, 499, 500, 501]

# -- windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "stride"), [(10, 11), (10, 0), (0, 0), (10, -1)])
def test_windows_that_skip_frames_are_refused(size, stride):
    with pytest.raises(UserError, match=f"{size} frames every {stride} do not cover"):
        window_starts(100, size, stride)


@pytest.mark.parametrize(("size", "stride"), SHAPES)
def test_there_are_no_more_windows_than_needed(size, stride):
    for n in LENGTHS:
        assert len(window_starts(n, size, stride)) == 1 + max(0, -(-(n - size) // stride))
    assert window_starts(0, size, stride).tolist() == []


# -- whole videos ---------------------------------------------------------------------------------------------------


class Echo(torch.nn.Module):
    """Valence and arousal are the first two features, plus ``slope`` times the position in the window."""

    def __init__(self, slope=0.0):
        super().__init__()
        self.slope = slope

    def forward(self, features, padding):
        B, L = padding.shape
        va = features[..., :2] + self.slope * torch.arange(L)[:, None]
        return SequenceOutput(va, torch.zeros(B, L, 8), torch.full((B, L, 12), 9.0))


def predict(tmp_path, lengths: dict[str, int], missing: tuple[str, ...] = (), model=None, **given):
    videos = []
    for id, frames in lengths.items():
        rows = np.linspace(-2, 2, frames)[:, None] * np.array([1, -1, 0, 0])
        np.save(tmp_path / f"{id}.npy", rows.astype(np.float32))
        labels = {task: unlabelled(task, frames) for task in ("va", "expr", "au")}
        videos.append(Video(id, tmp_path if id in missing else None, (None,) * frames, labels))
    config = make_config({"model": "sequence", "window": 30, "stride": 20, "batch_size": 8} | given)
    session = SimpleNamespace(device=torch.device("cpu"), amp=None, pin_memory=False)
    task, features = SequenceTask(model or Echo(), config), FeatureSource(videos, [tmp_path])
    return list(predict_videos(task, videos, features, config, session, "test"))


def test_each_frame_of_each_video_is_predicted_once_and_in_order(tmp_path):
    lengths = {"a": 1, "b": 29, "c": 30, "d": 31, "e": 95}
    predictions = predict(tmp_path, lengths)
    assert {video.video.id: len(video.va) for video in predictions} == lengths
    for video in predictions:
        line = np.linspace(-2, 2, len(video.va)).clip(-1, 1)
        assert video.va == pytest.approx(np.stack([line, -line], axis=1), abs=1e-6)
        assert video.expr.shape == (len(video.va),) and (video.au > 0.99).all()


@pytest.mark.parametrize(("size", "stride"), SHAPES)
def test_each_frame_has_the_mean_of_all_windows_over_it(tmp_path, size, stride):
    slope, lengths = 1e-4, {f"v{n}": n for n in LENGTHS}
    predictions = predict(tmp_path, lengths, model=Echo(slope), window=size, stride=stride, batch_size=64)
    for video, n in zip(predictions, LENGTHS, strict=True):
        starts, expected = window_starts(n, size, stride).tolist(), []
        for t, value in enumerate(np.linspace(-2, 2, n, dtype=np.float32)):
            over = [float(value) + slope * (t - start) for start in starts if 0 <= t - start < size]
            expected.append(min(max(sum(over) / len(over), -1), 1))
        assert video.va[:, 0].tolist() == pytest.approx(expected, abs=1e-6)


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


def test_memory_is_that_of_the_frames_however_many_windows(tmp_path, monkeypatch):
    windows = (("v", start, np.ones((100, 22))) for start in range(9901))
    monkeypatch.setattr(predict_module, "predict_windows", lambda *_: windows)
    tracemalloc.start()
    (video,) = predict(tmp_path, {"v": 10_000})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (video.au == 1).all() and peak < 6 * 10_000 * 22 * 8


# -- smoothing ------------------------------------------------------------------------------------------------------


def mean_by_loops(values, width):
    windows = [values[max(t - width // 2, 0) : t + width // 2 + 1] for t in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def majority_by_loops(classes, width):
    smoothed = []
    for t in range(len(classes)):
        window = range(max(t - width // 2, 0), min(t + width - width // 2, len(classes)))
        counts = Counter(classes[i] for i in window)
        nearest = sorted(window, key=lambda i: (abs(i - t), i > t))
        smoothed.append(next(classes[i] for i in nearest if counts[classes[i]] == max(counts.values())))
    return smoothed


@pytest.mark.parametrize("width", [1, 3, 5, 25])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 30, 77])
def test_the_mean_equals_the_plain_loop(width, n):
    values = np.random.default_rng(n).uniform(-1, 1, (n, 2))
    smoothed = centred_mean(values, width)
    for k in (0, 1):
        assert smoothed[:, k].tolist() == pytest.approx(mean_by_loops(values[:, k].tolist(), width), abs=1e-12)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 40])
@pytest.mark.parametrize("n", [1, 2, 5, 30, 130])
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_the_majority_equals_the_plain_loop(width, n, classes):
    rng = np.random.default_rng(n)
    for _ in range(5):
        values = rng.integers(0, classes, n)
        assert majority(values, width).tolist() == majority_by_loops(values.tolist(), width)


def test_of_equally_frequent_classes_the_nearest_wins():
    assert majority(np.array([0, 0, 1, 1]), 3).tolist() == [0, 0, 1, 1]
    assert majority(np.array([0, 1, 2]), 3).tolist() == [0, 1, 2]
    assert majority(np.array([5, 5, 0, 3, 3]), 5)[2] == 5  # both are equally near: the earlier one is used


def test_smoothing_uses_only_frames_of_the_video_and_keeps_its_input():
    values, classes = np.full((30, 2), 0.7, dtype=np.float32), np.arange(20) % 3
    smoothed = centred_mean(values, 25)
    assert smoothed.dtype == np.float32 and smoothed == pytest.approx(values)
    values = np.random.default_rng(0).normal(size=(20, 2))
    copies = values.copy(), classes.copy()
    centred_mean(values, 5), majority(classes, 4)
    assert (values == copies[0]).all() and (classes == copies[1]).all()


def test_a_long_video_is_smoothed_quickly():
    rng, began = np.random.default_rng(0), time.process_time()
    centred_mean(rng.normal(size=(100_000, 2)), 25)
    majority(rng.integers(0, 8, 100_000), 40)
    assert time.process_time() - began < 5


def test_an_output_that_is_not_finite_is_refused_with_its_frame(tmp_path):
    class Broken(Echo):
        def forward(self, features, padding):
            out = super().forward(features, padding)
            out.au[:, 25:] = np.nan
            return out

    with pytest.raises(
        UserError, match="^a: 15 of 40 predictions are not finite, first that of frame 26; try --amp off$"
    ):
        predict(tmp_path, {"a": 40}, model=Broken(), window=40, stride=40)


def test_after_an_error_there_is_no_submission_file(tmp_path, monkeypatch):
    task = SimpleNamespace(tasks=("va",))

    def two_videos_and_an_error(*_):
        for id in ("a", "b"):
            yield SimpleNamespace(video=Video(id, None, (None,) * 3, {}), va=np.zeros((3, 2)))
        raise UserError("c: faulty")

    monkeypatch.setattr(evaluate_module, "predict_videos", two_videos_and_an_error)
    session = SimpleNamespace(log=SimpleNamespace(folder=tmp_path))
    with pytest.raises(UserError, match="^c: faulty; predictions/ holds the 2 videos before it, submission/ is empty$"):
        evaluate_module.write_predictions(task, [], None, None, session, "predict", 0.5)
    assert sorted(file.name for file in tmp_path.rglob("*.*")) == ["a.csv", "b.csv"]
