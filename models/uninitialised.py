"""Modules whose first weights are not drawn, because a file replaces them all."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class UninitialisedWeights(TorchFunctionMode):
    """Inside, new weights hold whatever memory held.

    Drawing 150 million random numbers costs seconds. torch's meta device would do the same, but imports its compiler.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
