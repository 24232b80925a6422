"""Measures single optimisations of the training step: the same work with and without each of them, in turns."""

import functools
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.subject import Subject, make_subject
from benchmarks.timing import compare
from models import clip_towers
from models.clip_towers import ClipShape, Transformer

IMAGES = 16  # eight frames of both streams


def measure(shape: ClipShape, rounds: int, with_compile: bool) -> dict[str, Any]:
    """Return the gain of each optimisation by its name."""
    subject = make_subject(shape, "clip_caer", ["--lr-image-encoder", "0"])
    task = subject.task
    images = torch.rand(IMAGES, 3, shape.image_size, shape.image_size)
    encode = functools.partial(encode_without_graph, task.model.image_encoder)
    halves = images.split(IMAGES // 2)
    results = {
        "both streams in one encoder call": compare(
            lambda: [encode(half) for half in halves], lambda: encode(images), rounds
        ),
        "fused attention, images": compare(within(table_attention, encode, images), lambda: encode(images), rounds),
        "last block computes one token, images": compare(
            within(whole_last_block, encode, images), lambda: encode(images), rounds
        ),
        "channels-last pictures": compare(
            lambda: encode(images), lambda: encode(images.to(memory_format=torch.channels_last)), rounds
        ),
        "--amp bf16, images": compare(lambda: encode(images), lambda: encode(images, torch.bfloat16), rounds),
    }
    results |= texts(subject, rounds) | fused_update(shape, rounds)
    if with_compile:
        compiled = make_subject(shape, "clip_caer", ["--lr-image-encoder", "0"]).task.model.image_encoder
        compiled.compile()
        encode_compiled = functools.partial(encode_without_graph, compiled)
        results["--compile, images"] = compare(lambda: encode(images), lambda: encode_compiled(images), rounds)
    return results


def encode_without_graph(encoder: nn.Module, images: Tensor, amp: torch.dtype | None = None) -> Tensor:
    with torch.no_grad(), torch.autocast(images.device.type, dtype=amp, enabled=amp is not None):
        return encoder(images)


def texts(subject: Subject, rounds: int) -> dict[str, Any]:
    """Return the gains in the forward and backward pass of the learnable prompts."""
    model = subject.task.model

    def forward_texts(amp: torch.dtype | None = None) -> None:
        with torch.autocast("cpu", dtype=amp, enabled=amp is not None):
            soft = model.encode_texts().soft
        soft.sum().backward()

    def forward_in_bf16(with_converted_weights: bool) -> None:
        if with_converted_weights:
            model.laid_out.update(converted_weights)
        else:
            model.laid_out.clear()
        forward_texts(torch.bfloat16)

    def all_tokens() -> None:
        tower = model.text_encoder
        x = tower.transformer(model.prompts() + tower.positional_embedding, model.prompts.end)
        (tower.ln_final(x) @ tower.text_projection).sum().backward()

    model.lay_out_texts(torch.bfloat16)
    converted_weights = dict(model.laid_out)
    plain_model = subject.plain()
    return {
        "padding tokens left out, texts": compare(all_tokens, forward_texts, rounds),
        "last block computes one token, texts": compare(within(whole_last_block, forward_texts), forward_texts, rounds),
        "fused attention, texts": compare(within(table_attention, forward_texts), forward_texts, rounds),
        "--amp bf16, texts": compare(forward_texts, lambda: forward_in_bf16(True), rounds),
        "frozen texts' weights converted once, bf16": compare(
            lambda: forward_in_bf16(False), lambda: forward_in_bf16(True), rounds
        ),
        "attention backward in float32, bf16": compare(
            within(fused_attention_in_bf16, lambda: forward_in_bf16(True)), lambda: forward_in_bf16(True), rounds
        ),
        "all text changes, against the published pass": compare(
            lambda: plain.unit(plain_model.text(plain_model.prompts(), plain_model.w["prompts.end"])).sum().backward(),
            forward_texts,
            rounds,
        ),
    }


def packed_texts(shape: ClipShape, rounds: int) -> dict[str, Any]:
    """Return the gains of packed texts of different lengths, which have their first tokens in common."""
    results = {}
    for name, recipe, flags in (
        ("contexts of each class", "clip_caer", []),
        ("contexts of all classes", "clip_caer", ["--no-class-specific-contexts"]),
        ("three texts a class", "rapt", []),
    ):
        model = make_subject(shape, recipe, ["--lr-image-encoder", "0", *flags]).task.model
        packing = model.prompts.packing

        def forward_texts(packing: clip_towers.Packing | None, model: nn.Module = model) -> None:
            model.prompts.packing = packing
            model.encode_texts().soft.sum().backward()

        forward_padded = functools.partial(forward_texts, None)
        results[f"texts packed, {name}"] = compare(forward_padded, functools.partial(forward_texts, packing), rounds)
    return results


def fused_update(shape: ClipShape, rounds: int) -> dict[str, Any]:
    """Return the gain of fused optimisers in one update of every tensor of the image tower."""
    results = {}
    for name, optimizer in (
        ("SGD", functools.partial(torch.optim.SGD, lr=1e-9, momentum=0.9)),
        ("AdamW", torch.optim.AdamW),
    ):
        tensors = list(clip_towers.ImageTower(shape).parameters())
        for tensor in tensors:
            tensor.grad = torch.zeros_like(tensor)
        results[f"fused {name}"] = compare(optimizer(tensors).step, optimizer(tensors, fused=True).step, rounds)
    return results


def within(replacement: Any, work: Any, *arguments: Any) -> Any:
    """Return a function that does the work inside the context that ``replacement`` opens."""

    def run() -> None:
        with replacement():
            work(*arguments)

    return run


def table_attention() -> Any:
    """Return a context in which attention computes its full table of weights, with an additive mask."""

    def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        if causal:
            scores = scores + torch.full(scores.shape[-2:], float("-inf")).triu(1)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(dim=-1) @ value

    return patch.object(clip_towers, "attend", attend)


def fused_attention_in_bf16() -> Any:
    """Return a context in which the backward pass of attention also runs in bf16."""

    def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
        return nn.functional.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)

    return patch.object(clip_towers, "attend", attend)


def whole_last_block() -> Any:
    """Return a context in which the last block computes all tokens, although only one is used."""

    def forward(self: Transformer, x: Tensor, token: Tensor | None = None, packing: Any = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, self.causal, packing)
        return clip_towers.pick(x, token, packing)

    return patch.object(Transformer, "forward", forward)


def activation_memory(tower: nn.Module, shape: ClipShape) -> dict[str, float]:
    """Return the megabytes that a forward pass stores for the gradient, with and without checkpointing."""
    results = {}
    images = torch.rand(IMAGES, 3, shape.image_size, shape.image_size)
    for name, checkpointing in (("without", False), ("with --grad-checkpointing", True)):
        tower.transformer.checkpointing = checkpointing
        results[name] = round(activation_bytes(tower, images) / 1e6)
    tower.transformer.checkpointing = False
    return results


def activation_bytes(tower: nn.Module, images: Tensor) -> int:
    """Return the bytes stored for the gradient. Each storage counts once; parameters do not count."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in tower.parameters()}
    sizes: dict[int, int] = {}

    def add(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(add, lambda tensor: tensor):
        features = tower(images)  # keeps the graph alive until the sizes are summed
    return sum(sizes.values()) + 0 * features.numel()
