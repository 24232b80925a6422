"""Emotion in every frame of a video: features → TCN → transformer → valence-arousal, expression, action units."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clip_towers import count_blocks
from models.tcn import TemporalConvNet
from utils.errors import UserError

SIZES = {"va": 2, "expr": 8, "au": 12}  # numbers a frame, of each task
PARTS = ("tcn", "project", "transformer", *SIZES)


@dataclass
class SequenceOutput:
    """None where the task is not asked for; zeros where there is no frame."""

    va: Tensor | None = None  # (B, L, 2), not bounded
    expr: Tensor | None = None  # (B, L, C) logits
    au: Tensor | None = None  # (B, L, 12) logits


class FrameNorm(nn.BatchNorm1d):
    """Batch norm over frames (N, D); fewer than two have no spread, and take the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) < 2:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class SequenceModel(nn.Module):
    """Per-frame features (B, L, ``features``) → one prediction a frame for each of ``tasks``.

    Each part draws its first weights from a stream of its own: leaving one out changes no other.
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
        num_expressions: int = SIZES["expr"],
        with_tcn: bool = True,
        with_transformer: bool = True,
    ) -> None:
        """``width``, ``heads`` and ``hidden`` are the transformer's; ``positions`` adds sinusoidal ones before it."""
        super().__init__()
        check_sizes(tasks, width, heads, positions)
        seeds = dict(zip(PARTS, torch.randint(2**62, (len(PARTS),)).tolist(), strict=True))
        self.features, self.positions = features, positions
        self.tcn = self.transformer = None
        if with_tcn:
            with seeded(seeds["tcn"]):
                self.tcn = TemporalConvNet(features, channels=channels, kernel=kernel, causal=causal, dropout=dropout)
        with seeded(seeds["project"]):
            self.project = nn.Linear(channels[-1] if with_tcn else features, width)
        if with_transformer:
            with seeded(seeds["transformer"]):
                layer = (width, heads, hidden, dropout)
                self.transformer = nn.ModuleList(
                    nn.TransformerEncoderLayer(*layer, batch_first=True) for _ in range(layers)
                )
        sizes = SIZES | {"expr": num_expressions}
        self.readouts = nn.ModuleDict()
        for task in (task for task in SIZES if task in tasks):
            with seeded(seeds[task]):
                self.readouts[task] = build_readout(width, readout_width, sizes[task])

    def forward(self, features: Tensor, padding: Tensor | None = None) -> SequenceOutput:
        """``features`` (B, L, D); ``padding`` (B, L) is True where there is no frame, whatever stands there."""
        if features.shape[-1] != self.features:
            raise UserError(f"the features have {features.shape[-1]} numbers a frame, this model reads {self.features}")
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
        hidden = padding & ~padding.all(dim=1, keepdim=True)  # a row without frames sees itself: no NaN
        for layer in self.transformer:
            x = layer(x, src_key_padding_mask=hidden)
        return x

    def _read(self, x: Tensor, padding: Tensor) -> SequenceOutput:
        """The heads see frames alone: what stands in padding enters no statistics and gets no gradient."""
        seen, out = ~padding, SequenceOutput()
        frames = x[seen]  # (N, width)
        for task, readout in self.readouts.items():
            rows = readout(frames)
            setattr(out, task, rows.new_zeros(*seen.shape, rows.shape[-1]).index_put((seen,), rows))
        return out


def build_readout(width: int, hidden: int, numbers: int) -> nn.Sequential:
    """(N, width) → (N, numbers), without a non-linearity, as published."""
    return nn.Sequential(nn.Linear(width, hidden), FrameNorm(hidden), nn.Linear(hidden, numbers))


def sinusoids(padding: Tensor, width: int) -> Tensor:
    """(B, L) → (B, L, width): sine and cosine in turn, counted from the first frame that is there."""
    L, device = padding.shape[1], padding.device
    first = (~padding).int().argmax(dim=1, keepdim=True)
    place = (torch.arange(L, device=device) - first).clamp(min=0)  # (B, L)
    rates = 10000 ** (-torch.arange(0, width, 2, device=device) / width)
    angle = place[..., None] * rates
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


def check_sizes(tasks: Collection[str], width: int, heads: int, positions: bool) -> None:
    unknown = sorted(set(tasks) - set(SIZES))
    if unknown or not tasks:
        raise UserError(f"a sequence model predicts some of {', '.join(SIZES)}, not {', '.join(unknown) or 'nothing'}")
    if width % heads:
        raise UserError(f"a transformer of width {width} cannot be cut into {heads} heads")
    if positions and width % 2:
        raise UserError(f"sinusoidal positions come in pairs: they need an even width, not {width}")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A stream of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def sequence_like(
    state: dict[str, Tensor],
    *,
    heads: int = 4,
    causal: bool = True,
    positions: bool = False,
    dropout: float = 0.3,
) -> SequenceModel:
    """A model of the sizes in ``state``, its weights not yet loaded; the arguments are what tensors cannot tell."""
    tasks = [task for task in SIZES if f"readouts.{task}.0.weight" in state]
    blocks, layers = count_blocks(state, "tcn.blocks."), count_blocks(state, "transformer.")
    first = [state[f"tcn.blocks.{i}.first.direction"] for i in range(blocks)]  # (outputs, inputs, kernel) each
    options = {"channels": [len(one) for one in first], "kernel": first[0].shape[2]} if first else {}
    if layers:
        options["hidden"] = len(state["transformer.0.linear1.weight"])
    if "expr" in tasks:
        options["num_expressions"] = len(state["readouts.expr.2.weight"])
    return SequenceModel(
        first[0].shape[1] if first else state["project.weight"].shape[1],
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
        **options,
    )
