"""The model that is measured, with random weights in the shape of a CLIP, and batches and a training step for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.plain import Plain
from dataloader.annotation import Clip as ListedClip
from dataloader.classes import load_classes
from dataloader.clips import FeatureDataset, Views
from dataloader.loader import Loader, build_loader
from dataloader.sampling import ClipOrder
from engine.config import read_command
from engine.epoch_scores import RunningScore
from engine.methods import method_named
from engine.methods.clip_caer import PromptTask
from engine.model import adapt_towers
from engine.options import Config, LossOptions
from engine.step import TrainingStep
from models.clip_backbone import RANDOM_SHAPE, tokenize
from models.clip_towers import Clip, ClipShape

SHAPES = {
    "tiny": RANDOM_SHAPE,
    "ViT-B/32": ClipShape(),
    "ViT-B/16": ClipShape(patch_size=16),
    "ViT-L/14": ClipShape(768, 224, 14, 1024, 24, 768, 12),
}
COUNTS = np.array([1383, 129, 150, 157, 422])  # training clips of each class in RAER
FRAMES = 16
LATE_EPOCH = 40  # counted from 0; by then every loss of a recipe has its full weight


def small_shape() -> ClipShape:
    return SHAPES["tiny"]


@dataclass
class Subject:
    """A model with its configuration. ``start`` holds the weights before any step, by their names in a checkpoint."""

    config: Config
    task: PromptTask
    start: dict[str, Tensor]
    handwritten: tuple[Tensor, Tensor] | None
    shape: ClipShape

    def plain(self, **changes: Any) -> Plain:
        """Return the published model with the same weights."""
        options = {
            "temperature": self.config.model.temperature,
            "slerp_weight": self.config.model.slerp_weight,
            "handwritten": self.handwritten,
            "frozen_encoder": not self.config.optim.learns("image"),
        }
        return Plain(self.start, **options | changes)

    def training(self, amp: torch.dtype | None = None, **optim: Any) -> Callable[[dict[str, Any]], None]:
        """Return the function that trains on one batch: the training step, and the running score read one step later.

        ``optim`` holds options of the optimisation that differ from those of the recipe.
        """
        config = replace(self.config, optim=replace(self.config.optim, **optim))
        step = TrainingStep(self.task, config, self.device, amp)
        running_score = RunningScore(self.task.names)
        self.task.model.train()

        def train_on(batch: dict[str, Any]) -> None:
            losses, logits = step(batch, LATE_EPOCH)
            running_score.add(losses, logits, batch, LATE_EPOCH, 0)
            running_score.read(all_but=1)

        return train_on

    @property
    def device(self) -> torch.device:
        return self.task.model.descriptive.device

    def changed_loss(self, **changes: Any) -> LossOptions:
        return replace(self.config.loss, **changes)

    def pixels(self, clips: int, device: str = "cpu") -> dict[str, Any]:
        """Return a batch of random pixels as the loader yields it, in uint8."""
        size = self.shape.image_size
        face, context = torch.randint(0, 256, (2, clips, FRAMES, 3, size, size), dtype=torch.uint8, device=device)
        return {"face": face, "context": context, **labels(clips)}


def make_subject(shape: ClipShape, recipe: str, flags: list[str], device: str = "cpu") -> Subject:
    """Return the model of ``recipes/<recipe>.args`` with ``flags`` after it."""
    words = [f"@recipes/{recipe}.args", "--image-size", str(shape.image_size), "--select-on", "last", *flags]
    _, config = read_command(words)
    classes = load_classes("RAER", None)
    torch.manual_seed(0)
    clip, texts = Clip(shape), classes.texts_of("descriptive")
    method = method_named(config.model.model)
    model = method.build(config, classes, clip).to(device)
    method.set_trainable(model, config)
    adapt_towers(model, config)
    model.to(device)
    task = PromptTask(model, classes.names, config.loss)
    task.set_training_counts(COUNTS, torch.device(device))
    start = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    handwritten = None
    if config.model.slerp_weight > 0 or config.loss.mi_loss_weight > 0:
        tokens = tokenize([text for row in texts for text in row])
        handwritten = clip.token_embedding.cpu()(tokens).detach().to(device), tokens.argmax(dim=-1).to(device)
    return Subject(config, task, start, handwritten, shape)


def labels(clips: int) -> dict[str, Any]:
    """Return labels and ids as the loader yields them, on the CPU."""
    return {"label": torch.arange(clips) % len(COUNTS), "id": [str(i) for i in range(clips)], "replaced_frames": 0}


def cached_loader(shape: ClipShape, clips: int, batch_size: int) -> Loader:
    """Return a loader of random cached features as training uses it, with two variants of 30 frames for each clip."""
    frames = tuple(f"{n:05d}.jpg" for n in range(30))
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 30 * clips, shape.embed_dim)).astype(np.float16)
    listed_clips = [ListedClip(str(i), Path(str(i)), frames, 30, i % len(COUNTS), str(i)) for i in range(clips)]
    starts = {clip.id: 30 * i for i, clip in enumerate(listed_clips)}
    dataset = FeatureDataset(listed_clips, {"face": features, "context": features}, starts, Views(), training=True)
    return build_loader(dataset, ClipOrder(clips, 0), batch_size=batch_size, workers=0)
