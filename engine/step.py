"""One training step: forward, named losses, backward, and an update of the weights after each window of steps.

All precisions and any number of processes use this code. It never waits for the GPU: the numbers that it returns are
read later (``engine/epoch_scores.py``).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.device import statistics_of, to_device
from engine.methods.base import ClipTask
from engine.optim import build_optimizer, parameter_groups, prepare_towers, step_scaled
from engine.options import Config
from utils.distributed import SINGLE_PROCESS, GradientExchange, Group


class TrainingStep:
    """A task with its optimiser and gradient scaler."""

    def __init__(
        self,
        task: ClipTask,
        config: Config,
        device: torch.device,
        amp: torch.dtype | None = None,
        group: Group = SINGLE_PROCESS,
    ) -> None:
        """``amp``: the type of mixed precision, None for float32."""
        self.task, self.device, self.amp = task, device, amp
        self.normalize, self.grad_clip = config.data.normalize, config.optim.grad_clip
        self.statistics = statistics_of(task.model)
        task.group = group
        prepare_towers(task.model, config.optim, amp)
        self.groups = parameter_groups(task.model, config.optim)
        self.optimizer = build_optimizer(self.groups, config.optim)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == torch.float16)
        # Each process encodes only its own clips, so gradients of the encoder are summed over processes. Other layers
        # see the gathered features of all clips, so their gradients are equal in every process and are averaged.
        in_encoder, elsewhere = (learning_parameters(task.model, is_inside) for is_inside in (True, False))
        self.exchange = GradientExchange(group, summed=in_encoder, averaged=elsewhere)

    def __call__(
        self, batch: dict[str, Any], epoch: int, window: int = 1, updates: bool = True
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the weighted loss terms and the raw logits (B, C) of a batch from the loader.

        Gradients are averaged over ``window`` steps; if ``updates``, this step is the last one and changes the weights.
        """
        batch = to_device(batch, self.device, self.normalize, self.statistics)
        with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
            out = self.task.forward(batch)  # the one forward of this step
        losses = self.task.losses(out, batch, epoch)  # named and weighted, in float32
        with self.exchange.during_backward(updates):
            self.scaler.scale(sum(losses.values()) / window).backward()
        if updates:
            self.update()
        return losses, self.task.predictions(out)

    def update(self) -> None:
        step_scaled(self.optimizer, self.scaler, self.grad_clip)


def with_partners(batch: dict[str, Any], alpha: float, seed: int, epoch: int, step: int) -> dict[str, Any]:
    """Return a batch in which every clip has a partner to be mixed with, a function of (seed, epoch, step).

    ``partner`` (B,) are rows of the batch of all processes, ``share`` is that of the clip itself: at least one half,
    so that its label is the larger part. For a random permutation of partners this is no restriction.
    """
    rng = np.random.default_rng([seed, 11, epoch, step])
    share = float(rng.beta(alpha, alpha))
    return batch | {"partner": torch.from_numpy(rng.permutation(len(batch["label"]))), "share": max(share, 1 - share)}


def learning_parameters(model: nn.Module, in_encoder: bool) -> Iterator[nn.Parameter]:
    """Return the trained parameters of the image encoder, or of everything else."""
    parameters = model.named_parameters()
    return (p for name, p in parameters if p.requires_grad and name.startswith("image_encoder.") == in_encoder)
