"""Augmentation: one angle and one flip for all frames of a view, drawn once a clip; evaluation draws nothing."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

MAX_ANGLE = 4.0  # degrees


@dataclass(frozen=True)
class Augmentation:
    angle: float = 0.0
    flip: bool = False


def draw_augmentation(rng: np.random.Generator) -> Augmentation:
    return Augmentation(angle=float(rng.uniform(-MAX_ANGLE, MAX_ANGLE)), flip=bool(rng.random() < 0.5))


def to_square(crop: Image.Image, augmentation: Augmentation, size: int) -> np.ndarray:
    """Rotate (nearest, same canvas, black), resize ignoring aspect (PIL bilinear), flip → (3, size, size) uint8."""
    if augmentation.angle:
        crop = crop.rotate(augmentation.angle, resample=Image.Resampling.NEAREST)
    pixels = np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR))
    if augmentation.flip:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
