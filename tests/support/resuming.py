"""Helpers for runs that are interrupted, crashed and resumed."""

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.kill import flatten
from engine.methods.clip_caer import PromptTask
from engine.train import Trainer
from main import main
from models.clip_backbone import RANDOM_SHAPE
from models.clip_towers import Clip
from tests.support.tiny import as_arguments, write_set
from tests.support.tools import RANDOM_CLIP, Run, call, one_line, scores_of
from utils.archive import read_archive

RECIPE = """
--num-segments 2 --batch-size 2 --accumulate 2 --epochs 3 --milestones 2 --optimizer AdamW --lr 3e-3 --seed 0
--lr-image-encoder 3e-3 --lr-prompt-learner 1e-2 --iec-text both --temperature 0.02 --normalize clip
--deterministic --device cpu --workers 0 --exper-name run
""".split()
STEPS, CHECKS, EPOCHS = 5, 3, 3  # batches of an epoch's 10 training and 5 validation clips
EPOCH = STEPS + CHECKS  # also of the 15 clips that --select-on last trains on
SAVE_EVERY_STEP = ("--save-every-minutes", "1e-9")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Crash(BaseException):
    """An exception like the end of a process, which nothing in the project catches."""


def write_small(root: Path) -> list[str]:
    """10 training, 5 validation and 10 test clips of 4 frames, and the flags of a run on them."""
    flags = as_arguments(write_set(root, clips=25, persons=5, frames=4))
    return [*RANDOM_CLIP, *RECIPE, *flags]


def resume(folder: Path, *extra: str | Path) -> Run:
    """Resume a run to its end and return it."""
    return call("--resume", folder, *extra, folder=folder).ok()


def failure(prepare: Callable[[pytest.MonkeyPatch], Any], *arguments: str | Path) -> str:
    """Return the error line of a run after ``prepare`` has damaged something."""
    return one_line(patched(prepare, *arguments))


def patched(prepare: Callable[[pytest.MonkeyPatch], Any], *arguments: str | Path, folder: Path = Path()) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch)
        return call(*arguments, folder=folder)


# -- acting in the middle of a run ------------------------------------------------------------------------------------


def on_call(
    patch: pytest.MonkeyPatch, owner: Any, name: str, before: Callable | None = None, after: Callable | None = None
) -> None:
    """Call ``before`` and ``after`` with the number of the call, from 1, around every call of a function."""
    function, count = getattr(owner, name), 0

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        nonlocal count
        count += 1
        if before is not None:
            before(count)
        result = function(*arguments, **keywords)
        if after is not None:
            after(count)
        return result

    patch.setattr(owner, name, wrapped)


def at(number: int, act: Callable[[], Any]) -> Callable[[int], None]:
    """Return a function for ``on_call`` that acts in one call only."""

    def act_once(count: int) -> None:
        if count == number:
            act()

    return act_once


def at_forward(patch: pytest.MonkeyPatch, number: int, act: Callable[[], Any]) -> None:
    """Act in the ``number``-th batch, counted from 1 over training, validation and test."""
    on_call(patch, PromptTask, "forward", before=at(number, act))


def crash() -> None:
    raise Crash


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def interrupt(flags: list[str], folder: Path, number: int, batch: int, *extra: str) -> Run:
    """Return a run that got a signal in one of its batches."""
    words = [*flags, *extra, "--output-dir", folder]
    return patched(lambda patch: at_forward(patch, batch, send(number)), *words, folder=folder)


def crash_run(prepare: Callable[[pytest.MonkeyPatch], None], *arguments: str | Path) -> str:
    """Return what a run printed before it ended in ``Crash``."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), pytest.raises(Crash):
        prepare(patch)
        main([str(word) for word in arguments])
    return out.getvalue()


def crash_at(batch: int, *arguments: str | Path) -> str:
    return crash_run(lambda patch: at_forward(patch, batch, crash), *arguments)


def begin(*arguments: str | Path) -> str:
    """Return what a run prints before its first step."""
    return crash_run(lambda patch: patch.setattr(Trainer, "run", lambda _: crash()), *arguments)


# -- comparing and damaging what it leaves ----------------------------------------------------------------------------


def outcome(folder: Path) -> dict[str, Any]:
    """Return the final tensors of a run, its predictions and its history."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    history = [{name: value for name, value in line.items() if not name.startswith("seconds")} for line in lines]
    values: dict[str, Any] = {"predictions": (folder / "predictions.csv").read_bytes()}
    for name in ("best.pt", "last.pt"):
        content = read_archive(folder / name)
        for key in ("model", "learning", "best", "epoch"):
            flatten(content.get(key), f"{name}/{key}", values)
    return values | {"history": history, "metrics": scores_of(folder)}


unchanged_outcome = cache(outcome)  # of an uninterrupted run, which many tests compare with


def assert_same_end(folder: Path, expected: Path) -> None:
    """Check that two runs ended with the same bits."""
    values, targets = outcome(folder), unchanged_outcome(expected)
    keys = sorted({*values, *targets})
    differing = [key for key in keys if key not in values or key not in targets or values[key] != targets[key]]
    assert not differing, f"{len(differing)} of {len(targets)} differ: {differing[:5]}"


def assert_resumes(folder: Path, expected: Path, *extra: str | Path) -> Run:
    """Resume a run and check that it ends with the same bits as an uninterrupted one."""
    run = resume(folder, *extra)
    assert_same_end(folder, expected)
    return run


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes and the time of every file below a folder."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def read(file: Path) -> dict[str, Any]:
    return torch.load(file, weights_only=True)


def changed(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what a checkpoint holds."""
    content = read(file)
    change(content)
    torch.save(content, file)


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


def write_clip_file(path: Path, seed: int) -> Path:
    """Write random weights of CLIP's shape with the sizes that OpenAI's archives hold; return their file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = Clip(RANDOM_SHAPE).openai_state()
    sizes = {"input_resolution": RANDOM_SHAPE.image_size, "context_length": 77, "vocab_size": 49408}
    torch.save(state | {name: torch.tensor(value) for name, value in sizes.items()}, path)
    return path
