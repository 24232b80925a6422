"""The temporal transformer against the published arithmetic in double precision, and its published size."""

import pytest
import torch

from models.published import TEMPORAL_BLOCK
from models.temporal import TemporalTransformer
from tests.support import reference


def build(layers=1, **changes) -> TemporalTransformer:
    """A model in double precision with large weights, no bias at 0 and no norm at 1."""
    torch.manual_seed(0)
    net = TemporalTransformer(8, **({"layers": layers, "heads": 8, "head_width": 4, "hidden": 10} | changes)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return net.double()


def frames(B, T):
    return torch.randn(B, T, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def expected(net, x):
    """The class token, or RAPT's pooling, after the published arithmetic, which knows the published names alone."""
    state = {"pos_embedding": net.positions}
    if net.class_token is not None:
        state["cls_token"] = net.class_token
    else:
        state |= {f"attention_pool.{name}": tensor for name, tensor in net.pool.named_parameters()}
    for number, block in enumerate(net.blocks):
        tensors = dict(block.named_parameters())
        for published, name in TEMPORAL_BLOCK.items():
            state[f"temporal_transformer.layers.{number}.{published}"] = tensors[name]
    return reference.temporal(state, "", x)


@torch.no_grad()
@pytest.mark.parametrize("pool", ["class-token", "attention"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("T", [1, 4, 16])
def test_it_equals_the_published_arithmetic(pool, layers, T):
    net, x = build(layers, pool=pool), frames(2, T)
    assert net(x).shape == (2, 8) and torch.allclose(net(x), expected(net, x), atol=1e-9, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2])
def test_the_mean_is_published_pooling_with_equal_scores(layers):
    net, pooled = build(layers, pool="mean"), build(layers, pool="attention")
    pooled.load_state_dict(net.state_dict(), strict=False)
    pooled.pool[2].weight.zero_()
    assert torch.allclose(net(frames(2, 5)), expected(pooled, frames(2, 5)), atol=1e-9, rtol=0)


@torch.no_grad()
def test_a_frame_with_a_far_higher_score_is_the_feature():
    """Without attention and feed-forward the frames pass as they are, so the feature is that frame and its position."""
    net, x = build(pool="attention"), frames(1, 4)
    for name, parameter in net.named_parameters():
        if name.startswith("blocks."):
            parameter.zero_()
    rows = x + net.positions[:, :4]
    net.pool[0].weight.copy_(torch.eye(8))
    net.pool[0].bias.zero_()
    net.pool[2].weight.copy_(1e6 * torch.tanh(rows[:, 2]) - 1e6 * torch.tanh(rows[:, 0]))
    scores = torch.tanh(rows) @ net.pool[2].weight[0]
    assert torch.allclose(net(x)[0], rows[0, scores.argmax()], atol=1e-9, rtol=0)


@pytest.mark.parametrize(("pool", "positions"), [("class-token", 17), ("attention", 16), ("mean", 16)])
def test_a_position_for_every_frame_and_the_class_token(pool, positions):
    net = TemporalTransformer(8, pool=pool)
    assert net.positions.shape == (1, positions, 8)
    assert net(torch.zeros(1, 16, 8)).shape == (1, 8)
    assert {name.split(".")[0] for name, _ in net.named_parameters()} == {
        "positions", "blocks", *({"class-token": ["class_token"], "attention": ["pool"], "mean": []}[pool])
    }  # fmt: skip


def test_the_scorer_starts_as_published():
    """Xavier-uniform: evenly between -a and a with a = sqrt(6 / (in + out)); biases 0."""
    torch.manual_seed(0)
    first, _, second = TemporalTransformer(512, pool="attention").pool
    for layer in (first, second):
        bound = (6 / sum(layer.weight.shape)) ** 0.5
        assert 0.98 * bound < layer.weight.abs().max() <= bound and not layer.bias.any()
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_more_frames_than_positions_are_an_error():
    net = build(max_frames=6)
    assert net(frames(1, 6)).shape == (1, 8)
    with pytest.raises(ValueError, match=r"7 frames.*6"):
        net(frames(1, 7))


def test_class_token_and_positions_start_at_standard_normal():
    torch.manual_seed(0)
    net = TemporalTransformer(512)
    assert net.class_token.shape == (1, 1, 512) and net.positions.shape == (1, 17, 512)
    assert net.positions.std().item() == pytest.approx(1, abs=0.03)
    assert net.class_token.std().item() == pytest.approx(1, abs=0.15)


def test_the_published_size():
    """qkv without bias, out with, 512 → 1024 → 512, two norms; no final norm."""
    count = sum(p.numel() for p in TemporalTransformer(512).parameters())
    assert count == 512 + 17 * 512 + 512 * 1536 + 512 * 512 + 512 + 2 * 512 * 1024 + 1024 + 512 + 4 * 512


def test_dropout_works_only_in_training():
    net, x = build(dropout=0.5), frames(1, 4)
    assert torch.equal(net(x), net(x))
    net.train()
    assert not torch.equal(net(x), net(x))
    assert {m.p for m in TemporalTransformer(8).modules() if isinstance(m, torch.nn.Dropout)} == {0.1}
