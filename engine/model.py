"""The model of a run, from options or from a checkpoint: the one place that builds models."""

from collections.abc import Collection
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from dataloader.classes import Classes
from engine.methods import method_named
from engine.options import Config
from models.clip_backbone import load_clip
from models.clip_towers import Clip, ClipShape, UninitialisedWeights
from utils.errors import UserError


def build_model(config: Config, classes: Classes) -> tuple[nn.Module, dict[str, int]]:
    """Return the model that training starts from, with its frozen parts frozen, and the sizes of its CLIP."""
    method, clip = method_named(config.model.model), load_fitting_clip(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        model = method.build(config, classes, clip)
    method.set_trainable(model, config)
    return model, clip.shape.as_dict()


def load_fitting_clip(config: Config) -> Clip:
    """Return the CLIP of ``--clip-path``, which must read pictures of ``--image-size``."""
    clip = load_clip(config.model.clip_path, config.run.seed)
    if clip.shape.image_size != config.data.image_size:
        raise UserError(
            f"--image-size {config.data.image_size} does not fit --clip-path {config.model.clip_path}, "
            f"which reads {clip.shape.image_size}; pass --image-size {clip.shape.image_size}"
        )
    return clip


def rebuild_model(
    name: str, shape: ClipShape | None, state: dict[str, Tensor], config: Config, *, may_lack: Collection[str] = ()
) -> nn.Module:
    """Return the model of the tensors in ``state``. They tell its sizes, so that no CLIP and no texts are needed.

    ``config``: what tensors cannot tell. Tensors in ``may_lack`` may be missing and keep their first values.
    """
    method = method_named(name)
    try:
        with torch.random.fork_rng(devices=[]), nullcontext() if may_lack else UninitialisedWeights():
            torch.manual_seed(0)
            model = method.rebuild(shape, state, config)
        missing = set(model.load_state_dict(state, strict=False, assign=not may_lack).missing_keys) - set(may_lack)
        unexpected = set(state) - set(model.state_dict())
    except (RuntimeError, KeyError, IndexError, ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the checkpoint's tensors do not make a {name} model: {reason}") from None
    infinite = [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if infinite:
        raise UserError(f"the checkpoint's tensor {infinite[0]} holds values that are not finite")
    if missing or unexpected:
        fault = (
            f"lacks {', '.join(sorted(missing)[:4])}"
            if missing
            else f"has {', '.join(sorted(unexpected)[:4])} too many"
        )
        raise UserError(f"the checkpoint's tensors do not make a {name} model: it {fault}")
    return model
