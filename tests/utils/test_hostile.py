"""A file that somebody else wrote can refuse to be read, and nothing more: no code, no loop, no memory, no crash."""

import contextlib
import copyreg
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.fuzz import time_limit
from tests.support.assemble import EXTENSION, write_helpers
from tests.support.hostile import HOSTILE
from tests.support.hostile_code import RUNS
from tests.support.tools import ROOT, error_of
from utils.archive import read_archive
from utils.errors import UserError

NAMES = list(HOSTILE)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Duplicate name"),
]


class Lair:
    """Every hostile file in a folder of its own, and what a child process met when it read them."""

    def __init__(self, root: Path) -> None:
        self.files = {name: root / f"{n:03d}" / f"file{suffix_of(name)}" for n, name in enumerate(NAMES)}
        for name, file in self.files.items():
            file.parent.mkdir()
            write_helpers(file.parent / "canary")
            file.write_bytes(HOSTILE[name](file.parent / "canary"))
        self.untouched = {name: self.listing(name) for name in NAMES}
        self.outcomes = self.read_in_a_child()

    def listing(self, name: str) -> list[str]:
        folder = self.files[name].parent
        return sorted(file.name for file in folder.iterdir()) if folder.is_dir() else ["nothing is left"]

    def read_in_a_child(self) -> dict[str, dict]:
        """A child that dies is replaced: the file it died of is known by the line that is missing."""
        outcomes: dict[str, dict] = {}
        while len(outcomes) < len(NAMES):
            left = NAMES[len(outcomes) :]
            command = [sys.executable, "-m", "tests.support.hostile_reader", *(str(self.files[name]) for name in left)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            outcomes |= dict(zip(left, lines, strict=False))
            if len(lines) < len(left):
                told = f"the process ended with {done.returncode}: {done.stderr[-300:]}"
                outcomes[left[len(lines)]] = {"outcome": "died", "told": told, "seconds": 0, "megabytes": 0}
        return outcomes


def suffix_of(name: str) -> str:
    return ".safetensors" if name.startswith("safetensors") else ".pt"


@pytest.fixture(scope="module")
def lair(tmp_path_factory) -> Lair:
    return Lair(tmp_path_factory.mktemp("lair"))


@pytest.fixture
def no_loaders(monkeypatch):
    """Nothing that could run a file's code is called on it, under any name."""

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
def test_reading_it_gives_data_or_one_line(lair, name):
    met = lair.outcomes[name]
    assert met["outcome"] in ("read", "refused"), met
    if met["outcome"] == "refused":
        assert_one_line(met["told"], lair.files[name])
    assert met["outcome"] == "refused" or not met["told"], met["told"]
    assert met["seconds"] < 2 and met["megabytes"] < 300, met
    assert lair.listing(name) == lair.untouched[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name.removeprefix("runs ") in RUNS])
def test_what_would_run_is_refused_and_not_skipped(lair, name):
    harmless = {"runs a RecorderMeter's state", "runs a RecorderMeter's slots", "runs NEWOBJ"}
    assert name in harmless or lair.outcomes[name]["outcome"] == "refused", lair.outcomes[name]


COMMANDS = {
    "eval": "--mode eval --device cpu --eval-checkpoint",
    "clip": "--mode zero-shot --device cpu --test-annotation gone.txt --clip-path",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_ends_in_one_line(lair, capsys, no_loaders, monkeypatch, tmp_path, name, command):
    if lair.outcomes[name]["outcome"] == "died":
        pytest.fail("it ends the process")  # and would end this one
    monkeypatch.chdir(tmp_path)
    with time_limit(5):
        message = error_of([*COMMANDS[command].split(), str(lair.files[name])], capsys)
    assert_one_line(message, lair.files[name])
    assert lair.listing(name) == lair.untouched[name] and not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_inspect_shows_it_or_ends_in_one_line(lair, capsys, no_loaders, monkeypatch, tmp_path, name):
    if lair.outcomes[name]["outcome"] == "died":
        pytest.fail("it ends the process")
    monkeypatch.chdir(tmp_path)
    arguments = ["--mode", "inspect", str(lair.files[name])]
    with time_limit(5):
        if lair.outcomes[name]["outcome"] == "refused":
            assert_one_line(error_of(arguments, capsys), lair.files[name])
        else:
            shown_or_refused(arguments, lair.files[name])
    assert lair.listing(name) == lair.untouched[name] and not any(tmp_path.iterdir())


def shown_or_refused(arguments: list[str], file: Path) -> None:
    from main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    assert status in (0, 2) and "Traceback" not in err.getvalue()
    assert len(out.getvalue()) < 20_000 and all(line.isprintable() for line in out.getvalue().splitlines())
    if status == 2:
        assert_one_line(err.getvalue().rstrip("\n"), file)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="folder.pt"):
        (tmp_path / "folder.pt").mkdir()
        read_archive(tmp_path / "folder.pt")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    code = (
        "import sys; from pathlib import Path; from utils.archive import read_archive; read_archive(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "pipe.pt")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=15)
    assert "UserError" in done.stderr and "pipe.pt" in done.stderr
