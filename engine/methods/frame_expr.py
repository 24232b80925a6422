"""Expressions of single frames by CLIP's image tower and a linear layer: the source of features for long videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataloader.classes import Classes
from dataloader.frame_labels import EXPRESSIONS
from engine.methods.base import ONE_STREAM, ClassifierTask, Method, State
from engine.registry import register
from utils.errors import UserError
from utils.lazy import Lazy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataloader.affwild import Video
    from dataloader.annotation import Clip
    from engine.options import Config, LossOptions
    from models.clip_caer import Output
    from models.clip_towers import Clip as ClipModel
    from models.clip_towers import ClipShape

torch = Lazy("torch")
affwild = Lazy("dataloader.affwild")
annotation = Lazy("dataloader.annotation")
networks = Lazy("models.frame_expression")
towers = Lazy("models.clip_towers")


class FrameExpr(Method):
    name = "frame-expr"
    summary = "CLIP's image encoder on single frames, one expression each"
    defaults = ONE_STREAM | {
        "fold": "0", "num_segments": 1, "normalize": "clip", "optimizer": "AdamW", "lr": 1e-3,
        "lr_image_encoder": 1e-5, "epochs": 10, "batch_size": 64,
    }  # fmt: skip
    reads = frozenset({"training", "pixels", "frames", "rate steps", "class losses", "early stopping", "frame step"})
    split_by_fold = True

    def fixed_classes(self) -> Classes:
        return Classes(EXPRESSIONS, 0, {}, "the expressions of Aff-Wild2")

    def read_clips(self, config: Config) -> tuple[list[Clip], list[Clip]]:
        """Every ``--frame-step``-th frame of the training videos of a fold, and every frame of its validation videos.

        A frame is a clip where it has an expression and a file.
        """
        train, validation = affwild.read_task_sets(Path(config.data.root_dir), ["expr"], int(config.data.fold))
        training_clips = [clip for video in train for clip in frame_clips(video)][:: config.sequence.frame_step]
        validation_clips = [clip for video in validation for clip in frame_clips(video)]
        for name, clips in (("training", training_clips), ("validation", validation_clips)):
            if not clips:
                raise UserError(f"{config.data.root_dir}: no {name} frame has a valid expression and a file")
        return training_clips, validation_clips

    def build(self, config: Config, classes: Classes, clip: ClipModel) -> nn.Module:
        """The linear layer begins at chance: all logits are 0."""
        model = networks.FrameExpression(clip.visual, clip.shape.embed_dim, len(classes))
        torch.nn.init.zeros_(model.readout.weight)
        torch.nn.init.zeros_(model.readout.bias)
        return model

    def rebuild(self, shape: ClipShape, state: State, config: Config) -> nn.Module:
        return networks.FrameExpression(towers.ImageTower(shape), *state["readout.weight"].shape[::-1])

    def task(self, model: nn.Module, names: tuple[str, ...], loss: LossOptions | None = None) -> FrameTask:
        return FrameTask(model, names, loss)


class FrameTask(ClassifierTask):
    """Expressions of single frames, by a linear layer."""

    best_by = "macro_f1"
    has_texts = False

    def losses(self, out: Output, batch: dict[str, Any], epoch: int) -> dict[str, Tensor]:
        return {"expr": self.classification(out.logits, batch["label"])}


def frame_clips(video: Video) -> list[Clip]:
    """Return a clip for every frame of a video that has an expression and a file."""
    labels, person = video.labels["expr"], affwild.group_of(video.id)
    return [
        annotation.Clip(
            f"{video.id}/{name}", video.folder, (name,), 1, int(label), f"{video.id}/{name}", person, is_image=True
        )
        for name, label in zip(video.files, labels, strict=True)
        if name is not None and label >= 0
    ]


register(FrameExpr())
