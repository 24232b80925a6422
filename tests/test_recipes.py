"""Each recipe parses, builds, and says of itself what it is."""

from dataclasses import replace

import pytest
import torch

from dataloader.classes import load_classes
from engine.config import read_command, warnings_of
from engine.model import build_model
from models.clip_towers import ImageTower
from tests.support.tools import RANDOM_CLIP, ROOT

RECIPES = {path.stem: path for path in sorted((ROOT / "recipes").glob("*.args"))}
CONFIGS = {name: read_command([f"@{path}", "--dry-run"])[1] for name, path in RECIPES.items()}
TRAINING = [name for name, c in CONFIGS.items() if (c.run.mode, c.model.task) == ("train", "classification")]


def config_of(name: str, *more: str):
    return read_command([f"@{RECIPES[name]}", *more])[1]


def test_the_two_published_methods_are_there():
    assert {"clip_caer", "advanced"} <= set(TRAINING)


def test_so_are_the_ones_that_the_scripts_and_documents_name():
    assert {"demo", "simulated", "mini_clip"} <= set(RECIPES)
    assert config_of("mini_clip").run.mode == "pretrain-clip"


@pytest.mark.parametrize("name", RECIPES)
def test_it_parses_and_has_a_head_comment(name):
    config_of(name)
    assert RECIPES[name].read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", TRAINING)
def test_it_builds_and_classifies(name):
    config = config_of(name, *RANDOM_CLIP)
    model, shape = build_model(config, load_classes(config.data.dataset))
    assert shape["image_size"] == 64
    T = config.data.num_segments
    face, context = (
        torch.rand(1, T, 3, 64, 64) if config.model.streams in ("both", s) else None for s in ("face", "context")
    )
    with torch.no_grad():
        assert model.eval()(face, context).logits.isfinite().all()
    assert any(isinstance(module, ImageTower) for module in model.modules())


@pytest.mark.parametrize("name", TRAINING)
def test_flags_behind_it_win(name):
    assert config_of(name, "--epochs", "3").optim.epochs == 3
    assert config_of(name, "--lr", "0.25").optim.lr == 0.25
    assert config_of(name, "--seed", "7").run == replace(config_of(name).run, seed=7)


@pytest.mark.parametrize("name", TRAINING)
def test_it_does_not_warn_of_itself(name):
    assert warnings_of(config_of(name)) == []


def test_clip_caer_is_the_published_method_with_its_quirks():
    config = config_of("clip_caer")
    data, model, optim, loss = config.data, config.model, config.optim, config.loss
    assert (optim.optimizer, optim.momentum, optim.weight_decay) == ("SGD", 0.9, 1e-4)
    assert (optim.lr, optim.lr_image_encoder, optim.lr_prompt_learner, optim.lr_fusion) == (1e-2, 1e-5, 1e-3, 1e-5)
    assert (optim.epochs, optim.batch_size, optim.milestones, optim.gamma) == (20, 8, (10, 15), 0.1)
    assert (optim.amp, optim.grad_clip) == ("off", 0)
    assert (data.sampling, data.shared_augmentation, data.normalize, data.missing_face) == (
        "published", False, "none", "frame",
    )  # fmt: skip
    assert (data.num_segments, data.duration, data.image_size) == (16, 1, 224)
    assert (model.temperature, model.adapter, model.slerp_weight) == (0.01, "none", 0)
    assert (model.contexts_number, model.class_token_position, model.class_specific_contexts) == (8, "end", True)
    assert (model.clip_path, model.text_type, model.temporal_layers) == ("ViT-B/32", "class_descriptor", 1)
    assert (loss.mi_loss_weight, loss.dc_loss_weight, loss.label_smoothing) == (0, 0, 0)
    assert not (loss.logit_adj or loss.class_balanced_loss or loss.use_weighted_sampler or loss.focal_gamma)


def test_advanced_is_the_seed_recipe_with_the_corrections_on():
    config = config_of("advanced")
    data, model, optim, loss = config.data, config.model, config.optim, config.loss
    assert (data.sampling, data.shared_augmentation, model.adapter) == ("whole", True, "residual")
    assert (optim.lr, optim.lr_image_encoder, optim.lr_prompt_learner, optim.lr_adapter) == (3e-4, 1e-6, 1e-3, 1e-4)
    assert (optim.optimizer, optim.epochs, optim.batch_size, optim.milestones) == ("SGD", 50, 8, (20, 35))
    assert (model.contexts_number, model.temperature, model.slerp_weight) == (12, 0.07, 0.5)
    assert (loss.mi_loss_weight, loss.mi_warmup, loss.mi_ramp) == (0.7, 3, 8)
    assert (loss.dc_loss_weight, loss.dc_warmup, loss.dc_ramp) == (1.2, 5, 10)
    assert (
        loss.logit_adj and loss.logit_adj_tau == 1.0 and not loss.use_weighted_sampler and loss.label_smoothing == 0.05
    )
