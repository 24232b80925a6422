"""``--mode attention``: relevance maps that show where an image tower looks for a class.

In every block, the weight between two tokens is the attention times the gradient of the class's score with respect to
it, where positive, averaged over heads. The weights are propagated from the class token through the blocks, from the
last to the first, and each token also keeps its own value. A map is never negative: it shows evidence for the class,
not evidence against it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.clip_towers import Attention, ImageTower

CHUNK_FRAMES = 8  # in one pass with gradients, to limit memory
STREAMS = ("face", "context")


@dataclass(frozen=True)
class ClassRelevance:
    """The maps of one clip for one class."""

    label: int  # the class
    logits: Tensor  # (C,)
    maps: dict[str, Tensor]  # stream → (T, rows, columns), not negative


def explain_class(
    model: nn.Module, face: Tensor | None, context: Tensor | None, label: int | None = None, texts: object = None
) -> ClassRelevance:
    """Return the maps of the class ``label``, or of the predicted class.

    ``face``, ``context`` (1, T, 3, S, S), None for a stream left out. Everything after the image tower (adapter,
    temporal transformer, fusion) is included by the gradient of the score with respect to the frame features.
    """
    with torch.no_grad():
        features = model.encode_frames(face, context)
    with torch.enable_grad():
        leaves = [None if stream is None else stream.detach().float().requires_grad_() for stream in features]
        logits = model.head(*leaves, texts).logits[0]
        label = int(logits.argmax()) if label is None else label
        gradients = iter(torch.autograd.grad(logits[label], [leaf for leaf in leaves if leaf is not None]))
    maps = {}
    for name, frames, leaf in zip(STREAMS, (face, context), leaves, strict=True):
        if leaf is not None:
            maps[name] = patch_relevance(model.image_encoder, frames[0], next(gradients)[0])
    return ClassRelevance(label, logits.detach(), maps)


def patch_relevance(tower: ImageTower, frames: Tensor, slopes: Tensor) -> Tensor:
    """Return maps (T, rows, columns) of frames (T, 3, S, S); ``slopes`` (T, D): score gradient by their features."""
    chunks = zip(frames.split(CHUNK_FRAMES), slopes.split(CHUNK_FRAMES), strict=True)
    rows = torch.cat([follow_back(*attention_slopes(tower, *chunk)) for chunk in chunks])
    return rows.unflatten(1, (frames.shape[-2] // tower.conv1.kernel_size[0], -1))


def attention_slopes(tower: ImageTower, frames: Tensor, slopes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return the attention (T, heads, L, L) of every block, and the gradient of the score by it."""
    with torch.enable_grad():
        features, attentions = encode_openly(tower, frames)
        gradients = torch.autograd.grad((features * slopes).sum(), attentions)
    return [attention.detach() for attention in attentions], list(gradients)


def follow_back(attentions: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """Return (T, L - 1): the contribution of each patch to the class token through all blocks."""
    row = torch.zeros_like(attentions[0][:, 0, :1])  # (T, 1, L)
    row[..., 0] = 1  # the class token itself
    for attention, gradient in zip(reversed(attentions), reversed(gradients), strict=True):
        row = row + row @ (attention * gradient).clamp(min=0).mean(dim=1)
    return row[:, 0, 1:]


def encode_openly(tower: ImageTower, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return ``tower(image)``, (N, D), and the attention of every block (N, heads, L, L), with gradients."""
    x, attentions = tower.embed(image), []
    for block in tower.transformer.resblocks:
        mixed, attention = attend_openly(block.attn, block.ln_1(x))
        x = x + mixed
        x = x + block.mlp(block.ln_2(x))
        attentions.append(attention)
    return tower.ln_post(x[:, 0]) @ tower.proj, attentions


def attend_openly(module: Attention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ``module(x)`` returns, and its attention, which the fused kernel does not return."""
    N, L, W = x.shape
    query, key, value = module.split_heads(module.project(x))  # (N, heads, L, W / heads) each
    attention = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
    if not attention.requires_grad:
        attention.requires_grad_()  # if all weights are frozen, the graph starts here
    return module.out_proj((attention @ value).transpose(1, 2).reshape(N, L, W)), attention
