"""Videos of known content: frames of the tiny set as H.264, a detector of their faces, a fake model."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from apps.predict.runners import ModelInfo
from benchmarks.video_render import write_video
from dataloader.detect import Detection, Detections
from tests.support.tiny import BODY, FACE, draw_frame
from tests.support.tools import Run, run_main

SKY = 60  # the brightness of a frame without anyone
FPS = 10.0
TWO_STREAMS = ModelInfo(family="clip-caer", model="m", names=("dark", "bright"), frames=8, size=16, crop_body=True)


class KnownFaces:
    """A detector for the face in frames of the tiny set, from a few pixels."""

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


class Brightness:
    """A runner whose features are mean colours; the logit of "bright" is how bright the face's red is."""

    warnings = ()

    def __init__(self, info: ModelInfo = TWO_STREAMS) -> None:
        self.info, self.encoded = info, 0
        self.calls: list[tuple[Any, Any]] = []  # the arguments of ``head``

    def encode(self, squares: np.ndarray) -> np.ndarray:
        self.encoded += len(squares)
        return squares.mean(axis=(2, 3), dtype=np.float32)

    def head(self, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
        self.calls.append((face, context))
        bright = (context if face is None else face)[..., 0].mean(axis=1) / 25.5 - 5
        return np.stack([-bright, bright], axis=1).astype(np.float32)


def frame_of(label: int | str, rng: np.random.Generator) -> np.ndarray:
    """Return a frame of a class of the tiny set, of ``"nobody"``, or ``"hidden"``: a face behind something green."""
    if label == "nobody":
        return np.full((120, 160, 3), SKY, dtype=np.uint8)
    pixels = np.array(draw_frame(0 if label == "hidden" else label, rng))
    if label == "hidden":
        x0, y0, x1, y1 = FACE
        pixels[y0:y1, x0:x1] = (20, 240, 20)
    return pixels


def frames_of(parts: Iterable[tuple[int | str, float]], fps: float = FPS) -> list[tuple[float, np.ndarray]]:
    """Return (seconds, frame) of the parts ``(label, seconds)`` one after another."""
    rng, frames = np.random.default_rng(0), []
    for label, seconds in parts:
        for _ in range(round(seconds * fps)):
            frames.append((len(frames) / fps, frame_of(label, rng)))
    return frames


def film(path: Path, parts: Iterable[tuple[int | str, float]]) -> Path:
    return write_video(path, frames_of(parts), FPS, crf=8)


def know_faces(monkeypatch: Any) -> KnownFaces:
    """Make every predictor use ``KnownFaces`` and track a person from the first detection on."""
    detector = KnownFaces()
    monkeypatch.setattr("dataloader.track.HITS", 1)
    monkeypatch.setattr("dataloader.detect.open_detector", lambda *_: detector)
    return detector


def predict_words(checkpoint: Path, source: object) -> list[str]:
    words = ["--mode", "predict", "--eval-checkpoint", str(checkpoint), "--input", str(source)]
    return [*words, "--device", "cpu"]


def predict(checkpoint: Path, source: object, folder: Path, *words: str, status: int = 0) -> Run:
    """Run ``--mode predict`` on the CPU."""
    run = run_main([*predict_words(checkpoint, source), *words], folder)
    assert run.status == status, run.err
    return run


def read_timeline(folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return timeline.json and the rows of timeline.csv."""
    document = json.loads((folder / "timeline.json").read_text(encoding="utf-8"))
    with open(folder / "timeline.csv", newline="", encoding="utf-8") as file:
        return document, list(csv.DictReader(file))
