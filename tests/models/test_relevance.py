"""Relevance: the explicit pass equals the tower; the rule by hand and by differences; a patch that decides."""

import pytest
import torch
from scipy.stats import spearmanr

from models.clip_towers import ClipShape, ImageTower
from models.relevance import (
    attention_slopes,
    encode_openly,
    explain_class,
    follow_back,
    patch_relevance,
)
from tests.support.tools import make_task, random_batch

SMALL = ClipShape(24, 64, 16, 128, 3, 0, 0)
ODD = ClipShape(20, 51, 14, 192, 2, 0, 0)  # 3 × 3 patches of 14, pixels left over; 3 heads


def make_tower(shape: ClipShape, seed: int = 0) -> ImageTower:
    torch.manual_seed(seed)
    tower = ImageTower(shape).eval().requires_grad_(False)
    for weight in tower.parameters():
        weight += 0.05 * torch.randn_like(weight)  # no bias stays at 0, no norm at 1
    return tower


@pytest.mark.parametrize("shape", [SMALL, ODD, ClipShape(8, 32, 32, 64, 1, 0, 0)], ids=["small", "odd", "one patch"])
@pytest.mark.parametrize(("precision", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_explicit_pass_equals_the_pass_of_the_tower(shape, precision, limit):
    tower = make_tower(shape).to(precision)
    image = torch.randn(3, 3, shape.image_size, shape.image_size, dtype=precision)
    expected = tower(image)
    features, attentions = encode_openly(tower, image)
    assert ((features - expected).abs().max() / expected.abs().max()).item() < limit
    L = 1 + (shape.image_size // shape.patch_size) ** 2
    assert [tuple(a.shape) for a in attentions] == [(3, shape.image_width // 64, L, L)] * shape.image_layers
    for attention in attentions:
        assert torch.allclose(attention.sum(dim=-1), torch.ones((), dtype=precision)) and attention.min() >= 0


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_attention_times_its_gradient_is_the_contribution_of_a_block(layer):
    """If everything that a block mixes grows by 1 + e, the score changes by e times the sum of attention × gradient."""
    tower, image = make_tower(SMALL).double(), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    slopes = torch.randn(2, 24, dtype=torch.float64)
    attentions, gradients = attention_slopes(tower, image, slopes)
    products = (attentions[layer] * gradients[layer]).sum(dim=(1, 2, 3))
    weight, step = tower.transformer.resblocks[layer].attn.out_proj.weight, 1e-5
    bias = tower.transformer.resblocks[layer].attn.in_proj_bias
    assert bias.abs().max() > 0  # the mixed values have a constant part, which also grows
    scores, plain = [], weight.clone()
    for factor in (1 + step, 1 - step):
        weight.copy_(plain * factor)
        scores.append((tower(image) * slopes).sum(dim=1))
    assert torch.allclose(products, (scores[0] - scores[1]) / (2 * step), rtol=1e-5)


def test_relevance_by_hand():
    """Two blocks, two heads, a class token and two patches."""
    first = torch.tensor([[[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]]] * 2])
    second = torch.tensor([[[[0.2, 0.4, 0.4], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]]] * 2])
    slope = torch.ones(1, 2, 3, 3)
    slope[:, 1] = -1  # the second head is evidence against the class and does not count
    # halves, the mean of two heads: second row of the class token (0.1, 0.2, 0.2); kept and added (1.1, 0.2, 0.2)
    # times the first block: 1.1·(.25, .15, .1) + 0.2·(.05, .3, .15) + 0.2·(.1, .1, .3) = (.305, .245, .2); and added
    relevance = follow_back([first, second], [slope, slope])
    assert torch.allclose(relevance, torch.tensor([[0.445, 0.4]]))


def test_relevance_is_never_negative_and_the_same_in_parts():
    tower, frames, slopes = make_tower(SMALL), torch.randn(11, 3, 64, 64), torch.randn(11, 24)
    relevance = patch_relevance(tower, frames, slopes)
    assert relevance.shape == (11, 4, 4) and relevance.min() >= 0 and relevance.max() > 0
    single = torch.cat([patch_relevance(tower, frames[n : n + 1], slopes[n : n + 1]) for n in range(11)])
    assert torch.allclose(relevance, single, rtol=1e-4, atol=1e-7)


def plain_tower() -> ImageTower:
    """One block in which every token attends equally to all tokens and copies them; grey patches are zeros."""
    tower = ImageTower(ClipShape(64, 64, 16, 64, 1, 0, 0)).eval().requires_grad_(False)
    block = tower.transformer.resblocks[0]
    for weight in (tower.positional_embedding, block.attn.in_proj_weight, block.attn.in_proj_bias):
        weight.zero_()
    for weight in (*block.mlp.parameters(), block.attn.out_proj.bias):
        weight.zero_()
    block.attn.in_proj_weight[128:] = torch.eye(64)
    block.attn.out_proj.weight.copy_(torch.eye(64))
    tower.proj.copy_(torch.eye(64))
    return tower


@pytest.mark.parametrize("patch", [0, 6, 15])
def test_a_patch_that_decides_alone_has_all_relevance(patch):
    torch.manual_seed(patch)
    tower, blank = plain_tower(), torch.zeros(1, 3, 64, 64)
    planted, (row, column) = blank.clone(), divmod(patch, 4)
    planted[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = torch.rand(3, 16, 16)
    slopes = tower(planted) - tower(blank)  # the score that the object increases
    relevance = patch_relevance(tower, planted, slopes).flatten()
    assert relevance[patch] > 0 and relevance.sum() == relevance[patch]
    assert patch_relevance(tower, blank, slopes).abs().max() == 0
    against = patch_relevance(tower, planted, -slopes)
    assert against.max() == 0  # evidence against a class is not shown


def test_random_weights_change_the_map():
    frames, slopes = torch.rand(8, 3, 64, 64), torch.randn(8, 24)
    first, same, different = (patch_relevance(make_tower(SMALL, seed), frames, slopes).flatten(1) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    ranks = [spearmanr(a, b).statistic for a, b in zip(first.numpy(), different.numpy(), strict=True)]
    assert sum(ranks) / len(ranks) < 0.4


@pytest.mark.parametrize("streams", ["both", "face", "context"])
def test_a_class_is_explained_by_the_streams_of_the_model(streams):
    task, batch = make_task(streams=streams), random_batch(B=1)
    views = [batch[name] if streams in ("both", name) else None for name in ("face", "context")]
    model = task.model.eval().requires_grad_(False)
    explained = explain_class(model, *views)
    logits = model(*views).logits[0]
    assert torch.allclose(explained.logits, logits, atol=1e-4) and explained.label == int(logits.argmax())
    assert set(explained.maps) == ({"face", "context"} if streams == "both" else {streams})
    second = explain_class(model, *views, label=(explained.label + 1) % 5)
    for name, values in explained.maps.items():
        assert values.shape == (4, *values.shape[1:]) and values.min() >= 0 and values.sum() > 0
        assert not torch.allclose(values, second.maps[name])


def test_a_stream_without_influence_has_no_relevance():
    task, batch = make_task(), random_batch(B=1)
    D = task.model.fuse.in_features // 2
    model = task.model.eval().requires_grad_(False)
    model.fuse.weight[:, :D] = 0  # the face
    explained = explain_class(model, batch["face"], batch["context"])
    assert explained.maps["face"].sum() == 0 and explained.maps["context"].sum() > 0
