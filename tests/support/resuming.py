"""Runs that are stopped, crashed and resumed, in few words."""

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.kill import outcome as tensors_and_predictions
from engine.methods.clip_caer import PromptTask
from engine.train import Trainer
from main import main
from models.clip_backbone import RANDOM_SHAPE
from models.clip_towers import Clip
from tests.support.tiny import as_arguments, write_set
from tests.support.tools import RANDOM_CLIP, Run, scores_of

RECIPE = """
--num-segments 2 --batch-size 2 --accumulate 2 --epochs 3 --milestones 2 --optimizer AdamW --lr 3e-3 --seed 0
--lr-image-encoder 3e-3 --lr-prompt-learner 1e-2 --iec-text both --temperature 0.02 --normalize clip
--deterministic --device cpu --workers 0
""".split()
STEPS, CHECKS, EPOCHS = 5, 3, 3  # batches of an epoch's 10 training and 5 validation clips
EPOCH = STEPS + CHECKS  # also of the 15 clips that --select-on last trains on
WORDS = {signal.SIGTERM: 143, signal.SIGINT: 130}


class Crash(BaseException):
    """The process ends here; nothing of ours catches it."""


def write_small(root: Path) -> list[str]:
    """10 training, 5 validation and 10 test clips of 4 frames, and the flags of a run on them."""
    flags = as_arguments(write_set(root, clips=25, persons=5, frames=4))
    return [*RANDOM_CLIP, *RECIPE, *flags]


def call(*arguments: str | Path, folder: Path = Path()) -> Run:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in arguments])
    return Run(status, folder, out.getvalue(), err.getvalue())


def at_forward(patch: pytest.MonkeyPatch, number: int, act: Callable[[], Any]) -> None:
    """``act`` in the ``number``-th batch, counted from 1 over training, validation and test."""
    forward, seen = PromptTask.forward, []

    def counted(self: PromptTask, batch: dict[str, Any]) -> Any:
        seen.append(None)
        if len(seen) == number:
            act()
        return forward(self, batch)

    patch.setattr(PromptTask, "forward", counted)


def crash() -> None:
    raise Crash


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def after_call(patch: pytest.MonkeyPatch, owner: Any, name: str, number: int) -> None:
    """The process ends right after the ``number``-th call of a method."""
    method, seen = getattr(owner, name), []

    def counted(*arguments: Any) -> Any:
        result = method(*arguments)
        seen.append(None)
        if len(seen) == number:
            raise Crash
        return result

    patch.setattr(owner, name, counted)


def outcome(folder: Path) -> dict[str, Any]:
    """Every tensor that a run ends in, its predictions and its history."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    history = [{name: value for name, value in line.items() if not name.startswith("seconds")} for line in lines]
    return tensors_and_predictions(folder) | {"history": history, "metrics": scores_of(folder)}


def assert_same_end(folder: Path, other: Path) -> None:
    one, two = outcome(folder), outcome(other)
    differing = [key for key in sorted({*one, *two}) if key not in one or key not in two or one[key] != two[key]]
    assert not differing, f"{len(differing)} of {len(two)} differ: {differing[:5]}"


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def read(file: Path) -> dict[str, Any]:
    return torch.load(file, weights_only=True)


def changed(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = read(file)
    change(content)
    torch.save(content, file)


def write_clip_file(path: Path, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.save(Clip(RANDOM_SHAPE).openai_state(), path)
    return path


def interrupt(flags: list[str], folder: Path, number: int, batch: int, *more: str) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        at_forward(patch, batch, send(number))
        return call(*flags, *more, "--output-dir", folder, folder=folder)


def crash_run(prepare: Callable[[pytest.MonkeyPatch], None], *arguments: str | Path) -> str:
    """A run that ends in Crash; returns what it printed."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), pytest.raises(Crash):
        prepare(patch)
        main([str(word) for word in arguments])
    return out.getvalue()


def begin(*arguments: str | Path) -> str:
    """What is said until the first step."""
    stop = partial(pytest.MonkeyPatch.setattr, target=Trainer, name="run", value=lambda _: crash())
    return crash_run(stop, *arguments)


def resume(folder: Path, *more: str | Path) -> Run:
    done = call("--resume", folder, *more, folder=folder)
    assert done.status == 0, done.err
    return done


def crash_at_last_rename(patch: pytest.MonkeyPatch) -> None:
    rename = os.replace
    patch.setattr(os, "replace", lambda old, new: crash() if Path(new).name == "last.pt" else rename(old, new))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


DAMAGES = {
    "truncated": truncate,
    "flipped": flip,
    "empty": lambda file: file.write_bytes(b""),
    "missing": lambda file: file.unlink(),
    "lacks its progress": lambda file: changed(file, lambda content: content.pop("progress")),
}


def broken(prepare: Callable[[pytest.MonkeyPatch], Any], *arguments: str | Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch)
        return call(*arguments)


def one_line(done: Run) -> str:
    """The line that a failed run ends in."""
    assert done.status == 2, done.err
    assert done.err.startswith("error: ") and done.err.count("\n") == 1 and "Traceback" not in done.err, done.err
    return done.err.strip()
