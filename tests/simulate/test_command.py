"""`python -m simulate`: mistakes, folders that are not empty, interruption, the next command, reproducible bytes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from engine.train import Trainer
from simulate import LayoutSettings, Settings, VideoSettings, write_set
from simulate.__main__ import main
from tests.support.drawn import SMALL, files_of
from tests.support.resuming import crash, crash_run
from tests.support.tools import ROOT, main_arguments, run_ok

QUICK = Settings(persons=3, clips=10, width=64, height=48, frames=2)
QUICK_FLAGS = "--persons 3 --clips 10 --width 64 --height 48 --frames 2".split()
VIDEOS = VideoSettings(clips=8, frames=12)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ("--clips 0", "--clips 0: expected"),
        ("--persons 1", "--persons 1: expected 2 to 999 with --split persons-apart"),
        ("--test-fraction 1.5", "--test-fraction 1.5: expected a share between 0 and 1"),
        ("--seed -1", "--seed -1: expected 0 or more"),
        ("--width 63", "--width 63: expected 64 to 1920"),
        ("--workers 0", "--workers 0"),
        ("--split none", "--split: invalid choice"),
        ("--width wide", "--width: invalid int value"),
        ("--clip 10", "unrecognized arguments: --clip 10"),
        ("--layout DFEW", "--layout: invalid choice"),
        ("--layout dfew --split persons-apart", "--split is not used with --layout dfew; it is only for raer"),
        ("--layout mafw --test-fraction 0.2", "--test-fraction is not used with --layout mafw: its folds are fifths"),
        ("--layout afew --width 320", "--width is not used with --layout afew: its faces are 128 pixels wide"),
        ("--layout caer-s --frames 8", "--frames is not used with --layout caer-s: it holds single pictures"),
        ("--layout dfew --clips 34", "--clips 34: expected enough for one of each of 7 classes"),
        ("--layout mafw --persons 4", "--persons 4: expected 5 to 999"),
        ("--layout caer --test-fraction 1", "--test-fraction 1.0"),
        ("--layout affwild2 --persons 12", "--persons is not used with --layout affwild2"),
        ("--layout affwild2 --width 112", "--width is not used with --layout affwild2"),
        ("--layout affwild2 --clips 7", "--clips 7: expected 8 to 998"),
        ("--layout affwild2 --frames 0", "--frames 0: expected 1 to 99999"),
        ("--layout affwild2 --test-fraction 1", "--test-fraction 1.0: expected a share between 0 and 1"),
    ],
)
def test_mistakes_give_a_one_line_error(arguments, expected, tmp_path, capsys):
    try:
        code = main(["--out", str(tmp_path / "set"), *arguments.split()])
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1 and expected in error
    assert not list(tmp_path.iterdir())


def test_help_describes_a_flag_for_each_layout(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0 and "--seed SEED same seed, same bytes (default: 42)" in text
    assert "raer: how many persons (default: 40); other layouts: how many persons (default: 30) --clips" in text


@pytest.mark.parametrize(
    ("layout", "flags"),
    [
        ("raer", "--persons 6 --clips 40 --width 64 --height 48 --frames 2"),
        ("mafw", "--clips 75 --persons 12 --frames 2"),
        ("affwild2", "--clips 8 --frames 12"),
    ],
)
def test_the_printed_command_trains_on_the_set(layout, flags, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = ["--layout", layout, "--out", str(tmp_path / "my set"), *flags.split()]
    command = printed_command(words, capsys)
    assert printed_command(words, capsys) == command  # the set exists now, and the command is printed again
    quick = "--epochs 1 --batch-size 8 --workers 0 --device cpu".split()
    quick += [] if layout == "affwild2" else ["--milestones", "--num-segments", "2"]
    run = run_ok([*main_arguments(command), *quick], tmp_path / "run")
    assert run.metrics and list(run.folder.rglob("best.pt"))


def printed_command(words, capsys):
    """Return the only command for main.py that is printed when a set is written, or exists."""
    assert main(words) == 0
    (command,) = (line for line in capsys.readouterr().out.splitlines() if " main.py " in line)
    return command


@pytest.mark.parametrize("layout", SMALL)
def test_the_printed_command_reads_the_lists_and_boxes_of_every_layout(layout, drawn, capsys, monkeypatch):
    """tests/test_data_sets.py and tests/test_stills.py train on each of them."""
    monkeypatch.chdir(ROOT)
    sizes = {name: getattr(SMALL[layout], name) for name in ("clips", "persons", "frames", "width", "height")}
    given = {name: size for name, size in sizes.items() if size != getattr(LayoutSettings(layout=layout), name)}
    flags = [word for name, size in given.items() for word in (f"--{name}", str(size))]
    command = printed_command(["--layout", layout, "--out", str(drawn(layout)), *flags], capsys)
    crash_run(lambda patch: patch.setattr(Trainer, "_cache", lambda *_: crash()), *main_arguments(command))


def test_folders_that_are_not_empty_are_not_changed(tmp_path, capsys):
    out = tmp_path / "sets" / "raer"
    assert main(["--out", str(out), *QUICK_FLAGS, "--workers", "1"]) == 0
    assert "wrote 10 clips of 3 persons" in capsys.readouterr().out
    before = files_of(out)
    assert main(["--out", str(out), *QUICK_FLAGS]) == 0
    assert "already holds this set" in capsys.readouterr().out
    assert main(["--out", str(out), *QUICK_FLAGS, "--seed", "7"]) == 2
    assert "seed 42 instead of 7" in capsys.readouterr().err
    assert main(["--out", str(out), "--layout", "dfew", "--clips", "40"]) == 2
    assert "layout raer instead of dfew" in capsys.readouterr().err
    assert files_of(out) == before
    notes = tmp_path / "notes" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    for folder in (notes.parent, notes, notes / "below"):
        assert main(["--out", str(folder), *QUICK_FLAGS]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert files_of(notes.parent) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("settings", [QUICK, SMALL["daisee"], VIDEOS])
def test_the_same_settings_give_the_same_bytes_with_any_number_of_processes(settings, tmp_path):
    for workers in (1, 3):
        assert write_set(tmp_path / str(workers), settings, workers)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "3")
    assert not write_set(tmp_path / "1", settings)  # the set exists already


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number, repeated, tmp_path):
    command = [sys.executable, "-m", "simulate", "--out", str(tmp_path / "sim"), "--workers", "2"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        deadline = time.monotonic() + 600
        while not list(tmp_path.rglob("*.jpg")) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
        while repeated and run.poll() is None:
            time.sleep(0.005)
            run.send_signal(signal.SIGINT)
        error = run.communicate(timeout=600)[1]
    assert run.returncode == 130 and error.count("\n") == 1 and error.startswith("interrupted")
    assert not list(tmp_path.iterdir())
