"""Parameter groups with their learning rates, optimiser, update steps, schedule and moving average of the weights."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Annotated, Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR

from models.lora import lora_parameters
from utils.errors import UserError
from utils.json_files import Range

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
    """Set compilation and gradient checkpointing of the towers. Checkpoints do not depend on either."""
    model.image_encoder.transformer.checkpointing = optim.grad_checkpointing
    if optim.compile:
        model.image_encoder.compile()  # in place: a wrapper would rename every tensor
    if amp is not None and hasattr(model, "lay_out_texts"):
        model.lay_out_texts(amp)


def parameter_groups(model: nn.Module, optim: Any) -> list[dict[str, Any]]:
    """Return one group per part of the model, with its rate; together they hold every trainable parameter once."""
    groups = []
    if corrections := list(lora_parameters(model)):
        groups = [{"name": "LoRA", "params": corrections, "lr": optim.lr_lora}]
    if optim.layer_decay < 1:
        groups += layer_groups(model.image_encoder, optim.lr_image_encoder, optim.layer_decay)
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
    """Return groups of the image tower. Layers behind the blocks get ``rate``, each block gets ``decay`` times the rate
    of the next one, and the layers before the blocks get the lowest rate."""
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
    """Return the optimiser with fused kernels: same update, same state, half the time (docs/performance.md)."""
    if optim.optimizer == "AdamW":
        return torch.optim.AdamW(groups, weight_decay=optim.weight_decay, fused=True)
    optimizer = torch.optim.SGD(groups, momentum=optim.momentum, weight_decay=optim.weight_decay, fused=True)
    fill_momentum(optimizer)
    optimizer.register_load_state_dict_post_hook(fill_momentum)
    return optimizer


@torch.no_grad()
def fill_momentum(optimizer: torch.optim.SGD) -> None:
    """Give every parameter a momentum buffer of zeros before its first step.

    Fused SGD allocates missing buffers without filling them and lets the first step write them. If the gradient scaler
    skips that step (float16 overflow), the memory keeps its random content, the next step uses it as momentum, and all
    weights become NaN. With zeros the first step is the same: 0.9 * 0 + gradient.

    A stored buffer that is not finite comes from this fault in an earlier version. It has not changed the weights: they
    would not be finite either, and such weights are never saved. So it is replaced by zeros too.
    """
    for group in optimizer.param_groups:
        if group["momentum"] == 0:
            continue
        for p in group["params"]:
            buffer = optimizer.state[p].get("momentum_buffer")
            if buffer is None or not torch.isfinite(buffer).all():
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)


# A run can be resumed between the step of the optimiser and that of the schedule. The optimiser's step was then made in
# another process, and torch warns that it is missing.
warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")


def build_schedule(optimizer: torch.optim.Optimizer, optim: Any, updates: int) -> LRScheduler:
    """Return the schedule of ``--schedule``; ``updates``: number of updates of the weights in an epoch."""
    if optim.schedule == "milestones":
        return MultiStepLR(optimizer, milestones=list(optim.milestones), gamma=optim.gamma)
    warmup, total = round(optim.warmup_epochs * updates), optim.epochs * updates
    return LambdaLR(optimizer, lambda update: rate_factor(update, warmup, total))


def rate_factor(update: int, warmup: int, total: int) -> float:
    """Return the factor of the rate at an update counted from 0: a line up for ``warmup`` updates, then half a cosine.

    Neither the first nor the last update has a rate of 0.
    """
    if update < warmup:
        return (update + 1) / (warmup + 1)
    fraction = (update - warmup) / max(total - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))


def follows_epochs(schedule: LRScheduler) -> bool:
    """Return whether a schedule makes a step after each epoch; every other one makes a step after each update."""
    return isinstance(schedule, MultiStepLR)


def count_updates(steps: int, window: int) -> int:
    """Return the number of updates in the first ``steps`` steps of an epoch; the last window may be shorter."""
    return -(-steps // window)


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers of batch normalisation, which training changes: means, variances and numbers of batches."""
    return {
        f"{name}.{key}": buffer
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        for key, buffer in module.named_buffers()
    }


class WeightAverage:
    """An exponential moving average of all that training changes in a model, for ``--ema``.

    This is every trainable parameter, and the running statistics of batch normalisation, which belong to the weights.
    After update n, counted from 0, ``average = d * average + (1 - d) * weights`` with d = min(decay, (1 + n) / (10 +
    n)). The smaller d of the first updates lets the average forget the random weights of the start: with 0.999 alone
    they would count for 37 % after 1,000 updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        statistics = running_statistics(model)
        self.weights |= {name: value for name, value in statistics.items() if value.is_floating_point()}
        self.averages = {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after an update into the average. It never waits for the device."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.averages.values()), list(self.weights.values()), 1 - decay)
        self.updates += 1

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Let the model have the averages inside the block, and its own weights again after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        """Exchange weights and averages in place, since the optimiser and compiled kernels know the tensors."""
        for name, weight in self.weights.items():
            weights = weight.clone()
            weight.copy_(self.averages[name])
            self.averages[name].copy_(weights)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "tensors": self.averages}


# --- restoring a stored state


class StoredGroup(TypedDict):
    lr: Annotated[float, Range(0, 1e6)]
    params: list[int]


class StoredOptimizer(TypedDict):
    """``state``: parameter number → {name: tensor}, which ``restore_optimizer`` compares with the parameters."""

    param_groups: list[StoredGroup]
    state: Any


class StoredSchedule(TypedDict):
    last_epoch: Annotated[int, Range(0, 10**9)]
    _step_count: Annotated[int, Range(0, 10**9)]
    _last_lr: list[Annotated[float, Range(0, 1e6)]]


class StoredScaler(TypedDict, total=False):
    """Empty where a run computes in float32."""

    scale: Annotated[float, Range(1e-30, 1e30)]
    _growth_tracker: Annotated[int, Range(0, 10**9)]


class StoredAverage(TypedDict):
    """``tensors``: table of tensors, which ``restore_average`` compares with the weights."""

    updates: Annotated[int, Range(0, 10**9)]
    tensors: dict[str, Any]


class StoredLearning(TypedDict):
    optimizer: StoredOptimizer
    schedule: StoredSchedule
    scaler: StoredScaler
    average: NotRequired[StoredAverage]


def restore_optimizer(optimizer: torch.optim.Optimizer, stored: StoredOptimizer) -> None:
    """Load rates and states into an optimizer. Raise a UserError if a state does not fit the parameters.

    Fused kernels do not check the sizes of a state and would write beyond the end of a smaller one. All settings except
    the rates stay as the options of this run define them.
    """
    groups = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in groups] != [group["params"] for group in stored["param_groups"]]:
        raise UserError("its optimizer has other parameter groups than this model")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kinds, states = state_kinds(optimizer), {}
    if not isinstance(stored["state"], dict) or not all(type(n) is int for n in stored["state"]):
        raise UserError("its optimizer has no table of states")
    for number, values in stored["state"].items():
        if not 0 <= number < len(parameters):
            raise UserError(f"its optimizer has a state of parameter {number}, of {len(parameters)}")
        if not isinstance(values, dict):
            raise UserError(f"its optimizer's state of parameter {number} is no table")
        values = {name: value for name, value in values.items() if value is not None}  # None before the first step
        if fault := fault_of_state(values, kinds, parameters[number]):
            raise UserError(f"its optimizer's state of parameter {number} {fault}")
        states |= {number: values} if values else {}
    rates = [{"lr": float(group["lr"])} for group in stored["param_groups"]]
    groups = [group | rate for group, rate in zip(groups, rates, strict=True)]
    optimizer.load_state_dict({"state": states, "param_groups": groups})


def state_kinds(optimizer: torch.optim.Optimizer) -> dict[str, bool]:
    """Return {name: whether it has the parameter's shape} of all that an optimizer stores for a parameter."""
    device = optimizer.param_groups[0]["params"][0].device
    parameter = torch.zeros(2, device=device, requires_grad=True)
    options = {name: optimizer.defaults[name] for name in signature(type(optimizer)).parameters if name != "params"}
    probe = type(optimizer)([parameter], **options)
    parameter.grad = torch.zeros_like(parameter)
    probe.step()
    return {name: value.shape == parameter.shape for name, value in probe.state[parameter].items() if value is not None}


def fault_of_state(values: dict[Any, Any], kinds: dict[str, bool], parameter: torch.Tensor) -> str | None:
    """Return what is wrong with the stored state of a parameter."""
    if values and values.keys() != kinds.keys():
        return f"is not {', '.join(kinds) or 'empty'}"
    for name, value in values.items():
        shape = parameter.shape if kinds[name] else ()
        if not isinstance(value, torch.Tensor) or value.shape != shape or value.dtype != parameter.dtype:
            is_tensor = isinstance(value, torch.Tensor)
            kind = f"{tuple(value.shape)} of {value.dtype}" if is_tensor else f"a {type(value).__name__}"
            return f"has {name}: {kind}, expected {tuple(shape)} of {parameter.dtype}"
        if name == "momentum_buffer":  # may be infinite or NaN, see ``fill_momentum``
            continue
        is_allowed = torch.isfinite(value).all()
        if name.endswith("_sq") or not kinds[name]:  # a mean of squares, or a number of steps
            is_allowed &= (value >= 0).all()
        if not is_allowed:
            return f"has {name} with numbers that no step leaves there"
    return None


def restore_schedule(schedule: LRScheduler, stored: StoredSchedule, epoch: int, updates: int) -> None:
    """Set a schedule to its stored step; the rates of later steps follow from the options of this run.

    ``epoch``: number of complete epochs; ``updates``: number of updates. A schedule follows one of them.
    """
    expected = epoch if follows_epochs(schedule) else updates
    if stored["last_epoch"] != expected:
        raise UserError(f"damaged: its schedule is at step {stored['last_epoch']}, its progress at {expected}")
    if len(stored["_last_lr"]) != len(schedule.optimizer.param_groups):
        raise UserError(f"its schedule has {len(stored['_last_lr'])} rates")
    schedule.load_state_dict(schedule.state_dict() | {name: stored[name] for name in StoredSchedule.__annotations__})


def restore_scaler(scaler: torch.amp.GradScaler, stored: StoredScaler) -> None:
    """Set the stored scale of float16. A run that began in float32 has none, and float16 starts with a new one."""
    values = {name: stored[name] for name in StoredScaler.__annotations__ if name in stored}
    if values and scaler.is_enabled():
        scaler.load_state_dict(scaler.state_dict() | values)


def restore_average(average: WeightAverage, stored: StoredAverage | None, updates: int) -> None:
    """Load a stored average. Raise a UserError if it is not one of these weights after ``updates`` updates."""
    if stored is None:
        raise UserError("it holds no moving average of the weights")
    if stored["updates"] != updates:
        raise UserError(f"damaged: its average is of {stored['updates']} updates, its progress at {updates}")
    tensors = stored["tensors"]
    if tensors.keys() != average.averages.keys():
        raise UserError("damaged: its average is not of the tensors that learn")
    for name, expected in average.averages.items():
        value = tensors[name]
        if not isinstance(value, Tensor) or value.shape != expected.shape or value.dtype != expected.dtype:
            raise UserError(f"damaged: its average of {name} is no {tuple(expected.shape)} of {expected.dtype}")
        if not torch.isfinite(value).all():
            raise UserError(f"damaged: its average of {name} holds values that are not finite")
    for name, expected in average.averages.items():
        expected.copy_(tensors[name])
    average.updates = updates


def describe_groups(groups: list[dict[str, Any]]) -> str:
    lines = []
    for group in groups:
        count = sum(p.numel() for p in group["params"])
        lines.append(f"  {group['name']:<14} {count:>12,} parameters   lr {group['lr']:g}")
    return "\n".join(lines)


def step_scaled(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, grad_clip: float) -> None:
    """Update the weights with the accumulated gradients, clipped after unscaling (``grad_clip`` 0: not clipped)."""
    if grad_clip > 0:
        scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, grad_clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
