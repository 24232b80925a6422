"""Hostile files are refused and cannot run code, loop, fill the memory or crash the process."""

import contextlib
import copyreg
import io
import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from benchmarks.fuzz import time_limit
from tests.support import hostile_reader
from tests.support.assemble import EXTENSION
from tests.support.forked import Forked
from tests.support.hostile import CALLED, HOSTILE, RUNS
from tests.support.tools import error_of
from utils.archive import read_archive
from utils.errors import UserError

NAMES = list(HOSTILE)
MUTED = {"runs a RecorderMeter's state", "runs a RecorderMeter's slots", "runs NEWOBJ"}  # no code would run
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Duplicate name"),
]


class Lair:
    """Every hostile file in a separate folder, and the results of a child process that read them."""

    def __init__(self, root: Path) -> None:
        self.root, self.files = root, {}
        for n, name in enumerate(NAMES):
            self.files[name] = root / f"{n:03d}" / ("file.safetensors" if name.startswith("safetensors") else "file.pt")
            self.files[name].parent.mkdir()
            self.files[name].write_bytes(HOSTILE[name](self.files[name].parent / "canary"))
        self.untouched = {name: self.listing(name) for name in NAMES}
        self.outcomes = self.read_in_a_child()

    def listing(self, name: str) -> list[str]:
        folder = self.files[name].parent
        return sorted(file.name for file in folder.iterdir()) if folder.is_dir() else ["the folder is gone"]

    def read_in_a_child(self) -> dict[str, dict]:
        """Read files in a child process. If it dies, the first file without a result is the cause; a new one starts."""
        outcomes: dict[str, dict] = {}
        while len(outcomes) < len(NAMES):
            names = NAMES[len(outcomes) :]
            child = Forked(hostile_reader.main, [str(self.files[name]) for name in names], self.root / "screen")
            out, err = child.communicate()
            lines = [json.loads(line) for line in out.splitlines()]
            outcomes |= dict(zip(names, lines, strict=False))
            if len(lines) < len(names):
                message = f"the process ended with {child.returncode}: {err[-300:]}"
                outcomes[names[len(lines)]] = {"outcome": "died", "message": message, "seconds": 0, "megabytes": 0}
        return outcomes


@pytest.fixture(scope="module")
def lair(tmp_path_factory) -> Lair:
    return Lair(tmp_path_factory.mktemp("lair"))


@pytest.fixture
def no_loaders(monkeypatch):
    """No function that could run the code of a file is called."""

    def never(*_, **__):
        raise AssertionError("a loader that runs code was called on a foreign file")

    for module, name in ((torch, "load"), (torch.jit, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, never)
    copyreg.add_extension("os", "system", EXTENSION)
    yield
    copyreg.remove_extension("os", "system", EXTENSION)


def assert_one_line(message: str, file: Path) -> None:
    assert str(file) in message
    assert message.isprintable(), f"control characters reach the screen: {message!r}"
    assert len(message) < len(str(file)) + 400


@pytest.mark.parametrize("name", NAMES)
def test_reading_a_hostile_file_gives_data_or_a_one_line_error(lair, name):
    result = lair.outcomes[name]
    assert result["outcome"] in ("read", "refused"), result
    if result["outcome"] == "refused":
        assert_one_line(result["message"], lair.files[name])
    else:
        assert not result["message"]
    assert result["seconds"] < 2 and result["megabytes"] < 300, result
    assert lair.listing(name) == lair.untouched[name]
    if name.removeprefix("runs ") in RUNS and name not in MUTED:  # code is refused and not skipped
        assert result["outcome"] == "refused"
    if name.removeprefix("runs ") in CALLED:  # by its name, before anything is called
        assert f"holds {name.removeprefix('runs ')}, which" in result["message"]


COMMANDS = {
    "eval": "--mode eval --device cpu --eval-checkpoint",
    "clip": "--mode zero-shot --device cpu --test-annotation gone.txt --clip-path",
    "inspect": "--mode inspect",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_gives_a_one_line_error(lair, capsys, no_loaders, monkeypatch, tmp_path, name):
    """All commands read a file alike, so one that is refused is given to one of them in turn."""
    outcome = lair.outcomes[name]["outcome"]
    if outcome == "died":
        pytest.fail("it ends the process")  # and would end this process
    monkeypatch.chdir(tmp_path)
    in_turn = list(COMMANDS)[NAMES.index(name) % len(COMMANDS)]
    for command in COMMANDS if outcome == "read" else [in_turn]:
        words = COMMANDS[command]
        arguments = [*words.split(), str(lair.files[name])]
        with time_limit(5):
            if command == "inspect" and outcome == "read":
                assert_shown_or_one_line(arguments, lair.files[name])
            else:
                assert_one_line(error_of(arguments, capsys), lair.files[name])
        assert lair.listing(name) == lair.untouched[name] and not any(tmp_path.iterdir()), command


def assert_shown_or_one_line(arguments: list[str], file: Path) -> None:
    from main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    assert status in (0, 2) and "Traceback" not in err.getvalue()
    assert len(out.getvalue()) < 20_000 and all(line.isprintable() for line in out.getvalue().splitlines())
    if status == 2:
        assert_one_line(err.getvalue().rstrip("\n"), file)


def test_a_folder_instead_of_a_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="folder.pt"):
        (tmp_path / "folder.pt").mkdir()
        read_archive(tmp_path / "folder.pt")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    out, _ = Forked(hostile_reader.main, [tmp_path / "pipe.pt"], tmp_path / "screen").communicate()
    assert json.loads(out)["outcome"] == "refused" and "pipe.pt" in out
