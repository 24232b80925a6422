"""Augmentation equals PIL called by hand, and draws what it should."""

import numpy as np
import pytest
from PIL import Image

from dataloader.transforms import Augmentation, draw_augmentation, to_square


def picture(width: int = 50, height: int = 70) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(50, 70), (300, 40), (64, 64), (7, 5)])
def test_evaluation_is_pils_bilinear_resize_ignoring_aspect(size):
    image = picture(*size)
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.array_equal(to_square(np.asarray(image), Augmentation(), 64), expected)


@pytest.mark.parametrize(("angle", "flip"), [(3.7, False), (-2.2, True), (0.0, True), (4.0, True)])
def test_training_rotates_by_nearest_pixel_then_resizes_then_flips(angle, flip):
    image = picture()
    rotated = image.rotate(angle, resample=Image.Resampling.NEAREST, expand=False, fillcolor=(0, 0, 0))
    resized = rotated.resize((64, 64), Image.Resampling.BILINEAR)
    expected = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else resized
    got = to_square(np.asarray(image), Augmentation(angle, flip), 64)
    assert got.dtype == np.uint8 and got.flags["C_CONTIGUOUS"]
    assert np.array_equal(got, np.asarray(expected).transpose(2, 0, 1))


def test_angles_fill_four_degrees_to_either_side_and_half_of_the_draws_flip():
    rng = np.random.default_rng(0)
    draws = [draw_augmentation(rng) for _ in range(2000)]
    angles = np.array([draw.angle for draw in draws])
    assert -4 <= angles.min() < -3.9 and 3.9 < angles.max() <= 4
    assert np.quantile(angles, [0.25, 0.5, 0.75]) == pytest.approx([-2, 0, 2], abs=0.25)
    assert np.mean([draw.flip for draw in draws]) == pytest.approx(0.5, abs=0.05)
