"""Every frame of a video gets one prediction, whatever its length, in memory that does not grow with the windows."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dataloader.affwild import Video
from dataloader.frame_labels import unlabelled
from dataloader.sequences import FeatureSource
from engine.config import make_config
from engine.methods.sequence import SequenceTask
from engine.sequence.predict import predict_videos
from models.sequence import SequenceOutput

WIDTH = 4
SESSION = SimpleNamespace(device=torch.device("cpu"), amp=None, pin_memory=False)


class Echo(torch.nn.Module):
    """Predicts what it reads: VA is the first two features."""

    def forward(self, features, padding):
        B, L = padding.shape
        return SequenceOutput(features[..., :2], torch.zeros(B, L, 8), torch.full((B, L, 12), 9.0))


def predicted(tmp_path, lengths: dict[str, int], missing: tuple[str, ...] = (), **given):
    videos = []
    for id, frames in lengths.items():
        rows = np.linspace(-2, 2, frames)[:, None] * np.array([1, -1, 0, 0])
        np.save(tmp_path / f"{id}.npy", rows.astype(np.float32))
        labels = {task: unlabelled(task, frames) for task in ("va", "expr", "au")}
        videos.append(Video(id, tmp_path if id in missing else None, (None,) * frames, labels))
    options = {"model": "sequence", "window": 30, "stride": 20, "batch_size": 8} | given
    config = make_config(options)
    source = FeatureSource(videos, [tmp_path])
    return list(predict_videos(SequenceTask(Echo(), config), videos, source, config, SESSION, "test"))


def test_each_frame_of_each_video_comes_once_and_in_order(tmp_path):
    lengths = {"a": 1, "b": 29, "c": 30, "d": 31, "e": 95}
    found = predicted(tmp_path, lengths)
    assert {one.video.id: len(one.va) for one in found} == lengths
    for one in found:
        line = np.linspace(-2, 2, len(one.va)).clip(-1, 1)
        assert one.va == pytest.approx(np.stack([line, -line], axis=1), abs=1e-6)
        assert one.expr.shape == (len(one.va),) and (one.au > 0.99).all()


def test_a_video_without_any_frame_claims_nothing(tmp_path):
    one, other = predicted(tmp_path, {"a": 40, "b": 40}, missing=("a",))
    assert not one.va.any() and not one.au.any() and not one.expr.any()
    assert other.au.all()


def test_a_very_long_video_is_read_window_by_window(tmp_path, monkeypatch):
    frames, read, sizes = 100_000, FeatureSource.read, []

    def reading(self, id, start, stop):
        sizes.append(stop - start)
        return read(self, id, start, stop)

    monkeypatch.setattr(FeatureSource, "read", reading)
    tracemalloc.start()
    (one,) = predicted(tmp_path, {"long": frames}, window=300, stride=200, batch_size=32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(one.va) == frames and max(sizes) == 300
    assert peak < 8 * frames * (22 * 4 + 8)  # a few times its 22 answers, and its labels
