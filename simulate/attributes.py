"""What can be seen in a frame, in words: read from the drawn latents, so that a caption claims nothing else."""

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


def read_attributes(scene: Scene, moment: Moment) -> dict[str, str]:
    """Everything nameable about one frame of ``scene``."""
    doing = {moment.hand("left"), moment.hand("right")}
    return {
        "mouth": _mouth(moment),
        "brows": _brows(moment),
        "eyes": _eyes(moment),
        "gaze": _gaze(moment),
        "target": _target(moment),
        "head": _head(moment),
        "posture": _posture(moment),
        "hands": next(words for name, words in HAND_WORDS.items() if name in doing),
        "object": "phone" if moment.phone == "held" else WORK_WORDS[moment.work],
        "idle phone": "yes" if moment.phone == "desk" else "no",
        "place": scene.place.lower(),
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
    """The direction alone, as far as the face shows it."""
    if moment.eyelid < 0.12:
        return "hidden"
    across = moment.yaw / 45 + 0.6 * moment.gaze_x
    if abs(across) > 0.55:
        return "right" if across > 0 else "left"
    return "down" if moment.gaze_y > 0.25 else "up" if moment.gaze_y < -0.35 else "ahead"


def _target(moment: Moment) -> str:
    if moment.eyelid < 0.12:
        return "nothing"
    work = "ahead" if moment.work == "lesson" else moment.work
    return {"work": work, "ahead": "ahead", "away": "away", "phone": "phone"}[moment.attention]


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
