"""Helpers for calls of main, their results, and small models."""

import contextlib
import csv
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dataloader.classes import Classes, load_classes
from engine.config import make_config
from engine.methods.clip_caer import PromptTask
from engine.model import build_model
from engine.options import Config
from main import main

ROOT = Path(__file__).resolve().parents[2]
RANDOM_CLIP = ["--clip-path", "random", "--image-size", "64"]
FAST = [*RANDOM_CLIP, "--workers", "0", "--num-segments", "4", "--batch-size", "4", "--device", "cpu"]


@dataclass
class Run:
    """A finished call of main and the folder it wrote."""

    status: int
    folder: Path
    out: str
    err: str

    def ok(self) -> "Run":
        """Return this run, which must have ended well."""
        assert self.status == 0, self.err
        return self

    @property
    def metrics(self) -> dict[str, Any]:
        return scores_of(self.folder)

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))["facts"]

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]

    @property
    def predictions(self) -> list[dict[str, str]]:
        with open(self.folder / "predictions.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @property
    def labels(self) -> dict[str, str]:
        """The class of every clip."""
        return {row["clip"]: row["label"] for row in self.predictions}


def scores_of(folder: Path) -> dict[str, Any]:
    """metrics.json without the facts of the run, which differ between a training and an evaluation of its weights."""
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {name: value for name, value in content.items() if name != "facts"}


def captured(function: Callable[[], int], folder: Path = Path()) -> Run:
    """Return how a function that returns an exit status ended, and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = function()
    return Run(status, folder, out.getvalue(), err.getvalue())


def call(*arguments: str | Path, folder: Path = Path()) -> Run:
    """Call main and return how it ended; ``folder`` is where it wrote."""
    return captured(lambda: main([str(word) for word in arguments]), folder)


def run_main(arguments: list[str], folder: Path) -> Run:
    return call(*arguments, "--output-dir", folder, folder=folder)


def run_ok(arguments: list[str], folder: Path) -> Run:
    """Call main, which must succeed, and return the run."""
    return run_main(arguments, folder).ok()


def one_line(run: Run) -> str:
    """Return the one-line error of a user's mistake; fail on other output or another exit status."""
    assert run.status == 2, run.err
    assert run.err.startswith("error: ") and run.err.endswith("\n"), run.err
    assert run.err.count("\n") == 1 and "Traceback" not in run.err, run.err
    return run.err.strip()


def error_of(arguments: list[str], capsys) -> str:
    """Return the one-line error of a call that fails by a user's mistake."""
    capsys.readouterr()
    return one_line(call(*arguments))


def configure(**given: Any) -> Config:
    """A checked config for the random CLIP."""
    return make_config({"clip_path": "random", "image_size": 64, "num_segments": 4} | given)


def main_arguments(command: str) -> list[str]:
    """Return the arguments for main.py in a printed command, which must call the Python that runs the tests."""
    words = shlex.split(command)
    assert os.path.abspath(shutil.which(words[0]) or "") == os.path.abspath(sys.executable), command
    assert words[1] == "main.py", command
    return words[2:]


def flat(config: Config) -> dict[str, Any]:
    """Return the value of every option."""
    return {name: value for group in vars(config).values() for name, value in vars(group).items()}


def make_model(config: Config) -> tuple[torch.nn.Module, Classes]:
    """A model as a training run builds it, and RAER's classes."""
    classes = load_classes("RAER")
    return build_model(config, classes)[0], classes


def make_task(**given: Any) -> PromptTask:
    """A task with its model, with class sizes known."""
    config = configure(**given)
    model, classes = make_model(config)
    task = PromptTask(model, classes.names, config.loss)
    task.set_training_counts([9, 3, 4, 5, 7], torch.device("cpu"))
    return task


def random_batch(B: int = 3, T: int = 4, size: int = 64, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    face, context = torch.rand(2, B, T, 3, size, size, generator=generator)
    label = torch.arange(B) % 5
    return {"face": face, "context": context, "label": label, "id": [str(i) for i in range(B)], "replaced_frames": 0}
