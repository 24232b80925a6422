"""How a student behaves over a clip: calm study, and the four ways in which it turns into something else."""

from types import SimpleNamespace

import numpy as np

from simulate.moment import Moment
from simulate.track import blink, bump, drift, level_of, moments_of

EMOTIONS = ("Neutrality", "Enjoyment", "Confusion", "Fatigue", "Distraction")
PHONE_SHARE = 0.62  # of distraction; clips with a phone win more votes, which makes it about two thirds
WORK_HANDS = {
    "book": ("page", "page"), "notebook": ("desk", "write"), "laptop": ("type", "type"), "lesson": ("desk", "desk"),
}  # fmt: skip


def draw_behaviour(emotion: int, frames: int, rng: np.random.Generator) -> tuple[Moment, ...]:
    """The moments of one clip that is meant to show ``EMOTIONS[emotion]``; how strongly is left to chance."""
    track = _study(frames, rng)
    (_stay_calm, _enjoy, _puzzle, _tire, _stray)[emotion](track, rng)
    return moments_of(track)


def _study(frames: int, rng: np.random.Generator) -> SimpleNamespace:
    """Calm reading, writing, typing or listening: what every clip starts from."""
    track = SimpleNamespace(
        frames=frames, work=str(rng.choice(("book", "notebook", "laptop", "lesson"), p=(0.3, 0.3, 0.25, 0.15)))
    )
    track.phone = str(rng.choice(("none", "desk"), p=(0.65, 0.35)))
    track.attention = ["work"] * frames
    track.wiggle = np.sin(np.arange(frames) * rng.uniform(0.5, 1.3) + rng.uniform(0, 6))
    track.brow_raise, track.brow_tilt = rng.normal(0, 0.12) + drift(track, rng, 0.06), rng.normal(0, 0.08)
    track.brow_furrow = abs(rng.normal(0, 0.14)) + drift(track, rng, 0.04)
    track.smile, track.mouth_press = rng.normal(0.02, 0.09) + drift(track, rng, 0.04), abs(rng.normal(0, 0.12))
    track.mouth_open = max(0.0, rng.normal(-0.05, 0.05))
    track.slump, track.forward = rng.uniform(0, 0.4) + drift(track, rng, 0.03), rng.uniform(0, 0.6)
    track.lean, track.roll = rng.normal(0, 0.35) + drift(track, rng, 0.05), rng.normal(0, 3) + drift(track, rng, 1)
    blink(track, rng)
    _look_at_work(track, rng)
    _place_hands(track, rng)
    return track


def _look_at_work(track: SimpleNamespace, rng: np.random.Generator) -> None:
    """Eyes and head towards the page, the screen or the teacher."""
    pitch, gaze, spread = {"laptop": (7, 0.42, 6), "lesson": (-1, 0.0, 11)}.get(track.work, (14, 0.78, 6))
    track.pitch = rng.normal(pitch, 2.5) + drift(track, rng, 1.2)
    track.yaw = rng.normal(0, spread) + drift(track, rng, 2)
    track.gaze_y = rng.normal(gaze, 0.1) + drift(track, rng, 0.08)
    track.gaze_x = np.sin(np.arange(track.frames) * rng.uniform(0.4, 0.9)) * 0.2 - track.yaw / 45
    if track.work == "lesson":
        track.gaze_x, track.attention = track.yaw / 40, ["ahead"] * track.frames


def _place_hands(track: SimpleNamespace, rng: np.random.Generator) -> None:
    track.left_hand, track.right_hand = WORK_HANDS[track.work]
    track.left_reach = track.right_reach = 1.0
    if track.work == "book" and rng.random() < 0.5:
        track.left_hand = "desk"
    if rng.random() < 0.2:
        _use_hand(track, "palm", rng)


def _use_hand(track: SimpleNamespace, does: str, rng: np.random.Generator, reach: np.ndarray | float = 1.0) -> None:
    """Give the free hand something else to do: the left one where the right one writes."""
    side = "left" if track.right_hand == "write" or rng.random() < 0.5 else "right"
    setattr(track, f"{side}_hand", does)
    setattr(track, f"{side}_reach", reach)


def _glance(track: SimpleNamespace, rng: np.random.Generator, width: float) -> None:
    """Look up from the work for a while."""
    up = bump(track, rng, width)
    track.gaze_y, track.pitch = track.gaze_y * (1 - up), track.pitch * (1 - 0.7 * up)
    track.attention = ["ahead" if share > 0.5 else was for share, was in zip(up, track.attention, strict=True)]


def _stay_calm(track: SimpleNamespace, rng: np.random.Generator) -> None:
    """Neutrality, with the small events that calm people show too."""
    if rng.random() < 0.15:
        track.smile = track.smile + rng.uniform(0.25, 0.6) * bump(track, rng, 9)
    if rng.random() < 0.2:
        _glance(track, rng, rng.uniform(5, 12))
    if rng.random() < 0.15:
        track.eyelid = track.eyelid * rng.uniform(0.68, 0.9)
    if rng.random() < 0.1:
        track.yaw = track.yaw + rng.uniform(12, 30) * (-1, 1)[rng.integers(2)] * bump(track, rng, 7)


def _enjoy(track: SimpleNamespace, rng: np.random.Generator) -> None:
    """Smiles and laughter over the same work."""
    strength, level = rng.uniform(0.3, 1), level_of(track, rng)
    track.smile = track.smile + strength * level
    track.brow_raise = track.brow_raise + 0.25 * strength * level
    if rng.random() < 0.45:
        laugh = bump(track, rng, rng.uniform(8, 24))
        track.mouth_open = track.mouth_open + laugh * rng.uniform(0.25, 0.7) * strength
        track.pitch = track.pitch + laugh * 4 * np.sin(np.arange(track.frames) * 1.3)
        track.eyelid = track.eyelid * (1 - 0.4 * laugh * strength)
    if rng.random() < 0.35:
        _glance(track, rng, rng.uniform(8, 26))


def _puzzle(track: SimpleNamespace, rng: np.random.Generator) -> None:
    """Confusion: brows, a tilted head, a hand at the chin or in the hair; all of it small."""
    strength, level, side = rng.uniform(0.35, 1), level_of(track, rng), (-1, 1)[rng.integers(2)]
    track.brow_furrow = track.brow_furrow + strength * rng.uniform(0.5, 1) * level
    track.brow_tilt = track.brow_tilt + side * strength * rng.uniform(0, 0.9) * level
    track.roll = track.roll + side * (3 + 8 * strength * rng.uniform(0.3, 1)) * level
    track.mouth_press = track.mouth_press + strength * rng.uniform(0, 0.8) * level
    track.smile = track.smile - 0.3 * strength * level
    if rng.random() < 0.5:
        _use_hand(track, str(rng.choice(("chin", "head", "pen"))), rng, np.clip(level * 1.2, 0, 1))
    if rng.random() < 0.3:
        _glance(track, rng, rng.uniform(8, 20))


def _tire(track: SimpleNamespace, rng: np.random.Generator) -> None:
    """Fatigue: heavy lids, yawns, nods, a body that sinks."""
    strength, level = rng.uniform(0.35, 1), level_of(track, rng)
    track.eyelid = track.eyelid * (1 - 0.75 * strength * level)
    track.slump = track.slump + 0.5 * strength * rng.uniform(0.3, 1)
    track.brow_raise = track.brow_raise + 0.25 * strength * level * (rng.random() < 0.5)
    if rng.random() < 0.4:
        yawn = bump(track, rng, rng.uniform(10, 18))
        track.mouth_open, track.eyelid = track.mouth_open + 0.95 * yawn, track.eyelid * (1 - 0.85 * yawn)
        track.pitch = track.pitch - 8 * yawn
        if rng.random() < 0.4:
            _use_hand(track, "mouth", rng, yawn)
    elif rng.random() < 0.5:
        _use_hand(track, str(rng.choice(("palm", "palm", "eye"))), rng)
    if rng.random() < 0.4:
        nod = np.arange(track.frames) / rng.uniform(11, 18) + rng.random()
        track.pitch = track.pitch + 11 * strength * (nod % 1) ** 2


def _stray(track: SimpleNamespace, rng: np.random.Generator) -> None:
    """Distraction: a phone instead of the book, or eyes that leave the desk."""
    if rng.random() < PHONE_SHARE:
        _take_phone(track, rng)
    else:
        _turn_away(track, rng)


def _take_phone(track: SimpleNamespace, rng: np.random.Generator) -> None:
    """The face keeps reading; only what the hands hold has changed."""
    resting = [side for side in ("left", "right") if getattr(track, f"{side}_hand") == "palm"]
    work, track.work = track.work, str(rng.choice(("book", "laptop"), p=(0.7, 0.3)))
    _look_at_work(track, rng)
    track.work, track.phone, track.attention = work, "held", ["phone"] * track.frames
    hands = [side for side in ("left", "right") if side not in resting]
    if len(hands) == 2 and rng.random() < 0.5:
        hands.remove(str(rng.choice(hands)))
    for side in ("left", "right"):
        does = "phone" if side in hands else "palm" if side in resting else "desk"
        setattr(track, f"{side}_hand", does)
        setattr(track, f"{side}_reach", 1.0)
    track.slump = np.clip(track.slump, 0, 0.5)
    if rng.random() < 0.15:
        _glance(track, rng, rng.uniform(5, 10))


def _turn_away(track: SimpleNamespace, rng: np.random.Generator) -> None:
    """Out of the window, to a neighbour, into the air."""
    side, level = (-1, 1)[rng.integers(2)], np.clip(level_of(track, rng), 0, 1)
    track.yaw = track.yaw * (1 - level) + side * rng.uniform(20, 46) * level
    track.pitch = track.pitch * (1 - level) + rng.normal(-2, 5) * level
    track.gaze_x = track.gaze_x * (1 - level) + side * rng.uniform(0.35, 1) * level
    track.gaze_y = track.gaze_y * (1 - level) + rng.normal(-0.1, 0.2) * level
    track.attention = ["away" if share > 0.5 else was for share, was in zip(level, track.attention, strict=True)]
    if track.right_hand == "write":
        track.right_hand = "fiddle"  # the pen stays in the hand, but who looks away does not write
    elif rng.random() < 0.4:
        _use_hand(track, "fiddle" if rng.random() < 0.6 else "palm", rng)
