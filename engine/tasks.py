"""A task is what the loop knows of a method: forward, named losses, predictions, score."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.metrics import score
from dataloader.annotation import Clip
from dataloader.classes import Classes
from models.clip_backbone import tokenize_cut
from models.clip_caer import Output, Texts
from models.losses import (
    classification_loss,
    contrastive_loss,
    decorrelation_loss,
    inverse_weights,
    log_priors,
    mutual_information_loss,
    scheduled_weight,
)
from utils.distributed import SINGLE_PROCESS, Group
from utils.errors import UserError
from utils.words import plural

CHUNK = 256  # captions in one pass of the text tower


class ClipTask:
    """One label a clip, found by comparing a video with texts: what all families share."""

    chosen_by = "uar"  # the score that the best epoch has the highest of

    def __init__(self, model: nn.Module, names: tuple[str, ...], loss: Any = None) -> None:
        """``loss``: the options of the losses, for training alone."""
        self.model, self.names, self.loss = model, names, loss
        self.group: Group = SINGLE_PROCESS  # the processes that a step's clips are shared among
        self.fixed_texts: Texts | None = None
        self.clips_that_fit: int | None = None  # in one pass of an evaluation, once the memory of a GPU ran out

    def prepare(self, clips: list[Clip], classes: Classes, device: torch.device) -> list[str]:
        """What the losses take from the training clips, once; what the user should know of them."""
        raise NotImplementedError

    @property
    def texts_learn(self) -> bool:
        """Whether the texts change from one step to the next."""
        return False

    @property
    def needs_soft_texts(self) -> bool:
        return self.model.classifies_with_soft_texts

    def forward(self, batch: dict[str, Any]) -> Output:
        """The image tower goes first: its large kernels keep a GPU busy while the small ones of texts are launched."""
        face, context = self.encode_frames(batch)
        texts = self.fixed_texts or self.step_texts()
        if self.model.training and not self.texts_learn:
            self.fixed_texts = texts
        return self.model.head(*gather_features(self.group, batch, face, context), texts)

    def encode_frames(self, batch: dict[str, Any]) -> tuple[Tensor | None, Tensor | None]:
        """Features (B, T, D) of the streams in use: stored ones, or what the image tower makes of pixels."""
        if "face_features" in batch or "context_features" in batch:
            return batch.get("face_features"), batch.get("context_features")
        return self.model.encode_frames(batch.get("face"), batch.get("context"))

    def step_texts(self) -> Texts | None:
        """Those that learn, in the precision of the step; constant ones in full, as in evaluation."""
        if self.texts_learn:
            return self.model.encode_texts(self.needs_soft_texts)
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, enabled=False):
            return self.model.encode_texts(self.needs_soft_texts)

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


class ClassifierTask(ClipTask):
    """Cross-entropy over the classes, with its corrections for class sizes."""

    def prepare(self, clips: list[Clip], classes: Classes, device: torch.device) -> list[str]:
        labels = torch.tensor([clip.label for clip in clips])
        self.set_training_counts(torch.bincount(labels, minlength=len(classes)), device)
        return []

    def set_training_counts(self, counts: Any, device: torch.device) -> None:
        """Clips of each class: what the corrections for class sizes start from."""
        counts = torch.as_tensor(counts)
        self.log_priors = log_priors(counts).to(device)
        self.class_weights = inverse_weights(counts).to(device) if self.loss.class_balanced_loss else None

    def classification(self, logits: Tensor, label: Tensor) -> Tensor:
        loss = self.loss
        return classification_loss(
            logits,
            label,
            class_weights=self.class_weights,
            label_smoothing=loss.label_smoothing,
            focal_gamma=loss.focal_gamma,
        )


class ClipCaerTask(ClassifierTask):
    """Classes by learnable prompts; the two text losses; also for one stream."""

    @property
    def texts_learn(self) -> bool:
        return self.model.prompts.context.requires_grad

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
        terms = {"classification": self.classification(logits, batch["label"])}
        if self.trains_soft_texts:
            soft, descriptive = out.texts.soft.mean(dim=1), out.texts.descriptive.mean(dim=1)  # (C, D) each
            mi = scheduled_weight(loss.mi_loss_weight, epoch, loss.mi_warmup, loss.mi_ramp)
            dc = scheduled_weight(loss.dc_loss_weight, epoch, loss.dc_warmup, loss.dc_ramp)
            terms["mi"] = mi * mutual_information_loss(soft, descriptive)
            terms["dc"] = dc * decorrelation_loss(soft)
        return terms


class EmoClipTask(ClipTask):
    """Each video near its caption, or near its class. What a frozen text tower says is computed once."""

    def prepare(self, clips: list[Clip], classes: Classes, device: torch.device) -> list[str]:
        """The captions of the training clips, each different one once."""
        if self.is_supervised:
            return []
        silent = [clip.id for clip in clips if clip.caption is None]
        if silent:
            raise UserError(
                f"{len(silent)} of {len(clips)} training clips have no caption, {silent[0]} for one: take a list with "
                f"captions, name --captions FILE, or train with --caption-source class"
            )
        known = {text: row for row, text in enumerate(sorted({clip.caption for clip in clips}))}
        self.row_of: dict[str, int] = {}
        for clip in clips:
            if self.row_of.setdefault(clip.id, known[clip.caption]) != known[clip.caption]:
                raise UserError(f"{clip.id} stands in the training list with two different captions; keep one")
        tokens, cut = tokenize_cut(list(known))
        self.tokens, self.lengths = tokens.to(device), (tokens.argmax(dim=-1) + 1).tolist()
        with torch.no_grad():
            parts = [] if self.texts_learn else [self.model.encode_captions(part) for part in self.tokens.split(CHUNK)]
        self.features = torch.cat(parts) if parts else None
        return (
            [f"{cut} of {plural(len(known), 'caption')} longer than 77 tokens: CLIP reads the beginning"] if cut else []
        )

    @property
    def texts_learn(self) -> bool:
        return any(p.requires_grad for p in self.model.text_encoder.parameters())

    def step_texts(self) -> Texts:
        """Prototypes that nothing but the printed score reads need no gradient."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.loss is not None and self.is_supervised):
            return super().step_texts()

    @property
    def is_supervised(self) -> bool:
        return self.loss.caption_source == "class"

    def forward(self, batch: dict[str, Any]) -> Output:
        out = super().forward(batch)
        if self.model.training:
            self.rows, out.captions = self.captions(out, batch)
        return out

    def captions(self, out: Output, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Which text each video is to be near (B,), and its unit feature (B, D)."""
        if self.is_supervised:
            return batch["label"], out.texts.descriptive[batch["label"], 0]
        numbers = [self.row_of[id] for id in batch["id"]]
        rows = torch.tensor(numbers).to(out.video.device, non_blocking=True)
        if self.features is not None:
            return rows, self.features[rows]
        return rows, self.model.encode_captions(self.tokens[rows], max(self.lengths[number] for number in numbers))

    def losses(self, out: Output, batch: dict[str, Any], epoch: int) -> dict[str, Tensor]:
        if self.loss.merge_positives:
            same = self.rows[:, None] == self.rows
        else:
            same = torch.eye(len(self.rows), dtype=torch.bool, device=self.rows.device)
        return {"contrast": contrastive_loss(out.video, out.captions, self.model.logit_scale.exp(), same)}


class FrameTask(ClassifierTask):
    """Expressions of single frames, by a linear layer."""

    chosen_by = "macro_f1"

    @property
    def texts_learn(self) -> bool:
        return True  # there are none to keep

    def step_texts(self) -> None:
        return None

    def losses(self, out: Output, batch: dict[str, Any], epoch: int) -> dict[str, Tensor]:
        return {"expr": self.classification(out.logits, batch["label"])}

    def fix_texts(self) -> None:
        pass


TASKS: dict[str, type[ClipTask]] = {
    "clip-caer": ClipCaerTask,
    "dfer-clip": ClipCaerTask,
    "emoclip": EmoClipTask,
    "frame-expr": FrameTask,
}


def gather_features(group: Group, batch: dict[str, Any], *streams: Tensor | None) -> tuple[Tensor | None, ...]:
    """The features of a whole step from those of each process; in evaluation each keeps its own."""
    if group.world == 1 or "step_clips" not in batch:
        return streams
    total = batch["step_clips"]
    own = group.shard_size(total)  # a process without any encodes one clip for company, which is left out here
    return tuple(None if stream is None else group.gather(stream[:own], total) for stream in streams)
