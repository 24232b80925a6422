"""A readout: an MLP from video features to numbers, and how it is trained."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.optim import build_optimizer, build_schedule
from models.build import build_readout, seeded
from models.losses import concordance, weighted_mean

HIDDEN = 256
FLAT = 1e-6  # of a column's largest value: float32 tells no smaller differences


class Readout:
    """A trained readout, its standardisation of features and targets folded into its two layers."""

    def __init__(self, features: Tensor, values: Tensor, config: Any, part: str) -> None:
        """``features`` (N, D) → ``values`` (N, K), NaN where unknown."""
        (shift, scale), (middle, spread) = moments(features), moments(values)
        scale = scale.masked_fill(scale == 0, torch.inf)  # a feature that never varied says nothing
        with seeded(config.run.seed, part):
            layers = build_readout(features.shape[1], HIDDEN, values.shape[1])
            self.layers = layers.to(features.device)
            self._fit((features - shift) / scale, (values - middle) / spread.masked_fill(spread == 0, 1.0), config)
        first, last = self.layers[0], self.layers[2]
        with torch.no_grad():
            first.bias -= first.weight @ (shift / scale)
            first.weight /= scale
            last.weight *= spread[:, None]
            last.bias.mul_(spread).add_(middle)

    def _fit(self, features: Tensor, values: Tensor, config: Any) -> None:
        optimizer = build_optimizer([{"params": list(self.layers.parameters()), "lr": config.optim.lr}], config.optim)
        schedule = build_schedule(optimizer, config.optim)
        known = ~values.isnan()
        for _ in range(config.optim.epochs):
            for rows in torch.randperm(len(features)).split(config.optim.batch_size):
                guess = self.layers(features[rows])
                loss = regression_loss(guess, values[rows], known[rows], config.loss.regression_loss)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            schedule.step()

    @torch.no_grad()
    def __call__(self, features: Tensor) -> np.ndarray:
        return self.layers(features).double().cpu().numpy()


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each column over what is known; 0 where it varies by rounding alone."""
    middle = rows.nanmean(0)
    spread = (rows - middle).square().nanmean(0).sqrt()
    return middle, spread.where(spread > FLAT * rows.nan_to_num().abs().amax(0), 0.0)


def regression_loss(guess: Tensor, target: Tensor, known: Tensor, kind: str) -> Tensor:
    """Mean squared error over what is known, or the mean over the targets of 1 - CCC."""
    target = target.nan_to_num()
    if kind == "mse":
        return weighted_mean((guess - target).square(), known.float())
    return weighted_mean(1 - concordance(guess, target, known), (known.sum(dim=0) >= 2).float())
