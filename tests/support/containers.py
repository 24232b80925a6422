"""The containers of published training scripts: epoch, best score, optimiser, and a recorder object."""

import copy
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from tests.support.published import Published

NUMPY_BEST = np.float64(64.25)


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
    module_name, _, name = recorder.rpartition(".")
    module = types.ModuleType(module_name)
    setattr(module, name, type(name, (), {"__module__": module_name}))
    curve = getattr(module, name)()
    curve.total_epoch, curve.current_epoch = 20, 7
    curve.epoch_losses = np.arange(40, dtype=np.float32).reshape(20, 2)
    curve.epoch_accuracy = np.full((20, 2), 61.5, dtype=np.float32)
    content = {"epoch": 8, "state_dict": state, "best_acc": best_acc, "optimizer": optimizer_state(), "recorder": curve}
    with mock.patch.dict(sys.modules, {module_name: module}):  # the class exists for as long as the file is written
        torch.save(content, path)
    return path
