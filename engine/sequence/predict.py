"""One prediction for every frame of a video, however long: windows averaged, smoothed, made into answers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dataloader.affwild import Video
from dataloader.sequences import FeatureSource
from engine.methods.sequence import SequenceTask
from engine.options import Config
from engine.sequence.data import evaluation_windows
from engine.sequence.smooth import centred_mean, majority
from engine.sequence.stitch import Stitcher
from engine.session import Session
from utils.runlog import progress_bar


@dataclass(frozen=True)
class Predicted:
    """Of one video: ``va`` (L, 2) in [-1, 1], ``expr`` (L,) classes, ``au`` (L, 12) probabilities; None: not asked."""

    video: Video
    va: np.ndarray | None = None
    expr: np.ndarray | None = None
    au: np.ndarray | None = None


def predict_videos(
    task: SequenceTask,
    videos: list[Video],
    source: FeatureSource,
    config: Config,
    session: Session,
    name: str,
    watch: Any = lambda loader: loader,
) -> Iterator[Predicted]:
    """In the order of ``videos``; no more than one of them is held at a time."""
    loader = evaluation_windows(videos, source, config, session)
    task.model.eval()
    rows = window_numbers(task, progress_bar(watch(loader), len(loader), name), session)
    id, start, values = next(rows)
    for video in videos:
        stitcher = Stitcher(len(video), task.width)
        while id == video.id:
            stitcher.add(start, values)
            id, start, values = next(rows, (None, 0, None))
        yield to_answers(task, video, stitcher.mean(), config.sequence.smooth)


@torch.inference_mode()
def batch_numbers(task: SequenceTask, batch: dict[str, Any], session: Session) -> np.ndarray:
    """(B, L, width)."""
    features, padding = (batch[name].to(session.device) for name in ("features", "padding"))
    with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
        out = task.forward({"features": features, "padding": padding})
    return task.numbers(out, padding).cpu().numpy()


def window_numbers(
    task: SequenceTask, batches: Iterable[dict[str, Any]], session: Session
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Video, first frame and numbers of each window."""
    for batch in batches:
        yield from zip(batch["id"], batch["start"].tolist(), batch_numbers(task, batch, session), strict=True)


def to_answers(task: SequenceTask, video: Video, numbers: np.ndarray, smooth: int) -> Predicted:
    found = {name: numbers[:, columns] for name, columns in task.columns.items()}
    if "va" in found:
        found["va"] = np.clip(centred_mean(found["va"], smooth), -1, 1)
    if "expr" in found:
        found["expr"] = majority(found["expr"].argmax(axis=1), smooth)
    return Predicted(video, **found)
