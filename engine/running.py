"""An epoch so far: loss terms, which must stay finite, and scores from the predictions of the same passes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.errors import UserError


class RunningScore:
    """Losses and predictions of an epoch so far."""

    def __init__(self, names: tuple[str, ...], state: dict[str, Any] | None = None) -> None:
        """``state``: of an epoch that was interrupted."""
        state = state or {"clips": 0, "replaced": 0, "sums": {}, "confusion": [[0] * len(names) for _ in names]}
        self.names, self.clips, self.replaced = names, state["clips"], state["replaced"]
        self.sums: dict[str, float] = dict(state["sums"])
        self.confusion = np.array(state["confusion"], dtype=np.int64)

    def state(self) -> dict[str, Any]:
        confusion = self.confusion.tolist()
        return {"clips": self.clips, "replaced": self.replaced, "sums": dict(self.sums), "confusion": confusion}

    def add(self, losses: dict[str, Tensor], logits: Tensor, batch: dict[str, Any]) -> None:
        B = len(batch["label"])
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.item() * B
        np.add.at(self.confusion, (batch["label"].cpu().numpy(), logits.argmax(dim=-1).cpu().numpy()), 1)
        self.clips += B
        self.replaced += batch["replaced_frames"]

    def values(self) -> dict[str, Any]:
        support = self.confusion.sum(axis=1)
        present = support > 0
        hits = np.diag(self.confusion)
        terms = {f"loss_{name}": total / self.clips for name, total in self.sums.items()}
        return {
            "loss": sum(terms.values()),
            **terms,
            "uar": 100 * float((hits[present] / support[present]).mean()),
            "war": 100 * float(hits.sum() / self.clips),
            "replaced_frames": self.replaced,
        }


def sum_finite(losses: dict[str, Tensor], epoch: int, step: int, ids: list[str]) -> Tensor:
    """The total; a term that is not finite stops the run and is named."""
    total = sum(losses.values())
    if not torch.isfinite(total):
        bad = [name for name, value in losses.items() if not torch.isfinite(value)] or list(losses)
        raise UserError(
            f"the loss term {' and '.join(bad)} is not finite in epoch {epoch + 1}, step {step + 1} "
            f"(clips {', '.join(ids[:4])}...); lower --lr or set --grad-clip 1"
        )
    return total
