"""The temporal transformer: one feature for the frames of a stream, from a class token or pooled over frames."""

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

    ``pool``: what becomes the feature of the clip. ``class-token``: the row of a learned token before the frames.
    ``attention``: a sum of the frames' rows, weighted by a small network that scores each (RAPT). ``mean``: their mean.
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
        pool: str = "class-token",
    ) -> None:
        super().__init__()
        self.max_frames, has_token = max_frames, pool == "class-token"
        self.class_token = nn.Parameter(torch.randn(1, 1, width)) if has_token else None
        self.positions = nn.Parameter(torch.randn(1, max_frames + has_token, width))
        self.pool = make_scorer(width) if pool == "attention" else None
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
        if self.class_token is not None:
            return last.read_first(x)[:, 0]
        x = last(x)
        if self.pool is None:
            return x.mean(dim=1)
        return (self.pool(x).softmax(dim=1) * x).sum(dim=1)  # the scores are (B, T, 1)


def make_scorer(width: int) -> nn.Sequential:
    """Return RAPT's network for the score of a frame, with its first weights: Xavier-uniform, biases 0."""
    scorer = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
    for layer in (scorer[0], scorer[2]):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return scorer
