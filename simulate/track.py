"""A clip as it is being made up: every latent of ``Moment`` over time, and the shapes in which latents move."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np

from simulate.moment import Moment

FIELDS = tuple(field.name for field in fields(Moment))
BOUNDS = {
    "brow_raise": (-1, 1), "brow_furrow": (0, 1), "brow_tilt": (-1, 1), "eyelid": (0, 1), "gaze_x": (-1, 1),
    "gaze_y": (-1, 1), "smile": (-1, 1), "mouth_open": (0, 1), "mouth_press": (0, 1), "yaw": (-50, 50),
    "pitch": (-25, 30), "roll": (-22, 22), "lean": (-1, 1), "slump": (0, 1), "forward": (0, 1),
    "left_reach": (0, 1), "right_reach": (0, 1), "wiggle": (-1, 1),
}  # fmt: skip


def moments_of(track: SimpleNamespace) -> tuple[Moment, ...]:
    """The track cut into frames, every latent within its bounds."""
    columns = []
    for name in FIELDS:
        values = getattr(track, name)
        if name in BOUNDS:
            values = np.clip(np.broadcast_to(values, track.frames), *BOUNDS[name]).round(4).tolist()
        columns.append([values] * track.frames if isinstance(values, str) else values)
    return tuple(Moment(*row) for row in zip(*columns, strict=True))


def drift(track: SimpleNamespace, rng: np.random.Generator, size: float) -> np.ndarray:
    """A slow random wander around zero, (frames,)."""
    speed, phase = rng.uniform(0.05, 0.3, 3), rng.uniform(0, 2 * np.pi, 3)
    return size * np.sin(np.arange(track.frames)[:, None] * speed + phase).mean(1) * 1.4


def bump(track: SimpleNamespace, rng: np.random.Generator, width: float, start: float = 0.0) -> np.ndarray:
    """One rise and fall between 0 and 1, about ``width`` frames long, somewhere in the clip."""
    centre = rng.uniform(start, 0.9) * track.frames
    return np.exp(-(((np.arange(track.frames) - centre) / (0.42 * width)) ** 4))


def level_of(track: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """Near 1 nearly throughout: an expression that comes and stays, or stays and goes."""
    soft = 1 + drift(track, rng, 0.15)
    if rng.random() < 0.5:
        return soft
    edge, sign = rng.uniform(-0.1, 0.4) * track.frames, (-1, 1)[rng.integers(2)]
    steps = np.arange(track.frames)[::sign]
    return soft / (1 + np.exp(-(steps - edge) / 1.5))


def blink(track: SimpleNamespace, rng: np.random.Generator, rest: tuple[float, float] = (0.76, 1.0)) -> None:
    """Lids that rest somewhere between the two values of ``rest``, and now and then a shut frame."""
    track.eyelid = np.full(track.frames, rng.uniform(*rest))
    for at in np.flatnonzero(rng.random(track.frames) < 0.035):
        track.eyelid[at] = 0.0
