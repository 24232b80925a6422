"""Build the model of a run from options or from a checkpoint. All models are built here."""

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dataloader.classes import Classes
from engine.methods import method_named
from engine.options import Config
from models import build
from models.clip_backbone import load_clip
from models.clip_towers import TEXT_LENGTH, VOCABULARY, Clip, ClipShape, UninitialisedWeights
from models.lora import add_lora, add_stored_lora
from utils.errors import UserError

LAYOUTS = {  # sizes of tensors; a letter stands for the same number in all of them
    "descriptive": "C Q D",
    "tokens": "C P L",
    "prompts.start": "R 1 W",
    "prompts.text": "R N W",
    "prompts.end": "R",
    "prompts.text_lengths": "R",
    "token_embedding": "V W",
    "face_temporal.positions": "1 F D",
    "context_temporal.positions": "1 K D",
    "temporal.positions": "1 F D",
    "fuse.weight": "D S",
    "readout.0.weight": "H D",
}
State = Mapping[str, Tensor]


def build_model(config: Config, classes: Classes) -> tuple[nn.Module, dict[str, Any]]:
    """Return the model that training starts from, with frozen parts set, and the sizes of its CLIP."""
    method, clip = method_named(config.model.model), load_fitting_clip(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        model = method.build(config, classes, clip)
    method.set_trainable(model, config)
    adapt_towers(model, config)
    return model, clip.shape.as_dict()


def adapt_towers(model: nn.Module, config: Config) -> None:
    """Add the corrections of ``--lora-rank`` to the towers; they learn, and everything else in the towers is frozen."""
    optim = config.optim
    for name in ("image", "text"):
        if not optim.has_lora(name):
            continue
        tower = getattr(model, f"{name}_encoder", None)
        if tower is None:
            raise UserError(f"--lora-towers {optim.lora_towers}: --model {config.model.model} has no {name} tower")
        if optim.lora_layers > len(tower.transformer.resblocks):
            blocks = len(tower.transformer.resblocks)
            raise UserError(f"--lora-layers {optim.lora_layers}: the {name} tower has {blocks} blocks")
        with build.seeded(config.run.seed, f"lora {name}"):
            add_lora(
                tower,
                rank=optim.lora_rank,
                alpha=optim.lora_alpha,
                dropout=optim.lora_dropout,
                targets=optim.lora_targets,
                last=optim.lora_layers,
            )


def load_fitting_clip(config: Config) -> Clip:
    """Return the CLIP of ``--clip-path``; raise a UserError if it does not read pictures of ``--image-size``."""
    options = config.model
    clip = load_clip(options.clip_path, config.run.seed, options.clip_activation, options.clip_head_width)
    if clip.shape.image_size != config.data.image_size:
        name, size = config.model.clip_path, clip.shape.image_size
        # published recipes read OpenAI's models without normalisation; the small CLIP needs it
        pixels = " --normalize clip" if Path(name).is_file() and config.data.normalize != "clip" else ""
        raise UserError(
            f"--image-size {config.data.image_size} does not fit --clip-path {name}, which reads {size}; "
            f"pass --image-size {size}{pixels}"
        )
    return clip


def rebuild_model(
    name: str,
    shape: ClipShape | None,
    state: dict[str, Tensor],
    config: Config,
    *,
    classes: int | None = None,
    may_lack: Collection[str] = (),
) -> nn.Module:
    """Return the model with the tensors in ``state``. Its sizes follow from them, so no CLIP and no texts are needed.

    ``config``: what the tensors do not show; ``classes``: number of class names in the checkpoint. Tensors in
    ``may_lack`` may be missing and keep their initial values.
    """
    method = method_named(name)
    if shape is not None:
        require_fitting_sizes(state, shape, config, classes)
    try:
        with torch.random.fork_rng(devices=[]), nullcontext() if may_lack else UninitialisedWeights():
            torch.manual_seed(0)
            model = method.rebuild(shape, state, config)
            add_stored_lora(model, state, config.optim.lora_alpha)
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


def require_fitting_sizes(state: State, shape: ClipShape, config: Config, classes: int | None) -> None:
    """Check that the tensors of a checkpoint fit one another, its stored options and its class names.

    Other mismatches raise an error when the tensors are loaded into the model.
    """
    if config.data.image_size != shape.image_size:
        raise UserError(
            f"the checkpoint's options say --image-size {config.data.image_size}, its tensors read {shape.image_size}"
        )
    streams = [part for part in ("face_temporal", "context_temporal", "temporal") if f"{part}.positions" in state]
    sizes = {"1": 1, "D": shape.embed_dim, "W": shape.text_width, "L": TEXT_LENGTH, "V": VOCABULARY}
    sizes |= {"S": len(streams) * shape.embed_dim} | ({} if classes is None else {"C": classes})
    for name, layout in layouts_of(state).items():
        letters, actual = layout.split(), tuple(state[name].shape)
        expected = tuple(sizes.get(letter, size) for letter, size in zip(letters, actual, strict=False))
        if len(letters) != len(actual) or actual != expected:
            fitting = ", ".join(str(sizes.get(letter, letter)) for letter in letters)
            raise UserError(f"the checkpoint's tensor {name} has the sizes {actual}, expected ({fitting})")
        sizes |= dict(zip(letters, actual, strict=True))
    if "R" in sizes and sizes["R"] % max(sizes.get("C", 1), 1):
        raise UserError(f"the checkpoint holds {sizes['R']} prompts for {sizes['C']} classes")
    require_indices(state, texts=sizes.get("N", 0))
    frames = config.data.num_segments * config.data.duration
    for part in streams:
        most = state[f"{part}.positions"].shape[1] - (f"{part}.class_token" in state)
        if frames > most:
            raise UserError(f"--num-segments: {frames} frames, but the checkpoint has positions for {most}")


def layouts_of(state: State) -> dict[str, str]:
    """Return the layout of every tensor in ``state`` that shares sizes with others."""
    layouts = dict(LAYOUTS)
    if "prompts.context" in state:  # separate vectors for each prompt, or the same for all
        layouts["prompts.context"] = "R X W" if state["prompts.context"].dim() == 3 else "X W"
    if "readout.2.weight" in state:  # a regression, whose texts are of other classes
        layouts |= {"tokens": "B P L", "readout.2.weight": "C H"}
    elif "parts" in state:
        layouts |= {"tokens": "B P L", "parts": "C B"}
    return {name: layout for name, layout in layouts.items() if name in state}


def require_indices(state: State, texts: int) -> None:
    """Check that indices into other tensors are in range; ``texts``: rows of a prompt's text."""
    context = state.get("prompts.context")
    rows = 1 + texts + (0 if context is None else context.shape[-2])
    ends = {"tokens": VOCABULARY, "prompts.end": min(rows, TEXT_LENGTH), "prompts.text_lengths": texts + 1}
    for name, end in ends.items():
        indices = state.get(name)
        if indices is None:
            continue
        if indices.dtype != torch.int64 or not ((indices >= 0) & (indices < end)).all():
            raise UserError(f"the checkpoint's tensor {name} holds indices that are not from 0 to {end - 1}")
