"""A disk that is full, a folder that is gone: one line, and what was written before stays."""

import builtins
import errno
import io
import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from main import main
from tests.support.forked import Forked
from tests.support.resuming import (
    assert_same_end,
    at_forward,
    broken,
    call,
    one_line,
    resume,
    send,
)
from tests.support.tools import Run

OFTEN = ("--save-every-minutes", "1e-9")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(scope="module", name="alone")
def left_alone(alone) -> Path:
    return alone()


def full_disk_from(patch: pytest.MonkeyPatch, number: int) -> None:
    """No file gets to the disk from the ``number``-th on."""
    seen: list[None] = []

    def fail(_: int) -> None:
        seen.append(None)
        if len(seen) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(os, "fsync", fail)


def full_for(patch: pytest.MonkeyPatch, name: str, first: int = 1) -> None:
    """Python's files of this name, or made on the way to it, are on a full disk from the ``first`` one on."""
    opened, seen = builtins.open, []

    def guarded(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        named = isinstance(file, (str, os.PathLike)) and Path(file).name.startswith(name)
        if named and set(mode) & set("wax+"):
            seen.append(None)
            if len(seen) >= first:
                if "w" in mode and Path(file).is_file():
                    opened(file, "w").close()  # what was there is cut off even so
                file, mode = "/dev/full", mode.replace("x", "w").replace("a", "w")
        return opened(file, mode, *arguments, **more)

    patch.setattr(builtins, "open", guarded)
    patch.setattr(io, "open", guarded)


class TestFullDisk:
    @pytest.mark.parametrize("number", [1, 3])
    def test_while_a_checkpoint_is_written(self, halted, alone, number):
        names = ("last.pt", "last.previous.pt", "best.pt")
        kept = {name: (halted / name).read_bytes() for name in names}
        message = one_line(broken(lambda patch: full_disk_from(patch, number), "--resume", halted, *OFTEN))
        assert ".pt: cannot be written (no space left on device)" in message and str(halted) in message
        if number == 1:
            assert {name: (halted / name).read_bytes() for name in names} == kept
        assert not list(halted.glob("*.part"))
        resume(halted)
        assert_same_end(halted, alone)

    def test_when_a_signal_asks_for_one(self, halted, alone):
        def prepare(patch: pytest.MonkeyPatch) -> None:
            full_disk_from(patch, 1)
            at_forward(patch, 2, send(signal.SIGTERM))

        before = (halted / "last.pt").read_bytes()
        assert "no space left on device" in one_line(broken(prepare, "--resume", halted))
        assert (halted / "last.pt").read_bytes() == before
        resume(halted)
        assert_same_end(halted, alone)

    def test_a_rename_that_fails(self, halted, alone):
        rename = os.replace

        def fail(old: Path, new: Path) -> None:
            if Path(new).name == "last.pt":
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            rename(old, new)

        message = one_line(broken(lambda patch: patch.setattr(os, "replace", fail), "--resume", halted))
        assert "quota" in message
        resume(halted)
        assert_same_end(halted, alone)

    def test_a_limit_of_the_system(self, halted, alone):
        """A real one: what torch writes fails half-way."""
        before, limit = (halted / "last.pt").read_bytes(), (halted / "last.pt").stat().st_size - 100_000
        limited = Forked(main, ["--resume", halted], halted.parent / "screen", file_bytes=limit)
        out, err = limited.communicate()
        message = one_line(Run(limited.returncode, halted, out, err))
        assert "last.pt: cannot be written" in message
        assert (halted / "last.pt").read_bytes() == before and not list(halted.glob("*.part"))
        resume(halted)
        assert_same_end(halted, alone)

    @pytest.mark.parametrize("name", ["log.txt", "config.json", "metrics.jsonl", "predictions.csv", "metrics.json"])
    def test_any_other_file_of_a_run_that_goes_on(self, halted, alone, name):
        """The one of ``metrics.jsonl`` that is restored is the first, that of the next epoch the second."""
        firsts = (1, 2) if name == "metrics.jsonl" else (1,)
        for first in firsts:
            before = json.loads((halted / "config.json").read_text())["optim"]
            message = one_line(broken(lambda patch, n=first: full_for(patch, name, n), "--resume", halted))
            assert "no space left on device" in message
            assert json.loads((halted / "config.json").read_text() or "{}").get("optim") == before
        resume(halted)
        assert_same_end(halted, alone)

    @pytest.mark.parametrize("name", ["log.txt", "config.json"])
    def test_the_first_files_of_a_new_run(self, flags, tmp_path, name):
        folder = tmp_path / "run"
        message = one_line(broken(lambda patch: full_for(patch, name), *flags, "--output-dir", folder))
        assert "no space left on device" in message
        assert call(*flags, "--epochs", "1", "--output-dir", folder).status == 0

    @pytest.mark.parametrize("name", ["log.txt", "predictions.csv", "metrics.json"])
    def test_the_files_of_an_evaluation(self, flags, alone, tmp_path, name):
        data = flags[flags.index("--root-dir") :]
        evaluation = ("--mode", "eval", "--eval-checkpoint", alone / "best.pt", *data)
        done = broken(lambda patch: full_for(patch, name), *evaluation, "--output-dir", tmp_path / "eval")
        assert "no space left on device" in one_line(done)

    def test_a_folder_that_is_gone(self, flags, tmp_path):
        folder = tmp_path / "run"
        remove = partial(at_forward, number=2, act=lambda: shutil.rmtree(folder))
        message = one_line(broken(remove, *flags, "--output-dir", folder))
        assert str(folder) in message
