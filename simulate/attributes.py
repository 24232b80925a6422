"""What can be seen in a frame and over a clip, in words.

Everything is read from the latents that were drawn, so that a caption claims nothing else.
"""

from collections.abc import Callable

import numpy as np

from simulate.moment import Moment
from simulate.scene import Scene

Conditions = dict[str, Callable[[Moment], bool]]


def _does(action: str) -> Callable[[Moment], bool]:
    """Return whether either hand does ``action``."""
    return lambda m: action in (m.hand("left"), m.hand("right"))


WORDS: dict[str, Conditions] = {  # for each attribute the words; the first one whose condition holds is taken
    "mouth": {
        "laughing": lambda m: m.smile > 0.25 and m.mouth_open > 0.2,
        "smiling broadly": lambda m: m.smile > 0.6,
        "smiling": lambda m: m.smile > 0.25,
        "yawning": lambda m: m.mouth_open > 0.5 and m.eyelid < 0.5,
        "wide open": lambda m: m.mouth_open > 0.5,
        "slightly open": lambda m: m.mouth_open > 0.15,
        "pressed": lambda m: m.mouth_press > 0.4,
        "corners down": lambda m: m.smile < -0.2,
        "at rest": lambda m: True,
    },
    "brows": {
        "furrowed": lambda m: m.brow_furrow > 0.4,
        "uneven": lambda m: abs(m.brow_tilt) > 0.4,
        "raised": lambda m: m.brow_raise > 0.35,
        "lowered": lambda m: m.brow_raise < -0.35,
        "at rest": lambda m: True,
    },
    "eyes": {
        "closed": lambda m: m.eyelid < 0.12,
        "half closed": lambda m: m.eyelid < 0.5,
        "lowered": lambda m: m.gaze_y > 0.4,
        "open": lambda m: True,
    },
    "gaze": {  # the direction alone, as far as the face shows it
        "hidden": lambda m: m.eyelid < 0.12,
        "right": lambda m: m.yaw / 45 + 0.6 * m.gaze_x > 0.55,
        "left": lambda m: m.yaw / 45 + 0.6 * m.gaze_x < -0.55,
        "down": lambda m: m.gaze_y > 0.25,
        "up": lambda m: m.gaze_y < -0.35,
        "ahead": lambda m: True,
    },
    "target": {
        "nothing": lambda m: m.eyelid < 0.12,
        "phone": lambda m: m.attention == "phone",
        "away": lambda m: m.attention == "away",
        "ahead": lambda m: m.attention == "ahead" or m.work == "lesson",
        "book": lambda m: m.work == "book",
        "notebook": lambda m: m.work == "notebook",
        "laptop": lambda m: m.work == "laptop",
    },
    "head": {
        "turned right": lambda m: m.yaw > 20,
        "turned left": lambda m: m.yaw < -20,
        "tilted": lambda m: abs(m.roll) > 7,
        "bowed": lambda m: m.pitch > 10,
        "raised": lambda m: m.pitch < -6,
        "upright": lambda m: True,
    },
    "posture": {
        "slumped": lambda m: m.slump > 0.6,
        "leaning forward": lambda m: m.forward > 0.5,
        "leaning sideways": lambda m: abs(m.lean) > 0.55,
        "upright": lambda m: True,
    },
    "hands": {
        "holding a phone": _does("phone"),
        "scratching the head": _does("head"),
        "touching the chin": _does("chin"),
        "pen at the lips": _does("pen"),
        "cheek on a palm": _does("palm"),
        "covering the mouth": _does("mouth"),
        "rubbing an eye": _does("eye"),
        "twirling a pen": _does("fiddle"),
        "writing": _does("write"),
        "typing": _does("type"),
        "holding the pages": _does("page"),
        "resting": lambda m: True,
    },
    "object": {
        "phone": lambda m: m.phone == "held",
        "book": lambda m: m.work == "book",
        "notebook and pen": lambda m: m.work == "notebook",
        "laptop": lambda m: m.work == "laptop",
        "none": lambda m: True,
    },
    "idle phone": {"yes": lambda m: m.phone == "desk", "no": lambda m: True},
}
FINER_WORDS: tuple[tuple[str, str, str, Callable[[Moment], bool]], ...] = (
    # attribute, word that is replaced, finer word for what emotions do to a face, condition
    ("brows", "any", "raised and drawn together", lambda m: m.brow_furrow > 0.3 and m.brow_raise > 0.3),
    ("brows", "any", "lowered and drawn together", lambda m: m.brow_furrow > 0.3 and m.brow_raise < -0.3),
    ("brows", "at rest", "slightly furrowed", lambda m: m.brow_furrow > max(0.22, abs(m.brow_raise))),
    ("brows", "at rest", "slightly raised", lambda m: m.brow_raise > 0.22),
    ("brows", "at rest", "slightly lowered", lambda m: m.brow_raise < -0.22),
    ("mouth", "at rest", "slightly up", lambda m: m.smile > 0.13),
    ("mouth", "at rest", "slightly down", lambda m: m.smile < -0.13),
    ("mouth", "pressed", "pressed, corners down", lambda m: m.smile < -0.2),
    ("mouth", "slightly open", "open, corners down", lambda m: m.smile < -0.2),
    ("eyes", "open", "wide", lambda m: m.eyelid > 0.9),
    ("eyes", "open", "narrowed", lambda m: m.eyelid < 0.6),
    ("eyes", "half closed", "narrowed", lambda m: m.smile > 0.25),  # by the cheeks, not by sleep
)
CALM_EYELID = 0.74
FACE_PARTS = ("mouth", "brows", "eyes", "gaze", "head")  # what can change in a face


def read_attributes(scene: Scene, moment: Moment) -> dict[str, str]:
    """Return everything nameable about one frame of ``scene``."""
    attributes = {
        name: next(word for word, holds in conditions.items() if holds(moment)) for name, conditions in WORDS.items()
    }
    person = {"glasses": scene.identity.glasses, "hair": scene.identity.hair, "clothes": scene.outfit.kind}
    return attributes | {"place": scene.room.lower()} | person


def read_change(scene: Scene, moments: tuple[Moment, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what can be seen at both ends of a clip: attributes of its first and of its most expressive moment.

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
    return _read_finely(scene, calmer), apex


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
    for name, word, finer_word, holds in FINER_WORDS:
        if word in ("any", attributes[name]) and holds(moment):
            attributes[name] = finer_word
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
