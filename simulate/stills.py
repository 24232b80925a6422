"""Single drawings with their attributes, with a wider range of behaviour than in clips of emotions."""

from dataclasses import dataclass, replace

import numpy as np

from simulate.behaviour import EMOTIONS, sample_behaviour
from simulate.captions import read_attributes
from simulate.identity import Identity
from simulate.moment import Moment
from simulate.rooms import ROOMS
from simulate.scene import Box, Scene, clip_box, face_of

FREE_HANDS = ("palm", "chin", "pen", "head", "mouth", "eye", "fiddle", "desk")


@dataclass(frozen=True)
class Still:
    """One picture, its boxes in pixels and what is seen in it."""

    image: np.ndarray  # (H, W, 3) RGB uint8
    face_box: Box
    body_box: Box
    attributes: dict[str, str]
    latents: dict[str, float]  # how far each part of face and body has moved


def draw_still(rng: np.random.Generator, width: int = 320, height: int = 240) -> Still:
    """Return a new person in a new room at one moment; everything is sampled from ``rng``."""
    scene = Scene(Identity(rng), str(rng.choice(ROOMS)), rng, width, height)
    moment = sample_moment(rng)
    image, head, body = scene.draw(moment, rng)
    attributes = read_attributes(scene, moment)
    latents = {name: value for name, value in vars(moment).items() if isinstance(value, float)}
    return Still(image, clip_box(face_of(head), width, height), clip_box(body, width, height), attributes, latents)


def sample_moment(rng: np.random.Generator) -> Moment:
    """Return a sampled moment of an emotion or, more often, one with freely mixed parts."""
    moments = sample_behaviour(int(rng.integers(len(EMOTIONS))), 12, rng)
    moment = moments[rng.integers(len(moments))]
    return _mix(moment, rng) if rng.random() < 0.65 else moment


def _mix(moment: Moment, rng: np.random.Generator) -> Moment:
    """Return the moment with each part of face and body replaced, with some probability, by a random state."""
    parts = (
        {"smile": rng.uniform(-0.6, 1), "mouth_press": 0.0, "mouth_open": max(0.0, rng.uniform(-0.6, 0.7))},
        {"smile": 0.0, "mouth_press": rng.uniform(0, 1), "mouth_open": 0.0},
        {"smile": 0.0, "mouth_press": 0.0, "mouth_open": rng.uniform(0.5, 1)},
        {"brow_furrow": rng.uniform(0, 1), "brow_tilt": rng.uniform(-1, 1) * rng.integers(2), "brow_raise": 0.0},
        {"brow_furrow": 0.0, "brow_raise": rng.uniform(-0.8, 1)},
        {"eyelid": rng.uniform(0, 1) ** 0.6},
        {"slump": rng.uniform(0, 1), "forward": rng.uniform(0, 1), "lean": rng.uniform(-1, 1)},
        {"roll": rng.normal(0, 7)},
        {str(rng.choice(("left_hand", "right_hand"))): str(rng.choice(FREE_HANDS))},
    )
    changes = {}
    for part in parts:
        if rng.random() < 0.3:
            changes |= part
    if moment.phone == "held":  # the hand that holds it must keep holding it
        changes = {name: value for name, value in changes.items() if "hand" not in name}
        changes["slump"] = min(0.5, changes.get("slump", moment.slump))
    return replace(moment, **changes)
