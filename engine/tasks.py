"""A task is what the loop knows of a method: forward, named losses, predictions, score."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.metrics import score
from models.clip_caer import ClipCaer, Output, Texts
from models.losses import (
    classification_loss,
    decorrelation_loss,
    inverse_weights,
    log_priors,
    mutual_information_loss,
    scheduled_weight,
)
from models.zero_shot import ZeroShotClip
from utils.distributed import ALONE, Group


class ClipCaerTask:
    """Two streams, one label a clip."""

    def __init__(self, model: ClipCaer | ZeroShotClip, names: tuple[str, ...], loss: Any = None) -> None:
        """``loss``: the options of the losses, for training alone."""
        self.model, self.names, self.loss = model, names, loss
        self.group: Group = ALONE  # the processes that a step's clips are shared among
        self.fixed_texts: Texts | None = None

    def set_training_counts(self, counts: np.ndarray, device: torch.device) -> None:
        """Clips of each class in train: what the corrections for class sizes start from."""
        counts = torch.as_tensor(counts)
        self.log_priors = log_priors(counts).to(device)
        self.class_weights = inverse_weights(counts).to(device) if self.loss.class_balanced_loss else None

    def forward(self, batch: dict[str, Any]) -> Output:
        texts = self.fixed_texts or self.model.encode_texts(self.needs_soft_texts)
        if self.model.training and not self.model.prompts.context.requires_grad:
            self.fixed_texts = texts  # nothing that they come from learns
        if "face_features" in batch or "context_features" in batch:
            face, context = batch.get("face_features"), batch.get("context_features")
        elif self.group.world == 1 or not self.model.training:
            return self.model(batch.get("face"), batch.get("context"), texts)
        else:
            face, context = self.model.encode_frames(batch.get("face"), batch.get("context"))
        return self.model.head(*share(self.group, batch, face, context), texts)

    @property
    def needs_soft_texts(self) -> bool:
        return self.model.classifies_with_soft_texts or self.trains_soft_texts

    @property
    def trains_soft_texts(self) -> bool:
        """Whether MI or DC has something to train."""
        if not self.model.training or not self.model.prompts.context.requires_grad:
            return False
        return self.loss.mi_loss_weight + self.loss.dc_loss_weight > 0

    def losses(self, out: Output, batch: dict[str, Any], epoch: int) -> dict[str, Tensor]:
        """The weighted terms of this step; ``epoch`` counts from 0."""
        loss, logits = self.loss, out.logits
        if loss.logit_adj:
            logits = logits + loss.logit_adj_tau * self.log_priors
        terms = {
            "classification": classification_loss(
                logits,
                batch["label"],
                class_weights=self.class_weights,
                label_smoothing=loss.label_smoothing,
                focal_gamma=loss.focal_gamma,
            )
        }
        if self.trains_soft_texts:
            soft, descriptive = out.texts.soft.mean(dim=1), out.texts.descriptive.mean(dim=1)  # (C, D) each
            mi = scheduled_weight(loss.mi_loss_weight, epoch, loss.mi_warmup, loss.mi_ramp)
            dc = scheduled_weight(loss.dc_loss_weight, epoch, loss.dc_warmup, loss.dc_ramp)
            terms["mi"] = mi * mutual_information_loss(soft, descriptive)
            terms["dc"] = dc * decorrelation_loss(soft)
        return terms

    def predictions(self, out: Output) -> Tensor:
        """Raw logits (B, C): never adjusted, so that training and evaluation are comparable."""
        return out.logits.detach().float()

    def score(self, logits: np.ndarray, label: np.ndarray) -> dict[str, Any]:
        return score(label, logits.argmax(axis=-1), self.names)

    def fix_texts(self) -> None:
        """Encode the texts once for a whole evaluation."""
        self.fixed_texts = self.model.encode_texts(self.model.classifies_with_soft_texts)

    def release_texts(self) -> None:
        self.fixed_texts = None


def share(group: Group, batch: dict[str, Any], *streams: Tensor | None) -> tuple[Tensor | None, ...]:
    """The features of a whole step from those of each process; in evaluation each keeps its own."""
    if group.world == 1 or "step_clips" not in batch:
        return streams
    total = batch["step_clips"]
    own = group.own_count(total)  # a process without any encodes one clip for company, which is left out here
    return tuple(None if stream is None else group.together(stream[:own], total) for stream in streams)
