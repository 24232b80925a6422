"""A run folder: complete with its last file, used by one process at a time, cleaned by the next one."""

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

import analysis.results
import engine.clip_predict
import engine.session
import engine.train
from benchmarks.kill import contents, differing
from tests.engine.resume.test_failures import full_disk_for
from tests.support.resuming import (
    EPOCH,
    EPOCHS,
    assert_resumes,
    assert_same_end,
    at_forward,
    call,
    crash,
    crash_at,
    crash_run,
    failure,
    on_call,
    patched,
    resume,
    send,
    snapshot,
)
from utils.files import acquire_lock

WRITERS = {
    "the confusion matrix": (analysis.results, "draw"),
    "the mistakes": (engine.clip_predict, "write_mistakes"),
    "the model card": (engine.train, "write_model_card"),
}
END = ("curves.png", "predictions.csv", "confusion_matrix.png", "reliability.png", "mistakes", "model_card.md")
LATE_FILES = ("curves.png", "run_hash.txt", "predictions.csv", "reliability.png", "events.out", "mistake-01.jpg")
LATE_FILES = (*LATE_FILES, "mistakes.json", "model_card.md", "metrics.json")


@pytest.fixture
def unscored(uninterrupted, tmp_path) -> Path:
    """A run with all its epochs, killed before it wrote its scores."""
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "unscored"))
    for name in (*END, "metrics.json", "run_hash.txt"):
        shutil.rmtree(folder / name) if name == "mistakes" else (folder / name).unlink()
    return folder


def assert_same_folder(folder: Path, expected: Path) -> None:
    assert differing(contents(folder), contents(expected)) == []


class TestComplete:
    @pytest.mark.parametrize("writer", WRITERS)
    def test_a_run_killed_before_its_last_file_is_not_complete(self, unscored, uninterrupted, writer):
        owner, name = WRITERS[writer]
        crash_run(lambda patch: on_call(patch, owner, name, before=lambda _: crash()), "--resume", unscored)
        assert not (unscored / "metrics.json").exists()
        out = resume(unscored).out
        assert "is complete" not in out
        assert_same_folder(unscored, uninterrupted)
        assert "is complete" in resume(unscored).out

    def test_a_full_disk_names_the_file_and_the_run_does_not_count_as_complete(self, unscored, uninterrupted):
        for name in LATE_FILES:
            message = failure(partial(full_disk_for, name=name), "--resume", unscored)
            assert "no space left on device" in message and f"{unscored}/" in message and f"/{name}" in message
            assert not (unscored / "metrics.json").exists() and not list(unscored.rglob("*.part"))
        resume(unscored)
        assert_same_folder(unscored, uninterrupted)


class TestLock:
    @pytest.mark.parametrize("is_named", [True, False])
    def test_a_second_process_is_refused_in_one_line(self, flags, stopped, is_named):
        words = ("--resume", stopped) if is_named else (*flags, "--output-dir", stopped, "--resume", "auto")
        with acquire_lock(stopped / "run.lock", "busy"):
            before = snapshot(stopped)
            assert f"{stopped}: another process is working on this run" in failure(lambda _: None, *words)
            after = snapshot(stopped)
        assert {name for name in before if after.pop(name, None) != before[name]} <= {"run.lock"} and not after

    def test_readers_do_not_wait_for_the_lock(self, uninterrupted, tmp_path):
        folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
        with acquire_lock(folder / "run.lock", "busy"):
            call("--mode", "report", folder, "--output-dir", tmp_path / "report").ok()
            call("--mode", "compare", folder, uninterrupted, "--output-dir", tmp_path / "comparison").ok()
            assert "is complete" in resume(folder).out

    def test_the_lock_file_of_a_killed_process_does_not_lock(self, stopped, uninterrupted):
        (stopped / "run.lock").touch()
        assert_resumes(stopped, uninterrupted)
        assert not (stopped / "run.lock").exists()

    def test_a_run_that_progressed_before_the_lock_is_not_reset(self, stopped, uninterrupted):
        def prepare(patch: pytest.MonkeyPatch) -> None:
            on_call(patch, engine.session, "reopen_run", before=lambda _: os.utime(stopped / "last.pt"))

        assert "another process has just worked on this run" in failure(prepare, "--resume", stopped)
        assert_resumes(stopped, uninterrupted)

    def test_two_processes_at_the_same_time_give_one_run(self, flags, stopped, uninterrupted):
        """At the beginning of each epoch a second process starts."""
        messages = []

        def come(_: int) -> None:
            messages.append(failure(lambda _: None, "--resume", stopped))

        def prepare(patch: pytest.MonkeyPatch) -> None:
            on_call(patch, engine.train.Trainer, "train_epoch", before=come)

        patched(prepare, "--resume", stopped).ok()
        assert messages and all("another process" in message for message in messages)
        assert_same_end(stopped, uninterrupted)


class TestLeftovers:
    def test_half_written_files_are_removed_but_not_those_of_other_runs(self, stopped):
        (stopped / "mistakes").mkdir()
        (stopped / "seed-1").mkdir()
        (stopped / "seed-1/config.json").touch()
        parts = [stopped / name for name in ("last.pt.part", "mistakes/mistake-01.jpg.part", "seed-1/last.pt.part")]
        for part in parts:
            part.touch()
        resume(stopped)
        assert [part.exists() for part in parts] == [False, False, True]

    @pytest.mark.parametrize("is_named", [True, False])
    def test_a_run_without_a_checkpoint_restarts_in_its_folder(self, flags, uninterrupted, tmp_path, is_named):
        folder = tmp_path / "run"
        crash_at(2, *flags, "--output-dir", folder)
        words = ("--resume", folder) if is_named else (*flags, "--output-dir", folder, "--resume", "auto")
        out = call(*words, folder=folder).ok().out
        assert f"{folder}: no checkpoint there yet" in out
        assert_same_folder(folder, uninterrupted)

    def test_an_evaluation_or_a_run_with_removed_checkpoints_does_not_restart(self, uninterrupted, tmp_path):
        folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
        for name in ("last.pt", "last.previous.pt", "metrics.json"):
            (folder / name).unlink()
        assert "no last.pt there" in failure(lambda _: None, "--resume", folder)
        shutil.copyfile(uninterrupted / "config.json", tmp_path / "config.json")
        text = (tmp_path / "config.json").read_text().replace('"mode": "train"', '"mode": "eval"')
        (tmp_path / "config.json").write_text(text)
        assert "holds a run of --mode eval" in failure(lambda _: None, "--resume", tmp_path)


def test_a_second_sigterm_does_not_break_the_saving(flags, uninterrupted, tmp_path):
    def prepare(patch: pytest.MonkeyPatch) -> None:
        at_forward(patch, EPOCH + 3, send(signal.SIGTERM))
        on_call(patch, os, "fsync", before=lambda _: send(signal.SIGTERM)())

    run = patched(prepare, *flags, "--output-dir", tmp_path / "run")
    assert run.status == 143 and run.out.count("stopping:") == 1
    assert_resumes(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("error", [BrokenPipeError(), RuntimeError("reentrant call inside <_io.BufferedWriter>")])
def test_a_signal_is_obeyed_even_if_the_message_cannot_be_printed(flags, uninterrupted, tmp_path, error):
    """Ctrl-C also ends the reader of a pipe, and it may arrive while a line is being printed."""

    def prepare(patch: pytest.MonkeyPatch) -> None:
        def fail(*_, **__):
            raise error

        patch.setattr("engine.interrupt.print", fail, raising=False)
        at_forward(patch, EPOCH + 3, send(signal.SIGINT))

    assert patched(prepare, *flags, "--output-dir", tmp_path / "run").status == 130
    assert_resumes(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("batch", [2, EPOCH * EPOCHS + 1])
def test_a_run_folder_replaced_by_a_file_gives_a_one_line_error(flags, tmp_path, batch):
    folder = tmp_path / "run"

    def act() -> None:
        shutil.rmtree(folder)
        folder.touch()

    message = failure(partial(at_forward, number=batch, act=act), *flags, "--output-dir", folder)
    assert str(folder) in message and folder.is_file()
