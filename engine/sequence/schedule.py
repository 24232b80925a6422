"""The rate of a run, step by step: a straight rise, then half a cosine down to 0."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warm_cosine(optimizer: Optimizer, warmup: int, steps: int) -> LambdaLR:
    """``warmup`` steps of ``steps`` rise; the first is not 0, and neither is the last."""
    return LambdaLR(optimizer, lambda step: share_of_rate(step, warmup, steps))


def share_of_rate(step: int, warmup: int, steps: int) -> float:
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(steps - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
