"""Losses against golden values, closed forms, PyTorch's losses and plain loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.losses import (
    action_unit_loss,
    ccc_loss,
    classification_loss,
    contrastive_loss,
    decorrelation_loss,
    effective_weights,
    expression_loss,
    fork_targets,
    inverse_weights,
    ldam_margins,
    log_priors,
    lower_true_logits,
    mutual_information_loss,
    scheduled_weight,
    semantic_targets,
)

RAER = torch.tensor([1383, 129, 150, 157, 422])

# -- classification -------------------------------------------------------------------------------------------------


def example(B=7, C=5):
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(B, C, generator=generator), torch.randint(C, (B,), generator=generator)


def by_loops(logits, label, weights=None, smoothing=0.0, gamma=0.0) -> float:
    """Reference by loops over clips and classes, in Python floats."""
    total, weight_sum = 0.0, 0.0
    for row, true in zip(logits.tolist(), label.tolist(), strict=True):
        norm = math.log(sum(math.exp(v) for v in row))
        log_p = [v - norm for v in row]
        loss = -sum((smoothing / len(row) + (1 - smoothing) * (c == true)) * v for c, v in enumerate(log_p))
        weight = 1.0 if weights is None else weights[true].item()
        total += weight * loss * (1 - math.exp(log_p[true])) ** gamma
        weight_sum += weight
    return total / weight_sum


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0])])
@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_weights_smoothing_and_focus_act_together_as_in_plain_loops(weights, smoothing, gamma):
    logits, label = example()
    got = classification_loss(logits, label, class_weights=weights, label_smoothing=smoothing, focal_gamma=gamma)
    assert got.item() == pytest.approx(by_loops(logits, label, weights, smoothing, gamma), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradients_stay_finite_for_confident_models(gamma):
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


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999, 0.9999])
def test_effective_numbers_are_sums_of_powers(beta):
    """(1 - beta^n) / (1 - beta) = 1 + beta + ... + beta^(n - 1)."""
    numbers = [math.fsum(beta**k for k in range(n)) for n in RAER.tolist()]
    weights = effective_weights(RAER, beta)
    assert (weights / weights[0]).tolist() == pytest.approx([numbers[0] / n for n in numbers], rel=1e-5)
    assert weights.mean().item() == pytest.approx(1)


def test_effective_numbers_reach_from_no_weights_to_inverse_ones():
    assert effective_weights(RAER, 0.0).tolist() == pytest.approx([1] * 5)
    assert torch.equal(effective_weights(RAER, 1.0), inverse_weights(RAER))
    assert effective_weights(RAER, 1 - 1e-9).tolist() == pytest.approx(inverse_weights(RAER).tolist(), rel=1e-4)
    assert effective_weights(torch.tensor([10, 0, 30]), 0.0).tolist() == pytest.approx([1, 0, 1])


def test_margins_of_ldam_are_golden():
    assert ldam_margins(RAER, 0.5).tolist() == pytest.approx([0.276320, 0.5, 0.481498, 0.476039, 0.371783], abs=1e-6)
    # 16^(-1/4) = 1/2 and 1^(-1/4) = 1; a class without clips has no margin and does not change the others
    assert ldam_margins(torch.tensor([16, 0, 1]), 0.3).tolist() == pytest.approx([0.15, 0, 0.3])


def test_only_the_true_class_loses_its_margin():
    logits, margins = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([0.5, 0.25, 1.0])
    expected = torch.tensor([[1.0, 2.0, 2.0], [3.5, 5.0, 6.0]])
    assert torch.equal(lower_true_logits(logits, torch.tensor([2, 0]), margins), expected)


def test_targets_of_the_fork_are_golden():
    small, large = fork_targets(0.05), fork_targets(0.1)
    assert small[0].tolist() == pytest.approx([0.95, 0.016779, 0.021249, 0.007962, 0.00401], abs=1e-6)
    assert small[2].tolist() == pytest.approx([0.002225, 0.027881, 0.95, 0.01323, 0.006664], abs=1e-6)
    assert large[4].tolist() == pytest.approx([0.002829, 0.035452, 0.044896, 0.016823, 0.9], abs=1e-6)
    assert large.sum(dim=1).tolist() == pytest.approx([1] * 5)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_semantic_targets_of_orthogonal_and_of_equal_texts(temperature):
    """Cosines of 1 and 0: e^(1/t) and 1 over their sum."""
    own = math.exp(1 / temperature)
    expected = torch.full((4, 4), 1 / (own + 3)).fill_diagonal_(own / (own + 3))
    assert torch.allclose(semantic_targets(3 * torch.eye(4, 8), temperature), expected, atol=1e-6)
    equal = torch.ones(4, 8, requires_grad=True)
    targets = semantic_targets(equal, temperature)
    assert torch.allclose(targets, torch.full((4, 4), 0.25)) and not targets.requires_grad


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0])])
def test_the_loss_of_distributions_has_the_gradient_of_their_divergence(weights):
    """PyTorch's Kullback-Leibler divergence differs by the entropy of the targets, which is constant."""
    logits, label = example()
    targets = torch.rand(7, 5, generator=torch.Generator().manual_seed(2)).softmax(dim=-1)
    first, second = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = classification_loss(first, label, class_weights=weights, targets=targets)
    shares = torch.full((7,), 1 / 7) if weights is None else weights[label] / weights[label].sum()
    divergence = F.kl_div(second.log_softmax(dim=-1), targets, reduction="none").sum(dim=-1) @ shares
    entropy = -(targets * targets.log()).sum(dim=-1) @ shares
    assert loss.item() == pytest.approx((divergence + entropy).item(), rel=1e-5)
    loss.backward()
    divergence.backward()
    assert torch.allclose(first.grad, second.grad, atol=1e-6)


def test_one_vote_for_the_label_is_the_label():
    logits, label = example()
    targets = F.one_hot(label, 5).float()
    for gamma in (0.0, 2.0):
        expected = classification_loss(logits, label, focal_gamma=gamma)
        assert torch.equal(classification_loss(logits, label, focal_gamma=gamma, targets=targets), expected)


def test_priors_are_golden():
    got = log_priors(RAER)
    assert got.exp().tolist() == pytest.approx([0.617135, 0.057564, 0.066934, 0.070058, 0.188309], abs=1e-6)
    assert got.tolist() == pytest.approx([-0.482667, -2.854865, -2.704042, -2.658432, -1.669672], abs=1e-6)


# -- texts ----------------------------------------------------------------------------------------------------------


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
    soft = torch.randn(1, 8, requires_grad=True)
    loss = decorrelation_loss(soft)
    loss.backward()
    assert loss.item() == 0 and soft.grad.abs().sum() == 0


def test_schedules_are_golden():
    mi = [scheduled_weight(0.7, epoch, 3, 8) for epoch in range(13)]
    assert mi == pytest.approx([0, 0, 0, 0, 0.0875, 0.175, 0.2625, 0.35, 0.4375, 0.525, 0.6125, 0.7, 0.7])
    dc = {epoch: scheduled_weight(1.2, epoch, 5, 10) for epoch in (0, 5, 6, 14, 15, 40)}
    assert dc == pytest.approx({0: 0, 5: 0, 6: 0.12, 14: 1.08, 15: 1.2, 40: 1.2})
    assert [scheduled_weight(0.5, epoch, 0, 0) for epoch in range(3)] == [0.5] * 3
    assert [scheduled_weight(0.5, epoch, 2, 0) for epoch in range(4)] == [0, 0, 0.5, 0.5]


# -- contrast -------------------------------------------------------------------------------------------------------


def units(B, D=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(2, B, D, generator=generator), dim=-1)


def contrast_of(video, text, scale=10.0, same=None):
    same = torch.eye(len(video), dtype=torch.bool) if same is None else torch.as_tensor(same)
    return contrastive_loss(video, text, torch.tensor(scale), same)


@pytest.mark.parametrize("B", [1, 2, 3, 17])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_without_merged_positives_the_contrast_is_the_loss_of_clip(B, scale):
    video, text = units(B)
    logits, pairs = scale * video @ text.T, torch.arange(B)
    expected = (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2
    assert contrast_of(video, text, scale).item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("B", [1, 2, 5, 64])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_batch_of_equal_texts_has_zero_loss_with_merged_positives(B, scale):
    video, text = units(B)[0], units(1, seed=1)[1].expand(B, -1)
    assert contrast_of(video, text, scale, torch.ones(B, B, dtype=torch.bool)).item() == 0


def test_a_text_that_occurs_twice_among_others():
    """Softmax of each row by torch; the probabilities of all positives of a row are added."""
    video, text = units(4)
    text = text[[0, 1, 0, 3]]
    same = torch.eye(4, dtype=torch.bool)
    same[0, 2] = same[2, 0] = True
    cosine = 5.0 * video.double() @ text.double().T
    ways = [-(shares * same).sum(1).log().mean() for shares in (cosine.softmax(1), cosine.T.softmax(1))]
    assert contrast_of(video, text, 5.0, same).item() == pytest.approx(sum(ways).item() / 2, rel=1e-5)


@pytest.mark.parametrize(
    "same", [torch.eye(6).bool(), torch.ones(6, 6).bool(), torch.arange(6)[:, None] % 3 == torch.arange(6) % 3]
)
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_gradients_of_the_contrast_are_finite(same, scale):
    video, text = (rows.clone().requires_grad_() for rows in units(6))
    scale = torch.tensor(scale, requires_grad=True)
    loss = contrastive_loss(video, text, scale, same)
    loss.backward()
    assert loss.isfinite() and all(t.grad.isfinite().all() for t in (video, text, scale))


def test_half_precision_contrast_is_scored_in_float32():
    video, text = units(8)
    got = contrast_of(video.half(), text.half(), 100.0)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(contrast_of(video.half().float(), text.half().float(), 100.0).item(), rel=1e-5)


# -- frames of long videos ------------------------------------------------------------------------------------------


def frames_example(B=3, L=11):
    """Outputs, labels with gaps, padding; all three tasks."""
    g = torch.Generator().manual_seed(0)
    padding = torch.zeros(B, L, dtype=torch.bool)
    padding[0, 7:] = padding[1, :2] = True
    va, au = 2 * torch.rand(B, L, 2, generator=g) - 1, torch.randint(2, (B, L, 12), generator=g).float()
    expr = torch.randint(8, (B, L), generator=g)
    hole = torch.rand(B, L, generator=g) < 0.3
    va[hole], expr[hole.roll(1, 1)], au[hole.roll(2, 1)] = math.nan, -1, math.nan
    va[0, 0, 0], va[1, 4, 1], au[2, 3, 5] = math.nan, math.nan, math.nan  # one number of one frame only
    outputs = [torch.randn(B, L, n, generator=g).requires_grad_() for n in (2, 8, 12)]
    return outputs, (va, expr, au), padding


LOSSES = {"va": ccc_loss, "expr": expression_loss, "au": action_unit_loss}
TASKS = [pytest.param(i, loss, id=name) for i, (name, loss) in enumerate(LOSSES.items())]


def labelled(label, padding):
    """A mask of the labelled numbers, in the shape of the label, by a loop."""
    mask = torch.zeros(label.shape, dtype=torch.bool)
    for index in map(tuple, torch.cartesian_prod(*map(torch.arange, label.shape)).tolist()):
        value = label[index].item()
        mask[index] = value == value and not (label.dim() == 2 and value < 0) and not padding[index[:2]]
    return mask


def ccc_by_numpy(x, y) -> float:
    return 2 * np.cov(x, y, ddof=0)[0, 1] / (np.var(x) + np.var(y) + (np.mean(x) - np.mean(y)) ** 2)


def test_concordance_is_pooled_over_labelled_frames_and_summed_over_both():
    (out, _, _), (label, _, _), padding = frames_example()
    mask = labelled(label, padding)
    expected = sum(
        1 - ccc_by_numpy(out[..., k][mask[..., k]].tolist(), label[..., k][mask[..., k]].tolist()) for k in (0, 1)
    )
    assert ccc_loss(out, label, padding).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("guess", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("label", [[0.5, 0.5, 0.5], [0.1, 0.5, 0.9], [0.5]])
def test_a_constant_prediction_has_zero_concordance_and_finite_gradients(guess, label):
    label = torch.tensor(label)[None, :, None].expand(1, -1, 2)
    out = torch.full(label.shape, guess, requires_grad=True)
    loss = ccc_loss(out, label, torch.zeros(label.shape[:2], dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(2) and out.grad.isfinite().all()


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0, 1.0, 0.0, 1.0])])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_expressions_equal_the_plain_loops(weights, smoothing, gamma):
    (_, out, _), (_, label, _), padding = frames_example()
    got = expression_loss(
        out, label, padding, class_weights=weights, label_smoothing=smoothing, focal_gamma=gamma
    ).item()
    mask = labelled(label, padding)
    expected = by_loops(out[mask], label[mask], weights, smoothing, gamma)
    assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [None, torch.linspace(0.5, 6, 12)])
def test_action_units_equal_the_plain_loops(weights):
    (_, _, out), (_, _, label), padding = frames_example()
    mask, terms = labelled(label, padding), []
    for b, t, k in mask.nonzero().tolist():
        p = 1 / (1 + math.exp(-out[b, t, k].item()))
        active = label[b, t, k].item() == 1
        terms.append(-(1.0 if weights is None else weights[k].item()) * math.log(p) if active else -math.log(1 - p))
    got = action_unit_loss(out, label, padding, positive_weights=weights).item()
    assert got == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_minus_one_means_an_unlabelled_action_unit():
    (_, _, out), (_, _, label), padding = frames_example()
    assert action_unit_loss(out, label.nan_to_num(-1), padding).item() == action_unit_loss(out, label, padding).item()


@pytest.mark.parametrize(("task", "loss"), TASKS)
def test_gradients_reach_labelled_frames_and_no_others(task, loss):
    outputs, labels, padding = frames_example()
    out, mask = outputs[task], labelled(labels[task], padding)
    loss(out, labels[task], padding).backward()
    touched = out.grad != 0
    assert out.grad.isfinite().all()
    assert torch.equal(touched, mask if mask.dim() == 3 else mask[..., None].expand_as(touched))


@pytest.mark.parametrize(("task", "loss"), TASKS)
def test_predictions_of_unlabelled_frames_do_not_matter(task, loss):
    outputs, labels, padding = frames_example()
    mask = labelled(labels[task], padding)
    mask = mask if mask.dim() == 3 else mask[..., None].expand_as(outputs[task])
    wild = outputs[task].detach().masked_fill(~mask, math.nan).requires_grad_()
    got = loss(wild, labels[task], padding)
    got.backward()
    assert got.item() == loss(outputs[task], labels[task], padding).item()
    assert (wild.grad[~mask] == 0).all()


@pytest.mark.parametrize(("task", "loss"), TASKS)
@pytest.mark.parametrize("why", ["labels", "padding"])
@pytest.mark.parametrize("value", [1.0, math.nan, math.inf])
def test_without_a_label_the_loss_is_zero_and_still_has_a_graph(task, loss, why, value):
    outputs, labels, padding = frames_example()
    label = labels[task].clone().fill_(-1 if task == 1 else math.nan) if why == "labels" else labels[task]
    out = torch.full_like(outputs[task], value, requires_grad=True)
    got = loss(out, label, torch.ones_like(padding) if why == "padding" else padding)
    got.backward()
    assert got.item() == 0 and (out.grad == 0).all()


def test_one_dimension_without_labels_leaves_the_other():
    (out, _, _), (label, _, _), padding = frames_example()
    label[..., 1] = math.nan
    mask = labelled(label, padding)[..., 0]
    expected = 1 - ccc_by_numpy(out[..., 0][mask].tolist(), label[..., 0][mask].tolist())
    assert ccc_loss(out, label, padding).item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_of_classes_without_weight_has_no_loss():
    (_, out, _), _, padding = frames_example()
    weights = torch.tensor([1.0] * 7 + [0.0])
    loss = expression_loss(out, torch.full(padding.shape, 7), padding, class_weights=weights)
    loss.backward()
    assert loss.item() == 0 and (out.grad == 0).all()


@pytest.mark.parametrize(("task", "loss"), TASKS)
def test_half_precision_outputs_of_frames_are_scored_in_float32(task, loss):
    outputs, labels, padding = frames_example()
    full, half = loss(outputs[task], labels[task], padding), loss(outputs[task].half(), labels[task], padding)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(full.item(), rel=1e-2)
