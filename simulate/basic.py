"""How a person shows one or two of the eleven emotions over a clip: onset, apex, offset; strong or weak, never pure."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from simulate.actions import ACTIONS, HABITS, HANDS_AT_FACE, SIDED, Action
from simulate.moment import Moment
from simulate.track import blink, bump, drift, moments_of

STRENGTHS = (0.25, 1.05)  # of a clip; below about 0.4 it is hard to tell from a calm one
BLENDED = 0.85  # of its strength, what each of two emotions keeps
FOREIGN_SHARE, FOREIGN_STRENGTH = 0.5, (0.3, 0.7)  # a movement that belongs to another emotion


@dataclass(frozen=True)
class Temper:
    """What is a person's own in the way emotions show."""

    liveliness: float  # factor of every movement
    lowered: float  # 0 … 1: looks and hangs down out of habit
    brow_raise: float  # at rest, as the next two
    brow_furrow: float
    smile: float


def draw_temper(rng: np.random.Generator) -> Temper:
    """A random person's ways."""
    return Temper(
        liveliness=rng.uniform(0.7, 1.15),
        lowered=rng.beta(1.2, 2.5),
        brow_raise=rng.normal(0, 0.1),
        brow_furrow=abs(rng.normal(0, 0.08)),
        smile=rng.normal(0, 0.07),
    )


def draw_emotions(emotions: tuple[str, ...], frames: int, temper: Temper, rng: np.random.Generator) -> tuple[Moment]:
    """The moments of a clip that is meant to show ``emotions``, one or two blended."""
    track, side = rest_track(frames, temper, rng), (-1, 1)[rng.integers(2)]
    level = _envelope(frames, rng)
    strength = rng.uniform(*STRENGTHS) * temper.liveliness * (BLENDED if len(emotions) > 1 else 1)
    for emotion in emotions:
        for action in ACTIONS[emotion]:
            if rng.random() < action.chance:
                _move(track, action, side, strength * rng.uniform(0.75, 1.2) * _lagged(level, rng))
        if emotion in GESTURES:
            GESTURES[emotion](track, strength * level, rng)
        _use_hand(track, HANDS_AT_FACE.get(emotion, ()), level, rng)
    _distract(track, emotions, rng)
    return moments_of(track)


def rest_track(frames: int, temper: Temper, rng: np.random.Generator) -> SimpleNamespace:
    """A calm person before a camera: what every clip starts from."""
    track = SimpleNamespace(frames=frames, work="lesson", phone="none", attention=["ahead"] * frames, wiggle=0.0)
    track.brow_raise = temper.brow_raise + rng.normal(0, 0.07) + drift(track, rng, 0.06)
    track.brow_furrow = temper.brow_furrow + drift(track, rng, 0.04)
    track.brow_tilt, track.smile = rng.normal(0, 0.08), temper.smile + rng.normal(0, 0.06) + drift(track, rng, 0.05)
    track.mouth_press, track.mouth_open = abs(rng.normal(0, 0.1)), max(0.0, rng.normal(-0.05, 0.05))
    blink(track, rng, rest=(0.68, 0.8))
    track.gaze_x, track.yaw = rng.normal(0, 0.18) + drift(track, rng, 0.1), rng.normal(0, 8) + drift(track, rng, 2)
    track.gaze_y = 0.4 * temper.lowered + rng.normal(-0.05, 0.1) + drift(track, rng, 0.08)
    track.pitch = 8 * temper.lowered + rng.normal(-1.5, 3) + drift(track, rng, 1)
    track.roll, track.lean = rng.normal(0, 3) + drift(track, rng, 1), rng.normal(0, 0.25)
    track.slump, track.forward = 0.4 * temper.lowered + rng.uniform(0, 0.2), rng.uniform(0, 0.3)
    track.left_hand = track.right_hand = "desk"
    track.left_reach = track.right_reach = 1.0
    return track


def _envelope(frames: int, rng: np.random.Generator) -> np.ndarray:
    """0 → 1 → 0 over the clip, (frames,); onset or offset may lie outside, the apex around the middle never does."""
    time = (np.arange(frames) + 0.5) / frames
    rise = np.clip((time - rng.uniform(-0.25, 0.3)) / rng.uniform(0.1, 0.25), 0, 1)
    fall = np.clip((time - rng.uniform(0.6, 1.5)) / rng.uniform(0.15, 0.4), 0, 1)
    return np.sin(rise * np.pi / 2) * np.cos(fall * np.pi / 2)


def _lagged(level: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Parts of a face do not move at once."""
    late = rng.uniform(0, 0.08) * len(level)
    return np.interp(np.arange(len(level)) - late, np.arange(len(level)), level)


def _move(track: SimpleNamespace, action: Action, side: int, amount: np.ndarray) -> None:
    sign = side if action.latent in SIDED else 1
    setattr(track, action.latent, getattr(track, action.latent) + sign * action.size * amount)


def _laugh(track: SimpleNamespace, amount: np.ndarray, rng: np.random.Generator) -> None:
    if rng.random() < 0.35:
        shakes = np.sin(np.arange(track.frames) * rng.uniform(1.2, 1.6))
        track.pitch, track.mouth_open = track.pitch + 3 * amount * shakes, track.mouth_open + 0.12 * amount * shakes


def _dart(track: SimpleNamespace, amount: np.ndarray, rng: np.random.Generator) -> None:
    """Eyes that jump from side to side, the head a little behind them."""
    stays = np.repeat(np.arange(track.frames), rng.integers(2, 5, track.frames))[: track.frames]
    places = rng.uniform(0.45, 1.0, track.frames) * (-1) ** np.arange(track.frames) * (-1, 1)[rng.integers(2)]
    track.gaze_x = track.gaze_x + np.minimum(1.0, 1.2 * amount) * places[stays]
    track.yaw = track.yaw + 4 * amount * places[stays]


def _shake(track: SimpleNamespace, amount: np.ndarray, rng: np.random.Generator) -> None:
    """The head says no."""
    if rng.random() < 0.4:
        track.yaw = track.yaw + 11 * amount * np.sin(np.arange(track.frames) * rng.uniform(0.8, 1.3))


GESTURES = {"happiness": _laugh, "anxiety": _dart, "helplessness": _shake, "disgust": _shake}


def _use_hand(track: SimpleNamespace, choices: tuple, level: np.ndarray, rng: np.random.Generator) -> None:
    """At most one hand does at most one thing, and only while the emotion shows."""
    for does, chance in (*choices, *HABITS):
        if rng.random() < chance and track.left_hand == track.right_hand == "desk":
            side = ("left", "right")[rng.integers(2)]
            setattr(track, f"{side}_hand", does)
            setattr(track, f"{side}_reach", np.clip(1.3 * level, 0, 1))


def _distract(track: SimpleNamespace, emotions: tuple[str, ...], rng: np.random.Generator) -> None:
    """Talk, glances, turns, and now and then a movement that belongs to another emotion: they say nothing."""
    if rng.random() < 0.3:
        words = np.abs(np.sin(np.arange(track.frames) * rng.uniform(0.7, 1.4)))
        track.mouth_open = track.mouth_open + rng.uniform(0.15, 0.32) * words * bump(track, rng, 0.7 * track.frames)
    if rng.random() < 0.25:
        track.gaze_x = track.gaze_x + rng.uniform(0.3, 0.8) * (-1, 1)[rng.integers(2)] * bump(track, rng, 4)
    if rng.random() < 0.2:
        track.yaw = track.yaw + rng.uniform(8, 20) * (-1, 1)[rng.integers(2)] * bump(track, rng, 8)
    if rng.random() < FOREIGN_SHARE:
        others = [action for name in ACTIONS if name not in emotions for action in ACTIONS[name]]
        size = rng.uniform(*FOREIGN_STRENGTH) * bump(track, rng, rng.uniform(4, 10))
        _move(track, others[rng.integers(len(others))], (-1, 1)[rng.integers(2)], size)
