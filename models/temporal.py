"""The temporal transformer: one feature for the frames of a stream, from a class token or by pooling."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.to_out = nn.Linear(heads * head_width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) → (B, L, D)."""
        B, L, _ = x.shape
        query, key, value = self.to_qkv(x).view(B, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, heads, L, width)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.dropout(self.to_out(mixed.transpose(1, 2).reshape(B, L, -1)))

    def read_first(self, x: Tensor) -> Tensor:
        """Return the output (B, 1, D) of only the first token."""
        B, L, _ = x.shape
        width = self.to_out.in_features
        query = F.linear(x[:, :1], self.to_qkv.weight[:width]).view(B, 1, self.heads, -1).transpose(1, 2)
        key, value = F.linear(x, self.to_qkv.weight[width:]).view(B, L, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.dropout(self.to_out(mixed.reshape(B, 1, -1)))


class Block(nn.Module):
    """Pre-norm attention, then a pre-norm feed-forward with tanh-GELU; both residual."""

    def __init__(self, width: int, heads: int, head_width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, head_width, dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(approximate="tanh"),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_norm(x))

    def read_first(self, x: Tensor) -> Tensor:
        """Return the output (B, 1, D) of only the first token; the last block needs no other."""
        x = x[:, :1] + self.attention.read_first(self.attention_norm(x))
        return x + self.feed_forward(self.feed_norm(x))


class TemporalTransformer(nn.Module):
    """Returns (B, D) for (B, T, D). No final norm; class token and positions start at standard normal, as published.

    ``pooled``: no class token; a small scorer weighs the frames, and the feature is their weighted sum (RAPT).
    """

    def __init__(
        self,
        width: int,
        *,
        layers: int = 1,
        heads: int = 8,
        head_width: int = 64,
        hidden: int = 1024,
        dropout: float = 0.1,
        max_frames: int = 16,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        self.max_frames = max_frames
        self.class_token = None if pooled else nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, max_frames + (not pooled), width))
        self.pool = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)) if pooled else None
        self.blocks = nn.ModuleList(Block(width, heads, head_width, hidden, dropout) for _ in range(layers))

    def forward(self, frames: Tensor) -> Tensor:
        B, T, _ = frames.shape
        if T > self.max_frames:
            raise ValueError(f"{T} frames, but this temporal transformer holds positions for {self.max_frames}")
        x = frames
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(B, -1, -1).to(frames.dtype), frames], dim=1)
        x = x + self.positions[:, : x.shape[1]]
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        if self.pool is None:
            return last.read_first(x)[:, 0]
        x = last(x)
        return (self.pool(x).softmax(dim=1) * x).sum(dim=1)  # the scores are (B, T, 1)
