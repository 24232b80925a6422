"""A video's course of valence, arousal and dominance, the face that follows it, and the labels read from both.

All that is shown and all that is labelled follows from the course: the face moves with the weights of the expressions'
regions and with valence and arousal themselves, and the expression of a frame is the region that it is in. A single
frame tells less than its neighbours together: faces flutter, blink and talk, and part of the arousal is only in how
restless the head is.
"""

from collections.abc import Callable

import numpy as np

from simulate.emotions import ACTIONS, SIDED, Temper, rest_track
from simulate.moment import Moment, Track

REGIONS = {  # valence, arousal, dominance; in the order of the classes
    "neutral": (0.05, -0.05, 0.0),
    "anger": (-0.6, 0.65, 0.7),
    "disgust": (-0.75, 0.0, 0.5),
    "fear": (-0.5, 0.7, -0.75),
    "happiness": (0.75, 0.4, 0.2),
    "sadness": (-0.65, -0.45, -0.5),
    "surprise": (0.2, 0.85, -0.3),
    "other": (0.05, -0.35, 0.9),
}
CENTRES = np.array(list(REGIONS.values()))  # (8, 3)
DECK = [*range(len(CENTRES)), list(REGIONS).index("happiness")]  # most of the others are unpleasant
STAYS = (35, 110)  # frames in or near one region
DEPTHS = (0.5, 1.1)  # how far from neutral into a region, of the way to its centre
SOFTNESS = 0.22  # distance over which regions blend
TURNING, WANDERING = 7.0, 18.0  # frames
WANDER = 0.1
LAG = 8  # frames that an annotator's hand is late by
DIRECT = {"smile": (0.3, 0), "eyelid": (0, 0.08), "forward": (0, 0.2), "slump": (0, -0.25)}  # valence, arousal
FLUTTER = {
    "brow_raise": 0.2, "brow_furrow": 0.16, "eyelid": 0.06, "smile": 0.22, "mouth_open": 0.05, "mouth_press": 0.16,
}  # fmt: skip
RESTLESS = {"yaw": 7.0, "pitch": 5.0, "gaze_x": 0.3}  # of a head at full arousal
FLUTTERING, SHAKING = 2.5, 1.5  # frames
RARE = 0.5  # movements with less than this chance are left to short clips
TURN_SHARE = 0.5  # heads turn less than in clips: the crop is aligned to the face
ACTION_UNITS: dict[str, Callable[[Moment], bool]] = {
    "AU1": lambda m: m.brow_raise - 0.3 * m.brow_furrow > 0.35,  # inner brows: a frown holds them down
    "AU2": lambda m: m.brow_raise - 0.6 * m.brow_furrow > 0.4 or abs(m.brow_tilt) > 0.5,  # outer brows, or one of them
    "AU4": lambda m: m.brow_furrow > 0.35,
    "AU6": lambda m: m.smile > 0.45 and m.eyelid < 0.72,  # cheeks up: a smile that reaches the eyes
    "AU7": lambda m: m.eyelid < 0.56,
    "AU10": lambda m: m.smile < -0.25 and m.brow_raise < -0.15,  # the sneer of disgust
    "AU12": lambda m: m.smile > 0.25,
    "AU15": lambda m: m.smile < -0.35,
    "AU23": lambda m: m.mouth_press > 0.35 and m.mouth_open < 0.12,
    "AU24": lambda m: m.mouth_press > 0.55 and m.mouth_open < 0.12,
    "AU25": lambda m: m.mouth_open > 0.12,
    "AU26": lambda m: m.mouth_open > 0.35,
}


def draw_course(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return a course that moves smoothly from one region to another: (frames, 3), each within -1 … 1."""
    goals, deck = [], []
    while len(goals) < frames:
        deck = deck or rng.permutation(DECK).tolist()
        centre = CENTRES[0] + rng.uniform(*DEPTHS) * (CENTRES[deck.pop()] - CENTRES[0])
        goals += [centre + rng.normal(0, 0.08, 3)] * int(rng.integers(*STAYS))
    return np.clip(smooth(np.array(goals[:frames]), TURNING) + wander((frames, 3), WANDER, rng), -1, 1)


def weigh_regions(course: np.ndarray) -> np.ndarray:
    """Return the weight of each region in each frame: (frames, 8), each row adds up to 1."""
    distances = ((course[:, None] - CENTRES) ** 2).sum(-1)
    weights = np.exp(-(distances - distances.min(1, keepdims=True)) / (2 * SOFTNESS**2))
    return weights / weights.sum(1, keepdims=True)


def wander(shape: tuple[int, int], size: float, rng: np.random.Generator, width: float = WANDERING) -> np.ndarray:
    """Return noise around zero of that standard deviation, smooth over ``width`` frames."""
    return size * np.sqrt(2 * np.sqrt(np.pi) * width) * smooth(rng.standard_normal(shape), width)


def smooth(values: np.ndarray, width: float) -> np.ndarray:
    """Return every column of (frames, K) under a Gaussian of ``width`` frames, its ends held."""
    reach = int(3 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], axis=1)


def show_course(
    course: np.ndarray, temper: Temper, rng: np.random.Generator
) -> tuple[tuple[Moment, ...], tuple[Moment, ...]]:
    """Return the moments of a face that shows the expressions by the weights of their regions, in two versions.

    The first is what somebody reads who knows what came before and after, the second is what is filmed.
    """
    track = rest_track(len(course), temper, rng)
    blinks, track.eyelid = track.eyelid == 0, np.full(len(course), np.max(track.eyelid))
    weights = weigh_regions(course)
    # Depth is 0 at neutral and 1 about as far from it as the centres of the regions are.
    distance = np.linalg.norm(course - CENTRES[0], axis=1)
    depth = np.clip(distance / np.linalg.norm(CENTRES[1:] - CENTRES[0], axis=1).mean(), 0, 1.2)
    for number, name in enumerate(REGIONS):
        amount = weights[:, number] * depth * temper.liveliness
        _show_emotion(track, "contempt" if name == "other" else name, amount, rng)
    for latent, shares in DIRECT.items():
        track.add(latent, course[:, :2] @ np.array(shares, dtype=float))
    _distract(track, rng)
    intended = track.moments()
    for latent, size in FLUTTER.items():
        track.add(latent, wander((track.frames, 1), size, rng, FLUTTERING)[:, 0])
    for latent, size in RESTLESS.items():
        track.add(latent, np.clip(course[:, 1], 0, 1) * wander((track.frames, 1), size, rng, SHAKING)[:, 0])
    track.eyelid = np.where(blinks, 0.0, track.eyelid)
    return intended, track.moments()


def _show_emotion(track: Track, emotion: str, amount: np.ndarray, rng: np.random.Generator) -> None:
    """Add an emotion's movements; a person has one way of showing it, all through the video."""
    sign = track.sign()
    for latent, (full_size, chance) in ACTIONS[emotion].items():
        takes_part, size = rng.random() < chance, full_size * rng.uniform(0.85, 1.15)
        if takes_part and chance >= RARE:
            size *= sign if latent in SIDED else 1
            size *= TURN_SHARE if latent in ("yaw", "pitch", "roll") else 1
            track.add(latent, size * amount)


def _distract(track: Track, rng: np.random.Generator) -> None:
    """Add what says nothing: glances, turns and a little talk."""
    for _ in range(max(1, track.frames // 150)):
        sign = track.sign()
        track.gaze_x += sign * rng.uniform(0.3, 0.8) * track.bump(rng.uniform(10, 30))
        track.yaw += sign * rng.uniform(5, 16) * track.bump(rng.uniform(15, 50))
    words = np.abs(np.sin(track.time * rng.uniform(0.25, 0.4)))
    track.mouth_open += rng.uniform(0.2, 0.4) * words * track.bump(60)


def read_video_labels(
    course: np.ndarray, moments: tuple[Moment, ...], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return labels (frames, 2), (frames, 1) and (frames, 12) by task.

    Valence and arousal are as an annotator follows them, late.
    """
    delayed = course[np.maximum(np.arange(len(course)) - LAG, 0), :2]
    valence_arousal = np.clip(delayed + wander((len(course), 2), 0.04, rng), -1, 1)
    units = np.array([[is_active(moment) for is_active in ACTION_UNITS.values()] for moment in moments], dtype=int)
    return {"va": valence_arousal.round(3), "expr": weigh_regions(course).argmax(1)[:, None], "au": units}
