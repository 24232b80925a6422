"""Losses and scores of the current epoch. A loss that is not finite stops the run with an error that names it."""

import copy
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.device import HostCopy
from utils.errors import UserError


@dataclass(frozen=True)
class StepNumbers:
    """The numbers of one step; ``values`` holds its loss terms, then the predicted class of each clip."""

    values: HostCopy
    terms: tuple[str, ...]
    label: Tensor | None  # (B,), on the CPU; None where no class is predicted
    ids: list[str]
    epoch: int
    step: int


class RunningScore:
    """Mean loss terms of an epoch so far, and its confusion matrix if the model predicts one class per clip.

    The numbers of a step are copied to the CPU in the background, and read by ``read`` or when scores are needed.
    A term that is not finite is noticed only then, at least one step late, so read before you save a checkpoint.
    """

    def __init__(self, names: tuple[str, ...] = (), state: dict[str, Any] | None = None) -> None:
        """``state``: what ``state()`` returned in an epoch that was interrupted."""
        state = state or {"clips": 0, "replaced": 0, "sums": {}, "confusion": [[0] * len(names) for _ in names]}
        self.clips, self.replaced, self.sums = state["clips"], state["replaced"], dict(state["sums"])
        self.confusion = np.array(state["confusion"], dtype=np.int64)
        self.unread: deque[StepNumbers] = deque()

    def copy(self) -> "RunningScore":
        """Return the epoch as it is now; what is added later does not change the copy."""
        duplicate = copy.copy(self)
        duplicate.sums, duplicate.unread = dict(self.sums), self.unread.copy()
        duplicate.confusion = self.confusion.copy()
        return duplicate

    def state(self) -> dict[str, Any]:
        self.read()
        sums = {"sums": dict(self.sums), "confusion": self.confusion.tolist()}
        return {"clips": self.clips, "replaced": self.replaced} | sums

    def add(
        self, losses: dict[str, Tensor], logits: Tensor | None, batch: dict[str, Any], epoch: int, step: int
    ) -> None:
        """Add a step; ``batch`` comes from the loader, with labels on the CPU."""
        # Losses and predictions are joined in one tensor, so that each step makes only one copy to the CPU.
        values, label = torch.stack([value.detach().float() for value in losses.values()]), None
        if logits is not None:
            values, label = torch.cat([values, logits.argmax(dim=-1).float()]), batch["label"]
            self.replaced += batch["replaced_frames"]
        self.unread.append(StepNumbers(HostCopy(values), tuple(losses), label, batch["id"], epoch, step))

    def read(self, all_but: int = 0) -> None:
        """Read the numbers of all steps but the last ``all_but``."""
        while len(self.unread) > all_but:
            step = self.unread.popleft()
            values, B = step.values.read().tolist(), len(step.ids)
            terms = dict(zip(step.terms, values, strict=False))
            require_finite_terms(terms, step)
            for name, value in terms.items():
                self.sums[name] = self.sums.get(name, 0.0) + value * B
            self.clips += B
            if step.label is not None:
                predicted = np.array(values[len(terms) :], dtype=np.int64)
                np.add.at(self.confusion, (step.label.numpy(), predicted), 1)

    def values(self) -> dict[str, Any]:
        """Return the mean of each loss term and their sum; with predicted classes also UAR, WAR, replaced frames."""
        self.read()
        terms = {f"loss_{name}": total / self.clips for name, total in self.sums.items()}
        losses = {"loss": sum(terms.values()), **terms}
        if not len(self.confusion):
            return losses
        support = self.confusion.sum(axis=1)
        present = support > 0
        hits = np.diag(self.confusion)
        return losses | {
            "uar": 100 * float((hits[present] / support[present]).mean()),
            "war": 100 * float(hits.sum() / self.clips),
            "replaced_frames": self.replaced,
        }


def require_finite_terms(terms: dict[str, float], step: StepNumbers) -> None:
    """Raise a UserError that names the terms that are not finite, and the step."""
    faulty = [name for name, value in terms.items() if not np.isfinite(value)]
    if not faulty and abs(sum(terms.values())) > torch.finfo(torch.float32).max:
        faulty = list(terms)  # each term is finite, but their sum overflows in the type of the loss
    if faulty:
        raise UserError(
            f"the loss term {' and '.join(faulty)} is not finite in epoch {step.epoch + 1}, step {step.step + 1} "
            f"(clips {', '.join(step.ids[:4])}...); lower --lr or set --grad-clip 1"
        )
