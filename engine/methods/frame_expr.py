"""Expressions of single frames by CLIP's image tower and a linear layer.

The frames are those of long videos in Aff-Wild2's layout, or, with lists of images, the stills of any data set. The
tower gives features for long videos, and is a start for models of clips (``--init-from``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.methods.base import (
    AUGMENTATION_PARTS,
    AVERAGE_PART,
    CLASS_SIZE_PARTS,
    LORA_PART,
    MIXUP_PART,
    ONE_STREAM,
    ClassifierTask,
    Method,
    State,
    options,
    torch,
    towers,
)
from engine.options import TRAINING
from engine.registry import register
from utils.config import flag_of, written
from utils.errors import UserError
from utils.lazy import Lazy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataloader.annotation import Clip
    from dataloader.classes import Classes
    from engine.options import Config
    from models.clip_caer import Output
    from models.clip_towers import Clip as ClipModel
    from models.clip_towers import ClipShape

FOR_ANY_FRAMES = ("init_from", "allow_partial")  # options of lists that long videos have too
affwild = Lazy("dataloader.affwild")
networks = Lazy("models.classifiers")


class FrameTask(ClassifierTask):
    """Expressions of single frames, by a linear layer."""

    has_texts = False

    def losses(self, out: Output, batch: dict[str, Any], epoch: int) -> dict[str, Tensor]:
        return {"expr": self.classification(out.logits, batch, epoch)}


class FrameExpr(Method):
    name = "frame-expr"
    summary = "CLIP's image encoder on single frames, one expression each"
    task = FrameTask
    defaults = ONE_STREAM | {
        "fold": "0", "num_segments": 1, "normalize": "clip", "optimizer": "AdamW", "lr": 1e-3,
        "lr_image_encoder": 1e-5, "epochs": 10, "batch_size": 64, "select_by": "macro_f1",
    }  # fmt: skip
    reads = frozenset({
        "training", "clip lists", "class lists", "pixels", "frames", "rate steps", "class losses", "class weights",
        "frame step",
    })  # fmt: skip
    parts = (LORA_PART, AVERAGE_PART, *CLASS_SIZE_PARTS, *AUGMENTATION_PARTS, MIXUP_PART)
    split_by_fold = True

    def reads_lists(self, config: Config) -> bool:
        data = config.data
        return any((data.train_annotation, data.val_annotation, data.test_annotation))

    def splits_by_fold(self, config: Config) -> bool:
        return not self.reads_lists(config)

    def check(self, config: Config, flags: Mapping[str, Any]) -> None:
        """Raise a UserError for an option of the source of frames that is not used."""
        if config.run.mode in TRAINING and not self.reads_lists(config):
            fields, usual = options.options_by_name(), options.defaults() | dict(self.defaults)
            for name in sorted(flags):
                is_of_lists = fields[name].metadata["part"] in ("clip lists", "class lists")
                if is_of_lists and name not in FOR_ANY_FRAMES and flags[name] != usual[name]:
                    raise UserError(
                        f"{flag_of(name)} {written(flags[name])} is not used by --model {self.name} on long videos; "
                        f"leave it out, or name lists of images: --train-annotation FILE"
                    )
        if self.reads_lists(config) and "frame_step" in flags:
            step = config.sequence.frame_step
            raise UserError(f"--frame-step {step} is for the frames of long videos, not for lists; leave it out")

    def fixed_classes(self, config: Config) -> Classes | None:
        return None if self.reads_lists(config) else affwild.EXPRESSION_CLASSES

    def read_clips(self, config: Config) -> tuple[list[Clip], list[Clip]] | None:
        if self.reads_lists(config):
            return None
        data = config.data
        return affwild.read_frame_clips(Path(data.root_dir), int(data.fold), config.sequence.frame_step)

    def build(self, config: Config, classes: Classes, clip: ClipModel) -> nn.Module:
        """Return the model. The linear layer starts at 0, so all logits are 0 and predictions are at chance."""
        model = networks.FrameExpression(clip.visual, clip.shape.embed_dim, len(classes))
        torch.nn.init.zeros_(model.readout.weight)
        torch.nn.init.zeros_(model.readout.bias)
        return model

    def rebuild(self, shape: ClipShape, state: State, config: Config) -> nn.Module:
        return networks.FrameExpression(towers.ImageTower(shape), *state["readout.weight"].shape[::-1])


register(FrameExpr())
