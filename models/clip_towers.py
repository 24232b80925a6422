"""CLIP's two towers, with the parameter names of OpenAI's release, so that any CLIP state dict can be loaded."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from models.lora import AdaptableLinear, Lora

TEXT_LENGTH = 77
VOCABULARY = 49408
HEAD_WIDTH = 64
ACTIVATIONS = ("quick-gelu", "gelu")
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of OpenAI's pixels, red, green, blue
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
TEXT_PREFIXES = ("transformer.", "ln_final.", "positional_embedding", "text_projection")


@dataclass(frozen=True)
class ClipShape:
    """Every size of a CLIP, and settings that its tensors do not show; the defaults are OpenAI's ViT-B/32."""

    embed_dim: int = 512
    image_size: int = 224
    patch_size: int = 32
    image_width: int = 768
    image_layers: int = 12
    text_width: int = 512
    text_layers: int = 12
    activation: str = "quick-gelu"
    image_head: int = HEAD_WIDTH  # numbers in each attention head
    text_head: int = HEAD_WIDTH
    mean: tuple[float, ...] = CLIP_MEAN  # of the pixels under --normalize clip
    deviation: tuple[float, ...] = CLIP_STD

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"the activation {str(self.activation)[:40]!r}; expected {' or '.join(ACTIVATIONS)}")
        for name in ("mean", "deviation"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3 or (name == "deviation" and min(values) <= 0):
                raise ValueError(f"{name} {values}; expected three numbers" + ", all above 0" * (name == "deviation"))
            object.__setattr__(self, name, values)  # JSON has lists
        for width, head in ((self.image_width, self.image_head), (self.text_width, self.text_head)):
            if head < 1 or (width and head != HEAD_WIDTH and width % head):
                raise ValueError(f"a tower of {width}, which cannot be cut into heads of {head}")

    def as_dict(self) -> dict[str, Any]:
        """Return the sizes, and the settings that are not OpenAI's."""
        values = asdict(self)
        return {name: value for name, value in values.items() if name not in SETTINGS or value != SETTINGS[name]}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the tensors do not show."""
        return {name: getattr(self, name) for name in SETTINGS}


SETTINGS = {
    field.name: field.default
    for field in fields(ClipShape)
    if field.name in ("activation", "image_head", "text_head", "mean", "deviation")
}


def shape_of(state: dict[str, Tensor], image: str = "visual.", text: str = "", **settings: Any) -> ClipShape:
    """Return the sizes of a state dict whose towers have these prefixes; a text tower may be missing.

    ``settings``: what the tensors do not show, if it differs from OpenAI's.
    """
    grid = round((state[f"{image}positional_embedding"].shape[0] - 1) ** 0.5)
    image_width, _, patch, _ = state[f"{image}conv1.weight"].shape
    has_text = f"{text}ln_final.weight" in state
    sizes = [image_width, patch, grid, state[f"{image}proj"].shape[1]]
    if min(sizes + ([state[f"{text}ln_final.weight"].shape[0]] if has_text else [])) < 1:
        raise ValueError(f"a tower without width: {sizes}")
    for width in (image_width, *([state[f"{text}ln_final.weight"].shape[0]] if has_text else [])):
        if width < HEAD_WIDTH or width % (width // HEAD_WIDTH):
            raise ValueError(f"a tower of {width}, which cannot be cut into heads of {HEAD_WIDTH}")
    return ClipShape(
        embed_dim=state[f"{image}proj"].shape[1],
        image_size=grid * patch,
        patch_size=patch,
        image_width=image_width,
        image_layers=count_blocks(state, f"{image}transformer.resblocks."),
        text_width=state[f"{text}ln_final.weight"].shape[0] if has_text else 0,
        text_layers=count_blocks(state, f"{text}transformer.resblocks.") if has_text else 0,
        **settings,
    )


def count_blocks(state: dict[str, Any], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), by the fused kernel of silu."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return QuickGELUFunction.apply(x)
        return F.silu(1.702 * x) / 1.702


class QuickGELUFunction(torch.autograd.Function):
    """The same values, with a backward pass of one kernel instead of three.

    The derivative of silu(a x) / a is silu'(a x): the two factors cancel. Autograd divides by one and multiplies by
    the other, which rounds twice, and on a GPU takes the time of moving the tensor twice more.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scaled = 1.702 * x
        ctx.save_for_backward(scaled)
        return F.silu(scaled).div_(1.702)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (scaled,) = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient, scaled)


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection, to which a correction (LoRA) can be added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.lora: Lora | None = None
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = AdaptableLinear(width, width)
        nn.init.normal_(self.in_proj_weight, std=width**-0.5)

    def forward(self, x: Tensor, causal: bool, packing: "Packing | None" = None) -> Tensor:
        """``x``: rows of tokens (B, L, W), or the tokens (N, W) that ``packing`` makes rows of."""
        projected = self.project(x)
        mixed = attend(*self.split_heads(projected if packing is None else packing.unpack(projected)), causal)
        rows = mixed.transpose(1, 2).flatten(2)  # (B, L, W)
        return self.out_proj(rows if packing is None else packing.pack(rows))

    def project(self, x: Tensor, first: int = 0, last: int = 3) -> Tensor:
        """(..., W) → (..., n * W): of query, key and value, side by side, those from ``first`` up to ``last``."""
        weight, bias, W = self.in_proj_weight, self.in_proj_bias, x.shape[-1]
        if last - first < 3:  # a part of all rows would cost a copy of the gradient
            weight, bias = weight[first * W : last * W], bias[first * W : last * W]
        out = F.linear(x, weight, bias)
        return out if self.lora is None else out + self.lora(x, first, last)

    def split_heads(self, projected: Tensor) -> Tensor:
        """(B, L, n * W) → (n, B, heads, L, W / heads)."""
        B, L, _ = projected.shape
        W = self.out_proj.in_features
        return projected.view(B, L, -1, self.heads, W // self.heads).permute(2, 0, 3, 1, 4)

    def read_token(self, x: Tensor, token: Tensor | None, packing: "Packing | None" = None) -> Tensor:
        """(B, L, W), or (N, W) with ``packing`` → (B, W): the row of one token.

        ``token`` (B,) attends to no token behind it; None is the first token, which attends to all.
        """
        query, others = self.project(pick(x, token, packing), 0, 1), self.project(x, 1, 3)
        if packing is not None:
            others = packing.unpack(others)
        (B, L, _), visible = others.shape, None
        if token is not None:
            visible = (torch.arange(L, device=x.device) <= token[:, None])[:, None, None]  # (B, 1, 1, L)
        key, value = self.split_heads(others)
        return self.out_proj(attend(query.view(B, self.heads, 1, -1), key, value, mask=visible).reshape(B, -1))


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """(B, heads, L, size) each: attention by the fused kernel, in float32 where that is faster."""
    if query.dtype is torch.bfloat16 and query.is_cpu and query.requires_grad:
        # the CPU's fused backward in bfloat16 takes four times as long as in float32 (docs/performance.md)
        with torch.autocast("cpu", enabled=False):  # autocast would convert them back
            wide = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), mask, is_causal=causal)
        return wide.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)


def pick(x: Tensor, token: Tensor | None, packing: "Packing | None" = None) -> Tensor:
    """(B, L, W), or (N, W) with ``packing`` → (B, W): row ``token`` (B,) of each, the first where None."""
    if packing is not None:
        return F.embedding(pick(packing.rows, token), x)
    return x[:, 0] if token is None else x[torch.arange(len(x), device=x.device), token]


class Packing(nn.Module):
    """The tokens of some texts (B, L) without padding, in one row (N,). Equal tokens at the start are one token.

    Everything but attention computes each token alone, so it needs no padding. Attention is causal, so the results of
    the first tokens are equal in all texts that start with them.
    """

    def __init__(self, end: Tensor, shared: int) -> None:
        """``end`` (B,): the last token of each text; ``shared``: number of tokens that all texts start with."""
        super().__init__()
        B, L = len(end), length_of(end)
        position, text = torch.arange(L), torch.arange(B)[:, None]
        needed = (position <= end[:, None].cpu()) & ((position >= shared) | (text == 0))
        numbers = needed.flatten().cumsum(0).view(B, L) - 1
        # behind the end of a text any token will do: nothing attends to it
        rows = torch.where(position < shared, position.expand(B, L), numbers)
        self.register_buffer("rows", rows, persistent=False)  # (B, L): the number of each token
        self.register_buffer("places", needed.flatten().nonzero()[:, 0], persistent=False)  # (N,): its place in B * L

    def pack(self, rows: Tensor) -> Tensor:
        """(B, L, ...) → (N, ...)."""
        return F.embedding(self.places, rows.flatten(0, 1))

    def unpack(self, tokens: Tensor) -> Tensor:
        """(N, W) → (B, L, W)."""
        return F.embedding(self.rows, tokens)


class Block(nn.Module):
    """Pre-norm attention, then a pre-norm feed-forward of four times the width."""

    def __init__(self, width: int, depth: int, head: int = HEAD_WIDTH, activation: str = "quick-gelu") -> None:
        super().__init__()
        self.attn = Attention(width, width // head)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        gelu = QuickGELU() if activation == "quick-gelu" else nn.GELU()
        layers = {
            "c_fc": AdaptableLinear(width, 4 * width),
            "gelu": gelu,
            "c_proj": AdaptableLinear(4 * width, width),
        }
        self.mlp = nn.Sequential(OrderedDict(layers))
        for linear, std in (
            (self.attn.out_proj, (2 * depth * width) ** -0.5),
            (self.mlp.c_fc, (2 * width) ** -0.5),
            (self.mlp.c_proj, (2 * depth * width) ** -0.5),
        ):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, causal: bool, packing: Packing | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), causal, packing)
        return x + self.mlp(self.ln_2(x))

    def read_token(self, x: Tensor, token: Tensor | None, packing: Packing | None = None) -> Tensor:
        """Return the row (B, W) of only one token; the last block needs no other."""
        x = pick(x, token, packing) + self.attn.read_token(self.ln_1(x), token, packing)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(
        self, width: int, layers: int, causal: bool, head: int = HEAD_WIDTH, activation: str = "quick-gelu"
    ) -> None:
        super().__init__()
        self.causal = causal
        self.checkpointing = False  # compute each block again in the backward pass instead of keeping its results
        self.draws_random_numbers = False  # LoRA with dropout does
        self.resblocks = nn.ModuleList(Block(width, layers, head, activation) for _ in range(layers))

    def forward(self, x: Tensor, token: Tensor | None = None, packing: Packing | None = None) -> Tensor:
        """(B, L, W), or (N, W) with ``packing`` → (B, W): the row of ``token`` (B,), or of the first token."""
        *blocks, last = self.resblocks
        for block in blocks:
            if self.checkpointing and torch.is_grad_enabled():
                # storing the random state for the second pass waits for the GPU, so only where it is needed
                preserve = self.draws_random_numbers
                x = checkpoint(block, x, self.causal, packing, use_reentrant=False, preserve_rng_state=preserve)
            else:
                x = block(x, self.causal, packing)
        return last.read_token(x, token, packing)


class ImageTower(nn.Module):
    """(N, 3, size, size) → (N, D): the class token of a vision transformer, projected."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        width, scale = shape.image_width, shape.image_width**-0.5
        patches = (shape.image_size // shape.patch_size) ** 2
        self.conv1 = nn.Conv2d(3, width, shape.patch_size, stride=shape.patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(patches + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, shape.image_layers, False, shape.image_head, shape.activation)
        self.statistics = (shape.mean, shape.deviation)  # of the pixels it was trained on
        self.settings = {name: value for name, value in shape.settings.items() if value != SETTINGS[name]}
        self.proj = nn.Parameter(scale * torch.randn(width, shape.embed_dim))

    def forward(self, image: Tensor) -> Tensor:
        return self.ln_post(self.transformer(self.embed(image))) @ self.proj

    def embed(self, image: Tensor) -> Tensor:
        """(N, 1 + patches, width): the class token, then the patches row by row."""
        patches = self.conv1(image).flatten(2).transpose(1, 2)  # (N, patches, width)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        x = torch.cat([first.to(patches.dtype), patches], dim=1) + self.positional_embedding
        return self.ln_pre(x)


def encode_streams(tower: nn.Module, *streams: Tensor | None) -> tuple[Tensor | None, ...]:
    """(B, T, 3, H, W) each, or None → (B, T, D) each: all streams in one pass of an image tower."""
    present = [stream for stream in streams if stream is not None]
    B, T = present[0].shape[:2]
    frames = torch.cat(present) if len(present) > 1 else present[0]
    encoded = iter(tower(frames.flatten(0, 1)).view(len(present), B, T, -1))
    return tuple(None if stream is None else next(encoded) for stream in streams)


class TextTower(nn.Module):
    """Token embeddings (N, L, width) and end-of-text positions (N,) → (N, D)."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        width = shape.text_width
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(TEXT_LENGTH, width))
        self.transformer = Transformer(width, shape.text_layers, True, shape.text_head, shape.activation)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, shape.embed_dim))

    def forward(
        self, embedded: Tensor, end: Tensor, length: int | None = None, packing: Packing | None = None
    ) -> Tensor:
        """``length``: tokens up to the last end of text, if known; computing it here would wait for the GPU."""
        # attention is causal, so nothing behind the last end of text can reach any result
        L = length_of(end) if length is None else length
        x = embedded[:, :L] + self.positional_embedding[:L]
        x = self.transformer(x if packing is None else packing.pack(x), end, packing)
        return self.ln_final(x) @ self.text_projection


def length_of(end: Tensor) -> int:
    """Return the number of tokens up to the last of some ends of text."""
    return int(end.max()) + 1


class Clip(nn.Module):
    """Both towers and the token embedding."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.shape = shape
        self.visual = ImageTower(shape)
        self.text = TextTower(shape)
        self.token_embedding = nn.Embedding(VOCABULARY, shape.text_width)
        self.logit_scale = nn.Parameter(torch.tensor(4.6052))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(N, 77) token ids → (N, D). The end of text has the largest id, so argmax finds it."""
        return self.text(self.token_embedding(tokens), tokens.argmax(dim=-1))

    def load_openai(self, state: dict[str, Tensor]) -> None:
        """Load a state dict under OpenAI's names, which has the text tower's tensors at its top level."""
        renamed = {}
        for key, value in state.items():
            if key == "logit_scale":
                value = value.reshape(())
            if key in ("input_resolution", "context_length", "vocab_size"):
                continue
            is_text = key.startswith(TEXT_PREFIXES)
            renamed["text." + key if is_text else key] = value.float()
        self.load_state_dict(renamed, assign=True)

    def openai_state(self) -> dict[str, Tensor]:
        return {key.removeprefix("text."): value for key, value in self.state_dict().items()}


@contextmanager
def fixed_seed(seed: int) -> Iterator[None]:
    """Seed torch inside the block, and restore the random state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class UninitialisedWeights(TorchFunctionMode):
    """Inside the block, new weights are not initialised.

    Sampling 150 million random numbers takes seconds. torch's meta device would avoid it too, but imports a compiler.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
