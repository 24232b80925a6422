"""Augmentation equals PIL called by hand, and draws what it should."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from dataloader.transforms import (
    Augmentation,
    AugmentationLimits,
    augment_squares,
    brighten,
    draw_augmentation,
    to_square,
)

PART = (0.1, 0.2, 0.6, 0.9)  # of the picture below: pixels 5 to 30 of 50, and 14 to 63 of 70
EVERYTHING = AugmentationLimits(max_angle=4, flip=True, random_crop=0.08, brightness=0.5)


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


def test_limits_bound_angles_and_flips_and_leave_the_other_draws_alone():
    for seed in range(50):
        plain = draw_augmentation(np.random.default_rng(seed))
        wide = draw_augmentation(np.random.default_rng(seed), AugmentationLimits(max_angle=40))
        still = draw_augmentation(np.random.default_rng(seed), AugmentationLimits(max_angle=0, flip=False))
        every = draw_augmentation(np.random.default_rng(seed), EVERYTHING)
        assert wide.angle == pytest.approx(10 * plain.angle) and wide.flip == plain.flip
        assert still == Augmentation()
        assert (every.angle, every.flip) == (plain.angle, plain.flip)


def test_what_is_off_draws_nothing_of_its_own():
    rng, by_hand = np.random.default_rng(5), np.random.default_rng(5)
    drawn = draw_augmentation(rng)
    assert drawn == Augmentation(by_hand.uniform(-4, 4), by_hand.random() < 0.5)
    assert rng.random() == by_hand.random()


def test_brightness_is_drawn_evenly_to_either_side_of_one():
    rng = np.random.default_rng(0)
    factors = [draw_augmentation(rng, AugmentationLimits(brightness=0.4)).brightness for _ in range(2000)]
    assert 0.6 <= min(factors) < 0.61 and 1.39 < max(factors) <= 1.4
    assert np.quantile(factors, [0.25, 0.5, 0.75]) == pytest.approx([0.8, 1, 1.2], abs=0.03)


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.5, 0.999, 1.0, 1.003, 1.37, 2.0])
def test_brightness_is_pils(factor):
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    expected = np.asarray(ImageEnhance.Brightness(Image.fromarray(every)).enhance(factor))
    assert np.array_equal(brighten(torch.from_numpy(every), torch.tensor(factor)).numpy(), expected)


@pytest.mark.parametrize(("angle", "flip", "factor"), [(3.0, True, 1.3), (0.0, False, 1.0), (0.0, True, 0.6)])
def test_a_part_is_cut_after_turning_and_resized_before_flip_and_brightness(angle, flip, factor):
    image = picture().rotate(angle, resample=Image.Resampling.NEAREST).crop((5, 14, 30, 63))
    image = image.resize((64, 64), Image.Resampling.BILINEAR)
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image
    expected = np.asarray(ImageEnhance.Brightness(image).enhance(factor)).transpose(2, 0, 1)
    assert np.array_equal(to_square(np.asarray(picture()), Augmentation(angle, flip, PART, factor), 64), expected)


def test_a_part_of_a_crop_with_fractional_edges_is_a_part_of_what_is_meant():
    inside = (2.5, 1.0, 42.5, 61.0)  # 40 by 60: its part is 6.5 to 26.5 by 13 to 55
    expected = picture().resize((64, 64), Image.Resampling.BILINEAR, box=(6.5, 13.0, 26.5, 55.0))
    made = to_square(np.asarray(picture()), Augmentation(part=PART), 64, inside)
    assert np.array_equal(made, np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("part", [PART, (0.0, 0.5, 0.31, 1.0), (0.49, 0.49, 0.5, 0.5), (0.0, 0.0, 1.0, 1.0)])
def test_squares_are_augmented_as_their_crops_would_be(part, flip):
    image = picture(64, 64)
    edges = [round(64 * share) for share in part]
    expected = image.rotate(2.5, Image.Resampling.NEAREST).crop(edges).resize((64, 64), Image.Resampling.BILINEAR)
    expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else expected
    expected = np.asarray(ImageEnhance.Brightness(expected).enhance(1.2)).transpose(2, 0, 1).astype(int)
    squares = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())[None, None].expand(1, 3, -1, -1, -1)
    draws = torch.tensor([2.5]), torch.tensor([flip]), torch.tensor([part]).double(), torch.tensor([1.2])
    made = augment_squares(squares, torch.ones(1, 3, 2), *draws)
    assert made.dtype == torch.uint8 and made.shape == (1, 3, 3, 64, 64) and (made == made[:, :1]).all()
    assert np.abs(made[0, 0].numpy() - expected).max() <= 2  # rounded once more, then 1.2 times as far


def test_every_clip_of_a_batch_has_its_own_draws():
    squares = torch.randint(0, 256, (3, 2, 3, 32, 32), dtype=torch.uint8)
    parts = torch.tensor([PART, (0.0, 0.0, 1.0, 1.0), (0.5, 0.0, 1.0, 0.5)]).double()
    draws = torch.tensor([1.0, 0.0, -3.0]), torch.tensor([True, False, True]), parts, torch.tensor([0.5, 1.0, 1.5])
    together = augment_squares(squares, torch.ones(3, 2, 2), *draws)
    for clip in range(3):
        own = [draw[clip : clip + 1] for draw in draws]
        assert torch.equal(together[clip], augment_squares(squares[clip : clip + 1], torch.ones(1, 2, 2), *own)[0])
    assert torch.equal(together[1], squares[1])
