"""Map state dicts of published checkpoints to tensors under our names. Published names occur only in this file.

Families: CLIP-CAER, its fork with adapter and instance-enhanced classifier, that fork with two more heads, RAPT with
attention pooling, DFER-CLIP, EmoCLIP. Nothing is guessed: every key of a file is loaded, dropped for a reason, or
reported. The texts of prompts are recovered too, because stored prompt rows are exact rows of the token embedding.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from models.clip_backbone import detokenize
from models.clip_towers import VOCABULARY
from utils.errors import UserError

State = dict[str, Tensor]

TOWER_BLOCK = (
    "attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias", "ln_1.weight",
    "ln_1.bias", "ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight",
    "mlp.c_proj.bias",
)  # fmt: skip
IMAGE_TOWER = (
    "class_embedding", "positional_embedding", "proj", "conv1.weight", "ln_pre.weight", "ln_pre.bias",
    "ln_post.weight", "ln_post.bias",
)  # fmt: skip
TEXT_TOWER = ("positional_embedding", "text_projection", "ln_final.weight", "ln_final.bias")
TEMPORAL_BLOCK = {  # published name → our name
    "0.fn.norm.weight": "attention_norm.weight",
    "0.fn.norm.bias": "attention_norm.bias",
    "0.fn.fn.to_qkv.weight": "attention.to_qkv.weight",
    "0.fn.fn.to_out.0.weight": "attention.to_out.weight",
    "0.fn.fn.to_out.0.bias": "attention.to_out.bias",
    "1.fn.norm.weight": "feed_norm.weight",
    "1.fn.norm.bias": "feed_norm.bias",
    "1.fn.fn.net.0.weight": "feed_forward.0.weight",
    "1.fn.fn.net.0.bias": "feed_forward.0.bias",
    "1.fn.fn.net.3.weight": "feed_forward.3.weight",
    "1.fn.fn.net.3.bias": "feed_forward.3.bias",
}
DROPPED = {  # pattern → why it is not needed
    r"(clip_model_|backbone)\.logit_scale": "not used by this family",  # EmoCLIP trains a separate scale
    r"(image_encoder|face_adapter|temporal_net|temporal_net_body|project_fc)_m\..*|queue|queue_ptr": "only training",
}
TEMPORAL_NETS = ("temporal_net", "temporal_net_body")
TWO_HEADS = r"cls_(bin|4)\.(weight|bias)"
END_OF_TEXT = VOCABULARY - 1
UNKNOWN = -1


@dataclass
class Published:
    """The sorted content of a published file: ``model`` under our names, and the keys by what happened to them."""

    family: str
    model: State
    token_embedding: Tensor | None = None
    hand_crafted: Tensor | None = None  # (C, 77, W): embedded texts of the second view
    loaded: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)  # key → reason
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)  # copies of a tensor that are not equal
    unsupported: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # every key that the family needs → our name
    prompts: list[str] = field(default_factory=list)  # texts, filled in once they are recovered
    descriptive: list[str] = field(default_factory=list)


def sort_published(state: State) -> Published | None:
    """Return the tensors of a published layout under our names; None if the layout is unknown."""
    if state and all(key.startswith("module.") for key in state):  # saved from DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    family = family_of(state)
    if family is None:
        return None
    names = emoclip_names(state) if family.startswith("emoclip") else clip_caer_names(state)
    report = Published(family, {}, names=names)
    copies = {original_of(key): key for key in state}
    for published_name, name in names.items():
        key = published_name if published_name in state else copies.get(published_name)
        if key is None:
            report.missing.append(published_name)
            continue
        report.loaded.append(key)
        report.model[name] = state[key]
    report.token_embedding = report.model.pop("token_embedding", None)
    report.hand_crafted = report.model.pop("hand_crafted", None)
    _sort_rest(state, report)
    return report


def _sort_rest(state: State, report: Published) -> None:
    """Sort the keys without a name of ours: copies, tensors of training, layers that do not exist here."""
    loaded = set(report.loaded)
    for key in state:
        if key in loaded:
            continue
        original = original_of(key)
        reason = next((text for pattern, text in DROPPED.items() if re.fullmatch(pattern, key)), None)
        if original in loaded:
            if not torch.equal(state[key], state[original]):
                report.differing.append(key)
            report.dropped[key] = "copy"
        elif reason is not None:
            report.dropped[key] = reason
        elif re.fullmatch(TWO_HEADS, key):
            report.unsupported.append(key)
        else:
            report.unexpected.append(key)


def original_of(key: str) -> str:
    """Return the key that holds the same tensor: these files store the whole CLIP again beside its towers."""
    if key.startswith("clip_model_.visual."):
        return key.replace("clip_model_.visual.", "image_encoder.", 1)
    return key.replace("clip_model_.", "text_encoder.", 1) if key.startswith("clip_model_.") else ""


# --- families and their keys


def family_of(state: Iterable[str]) -> str | None:
    """Return the family, by the keys that only one family has."""
    keys = set(state)
    parts = {key.split(".")[0] for key in keys}
    if {"backbone", "temporal"} <= parts:
        return "emoclip" if any(key.startswith("backbone.transformer.") for key in keys) else "emoclip-downstream"
    if "prompt_learner" not in parts and "temporal_net" not in parts:
        return None
    if any(".attention_pool." in key for key in keys) or "face_adapter.fc.3.weight" in keys:
        return "rapt"
    if any(re.fullmatch(TWO_HEADS, key) for key in keys):
        return "clip-caer-two-heads"
    if "face_adapter.fc.2.weight" in keys or "hand_crafted_prompt_embeddings" in keys:
        return "clip-caer-fork"
    has_body = any(key.startswith(("temporal_net_body.", "project_fc.")) for key in keys)
    return "clip-caer" if has_body else "dfer-clip"


def clip_caer_names(state: State) -> dict[str, str]:
    """Return every key that this file's family needs → our name."""
    family = family_of(state)
    names = {
        "prompt_learner.ctx": "prompts.context",
        "prompt_learner.token_prefix": "prompts.start",
        "prompt_learner.token_suffix": "prompts.text",
        "clip_model_.token_embedding.weight": "token_embedding",
    }
    names |= _tower_names(state, "image_encoder.", "image_encoder.", IMAGE_TOWER)
    names |= _tower_names(state, "text_encoder.", "text_encoder.", TEXT_TOWER)
    pooled = family == "rapt"
    # both networks have the same depth, so one that lacks its last block is not taken for a smaller one
    depth = max(_count_blocks(state, f"{net}.temporal_transformer.layers.") for net in TEMPORAL_NETS)
    names |= _temporal_names("temporal_net.", "face_temporal.", depth, pooled)
    if family != "dfer-clip":
        names |= _temporal_names("temporal_net_body.", "context_temporal.", depth, pooled)
        names |= {"project_fc.weight": "fuse.weight", "project_fc.bias": "fuse.bias"}
    if family not in ("dfer-clip", "clip-caer"):
        second = "3" if pooled else "2"  # RAPT has a dropout in between
        names |= {
            "face_adapter.fc.0.weight": "adapter.layers.0.weight",
            f"face_adapter.fc.{second}.weight": "adapter.layers.2.weight",
            "hand_crafted_prompt_embeddings": "hand_crafted",
        }
    return names


def emoclip_names(state: State) -> dict[str, str]:
    visual = "backbone.visual." if any(key.startswith("backbone.visual.") for key in state) else "backbone."
    names = _tower_names(state, visual, "image_encoder.", IMAGE_TOWER)
    depth = _count_blocks(state, "temporal.temporal_transformer.layers.")
    names |= _temporal_names("temporal.", "temporal.", depth, pooled=False)
    if family_of(state) == "emoclip":
        names |= _tower_names(state, "backbone.", "text_encoder.", TEXT_TOWER)
        names |= {"backbone.token_embedding.weight": "token_embedding", "logit_scale": "logit_scale"}
    if any(key.startswith("mlp.") for key in state):
        names |= _two_layers("mlp.", "readout.")
    return names


def _tower_names(state: State, source: str, target: str, outside_blocks: tuple[str, ...]) -> dict[str, str]:
    """Return the names of a CLIP tower with as many blocks as the file has; ``source`` → ``target`` are prefixes."""
    blocks = range(_count_blocks(state, f"{source}transformer.resblocks."))
    inner = [f"transformer.resblocks.{block}.{name}" for block in blocks for name in TOWER_BLOCK]
    return {source + name: target + name for name in (*outside_blocks, *inner)}


def _temporal_names(source: str, target: str, depth: int, pooled: bool) -> dict[str, str]:
    names = {f"{source}pos_embedding": f"{target}positions"}
    if pooled:
        names |= _two_layers(f"{source}attention_pool.", f"{target}pool.")
    else:
        names[f"{source}cls_token"] = f"{target}class_token"
    for block in range(depth):
        for published_name, name in TEMPORAL_BLOCK.items():
            names[f"{source}temporal_transformer.layers.{block}.{published_name}"] = f"{target}blocks.{block}.{name}"
    return names


def _two_layers(source: str, target: str) -> dict[str, str]:
    """Return the names of an ``nn.Sequential`` of linear, activation, linear."""
    return {f"{source}{part}": f"{target}{part}" for part in ("0.weight", "0.bias", "2.weight", "2.bias")}


def _count_blocks(state: Iterable[str], prefix: str) -> int:
    """Return the number of blocks, at least 1, so that the first block is reported if all are missing."""
    numbers = [key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)]
    return max([int(number) + 1 for number in numbers if number.isdigit() and len(number) < 4], default=1)


# --- prompt texts


def recover_texts(rows: Tensor, embedding: Tensor, first: int) -> tuple[list[str], Tensor]:
    """Return the texts of stored embeddings ``rows`` (R, L, W), and the row (R,) of each text's end.

    The class text begins at row ``first``.
    """
    ids = find_rows(rows.flatten(0, 1), embedding).view(rows.shape[:2])
    is_end = ids == END_OF_TEXT
    without_end = (~is_end.any(dim=1)).nonzero().flatten().tolist()
    if without_end:
        raise UserError(f"prompt {without_end[0] + 1} has no end-of-text row of the token embedding")
    end = is_end.int().argmax(dim=1)
    texts = [_spell(row[first:stop].tolist()) for row, stop in zip(ids, end.tolist(), strict=True)]
    return texts, end


def find_rows(rows: Tensor, embedding: Tensor) -> Tensor:
    """Return (N,): for each row of (N, W), the first row of ``embedding`` with the same bits, or UNKNOWN."""
    bits, table = (np.ascontiguousarray(tensor.float().numpy()).view(np.uint32) for tensor in (rows, embedding))
    ids: dict[bytes, int] = {}
    for token in np.isin(table[:, :1], bits[:, :1]).any(axis=1).nonzero()[0]:  # few begin with the same number
        ids.setdefault(table[token].tobytes(), int(token))
    return torch.tensor([ids.get(row.tobytes(), UNKNOWN) for row in bits])


def _spell(ids: list[int]) -> str:
    """Return the words of token ids; a run of unknown tokens is shown as ``?``."""
    runs = [(is_unknown, list(run)) for is_unknown, run in groupby(ids, lambda number: number == UNKNOWN)]
    return " ".join("?" if is_unknown else detokenize(run) for is_unknown, run in runs).strip()
