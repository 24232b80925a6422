"""Build parts of models, from options or with the sizes of a checkpoint's tensors."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clip_backbone import tokenize
from models.clip_towers import TEXT_LENGTH, Clip, count_blocks, fixed_seed
from models.temporal import TemporalTransformer
from models.text import PromptLearner, with_placeholders

HEAD_WIDTH = 64
ClassTexts = Sequence[Sequence[str]]  # C × P
State = Mapping[str, Tensor]


def class_tokens(texts: ClassTexts) -> Tensor:
    """Return the token ids (C, P, 77) of C × P texts."""
    return tokenize([text for row in texts for text in row]).view(len(texts), -1, TEXT_LENGTH)


def parts_matrix(parts: Sequence[Sequence[int]] | None) -> Tensor | None:
    """Return (C, C0), 1 where a class contains a base class; None if no class is a combination."""
    if parts is None:
        return None
    matrix = torch.zeros(len(parts), 1 + max(part for row in parts for part in row))
    for row, part in zip(matrix, parts, strict=True):
        row[list(part)] = 1.0
    return matrix


@torch.no_grad()
def encode_classes(clip: Clip, texts: ClassTexts) -> Tensor:
    """Return the unit features (C, P, D) of C × P texts."""
    features = clip.encode_text(class_tokens(texts).flatten(0, 1))
    return F.normalize(features, dim=-1).view(len(texts), -1, features.shape[-1])


@torch.no_grad()
def build_prompts(
    clip: Clip, texts: Sequence[str], *, contexts: int, position: str, class_specific: bool
) -> PromptLearner:
    """Return one prompt per text; a text with one ``X`` for each context vector must fit into 77 tokens."""
    tokens = tokenize([with_placeholders(text, contexts) for text in texts])
    end = tokens.argmax(dim=-1)
    return PromptLearner(
        clip.token_embedding(tokens),
        end,
        end - 1 - contexts,
        contexts=contexts,
        position=position,
        class_specific=class_specific,
    )


def prompts_like(state: State, position: str) -> PromptLearner:
    """Return prompts with the sizes in a checkpoint."""
    context, text = state["prompts.context"], state["prompts.text"]
    return PromptLearner(
        torch.zeros(len(text), 1 + context.shape[-2] + text.shape[1], text.shape[2]),
        state["prompts.end"],
        state["prompts.text_lengths"],
        contexts=context.shape[-2],
        position=position,
        class_specific=context.dim() == 3,
    )


def build_temporal(
    width: int, *, layers: int, dropout: float, max_frames: int, pool: str = "class-token"
) -> TemporalTransformer:
    """Return a transformer with the published proportions: for width 512, 8 heads of 64 and a feed-forward of 1024."""
    return TemporalTransformer(
        width,
        layers=layers,
        heads=max(width // HEAD_WIDTH, 1),
        head_width=HEAD_WIDTH,
        hidden=2 * width,
        dropout=dropout,
        max_frames=max_frames,
        pool=pool,
    )


def temporal_like(state: State, prefix: str, pool: str, heads: int | None = None) -> TemporalTransformer | None:
    """Return a temporal transformer with the sizes of the tensors below ``prefix``, or None if there are none.

    ``pool``: what the options say; tensors of another kind are named when they are loaded. Files of RAPT that were
    converted before this option existed say ``class-token``, so there the tensors decide. ``heads``: number of heads if
    they are not 64 wide; the tensors do not show it.
    """
    if not has_part(state, prefix):
        return None
    if pool == "class-token" and f"{prefix}pool.0.weight" in state:
        pool = "attention"
    positions = state[f"{prefix}positions"]
    inner = state[f"{prefix}blocks.0.attention.to_qkv.weight"].shape[0] // 3
    heads = heads or max(inner // HEAD_WIDTH, 1)
    return TemporalTransformer(
        positions.shape[2],
        layers=count_blocks(state, f"{prefix}blocks."),
        heads=heads,
        head_width=inner // heads,
        hidden=state[f"{prefix}blocks.0.feed_forward.0.weight"].shape[0],
        max_frames=positions.shape[1] - (pool == "class-token"),
        pool=pool,
    )


def build_readout(width: int, hidden: int, numbers: int) -> nn.Sequential:
    """Return the published head of the downstream regression."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, numbers))


def has_part(state: Collection[str], prefix: str) -> bool:
    """Return whether there is a tensor below ``prefix``. If others are missing, loading raises an error."""
    return any(key.startswith(prefix) for key in state)


def seeded(seed: int, part: str) -> AbstractContextManager[None]:
    """Initialise the weights of each part from a separate random stream, so that leaving one out changes no other."""
    return fixed_seed(int.from_bytes(hashlib.sha256(f"{seed} {part}".encode()).digest()[:7], "big"))
