"""Videos of known content for tests: drawn frames written as H.264, and a detector that knows where the faces are."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.video_render import write_video
from dataloader.detect import Detection, Detections
from tests.support.tiny import BODY, FACE, draw_frame

SKY = 60  # the brightness of a frame without anyone
FPS = 10.0


class KnownFaces:
    """Finds the face of the tiny set's frames where they show one: all is told by a few pixels."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, frame: np.ndarray) -> Detections:
        self.calls += 1
        if frame[:20].mean() < SKY + 10:
            return Detections([], [])
        body = [Detection(*BODY, 1.0)]
        covered = frame[20:60, 60:100].reshape(-1, 3).mean(axis=0)
        is_hidden = covered[1] > 200 and covered[0] < 60
        return Detections([] if is_hidden else [Detection(*FACE, 1.0)], body)


def frame_of(label: int | str, rng: np.random.Generator) -> np.ndarray:
    """A class of the tiny set, ``"nobody"``, or ``"hidden"``: a person whose face is behind something green."""
    if label == "nobody":
        return np.full((120, 160, 3), SKY, dtype=np.uint8)
    pixels = np.array(draw_frame(0 if label == "hidden" else label, rng))
    if label == "hidden":
        left, top, right, bottom = FACE
        pixels[top:bottom, left:right] = (20, 240, 20)
    return pixels


def frames_of(parts: Iterable[tuple[int | str, float]], fps: float = FPS) -> list[tuple[float, np.ndarray]]:
    """``(label, seconds)`` one after another."""
    rng, shown = np.random.default_rng(0), []
    for label, seconds in parts:
        for _ in range(round(seconds * fps)):
            shown.append((len(shown) / fps, frame_of(label, rng)))
    return shown


def film(path: Path, parts: Iterable[tuple[int | str, float]]) -> Path:
    return write_video(path, frames_of(parts), FPS, crf=8)


def know_faces(monkeypatch: Any) -> KnownFaces:
    """Every predictor made from now on sees through ``KnownFaces``, and knows a person at first sight."""
    made = KnownFaces()
    monkeypatch.setattr("dataloader.track.HITS", 1)
    monkeypatch.setattr("dataloader.detect.open_detector", lambda *_: made)
    return made
