"""The losses and scores of an epoch so far. A loss that is not finite stops the run and is named."""

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
    label: Tensor | None  # (B,), on the CPU
    ids: list[str]
    epoch: int
    step: int


class RunningLosses:
    """Mean loss terms of an epoch so far.

    The numbers of a step are copied while the GPU goes on, and read when they are asked for or when ``read`` is called.
    A term that is not finite is noticed then, a step or more late: whoever saves asks for the numbers first.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        """``state``: of an epoch that was interrupted, as ``state()`` returned it."""
        state = state or {"clips": 0, "replaced": 0, "sums": {}}
        self.clips, self.replaced, self.sums = state["clips"], state["replaced"], dict(state["sums"])
        self.unread: deque[StepNumbers] = deque()

    def copy(self) -> "RunningLosses":
        """Return the epoch as it is now; what is added later does not change the copy."""
        copy = type(self).__new__(type(self))
        vars(copy).update(vars(self), sums=dict(self.sums), unread=self.unread.copy())
        return copy

    def state(self) -> dict[str, Any]:
        self.read()
        return {"clips": self.clips, "replaced": self.replaced, "sums": dict(self.sums), "confusion": []}

    def add(self, losses: dict[str, Tensor], ids: list[str], epoch: int, step: int) -> None:
        values = HostCopy(torch.stack([value.detach().float() for value in losses.values()]))
        self.unread.append(StepNumbers(values, tuple(losses), None, ids, epoch, step))

    def read(self, all_but: int = 0) -> None:
        """Read the numbers of all steps but the last ``all_but``."""
        while len(self.unread) > all_but:
            self._add_numbers(self.unread.popleft())

    def _add_numbers(self, step: StepNumbers) -> list[float]:
        """Add one step's loss terms; return the numbers that follow them."""
        values, B = step.values.read().tolist(), len(step.ids)
        require_finite_terms(dict(zip(step.terms, values, strict=False)), step)
        for name, value in zip(step.terms, values, strict=False):
            self.sums[name] = self.sums.get(name, 0.0) + value * B
        self.clips += B
        return values[len(step.terms) :]

    def values(self) -> dict[str, Any]:
        self.read()
        terms = {f"loss_{name}": total / self.clips for name, total in self.sums.items()}
        return {"loss": sum(terms.values()), **terms}


class RunningScore(RunningLosses):
    """Losses and predictions of an epoch so far."""

    def __init__(self, names: tuple[str, ...], state: dict[str, Any] | None = None) -> None:
        super().__init__(state)
        counts = state["confusion"] if state else [[0] * len(names) for _ in names]
        self.confusion = np.array(counts, dtype=np.int64)

    def copy(self) -> "RunningScore":
        copy = super().copy()
        copy.confusion = self.confusion.copy()
        return copy

    def state(self) -> dict[str, Any]:
        return super().state() | {"confusion": self.confusion.tolist()}

    def add(self, losses: dict[str, Tensor], logits: Tensor, batch: dict[str, Any], epoch: int, step: int) -> None:
        """``batch`` as the loader gave it: its labels are on the CPU."""
        terms = [value.detach().float() for value in losses.values()]
        values = HostCopy(torch.cat([torch.stack(terms), logits.argmax(dim=-1).float()]))
        self.unread.append(StepNumbers(values, tuple(losses), batch["label"], batch["id"], epoch, step))
        self.replaced += batch["replaced_frames"]

    def _add_numbers(self, step: StepNumbers) -> list[float]:
        predicted = super()._add_numbers(step)
        np.add.at(self.confusion, (step.label.numpy(), np.array(predicted, dtype=np.int64)), 1)
        return []

    def values(self) -> dict[str, Any]:
        losses = super().values()
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
        faulty = list(terms)  # each is, but not their sum in the numbers that the loss is computed in
    if faulty:
        raise UserError(
            f"the loss term {' and '.join(faulty)} is not finite in epoch {step.epoch + 1}, step {step.step + 1} "
            f"(clips {', '.join(step.ids[:4])}...); lower --lr or set --grad-clip 1"
        )
