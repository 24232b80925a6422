"""How a face follows its course: the movements of each expression by the weight of its region, and the person's own.

A single frame tells less than its neighbours together: faces flutter, blink and talk, and part of the arousal is only
in how restless the head is.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from simulate.actions import ACTIONS, SIDED
from simulate.affwild2.course import CENTRES, REGIONS, wander, weigh_regions
from simulate.basic import Temper, rest_track
from simulate.moment import Moment
from simulate.track import bump, moments_of

SHOWN_AS = {name: name for name in REGIONS} | {"other": "contempt"}
DIRECT = {  # what valence and arousal add besides
    "smile": (0.3, 0.0),
    "eyelid": (0.0, 0.08),
    "forward": (0.0, 0.2),
    "slump": (0.0, -0.25),
}
FLUTTER = {
    "brow_raise": 0.2,
    "brow_furrow": 0.16,
    "eyelid": 0.06,
    "smile": 0.22,
    "mouth_open": 0.05,
    "mouth_press": 0.16,
}
FLUTTERING, SHAKING = 2.5, 1.5  # frames
RESTLESS = {"yaw": 7.0, "pitch": 5.0, "gaze_x": 0.3}  # of a head at full arousal
RARELY = 0.5  # movements with less than this chance are left to short clips
TURNED = 0.5  # heads turn less than in clips: the crop is aligned to the face


@dataclass(frozen=True)
class Face:
    """Both ways to see a video's moments."""

    meant: tuple[Moment, ...]  # as somebody who knows what came before and after reads them
    live: tuple[Moment, ...]  # as they are filmed


def show_course(course: np.ndarray, temper: Temper, rng: np.random.Generator) -> Face:
    track = rest_track(len(course), temper, rng)
    blinks, track.eyelid = track.eyelid == 0, np.full(len(course), np.max(track.eyelid))
    weights, depth = weigh_regions(course), _depth(course)
    for place, name in enumerate(REGIONS):
        _show(track, SHOWN_AS[name], weights[:, place] * depth * temper.liveliness, rng)
    for latent, shares in DIRECT.items():
        setattr(track, latent, getattr(track, latent) + course[:, :2] @ np.array(shares))
    _distract(track, rng)
    meant = moments_of(track)
    _enliven(track, course[:, 1], rng)
    track.eyelid = np.where(blinks, 0.0, track.eyelid)
    return Face(meant, moments_of(track))


def _enliven(track: SimpleNamespace, arousal: np.ndarray, rng: np.random.Generator) -> None:
    for latent, size in FLUTTER.items():
        flutter = wander((track.frames, 1), size, rng, FLUTTERING)[:, 0]
        setattr(track, latent, getattr(track, latent) + flutter)
    for latent, size in RESTLESS.items():
        shaking = wander((track.frames, 1), size, rng, SHAKING)[:, 0]
        setattr(track, latent, getattr(track, latent) + np.clip(arousal, 0, 1) * shaking)


def _depth(course: np.ndarray) -> np.ndarray:
    """(frames,): 0 at neutral, 1 about as far from it as the centres of the regions are."""
    far = np.linalg.norm(course - CENTRES[0], axis=1) / np.linalg.norm(CENTRES[1:] - CENTRES[0], axis=1).mean()
    return np.clip(far, 0, 1.2)


def _show(track: SimpleNamespace, emotion: str, amount: np.ndarray, rng: np.random.Generator) -> None:
    """A person has one way of showing an emotion, all through the video."""
    side = (-1, 1)[rng.integers(2)]
    for action in ACTIONS[emotion]:
        takes_part, size = rng.random() < action.chance, action.size * rng.uniform(0.85, 1.15)
        if not takes_part or action.chance < RARELY:
            continue
        size *= side if action.latent in SIDED else 1
        size *= TURNED if action.latent in ("yaw", "pitch", "roll") else 1
        setattr(track, action.latent, getattr(track, action.latent) + size * amount)


def _distract(track: SimpleNamespace, rng: np.random.Generator) -> None:
    """Glances, turns and a little talk: they say nothing."""
    for _ in range(max(1, track.frames // 150)):
        sign = (-1, 1)[rng.integers(2)]
        track.gaze_x = track.gaze_x + sign * rng.uniform(0.3, 0.8) * bump(track, rng, rng.uniform(10, 30))
        track.yaw = track.yaw + sign * rng.uniform(5, 16) * bump(track, rng, rng.uniform(15, 50))
    words = np.abs(np.sin(np.arange(track.frames) * rng.uniform(0.25, 0.4)))
    track.mouth_open = track.mouth_open + rng.uniform(0.2, 0.4) * words * bump(track, rng, 60)
