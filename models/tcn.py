"""The temporal convolutional network: each frame reads those around it, by default only those before it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.errors import UserError

START = 0.01  # standard deviation of the first weights


class NormedConv(nn.Module):
    """A 1-d convolution over frames whose weights are a direction and a length for each output channel."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dilation: int, causal: bool) -> None:
        super().__init__()
        drawn = nn.Conv1d(inputs, outputs, kernel)
        self.direction = nn.Parameter(nn.init.normal_(drawn.weight.detach(), std=START))
        self.length = nn.Parameter(torch.linalg.vector_norm(self.direction.detach(), dim=(1, 2), keepdim=True))
        self.bias = drawn.bias
        self.dilation, reach = dilation, (kernel - 1) * dilation
        self.margins = (reach, 0) if causal else (reach // 2, reach // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, L) → (B, outputs, L)."""
        norm = torch.linalg.vector_norm(self.direction, dim=(1, 2), keepdim=True)
        weight = self.direction * (self.length / norm)
        return F.conv1d(F.pad(x, self.margins), weight, self.bias, dilation=self.dilation)


class ConvBlock(nn.Module):
    """Two convolutions and what came in, by a 1x1 convolution where the widths differ."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dilation: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.first = NormedConv(inputs, outputs, kernel, dilation=dilation, causal=causal)
        self.second = NormedConv(outputs, outputs, kernel, dilation=dilation, causal=causal)
        self.first_bend, self.second_bend, self.last_bend = nn.PReLU(), nn.PReLU(), nn.PReLU()
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None
        if self.shortcut is not None:
            nn.init.normal_(self.shortcut.weight, std=START)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, missing: Tensor | None) -> Tensor:
        """``x`` (B, inputs, L); ``missing`` (B, 1, L) is True where there is no frame: each convolution reads 0."""
        x = without(x, missing)
        inner = self.dropout(self.first_bend(self.first(x)))
        inner = self.dropout(self.second_bend(self.second(without(inner, missing))))
        return self.last_bend(inner + (x if self.shortcut is None else self.shortcut(x)))


class TemporalConvNet(nn.Module):
    """(B, L, D) → (B, L, channels[-1]). Block ``i`` looks 2^i frames apart."""

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
            raise UserError(f"a convolution that reads both sides has an odd kernel, not {kernel}")
        self.blocks = nn.ModuleList(
            ConvBlock(inputs, outputs, kernel, dilation=2**i, causal=causal, dropout=dropout)
            for i, (inputs, outputs) in enumerate(zip((width, *channels), channels, strict=False))
        )

    def forward(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """``padding`` (B, L) is True where there is no frame; what comes out there means nothing."""
        x, missing = frames.transpose(1, 2), None if padding is None else padding[:, None]  # (B, D, L)
        for block in self.blocks:
            x = block(x, missing)
        return x.transpose(1, 2)


def without(x: Tensor, missing: Tensor | None) -> Tensor:
    """Zeros where there is no frame, also where NaN stood there."""
    return x if missing is None else x.masked_fill(missing, 0.0)
