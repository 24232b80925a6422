"""What can be seen over a clip: its attributes at first and at the apex, and the movements that only time shows."""

from dataclasses import dataclass

import numpy as np

from simulate.attributes import read_attributes
from simulate.moment import Moment
from simulate.scene import Scene

CALM_LID = 0.74
PARTS = ("mouth", "brows", "eyes", "gaze", "head")  # what can change in a face


@dataclass(frozen=True)
class Change:
    """Attributes, by name, of the first and of the most expressive moment."""

    first: dict[str, str]
    apex: dict[str, str]


def read_change(scene: Scene, moments: tuple[Moment, ...]) -> Change:
    """Both ends of what happens in the clip; where the apex comes first, the last moment stands for the first."""
    at = find_apex(moments)
    other = moments[0] if at > len(moments) // 4 else moments[-1]
    apex = read_face(scene, moments[at]) | _read_movements(moments)
    return Change(read_face(scene, other), apex)


def find_apex(moments: tuple[Moment, ...]) -> int:
    """The frame in the middle of the most expressive three."""
    efforts = np.pad([_effort(moment) for moment in moments], 1, mode="edge")
    return int(np.convolve(efforts, np.ones(3) / 3, "valid").argmax())


def _effort(moment: Moment) -> float:
    """How far a face and head are from calm; a blink is no effort."""
    lids = abs(moment.eyelid - CALM_LID) if moment.eyelid > 0.3 else 0.0
    brows = abs(moment.brow_raise) + moment.brow_furrow + 0.7 * abs(moment.brow_tilt)
    mouth = abs(moment.smile) + moment.mouth_open + 0.7 * moment.mouth_press
    head = abs(moment.yaw) / 40 + abs(moment.pitch) / 25 + abs(moment.roll) / 25
    return brows + mouth + head + 1.5 * lids + 0.6 * (abs(moment.gaze_x) + abs(moment.gaze_y))


def read_face(scene: Scene, moment: Moment) -> dict[str, str]:
    """The attributes of a frame, with finer words for what emotions do to a face."""
    seen = read_attributes(scene, moment)
    seen["brows"] = _finer_brows(moment, seen["brows"])
    seen["mouth"] = _finer_mouth(moment, seen["mouth"])
    if seen["eyes"] == "open":
        seen["eyes"] = "wide" if moment.eyelid > 0.9 else "narrowed" if moment.eyelid < 0.6 else "open"
    elif seen["eyes"] == "half closed" and moment.smile > 0.25:
        seen["eyes"] = "narrowed"  # by the cheeks, not by sleep
    return seen


def _finer_brows(moment: Moment, brows: str) -> str:
    if moment.brow_furrow > 0.3 and abs(moment.brow_raise) > 0.3:
        return "raised and drawn together" if moment.brow_raise > 0 else "lowered and drawn together"
    if brows == "at rest" and max(moment.brow_furrow, abs(moment.brow_raise)) > 0.22:
        closer = moment.brow_furrow > abs(moment.brow_raise)
        return "slightly furrowed" if closer else "slightly raised" if moment.brow_raise > 0 else "slightly lowered"
    return brows


def _finer_mouth(moment: Moment, mouth: str) -> str:
    if mouth == "at rest" and abs(moment.smile) > 0.13:
        return "slightly up" if moment.smile > 0 else "slightly down"
    if moment.smile < -0.2:
        return {"pressed": "pressed, corners down", "slightly open": "open, corners down"}.get(mouth, mouth)
    return mouth


def _read_movements(moments: tuple[Moment, ...]) -> dict[str, str]:
    """Eyes that dart, a head that shakes, lips that talk."""
    seen = {}
    if _turns(moments, "gaze_x", 0.5) >= 3:
        seen["gaze"] = "darting"
    if _turns(moments, "yaw", 5) >= 3:
        seen["head"] = "shaking"
    if _turns(moments, "mouth_open", 0.12) >= 4:
        seen["speech"] = "yes"
    return seen


def _turns(moments: tuple[Moment, ...], latent: str, least: float) -> int:
    """How often a latent goes back by more than ``least``."""
    turns, direction, extreme = 0, 0, getattr(moments[0], latent)
    for value in (getattr(moment, latent) for moment in moments):
        if direction * (value - extreme) >= 0 and direction:
            extreme = value
        elif abs(value - extreme) > least:
            turns, direction, extreme = turns + (direction != 0), (1 if value > extreme else -1), value
    return turns
