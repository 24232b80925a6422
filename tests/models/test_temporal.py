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
    """The class token by the published arithmetic, which uses the published names."""
    state = {"pos_embedding": net.positions, "cls_token": net.class_token}
    for number, block in enumerate(net.blocks):
        tensors = dict(block.named_parameters())
        for published, name in TEMPORAL_BLOCK.items():
            state[f"temporal_transformer.layers.{number}.{published}"] = tensors[name]
    return reference.temporal(state, "", x)


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("T", [1, 4, 16])
def test_it_equals_the_published_arithmetic(layers, T):
    net, x = build(layers), frames(2, T)
    assert net(x).shape == (2, 8) and torch.allclose(net(x), expected(net, x), atol=1e-9, rtol=0)


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
