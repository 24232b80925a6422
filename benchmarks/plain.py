"""The published model and training step, written as simply as possible: the baseline of all measured speeds.

This file is independent of models/. Each stream passes through the image tower separately; the text tower computes all
77 tokens with an additive mask; attention computes its full table of weights; the fixed texts are encoded again in
every forward pass; pixels are floats.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]  # by their names in the "model" of a checkpoint
TRAINABLE = ("image_encoder.", "prompts.context", "adapter.", "face_temporal.", "context_temporal.", "fuse.")


class Plain:
    """A two-stream model with one temporal block and class-specific learnable prompts in front of the text."""

    def __init__(
        self,
        weights: Weights,
        *,
        temperature: float,
        slerp_weight: float = 0.0,
        handwritten: tuple[Tensor, Tensor] | None = None,
        frozen_encoder: bool = False,
        dropout: float = 0.1,
    ) -> None:
        """Copy the weights. ``handwritten`` holds token embeddings (C, 77, W) and ends (C,) of the second texts."""
        trainable = tuple(name for name in TRAINABLE if not (frozen_encoder and name == "image_encoder."))
        self.w = {
            name: tensor.detach().clone().requires_grad_(name.startswith(trainable)) for name, tensor in weights.items()
        }
        self.temperature, self.slerp_weight, self.handwritten = temperature, slerp_weight, handwritten
        self.dropout = dropout
        self.mask = torch.full((77, 77), -math.inf, device=weights["fuse.weight"].device).triu(1)

    def parameters(self) -> list[Tensor]:
        return [tensor for tensor in self.w.values() if tensor.requires_grad]

    def forward(self, face: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return logits (B, C), learnable texts (C, D) and handwritten texts (C, D) of pixels (B, T, 3, H, W)."""
        return self.head(self.frames(face), self.frames(context))

    def head(self, face: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the same as ``forward``, from frame features (B, T, D)."""
        if "adapter.layers.0.weight" in self.w:
            squeezed = F.relu(face @ self.w["adapter.layers.0.weight"].T)
            face = F.relu(squeezed @ self.w["adapter.layers.2.weight"].T)
        streams = [self.temporal("face_temporal.", face), self.temporal("context_temporal.", context)]
        video = unit(self.linear("fuse", torch.cat(streams, dim=-1)))
        soft = unit(self.text(self.prompts(), self.w["prompts.end"]))
        fixed = None if self.handwritten is None else unit(self.text(*self.handwritten))
        if self.slerp_weight == 0:
            return video @ soft.T / self.temperature, soft, fixed
        mixed = slerp(fixed[None].expand(len(video), -1, -1), video[:, None].expand(-1, len(fixed), -1), self)
        return (video[:, None] * mixed).sum(-1) / self.temperature, soft, fixed

    def frames(self, stream: Tensor) -> Tensor:
        B, T = stream.shape[:2]
        return self.image(stream.flatten(0, 1)).view(B, T, -1)

    def image(self, x: Tensor) -> Tensor:
        w, at = self.w, "image_encoder."
        kernel = w[f"{at}conv1.weight"]
        x = F.conv2d(x, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
        x = torch.cat([w[f"{at}class_embedding"].expand(len(x), 1, -1), x], dim=1) + w[f"{at}positional_embedding"]
        x = self.blocks(at, self.norm(f"{at}ln_pre", x), None)
        return self.norm(f"{at}ln_post", x[:, 0]) @ w[f"{at}proj"]

    def prompts(self) -> Tensor:
        return torch.cat([self.w["prompts.start"], self.w["prompts.context"], self.w["prompts.text"]], dim=1)

    def text(self, embedded: Tensor, end: Tensor) -> Tensor:
        w, at = self.w, "text_encoder."
        x = self.blocks(at, embedded + w[f"{at}positional_embedding"], self.mask)
        x = self.norm(f"{at}ln_final", x)
        return x[torch.arange(len(x), device=x.device), end] @ w[f"{at}text_projection"]

    def blocks(self, tower: str, x: Tensor, mask: Tensor | None) -> Tensor:
        w, layer = self.w, 0
        while f"{tower}transformer.resblocks.{layer}.ln_1.weight" in w:
            at = f"{tower}transformer.resblocks.{layer}."
            qkv = F.linear(self.norm(f"{at}ln_1", x), w[f"{at}attn.in_proj_weight"], w[f"{at}attn.in_proj_bias"])
            x = x + self.linear(f"{at}attn.out_proj", attend(qkv, x.shape[-1] // 64, mask))
            hidden = self.linear(f"{at}mlp.c_fc", self.norm(f"{at}ln_2", x))
            x = x + self.linear(f"{at}mlp.c_proj", hidden * torch.sigmoid(1.702 * hidden))
            layer += 1
        return x

    def temporal(self, at: str, x: Tensor) -> Tensor:
        x = torch.cat([self.w[f"{at}class_token"].expand(len(x), -1, -1), x], dim=1)
        x = x + self.w[f"{at}positions"][:, : x.shape[1]]
        at = f"{at}blocks.0."
        qkv = self.norm(f"{at}attention_norm", x) @ self.w[f"{at}attention.to_qkv.weight"].T
        heads = max(x.shape[-1] // 64, 1)
        x = x + self.drop(self.linear(f"{at}attention.to_out", attend(qkv, heads, None)))
        hidden = self.drop(
            F.gelu(self.linear(f"{at}feed_forward.0", self.norm(f"{at}feed_norm", x)), approximate="tanh")
        )
        return (x + self.drop(self.linear(f"{at}feed_forward.3", hidden)))[:, 0]

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.dropout else x

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"])


def attend(qkv: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """Return attention (N, L, W) of ``qkv`` (N, L, 3W) through a table of weights (N, heads, L, L)."""
    N, L, _ = qkv.shape
    query, key, value = (part.view(N, L, heads, -1).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    scores = scores if mask is None else scores + mask
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(N, L, -1)


def slerp(text: Tensor, video: Tensor, model: Plain) -> Tensor:
    """Return the texts (B, C, D), moved towards the videos (B, C, D) along the great circle."""
    cosine = (text * video).sum(-1, keepdim=True).clamp(-1, 1)
    angle = model.slerp_weight * torch.acos(cosine)
    return torch.cos(angle) * text + torch.sin(angle) * unit(video - cosine * text)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def text_losses(soft: Tensor, fixed: Tensor, mi: float, dc: float) -> Tensor:
    """Return the weighted sum of two losses on the texts.

    They are the mutual information between both sets of texts at temperature 0.07, and the mean squared cosine between
    the learnable texts of different classes.
    """
    classes, C = torch.arange(len(soft), device=soft.device), len(soft)
    similarity = soft @ fixed.T / 0.07
    mutual_information = (F.cross_entropy(similarity, classes) + F.cross_entropy(similarity.T, classes)) / 2
    decorrelation = (soft @ soft.T - torch.eye(C, device=soft.device)).square().sum() / (C * (C - 1))
    return mi * mutual_information + dc * decorrelation


def step(
    model: Plain,
    optimizer: torch.optim.Optimizer,
    face: Tensor,
    context: Tensor,
    label: Tensor,
    *,
    amp: torch.dtype | None = None,
    scaler: torch.amp.GradScaler | None = None,
    **loss: float,
) -> Tensor:
    """Do one published step (forward, loss, backward, update) and return the logits for the running score.

    ``amp`` is the type of autocast, as with ``--use-amp`` of the published code; ``scaler`` scales the gradients.
    """
    forward = model.head if face.dim() == 3 else model.forward  # features, where the image tower is timed separately
    with torch.autocast(face.device.type, dtype=amp, enabled=amp is not None):
        logits, soft, fixed = forward(face, context)
    total = F.cross_entropy(logits.float(), label)
    if fixed is not None:
        total = total + text_losses(soft.float(), fixed.float(), loss["mi"], loss["dc"])
    optimizer.zero_grad()
    if scaler is None:
        total.backward()
        optimizer.step()
    else:
        scaler.scale(total).backward()
        scaler.step(optimizer)
        scaler.update()
    return logits.detach()
