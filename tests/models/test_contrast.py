"""The contrastive loss against closed forms, PyTorch's cross-entropy and plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from models.losses import contrastive_loss


def units(B, D=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(2, B, D, generator=generator), dim=-1)


def rows_with(logits, same):
    """Mean over rows of -log of the share that a row's own columns have, in Python floats."""
    total = 0.0
    for row, own in zip(logits, same, strict=True):
        every = sum(math.exp(v) for v in row)
        mine = sum(math.exp(v) for v, is_own in zip(row, own, strict=True) if is_own)
        total -= math.log(mine / every)
    return total / len(logits)


def by_hand(video, text, scale, same):
    cosine = [[sum(a * b for a, b in zip(v, t, strict=True)) * scale for t in text.tolist()] for v in video.tolist()]
    turned = [list(column) for column in zip(*cosine, strict=True)]
    return (rows_with(cosine, same) + rows_with(turned, [list(c) for c in zip(*same, strict=True)])) / 2


def loss_of(video, text, scale=10.0, same=None):
    same = torch.eye(len(video), dtype=torch.bool) if same is None else torch.as_tensor(same)
    return contrastive_loss(video, text, torch.tensor(scale), same)


@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_two_pairs_at_right_angles(scale):
    pairs = torch.eye(2, 8)
    assert loss_of(pairs, pairs, scale).item() == pytest.approx(math.log(1 + math.exp(-scale)), abs=1e-6)


def test_three_pairs_of_known_cosines():
    """Videos are the axes, so the cosines are the texts' own numbers: columns and rows differ."""
    text = torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.6, 0.8], [0.28, 0.0, 0.96]])
    e = math.exp
    to_text = (
        math.log((e(0.6) + e(0) + e(0.28)) / e(0.6))
        + math.log((e(0.8) + e(0.6) + e(0)) / e(0.6))
        + math.log((e(0) + e(0.8) + e(0.96)) / e(0.96))
    ) / 3
    to_video = (
        math.log((e(0.6) + e(0.8) + e(0)) / e(0.6))
        + math.log((e(0) + e(0.6) + e(0.8)) / e(0.6))
        + math.log((e(0.28) + e(0) + e(0.96)) / e(0.96))
    ) / 3
    assert to_text != pytest.approx(to_video, abs=1e-3)
    assert loss_of(torch.eye(3), text, 1.0).item() == pytest.approx((to_text + to_video) / 2, abs=1e-6)


@pytest.mark.parametrize("B", [1, 2, 3, 17])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_with_the_diagonal_alone_it_is_clips_loss(B, scale):
    video, text = units(B)
    logits, own = scale * video @ text.T, torch.arange(B)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    assert loss_of(video, text, scale).item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("B", [1, 2, 5, 64])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_batch_of_equal_texts_has_nothing_to_lose_when_they_are_merged(B, scale):
    video, text = units(B)[0], units(1, seed=1)[1].expand(B, -1)
    assert loss_of(video, text, scale, torch.ones(B, B, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("B", [1, 2, 5, 64])
def test_a_batch_of_equal_pairs_costs_log_b_when_they_are_not(B):
    video, text = (rows[:1].expand(B, -1) for rows in units(1))
    assert loss_of(video, text, 100.0).item() == pytest.approx(math.log(B), abs=1e-5)


def test_a_text_that_occurs_twice_among_others():
    video, text = units(4)
    text = text.clone()
    text[2] = text[0]
    same = [[i == j or {i, j} == {0, 2} for j in range(4)] for i in range(4)]
    assert loss_of(video, text, 5.0, same).item() == pytest.approx(by_hand(video, text, 5.0, same), rel=1e-5)


def test_one_pair_and_its_double_beside_a_third_at_right_angles():
    """Rows of the double lose log((2e^s + 1) / 2e^s), the third loses log((e^s + 2) / e^s), both ways."""
    pairs, s = torch.eye(2, 8)[[0, 0, 1]], 2.0
    same = [[True, True, False], [True, True, False], [False, False, True]]
    doubled, single = math.log(1 + math.exp(-s) / 2), math.log(1 + 2 * math.exp(-s))
    assert loss_of(pairs, pairs, s, same).item() == pytest.approx((2 * doubled + single) / 3, abs=1e-6)


@pytest.mark.parametrize("merged", [True, False])
def test_the_order_of_the_clips_does_not_matter(merged):
    video, text = units(9)
    text, rows = text[[0, 1, 2, 0, 4, 5, 1, 7, 0]], torch.tensor([0, 1, 2, 0, 4, 5, 1, 7, 0])
    same = rows[:, None] == rows if merged else torch.eye(9, dtype=torch.bool)
    shuffled = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    again = loss_of(video[shuffled], text[shuffled], 14.3, same[shuffled][:, shuffled])
    assert again.item() == pytest.approx(loss_of(video, text, 14.3, same).item(), rel=1e-5)


def test_merging_only_lowers_the_loss():
    video, text = units(6)
    rows = torch.tensor([0, 0, 1, 2, 2, 2])
    assert loss_of(video, text[rows], 14.3, rows[:, None] == rows) < loss_of(video, text[rows], 14.3)


@pytest.mark.parametrize(
    "same", [torch.eye(6).bool(), torch.ones(6, 6).bool(), torch.arange(6)[:, None] % 3 == torch.arange(6) % 3]
)
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_gradients_are_finite(same, scale):
    video, text = (rows.clone().requires_grad_() for rows in units(6))
    scale = torch.tensor(scale, requires_grad=True)
    loss = contrastive_loss(video, text, scale, same)
    loss.backward()
    assert loss.isfinite() and all(t.grad.isfinite().all() for t in (video, text, scale))


def test_half_precision_is_scored_in_float32():
    video, text = units(8)
    got = loss_of(video.half(), text.half(), 100.0)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(loss_of(video.half().float(), text.half().float(), 100.0).item(), rel=1e-5)
