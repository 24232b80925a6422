"""Predict every frame of a video: average overlapping windows, then smooth."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

from analysis.affect import VideoPredictions
from dataloader.affwild import Video
from dataloader.sequences import FeatureSource
from engine.long_videos.data import evaluation_windows
from engine.methods.sequence import SequenceTask
from engine.options import Config
from engine.session import Session
from utils.errors import UserError
from utils.runlog import progress_bar


def predict_videos(
    task: SequenceTask,
    videos: list[Video],
    features: FeatureSource,
    config: Config,
    session: Session,
    name: str,
    watch: Callable[[Any], Any] = lambda loader: loader,
) -> Iterator[VideoPredictions]:
    """Yield the predictions of each video in turn, so that only one video is in memory at a time.

    ``name`` labels the progress bar; ``watch`` wraps the loader of windows.
    """
    loader = evaluation_windows(videos, features, config, session)
    task.model.eval()
    windows = predict_windows(task, progress_bar(watch(loader), len(loader), name), session)
    id, start, numbers = next(windows)
    for video in videos:
        # sums and counts, so that memory grows with the number of frames and not with the number of windows
        sums, counts = np.zeros((len(video), task.width)), np.zeros(len(video), dtype=np.int64)
        while id == video.id:
            stop = min(start + len(numbers), len(video))  # rows beyond the video's end are padding
            sums[start:stop] += numbers[: stop - start]
            counts[start:stop] += 1
            id, start, numbers = next(windows, (None, 0, None))
        assert counts.all(), "a frame that no window covers"
        faulty = np.flatnonzero(~np.isfinite(sums).all(axis=1))
        if len(faulty):
            raise UserError(
                f"{video.id}: {len(faulty)} of {len(video)} predictions are not finite, first that of frame "
                f"{faulty[0] + 1}; try --amp off"
            )
        yield make_predictions(task, video, sums / counts[:, None], config.sequence.smooth)


def predict_windows(
    task: SequenceTask, batches: Iterable[dict[str, Any]], session: Session
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield the video, the first frame and the model's numbers (L, width) of every window."""
    for batch in batches:
        features, padding = (batch[name].to(session.device) for name in ("features", "padding"))
        with torch.inference_mode():
            with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
                out = task.forward({"features": features, "padding": padding})
            numbers = task.numbers(out, padding).cpu().numpy()
        yield from zip(batch["id"], batch["start"].tolist(), numbers, strict=True)


def make_predictions(task: SequenceTask, video: Video, numbers: np.ndarray, smooth: int) -> VideoPredictions:
    """Return the predictions of a video from the averaged numbers (n, width) of its frames."""
    values = {name: numbers[:, columns] for name, columns in task.columns.items()}
    if "va" in values:
        values["va"] = np.clip(centred_mean(values["va"], smooth), -1, 1)
    if "expr" in values:
        values["expr"] = majority(values["expr"].argmax(axis=1), smooth)
    return VideoPredictions(video, **values)


# -- smoothing ------------------------------------------------------------------------------------------------------


def centred_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Return the mean (n, K) of ``width`` frames around each frame; fewer near the ends. ``width`` is odd."""
    sums, counts = window_sums(values.astype(float), width // 2, width // 2)
    return (sums / counts[:, None]).astype(values.dtype)


def majority(classes: np.ndarray, width: int) -> np.ndarray:
    """Return the most frequent class (n,) of ``width`` frames, ``width // 2`` of them before each frame.

    Among equally frequent classes, the one that occurs nearest to the frame wins; at equal distance, the earlier one.
    """
    names = np.unique(classes)
    occurs = classes[:, None] == names  # (n, C)
    counts, _ = window_sums(occurs.astype(np.int64), width // 2, width - width // 2 - 1)
    # Distances are below 2 n + 2, so one more occurrence outweighs every difference in distance.
    ranks = counts * (2 * len(classes) + 2) - class_distances(occurs)
    return names[ranks.argmax(axis=1)]


def window_sums(values: np.ndarray, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sums (n, K) from ``before`` frames before each frame to ``after`` after it, and their counts (n,)."""
    n = len(values)
    running = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    start, stop = np.maximum(np.arange(n) - before, 0), np.minimum(np.arange(n) + after + 1, n)
    return running[stop] - running[start], stop - start


def class_distances(occurs: np.ndarray) -> np.ndarray:
    """Return how far (n, C) the nearest frame of each class is, given where each class ``occurs`` (n, C).

    The number is 0 for the frame's own class, else twice the distance, plus 1 where the nearest frame is a later one.
    """
    n = len(occurs)
    frame = np.arange(n)[:, None]
    previous = np.maximum.accumulate(np.where(occurs, frame, -n), axis=0)
    following = np.minimum.accumulate(np.where(occurs, frame, 2 * n)[::-1], axis=0)[::-1]
    ahead = following - frame
    return np.minimum(2 * (frame - previous), np.where(ahead > 0, 2 * ahead + 1, 0))
