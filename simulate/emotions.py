"""Sample how a person shows one or two of eleven emotions over a clip, or engagement, boredom and confusion.

Emotions have onset, apex and offset, are strong or weak, and never pure. ``ACTIONS`` lists the movements of each.
Similar emotions share movements on purpose: fear and surprise the brows, sadness and disappointment the gaze, anger
and disgust the frown.
"""

import numpy as np

from simulate.moment import Moment, Track

STRENGTHS = (0.25, 1.05)  # of a clip; below about 0.4 it looks almost calm
BLENDED = 0.85  # factor of the strength of each of two emotions
FOREIGN_SHARE, FOREIGN_STRENGTH = 0.5, (0.3, 0.7)  # a movement that belongs to another emotion
MAX_LEVEL = 3  # levels of engagement are 0 to 3
RARE = (0.55, 0.25, 0.13, 0.07)  # shares of the levels of confusion, and of frustration at its least
SIDED = ("brow_tilt", "gaze_x", "yaw", "roll", "lean")  # latents whose sign is sampled for each clip
# for each emotion at full strength: what a latent adds to a calm face, and its probability
ACTIONS: dict[str, dict[str, tuple[float, float]]] = {
    "anger": dict(
        brow_furrow=(0.9, 1), brow_raise=(-0.85, 1), mouth_press=(0.9, 0.75), smile=(-0.35, 1), mouth_open=(0.4, 0.2),
        pitch=(6, 0.6), gaze_y=(-0.25, 0.6), forward=(0.7, 0.6), eyelid=(0.08, 1),
    ),
    "disgust": dict(
        brow_furrow=(0.55, 1), brow_raise=(-0.5, 1), eyelid=(-0.3, 1), smile=(-0.8, 1), mouth_open=(0.3, 0.35),
        yaw=(18, 0.75), gaze_x=(-0.4, 0.4), pitch=(-8, 0.7), roll=(5, 0.4),
    ),
    "fear": dict(
        brow_raise=(0.8, 1), brow_furrow=(0.75, 1), eyelid=(0.3, 1), mouth_open=(0.3, 0.8), smile=(-0.4, 1),
        pitch=(-6, 0.7), yaw=(10, 0.4), gaze_x=(0.5, 0.5), slump=(0.3, 0.5),
    ),
    "happiness": dict(
        smile=(0.95, 1), eyelid=(-0.17, 0.8), brow_raise=(0.2, 0.4), mouth_open=(0.45, 0.5), pitch=(-4, 0.4),
        roll=(5, 0.3),
    ),
    "neutral": {},
    "sadness": dict(
        smile=(-0.8, 1), gaze_y=(0.75, 0.85), pitch=(12, 0.85), brow_raise=(0.55, 0.7), brow_furrow=(0.3, 0.4),
        eyelid=(-0.2, 1), slump=(0.4, 0.6), roll=(6, 0.3),
    ),
    "surprise": dict(
        brow_raise=(1.0, 1), eyelid=(0.32, 1), mouth_open=(0.7, 0.9), pitch=(-3, 0.4), forward=(0.4, 0.3),
        yaw=(6, 0.2),
    ),
    "contempt": dict(
        brow_tilt=(1.0, 0.9), pitch=(-10, 0.8), yaw=(10, 0.6), gaze_x=(-0.5, 0.6), smile=(0.22, 0.6), roll=(-4, 0.5),
        mouth_press=(0.6, 0.5), eyelid=(-0.17, 1),
    ),
    "anxiety": dict(
        brow_furrow=(0.75, 1), brow_raise=(0.25, 0.5), mouth_press=(0.75, 0.8), pitch=(4, 0.5), forward=(0.4, 0.4),
        slump=(0.3, 0.4), smile=(-0.2, 0.4),
    ),
    "helplessness": dict(
        brow_raise=(0.85, 1), smile=(-0.7, 1), gaze_y=(-0.75, 0.8), roll=(12, 0.8), lean=(0.6, 0.6),
        mouth_open=(0.18, 0.3), pitch=(-4, 0.4),
    ),
    "disappointment": dict(
        smile=(-0.65, 1), mouth_press=(0.75, 0.9), gaze_y=(0.55, 0.8), slump=(0.6, 0.8), pitch=(7, 0.6),
        eyelid=(-0.14, 1), brow_raise=(-0.35, 0.6), yaw=(14, 0.35),
    ),
}  # fmt: skip
EMOTION_NAMES = tuple(ACTIONS)  # in the order of MAFW, the only set with all of them
HANDS_AT_FACE = {  # what a hand may do, and its probability
    "disgust": (("mouth", 0.15),),
    "fear": (("mouth", 0.2), ("head", 0.1)),
    "sadness": (("palm", 0.2), ("eye", 0.1)),
    "surprise": (("mouth", 0.15),),
    "contempt": (("chin", 0.2),),
    "anxiety": (("mouth", 0.15), ("chin", 0.12), ("head", 0.08)),
    "helplessness": (("head", 0.25), ("palm", 0.1)),
    "disappointment": (("palm", 0.25),),
}
HABITS = (("palm", 0.05), ("chin", 0.05))  # in every emotion


class Temper:
    """How one random person shows emotions."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.liveliness = rng.uniform(0.7, 1.15)  # factor of every movement
        self.lowered = rng.beta(1.2, 2.5)  # 0 … 1: how far gaze and head are usually lowered
        self.brow_raise = rng.normal(0, 0.1)  # at rest, as the next two
        self.brow_furrow = abs(rng.normal(0, 0.08))
        self.smile = rng.normal(0, 0.07)


def rest_track(frames: int, temper: Temper, rng: np.random.Generator) -> Track:
    """Return a calm person before a camera: the start of every clip."""
    track = Track(frames, rng)
    track.work = "lesson"
    track.look("ahead")
    track.brow_raise = temper.brow_raise + rng.normal(0, 0.07) + track.drift(0.06)
    track.brow_furrow = temper.brow_furrow + track.drift(0.04)
    track.brow_tilt = rng.normal(0, 0.08)
    track.smile = temper.smile + rng.normal(0, 0.06) + track.drift(0.05)
    track.mouth_press = abs(rng.normal(0, 0.1))
    track.mouth_open = max(0.0, rng.normal(-0.05, 0.05))
    track.blink(0.68, 0.8)
    track.gaze_x = rng.normal(0, 0.18) + track.drift(0.1)
    track.yaw = rng.normal(0, 8) + track.drift(2)
    track.gaze_y = 0.4 * temper.lowered + rng.normal(-0.05, 0.1) + track.drift(0.08)
    track.pitch = 8 * temper.lowered + rng.normal(-1.5, 3) + track.drift(1)
    track.roll = rng.normal(0, 3) + track.drift(1)
    track.lean = rng.normal(0, 0.25)
    track.slump = 0.4 * temper.lowered + rng.uniform(0, 0.2)
    track.forward = rng.uniform(0, 0.3)
    return track


def sample_emotions(
    emotions: tuple[str, ...], frames: int, temper: Temper, rng: np.random.Generator
) -> tuple[Moment, ...]:
    """Return the moments of a clip that shows one emotion or a blend of two."""
    track = rest_track(frames, temper, rng)
    sign = track.sign()
    level = _envelope(frames, rng)
    strength = rng.uniform(*STRENGTHS) * temper.liveliness * (BLENDED if len(emotions) > 1 else 1)
    for emotion in emotions:
        for latent, (size, chance) in ACTIONS[emotion].items():
            if rng.random() < chance:
                amount = strength * rng.uniform(0.75, 1.2) * _lagged(level, rng)
                track.add(latent, (sign if latent in SIDED else 1) * size * amount)
        _gesture(track, emotion, strength * level, rng)
        for name, chance in (*HANDS_AT_FACE.get(emotion, ()), *HABITS):
            # At most one hand does at most one thing, and only while the emotion shows.
            if rng.random() < chance and track.left_hand == track.right_hand == "desk":
                track.use_hand(("left", "right")[rng.integers(2)], name, np.clip(1.3 * level, 0, 1))
    _distract(track, emotions, rng)
    return track.moments()


def _envelope(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return 0 → 1 → 0 over the clip, (frames,); the apex is around the middle, onset or offset may lie outside."""
    time = (np.arange(frames) + 0.5) / frames
    rise = np.clip((time - rng.uniform(-0.25, 0.3)) / rng.uniform(0.1, 0.25), 0, 1)
    fall = np.clip((time - rng.uniform(0.6, 1.5)) / rng.uniform(0.15, 0.4), 0, 1)
    return np.sin(rise * np.pi / 2) * np.cos(fall * np.pi / 2)


def _lagged(level: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ``level`` with a small delay, because parts of a face do not move at the same time."""
    delay = rng.uniform(0, 0.08) * len(level)
    return np.interp(np.arange(len(level)) - delay, np.arange(len(level)), level)


def _gesture(track: Track, emotion: str, amount: np.ndarray, rng: np.random.Generator) -> None:
    """Add movements over time: laughter, darting eyes, a shaking head."""
    if emotion == "happiness" and rng.random() < 0.35:
        shakes = np.sin(track.time * rng.uniform(1.2, 1.6))
        track.pitch += 3 * amount * shakes
        track.mouth_open += 0.12 * amount * shakes
    elif emotion == "anxiety":  # the eyes jump from side to side, the head a little behind them
        stays = np.repeat(track.time, rng.integers(2, 5, track.frames))[: track.frames]
        targets = rng.uniform(0.45, 1.0, track.frames) * (-1) ** track.time * track.sign()
        track.gaze_x += np.minimum(1.0, 1.2 * amount) * targets[stays]
        track.yaw += 4 * amount * targets[stays]
    elif emotion in ("helplessness", "disgust") and rng.random() < 0.4:
        track.yaw += 11 * amount * np.sin(track.time * rng.uniform(0.8, 1.3))


def _distract(track: Track, emotions: tuple[str, ...], rng: np.random.Generator) -> None:
    """Add movements without meaning: talk, glances, turns, and sometimes a movement of another emotion."""
    if rng.random() < 0.3:
        words = np.abs(np.sin(track.time * rng.uniform(0.7, 1.4)))
        track.mouth_open += rng.uniform(0.15, 0.32) * words * track.bump(0.7 * track.frames)
    if rng.random() < 0.25:
        track.gaze_x += rng.uniform(0.3, 0.8) * track.sign() * track.bump(4)
    if rng.random() < 0.2:
        track.yaw += rng.uniform(8, 20) * track.sign() * track.bump(8)
    if rng.random() < FOREIGN_SHARE:
        foreign = [item for name in ACTIONS if name not in emotions for item in ACTIONS[name].items()]
        amount = rng.uniform(*FOREIGN_STRENGTH) * track.bump(rng.uniform(4, 10))
        latent, (size, _) = foreign[rng.integers(len(foreign))]
        track.add(latent, (track.sign() if latent in SIDED else 1) * size * amount)


def sample_levels(engagement: int, rng: np.random.Generator) -> dict[str, int]:
    """Return sampled levels of the four affects of a clip, 0 very low … 3 very high, in the order of DAiSEE's lists.

    Boredom opposes engagement, frustration follows confusion.
    """
    boredom = int(np.clip(round(MAX_LEVEL - engagement + rng.normal(0, 0.7)), 0, MAX_LEVEL))
    confusion = int(rng.choice(MAX_LEVEL + 1, p=RARE))
    frustration = rng.choice(MAX_LEVEL + 1, p=RARE) + (confusion > 1 and rng.random() < 0.5)
    frustration = int(np.clip(frustration, 0, MAX_LEVEL))
    return {"boredom": boredom, "engagement": engagement, "confusion": confusion, "frustration": frustration}


def sample_learner(levels: dict[str, int], frames: int, temper: Temper, rng: np.random.Generator) -> tuple[Moment, ...]:
    """Return the moments of a clip of these levels, each shown a little more or less strongly."""
    track = rest_track(frames, temper, rng)
    amount = {name: np.clip((level + rng.normal(0, 0.45)) / MAX_LEVEL, 0, 1.1) for name, level in levels.items()}
    # Engaged learners look at the screen and come close to it; others look away and sit back in the chair.
    engagement = amount["engagement"]
    track.gaze_y += 0.25
    track.pitch += 5
    track.gaze_x *= 0.5
    track.forward += 0.8 * max(0.0, engagement - 0.4)
    track.brow_raise += 0.4 * max(0.0, engagement - 0.5)
    track.eyelid += 0.22 * (engagement - 0.45)
    for _ in range(rng.poisson(3.2 * max(0.0, 0.85 - engagement))):
        sign, away = track.sign(), track.bump(rng.uniform(0.2, 0.7) * track.frames)
        track.yaw += sign * rng.uniform(14, 36) * away
        track.gaze_x += sign * 0.6 * away
        track.look("away", away)
    if engagement < 0.3 and rng.random() < 0.4:  # eyes on something in the lap
        track.gaze_y += 0.5
        track.pitch += 11

    boredom = amount["boredom"]
    track.eyelid *= 1 - 0.4 * boredom
    track.slump += 0.6 * boredom * rng.uniform(0.4, 1)
    track.smile -= 0.25 * boredom
    if rng.random() < 0.45 * boredom:
        _raise_hand(track, "palm", rng)
    if rng.random() < 0.35 * boredom:
        yawn = track.bump(rng.uniform(6, 10))
        track.mouth_open += 0.9 * yawn
        track.eyelid *= 1 - 0.7 * yawn

    confusion, sign = amount["confusion"] * track.level(), track.sign()
    track.brow_furrow += 0.8 * confusion
    track.roll += sign * 8 * confusion
    track.brow_tilt += sign * 0.5 * confusion
    if rng.random() < 0.35 * confusion.max():
        _raise_hand(track, ("chin", "head")[rng.integers(2)], rng)

    frustration = amount["frustration"] * track.level()
    track.mouth_press += 0.9 * frustration
    track.brow_raise -= 0.7 * frustration
    track.smile -= 0.4 * frustration
    track.yaw += track.drift(12) * frustration
    return track.moments()


def _raise_hand(track: Track, action: str, rng: np.random.Generator) -> None:
    """Put a hand to the face, if the hand of that arm is free."""
    arm = ("left", "right")[rng.integers(2)]
    if getattr(track, f"{arm}_hand") == "desk":
        track.use_hand(arm, action)
