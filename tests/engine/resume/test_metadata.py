"""A checkpoint that holds other things than a run writes is one line."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.support.resuming import changed
from tests.support.tools import error_of


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def with_value(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


WRONG = {
    **{f"no {key}": without(key) for key in ("format", "config", "classes", "model", "epoch", "best", "learning")},
    **{f"no {key}": without(key) for key in ("progress", "left_out", "train_list")},
    **{f"no {key} in progress": without("progress", key) for key in ("epoch", "best", "history", "random", "seen")},
    **{f"no {key} in learning": without("learning", key) for key in ("optimizer", "schedule", "scaler")},
    **{f"no {key} in config": without("config", key) for key in ("run",)},
    **{f"{key} is a number": with_value(key, value=3) for key in ("progress", "learning", "left_out", "train_list")},
    **{f"{key} is a text": with_value(key, value="x") for key in ("progress", "learning")},
    **{f"{key} is empty": with_value(key, value={}) for key in ("progress", "learning", "model", "config")},
    **{f"{key} is none": with_value("progress", key, value=None) for key in ("epoch", "step", "best", "history")},
    **{f"{key} is a text in progress": with_value("progress", key, value="x") for key in ("epoch", "step", "seen")},
    **{f"{key} is a list in progress": with_value("progress", key, value=[1]) for key in ("best", "random", "history")},
    "an epoch below zero": with_value("progress", "epoch", value=-1),
    "a best without its epoch": with_value("progress", "best", value={"uar": 1.0}),
    "a random state of another size": with_value("progress", "random", value={"cpu": torch.zeros(3)}),
    "scores of other classes": with_value("progress", "seen", value={"clips": 2, "sums": {}, "confusion": [[1]]}),
    "a group of options is a number": with_value("config", "optim", value=3),
    "an option is a table": with_value("config", "optim", "lr", value={"a": 1}),
    "an option is a tensor": with_value("config", "optim", "lr", value=torch.ones(2)),
    "the optimiser is a list": with_value("learning", "optimizer", value=[1]),
    "the optimiser has no state": with_value("learning", "optimizer", value={"param_groups": []}),
    "the schedule is a text": with_value("learning", "schedule", value="x"),
    "the model holds a text": with_value("model", "fuse.weight", value="x"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_checkpoint_with_wrong_metadata_is_one_line(halted_once, tmp_path, flags, capsys, case):
    shutil.copy(halted_once / "last.pt", tmp_path)
    changed(tmp_path / "last.pt", WRONG[case])
    error_of([*flags, "--resume", str(tmp_path)], capsys)
