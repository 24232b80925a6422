"""Everything that moves in a drawing: one moment of behaviour, and the track of a clip, a series of moments."""

from dataclasses import dataclass, field, fields

import numpy as np


def latent(low: float, high: float, default: float = 0.0) -> float:
    """Return a field of ``Moment`` that is a number between ``low`` and ``high``."""
    return field(default=default, metadata={"bounds": (low, high)})


@dataclass(frozen=True)
class Moment:
    """Everything that moves in one frame, without the identity. Left and right are those of the picture."""

    brow_raise: float = latent(-1, 1)  # lowered … raised
    brow_furrow: float = latent(0, 1)  # drawn together
    brow_tilt: float = latent(-1, 1)  # the left brow higher … the right one
    eyelid: float = latent(0, 1, default=0.9)  # shut … wide, before the lid follows the gaze down
    gaze_x: float = latent(-1, 1)  # left … right, within the eye
    gaze_y: float = latent(-1, 1)  # up … down
    smile: float = latent(-1, 1)  # corners down … corners up
    mouth_open: float = latent(0, 1)
    mouth_press: float = latent(0, 1)  # lips pressed together
    yaw: float = latent(-50, 50)  # degrees, to the right of the picture
    pitch: float = latent(-25, 30)  # degrees, downwards
    roll: float = latent(-22, 22)  # degrees, clockwise
    lean: float = latent(-1, 1)  # body to the side
    slump: float = latent(0, 1)  # upright … sunk
    forward: float = latent(0, 1)  # over the desk
    left_hand: str = "desk"  # or page, write, type, phone, palm, chin, pen, head, mouth, eye, fiddle
    right_hand: str = "desk"
    left_reach: float = latent(0, 1, default=1.0)  # the hand still lies on the desk … it is where its name says
    right_reach: float = latent(0, 1, default=1.0)
    wiggle: float = latent(-1, 1)  # small movement of the busy hand
    work: str = "book"  # or notebook, laptop, or lesson: nothing to read, the student listens
    phone: str = "none"  # or desk (lies unused) or held
    attention: str = "work"  # or ahead, away, phone

    def hand(self, arm: str) -> str:
        """Return what the hand of that arm (left or right) visibly does; a moving hand counts as resting."""
        name, reach = (self.left_hand, self.left_reach) if arm == "left" else (self.right_hand, self.right_reach)
        return name if reach > 0.5 else "desk"


class Track:
    """Builds a clip: every field of ``Moment`` over time, and functions for typical movements of latents.

    A latent is a number or an array (frames,), and ``attention`` is a list with a word for each frame. All random
    numbers come from ``rng``, so the result depends on the order of the calls.
    """

    def __init__(self, frames: int, rng: np.random.Generator) -> None:
        vars(self).update({item.name: item.default for item in fields(Moment)})
        self.frames, self.rng, self.time = frames, rng, np.arange(frames)
        self.look("work")

    def moments(self) -> tuple[Moment, ...]:
        """Return the moment of every frame, with latents clipped to their bounds."""
        columns = []
        for item in fields(Moment):
            values = getattr(self, item.name)
            if item.metadata:
                low, high = item.metadata["bounds"]
                values = np.minimum(np.maximum(values, low), high).round(4).tolist()
            columns.append(values if isinstance(values, list) else [values] * self.frames)
        return tuple(Moment(*row) for row in zip(*columns, strict=True))

    def add(self, name: str, amount: np.ndarray | float) -> None:
        """Add ``amount`` to a latent."""
        setattr(self, name, getattr(self, name) + amount)

    def look(self, target: str, share: np.ndarray | None = None) -> None:
        """Turn attention to ``target``, throughout or in the frames where ``share`` is above one half."""
        if share is None:
            self.attention = [target] * self.frames
        else:
            self.attention = [target if part > 0.5 else old for part, old in zip(share, self.attention, strict=True)]

    def use_hand(self, arm: str, action: str, reach: np.ndarray | float = 1.0) -> None:
        """Give the hand of one arm something to do."""
        setattr(self, f"{arm}_hand", action)
        setattr(self, f"{arm}_reach", reach)

    def sign(self) -> int:
        """Return -1 or 1 with equal probability."""
        return (-1, 1)[self.rng.integers(2)]

    def drift(self, size: float) -> np.ndarray:
        """Return a slow random wander around zero, (frames,)."""
        speed, phase = self.rng.uniform(0.05, 0.3, 3), self.rng.uniform(0, 2 * np.pi, 3)
        return size * (np.sin(self.time[:, None] * speed + phase).sum(1) / 3) * 1.4

    def bump(self, width: float) -> np.ndarray:
        """Return one rise and fall between 0 and 1, about ``width`` frames long, somewhere in the clip."""
        centre = self.rng.uniform(0, 0.9) * self.frames
        return np.exp(-(((self.time - centre) / (0.42 * width)) ** 4))

    def level(self) -> np.ndarray:
        """Return (frames,) of an expression that begins and stays, or stays and ends: near 1 most of the time."""
        soft = 1 + self.drift(0.15)
        if self.rng.random() < 0.5:
            return soft
        edge, sign = self.rng.uniform(-0.1, 0.4) * self.frames, self.sign()
        return soft / (1 + np.exp(-(self.time[::sign] - edge) / 1.5))

    def blink(self, low: float, high: float) -> None:
        """Rest the lids somewhere between ``low`` and ``high``, with a shut frame now and then."""
        self.eyelid = np.full(self.frames, self.rng.uniform(low, high))
        self.eyelid[np.flatnonzero(self.rng.random(self.frames) < 0.035)] = 0.0
