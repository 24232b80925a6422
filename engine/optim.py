"""Who learns, and how fast: parameter groups, optimiser, its steps, schedule."""

import warnings
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import MultiStepLR

PARTS = {  # parameter group → the option with its rate, and the modules of the model that it holds
    "image encoder": ("lr_image_encoder", "image_encoder"),
    "text encoder": ("lr_text_encoder", "text_encoder"),
    "prompts": ("lr_prompt_learner", "prompts"),
    "adapter": ("lr_adapter", "adapter"),
    "temporal": ("lr", "face_temporal", "context_temporal", "temporal"),
    "fusion": ("lr_fusion", "fuse"),
    "scale": ("lr", "logit_scale"),
    "readout": ("lr", "readout"),
}


def prepare_towers(model: nn.Module, optim: Any, amp: torch.dtype | None) -> None:
    """How the towers compute, as the options ask: nothing of it shows in a checkpoint."""
    model.image_encoder.transformer.checkpointing = optim.grad_checkpointing
    if optim.compile:
        model.image_encoder.compile()  # in place: a wrapper would rename every tensor
    if amp is not None and hasattr(model, "lay_out_texts"):
        model.lay_out_texts(amp)


def parameter_groups(model: nn.Module, optim: Any) -> list[dict[str, Any]]:
    """Return one group per part of the model, with its rate; together they hold every trainable parameter once."""
    groups = []
    if optim.layer_decay < 1:
        groups = layer_groups(model.image_encoder, optim.lr_image_encoder, optim.layer_decay)
    grouped = {id(p) for group in groups for p in group["params"]}
    for part, (rate, *modules) in PARTS.items():
        members = [p for name in modules for p in parameters_of(getattr(model, name, None))]
        parameters = [p for p in members if p.requires_grad and id(p) not in grouped]
        if parameters:
            groups.append({"name": part, "params": parameters, "lr": getattr(optim, rate)})
            grouped |= {id(p) for p in parameters}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in grouped]
    return [*groups, {"name": "other layers", "params": rest, "lr": optim.lr}] if rest else groups


def layer_groups(tower: nn.Module, rate: float, decay: float) -> list[dict[str, Any]]:
    """The image tower from its head down: what follows the blocks at the full rate, each block at ``decay`` times the
    rate of the next, what precedes them below the first."""
    blocks = tower.transformer.resblocks
    groups = [{"name": "image head", "params": [*tower.ln_post.parameters(), tower.proj], "lr": rate}]
    for below, block in enumerate(reversed(blocks), 1):
        name, params = f"image block {len(blocks) + 1 - below}", list(block.parameters())
        groups.append({"name": name, "params": params, "lr": rate * decay**below})
    grouped = {id(p) for group in groups for p in group["params"]}
    stem = [p for p in tower.parameters() if id(p) not in grouped]
    return [*groups, {"name": "image stem", "params": stem, "lr": rate * decay ** (len(blocks) + 1)}]


def parameters_of(part: nn.Module | nn.Parameter | None) -> list[nn.Parameter]:
    return [] if part is None else [part] if isinstance(part, nn.Parameter) else list(part.parameters())


def build_optimizer(groups: list[dict[str, Any]], optim: Any) -> torch.optim.Optimizer:
    """The fused kernels: the same update and the same state in half the time (docs/performance.md)."""
    if optim.optimizer == "AdamW":
        return torch.optim.AdamW(groups, weight_decay=optim.weight_decay, fused=True)
    optimizer = torch.optim.SGD(groups, momentum=optim.momentum, weight_decay=optim.weight_decay, fused=True)
    fill_momentum(optimizer)
    optimizer.register_load_state_dict_post_hook(fill_momentum)
    return optimizer


@torch.no_grad()
def fill_momentum(optimizer: torch.optim.SGD) -> None:
    """Give every parameter a momentum buffer of zeros before its first step.

    Fused SGD allocates missing buffers without filling them and lets the first step write them. When the gradient
    scaler skips that step (float16, an overflow), the memory stays as it was and the next step takes it for momentum:
    all weights become NaN. From zeros the first step is the same: 0.9 * 0 + gradient.

    A stored buffer that is not finite is such memory too, saved by an earlier version: weights that had moved by it
    would not be finite either, and those are never saved.
    """
    for group in optimizer.param_groups:
        if group["momentum"] == 0:
            continue
        for p in group["params"]:
            buffer = optimizer.state[p].get("momentum_buffer")
            if buffer is None or not torch.isfinite(buffer).all():
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)


# a run that goes on from between its last step and the schedule's has made that step in another process
warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")


def build_schedule(optimizer: torch.optim.Optimizer, optim: Any) -> MultiStepLR:
    return MultiStepLR(optimizer, milestones=list(optim.milestones), gamma=optim.gamma)


def describe_groups(groups: list[dict[str, Any]]) -> str:
    lines = []
    for group in groups:
        count = sum(p.numel() for p in group["params"])
        lines.append(f"  {group['name']:<14} {count:>12,} parameters   lr {group['lr']:g}")
    return "\n".join(lines)


def step_scaled(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, grad_clip: float) -> None:
    """One step with what was gathered; gradients are clipped unscaled (0: not at all)."""
    if grad_clip > 0:
        scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, grad_clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
