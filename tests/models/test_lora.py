"""LoRA: the correction that the formula says, on towers that start as they were, merged without a difference."""

import copy

import pytest
import torch
import torch.nn.functional as F

from models.clip_towers import Clip, ClipShape, ImageTower
from models.lora import AdaptableLinear, Lora, add_lora, add_stored_lora, is_lora, merge_lora
from models.relevance import encode_openly

SHAPE = ClipShape(48, 64, 16, 192, 3, 128, 2)  # 3 image heads, 2 text heads
NAMES = {
    "attention": {"attn", "attn.out_proj"},
    "mlp": {"mlp.c_fc", "mlp.c_proj"},
    "all": {"attn", "attn.out_proj", "mlp.c_fc", "mlp.c_proj"},
}


def corrected(targets: str = "all", **settings) -> ImageTower:
    """An image tower whose corrections are as large as its weights."""
    torch.manual_seed(0)
    tower = ImageTower(SHAPE)
    add_lora(tower, rank=4, alpha=8.0, targets=targets, **settings)
    for name, parameter in tower.named_parameters():
        if is_lora(name):
            torch.nn.init.normal_(parameter, std=0.1)
    return tower.eval()


def merged(tower: ImageTower) -> ImageTower:
    plain = ImageTower(SHAPE)
    plain.load_state_dict(merge_lora(tower.state_dict(), alpha=8.0))
    return plain.eval()


def test_a_correction_is_scale_times_up_times_down():
    torch.manual_seed(0)
    lora, x = Lora(6, 4, rank=2, scale=0.5), torch.randn(3, 6)
    assert not lora(x).any()  # up is zero at first
    torch.nn.init.normal_(lora.up)
    assert torch.allclose(lora(x), 0.5 * x @ (lora.up @ lora.down).T, atol=1e-6)


def test_query_key_and_value_have_a_correction_each():
    torch.manual_seed(0)
    lora, x = Lora(6, 12, rank=2, groups=3, scale=1.0), torch.randn(5, 6)
    torch.nn.init.normal_(lora.up)
    whole = torch.cat([x @ (lora.up[4 * g : 4 * g + 4] @ lora.down[2 * g : 2 * g + 2]).T for g in range(3)], dim=-1)
    assert torch.allclose(lora(x), whole, atol=1e-6)
    assert torch.allclose(lora(x, 0, 1), whole[:, :4], atol=1e-6)  # as for the last block, which asks one query
    assert torch.allclose(lora(x, 1, 3), whole[:, 4:], atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("tower", ["visual", "text"])
@pytest.mark.parametrize("targets", NAMES)
def test_towers_start_as_they_were_and_merge_into_the_same(tower, targets):
    torch.manual_seed(0)
    clip = Clip(SHAPE).eval()
    add_lora(getattr(clip, tower), rank=4, alpha=8.0, targets=targets)
    before = Clip(SHAPE).eval()
    before.load_state_dict({name: value for name, value in clip.state_dict().items() if not is_lora(name)})
    tokens = torch.randint(1, 49000, (3, 77)).index_fill(1, torch.tensor([9]), 49407)

    def features(model):
        return model.visual(image) if tower == "visual" else model.encode_text(tokens)

    image = torch.rand(4, 3, 64, 64)
    assert torch.allclose(features(clip), features(before), atol=1e-6)
    for name, parameter in clip.named_parameters():
        if is_lora(name):
            torch.nn.init.normal_(parameter, std=0.1)
    changed = features(clip)
    assert (changed - features(before)).abs().max() > 0.1
    before.load_state_dict(merge_lora(clip.state_dict(), alpha=8.0))
    assert torch.allclose(changed, features(before), atol=1e-5)


@pytest.mark.parametrize("targets", NAMES)
def test_only_the_corrections_of_the_asked_layers_learn(targets):
    tower = corrected(targets, last=2)
    learning = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    blocks = [f"transformer.resblocks.{block}.{layer}" for block in (1, 2) for layer in NAMES[targets]]
    assert learning == {f"{name}.lora.{part}" for name in blocks for part in ("up", "down")}
    tower(torch.rand(2, 3, 64, 64)).sum().backward()
    assert {name for name, parameter in tower.named_parameters() if parameter.grad is not None} == learning


def test_a_tower_from_stored_tensors_computes_the_same_and_keeps_their_names():
    tower = corrected()
    again = ImageTower(SHAPE)
    add_stored_lora(again, tower.state_dict(), alpha=8.0)
    again.load_state_dict(tower.state_dict())
    image = torch.rand(2, 3, 64, 64)
    assert torch.allclose(again.eval()(image), tower(image), atol=1e-6)


@pytest.mark.parametrize("name", ["ln_pre", "nowhere", "transformer"])
def test_layers_that_cannot_have_one_are_refused(name):
    with pytest.raises((ValueError, AttributeError), match="cannot have LoRA|has no attribute"):
        add_stored_lora(ImageTower(SHAPE), {f"{name}.lora.up": torch.zeros(4, 2)}, alpha=1.0)


def test_checkpointed_blocks_give_the_same_gradients_with_dropout():
    tower, image = corrected(dropout=0.5).train(), torch.rand(2, 3, 64, 64)
    other = copy.deepcopy(tower)
    other.transformer.checkpointing = True
    gradients = []
    for model in (tower, other):
        torch.manual_seed(1)
        model(image).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-5) for name in gradients[0])


@torch.no_grad()
def test_dropout_leaves_out_input_features_of_a_whole_step_and_keeps_the_mean():
    lora = Lora(400, 1, rank=1, dropout=0.25)
    torch.nn.init.ones_(lora.down)
    torch.nn.init.ones_(lora.up)
    torch.manual_seed(0)
    kept = torch.stack([lora.train()(torch.eye(400))[:, 0] for _ in range(50)])
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert kept.mean() == pytest.approx(1, abs=0.02)
    torch.manual_seed(0)
    assert torch.equal(lora(torch.eye(400)[:7])[:, 0], kept[0, :7])  # whatever the number of rows
    assert torch.equal(lora.eval()(torch.eye(400))[:, 0], torch.ones(400))


@torch.no_grad()
def test_attention_maps_see_the_corrections():
    tower, image = corrected(), torch.rand(2, 3, 64, 64)
    features, attentions = encode_openly(tower, image)
    assert torch.allclose(features, tower(image), atol=1e-5)
    assert not torch.allclose(attentions[0], encode_openly(merged_without(tower), image)[1][0], atol=1e-3)
    assert torch.allclose(attentions[2], encode_openly(merged(tower), image)[1][2], atol=1e-5)


def merged_without(tower: ImageTower) -> ImageTower:
    plain = ImageTower(SHAPE)
    plain.load_state_dict({name: value for name, value in tower.state_dict().items() if not is_lora(name)})
    return plain.eval()


def test_an_adaptable_layer_is_torchs_own():
    torch.manual_seed(0)
    layer, x = AdaptableLinear(5, 7), torch.randn(3, 5)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    assert list(layer.state_dict()) == ["weight", "bias"]
