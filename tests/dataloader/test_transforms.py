"""Augmentation equals PIL called by hand, on crops and on squares, and samples what it should."""

import colorsys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy.stats import kstest

from dataloader.transforms import (
    FULL_AREA,
    NOWHERE,
    PLAIN,
    Augmentation,
    AugmentationLimits,
    as_tensors,
    augment_squares,
    black_out,
    cached_variants,
    enlarge_parts,
    interpolate_together,
    part_within,
    pixels_of,
    recolor,
    sample_augmentation,
    sample_part,
    to_square,
    turn_by_opencv,
    turn_by_torch,
    turn_steps,
)
from models.clip_backbone import import_torchvision

SIZE = 96
PART = (0.1, 0.2, 0.6, 0.9)  # pixels 5 to 30 of 50 and 14 to 63 of 70 of the picture below
EVERYTHING = AugmentationLimits(max_angle=4, flip=True, random_crop=0.08, brightness=0.5)
ANGLES = [-4.0, -2.71, -0.3, 0.0, 1e-9, 1.618, 3.999]
WIDE = [45.0, -90.5, 137.2, -179.0]
NEAREST, BILINEAR, MIRRORED = Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Transpose.FLIP_LEFT_RIGHT


def picture(width: int = 50, height: int = 70) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(1, 256, (height, width, 3), dtype=np.uint8))


def planes(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


def by_pil(image: Image.Image, angle=0.0, flip=False, factor=1.0, part=None, size=64) -> np.ndarray:
    """Reference by PIL: rotated by nearest pixel, cropped to whole pixels, resized, mirrored, brightened."""
    image = image.rotate(angle, resample=NEAREST, expand=False, fillcolor=(0, 0, 0))
    image = (image.crop(part) if part else image).resize((size, size), BILINEAR)
    image = image.transpose(MIRRORED) if flip else image
    return planes(ImageEnhance.Brightness(image).enhance(factor))


def colored(image: Image.Image, **colors) -> np.ndarray:
    """Return an image as ``recolor`` changes it."""
    pixels = torch.from_numpy(planes(image).copy())
    return recolor(pixels, **{name: torch.tensor(value) for name, value in colors.items()}).numpy()


# crops


@pytest.mark.parametrize(
    ("shape", "angle", "flip", "part", "factor"),
    [
        *((shape, 0.0, False, FULL_AREA, 1.0) for shape in ((50, 70), (300, 40), (64, 64), (7, 5))),  # evaluation
        *(((50, 70), angle, flip, FULL_AREA, 1.0) for angle, flip in ((3.7, False), (-2.2, True), (0.0, True))),
        *(((50, 70), *sample) for sample in ((3.0, True, PART, 1.3), (0.0, False, PART, 1.0), (0.0, True, PART, 0.6))),
    ],
)
def test_a_crop_is_rotated_cropped_resized_flipped_and_brightened_like_pil(shape, angle, flip, part, factor):
    square = to_square(np.asarray(picture(*shape)), Augmentation(angle, flip, part, factor), 64)
    assert square.dtype == np.uint8 and square.flags["C_CONTIGUOUS"]
    assert np.array_equal(square, by_pil(picture(*shape), angle, flip, factor, part == PART and (5, 14, 30, 63)))


def test_a_random_crop_of_a_crop_with_fractional_edges_stays_inside_its_pixels():
    inside = (2.5, 1.0, 42.5, 61.0)  # 40 by 60: its part is 6.5 to 26.5 by 13 to 55
    expected = picture().resize((64, 64), BILINEAR, box=(6.5, 13.0, 26.5, 55.0))
    assert np.array_equal(to_square(np.asarray(picture()), Augmentation(part=PART), 64, inside), planes(expected))
    assert part_within((0.5, 0.25, 1.0, 0.5), (10.0, 20.0, 30.0, 60.0)) == (20.0, 30.0, 30.0, 40.0)


def test_a_part_has_whole_pixels_and_at_least_one():
    assert pixels_of(PART, 50, 70) == (5, 14, 30, 63)
    assert pixels_of((0.26, 0.74, 0.49, 0.99), 10, 4) == (3, 3, 5, 4)
    assert pixels_of((0.99, 0.5, 1.0, 0.51), 10, 10) == (9, 5, 10, 6)
    assert pixels_of(FULL_AREA, 17, 1) == (0, 0, 17, 1)


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.5, 0.999, 1.0, 1.003, 1.37, 2.0])
def test_brightness_is_pils(factor):
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    expected = np.asarray(ImageEnhance.Brightness(Image.fromarray(every)).enhance(factor))
    pixels = torch.from_numpy(every).permute(2, 0, 1)
    assert np.array_equal(recolor(pixels, torch.tensor(factor)), expected.transpose(2, 0, 1))


FACTORS = [0.0, 0.31, 0.999, 1.0, 1.37, 2.0]


@pytest.mark.parametrize("factor", FACTORS)
def test_contrast_and_saturation_are_pils(factor):
    image = picture()
    assert np.array_equal(colored(image, contrast=factor), planes(ImageEnhance.Contrast(image).enhance(factor)))
    assert np.array_equal(colored(image, saturation=factor), planes(ImageEnhance.Color(image).enhance(factor)))
    pale = image.point(lambda value: 200 + value // 8)
    assert np.array_equal(colored(pale, contrast=factor), planes(ImageEnhance.Contrast(pale).enhance(factor)))


def test_greyscale_is_pils():
    assert np.array_equal(colored(picture(), grayscale=True), planes(picture().convert("L").convert("RGB")))
    assert np.array_equal(colored(picture(), grayscale=False), planes(picture()))


@pytest.mark.parametrize("shift", [-0.5, -0.2, 0.0, 0.013, 1 / 3, 0.5])
def test_the_hue_moves_as_in_hsv(shift):
    every = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    every[0], every[1, :, :2], every[2, :, 0] = 77, 255, 0  # greys, and colours with equal channels
    pixels, expected = every.reshape(-1, 3) / 255, []
    for hue, saturation, value in (colorsys.rgb_to_hsv(*pixel) for pixel in pixels):
        expected.append(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value))
    moved = colored(Image.fromarray(every), hue=shift).transpose(1, 2, 0).reshape(-1, 3)
    assert np.abs(moved - 255 * np.array(expected)).max() <= 0.501
    import_torchvision()
    from torchvision.transforms.functional import adjust_hue

    theirs = adjust_hue(torch.from_numpy(every).permute(2, 0, 1), shift)
    assert (torch.from_numpy(colored(Image.fromarray(every), hue=shift)).int() - theirs.int()).abs().max() <= 1


def test_colours_change_in_a_fixed_order_after_the_turn_and_before_the_erasing():
    sample = Augmentation(3.0, True, FULL_AREA, 1.4, 0.6, 1.8, grayscale=True, erased=PART)
    image = Image.fromarray(by_pil(picture(), 3.0, True).transpose(1, 2, 0))
    for enhancer, factor in ((ImageEnhance.Brightness, 1.4), (ImageEnhance.Contrast, 0.6), (ImageEnhance.Color, 1.8)):
        image = enhancer(image).enhance(factor)
    expected = planes(image.convert("L").convert("RGB")).copy()
    expected[:, 13:58, 6:38] = 0  # 0.2 to 0.9 of 64 rows, 0.1 to 0.6 of 64 columns
    assert np.array_equal(to_square(np.asarray(picture()), sample, 64), expected)


def test_an_edge_between_two_pixels_is_rounded_alike_on_the_device():
    S = 224
    erased = tuple((edge + 0.5 + 1e-9) / S for edge in (20, 30, 120, 130))  # float32 would round some of them down
    numbers = as_tensors([Augmentation(erased=erased)], ["erased"])
    square = augment_squares(torch.full((1, 1, 3, S, S), 9, dtype=torch.uint8), torch.ones(1, 1, 2), **numbers)[0, 0, 0]
    black = (square == 0).nonzero()
    assert black.min(dim=0).values.tolist() == [31, 21] and black.max(dim=0).values.tolist() == [130, 120]


def test_an_area_is_black_in_all_frames_of_its_clip():
    squares = torch.full((3, 2, 3, 8, 8), 9, dtype=torch.uint8)
    expected = squares.clone()
    expected[0, :, :, 2:8, 1:4] = expected[2] = 0
    assert torch.equal(black_out(squares, torch.tensor([(1, 2, 4, 8), (0, 0, 0, 0), (0, 0, 8, 8)])), expected)


# samples


def test_samples_fill_their_ranges_evenly_and_half_of_them_flip():
    rng = np.random.default_rng(0)
    samples = [sample_augmentation(rng, AugmentationLimits(brightness=0.4)) for _ in range(2000)]
    angles, factors = (np.array([getattr(sample, name) for sample in samples]) for name in ("angle", "brightness"))
    assert -4 <= angles.min() < -3.9 and 3.9 < angles.max() <= 4
    assert np.quantile(angles, [0.25, 0.5, 0.75]) == pytest.approx([-2, 0, 2], abs=0.25)
    assert 0.6 <= factors.min() < 0.61 and 1.39 < factors.max() <= 1.4
    assert np.quantile(factors, [0.25, 0.5, 0.75]) == pytest.approx([0.8, 1, 1.2], abs=0.03)
    assert np.mean([sample.flip for sample in samples]) == pytest.approx(0.5, abs=0.05)


def test_limits_bound_angles_and_flips_and_leave_other_numbers_alone():
    for seed in range(50):
        plain, wide, still, every = (
            sample_augmentation(np.random.default_rng(seed), limits)
            for limits in (AugmentationLimits(), AugmentationLimits(40), AugmentationLimits(0, False), EVERYTHING)
        )
        assert wide.angle == pytest.approx(10 * plain.angle) and wide.flip == plain.flip
        assert still == Augmentation()
        assert (every.angle, every.flip) == (plain.angle, plain.flip)


EVERY_LIMIT = AugmentationLimits(4, True, 0.3, 0.5, 0.5, 0.5, 0.2, 0.2, 0.4)


def test_colours_and_erasings_fill_their_ranges():
    rng = np.random.default_rng(0)
    samples = [sample_augmentation(rng, EVERY_LIMIT) for _ in range(4000)]
    for name, low, high in (("contrast", 0.5, 1.5), ("saturation", 0.5, 1.5), ("hue", -0.2, 0.2)):
        values = np.array([getattr(sample, name) for sample in samples])
        assert kstest((values - low) / (high - low), "uniform").pvalue > 0.01, name
    assert np.mean([sample.grayscale for sample in samples]) == pytest.approx(0.2, abs=0.03)
    left, top, right, bottom = np.array([sample.erased for sample in samples]).T
    width, height = right - left, bottom - top
    is_erased = width > 0
    assert is_erased.mean() == pytest.approx(0.4, abs=0.03) and min(left.min(), top.min()) >= 0
    assert max(right.max(), bottom.max()) <= 1
    width, height = width[is_erased], height[is_erased]
    areas, aspects = width * height, width / height
    assert 0.02 - 1e-9 <= areas.min() < 0.03 and 0.3 < areas.max() <= 0.33 + 1e-9
    assert 0.3 - 1e-9 <= aspects.min() < 0.4 and 2.8 < aspects.max() <= 3.3 + 1e-9


def test_one_sample_names_what_it_changes_and_its_limits_what_varies():
    assert PLAIN.changes == [] and Augmentation(3.0, True, hue=0.1, grayscale=True).changes == ["hue", "grayscale"]
    assert AugmentationLimits(9, False).varied == [] and AugmentationLimits(random_erasing=0.1).varied == ["erased"]
    assert EVERY_LIMIT.varied == ["part", "brightness", "contrast", "saturation", "hue", "grayscale", "erased"]


def test_the_variants_of_a_cache_are_sampled_for_every_clip_but_the_plain_one():
    limits = AugmentationLimits(hue=0.2, grayscale=0.3)
    first, second = (cached_variants(18, limits, clip) for clip in ("a", "b"))
    assert first == cached_variants(18, limits, "a") and first[:5] == cached_variants(5, limits, "a")
    assert first[0] == second[0] == PLAIN
    turned = cached_variants(18)
    for variants in (first, second):
        assert [(v.angle, v.flip) for v in variants] == [(v.angle, v.flip) for v in turned]
    hues = np.array([[v.hue for v in variants] for variants in (first, second)])[:, 1:]
    assert len(set(hues.ravel())) == 34 and np.abs(hues).max() <= 0.2
    grey = [v.grayscale for number in range(300) for v in cached_variants(6, limits, str(number))[1:]]
    assert np.mean(grey) == pytest.approx(0.3, abs=0.04)
    still = cached_variants(6, AugmentationLimits(0, False, hue=0.2), "a")
    assert len(still) == 6 and still[0] == PLAIN and not any(v.flip or v.angle for v in still)


def test_what_is_off_changes_no_other_number():
    rng, by_hand = np.random.default_rng(5), np.random.default_rng(5)
    assert sample_augmentation(rng) == Augmentation(by_hand.uniform(-4, 4), by_hand.random() < 0.5)
    assert rng.random() == by_hand.random()


def sample_parts(smallest: float, count: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([sample_part(rng, smallest) for _ in range(count)])


@pytest.mark.parametrize("smallest", [0.01, 0.08, 0.5, 0.9])
def test_parts_lie_inside_with_area_and_aspect_in_their_limits(smallest):
    left, top, right, bottom = sample_parts(smallest).T
    assert min(left.min(), top.min()) >= 0 and max(right.max(), bottom.max()) <= 1
    width, height = right - left, bottom - top
    assert smallest - 1e-9 <= (width * height).min()
    assert 3 / 4 - 1e-9 <= (width / height).min() and (width / height).max() <= 4 / 3 + 1e-9


def test_area_is_uniform_aspect_log_uniform_and_every_position_equally_likely():
    """Up to 3/4 of the area every allowed aspect fits, so that nothing is sampled again."""
    left, top, right, bottom = sample_parts(0.08).T
    width, height = right - left, bottom - top
    fits = width * height <= 0.75
    uniform = {
        "area": (width * height - 0.08) / (0.75 - 0.08),
        "aspect": np.log(width / height * 4 / 3) / np.log(16 / 9),
        "left": left / (1 - width),
        "top": top / (1 - height),
    }
    for name, values in uniform.items():
        assert kstest(values[fits], "uniform").pvalue > 0.01, name
    assert abs(np.corrcoef(uniform["left"][fits], uniform["top"][fits])[0, 1]) < 0.06


def test_near_the_whole_a_part_of_another_aspect_is_sampled_again_at_most_ten_times():
    """An area A fits if |log aspect| <= -log A: with probability log A / log 3/4 above 3/4."""
    left, top, right, bottom = sample_parts(0.75, 8000).T
    area = (right - left) * (bottom - top)
    share = np.mean(area[area < 1] < 0.8)
    accepted = [np.log(a) / np.log(3 / 4) for a in np.linspace(0.75, 1, 2001)]
    assert share == pytest.approx(np.sum(accepted[:401]) / np.sum(accepted), abs=0.03)
    assert np.mean((sample_parts(0.9999) == FULL_AREA).all(axis=1)) > 0.98


def test_cached_variants_begin_plain_and_mirrored_keep_to_the_limits_and_do_not_repeat():
    plain, mirrored = Augmentation(0.0, False), Augmentation(0.0, True)
    assert cached_variants(2) == [plain, mirrored] and cached_variants(1, AugmentationLimits(20)) == [plain]
    assert len(set(cached_variants(18))) == 18 and max(abs(v.angle) for v in cached_variants(18)) == 4.0
    assert cached_variants(6, AugmentationLimits(0)) == [plain, mirrored]
    assert cached_variants(6, AugmentationLimits(0, False)) == [plain]
    angles = [0, 15, -15, 5, -5, 20, -20, 10, -10]
    assert cached_variants(18, AugmentationLimits(20, False)) == [Augmentation(angle) for angle in angles]


# squares


def rotate(square: np.ndarray, angle: float, flip: bool = False, shape=(SIZE, SIZE)) -> np.ndarray:
    sample = torch.tensor([angle], dtype=torch.float64), torch.tensor([flip])
    return augment_squares(torch.from_numpy(square.copy())[None, None], torch.tensor([[shape]]), *sample)[0, 0].numpy()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", ANGLES + WIDE)
def test_a_square_is_rotated_and_mirrored_bit_for_bit_like_pil_with_black_corners(angle, flip):
    square = picture(SIZE, SIZE)
    assert np.array_equal(rotate(planes(square), angle, flip), by_pil(square, angle, flip, size=SIZE))


@pytest.mark.parametrize("shape", [(160, 240), (300, 150), (60, 80), (96, 96)])
def test_a_crop_of_any_shape_is_close_to_the_result_of_pil(shape):
    coarse = np.random.default_rng(0).integers(30, 256, (6, 6, 3), dtype=np.uint8)
    crop = cv2.resize(coarse, shape, interpolation=cv2.INTER_LINEAR)
    square = to_square(crop, PLAIN, SIZE)
    for angle in ANGLES:
        expected = by_pil(Image.fromarray(crop), angle, size=SIZE).astype(int)
        difference = np.abs(rotate(square, angle, False, shape) - expected).mean()
        assert difference < max(np.abs(square - expected).mean() / 2, 1.5), angle
        if shape[0] >= 2 * shape[1] and abs(angle) > 1:  # the shape of the crop matters
            assert difference < np.abs(rotate(square, angle) - expected).mean()


@pytest.mark.parametrize("largest", [10, 1_000_000], ids=["usual shapes", "shapes beyond int32"])
@pytest.mark.parametrize("frames", [1, 4])
def test_torch_rotates_like_opencv(frames, largest):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    squares = torch.randint(1, 256, (3, 4, 3, SIZE, SIZE), dtype=torch.uint8)
    angles, flips = torch.tensor([3.0, -40.0, 90.0]), torch.tensor([True, False, True])
    steps = turn_steps(angles, torch.randint(1, largest, (3, frames, 2)), SIZE)
    turned = turn_by_torch(squares.to(device), steps.to(device), flips.to(device)).cpu()
    assert torch.equal(turned, turn_by_opencv(squares, steps, flips))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("part", [PART, (0.0, 0.5, 0.31, 1.0), (0.49, 0.49, 0.5, 0.5), FULL_AREA])
def test_squares_are_augmented_as_their_crops_would_be(part, flip):
    expected = by_pil(picture(64, 64), 2.5, flip, 1.2, [round(64 * share) for share in part]).astype(int)
    squares = torch.from_numpy(planes(picture(64, 64)).copy())[None, None].expand(1, 3, -1, -1, -1)
    samples = torch.tensor([2.5]), torch.tensor([flip]), torch.tensor([part]).double()
    augmented = augment_squares(squares, torch.ones(1, 3, 2), *samples, brightness=torch.tensor([1.2]))
    assert augmented.dtype == torch.uint8 and augmented.shape == (1, 3, 3, 64, 64)
    assert (augmented == augmented[:, :1]).all()
    assert np.abs(augmented[0, 0].numpy() - expected).max() <= 2  # rounded once more, then 1.2 times as far


def test_every_clip_of_a_batch_has_its_own_augmentation():
    squares = torch.randint(0, 256, (3, 2, 3, 32, 32), dtype=torch.uint8)
    parts = torch.tensor([PART, FULL_AREA, (0.5, 0.0, 1.0, 0.5)]).double()
    samples = {
        "angle": torch.tensor([1.0, 0.0, -3.0]),
        "flip": torch.tensor([True, False, True]),
        "part": parts,
        "brightness": torch.tensor([0.5, 1.0, 1.5]),
        "contrast": torch.tensor([1.5, 1.0, 0.7]),
        "saturation": torch.tensor([1.4, 1.0, 0.2]),
        "hue": torch.tensor([0.1, 0.0, -0.2]),
        "grayscale": torch.tensor([False, False, True]),
        "erased": torch.tensor([PART, NOWHERE, PART]),
    }
    together = augment_squares(squares, torch.ones(3, 2, 2), **samples)
    for clip in range(3):
        alone = {name: sample[clip : clip + 1] for name, sample in samples.items()}
        assert torch.equal(together[clip], augment_squares(squares[clip][None], torch.ones(1, 2, 2), **alone)[0])
    assert torch.equal(together[1], squares[1])


def test_a_batch_is_enlarged_like_each_clip_alone():
    """The result for a whole batch on a GPU equals that of the CPU for each clip, except for ties in rounding."""
    torch.manual_seed(0)
    rng, squares = np.random.default_rng(0), torch.randint(0, 256, (12, 2, 3, SIZE, SIZE), dtype=torch.uint8)
    parts = [sample_part(rng, 0.05) for _ in range(10)] + [FULL_AREA, (0.5, 0.5, 0.51, 0.51)]
    flip = torch.arange(12) % 2 == 0
    expected = enlarge_parts(squares, torch.tensor(parts, dtype=torch.float64), flip)
    edges = torch.tensor([pixels_of(part, SIZE, SIZE) for part in parts])
    edges[flip] = edges[flip][:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([SIZE, 0, SIZE, 0])
    together = interpolate_together(squares, edges)
    difference = (together.int() - expected.int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 1e-4
    assert torch.equal(together[10], squares[10])  # the whole picture of a clip that is mirrored already
