"""IEC's closed form against an explicit slerp and dot product, in values and gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.clip_caer import instance_enhanced_cosine

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
GOLDEN = {  # cosine → values at weight 0, .25, .5, .75
    -0.5: (-0.5, 0, 0.5, 0.866025),
    0.0: (0, 0.382683, 0.707107, 0.92388),
    0.25: (0.25, 0.549871, 0.790569, 0.946195),
    0.5: (0.5, 0.707107, 0.866025, 0.965926),
    0.9: (0.9, 0.94333, 0.974679, 0.99365),
}


def explicit(text: Tensor, video: Tensor, weight: float) -> Tensor:
    """Turn every text towards every video along the great circle, then compare: (B, C)."""
    cosine = (video @ text.T)[..., None]
    angle = weight * torch.acos(cosine)
    across = F.normalize(video[:, None] - cosine * text, dim=-1)
    mixed = torch.cos(angle) * text + torch.sin(angle) * across
    return (video[:, None] * mixed).sum(dim=-1)


def units(rows: int, seed: int, D: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, D, generator=generator, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("pull", [0.0, 2.0, 20.0, -5.0])
def test_the_closed_form_is_slerp_and_a_dot_product(weight, pull):
    video = units(40, 1)
    text = F.normalize(units(40, 2) + pull * video, dim=-1)  # far, near, and on the other side
    got = instance_enhanced_cosine(video @ text.T, weight)
    assert torch.allclose(got, explicit(text, video, weight), atol=1e-6, rtol=0)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_gradients_are_those_of_the_explicit_slerp(weight):
    gradients = []
    for form in ("closed", "explicit"):
        video, text = units(6, 3).requires_grad_(), units(4, 4).requires_grad_()
        value = instance_enhanced_cosine(video @ text.T, weight) if form == "closed" else explicit(text, video, weight)
        share = torch.arange(24, dtype=torch.float64).view(6, 4).sin()
        # the directions along the vectors themselves are left by the unit length, so they are taken out
        for vector, gradient in zip(
            (video, text), torch.autograd.grad((share * value).sum(), (video, text)), strict=True
        ):
            gradients.append((gradient - (gradient * vector).sum(-1, keepdim=True) * vector).detach())
    for closed, slow in zip(gradients[:2], gradients[2:], strict=True):
        assert torch.allclose(closed, slow, atol=1e-9)


@pytest.mark.parametrize("cosine", GOLDEN)
def test_values_are_golden(cosine):
    got = [instance_enhanced_cosine(torch.tensor(cosine, dtype=torch.float64), w).item() for w in (0, 0.25, 0.5, 0.75)]
    assert got == pytest.approx(GOLDEN[cosine], abs=1e-6)


def test_the_slope_is_golden():
    cosine = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    instance_enhanced_cosine(cosine, 0.5).backward()
    assert cosine.grad.item() == pytest.approx(0.316228, abs=1e-6)


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9, 0.999])
def test_near_parallel_the_series_meets_the_arc(weight):
    for gap in (0.0, 1e-12, 1e-8, 1e-5, 9.99e-5, 1.0001e-4, 1e-3):
        cosine = torch.tensor(1 - gap, dtype=torch.float64, requires_grad=True)
        value = instance_enhanced_cosine(cosine, weight)
        value.backward()
        angle = 2 * math.asin(math.sqrt((1 - cosine.item()) / 2))  # exact where acos is not
        share = 1 - weight
        slope = share**2 if angle == 0 else share * math.sin(share * angle) / math.sin(angle)
        assert value.item() == pytest.approx(math.cos(share * angle), abs=1e-11)
        assert cosine.grad.item() == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_parallel_opposite_and_nearly_so_stay_finite(dtype, weight):
    base = units(1, 5).to(dtype)[0]
    nudged = [F.normalize(base + size * units(1, 6).to(dtype)[0], dim=-1) for size in (1e-8, 1e-6, 1e-4, 1e-2)]
    text = torch.stack([base, -base, *nudged, *(-v for v in nudged)]).requires_grad_()
    video = base[None].clone().requires_grad_()
    value = instance_enhanced_cosine(video @ text.T, weight)
    value.sum().backward()
    assert value.isfinite().all() and text.grad.isfinite().all() and video.grad.isfinite().all()
    assert (value.abs() <= 1 + 1e-6).all()


@pytest.mark.parametrize("value", [1.0, -1.0, 1 + 1e-6, -1 - 1e-6, 0.0])
def test_exact_and_overshooting_cosines_stay_finite(value):
    for dtype in (torch.float32, torch.float64):
        cosine = torch.full((3,), value, dtype=dtype, requires_grad=True)
        out = instance_enhanced_cosine(cosine, 0.5)
        out.sum().backward()
        assert out.isfinite().all() and cosine.grad.isfinite().all()


@pytest.mark.parametrize("weight", WEIGHTS)
def test_it_rises_with_the_cosine_so_the_highest_class_never_changes(weight):
    cosine = torch.linspace(-0.9999, 1, 20001, dtype=torch.float64)
    assert (instance_enhanced_cosine(cosine, weight).diff() > 0).all()
    logits = units(500, 7) @ units(5, 8).T
    assert torch.equal(instance_enhanced_cosine(logits, weight).argmax(-1), logits.argmax(-1))


def test_weight_0_is_the_cosine_itself():
    cosine = torch.linspace(-1, 1, 101)
    assert torch.equal(instance_enhanced_cosine(cosine, 0), cosine)
