"""The part of a picture that a random resized crop keeps: inside, of the drawn sizes, anywhere."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from dataloader.transforms import WHOLE, draw_part, enlarge_parts, interpolate_together, part_within, pixels_of


def drawn(smallest: float, count: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([draw_part(rng, smallest) for _ in range(count)])


@pytest.mark.parametrize("smallest", [0.01, 0.08, 0.5, 0.9])
def test_parts_lie_inside_with_area_and_aspect_in_their_limits(smallest):
    left, top, right, bottom = drawn(smallest).T
    assert min(left.min(), top.min()) >= 0 and max(right.max(), bottom.max()) <= 1
    width, height = right - left, bottom - top
    assert smallest - 1e-9 <= (width * height).min()
    assert 3 / 4 - 1e-9 <= (width / height).min() and (width / height).max() <= 4 / 3 + 1e-9


def test_area_is_uniform_aspect_log_uniform_and_every_place_equally_likely():
    """Up to 3/4 of the area every allowed aspect fits, so that nothing is drawn again."""
    left, top, right, bottom = drawn(0.08).T
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


def test_near_the_whole_a_part_of_another_aspect_is_drawn_again():
    """An area A fits if |log aspect| <= -log A: with probability log A / log 3/4 above 3/4."""
    left, top, right, bottom = drawn(0.75, 8000).T
    area = (right - left) * (bottom - top)
    share = np.mean(area[area < 1] < 0.8)
    accepted = [np.log(a) / np.log(3 / 4) for a in np.linspace(0.75, 1, 2001)]
    assert share == pytest.approx(np.sum(accepted[:401]) / np.sum(accepted), abs=0.03)


def test_after_ten_tries_the_whole_is_taken():
    assert np.mean((drawn(0.9999) == WHOLE).all(axis=1)) > 0.98


def test_a_part_has_whole_pixels_and_at_least_one():
    assert pixels_of((0.1, 0.2, 0.6, 0.9), 50, 70) == (5, 14, 30, 63)
    assert pixels_of((0.26, 0.74, 0.49, 0.99), 10, 4) == (3, 3, 5, 4)
    assert pixels_of((0.99, 0.5, 1.0, 0.51), 10, 10) == (9, 5, 10, 6)
    assert pixels_of(WHOLE, 17, 1) == (0, 0, 17, 1)


def test_a_part_within_a_box():
    assert part_within((0.5, 0.25, 1.0, 0.5), (10.0, 20.0, 30.0, 60.0)) == (20.0, 30.0, 30.0, 40.0)


def test_all_clips_together_are_each_enlarged_alone():
    """What a GPU computes in a few kernels is what the CPU computes clip by clip, but for ties in rounding."""
    torch.manual_seed(0)
    rng, squares = np.random.default_rng(0), torch.randint(0, 256, (12, 2, 3, 96, 96), dtype=torch.uint8)
    parts = [draw_part(rng, 0.05) for _ in range(10)] + [WHOLE, (0.5, 0.5, 0.51, 0.51)]
    flip = torch.tensor([n % 2 == 0 for n in range(12)])
    expected = enlarge_parts(squares, torch.tensor(parts, dtype=torch.float64), flip)
    edges = []
    for part, is_mirrored in zip(parts, flip.tolist(), strict=True):
        left, top, right, bottom = pixels_of(part, 96, 96)
        edges.append((96 - right, top, 96 - left, bottom) if is_mirrored else (left, top, right, bottom))
    got = interpolate_together(squares, torch.tensor(edges))
    difference = (got.int() - expected.int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 1e-4
    assert torch.equal(got[10], squares[10])  # the whole, of a clip that is mirrored already
