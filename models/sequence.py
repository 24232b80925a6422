"""Predict valence-arousal, expression and action units of every frame: features, TCN, transformer, heads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clip_towers import count_blocks, fixed_seed
from utils.errors import UserError

SIZES = {"va": 2, "expr": 8, "au": 12}  # numbers per frame of each task
PARTS = ("tcn", "project", "transformer", *SIZES)
TCN_STD = 0.01  # standard deviation of the TCN's first weights


@dataclass
class SequenceOutput:
    """Predictions per task, None for a task that is not predicted; zeros at padding."""

    va: Tensor | None = None  # (B, L, 2), not bounded
    expr: Tensor | None = None  # (B, L, C) logits
    au: Tensor | None = None  # (B, L, 12) logits


class SequenceModel(nn.Module):
    """Predicts each of ``tasks`` for every frame from frame features (B, L, ``features``).

    Each part is initialised from a separate seed, so that leaving a part out changes no other.
    """

    def __init__(
        self,
        features: int,
        *,
        tasks: Collection[str] = tuple(SIZES),
        channels: Sequence[int] = (768, 256, 128),
        kernel: int = 5,
        causal: bool = True,
        width: int = 512,
        layers: int = 8,
        heads: int = 4,
        hidden: int = 512,
        dropout: float = 0.3,
        positions: bool = False,
        readout_width: int = 256,
        with_tcn: bool = True,
        with_transformer: bool = True,
    ) -> None:
        """``width``, ``heads`` and ``hidden`` are the transformer's; ``positions`` adds sinusoidal ones before it."""
        super().__init__()
        if not tasks:
            raise UserError(f"a sequence model needs at least one of the tasks {', '.join(SIZES)}")
        if width % heads:
            raise UserError(f"a transformer of width {width} cannot be divided into {heads} heads")
        seeds = dict(zip(PARTS, torch.randint(2**62, (len(PARTS),)).tolist(), strict=True))
        self.features, self.positions = features, positions
        self.tcn = self.transformer = None
        if with_tcn:
            with fixed_seed(seeds["tcn"]):
                self.tcn = TemporalConvNet(features, channels=channels, kernel=kernel, causal=causal, dropout=dropout)
        with fixed_seed(seeds["project"]):
            self.project = nn.Linear(channels[-1] if with_tcn else features, width)
        if with_transformer:
            with fixed_seed(seeds["transformer"]):
                blocks = [
                    nn.TransformerEncoderLayer(width, heads, hidden, dropout, batch_first=True) for _ in range(layers)
                ]
                self.transformer = nn.ModuleList(blocks)
        self.readouts = nn.ModuleDict()
        for task in (task for task in SIZES if task in tasks):
            with fixed_seed(seeds[task]):
                self.readouts[task] = build_frame_readout(width, readout_width, SIZES[task])

    def forward(self, features: Tensor, padding: Tensor | None = None) -> SequenceOutput:
        """``features`` (B, L, D); ``padding`` (B, L) is True where there is no frame; values there are ignored."""
        if features.shape[-1] != self.features:
            raise UserError(
                f"the features have {features.shape[-1]} numbers per frame, this model reads {self.features}"
            )
        if padding is None:
            padding = torch.zeros(features.shape[:2], dtype=torch.bool, device=features.device)
        x = features.masked_fill(padding[..., None], 0.0)
        x = x if self.tcn is None else self.tcn(x, padding)
        x = self.project(x)  # (B, L, width)
        x = x if self.transformer is None else self._attend(x, padding)
        return self._read(x, padding)

    def _attend(self, x: Tensor, padding: Tensor) -> Tensor:
        if self.positions:
            x = x + sinusoids(padding, x.shape[-1]).to(x.dtype)
        # softmax over no frames is NaN, so a row without frames attends to itself; its results are not used
        hidden = padding & ~padding.all(dim=1, keepdim=True)
        for layer in self.transformer:
            x = layer(x, src_key_padding_mask=hidden)
        return x

    def _read(self, x: Tensor, padding: Tensor) -> SequenceOutput:
        """Return the outputs of the heads, run only on real frames, so that padding is not in batch statistics."""
        has_frame, out = ~padding, SequenceOutput()
        frames = x[has_frame]  # (N, width)
        for task, readout in self.readouts.items():
            rows = readout(frames)
            setattr(out, task, rows.new_zeros(*has_frame.shape, rows.shape[-1]).index_put((has_frame,), rows))
        return out


def sequence_like(
    state: dict[str, Tensor],
    *,
    heads: int = 4,
    causal: bool = True,
    positions: bool = False,
    dropout: float = 0.3,
) -> SequenceModel:
    """Return a model with the sizes in ``state``, whose weights are not loaded yet.

    The other arguments are settings that the tensors do not show.
    """
    tasks = [task for task in SIZES if f"readouts.{task}.0.weight" in state]
    blocks, layers = count_blocks(state, "tcn.blocks."), count_blocks(state, "transformer.")
    convs = [state[f"tcn.blocks.{i}.first.direction"] for i in range(blocks)]  # (outputs, inputs, kernel) each
    sizes = {"channels": [len(conv) for conv in convs], "kernel": convs[0].shape[2]} if convs else {}
    if layers:
        sizes["hidden"] = len(state["transformer.0.linear1.weight"])
    return SequenceModel(
        convs[0].shape[1] if convs else state["project.weight"].shape[1],
        tasks=tasks,
        causal=causal,
        width=len(state["project.weight"]),
        layers=layers,
        heads=heads,
        dropout=dropout,
        positions=positions,
        readout_width=len(state[f"readouts.{tasks[0]}.0.weight"]) if tasks else 0,
        with_tcn=blocks > 0,
        with_transformer=layers > 0,
        **sizes,
    )


# --- parts


class NormedConv(nn.Module):
    """A 1-d convolution over frames whose weights are a direction and a length for each output channel."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dilation: int, causal: bool) -> None:
        super().__init__()
        conv = nn.Conv1d(inputs, outputs, kernel)
        self.direction = nn.Parameter(nn.init.normal_(conv.weight.detach(), std=TCN_STD))
        self.length = nn.Parameter(torch.linalg.vector_norm(self.direction.detach(), dim=(1, 2), keepdim=True))
        self.bias = conv.bias
        self.dilation, reach = dilation, (kernel - 1) * dilation
        self.margins = (reach, 0) if causal else (reach // 2, reach // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, L) → (B, outputs, L)."""
        norm = torch.linalg.vector_norm(self.direction, dim=(1, 2), keepdim=True)
        weight = self.direction * (self.length / norm)
        return F.conv1d(F.pad(x, self.margins), weight, self.bias, dilation=self.dilation)


class ConvBlock(nn.Module):
    """Two convolutions with a shortcut around them, which is a 1x1 convolution if the widths differ."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dilation: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.first = NormedConv(inputs, outputs, kernel, dilation=dilation, causal=causal)
        self.second = NormedConv(outputs, outputs, kernel, dilation=dilation, causal=causal)
        self.first_bend, self.second_bend, self.last_bend = nn.PReLU(), nn.PReLU(), nn.PReLU()
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None
        if self.shortcut is not None:
            nn.init.normal_(self.shortcut.weight, std=TCN_STD)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, missing: Tensor) -> Tensor:
        """``x`` (B, inputs, L); ``missing`` (B, 1, L) is True where there is no frame: each convolution reads 0."""
        x = x.masked_fill(missing, 0.0)  # replaces NaN too
        inner = self.dropout(self.first_bend(self.first(x)))
        inner = self.dropout(self.second_bend(self.second(inner.masked_fill(missing, 0.0))))
        return self.last_bend(inner + (x if self.shortcut is None else self.shortcut(x)))


class TemporalConvNet(nn.Module):
    """(B, L, D) → (B, L, channels[-1]). Each frame reads those around it, by default only earlier ones.

    Block ``i`` reads frames that are 2^i apart.
    """

    def __init__(
        self,
        width: int,
        *,
        channels: Sequence[int] = (768, 256, 128),
        kernel: int = 5,
        causal: bool = True,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if not causal and kernel % 2 == 0:
            raise UserError(f"a convolution that is not causal needs an odd kernel, got {kernel}")
        self.blocks = nn.ModuleList(
            ConvBlock(inputs, outputs, kernel, dilation=2**i, causal=causal, dropout=dropout)
            for i, (inputs, outputs) in enumerate(zip((width, *channels), channels, strict=False))
        )

    def forward(self, frames: Tensor, padding: Tensor) -> Tensor:
        """``padding`` (B, L) is True where there is no frame; the output there is meaningless."""
        x = frames.transpose(1, 2)  # (B, D, L)
        for block in self.blocks:
            x = block(x, padding[:, None])
        return x.transpose(1, 2)


class FrameNorm(nn.BatchNorm1d):
    """Batch norm over frames (N, D); fewer than two use the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) < 2:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def build_frame_readout(width: int, hidden: int, numbers: int) -> nn.Sequential:
    """(N, width) → (N, numbers), without a non-linearity, as published."""
    return nn.Sequential(nn.Linear(width, hidden), FrameNorm(hidden), nn.Linear(hidden, numbers))


def sinusoids(padding: Tensor, width: int) -> Tensor:
    """Return positions (B, L, width), sine and cosine in turn, counted from the first real frame of each row."""
    L, device = padding.shape[1], padding.device
    first = (~padding).int().argmax(dim=1, keepdim=True)
    position = (torch.arange(L, device=device) - first).clamp(min=0)  # (B, L)
    rates = 10000 ** (-torch.arange(0, width, 2, device=device) / width)
    angle = position[..., None] * rates
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
