"""First values of weights: drawn from a seed of their own, or not drawn at all where a file replaces them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random numbers from ``seed`` inside, and leave the generator outside as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class SkipInit(TorchFunctionMode):
    """Inside, new weights keep whatever stands in memory: 150 million random numbers would cost seconds.

    torch's meta device does the same, but imports torch's compiler.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
