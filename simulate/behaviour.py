"""The behaviour of a student over a clip: calm study, which turns into one of four other emotions."""

import numpy as np

from simulate.moment import Moment, Track

EMOTIONS = ("Neutrality", "Enjoyment", "Confusion", "Fatigue", "Distraction")
PHONE_SHARE = 0.62  # of distraction; about two thirds after the vote, since clips with a phone get more votes
WORK_HANDS = {
    "book": ("page", "page"), "notebook": ("desk", "write"), "laptop": ("type", "type"), "lesson": ("desk", "desk"),
}  # fmt: skip


def sample_behaviour(emotion: int, frames: int, rng: np.random.Generator) -> tuple[Moment, ...]:
    """Return the moments of one clip that tries to show ``EMOTIONS[emotion]``; its strength is random."""
    track = _study(frames, rng)
    (_stay_calm, _enjoy, _puzzle, _tire, _stray)[emotion](track, rng)
    return track.moments()


def _study(frames: int, rng: np.random.Generator) -> Track:
    """Return calm reading, writing, typing or listening: the start of every clip."""
    track = Track(frames, rng)
    track.work = str(rng.choice(tuple(WORK_HANDS), p=(0.3, 0.3, 0.25, 0.15)))
    track.phone = str(rng.choice(("none", "desk"), p=(0.65, 0.35)))
    track.wiggle = np.sin(track.time * rng.uniform(0.5, 1.3) + rng.uniform(0, 6))
    track.brow_raise = rng.normal(0, 0.12) + track.drift(0.06)
    track.brow_tilt = rng.normal(0, 0.08)
    track.brow_furrow = abs(rng.normal(0, 0.14)) + track.drift(0.04)
    track.smile = rng.normal(0.02, 0.09) + track.drift(0.04)
    track.mouth_press = abs(rng.normal(0, 0.12))
    track.mouth_open = max(0.0, rng.normal(-0.05, 0.05))
    track.slump = rng.uniform(0, 0.4) + track.drift(0.03)
    track.forward = rng.uniform(0, 0.6)
    track.lean = rng.normal(0, 0.35) + track.drift(0.05)
    track.roll = rng.normal(0, 3) + track.drift(1)
    track.blink(0.76, 1.0)
    _look_at_work(track, rng)
    track.left_hand, track.right_hand = WORK_HANDS[track.work]
    if track.work == "book" and rng.random() < 0.5:
        track.left_hand = "desk"
    if rng.random() < 0.2:
        _use_free_hand(track, "palm", rng)
    return track


def _look_at_work(track: Track, rng: np.random.Generator) -> None:
    """Turn eyes and head towards the page, the screen or the teacher."""
    pitch, gaze, spread = {"laptop": (7, 0.42, 6), "lesson": (-1, 0.0, 11)}.get(track.work, (14, 0.78, 6))
    track.pitch = rng.normal(pitch, 2.5) + track.drift(1.2)
    track.yaw = rng.normal(0, spread) + track.drift(2)
    track.gaze_y = rng.normal(gaze, 0.1) + track.drift(0.08)
    track.gaze_x = np.sin(track.time * rng.uniform(0.4, 0.9)) * 0.2 - track.yaw / 45
    if track.work == "lesson":
        track.gaze_x = track.yaw / 40
        track.look("ahead")


def _use_free_hand(track: Track, action: str, rng: np.random.Generator, reach: np.ndarray | float = 1.0) -> None:
    """Give one hand something else to do: the left one if the right one writes."""
    track.use_hand("left" if track.right_hand == "write" or rng.random() < 0.5 else "right", action, reach)


def _glance(track: Track, width: float) -> None:
    """Look up from the work for a while."""
    up = track.bump(width)
    track.gaze_y, track.pitch = track.gaze_y * (1 - up), track.pitch * (1 - 0.7 * up)
    track.look("ahead", up)


def _stay_calm(track: Track, rng: np.random.Generator) -> None:
    """Show neutrality, with the small movements that calm people make too."""
    if rng.random() < 0.15:
        track.smile += rng.uniform(0.25, 0.6) * track.bump(9)
    if rng.random() < 0.2:
        _glance(track, rng.uniform(5, 12))
    if rng.random() < 0.15:
        track.eyelid *= rng.uniform(0.68, 0.9)
    if rng.random() < 0.1:
        track.yaw += rng.uniform(12, 30) * track.sign() * track.bump(7)


def _enjoy(track: Track, rng: np.random.Generator) -> None:
    """Show enjoyment: smiles and laughter over the same work."""
    strength, level = rng.uniform(0.3, 1), track.level()
    track.smile += strength * level
    track.brow_raise += 0.25 * strength * level
    if rng.random() < 0.45:
        laugh = track.bump(rng.uniform(8, 24))
        track.mouth_open += laugh * rng.uniform(0.25, 0.7) * strength
        track.pitch += laugh * 4 * np.sin(track.time * 1.3)
        track.eyelid *= 1 - 0.4 * laugh * strength
    if rng.random() < 0.35:
        _glance(track, rng.uniform(8, 26))


def _puzzle(track: Track, rng: np.random.Generator) -> None:
    """Show confusion: brows, a tilted head, a hand at the chin or in the hair; all of it small."""
    strength, level, sign = rng.uniform(0.35, 1), track.level(), track.sign()
    track.brow_furrow += strength * rng.uniform(0.5, 1) * level
    track.brow_tilt += sign * strength * rng.uniform(0, 0.9) * level
    track.roll += sign * (3 + 8 * strength * rng.uniform(0.3, 1)) * level
    track.mouth_press += strength * rng.uniform(0, 0.8) * level
    track.smile -= 0.3 * strength * level
    if rng.random() < 0.5:
        _use_free_hand(track, str(rng.choice(("chin", "head", "pen"))), rng, np.clip(level * 1.2, 0, 1))
    if rng.random() < 0.3:
        _glance(track, rng.uniform(8, 20))


def _tire(track: Track, rng: np.random.Generator) -> None:
    """Show fatigue: heavy lids, yawns, nods, a body that sinks."""
    strength, level = rng.uniform(0.35, 1), track.level()
    track.eyelid *= 1 - 0.75 * strength * level
    track.slump += 0.5 * strength * rng.uniform(0.3, 1)
    track.brow_raise += 0.25 * strength * level * (rng.random() < 0.5)
    if rng.random() < 0.4:
        yawn = track.bump(rng.uniform(10, 18))
        track.mouth_open += 0.95 * yawn
        track.eyelid *= 1 - 0.85 * yawn
        track.pitch -= 8 * yawn
        if rng.random() < 0.4:
            _use_free_hand(track, "mouth", rng, yawn)
    elif rng.random() < 0.5:
        _use_free_hand(track, str(rng.choice(("palm", "palm", "eye"))), rng)
    if rng.random() < 0.4:
        nod = track.time / rng.uniform(11, 18) + rng.random()
        track.pitch += 11 * strength * (nod % 1) ** 2


def _stray(track: Track, rng: np.random.Generator) -> None:
    """Show distraction: a phone instead of the book, or eyes that leave the desk."""
    if rng.random() < PHONE_SHARE:
        _take_phone(track, rng)
    else:
        _turn_away(track, rng)


def _take_phone(track: Track, rng: np.random.Generator) -> None:
    """Give the hands a phone; the face keeps reading."""
    actions = {arm: "palm" if getattr(track, f"{arm}_hand") == "palm" else "phone" for arm in ("left", "right")}
    work, track.work = track.work, str(rng.choice(("book", "laptop"), p=(0.7, 0.3)))
    _look_at_work(track, rng)
    track.work, track.phone = work, "held"
    track.look("phone")
    if "palm" not in actions.values() and rng.random() < 0.5:
        actions[str(rng.choice(("left", "right")))] = "desk"
    for arm, action in actions.items():
        track.use_hand(arm, action)
    track.slump = np.clip(track.slump, 0, 0.5)
    if rng.random() < 0.15:
        _glance(track, rng.uniform(5, 10))


def _turn_away(track: Track, rng: np.random.Generator) -> None:
    """Turn eyes and head out of the window, to a neighbour, into the air."""
    sign, level = track.sign(), np.clip(track.level(), 0, 1)
    track.yaw = track.yaw * (1 - level) + sign * rng.uniform(20, 46) * level
    track.pitch = track.pitch * (1 - level) + rng.normal(-2, 5) * level
    track.gaze_x = track.gaze_x * (1 - level) + sign * rng.uniform(0.35, 1) * level
    track.gaze_y = track.gaze_y * (1 - level) + rng.normal(-0.1, 0.2) * level
    track.look("away", level)
    if track.right_hand == "write":
        track.right_hand = "fiddle"  # the pen stays in the hand, but the student does not write
    elif rng.random() < 0.4:
        _use_free_hand(track, "fiddle" if rng.random() < 0.6 else "palm", rng)
