"""Killed, stopped or crashed at any moment and resumed, a run ends as if it had been left alone."""

import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import kill
from engine.keep import Keeper
from main import main
from tests.support.forked import Forked
from tests.support.resuming import (
    EPOCH,
    EPOCHS,
    STEPS,
    WORDS,
    after_call,
    assert_same_end,
    at_forward,
    call,
    crash,
    crash_at_last_rename,
    crash_run,
    interrupt,
    read,
    resume,
    send,
    truncate,
)
from utils.runlog import RunLog


def test_killed_runs_end_equal(tmp_path, monkeypatch):
    def start(command: list[str], **_: object) -> Forked:
        assert command[:2] == [sys.executable, "main.py"]
        return Forked(main, command[2:], tmp_path / Path(command[command.index("--output-dir") + 1]).name)

    monkeypatch.setattr(kill, "subprocess", SimpleNamespace(Popen=start, DEVNULL=None, PIPE=None))
    assert kill.kill_many(tmp_path, times=2, seed=3)[0] == 2


class TestSignals:
    @pytest.mark.parametrize(
        ("batch", "number"),
        [
            (1, signal.SIGTERM),  # the first step, mid-window
            (STEPS - 1, signal.SIGINT),  # the end of a window
            (STEPS, signal.SIGINT),  # the last step, a window of its own
            (STEPS + 2, signal.SIGTERM),  # inside validation
            (EPOCH, signal.SIGINT),  # the last batch of validation
            (EPOCH * 2 + STEPS, signal.SIGTERM),  # the last step of all
            (EPOCH * EPOCHS, signal.SIGTERM),  # the last batch before the end
        ],
    )
    def test_a_stopped_run_goes_on_to_the_same_end(self, flags, alone, tmp_path, batch, number):
        folder = tmp_path / "run"
        stopped = interrupt(flags, folder, number, batch)
        assert stopped.status == WORDS[number], stopped.out
        assert f"--resume {folder}" in stopped.err and stopped.err.count("\n") == 1
        assert (folder / "last.pt").exists() and not (folder / "predictions.csv").exists()
        resumed = resume(folder)
        assert f"resumed from {folder / 'last.pt'}" in resumed.out
        assert_same_end(folder, alone())

    @pytest.mark.parametrize(
        ("batch", "more"),
        [
            (EPOCH + 3, ("--optimizer", "SGD", "--grad-clip", "0.5")),
            (EPOCH + 4, ("--use-weighted-sampler", "--save-every-minutes", "0")),
            (EPOCH * 2 - 1, ("--select-on", "last")),
            (EPOCH * EPOCHS, ("--select-on", "last")),
        ],
    )
    def test_whatever_the_options(self, flags, alone, tmp_path, batch, more):
        stopped = interrupt(flags, tmp_path / "run", signal.SIGTERM, batch, *more)
        assert stopped.status == 143, stopped.out
        resume(tmp_path / "run")
        assert_same_end(tmp_path / "run", alone(*more))

    @pytest.mark.parametrize("batch", [EPOCH + 3, STEPS + 2])
    def test_with_cached_features(self, flags, alone, tmp_path_factory, tmp_path, batch):
        cache = tmp_path_factory.getbasetemp() / "cache"
        more = ("--cache-features", "--lr-image-encoder", "0", "--cache-dir", str(cache))
        assert interrupt(flags, tmp_path / "run", signal.SIGTERM, batch, *more).status == 143
        assert "image_encoder" in read(tmp_path / "run/last.pt")["left_out"]
        resume(tmp_path / "run")
        assert_same_end(tmp_path / "run", alone(*more))

    @pytest.mark.parametrize(("before", "after", "batch"), [(2, 2, EPOCH + 3), (2, 0, STEPS + 2), (0, 2, STEPS + 1)])
    def test_with_decoding_processes(self, flags, alone, tmp_path, before, after, batch):
        stopped = interrupt(flags, tmp_path / "run", signal.SIGTERM, batch, "--workers", str(before))
        assert stopped.status == 143
        resume(tmp_path / "run", "--workers", str(after))
        assert_same_end(tmp_path / "run", alone())

    def test_twice_in_one_run(self, flags, alone, tmp_path):
        folder = tmp_path / "run"
        assert interrupt(flags, folder, signal.SIGTERM, 4).status == 143
        with pytest.MonkeyPatch.context() as patch:
            at_forward(patch, 1, send(signal.SIGINT))  # the step that was already under way, again
            assert call("--resume", folder).status == 130
        resume(folder)
        assert_same_end(folder, alone())


class TestCrashes:
    @pytest.mark.parametrize("number", [1, 3, 5])
    def test_after_saving_inside_an_epoch(self, flags, alone, tmp_path, number):
        often = ("--save-every-minutes", "1e-9")
        crash_run(
            lambda patch: after_call(patch, Keeper, "save_last", number), *flags, *often, "--output-dir", tmp_path / "r"
        )
        progress = read(tmp_path / "r/last.pt")["progress"]
        assert (progress["epoch"], progress["step"]) == {1: (0, 2), 3: (0, 5), 5: (1, 2)}[number]
        resume(tmp_path / "r")
        assert_same_end(tmp_path / "r", alone())

    @pytest.mark.parametrize(("number", "more"), [(1, ()), (2, ()), (3, ("--select-on", "last"))])
    def test_between_best_and_last(self, flags, alone, tmp_path, number, more):
        often = ("--save-every-minutes", "1e-9")
        crash_run(
            lambda patch: after_call(patch, Keeper, "save_best", number),
            *(*flags, *often, *more, "--output-dir", tmp_path / "run"),
        )
        assert read(tmp_path / "run/best.pt")["epoch"] == read(tmp_path / "run/last.pt")["epoch"] + 1
        resume(tmp_path / "run")
        assert_same_end(tmp_path / "run", alone(*more))

    @pytest.mark.parametrize("epoch", [1, 3])
    def test_between_last_and_its_line_of_metrics(self, flags, alone, tmp_path, epoch):
        def prepare(patch: pytest.MonkeyPatch) -> None:
            write = RunLog.epoch
            patch.setattr(RunLog, "epoch", lambda log, new: crash() if new["epoch"] == epoch else write(log, new))

        crash_run(prepare, *flags, "--output-dir", tmp_path / "run")
        assert read(tmp_path / "run/last.pt")["epoch"] == epoch
        done = resume(tmp_path / "run")
        assert [line["epoch"] for line in done.history] == [1, 2, 3]
        assert_same_end(tmp_path / "run", alone())

    def test_after_its_line_of_metrics_and_before_the_next_checkpoint(self, flags, alone, tmp_path):
        crash_run(lambda patch: at_forward(patch, EPOCH + 4, crash), *flags, "--output-dir", tmp_path / "run")
        with open(tmp_path / "run/metrics.jsonl", "a") as file:
            file.write('{"epoch": 2, "train/lo')  # cut off
        resume(tmp_path / "run")
        assert_same_end(tmp_path / "run", alone())

    def test_before_the_score(self, flags, alone, tmp_path):
        crash_run(lambda patch: at_forward(patch, EPOCH * EPOCHS + 2, crash), *flags, "--output-dir", tmp_path / "run")
        resume(tmp_path / "run")
        assert_same_end(tmp_path / "run", alone())

    def test_before_the_score_of_a_run_that_was_scored_and_then_continued(self, flags, alone, tmp_path):
        folder, last = tmp_path / "run", ("--select-on", "last")
        assert call(*flags, *last, "--epochs", "2", "--output-dir", folder).status == 0
        crash_run(lambda patch: at_forward(patch, EPOCH + 2, crash), "--resume", folder, "--epochs", "3")
        assert read(folder / "last.pt")["epoch"] == 3
        resume(folder)
        assert_same_end(folder, alone(*last))

    def test_while_the_scores_are_written(self, alone, tmp_path):
        folder = Path(shutil.copytree(alone(), tmp_path / "run"))
        text = (folder / "metrics.json").read_text()
        (folder / "metrics.json").write_text(text[: len(text) // 2])
        resume(folder)
        assert_same_end(folder, alone())

    def test_between_the_two_renames_of_a_checkpoint(self, halted, alone):
        crash_run(crash_at_last_rename, "--resume", halted)
        assert not (halted / "last.pt").exists()
        resume(halted)
        assert_same_end(halted, alone())

    def test_between_the_two_renames_when_the_file_before_was_damaged(self, halted, alone):
        truncate(halted / "last.pt")
        crash_run(crash_at_last_rename, "--resume", halted)
        resume(halted)
        assert_same_end(halted, alone())
