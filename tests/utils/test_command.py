"""Ends of a command: one line and a status for mistakes of the user, a traceback for a bug."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from tests.support.tools import ROOT
from utils.command import run_command, writing_to
from utils.errors import Interrupted, UserError, closest


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("--lr -1: at least 0"), 2, "error: --lr -1: at least 0\n"),
        (ModuleNotFoundError("", name="av.video"), 2, "error: av is not installed for "),
        (OSError(errno.ENOSPC, "No space left on device", "a.pt"), 2, "error: a.pt: no space left on device; nothing"),
        (PermissionError(errno.EACCES, "Permission denied", "log.txt"), 2, "error: log.txt: permission denied\n"),
        (Interrupted(signal.SIGTERM, "saved in last.pt"), 143, "saved in last.pt\n"),
        (KeyboardInterrupt(), 130, "\nthe same command goes on\n"),
    ],
)
def test_mistakes_of_the_user_give_a_one_line_error(error, status, line, capsys):
    assert run_command(raising(error), "the same command goes on") == status
    out, err = capsys.readouterr()
    assert err.startswith(line) and err.count("\n") == line.count("\n") + (not line.endswith("\n"))
    assert not out


def test_the_status_of_a_command_that_ends_well_is_its_own(capsys):
    assert [run_command(lambda status=status: status) for status in (0, 1)] == [0, 1]
    assert capsys.readouterr() == ("", "")


def test_letters_that_the_terminal_lacks_are_escaped():
    code = "from utils.command import run_command\nraise SystemExit(run_command(lambda: print('lesson ä') or 0))"
    variables = os.environ | {"PYTHONIOENCODING": "ascii"}
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "lesson \\xe4\n", "")


@pytest.mark.parametrize(
    "bug",
    [
        ValueError("a bug"),
        ModuleNotFoundError("no", name="engine.nothing"),
        FileNotFoundError(errno.ENOENT, "No such file", "of ours"),
        ConnectionError("of ours"),
    ],
)
def test_a_bug_keeps_its_traceback(bug):
    with pytest.raises(type(bug)):
        run_command(raising(bug))


def test_a_place_that_cannot_be_written_is_blamed_on_its_flag():
    with pytest.raises(UserError, match="^--out data/x: no space left on device; make room and run the command again"):
        with writing_to("--out", "data/x"):
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(UserError, match="^--out data/x: is a directory$"), writing_to("--out", "data/x"):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", "data/x/a")
    with pytest.raises(UserError, match="^videos/a: permission denied$"), writing_to("--out", "data/x"):
        raise PermissionError(errno.EACCES, "Permission denied", "videos/a")
    with pytest.raises(BrokenPipeError), writing_to("--out", "data/x"):
        raise BrokenPipeError


def test_a_typing_error_is_matched_to_its_word():
    assert closest("--epoch", ["--lr", "--epochs"]) == "; did you mean --epochs?"
    assert closest("--qqq", ["--lr", "--epochs"]) == ""
    assert issubclass(UserError, ValueError)  # readers of numbers catch both


COMMANDS = ("dataloader.audit", "dataloader.pack", "dataloader.prepare", "simulate", "benchmarks.demo")
INTERRUPT = "import signal\nsignal.raise_signal(signal.SIGINT)\n"


def start(words, folder, lines, name="numpy"):
    """Start ``python WORDS`` with a module of the given name and lines."""
    (folder / f"{name}.py").write_text(lines)
    variables = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize("module", COMMANDS)
def test_ctrl_c_while_a_command_imports_gives_a_one_line_message(module, tmp_path):
    ended = start(["-m", module], tmp_path, INTERRUPT)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "\nstopped by Ctrl-C\n")  # 130 for a shell


@pytest.mark.parametrize("script", ["main.py", str(ROOT / "main.py")])
def test_ctrl_c_while_main_imports_gives_a_one_line_message(script, tmp_path):
    ended = start([script, "--help"], tmp_path, INTERRUPT, "pkgutil")
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "\nstopped by Ctrl-C\n")  # 130 for a shell


def test_a_bug_while_a_command_imports_keeps_its_traceback(tmp_path):
    ended = start(["-m", "dataloader.audit"], tmp_path, "raise ValueError('a bug')\n")
    assert ended.returncode == 1 and "Traceback" in ended.stderr and ended.stderr.endswith("ValueError: a bug\n")
