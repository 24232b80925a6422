"""What ``--model sequence`` does with a batch of windows: forward, named losses, the numbers that windows share."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dataloader.affwild import Video
from dataloader.frame_labels import TASKS, find_labelled
from engine.options import Config
from models.losses import action_unit_loss, ccc_loss, expression_loss, inverse_weights
from models.sequence import SIZES, SequenceModel, SequenceOutput
from utils.errors import UserError


class SequenceTask:
    """``tasks``: the ones that are trained together; each has its columns in what ``numbers`` returns."""

    def __init__(self, model: nn.Module, config: Config) -> None:
        self.model, self.tasks, self.loss = model, tasks_of(config.model.task), config.loss
        edges = np.cumsum([0] + [SIZES[task] for task in self.tasks]).tolist()
        self.columns = {task: slice(*edges[i : i + 2]) for i, task in enumerate(self.tasks)}
        self.width = edges[-1]
        self.class_weights = self.positive_weights = None

    @property
    def names(self) -> list[str]:
        return [name for task in self.tasks for name in TASKS[task].names]

    def prepare(self, videos: list[Video], device: torch.device) -> None:
        """``--class-balanced-loss``: rare expressions, and the rare side of each action unit, count more."""
        if not self.loss.class_balanced_loss:
            return
        if "expr" in self.tasks:
            counts = np.bincount(labels_of(videos, "expr"), minlength=SIZES["expr"])
            self.class_weights = inverse_weights(torch.from_numpy(counts)).to(device)
        if "au" in self.tasks:
            share = labels_of(videos, "au").mean(axis=0, dtype=np.float64).clip(0.01, 0.99)
            self.positive_weights = torch.from_numpy((1 - share) / share).float().to(device)

    def forward(self, batch: dict[str, Any]) -> SequenceOutput:
        return self.model(batch["features"], batch["padding"])

    def losses(self, out: SequenceOutput, batch: dict[str, Any]) -> dict[str, Tensor]:
        """One term a task, over the frames that have a label."""
        terms, padding = {}, batch["padding"]
        if "va" in self.tasks:
            terms["va"] = ccc_loss(out.va.float(), batch["va"], padding)
        if "expr" in self.tasks:
            terms["expr"] = expression_loss(
                out.expr,
                batch["expr"],
                padding,
                class_weights=self.class_weights,
                label_smoothing=self.loss.label_smoothing,
                focal_gamma=self.loss.focal_gamma,
            )
        if "au" in self.tasks:
            terms["au"] = action_unit_loss(out.au, batch["au"], padding, positive_weights=self.positive_weights)
        return terms

    def numbers(self, out: SequenceOutput, padding: Tensor) -> Tensor:
        """(B, L, width): valence and arousal as they are, probabilities of the others; 0 where there is no frame."""
        found = {
            "va": lambda: out.va.float(),
            "expr": lambda: out.expr.float().softmax(dim=-1),
            "au": lambda: out.au.float().sigmoid(),
        }
        return torch.cat([found[task]() for task in self.tasks], dim=-1).masked_fill(padding[..., None], 0.0)


def tasks_of(task: str) -> tuple[str, ...]:
    return tuple(SIZES) if task == "multi" else (task,)


def build_sequence(features: int, config: Config) -> SequenceModel:
    """The model that training starts from, drawn from ``--seed``."""
    options = config.sequence
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        return SequenceModel(
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


def labels_of(videos: list[Video], task: str) -> np.ndarray:
    """The valid labels of all videos, one below the other."""
    rows = [video.labels[task] for video in videos if task in video.labels]
    return np.concatenate([labels[find_labelled(task, labels)] for labels in rows])


def require_labels(videos: list[Video], tasks: tuple[str, ...], name: str) -> None:
    for task in tasks:
        if not len(labels_of(videos, task)):
            raise UserError(f"--task {task}: no {name} video has a valid {task} label")
