"""Losses over labelled frames against closed forms and plain loops; gradients reach no other frame."""

import math

import pytest
import torch

from models.losses import action_unit_loss, ccc_loss, expression_loss


def example(B=3, L=11, seed=0):
    """Outputs, labels with holes in them, padding; all three tasks."""
    g = torch.Generator().manual_seed(seed)
    padding = torch.zeros(B, L, dtype=torch.bool)
    padding[0, 7:] = padding[1, :2] = True
    va, au = 2 * torch.rand(B, L, 2, generator=g) - 1, torch.randint(2, (B, L, 12), generator=g).float()
    expr = torch.randint(8, (B, L), generator=g)
    hole = torch.rand(B, L, generator=g) < 0.3
    va[hole], expr[hole.roll(1, 1)], au[hole.roll(2, 1)] = math.nan, -1, math.nan
    va[0, 0, 0], va[1, 4, 1], au[2, 3, 5] = math.nan, math.nan, math.nan  # one number of a frame alone
    outputs = [torch.randn(B, L, n, generator=g).requires_grad_() for n in (2, 8, 12)]
    return outputs, (va, expr, au), padding


LOSSES = {"va": ccc_loss, "expr": expression_loss, "au": action_unit_loss}
TASKS = [pytest.param(i, loss, id=name) for i, (name, loss) in enumerate(LOSSES.items())]


def counted(label, padding):
    """Where a number counts, one at a time, in the shape of the label."""
    known = torch.zeros(label.shape, dtype=torch.bool)
    for place in torch.cartesian_prod(*map(torch.arange, label.shape)).tolist():
        value = label[tuple(place)].item()
        known[tuple(place)] = not (value != value or (label.dim() == 2 and value < 0) or padding[place[0], place[1]])
    return known


def ccc_by_loops(x, y):
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    together = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / n
    spread = sum((a - mx) ** 2 for a in x) / n + sum((b - my) ** 2 for b in y) / n
    return 2 * together / (spread + (mx - my) ** 2)


def test_concordance_is_pooled_over_labelled_frames_and_summed_over_both():
    (out, _, _), (label, _, _), padding = example()
    known = counted(label, padding)
    expected = sum(
        1 - ccc_by_loops(out[..., k][known[..., k]].tolist(), label[..., k][known[..., k]].tolist()) for k in (0, 1)
    )
    assert ccc_loss(out, label, padding).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (1.0, 0.5), (-1.0, 3.0), (0.25, 0.0)])
def test_a_line_has_a_known_concordance(a, b):
    """y = a x + b with mean 1.5 and variance 5.25: 2 a v / (v + a² v + (m - a m - b)²)."""
    x = torch.tensor([-1.0, 0.0, 2.0, 5.0])
    expected = 1 - 2 * a * 5.25 / (5.25 + a * a * 5.25 + (1.5 - a * 1.5 - b) ** 2)
    label = torch.stack([x, x], dim=-1)[None]
    assert ccc_loss(a * label + b, label).item() == pytest.approx(2 * expected, abs=1e-5)


@pytest.mark.parametrize("guess", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("label", [[0.5, 0.5, 0.5], [0.1, 0.5, 0.9], [0.5]])
def test_a_constant_prediction_agrees_with_nothing_and_has_finite_gradients(guess, label):
    label = torch.tensor(label)[None, :, None].expand(1, -1, 2)
    out = torch.full(label.shape, guess, requires_grad=True)
    loss = ccc_loss(out, label)
    loss.backward()
    assert loss.item() == pytest.approx(2) and out.grad.isfinite().all()


def expression_by_loops(logits, label, known, weights=None, smoothing=0.0, gamma=0.0):
    total, weight_sum = 0.0, 0.0
    for row, true in zip(logits[known].tolist(), label[known].tolist(), strict=True):
        norm = math.log(sum(math.exp(v) for v in row))
        log_p = [v - norm for v in row]
        loss = -sum((smoothing / 8 + (1 - smoothing) * (c == true)) * v for c, v in enumerate(log_p))
        w = 1.0 if weights is None else weights[true].item()
        total, weight_sum = total + w * loss * (1 - math.exp(log_p[true])) ** gamma, weight_sum + w
    return total / weight_sum


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0, 1.0, 0.0, 1.0])])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_expressions_equal_the_plain_loops(weights, smoothing, gamma):
    (_, out, _), (_, label, _), padding = example()
    got = expression_loss(
        out, label, padding, class_weights=weights, label_smoothing=smoothing, focal_gamma=gamma
    ).item()
    expected = expression_by_loops(out, label, counted(label, padding), weights, smoothing, gamma)
    assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [None, torch.linspace(0.5, 6, 12)])
def test_action_units_equal_the_plain_loops(weights):
    (_, _, out), (_, _, label), padding = example()
    known, terms = counted(label, padding), []
    for b, t, k in known.nonzero().tolist():
        p = 1 / (1 + math.exp(-out[b, t, k].item()))
        active = label[b, t, k].item() == 1
        terms.append(-(1.0 if weights is None else weights[k].item()) * math.log(p) if active else -math.log(1 - p))
    got = action_unit_loss(out, label, padding, positive_weights=weights).item()
    assert got == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_minus_one_is_no_action_unit_either():
    (_, _, out), (_, _, label), padding = example()
    assert action_unit_loss(out, label.nan_to_num(-1), padding).item() == action_unit_loss(out, label, padding).item()


@pytest.mark.parametrize(("task", "loss"), TASKS)
def test_gradients_reach_labelled_frames_and_no_others(task, loss):
    outputs, labels, padding = example()
    out, known = outputs[task], counted(labels[task], padding)
    loss(out, labels[task], padding).backward()
    touched = out.grad != 0
    assert out.grad.isfinite().all()
    assert torch.equal(touched, known if known.dim() == 3 else known[..., None].expand_as(touched))


@pytest.mark.parametrize(("task", "loss"), TASKS)
def test_what_is_predicted_elsewhere_does_not_matter(task, loss):
    outputs, labels, padding = example()
    known = counted(labels[task], padding)
    known = known if known.dim() == 3 else known[..., None].expand_as(outputs[task])
    wild = outputs[task].detach().masked_fill(~known, math.nan).requires_grad_()
    got = loss(wild, labels[task], padding)
    got.backward()
    assert got.item() == loss(outputs[task], labels[task], padding).item()
    assert (wild.grad[~known] == 0).all()


@pytest.mark.parametrize(("task", "loss"), TASKS)
@pytest.mark.parametrize("why", ["labels", "padding"])
@pytest.mark.parametrize("value", [1.0, math.nan, math.inf])
def test_without_a_label_the_loss_is_zero_and_still_has_a_graph(task, loss, why, value):
    outputs, labels, padding = example()
    label = labels[task].clone().fill_(-1 if task == 1 else math.nan) if why == "labels" else labels[task]
    out = torch.full_like(outputs[task], value, requires_grad=True)
    got = loss(out, label, torch.ones_like(padding) if why == "padding" else padding)
    got.backward()
    assert got.item() == 0 and (out.grad == 0).all()


def test_one_dimension_without_labels_leaves_the_other():
    (out, _, _), (label, _, _), padding = example()
    label[..., 1] = math.nan
    known = counted(label, padding)[..., 0]
    expected = 1 - ccc_by_loops(out[..., 0][known].tolist(), label[..., 0][known].tolist())
    assert ccc_loss(out, label, padding).item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_of_classes_without_weight_has_no_loss():
    (_, out, _), _, padding = example()
    weights = torch.tensor([1.0] * 7 + [0.0])
    loss = expression_loss(out, torch.full(padding.shape, 7), padding, class_weights=weights)
    loss.backward()
    assert loss.item() == 0 and (out.grad == 0).all()


@pytest.mark.parametrize(("task", "loss"), TASKS)
def test_padding_may_be_left_out_and_half_precision_is_scored_in_float32(task, loss):
    outputs, labels, padding = example()
    whole = loss(outputs[task], labels[task], torch.zeros_like(padding))
    assert loss(outputs[task], labels[task]).item() == whole.item()
    half = loss(outputs[task].half(), labels[task])
    assert half.dtype == torch.float32 and half.item() == pytest.approx(whole.item(), rel=1e-2)
