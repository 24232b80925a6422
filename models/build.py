"""Builders: a config group and class texts → a model ready to train."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.classifiers import FrameExpression
from models.clip_backbone import tokenize
from models.clip_caer import Adapter, ClipCaer
from models.clip_towers import TEXT_LENGTH, Clip
from models.emoclip import EmoClip
from models.rebuild import EMOCLIP_HEADS, HEAD_WIDTH
from models.temporal import TemporalTransformer
from models.text import PromptLearner, with_placeholders

ClassTexts = Sequence[Sequence[str]]  # C × P


def build_clip_caer(
    clip: Clip, texts: ClassTexts, descriptive: ClassTexts, options: Any, *, max_frames: int, seed: int
) -> ClipCaer:
    """From a CLIP and the class texts of both views; DFER-CLIP is its face stream without a layer that joins."""
    with seeded(seed, "prompts"):
        prompts = build_prompts(clip, [text for row in texts for text in row], options)
    D = clip.shape.embed_dim
    has_face, has_context = options.streams != "context", options.streams != "face"
    with seeded(seed, "adapter"):
        residual, wanted = options.adapter == "residual", options.adapter != "none" and has_face
        adapter = Adapter(D, residual=residual, ratio=options.adapter_ratio) if wanted else None
    with seeded(seed, "face"):
        face_temporal = build_temporal(D, options, max_frames) if has_face else None
    with seeded(seed, "context"):
        context_temporal = build_temporal(D, options, max_frames) if has_context else None
    with seeded(seed, "fuse"):
        fuse = nn.Linear(D * (has_face + has_context), D) if options.model == "clip-caer" else None
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


def build_emoclip(clip: Clip, texts: ClassTexts, parts: Any, options: Any, *, max_frames: int, seed: int) -> EmoClip:
    """``parts``: the base classes that each class is made of, None where it is itself."""
    with seeded(seed, "temporal"):
        temporal = build_temporal(clip.shape.embed_dim, options, max_frames)
    return EmoClip(
        image_encoder=clip.visual,
        temporal=temporal,
        text_encoder=clip.text,
        token_embedding=clip.token_embedding.weight.detach().clone(),
        tokens=class_tokens(texts),
        parts=parts_matrix(parts),
        readout=None,
        logit_scale=clip.logit_scale.item(),
    )


def build_frame_expression(clip: Clip, classes: int) -> FrameExpression:
    """The linear layer begins at chance: all logits 0."""
    model = FrameExpression(clip.visual, clip.shape.embed_dim, classes)
    nn.init.zeros_(model.readout.weight)
    nn.init.zeros_(model.readout.bias)
    return model


def class_tokens(texts: ClassTexts) -> Tensor:
    """C × P texts → (C, P, 77) ids."""
    return tokenize([text for row in texts for text in row]).view(len(texts), -1, TEXT_LENGTH)


def parts_matrix(parts: Sequence[Sequence[int]] | None) -> Tensor | None:
    """(C, C0): 1 where a class is made of a base class; None where every class is its own."""
    if parts is None:
        return None
    matrix = torch.zeros(len(parts), 1 + max(part for row in parts for part in row))
    for row, part in zip(matrix, parts, strict=True):
        row[list(part)] = 1.0
    return matrix


def build_temporal(width: int, options: Any, max_frames: int) -> TemporalTransformer:
    """The published proportions: 8 heads of 64 and a feed-forward of 1024 at width 512."""
    heads, head_width, hidden = max(width // HEAD_WIDTH, 1), HEAD_WIDTH, 2 * width
    if options.model == "emoclip":  # 8 at any width: a checkpoint's tensors do not tell how many heads share them
        heads, head_width = EMOCLIP_HEADS, width // EMOCLIP_HEADS
    if options.swapped_heads:  # the two were exchanged in the published code: its weights need it
        head_width, hidden = 4 * width, width
    return TemporalTransformer(
        width,
        layers=options.temporal_layers,
        heads=heads,
        head_width=head_width,
        hidden=hidden,
        dropout=options.dropout,
        max_frames=max_frames,
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
