"""The sequence model and its TCN: receptive fields, the effect of padding, sizes read from tensors."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.build import State
from models.clip_towers import UninitialisedWeights
from models.sequence import FrameNorm, SequenceModel, TemporalConvNet, sequence_like, sinusoids
from utils.errors import UserError

SMALL = {"channels": (12, 10, 8), "kernel": 3, "width": 16, "layers": 2, "heads": 4, "hidden": 20, "readout_width": 14}
ABLATIONS = [
    {},
    {"causal": False},
    {"positions": True},
    {"with_tcn": False},
    {"with_transformer": False},
    {"with_tcn": False, "with_transformer": False},
    {"with_tcn": False, "positions": True},
]


def build(seed=0, **changes) -> SequenceModel:
    """A model with weights so large that frames differ, and no bias at 0 or norm at 1."""
    torch.manual_seed(seed)
    model = SequenceModel(12, **(SMALL | changes)).eval()
    for parameter in model.parameters():
        is_scale = parameter.dim() == 1 and parameter[0] == 1
        nn.init.normal_(parameter, mean=float(is_scale), std=0.4)
    for module in model.modules():
        if isinstance(module, FrameNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def everything(out) -> torch.Tensor:
    return torch.cat([out.va, out.expr, out.au], dim=-1)


def gaps_at(B, L, *gaps) -> torch.Tensor:
    padding = torch.zeros(B, L, dtype=torch.bool)
    for b, gap in gaps:
        padding[b, gap] = True
    return padding


def test_each_task_has_its_shape_and_the_others_are_none():
    frames = torch.randn(2, 9, 12)
    out = build()(frames)
    assert out.va.shape == (2, 9, 2) and out.expr.shape == (2, 9, 8) and out.au.shape == (2, 9, 12)
    only = build(tasks=("expr",))(frames)
    assert only.va is None and only.au is None and only.expr.shape == (2, 9, 8)


def test_the_published_sizes():
    """Block by block from the description: weights, biases, lengths, slopes, norms."""
    model = SequenceModel(768, tasks=("va",))
    transformer = 8 * (3 * (512 * 512 + 512) + 512 * 512 + 512 + 2 * (512 * 512 + 512) + 4 * 512)
    head = 512 * 256 + 256 + 2 * 256 + 256 * 2 + 2
    tcn = 7_689_097  # published
    expected = tcn + 128 * 512 + 512 + transformer + head
    assert sum(p.numel() for p in model.parameters()) == expected
    layer = model.transformer[0]
    assert layer.activation is torch.nn.functional.relu and not layer.norm_first
    assert layer.self_attn.num_heads == 4 and layer.self_attn.batch_first and len(model.transformer) == 8
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.3}


@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
@pytest.mark.parametrize("grad", [True, False])
def test_padding_on_either_side_changes_no_frame(changes, grad):
    model, frames = build(**changes).double(), torch.randn(2, 15, 12, dtype=torch.float64)
    padding = gaps_at(2, 22, (0, slice(0, 7)), (1, slice(15, 22)))
    longer = torch.full((2, 22, 12), math.nan, dtype=torch.float64)
    longer[~padding] = frames.flatten(0, 1)
    with torch.set_grad_enabled(grad):
        short, padded = everything(model(frames)), everything(model(longer, padding))
    assert short.std(dim=1).min() > 0.01  # frames differ
    assert (padded[~padding] - short.flatten(0, 1)).abs().max() < 1e-6
    assert (padded[padding] == 0).all()


@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
def test_features_in_a_gap_are_not_read(changes):
    model, frames = build(**changes), torch.randn(2, 12, 12)
    padding = gaps_at(2, 12, (0, [3, 4, 8]), (1, [0, 11]))
    changed = frames.clone()
    changed[padding] = 1000.0
    assert torch.equal(everything(model(frames, padding)), everything(model(changed, padding)))


@pytest.mark.parametrize("train", [True, False])
def test_a_row_without_frames_does_not_change_other_rows(train):
    model, frames = build(dropout=0.0), torch.randn(3, 8, 12)
    model.train(train)
    padding = gaps_at(3, 8, (1, slice(0, 8)))
    out = everything(model(frames, padding))
    out.square().sum().backward()
    without = everything(build(dropout=0.0).train(train)(frames[[0, 2]]))
    assert torch.allclose(out[[0, 2]], without, atol=1e-4) and (out[1] == 0).all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_padded_frames_are_left_out_of_the_statistics():
    """The running mean and variance of the head are those of the existing frames, by numpy."""
    model = build(tasks=("va",), with_tcn=False, with_transformer=False, dropout=0.0).train()
    first, norm, last = model.readouts["va"]
    norm.momentum = 1.0
    frames, padding = torch.randn(2, 10, 12), gaps_at(2, 10, (0, slice(6, 10)), (1, slice(0, 3)))
    rows = first(model.project(frames[~padding])).detach()  # (13, readout_width)
    out = model(frames, padding).va
    assert norm.running_mean.tolist() == pytest.approx(rows.numpy().mean(axis=0).tolist(), abs=1e-5)
    assert norm.running_var.tolist() == pytest.approx(rows.numpy().var(axis=0, ddof=1).tolist(), rel=1e-4)
    scaled = (rows - rows.mean(dim=0)) / (rows.var(dim=0, unbiased=False) + 1e-5).sqrt()
    expected = last(scaled * norm.weight + norm.bias)
    assert torch.allclose(out[~padding], expected, atol=1e-4)


@pytest.mark.parametrize("frames", [0, 1])
def test_too_few_frames_use_the_running_statistics(frames):
    torch.manual_seed(0)
    norm = FrameNorm(5).train()
    norm.running_mean.normal_()
    before, x = norm.running_mean.clone(), torch.randn(frames, 5)
    expected = (x - before) / math.sqrt(1 + 1e-5)
    assert torch.allclose(norm(x), expected, atol=1e-6) and torch.equal(norm.running_mean, before)


def test_without_positions_the_transformer_ignores_the_order():
    """Only the TCN sees the order, unless position embeddings are on."""
    frames, order = torch.randn(1, 10, 12), torch.randperm(10)
    blind, counting = build(with_tcn=False), build(with_tcn=False, positions=True)
    assert torch.allclose(everything(blind(frames[:, order])), everything(blind(frames))[:, order], atol=1e-4)
    assert not torch.allclose(everything(counting(frames[:, order])), everything(counting(frames))[:, order], atol=1e-2)


def test_sinusoids_are_the_formula_and_count_from_the_first_frame():
    padding = gaps_at(2, 7, (1, slice(0, 3)))
    got = sinusoids(padding, 6)
    for t in range(7):
        for i in range(3):
            rate = 10000 ** (-2 * i / 6)
            assert got[0, t, 2 * i].item() == pytest.approx(math.sin(t * rate), abs=1e-6)
            assert got[0, t, 2 * i + 1].item() == pytest.approx(math.cos(t * rate), abs=1e-6)
    assert torch.equal(got[1, 3:], got[0, :4])


def test_leaving_a_part_out_does_not_change_the_first_weights_of_other_parts():
    def first_weights(**changes) -> State:
        torch.manual_seed(5)
        return SequenceModel(8, **(SMALL | {"channels": (8, 8)} | changes)).state_dict()

    full = first_weights()
    for changes in ({"with_tcn": False}, {"with_transformer": False}, {"tasks": ("au",)}, {"layers": 1}):
        part = first_weights(**changes)
        assert len(part) < len(full) and all(torch.equal(value, full[name]) for name, value in part.items())


@pytest.mark.parametrize(
    "changes",
    [*ABLATIONS, {"tasks": ("au",)}, {"tasks": ("va", "expr")}, {"channels": (9,), "kernel": 5}],
    ids=str,
)
def test_sizes_come_from_the_tensors(changes):
    model, frames = build(**changes), torch.randn(2, 10, 12)
    state = model.state_dict()
    hints = {name: changes[name] for name in ("causal", "positions") if name in changes}
    with UninitialisedWeights():
        again = sequence_like(state, **hints).eval()
    again.load_state_dict(state, assign=True)
    expected, got = vars(model(frames)), vars(again(frames))
    for task, numbers in expected.items():
        assert (got[task] is None) if numbers is None else torch.equal(got[task], numbers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"tasks": ()}, "at least one of the tasks"), ({"width": 18}, "width 18 cannot be divided into 4 heads")],
)
def test_impossible_sizes_are_refused_in_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        build(**changes)


def test_features_of_another_width_are_refused():
    with pytest.raises(UserError, match=re.escape("the features have 10 numbers per frame, this model reads 12")):
        build()(torch.randn(1, 4, 10))


# -- the TCN --------------------------------------------------------------------------------------------------------


def small_tcn(**changes):
    torch.manual_seed(0)
    net = TemporalConvNet(6, **({"channels": (6, 5, 3), "kernel": 3, "dropout": 0.0} | changes)).eval().double()
    for parameter in net.parameters():  # large enough that no effect vanishes
        nn.init.normal_(parameter, std=0.5)
    return net


def conv_by_torch(conv, x, causal):
    """torch's convolution with torch's weight norm; the output is cut to the frames of the input."""
    outputs, inputs, kernel = conv.direction.shape
    reach = (kernel - 1) * conv.dilation
    layer = nn.Conv1d(inputs, outputs, kernel, dilation=conv.dilation, padding=reach).double()
    layer = nn.utils.parametrizations.weight_norm(layer)
    layer.parametrizations.weight.original0, layer.parametrizations.weight.original1 = conv.length, conv.direction
    layer.bias = conv.bias
    start = 0 if causal else reach // 2
    return layer(x)[..., start : start + x.shape[-1]]


def tcn_by_torch(net, x, causal, missing):
    """A missing frame is zero in every convolution."""
    x = x.transpose(1, 2)
    for block in net.blocks:
        x = x.clone()
        x[..., missing] = 0
        inner = F.prelu(conv_by_torch(block.first, x, causal), block.first_bend.weight)
        inner[..., missing] = 0
        inner = F.prelu(conv_by_torch(block.second, inner, causal), block.second_bend.weight)
        if block.shortcut is not None:
            x = torch.einsum("oi,bil->bol", block.shortcut.weight[..., 0], x) + block.shortcut.bias[:, None]
        x = F.prelu(inner + x, block.last_bend.weight)
    return x.transpose(1, 2)


@torch.no_grad()
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("missing", [[], [0, 1], [8], [3, 4]])
def test_the_tcn_equals_torchs_convolutions(causal, missing):
    net, frames = small_tcn(causal=causal), torch.randn(1, 9, 6, dtype=torch.float64)
    padding = gaps_at(1, 9, (0, missing))
    got, expected = net(frames, padding), tcn_by_torch(net, frames, causal, missing)
    assert torch.allclose(got[~padding], expected[~padding], atol=1e-9)


@pytest.mark.parametrize(("causal", "reach"), [(True, range(100, 157)), (False, range(72, 129))])
def test_an_impulse_at_frame_100_reaches_56_frames_behind_it_or_28_on_both_sides(causal, reach):
    net, frames, padding = small_tcn(kernel=5, causal=causal), torch.randn(1, 260, 6).double(), gaps_at(1, 260)
    changed = frames.clone()
    changed[0, 100] += 1
    with torch.no_grad():
        differs = (net(frames, padding) != net(changed, padding)).any(dim=-1)[0]
    assert differs.nonzero()[:, 0].tolist() == list(reach)


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


def test_an_even_kernel_has_no_middle():
    with pytest.raises(UserError, match="odd kernel, got 4"):
        TemporalConvNet(6, kernel=4, causal=False)
