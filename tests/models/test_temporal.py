"""The temporal transformer against one written with plain loops, from its description alone."""

import math

import pytest
import torch

from models.temporal import TemporalTransformer


def norm(row, weight, bias):
    mean = sum(row) / len(row)
    variance = sum((v - mean) ** 2 for v in row) / len(row)
    return [(v - mean) / math.sqrt(variance + 1e-5) * w + b for v, w, b in zip(row, weight, bias, strict=True)]


def linear(row, weight, bias=None):
    out = [sum(w * v for w, v in zip(line, row, strict=True)) for line in weight]
    return out if bias is None else [o + b for o, b in zip(out, bias, strict=True)]


def gelu(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def add(one, two):
    return [a + b for a, b in zip(one, two, strict=True)]


def attend(rows, qkv, heads, width, hidden):
    """Chunks q, k, v; inside each the head is outermost. ``hidden`` tokens are not looked at."""
    inner = heads * width
    out = [[] for _ in rows]
    for h in range(heads):
        part = [[line[chunk * inner + h * width :][:width] for line in qkv] for chunk in range(3)]
        for i, query in enumerate(part[0]):
            scores = [
                -math.inf if j in hidden else sum(a * b for a, b in zip(query, key, strict=True)) / math.sqrt(width)
                for j, key in enumerate(part[1])
            ]
            top = max(scores)
            share = [math.exp(s - top) for s in scores]
            total = sum(share)
            out[i] += [sum(s / total * value[d] for s, value in zip(share, part[2], strict=True)) for d in range(width)]
    return out


def by_loops(net, frames, heads, width, padding=()):
    """One clip (T, D) as lists → the class token (D)."""
    rows = [net.class_token[0, 0].tolist(), *frames.tolist()]
    rows = [add(row, position) for row, position in zip(rows, net.positions[0].tolist(), strict=False)]
    hidden = {t + 1 for t in padding}
    for block in net.blocks:
        attention, (first, _, _, second, _) = block.attention, block.feed_forward
        normed = [norm(row, block.attention_norm.weight.tolist(), block.attention_norm.bias.tolist()) for row in rows]
        qkv = [linear(row, attention.to_qkv.weight.tolist()) for row in normed]
        mixed = attend(rows, qkv, heads, width, hidden)
        out = attention.to_out
        rows = [add(row, linear(m, out.weight.tolist(), out.bias.tolist())) for row, m in zip(rows, mixed, strict=True)]
        normed = [norm(row, block.feed_norm.weight.tolist(), block.feed_norm.bias.tolist()) for row in rows]
        inner = [[gelu(v) for v in linear(row, first.weight.tolist(), first.bias.tolist())] for row in normed]
        rows = [
            add(r, linear(i, second.weight.tolist(), second.bias.tolist())) for r, i in zip(rows, inner, strict=True)
        ]
    return rows[0]


def build(layers=1, **changes):
    torch.manual_seed(0)
    settings = {"layers": layers, "heads": 3, "head_width": 4, "hidden": 10, "max_frames": 6}
    net = TemporalTransformer(8, **(settings | changes)).eval()
    for parameter in net.parameters():  # no bias may hide at 0, no norm at 1
        torch.nn.init.normal_(parameter, std=0.7)
    return net


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("T", [1, 4, 6])
def test_it_equals_the_plain_loops(layers, T):
    net, frames = build(layers), torch.randn(2, T, 8)
    got = net(frames)
    assert got.shape == (2, 8)
    for b in range(2):
        assert got[b].tolist() == pytest.approx(by_loops(net, frames[b], 3, 4), abs=2e-4)


def test_padding_is_not_looked_at():
    net, frames = build(2), torch.randn(2, 5, 8)
    padding = torch.tensor([[False, False, True, False, True], [False] * 5])
    got = net(frames, padding)
    assert got[0].tolist() == pytest.approx(by_loops(net, frames[0], 3, 4, padding=(2, 4)), abs=2e-4)
    assert torch.allclose(got[1], net(frames)[1], atol=1e-5)
    changed = frames.clone()
    changed[0, [2, 4]] = 100.0
    assert torch.allclose(net(changed, padding)[0], got[0], atol=1e-5)


def test_frames_of_another_order_are_another_clip():
    net, frames = build(), torch.randn(1, 5, 8)
    assert not torch.allclose(net(frames), net(frames.flip(1)), atol=1e-3)


def test_more_frames_than_positions_are_an_error_that_says_so():
    net = build()
    assert net(torch.randn(1, 6, 8)).shape == (1, 8)
    with pytest.raises(ValueError, match=r"7 frames.*6"):
        net(torch.randn(1, 7, 8))


def test_class_token_and_positions_start_at_standard_normal():
    torch.manual_seed(0)
    net = TemporalTransformer(512)
    assert net.class_token.shape == (1, 1, 512) and net.positions.shape == (1, 17, 512)
    assert net.positions.std().item() == pytest.approx(1, abs=0.03)
    assert net.class_token.std().item() == pytest.approx(1, abs=0.15)


def test_the_published_size():
    """qkv without bias, out with, 512 → 1024 → 512, two norms; no final norm."""
    count = sum(p.numel() for p in TemporalTransformer(512).parameters())
    expected = 512 + 17 * 512 + 512 * 1536 + 512 * 512 + 512 + 2 * 512 * 1024 + 1024 + 512 + 4 * 512
    assert count == expected


def test_dropout_works_in_training_alone():
    net, frames = build(dropout=0.5), torch.randn(1, 4, 8)
    assert torch.equal(net(frames), net(frames))
    net.train()
    assert not torch.equal(net(frames), net(frames))
    assert {m.p for m in TemporalTransformer(8).modules() if isinstance(m, torch.nn.Dropout)} == {0.1}
