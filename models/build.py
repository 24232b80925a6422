"""Builders: a config group and class texts → a model ready to train."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adapter import Adapter
from models.clip_backbone import tokenize
from models.clip_caer import ClipCaer
from models.clip_towers import Clip
from models.rebuild import HEAD_WIDTH
from models.temporal import TemporalTransformer
from models.text import PromptLearner, with_placeholders

ClassTexts = Sequence[Sequence[str]]  # C × P


def build_clip_caer(
    clip: Clip, texts: ClassTexts, descriptive: ClassTexts, options: Any, *, max_frames: int, seed: int
) -> ClipCaer:
    """A model ready to train, from a CLIP and the class texts of both views."""
    with seeded(seed, "prompts"):
        prompts = build_prompts(clip, [text for row in texts for text in row], options)
    D = clip.shape.embed_dim
    has_face, has_context = options.streams != "context", options.streams != "face"
    with seeded(seed, "adapter"):
        residual, wanted = options.adapter == "residual", options.adapter != "none" and has_face
        adapter = Adapter(D, residual=residual, ratio=options.adapter_ratio) if wanted else None
    with seeded(seed, "face"):
        face_temporal = build_temporal(D, options.temporal_layers, max_frames) if has_face else None
    with seeded(seed, "context"):
        context_temporal = build_temporal(D, options.temporal_layers, max_frames) if has_context else None
    with seeded(seed, "fuse"):
        fuse = nn.Linear(D * (has_face + has_context), D)
    return ClipCaer(
        image_encoder=clip.visual,
        text_encoder=clip.text,
        prompts=prompts,
        descriptive=encode_classes(clip, descriptive),
        adapter=adapter,
        face_temporal=face_temporal,
        context_temporal=context_temporal,
        fuse=fuse,
        slerp_weight=options.slerp_weight,
        iec_text=options.iec_text,
        temperature=options.temperature,
    )


def build_temporal(width: int, layers: int, max_frames: int) -> TemporalTransformer:
    """The published proportions: 8 heads of 64 and a feed-forward of 1024 at width 512."""
    heads = max(width // HEAD_WIDTH, 1)
    return TemporalTransformer(
        width, layers=layers, heads=heads, head_width=HEAD_WIDTH, hidden=2 * width, max_frames=max_frames
    )


@torch.no_grad()
def build_prompts(clip: Clip, texts: list[str], options: Any) -> PromptLearner:
    """One prompt a text; with ``X`` for every context vector the text must still fit into 77 tokens."""
    tokens = tokenize([with_placeholders(text, options.contexts_number) for text in texts])
    end = tokens.argmax(dim=-1)
    return PromptLearner(
        clip.token_embedding(tokens),
        end,
        end - 1 - options.contexts_number,
        contexts=options.contexts_number,
        position=options.class_token_position,
        class_specific=options.class_specific_contexts,
    )


@torch.no_grad()
def encode_classes(clip: Clip, texts: ClassTexts) -> Tensor:
    """C × P texts → (C, P, D) unit features."""
    flat = clip.encode_text(tokenize([text for row in texts for text in row]))
    return F.normalize(flat, dim=-1).view(len(texts), -1, flat.shape[-1])


@contextmanager
def seeded(seed: int, part: str) -> Iterator[None]:
    """Each part draws its weights from its own stream: leaving one out changes no other."""
    own = int.from_bytes(hashlib.sha256(f"{seed} {part}".encode()).digest()[:7], "big")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(own)
        yield
