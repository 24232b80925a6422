"""What published training scripts put around their tensors: epoch, best score, optimiser, and a recorder object."""

import contextlib
import copy
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support.published import Published

NUMPY_BEST = np.float64(64.25)


@contextlib.contextmanager
def class_at(path: str) -> Iterator[type]:
    """A class that pickles as ``path``, which exists for as long as the file is written."""
    module_name, name = path.rsplit(".", 1)
    kind = type(name, (), {"__module__": module_name})
    fresh = module_name not in sys.modules
    module = sys.modules.setdefault(module_name, types.ModuleType(module_name))
    setattr(module, name, kind)
    try:
        yield kind
    finally:
        delattr(module, name)
        if fresh:
            del sys.modules[module_name]


def fill_recorder(recorder: Any) -> Any:
    recorder.total_epoch, recorder.current_epoch = 20, 7
    recorder.epoch_losses = np.arange(40, dtype=np.float32).reshape(20, 2)
    recorder.epoch_accuracy = np.full((20, 2), 61.5, dtype=np.float32)
    return recorder


def optimizer_state() -> dict[str, Any]:
    """What SGD with momentum stores after a step."""
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def write_container(
    path: Path,
    published: Published,
    recorder: str = "utils.utils.RecorderMeter",
    best_acc: Any = NUMPY_BEST,
) -> Path:
    """The dict that the CLIP-CAER family and DFER-CLIP save; an EmoCLIP file is the bare state dict."""
    state = copy.copy(published.state)
    state._metadata = OrderedDict({"": {"version": 1}, "project_fc": {"version": 1}})
    with class_at(recorder) as kind:
        content = {
            "epoch": 8,
            "state_dict": state,
            "best_acc": best_acc,
            "optimizer": optimizer_state(),
            "recorder": fill_recorder(kind()),
        }
        torch.save(content, path)
    return path
