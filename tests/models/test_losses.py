"""Losses against golden values, closed forms and plain loops."""

import math

import pytest
import torch

from models.losses import (
    classification_loss,
    decorrelation_loss,
    inverse_weights,
    log_priors,
    mutual_information_loss,
    scheduled_weight,
)

RAER = torch.tensor([1383, 129, 150, 157, 422])


def example(B=7, C=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(B, C, generator=generator), torch.randint(C, (B,), generator=generator)


def by_loops(logits, label, weights=None, smoothing=0.0, gamma=0.0) -> float:
    """One clip and one class at a time, in Python floats."""
    total, weight_sum = 0.0, 0.0
    for row, true in zip(logits.tolist(), label.tolist(), strict=True):
        norm = math.log(sum(math.exp(v) for v in row))
        log_p = [v - norm for v in row]
        loss = 0.0
        for c in range(len(row)):
            target = smoothing / len(row) + (1 - smoothing if c == true else 0)
            loss -= target * log_p[c]
        loss *= (1 - math.exp(log_p[true])) ** gamma
        w = 1.0 if weights is None else weights[true].item()
        total, weight_sum = total + w * loss, weight_sum + w
    return total / weight_sum


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0])])
@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_weights_smoothing_and_focus_act_together_as_in_plain_loops(weights, smoothing, gamma):
    logits, label = example()
    got = classification_loss(logits, label, class_weights=weights, label_smoothing=smoothing, focal_gamma=gamma)
    assert got.item() == pytest.approx(by_loops(logits, label, weights, smoothing, gamma), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradients_stay_finite_where_the_model_is_sure(gamma):
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    loss = classification_loss(logits, torch.tensor([0, 0]), label_smoothing=0.1, focal_gamma=gamma)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_half_precision_logits_are_scored_in_float32():
    logits, label = example()
    assert classification_loss(logits.half(), label).dtype == torch.float32


def test_inverse_weights_are_golden_up_to_their_scale():
    weights = inverse_weights(RAER)
    assert (weights / weights.sum()).tolist() == pytest.approx(
        [0.030278, 0.324610, 0.279165, 0.266718, 0.099229], abs=1e-6
    )
    assert weights.mean().item() == pytest.approx(1)


def test_a_class_without_clips_has_no_weight_and_does_not_disturb_the_others():
    weights = inverse_weights(torch.tensor([10, 0, 30]))
    assert weights.tolist() == pytest.approx([1.5, 0, 0.5])
    assert log_priors(torch.tensor([10, 0, 30])).isfinite().all()


def test_priors_are_golden():
    got = log_priors(RAER)
    assert got.exp().tolist() == pytest.approx([0.617135, 0.057564, 0.066934, 0.070058, 0.188309], abs=1e-6)
    assert got.tolist() == pytest.approx([-0.482667, -2.854865, -2.704042, -2.658432, -1.669672], abs=1e-6)


def test_mutual_information_of_identical_orthonormal_views_is_golden():
    views = torch.eye(5, 16)
    exact = math.log(1 + 4 * math.exp(-1 / 0.07))  # 2.4995e-6; float32 near 1 comes in steps of 1.2e-7: 2.4319e-6
    assert mutual_information_loss(views, views).item() == pytest.approx(exact, abs=1.2e-7)


def test_mutual_information_is_symmetric_infonce_over_classes_at_0_07():
    generator = torch.Generator().manual_seed(0)
    soft, fixed = torch.randn(2, 4, 8, generator=generator)
    unit = [[[x / math.hypot(*row) for x in row] for row in view] for view in (soft.tolist(), fixed.tolist())]
    cosine = [[sum(a * b for a, b in zip(s, f, strict=True)) / 0.07 for f in unit[1]] for s in unit[0]]
    rows = sum(math.log(sum(math.exp(v) for v in cosine[k])) - cosine[k][k] for k in range(4)) / 4
    columns = sum(math.log(sum(math.exp(cosine[i][k]) for i in range(4))) - cosine[k][k] for k in range(4)) / 4
    assert mutual_information_loss(soft, fixed).item() == pytest.approx((rows + columns) / 2, rel=1e-5)
    assert mutual_information_loss(3 * soft, fixed).item() == pytest.approx((rows + columns) / 2, rel=1e-5)
    assert rows != pytest.approx(columns, rel=1e-3)


@pytest.mark.parametrize(("offdiagonal", "expected"), [(0.0, 0.0), (1.0, 1.0), (0.9, 0.81), (-0.2, 0.04)])
def test_decorrelation_is_golden(offdiagonal, expected):
    gram = torch.full((5, 5), offdiagonal, dtype=torch.float64).fill_diagonal_(1.0)
    values, vectors = torch.linalg.eigh(gram)
    rows = (vectors * values.clamp(min=0).sqrt()).float()
    assert decorrelation_loss(2.5 * rows).item() == pytest.approx(expected, abs=1e-5)


def test_decorrelation_of_one_class_is_zero_with_a_zero_gradient():
    one = torch.randn(1, 8, requires_grad=True)
    loss = decorrelation_loss(one)
    loss.backward()
    assert loss.item() == 0 and one.grad.abs().sum() == 0


def test_schedules_are_golden():
    mi = [scheduled_weight(0.7, epoch, 3, 8) for epoch in range(13)]
    assert mi == pytest.approx([0, 0, 0, 0, 0.0875, 0.175, 0.2625, 0.35, 0.4375, 0.525, 0.6125, 0.7, 0.7])
    dc = {epoch: scheduled_weight(1.2, epoch, 5, 10) for epoch in (0, 5, 6, 14, 15, 40)}
    assert dc == pytest.approx({0: 0, 5: 0, 6: 0.12, 14: 1.08, 15: 1.2, 40: 1.2})


def test_without_warm_up_and_ramp_the_weight_is_final_from_the_start():
    assert [scheduled_weight(0.5, epoch, 0, 0) for epoch in range(3)] == [0.5] * 3
    assert [scheduled_weight(0.5, epoch, 2, 0) for epoch in range(4)] == [0, 0, 0.5, 0.5]
