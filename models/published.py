"""The border post: state dicts of published checkpoints → tensors under our names. Their names appear here alone.

CLIP-CAER, its fork with adapter and instance-enhanced classifier, RAPT with attention pooling, DFER-CLIP, EmoCLIP.
Nothing is guessed: every key of a file is taken, dropped for a reason, or reported.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

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
TEMPORAL_BLOCK = {  # theirs → ours
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
    r"clip_model_\.logit_scale": "not used by this family",
    r"(image_encoder|face_adapter|temporal_net|temporal_net_body|project_fc)_m\..*|queue|queue_ptr": "only training",
}
TEMPORAL_NETS = ("temporal_net", "temporal_net_body")
TWO_HEADS = r"cls_(bin|4)\.(weight|bias)"


@dataclass
class Published:
    """A published file, sorted: ``model`` under our names, and what became of every key."""

    family: str
    model: State
    token_embedding: Tensor | None = None
    hand_crafted: Tensor | None = None  # (C, 77, W): embedded texts of the second view
    taken: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)  # key → reason
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)  # aliases that are not equal
    unsupported: list[str] = field(default_factory=list)
    ours: dict[str, str] = field(default_factory=dict)  # every key that the family needs → our name
    prompts: list[str] = field(default_factory=list)  # texts, filled in once they are recovered
    descriptive: list[str] = field(default_factory=list)


def sort_published(state: State) -> Published | None:
    """The tensors of a published layout under our names; None where the layout is not known."""
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    family = family_of(state)
    if family is None:
        return None
    names = emoclip_names(state) if family.startswith("emoclip") else clip_caer_names(state)
    found = Published(family, {}, ours=names)
    copies = {alias_of(key): key for key in state}
    for theirs, ours in names.items():
        source = theirs if theirs in state else copies.get(theirs)
        if source is None:
            found.missing.append(theirs)
            continue
        found.taken.append(source)
        found.model[ours] = state[source]
    found.token_embedding = found.model.pop("token_embedding", None)
    found.hand_crafted = found.model.pop("hand_crafted", None)
    _sort_rest(state, found)
    return found


def family_of(state: Iterable[str]) -> str | None:
    """By the keys that only one family has."""
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
    """Every key that this file's family needs → our name."""
    family = family_of(state)
    names = {
        "prompt_learner.ctx": "prompts.context",
        "prompt_learner.token_prefix": "prompts.start",
        "prompt_learner.token_suffix": "prompts.text",
        "clip_model_.token_embedding.weight": "token_embedding",
    }
    names |= tower_names(state, "image_encoder.", "image_encoder.", IMAGE_TOWER)
    names |= tower_names(state, "text_encoder.", "text_encoder.", TEXT_TOWER)
    pooled = family == "rapt"
    depth = max(count_blocks(state, f"{net}.temporal_transformer.layers.") for net in TEMPORAL_NETS)
    names |= temporal_names("temporal_net.", "face_temporal.", depth, pooled)
    if family != "dfer-clip":
        names |= temporal_names("temporal_net_body.", "context_temporal.", depth, pooled)
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
    names = tower_names(state, visual, "image_encoder.", IMAGE_TOWER)
    depth = count_blocks(state, "temporal.temporal_transformer.layers.")
    names |= temporal_names("temporal.", "temporal.", depth, pooled=False)
    if family_of(state) == "emoclip":
        names |= tower_names(state, "backbone.", "text_encoder.", TEXT_TOWER)
        names |= {"backbone.token_embedding.weight": "token_embedding", "logit_scale": "logit_scale"}
    if any(key.startswith("mlp.") for key in state):
        names |= {f"mlp.{layer}.{kind}": f"readout.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
    return names


def tower_names(state: State, theirs: str, ours: str, outside: tuple[str, ...]) -> dict[str, str]:
    """One of CLIP's towers: what stands outside its blocks, then as many blocks as the file has."""
    names = {theirs + name: ours + name for name in outside}
    for block in range(count_blocks(state, f"{theirs}transformer.resblocks.")):
        for name in TOWER_BLOCK:
            inner = f"transformer.resblocks.{block}.{name}"
            names[theirs + inner] = ours + inner
    return names


def temporal_names(theirs: str, ours: str, depth: int, pooled: bool) -> dict[str, str]:
    names = {f"{theirs}pos_embedding": f"{ours}positions"}
    if pooled:
        names |= {
            f"{theirs}attention_pool.{layer}.{kind}": f"{ours}pool.{layer}.{kind}"
            for layer in (0, 2)
            for kind in ("weight", "bias")
        }
    else:
        names[f"{theirs}cls_token"] = f"{ours}class_token"
    for block in range(depth):
        for name, own in TEMPORAL_BLOCK.items():
            names[f"{theirs}temporal_transformer.layers.{block}.{name}"] = f"{ours}blocks.{block}.{own}"
    return names


def count_blocks(state: Iterable[str], prefix: str) -> int:
    """At least one, so that a file that lost all its blocks is said to miss the first."""
    numbers = [key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)]
    return max([int(number) + 1 for number in numbers if number.isdigit() and len(number) < 4], default=1)


def _sort_rest(state: State, found: Published) -> None:
    """Keys that no name of ours stands for: copies, left-overs of training, layers that do not exist here."""
    taken = set(found.taken)
    for key in state:
        if key in taken:
            continue
        original = alias_of(key)
        reason = next((why for pattern, why in DROPPED.items() if re.fullmatch(pattern, key)), None)
        if key == "backbone.logit_scale":  # EmoCLIP trains a scale of its own
            reason = "not used by this family"
        if original in taken:
            if not torch.equal(state[key], state[original]):
                found.differing.append(key)
            found.dropped[key] = "copy"
        elif reason is not None:
            found.dropped[key] = reason
        elif re.fullmatch(TWO_HEADS, key):
            found.unsupported.append(key)
        else:
            found.unexpected.append(key)


def alias_of(key: str) -> str:
    """The key that holds the same tensor: the whole CLIP is stored again beside its towers."""
    if key.startswith("clip_model_.visual."):
        return key.replace("clip_model_.visual.", "image_encoder.", 1)
    return key.replace("clip_model_.", "text_encoder.", 1) if key.startswith("clip_model_.") else ""
