"""Valence and arousal, expressions and action units of every frame of long videos, from windows of stored features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dataloader.frame_labels import TASKS, find_labelled
from engine.methods.base import ONE_STREAM, Method, State, loss_functions, torch, towers
from engine.registry import register
from utils.errors import UserError
from utils.lazy import Lazy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataloader.affwild import Video
    from engine.options import Config
    from models.clip_towers import ClipShape
    from models.sequence import SequenceModel, SequenceOutput

networks = Lazy("models.sequence")


class Sequence(Method):
    name = "sequence"
    summary = "a temporal convolution network and a transformer over stored features, one prediction per frame"
    defaults = ONE_STREAM | {
        "task": "multi", "fold": "0", "optimizer": "AdamW", "lr": 3e-4, "weight_decay": 1e-5, "epochs": 30,
        "batch_size": 32, "dropout": 0.3, "grad_clip": 1.0, "workers": 0, "schedule": "cosine",
    }  # fmt: skip
    reads = frozenset({"training", "rate steps", "dropout layers", "windows", "class losses"})
    tasks = ("va", "expr", "au", "multi")
    functions = {
        ("train", None): "engine.long_videos.train:train_sequence",
        ("eval", None): "engine.long_videos.evaluate:evaluate_sequence",
    }
    split_by_fold = True

    def check(self, config: Config, flags: Mapping[str, Any]) -> None:
        options = config.sequence
        if config.results.ci in ("persons", "clips"):
            raise UserError(f"--ci {config.results.ci}: --model sequence resamples whole videos; pass auto or off")
        if options.stride > options.window:
            raise UserError(
                f"--stride {options.stride}: must be at most --window {options.window}, or frames would be left out"
            )
        if options.smooth % 2 == 0:
            raise UserError(f"--smooth {options.smooth}: must be odd, so that the frames have a centre")
        if not options.tcn_channels:
            raise UserError("--tcn-channels is empty; give a width for each block, or --no-tcn for no convolutions")
        if not options.tcn and not options.causal:
            raise UserError("--no-causal changes the convolutions, but --no-tcn leaves them out")

    def build_for(self, features: int, config: Config) -> SequenceModel:
        """Return the model that training starts from; ``features``: numbers per frame."""
        options = config.sequence
        with towers.fixed_seed(config.run.seed):
            return networks.SequenceModel(
                features,
                tasks=tasks_of(config.model.task),
                channels=options.tcn_channels,
                causal=options.causal,
                layers=options.transformer_layers,
                dropout=config.model.dropout,
                positions=options.positions,
                with_tcn=options.tcn,
                with_transformer=options.transformer,
            )

    def rebuild(self, shape: ClipShape | None, state: State, config: Config) -> nn.Module:
        options = config.sequence
        return networks.sequence_like(
            state, causal=options.causal, positions=options.positions, dropout=config.model.dropout
        )

    def describe(self, model: nn.Module, config: Config, content: Mapping[str, Any]) -> list[str]:
        blocks = [name for name, block in (("TCN", model.tcn), ("transformer", model.transformer)) if block is not None]
        window = f"{model.features} numbers a frame, windows of {config.sequence.window}"
        thresholds = "tuned thresholds inside" if "thresholds" in content else "no tuned thresholds"
        return [
            f"reads       {window}: {', '.join(blocks) or 'heads'}",
            f"predicts    {config.model.task}; {thresholds}",
        ]


class SequenceTask:
    """Forward, named losses and predictions of windows of frames.

    ``tasks``: those that are trained together. Each has its columns in what ``numbers`` returns.
    """

    def __init__(self, model: nn.Module, config: Config) -> None:
        self.model, self.tasks, self.loss = model, tasks_of(config.model.task), config.loss
        sizes = [networks.SIZES[task] for task in self.tasks]
        edges = np.cumsum([0] + sizes).tolist()
        self.columns = {task: slice(*edges[i : i + 2]) for i, task in enumerate(self.tasks)}
        self.width = edges[-1]
        self.class_weights = self.positive_weights = None

    @property
    def names(self) -> list[str]:
        return [name for task in self.tasks for name in TASKS[task].names]

    def prepare(self, videos: list[Video], device: torch.device) -> None:
        """Compute the weights of ``--class-balanced-loss`` for expressions and for the values of action units."""
        if not self.loss.class_balanced_loss:
            return
        if "expr" in self.tasks:
            counts = np.bincount(labels_of(videos, "expr"), minlength=networks.SIZES["expr"])
            self.class_weights = loss_functions.inverse_weights(torch.from_numpy(counts)).to(device)
        if "au" in self.tasks:
            share = labels_of(videos, "au").mean(axis=0, dtype=np.float64).clip(0.01, 0.99)
            self.positive_weights = torch.from_numpy((1 - share) / share).float().to(device)

    def forward(self, batch: dict[str, Any]) -> SequenceOutput:
        return self.model(batch["features"], batch["padding"])

    def losses(self, out: SequenceOutput, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return one term per task, over the frames that have a label."""
        terms, padding = {}, batch["padding"]
        if "va" in self.tasks:
            terms["va"] = loss_functions.ccc_loss(out.va.float(), batch["va"], padding)
        if "expr" in self.tasks:
            terms["expr"] = loss_functions.expression_loss(
                out.expr,
                batch["expr"],
                padding,
                class_weights=self.class_weights,
                label_smoothing=self.loss.label_smoothing,
                focal_gamma=self.loss.focal_gamma,
            )
        if "au" in self.tasks:
            terms["au"] = loss_functions.action_unit_loss(
                out.au, batch["au"], padding, positive_weights=self.positive_weights
            )
        return terms

    def numbers(self, out: SequenceOutput, padding: Tensor) -> Tensor:
        """Return (B, L, width): valence, arousal, and probabilities of expressions and action units; 0 at padding."""
        columns = []
        for task in self.tasks:
            if task == "va":
                columns.append(out.va.float())
            elif task == "expr":
                columns.append(out.expr.float().softmax(dim=-1))
            else:
                columns.append(out.au.float().sigmoid())
        return torch.cat(columns, dim=-1).masked_fill(padding[..., None], 0.0)


def tasks_of(task: str) -> tuple[str, ...]:
    """Return the tasks that ``--task`` trains together."""
    return tuple(networks.SIZES) if task == "multi" else (task,)


def labels_of(videos: list[Video], task: str) -> np.ndarray:
    """Return the valid labels of all videos, concatenated."""
    rows = [video.labels[task] for video in videos if task in video.labels]
    return np.concatenate([labels[find_labelled(task, labels)] for labels in rows])


register(Sequence())
