"""What can be seen in a frame and over a clip, in words.

Everything is read from the latents that were drawn, so that a caption claims nothing else.
"""

from dataclasses import dataclass

import numpy as np

from simulate.moment import Moment
from simulate.scene import Scene

HAND_WORDS = {
    "phone": "holding a phone",
    "head": "scratching the head",
    "chin": "touching the chin",
    "pen": "pen at the lips",
    "palm": "cheek on a palm",
    "mouth": "covering the mouth",
    "eye": "rubbing an eye",
    "fiddle": "twirling a pen",
    "write": "writing",
    "type": "typing",
    "page": "holding the pages",
    "desk": "resting",
}  # the first that either hand does is named
WORK_WORDS = {"book": "book", "notebook": "notebook and pen", "laptop": "laptop", "lesson": "none"}
CALM_EYELID = 0.74
FACE_PARTS = ("mouth", "brows", "eyes", "gaze", "head")  # what can change in a face


def read_attributes(scene: Scene, moment: Moment) -> dict[str, str]:
    """Return everything nameable about one frame of ``scene``."""
    hands = {moment.hand("left"), moment.hand("right")}
    return {
        "mouth": _mouth(moment),
        "brows": _brows(moment),
        "eyes": _eyes(moment),
        "gaze": _gaze(moment),
        "target": _target(moment),
        "head": _head(moment),
        "posture": _posture(moment),
        "hands": next(words for name, words in HAND_WORDS.items() if name in hands),
        "object": "phone" if moment.phone == "held" else WORK_WORDS[moment.work],
        "idle phone": "yes" if moment.phone == "desk" else "no",
        "place": scene.room.lower(),
        "glasses": scene.identity.glasses,
        "hair": scene.identity.hair,
        "clothes": scene.outfit.kind,
    }


def _mouth(moment: Moment) -> str:
    if moment.smile > 0.25:
        return "laughing" if moment.mouth_open > 0.2 else "smiling broadly" if moment.smile > 0.6 else "smiling"
    if moment.mouth_open > 0.5:
        return "yawning" if moment.eyelid < 0.5 else "wide open"
    if moment.mouth_open > 0.15:
        return "slightly open"
    if moment.mouth_press > 0.4:
        return "pressed"
    return "corners down" if moment.smile < -0.2 else "at rest"


def _brows(moment: Moment) -> str:
    if moment.brow_furrow > 0.4:
        return "furrowed"
    if abs(moment.brow_tilt) > 0.4:
        return "uneven"
    return "raised" if moment.brow_raise > 0.35 else "lowered" if moment.brow_raise < -0.35 else "at rest"


def _eyes(moment: Moment) -> str:
    if moment.eyelid < 0.5:
        return "closed" if moment.eyelid < 0.12 else "half closed"
    return "lowered" if moment.gaze_y > 0.4 else "open"


def _gaze(moment: Moment) -> str:
    """Return the direction alone, as far as the face shows it."""
    if moment.eyelid < 0.12:
        return "hidden"
    across = moment.yaw / 45 + 0.6 * moment.gaze_x
    if abs(across) > 0.55:
        return "right" if across > 0 else "left"
    return "down" if moment.gaze_y > 0.25 else "up" if moment.gaze_y < -0.35 else "ahead"


def _target(moment: Moment) -> str:
    if moment.eyelid < 0.12:
        return "nothing"
    if moment.attention != "work":
        return moment.attention
    return "ahead" if moment.work == "lesson" else moment.work


def _head(moment: Moment) -> str:
    if abs(moment.yaw) > 20:
        return "turned right" if moment.yaw > 0 else "turned left"
    if abs(moment.roll) > 7:
        return "tilted"
    return "bowed" if moment.pitch > 10 else "raised" if moment.pitch < -6 else "upright"


def _posture(moment: Moment) -> str:
    if moment.slump > 0.6:
        return "slumped"
    if moment.forward > 0.5:
        return "leaning forward"
    return "leaning sideways" if abs(moment.lean) > 0.55 else "upright"


@dataclass(frozen=True)
class Change:
    """What can be seen over a clip: attributes, by name, of its first and of its most expressive moment."""

    first: dict[str, str]
    apex: dict[str, str]


def read_change(scene: Scene, moments: tuple[Moment, ...]) -> Change:
    """Return both ends of what happens in the clip.

    Where the apex comes early, the last moment stands for the first. The apex also names what only time shows: eyes
    that dart, a head that shakes, lips that talk.
    """
    number = find_apex(moments)
    calmer = moments[0] if number > len(moments) // 4 else moments[-1]
    apex = _read_finely(scene, moments[number])
    if _count_turns(moments, "gaze_x", 0.5) >= 3:
        apex["gaze"] = "darting"
    if _count_turns(moments, "yaw", 5) >= 3:
        apex["head"] = "shaking"
    if _count_turns(moments, "mouth_open", 0.12) >= 4:
        apex["speech"] = "yes"
    return Change(_read_finely(scene, calmer), apex)


def find_apex(moments: tuple[Moment, ...]) -> int:
    """Return the number of the frame in the middle of the most expressive three."""
    efforts = np.pad([_effort(moment) for moment in moments], 1, mode="edge")
    return int(np.convolve(efforts, np.ones(3) / 3, "valid").argmax())


def _effort(moment: Moment) -> float:
    """Return how far a face and head are from calm; a blink is no effort."""
    lids = abs(moment.eyelid - CALM_EYELID) if moment.eyelid > 0.3 else 0.0
    brows = abs(moment.brow_raise) + moment.brow_furrow + 0.7 * abs(moment.brow_tilt)
    mouth = abs(moment.smile) + moment.mouth_open + 0.7 * moment.mouth_press
    head = abs(moment.yaw) / 40 + abs(moment.pitch) / 25 + abs(moment.roll) / 25
    return brows + mouth + head + 1.5 * lids + 0.6 * (abs(moment.gaze_x) + abs(moment.gaze_y))


def _read_finely(scene: Scene, moment: Moment) -> dict[str, str]:
    """Return the attributes of a frame, with finer words for what emotions do to a face."""
    attributes = read_attributes(scene, moment)
    lift, furrow, smile = moment.brow_raise, moment.brow_furrow, moment.smile
    if furrow > 0.3 and abs(lift) > 0.3:
        attributes["brows"] = "raised and drawn together" if lift > 0 else "lowered and drawn together"
    elif attributes["brows"] == "at rest" and max(furrow, abs(lift)) > 0.22:
        word = "furrowed" if furrow > abs(lift) else "raised" if lift > 0 else "lowered"
        attributes["brows"] = f"slightly {word}"
    if attributes["mouth"] == "at rest" and abs(smile) > 0.13:
        attributes["mouth"] = "slightly up" if smile > 0 else "slightly down"
    elif smile < -0.2:
        sad = {"pressed": "pressed, corners down", "slightly open": "open, corners down"}
        attributes["mouth"] = sad.get(attributes["mouth"], attributes["mouth"])
    if attributes["eyes"] == "open":
        attributes["eyes"] = "wide" if moment.eyelid > 0.9 else "narrowed" if moment.eyelid < 0.6 else "open"
    elif attributes["eyes"] == "half closed" and smile > 0.25:
        attributes["eyes"] = "narrowed"  # by the cheeks, not by sleep
    return attributes


def _count_turns(moments: tuple[Moment, ...], latent: str, least: float) -> int:
    """Return how often a latent goes back by more than ``least``."""
    turns, direction, extreme = 0, 0, getattr(moments[0], latent)
    for value in (getattr(moment, latent) for moment in moments):
        if direction * (value - extreme) >= 0 and direction:
            extreme = value
        elif abs(value - extreme) > least:
            turns, direction, extreme = turns + (direction != 0), (1 if value > extreme else -1), value
    return turns
