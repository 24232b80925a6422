"""A learner before a webcam: how engaged, bored, confused and frustrated, and what that looks like over a clip."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from simulate.basic import Temper, rest_track
from simulate.moment import Moment
from simulate.track import bump, drift, level_of, moments_of

MOST = 3  # levels are 0 to 3
RARELY = (0.55, 0.25, 0.13, 0.07)  # levels of confusion, and of frustration at its least


@dataclass(frozen=True)
class Levels:
    """The four affects of a clip, 0 very low … 3 very high."""

    boredom: int
    engagement: int
    confusion: int
    frustration: int


def draw_levels(engagement: int, rng: np.random.Generator) -> Levels:
    """The other three beside a given engagement: boredom opposes it, frustration follows confusion."""
    boredom = int(np.clip(round(MOST - engagement + rng.normal(0, 0.7)), 0, MOST))
    confusion = int(rng.choice(MOST + 1, p=RARELY))
    frustration = int(np.clip(rng.choice(MOST + 1, p=RARELY) + (confusion > 1 and rng.random() < 0.5), 0, MOST))
    return Levels(boredom, engagement, confusion, frustration)


def draw_learner(levels: Levels, frames: int, temper: Temper, rng: np.random.Generator) -> tuple[Moment, ...]:
    """The moments of a clip of these levels; every level is shown a little more or less than it is."""
    track = rest_track(frames, temper, rng)
    amount = {name: np.clip((level + rng.normal(0, 0.45)) / MOST, 0, 1.1) for name, level in vars(levels).items()}
    _watch(track, amount["engagement"], rng)
    _tire_of_it(track, amount["boredom"], rng)
    _puzzle(track, amount["confusion"] * level_of(track, rng), rng)
    _fret(track, amount["frustration"] * level_of(track, rng), rng)
    return moments_of(track)


def _watch(track: SimpleNamespace, engaged: float, rng: np.random.Generator) -> None:
    """Eyes on the screen and close to it, or away from it and back in the chair."""
    track.gaze_y, track.pitch = track.gaze_y + 0.25, track.pitch + 5
    track.gaze_x = track.gaze_x * 0.5
    track.forward = track.forward + 0.8 * max(0.0, engaged - 0.4)
    track.brow_raise = track.brow_raise + 0.4 * max(0.0, engaged - 0.5)
    track.eyelid = track.eyelid + 0.22 * (engaged - 0.45)
    for _ in range(rng.poisson(3.2 * max(0.0, 0.85 - engaged))):
        side, away = (-1, 1)[rng.integers(2)], bump(track, rng, rng.uniform(0.2, 0.7) * track.frames)
        track.yaw, track.gaze_x = track.yaw + side * rng.uniform(14, 36) * away, track.gaze_x + side * 0.6 * away
        track.attention = ["away" if share > 0.5 else was for share, was in zip(away, track.attention, strict=True)]
    if engaged < 0.3 and rng.random() < 0.4:  # eyes on something in the lap
        track.gaze_y, track.pitch = track.gaze_y + 0.5, track.pitch + 11


def _tire_of_it(track: SimpleNamespace, bored: float, rng: np.random.Generator) -> None:
    track.eyelid, track.slump = track.eyelid * (1 - 0.4 * bored), track.slump + 0.6 * bored * rng.uniform(0.4, 1)
    track.smile = track.smile - 0.25 * bored
    if rng.random() < 0.45 * bored:
        _raise_hand(track, "palm", rng)
    if rng.random() < 0.35 * bored:
        yawn = bump(track, rng, rng.uniform(6, 10))
        track.mouth_open, track.eyelid = track.mouth_open + 0.9 * yawn, track.eyelid * (1 - 0.7 * yawn)


def _puzzle(track: SimpleNamespace, confused: np.ndarray, rng: np.random.Generator) -> None:
    side = (-1, 1)[rng.integers(2)]
    track.brow_furrow, track.roll = track.brow_furrow + 0.8 * confused, track.roll + side * 8 * confused
    track.brow_tilt = track.brow_tilt + side * 0.5 * confused
    if rng.random() < 0.35 * confused.max():
        _raise_hand(track, ("chin", "head")[rng.integers(2)], rng)


def _fret(track: SimpleNamespace, frustrated: np.ndarray, rng: np.random.Generator) -> None:
    track.mouth_press, track.brow_raise = track.mouth_press + 0.9 * frustrated, track.brow_raise - 0.7 * frustrated
    track.smile, track.yaw = track.smile - 0.4 * frustrated, track.yaw + drift(track, rng, 12) * frustrated


def _raise_hand(track: SimpleNamespace, does: str, rng: np.random.Generator) -> None:
    """To the face, where the hand of that side is free."""
    side = ("left", "right")[rng.integers(2)]
    if getattr(track, f"{side}_hand") == "desk":
        setattr(track, f"{side}_hand", does)
