"""Damaged files fall back, a run goes on as it began, and auto finds the right one."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.resuming import (
    DAMAGES,
    assert_same_end,
    at_forward,
    begin,
    call,
    changed,
    crash,
    crash_run,
    interrupt,
    read,
    resume,
    send,
    snapshot,
    truncate,
)
from tests.support.tools import error_of


class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_falls_back_to_the_checkpoint_before_and_says_so(self, halted, alone, damage):
        DAMAGES[damage](halted / "last.pt")
        said = begin("--resume", halted) if damage in ("flipped", "empty") else resume(halted).out
        warned = [line for line in said.splitlines() if line.startswith("warning: ") and "last.pt" in line]
        assert len(warned) == 1 and "before it" in warned[0]
        assert f"resumed from {halted / 'last.previous.pt'}" in said
        if (halted / "metrics.json").exists():
            assert_same_end(halted, alone())

    @pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
    def test_both_damaged_is_one_line(self, halted, capsys, damage):
        for name in ("last.pt", "last.previous.pt"):
            DAMAGES[damage](halted / name)
        before = snapshot(halted)
        message = error_of(["--resume", str(halted)], capsys)
        assert str(halted / "last.pt") in message and "no sound checkpoint before it" in message
        assert snapshot(halted) == before

    def test_a_damaged_best_is_said_and_the_rest_of_the_run_is_not_lost(self, halted):
        truncate(halted / "best.pt")
        done = resume(halted)
        assert "the best checkpoint so far (epoch 1) is lost" in done.out
        assert read(halted / "best.pt")["epoch"] in (2, 3)

    @pytest.mark.parametrize("name", ["gone", "gone/last.pt", "best.pt", "."])
    def test_a_path_without_a_run(self, halted, tmp_path, capsys, name):
        path = halted / "best.pt" if name == "best.pt" else tmp_path / name
        assert f"{path}" in error_of(["--resume", str(path)], capsys)


class TestOptions:
    @pytest.mark.parametrize(
        "more",
        ["--lr 0.5", "--batch-size 4", "--seed 1", "--optimizer SGD", "--milestones 1", "--no-deterministic"],
    )
    def test_a_flag_that_differs_is_named(self, halted, capsys, more):
        before = snapshot(halted)
        flag = more.split()[0].replace("--no-", "--")
        message = error_of(["--resume", str(halted), *more.split()], capsys)
        assert flag in message and "run was started with" in message
        assert snapshot(halted) == before

    def test_the_command_that_began_the_run_can_be_typed_again(self, flags, halted, alone):
        done = call(*flags, "--resume", halted)
        assert done.status == 0, done.err
        assert_same_end(halted, alone())

    @pytest.mark.parametrize("more", [("--use-amp",), ("--gpu", "7"), ("--lr-fusion", "0.02", "--val-fraction", "0.3")])
    def test_that_holds_for_flags_that_are_resolved_into_others(self, flags, tmp_path, more):
        kept = [word for word in flags if word not in ("--device", "cpu")] if "--gpu" in more else flags
        assert interrupt(kept, tmp_path / "run", signal.SIGTERM, 1, *more).status == 143
        with pytest.MonkeyPatch.context() as patch:
            at_forward(patch, 1, send(signal.SIGTERM))
            again = call(*kept, *more, "--resume", tmp_path / "run")
        assert again.status == 143, again.err

    def test_what_no_result_depends_on_may_differ(self, halted, alone):
        resume(halted, *"--workers 2 --print-freq 1 --device cpu --save-every-minutes 0".split())
        assert_same_end(halted, alone())

    def test_more_epochs_continue_a_complete_run(self, flags, alone, tmp_path):
        folder = tmp_path / "run"
        assert call(*flags, "--epochs", "2", "--output-dir", folder).status == 0
        resume(folder, "--epochs", "3")
        assert_same_end(folder, alone())

    def test_fewer_epochs_than_are_done_is_one_line(self, alone, tmp_path, capsys):
        before = snapshot(alone())
        message = error_of(["--resume", str(alone()), "--epochs", "2"], capsys)
        assert "--epochs 2" in message and "3 epochs" in message
        assert snapshot(alone()) == before

    @pytest.mark.parametrize("how", ["path", "auto"])
    def test_a_complete_run_says_so_and_nothing_changes(self, flags, alone, how):
        before = snapshot(alone())
        auto = (*flags, "--output-dir", alone(), "--resume", "auto")
        done = call("--resume", alone()) if how == "path" else call(*auto)
        assert done.status == 0 and "complete" in done.out and done.err == ""
        assert snapshot(alone()) == before

    def test_resume_is_refused_where_nothing_is_trained(self, flags, alone, tmp_path, capsys):
        evaluation = [*flags, "--mode", "zero-shot", "--output-dir", str(tmp_path / "x"), "--resume", str(alone())]
        assert "--resume" in error_of([w for w in evaluation if w != "--deterministic"], capsys)


class TestAuto:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    @staticmethod
    def place(run: Path, name: str, age: float) -> Path:
        """A copy of ``run`` in outputs/, ``age`` seconds old."""
        folder = Path(shutil.copytree(run, Path("outputs") / name))
        for file in folder.glob("last*.pt"):
            stamp = file.stat().st_mtime - age
            os.utime(file, (stamp, stamp))
        return folder

    def test_nothing_there_begins_a_new_run_and_says_so(self, flags, tmp_path):
        said = begin(*flags, "--resume", "auto")
        assert "nothing to go on from, a new run begins" in said and "resumed from" not in said
        assert len(list(Path("outputs").glob("run-*"))) == 1

    def test_the_newest_of_several_goes_on(self, flags, halted_once, alone):
        folders = [self.place(halted_once, f"run-{n}", age) for n, age in enumerate([50, 10, 90])]
        done = call(*flags, "--resume", "auto")
        assert done.status == 0 and f"resumed from {folders[1] / 'last.pt'}" in done.out
        assert_same_end(folders[1], alone())
        assert not (folders[0] / "metrics.json").exists() and len(list(Path("outputs").iterdir())) == 3

    def test_a_newer_damaged_one_is_skipped_and_named(self, flags, halted_once):
        older, newer = self.place(halted_once, "run-a", 60), self.place(halted_once, "run-b", 10)
        for name in ("last.pt", "last.previous.pt"):
            stamp = (newer / name).stat().st_mtime
            truncate(newer / name)
            os.utime(newer / name, (stamp, stamp))
        said = begin(*flags, "--resume", "auto")
        assert f"resumed from {older / 'last.pt'}" in said
        assert [line for line in said.splitlines() if line.startswith("warning: not resumed") and str(newer) in line]

    def test_one_damaged_file_of_the_newest_falls_back_inside_that_run(self, flags, halted_once):
        self.place(halted_once, "run-a", 60)
        newer = self.place(halted_once, "run-b", 10)
        truncate(newer / "last.pt")
        said = begin(*flags, "--resume", "auto")
        assert f"resumed from {newer / 'last.previous.pt'}" in said and "before it" in said

    @pytest.mark.parametrize("name", ["other", "run-two"])
    def test_another_experiment_is_not_taken(self, flags, halted_once, name):
        folder = self.place(halted_once, f"{name}-20260101-000000", 10)
        for file in folder.glob("last*.pt"):
            changed(file, lambda content: content["config"]["run"].update(exper_name=name))
        before = snapshot(folder)
        said = begin(*flags, "--resume", "auto")
        assert "resumed from" not in said and snapshot(folder) == before

    def test_other_options_are_not_taken_and_the_option_is_named(self, flags, halted_once):
        folder = self.place(halted_once, "run-a", 10)
        before = snapshot(folder)
        said = begin(*flags, "--resume", "auto", "--lr", "0.5")
        assert "resumed from" not in said and snapshot(folder) == before
        assert [line for line in said.splitlines() if str(folder) in line and "started with 0.003" in line]

    def test_a_named_folder_that_never_saved_is_begun_again(self, flags, alone):
        crash_run(lambda patch: at_forward(patch, 2, crash), *flags, "--output-dir", "X")
        assert (Path("X") / "config.json").exists() and not (Path("X") / "last.pt").exists()
        done = call(*flags, "--output-dir", "X", "--resume", "auto")
        assert done.status == 0, done.err
        assert_same_end(Path("X"), alone())

    def test_a_named_folder_that_does_not_exist_is_made(self, flags):
        assert "a new run begins" in begin(*flags, "--resume", "auto", "--output-dir", "X")
        assert (Path("X") / "config.json").exists() and not Path("outputs").exists()

    def test_a_named_folder_with_other_options_is_one_line_that_names_the_option(self, flags, halted, capsys):
        before = snapshot(halted)
        message = error_of([*flags, "--lr", "0.5", "--output-dir", str(halted), "--resume", "auto"], capsys)
        assert str(halted) in message and snapshot(halted) == before
        assert "--lr" in message

    def test_a_named_folder_whose_checkpoints_are_damaged_is_one_line_that_says_so(self, flags, halted, capsys):
        for name in ("last.pt", "last.previous.pt"):
            truncate(halted / name)
        before = snapshot(halted)
        message = error_of([*flags, "--output-dir", str(halted), "--resume", "auto"], capsys)
        assert snapshot(halted) == before
        assert "last.pt" in message

    def test_fewer_epochs_than_are_done_is_never_called_complete(self, flags, alone):
        done = call(*flags, "--epochs", "2", "--output-dir", alone(), "--resume", "auto")
        assert "complete (2 epochs" not in done.out
