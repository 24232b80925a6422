"""What answers on windows of frames, whatever computes it: a checkpoint through torch, or an exported model.

No torch here: an exported model runs without it. Pixels are uint8 squares as `dataloader/squares.py` makes them.
"""

from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Protocol

import numpy as np

CLASSES, NUMBERS, FRAMES = "classes", "numbers", "frames"
KINDS = {
    CLASSES: "one of the classes a window",
    NUMBERS: "numbers a window",
    FRAMES: "expression, valence and arousal, action units of every frame",
}


@dataclass(frozen=True)
class About:
    """What must be known of a model to feed it and to read its answers; plain values, so that JSON can hold it."""

    family: str
    model: str  # the name of its file
    kind: str = CLASSES
    names: tuple[str, ...] = ()  # the classes
    numbers: tuple[str, ...] = ()  # other values that it gives, behind those of the classes
    streams: str = "both"
    frames: int = 16  # T: segments times duration
    duration: int = 1
    sampling: str = "whole"
    downsample: int = 1
    size: int = 224
    normalize: str = "none"
    crop_body: bool = False
    temperature: float = 1.0  # logits are divided by it
    calibrated: bool = False
    window: int = 300  # frames that a model of kind "frames" reads together
    stride: int = 200
    trained_on: str | None = None  # what the training set said of itself
    face_width: float | None = None  # pixels, of a face in the middle of those it was trained on

    @property
    def views(self) -> tuple[str, ...]:
        return ("face", "context") if self.streams == "both" else (self.streams,)

    @property
    def columns(self) -> tuple[str, ...]:
        """A name for every value of an answer."""
        return (*(f"prob_{name}" for name in self.names), *self.numbers)

    @property
    def needs_face(self) -> bool:
        """Whether there is no answer without a face."""
        return self.streams == "face"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "About":
        """A ValueError or TypeError where that is nothing that a model can be fed by."""
        about = cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()})
        counts = (about.frames, about.duration, about.downsample, about.size, about.window, about.stride)
        sizes = (about.temperature, 1.0 if about.face_width is None else about.face_width)
        known = about.kind in KINDS and about.streams in ("both", "face", "context")
        columns = (*about.names, *about.numbers)
        if not (known and all(isinstance(name, str) for name in columns) and len({*columns}) == len(columns)):
            raise ValueError
        if not (all(type(one) is int and one > 0 for one in counts) and all(0 < one < inf for one in sizes)):
            raise ValueError
        if about.frames % about.duration or not isinstance(about.trained_on, str | None):
            raise ValueError
        return about


class Runner(Protocol):
    about: About

    def __call__(self, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
        """(B, T, 3, S, S) uint8 of each stream that ``about`` names, None for another → (B, C) float32."""
        ...


class Halves(Protocol):
    """A runner that can keep what it saw of a frame: windows overlap, and a frame is looked at once."""

    about: About

    def encode(self, squares: np.ndarray) -> np.ndarray:
        """(N, 3, S, S) uint8 of any stream → (N, D)."""
        ...

    def head(self, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
        """(B, T, D) each → (B, C) float32; of kind "frames" (B, L, D) → (B, L, C)."""
        ...


class Whole:
    """A runner that cannot be halved, with the same face: what is kept of a frame is its pixels."""

    def __init__(self, runner: Runner) -> None:
        self.about, self.head, self.doubts = runner.about, runner, getattr(runner, "doubts", ())

    def encode(self, squares: np.ndarray) -> np.ndarray:
        return squares


def in_halves(runner: Any) -> Halves:
    return runner if hasattr(runner, "encode") else Whole(runner)


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """(B, C) → (B, C): softmax(logits / temperature)."""
    scaled = logits.astype(np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)
