"""The temporal convolutional network against plain loops, its published size and reach."""

import pytest
import torch

from models.sequence import NormedConv, TemporalConvNet
from utils.errors import UserError


def small(seed=0, **changes):
    torch.manual_seed(seed)
    net = TemporalConvNet(6, **({"channels": (6, 5, 3), "kernel": 3, "dropout": 0.0} | changes)).eval()
    for parameter in net.parameters():  # large enough that nothing vanishes
        torch.nn.init.normal_(parameter, std=0.5)
    return net


def conv_by_loops(conv, rows, causal, missing):
    """``rows`` (L, inputs) as lists; a frame that is not there reads as zeros."""
    direction, outputs, inputs, kernel = conv.direction.tolist(), *conv.direction.shape
    left = (kernel - 1) * conv.dilation // (1 if causal else 2)
    result = []
    for t in range(len(rows)):
        line = []
        for o in range(outputs):
            norm = sum(v * v for row in direction[o] for v in row) ** 0.5
            total = conv.bias[o].item()
            for k in range(kernel):
                place = t - left + k * conv.dilation
                if 0 <= place < len(rows) and place not in missing:
                    weights = [direction[o][i][k] / norm * conv.length[o].item() for i in range(inputs)]
                    total += sum(w * v for w, v in zip(weights, rows[place], strict=True))
            line.append(total)
        result.append(line)
    return result


def bend(rows, prelu):
    slope = prelu.weight.item()
    return [[v if v > 0 else slope * v for v in row] for row in rows]


def net_by_loops(net, rows, causal, missing=()):
    for block in net.blocks:
        rows = [[0.0] * len(row) if t in missing else row for t, row in enumerate(rows)]
        inner = bend(conv_by_loops(block.first, rows, causal, missing), block.first_bend)
        inner = bend(conv_by_loops(block.second, inner, causal, missing), block.second_bend)
        if block.shortcut is not None:
            weight, bias = block.shortcut.weight[..., 0].tolist(), block.shortcut.bias.tolist()
            pairs = list(zip(weight, bias, strict=True))
            rows = [[sum(w * v for w, v in zip(line, row, strict=True)) + b for line, b in pairs] for row in rows]
        both = zip(inner, rows, strict=True)
        rows = bend([[a + b for a, b in zip(one, two, strict=True)] for one, two in both], block.last_bend)
    return rows


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("missing", [(), (0, 1), (8,), (3, 4)])
def test_it_equals_the_plain_loops(causal, missing):
    net, frames = small(causal=causal), torch.randn(1, 9, 6)
    padding = torch.zeros(1, 9, dtype=torch.bool)
    padding[0, list(missing)] = True
    got, expected = net(frames, padding)[0], net_by_loops(net, frames[0].tolist(), causal, missing)
    for t in set(range(9)) - set(missing):
        assert got[t].tolist() == pytest.approx(expected[t], rel=1e-4, abs=1e-4)
    if not missing:
        assert torch.equal(net(frames)[0], got)


def test_it_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in TemporalConvNet(768).parameters()) == 7_689_097


def changed_by_an_impulse(net, L=260):
    frames = torch.randn(1, L, 6, dtype=torch.float64)
    other = frames.clone()
    other[0, 100] += 1
    with torch.no_grad():
        differs = (net(frames) != net(other)).any(dim=-1)[0]
    return differs.nonzero()[:, 0].tolist()


def test_an_impulse_at_frame_100_reaches_frames_100_to_156():
    assert changed_by_an_impulse(small(kernel=5).double()) == list(range(100, 157))


def test_without_causality_it_reaches_as_far_to_both_sides():
    assert changed_by_an_impulse(small(kernel=5, causal=False).double()) == list(range(72, 129))


def test_first_weights_are_normal_with_a_standard_deviation_of_a_hundredth():
    torch.manual_seed(0)
    net = TemporalConvNet(64, channels=(64, 32))
    for block in net.blocks:
        for conv in (block.first, block.second):
            weight = conv.direction * conv.length / conv.direction.flatten(1).norm(dim=1)[:, None, None]
            assert weight.mean().item() == pytest.approx(0, abs=4e-4)
            assert weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert net.blocks[0].shortcut is None
    assert net.blocks[1].shortcut.weight.std().item() == pytest.approx(0.01, rel=0.06)


def test_length_and_direction_are_apart():
    torch.manual_seed(0)
    conv, x = NormedConv(3, 4, 3, dilation=1, causal=True), torch.randn(1, 3, 8)
    before = conv(x)
    with torch.no_grad():
        conv.direction *= 7
    assert torch.allclose(conv(x), before, atol=1e-6)
    with torch.no_grad():
        conv.length *= 2
        conv.bias *= 2
    assert torch.allclose(conv(x), 2 * before, atol=1e-6)


def test_an_even_kernel_has_no_middle():
    with pytest.raises(UserError, match="odd kernel, not 4"):
        TemporalConvNet(6, kernel=4, causal=False)
