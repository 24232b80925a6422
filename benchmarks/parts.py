"""Each part of the step alone: the same work with the part and without it, taking turns."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.subject import Subject, make_subject
from benchmarks.timing import compare
from models import clip_towers
from models.clip_towers import ClipShape, Transformer

PICTURES = 16  # eight frames of both streams


def measure(shape: ClipShape, rounds: int, with_compile: bool) -> dict[str, Any]:
    subject = make_subject(shape, "clip_caer", ["--lr-image-encoder", "0"])
    task = subject.task
    pictures = torch.rand(PICTURES, 3, shape.image_size, shape.image_size)
    encode = functools.partial(no_graph, task.model.image_encoder)
    halves = pictures.split(PICTURES // 2)
    results = {
        "both streams in one encoder call": compare(
            lambda: [encode(half) for half in halves], lambda: encode(pictures), rounds
        ),
        "fused attention, images": compare(within(table_attention, encode, pictures), lambda: encode(pictures), rounds),
        "last block reads one token, images": compare(
            within(whole_last_block, encode, pictures), lambda: encode(pictures), rounds
        ),
        "channels-last pictures": compare(
            lambda: encode(pictures), lambda: encode(pictures.to(memory_format=torch.channels_last)), rounds
        ),
        "--amp bf16, images": compare(lambda: encode(pictures), lambda: encode(pictures, torch.bfloat16), rounds),
    }
    results |= texts(subject, rounds) | fused_update(shape, rounds)
    if with_compile:
        translated = make_subject(shape, "clip_caer", ["--lr-image-encoder", "0"]).task.model.image_encoder
        translated.compile()
        results["--compile, images"] = compare(lambda: encode(pictures), lambda: no_graph(translated, pictures), rounds)
    return results


def no_graph(encoder: nn.Module, pictures: Tensor, amp: torch.dtype | None = None) -> Tensor:
    with torch.no_grad(), torch.autocast(pictures.device.type, dtype=amp, enabled=amp is not None):
        return encoder(pictures)


def texts(subject: Subject, rounds: int) -> dict[str, Any]:
    """The pass of the learnable prompts, forward and back."""
    model = subject.task.model

    def forward_texts(amp: torch.dtype | None = None) -> None:
        with torch.autocast("cpu", dtype=amp, enabled=amp is not None):
            soft = model.encode_texts().soft
        soft.sum().backward()

    def laid_out(here: bool) -> None:
        model.laid_out.clear() if not here else model.laid_out.update(kept)
        forward_texts(torch.bfloat16)

    def all_tokens() -> None:
        tower = model.text_encoder
        x = tower.transformer(model.prompts() + tower.positional_embedding, model.prompts.end)
        (tower.ln_final(x) @ tower.text_projection).sum().backward()

    model.lay_out_texts(torch.bfloat16)
    kept = dict(model.laid_out)
    plain_model = subject.plain()
    return {
        "tokens that matter only, texts": compare(all_tokens, forward_texts, rounds),
        "last block reads one token, texts": compare(within(whole_last_block, forward_texts), forward_texts, rounds),
        "fused attention, texts": compare(within(table_attention, forward_texts), forward_texts, rounds),
        "--amp bf16, texts": compare(forward_texts, lambda: laid_out(True), rounds),
        "frozen texts' weights converted once, bf16": compare(lambda: laid_out(False), lambda: laid_out(True), rounds),
        "attention goes back in float32, bf16": compare(
            within(fused_attention_in_bf16, lambda: laid_out(True)), lambda: laid_out(True), rounds
        ),
        "all of it, texts, against the published pass": compare(
            lambda: plain.unit(plain_model.text(plain_model.prompts(), plain_model.w["prompts.end"])).sum().backward(),
            forward_texts,
            rounds,
        ),
    }


def fused_update(shape: ClipShape, rounds: int) -> dict[str, Any]:
    """One update of every tensor that full fine-tuning trains."""
    results = {}
    for name, rule in (
        ("SGD", functools.partial(torch.optim.SGD, lr=1e-9, momentum=0.9)),
        ("AdamW", torch.optim.AdamW),
    ):
        tensors = list(clip_towers.ImageTower(shape).parameters())
        for tensor in tensors:
            tensor.grad = torch.zeros_like(tensor)
        results[f"fused {name}"] = compare(rule(tensors).step, rule(tensors, fused=True).step, rounds)
    return results


def within(replacement: Any, work: Any, *arguments: Any) -> Any:
    def run() -> None:
        with replacement():
            work(*arguments)

    return run


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def table_attention() -> Any:
    """Attention that forms its table of weights, with an additive mask."""

    def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        if causal:
            scores = scores + torch.full(scores.shape[-2:], float("-inf")).triu(1)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(dim=-1) @ value

    return replaced(clip_towers, "attend", attend)


def fused_attention_in_bf16() -> Any:
    def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
        return nn.functional.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)

    return replaced(clip_towers, "attend", attend)


def whole_last_block() -> Any:
    """The last block computes every token; then one is taken."""

    def forward(self: Transformer, x: Tensor, token: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, self.causal)
        return clip_towers.pick(x, token)

    return replaced(Transformer, "forward", forward)


def kept_for_gradient(tower: nn.Module, shape: ClipShape) -> dict[str, float]:
    """Megabytes that a forward pass of one clip keeps until its gradient, with and without checkpointing."""
    results = {}
    pictures = torch.rand(PICTURES, 3, shape.image_size, shape.image_size)
    for name, checkpointing in (("without", False), ("with --grad-checkpointing", True)):
        tower.transformer.checkpointing = checkpointing
        results[name] = round(kept_bytes(tower, pictures) / 1e6)
    tower.transformer.checkpointing = False
    return results


def kept_bytes(tower: nn.Module, pictures: Tensor) -> int:
    """Each storage counted once; parameters are there anyway."""
    own = {parameter.untyped_storage().data_ptr() for parameter in tower.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kept = tower(pictures)
    return sum(sizes.values()) + 0 * kept.numel()
