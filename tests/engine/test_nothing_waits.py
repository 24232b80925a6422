"""A training step reads nothing back from the device: it goes through on torch's ``meta`` device, which has no values.

There ``.item()``, ``.tolist()``, picking by a mask and all else that a GPU would have to be waited for is an error.
"""

import contextlib

import numpy as np
import pytest
import torch

from dataloader.clips import draws_of
from dataloader.transforms import AugmentationLimits, draw_augmentation
from engine.device import to_device
from engine.registry import method_named
from engine.regress import regression_loss
from models.losses import action_unit_loss, ccc_loss, expression_loss
from tests.support.tools import configure, make_model

META = torch.device("meta")
B, T = 3, 4


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """It does not know this device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


def batch_with_draws(streams):
    limits = AugmentationLimits(random_crop=0.5, brightness=0.3)
    drawn = [draw_augmentation(np.random.default_rng(i), limits) for i in range(B)]
    rows = [draws_of(one, one, limits) for one in drawn]
    draws = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    pixels = {stream: torch.zeros(B, T, 3, 64, 64, dtype=torch.uint8) for stream in streams}
    about = {"label": torch.tensor([0, 1, 1]), "id": list("abc"), "replaced_frames": 0}
    return pixels | draws | about | {"face_sizes": torch.full((B, T, 2), 50)}


METHODS = {
    "published": {"slerp_weight": 0.0, "adapter": "none"},
    "advanced": {"logit_adj": True, "class_balanced_loss": True, "label_smoothing": 0.1, "focal_gamma": 1.0},
    "prompts around the text": {"class_token_position": "middle", "iec_text": "both", "use_weighted_sampler": True},
    "checkpointing": {"grad_checkpointing": True},
    "dfer-clip": {"model": "dfer-clip", "class_token_position": "front"},
    "captions": {"model": "emoclip", "lr_image_encoder": 1e-5, "lr_text_encoder": 1e-5},
    "frozen texts": {"model": "emoclip", "merge_positives": False},
    "class texts": {"model": "emoclip", "caption_source": "class", "lr_text_encoder": 1e-5},
    "frames": {"model": "frame-expr", "class_balanced_loss": True, "num_segments": 1},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_every_method(name):
    config = configure(**{"normalize": "clip"} | METHODS[name])
    model, classes = make_model(config)
    model.image_encoder.transformer.checkpointing = config.optim.grad_checkpointing
    task = method_named(config.model.model).task(model.to(META).train(), classes.names, config.loss)
    if config.model.model != "emoclip":
        task.set_training_counts(np.arange(1, 1 + len(classes)), META)
    elif config.loss.caption_source == "clip":
        task.row_of, task.lengths = {"a": 0, "b": 1, "c": 1}, [7, 9]
        task.tokens = torch.zeros(2, 77, dtype=torch.int64, device=META)
        task.features = None if task.texts_learn else torch.zeros(2, 64, device=META)
    streams = ("face", "context") if config.model.streams == "both" else ("face",)
    batch = to_device(batch_with_draws(streams), META, config.data.normalize)
    losses = task.losses(task.forward(batch), batch, epoch=20)
    sum(losses.values()).backward()
    assert any(p.grad is not None for p in model.parameters())


def test_the_losses_of_long_videos():
    padding, weights = torch.zeros(2, 5, dtype=torch.bool, device=META), torch.ones(8, device=META)
    out = {K: torch.zeros(2, 5, K, device=META, requires_grad=True) for K in (2, 8, 12)}
    of_expression = {"class_weights": weights, "label_smoothing": 0.1, "focal_gamma": 1.0}
    terms = [
        ccc_loss(out[2], torch.zeros(2, 5, 2, device=META), padding),
        expression_loss(out[8], torch.zeros(2, 5, dtype=torch.int64, device=META), padding, **of_expression),
        action_unit_loss(
            out[12], torch.zeros(2, 5, 12, device=META), padding, positive_weights=torch.ones(12, device=META)
        ),
    ]
    sum(terms).backward()


@pytest.mark.parametrize("kind", ["mse", "ccc"])
def test_the_losses_of_a_readout(kind):
    guess = torch.zeros(6, 2, device=META, requires_grad=True)
    target, known = torch.zeros(6, 2, device=META), torch.ones(6, 2, dtype=torch.bool, device=META)
    regression_loss(guess, target, known, kind).backward()
