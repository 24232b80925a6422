"""The model of a checkpoint: every size from its tensors, so that no CLIP file and no texts are needed."""

from collections.abc import Collection
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from models.classifiers import FrameExpression
from models.clip_caer import Adapter, ClipCaer
from models.clip_towers import ClipShape, ImageTower, TextTower, count_blocks
from models.emoclip import EmoClip
from models.sequence import SequenceModel, sequence_like
from models.temporal import TemporalTransformer
from models.text import PromptLearner
from models.uninitialised import UninitialisedWeights
from utils.errors import UserError

HEAD_WIDTH = 64
EMOCLIP_HEADS = 8  # of a width that the file tells: 2048 in the published one
State = dict[str, Tensor]


def rebuild_model(
    family: str, shape: ClipShape | None, state: State, options: Any, *, may_lack: Collection[str] = ()
) -> nn.Module:
    """``options``: what tensors cannot tell. Names in ``may_lack`` keep their first values where they are not there."""
    try:
        with torch.random.fork_rng(devices=[]), nullcontext() if may_lack else UninitialisedWeights():
            torch.manual_seed(0)
            model = REBUILDERS[family](shape, state, options)
        lost = set(model.load_state_dict(state, strict=False, assign=not may_lack).missing_keys) - set(may_lack)
        extra = set(state) - set(model.state_dict())
    except (RuntimeError, KeyError, IndexError, ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        first = " ".join(str(error).split())[:200]
        raise UserError(f"the checkpoint's tensors do not make a {family} model: {first}") from None
    endless = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if endless:
        raise UserError(f"the checkpoint's tensor {endless[0]} holds values that are not finite")
    if lost or extra:
        wrong = f"lacks {', '.join(sorted(lost)[:4])}" if lost else f"has {', '.join(sorted(extra)[:4])} too many"
        raise UserError(f"the checkpoint's tensors do not make a {family} model: it {wrong}")
    return model


def rebuild_clip_caer(shape: ClipShape, state: State, options: Any) -> ClipCaer:
    """Two streams, or one; with or without adapter and fusion: whatever the tensors show."""
    context, rest = state["prompts.context"], state["prompts.text"]
    prompts = PromptLearner(
        torch.zeros(len(rest), 1 + context.shape[-2] + rest.shape[1], rest.shape[2]),
        state["prompts.end"],
        state["prompts.text_lengths"],
        contexts=context.shape[-2],
        position=options.class_token_position,
        class_specific=context.dim() == 3,
    )
    adapter = None
    if has_part(state, "adapter."):
        adapter = Adapter(shape.embed_dim, residual=options.adapter == "residual", ratio=options.adapter_ratio)
    fuse = nn.Linear(*state["fuse.weight"].shape[::-1]) if has_part(state, "fuse.") else None
    return ClipCaer(
        image_encoder=ImageTower(shape),
        text_encoder=TextTower(shape),
        prompts=prompts,
        descriptive=torch.zeros_like(state["descriptive"]),
        adapter=adapter,
        face_temporal=temporal_like(state, "face_temporal."),
        context_temporal=temporal_like(state, "context_temporal."),
        fuse=fuse,
        slerp_weight=options.slerp_weight,
        iec_text=options.iec_text,
        temperature=options.temperature,
    )


def rebuild_emoclip(shape: ClipShape, state: State, options: Any) -> EmoClip:
    has_text, readout = has_part(state, "text_encoder."), None
    if has_part(state, "readout."):
        readout = build_readout(*state["readout.0.weight"].shape[::-1], len(state["readout.2.weight"]))
    return EmoClip(
        image_encoder=ImageTower(shape),
        temporal=temporal_like(state, "temporal.", heads=EMOCLIP_HEADS),
        text_encoder=TextTower(shape) if has_text else None,
        token_embedding=torch.zeros_like(state["token_embedding"]) if has_text else None,
        tokens=torch.zeros_like(state["tokens"]) if has_text else None,
        parts=torch.zeros_like(state["parts"]) if "parts" in state else None,
        readout=readout,
        logit_scale=0.0,
    )


def rebuild_frame_expression(shape: ClipShape, state: State, _: Any) -> FrameExpression:
    return FrameExpression(ImageTower(shape), *state["readout.weight"].shape[::-1])


def rebuild_sequence(_: None, state: State, options: Any) -> SequenceModel:
    sequence = options.sequence
    return sequence_like(state, causal=sequence.causal, positions=sequence.positions, dropout=options.model.dropout)


def build_readout(width: int, hidden: int, numbers: int) -> nn.Sequential:
    """The published head of the downstream regression."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, numbers))


def temporal_like(state: State, prefix: str, heads: int | None = None) -> TemporalTransformer | None:
    """A temporal transformer of the sizes below ``prefix``; None where there is none."""
    if not has_part(state, prefix):
        return None
    positions, pooled = state[f"{prefix}positions"], f"{prefix}pool.0.weight" in state
    inner = state[f"{prefix}blocks.0.attention.to_qkv.weight"].shape[0] // 3
    heads = heads or max(inner // HEAD_WIDTH, 1)
    return TemporalTransformer(
        positions.shape[2],
        layers=count_blocks(state, f"{prefix}blocks."),
        heads=heads,
        head_width=inner // heads,
        hidden=state[f"{prefix}blocks.0.feed_forward.0.weight"].shape[0],
        max_frames=positions.shape[1] - (not pooled),
        pooled=pooled,
    )


def has_part(state: State, prefix: str) -> bool:
    """Any tensor of it is enough: where others are lost, they are then named."""
    return any(key.startswith(prefix) for key in state)


REBUILDERS = {
    "clip-caer": rebuild_clip_caer,
    "dfer-clip": rebuild_clip_caer,
    "emoclip": rebuild_emoclip,
    "frame-expr": rebuild_frame_expression,
    "sequence": rebuild_sequence,
}
