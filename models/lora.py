"""LoRA (Hu et al., 2022): a frozen linear layer learns a correction of low rank.

An adapted layer computes ``W x + b + scale * up(down(x))``. ``down`` is random and ``up`` is zero at first, so that
training starts from the layer as it is. Only ``down`` and ``up`` learn. The fused projection of an attention layer has
three corrections, one each for query, key and value.

The names of the tensors are those of the layer with ``.lora.down`` and ``.lora.up`` behind, in the model and in files:
``image_encoder.transformer.resblocks.0.attn.lora.down``.
"""

import math
from collections.abc import Collection, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DOWN, UP = ".lora.down", ".lora.up"
IN_PROJECTION = "attn"  # the layer whose tensors are called in_proj_weight and in_proj_bias
LAYERS = {  # --lora-targets → the layers of a block
    "attention": (IN_PROJECTION, "attn.out_proj"),
    "mlp": ("mlp.c_fc", "mlp.c_proj"),
}
LAYERS["all"] = LAYERS["attention"] + LAYERS["mlp"]


class Lora(nn.Module):
    """The correction of one layer, (N, ..., in) → (N, ..., out).

    ``groups``: parts of the output that have a correction each, 3 for a fused projection and else 1. ``down`` is
    (groups * rank, in) and ``up`` (out, rank): the rows of a group follow one another.

    Dropout leaves out input features of ``down`` for a whole step instead of for each token: the mask has the size of
    one row, whatever the batch is. So it costs nothing, and it is the same in every process of a training.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, groups: int = 1, scale: float = 1.0, dropout: float = 0.0):
        super().__init__()
        self.groups, self.scale, self.dropout = groups, scale, dropout
        self.down = nn.Parameter(torch.empty(groups * rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    @property
    def rank(self) -> int:
        return self.up.shape[1]

    def forward(self, x: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Return the correction of the groups from ``first`` up to ``last``, side by side."""
        last = self.groups if last is None else last
        rank, rows = self.rank, len(self.up) // self.groups
        down, up = self.down[first * rank : last * rank], self.up[first * rows : last * rows]
        if self.training and self.dropout > 0:
            down = F.dropout(torch.ones_like(down[0]), self.dropout) * down
        reduced = F.linear(x, down)  # (N, ..., (last - first) * rank)
        return F.linear(reduced, side_by_side(self.scale * up, last - first))


def side_by_side(up: Tensor, groups: int) -> Tensor:
    """Return (out, groups * rank) from (out, rank): the rows of each group have columns of their own, else 0.

    So one product with ``down`` gives the corrections of all groups, which are never copied together.
    """
    return torch.block_diag(*up.chunk(groups)) if groups > 1 else up


class AdaptableLinear(nn.Linear):
    """A linear layer with the names and values of torch's, to which a correction can be added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.lora: Lora | None = None

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out if self.lora is None else out + self.lora(x)


def add_lora(
    tower: nn.Module, *, rank: int, alpha: float, dropout: float = 0.0, targets: str = "attention", last: int = 0
) -> None:
    """Add corrections to the last ``last`` blocks of a tower (0: to all), and freeze everything else in it."""
    tower.requires_grad_(False)
    blocks = tower.transformer.resblocks
    for block in blocks[-last:]:
        for name in LAYERS[targets]:
            _attach(block.get_submodule(name), rank, alpha, dropout)
    tower.transformer.draws_random_numbers = dropout > 0


def add_stored_lora(model: nn.Module, state: dict[str, Tensor], alpha: float, dropout: float = 0.0) -> None:
    """Add corrections wherever a checkpoint's tensors have them; their weights are loaded afterwards."""
    for name in lora_layers(state):
        _attach(model.get_submodule(name), state[name + UP].shape[1], alpha, dropout)


def _attach(layer: nn.Module, rank: int, alpha: float, dropout: float) -> None:
    if not hasattr(layer, "lora"):
        raise ValueError(f"a {type(layer).__name__} cannot have LoRA")
    weight = layer.in_proj_weight if hasattr(layer, "in_proj_weight") else layer.weight
    groups = 3 if hasattr(layer, "in_proj_weight") else 1
    layer.lora = Lora(weight.shape[1], weight.shape[0], rank, groups, alpha / rank, dropout)


def lora_layers(state: Collection[str]) -> list[str]:
    """Return the names of the layers in a state dict that have a correction."""
    return [key.removesuffix(UP) for key in state if key.endswith(UP)]


def is_lora(name: str) -> bool:
    """Return whether a tensor of this name belongs to a correction."""
    return name.endswith((DOWN, UP))


def lora_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for name, parameter in model.named_parameters() if is_lora(name))


def merge_lora(state: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Return a state dict with every correction added to its weight: the same results, and nothing extra to compute.

    Sums are taken in float64 and rounded once.
    """
    merged = {name: value for name, value in state.items() if not is_lora(name)}
    for layer in lora_layers(state):
        down, up = state[layer + DOWN].double(), state[layer + UP].double()
        rank = up.shape[1]
        name = f"{layer}.in_proj_weight" if f"{layer}.in_proj_weight" in state else f"{layer}.weight"
        correction = alpha / rank * side_by_side(up, len(down) // rank) @ down
        merged[name] = (merged[name].double() + correction).float()
    return merged


def describe_lora(state: dict[str, Any]) -> str | None:
    """Return a line on the corrections in a state dict; None where there are none."""
    layers = lora_layers(state)
    if not layers:
        return None
    ranks = sorted({state[name + UP].shape[1] for name in layers})
    towers = sorted({name.split("_encoder.")[0] for name in layers})
    return f"rank {', '.join(map(str, ranks))} in {len(layers)} layers of the {' and the '.join(towers)} tower"
