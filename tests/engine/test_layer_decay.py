"""Rates that fall from the head of the image tower to its first layer."""

from types import SimpleNamespace

import pytest

from engine.optim import parameter_groups
from models.classifiers import FrameExpression
from models.clip_backbone import load_clip
from tests.support.tools import configure, error_of

RATES = {"lr_image_encoder": 0.1, "lr_text_encoder": 0.0, "lr_prompt_learner": 0.0, "lr_adapter": 0.0, "lr": 1.0}


@pytest.fixture
def model():
    clip = load_clip("random")
    return FrameExpression(clip.visual, clip.shape.embed_dim, 8)


def groups_of(model, decay):
    return parameter_groups(model, SimpleNamespace(**RATES, lr_fusion=1.0, layer_decay=decay))


def test_each_block_learns_at_half_the_rate_of_the_next(model):
    rates = {group["name"]: group["lr"] for group in groups_of(model, 0.5)}
    tower = {name: rate for name, rate in rates.items() if name.startswith("image")}
    assert tower == pytest.approx(
        {"image head": 0.1, "image block 2": 0.05, "image block 1": 0.025, "image stem": 0.0125}
    )


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_every_parameter_is_in_one_group(model, decay):
    grouped = [id(p) for group in groups_of(model, decay) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_without_decay_the_tower_is_one_group(model):
    assert [g["name"] for g in groups_of(model, 1.0) if g["name"].startswith("image")] == ["image encoder"]


def test_a_frozen_encoder_has_no_layers_to_rate(capsys):
    assert "--lr-image-encoder is 0" in error_of(["--layer-decay", "0.5", "--lr-image-encoder", "0"], capsys)
    assert configure().optim.layer_decay == 1.0
