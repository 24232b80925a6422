"""A run that was killed, stopped or crashed at any moment and resumed ends like an uninterrupted one."""

import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import kill
from engine.run_checkpoints import RunCheckpoints
from main import main
from tests.support.forked import Forked
from tests.support.resuming import (
    EPOCH,
    EPOCHS,
    SAVE_EVERY_STEP,
    STEPS,
    assert_resumes,
    at,
    at_forward,
    call,
    crash,
    crash_at,
    crash_run,
    interrupt,
    on_call,
    patched,
    read,
    send,
    truncate,
)
from utils.runlog import RunLog

LAST = ("--select-on", "last")
COSINE = ("--schedule", "cosine", "--milestones=", "--warmup-epochs", "0.5")
MIXED = ("--mixup", "0.5", "--hue", "0.2", "--random-erasing", "0.5")
WHOLE = 3 + 2  # batches of an epoch with --batch-size 3 --drop-last, and of its validation
LORA = tuple("--lora-rank 2 --lora-towers both --lora-targets all --lora-dropout 0.3 --lr-image-encoder 0".split())


def test_runs_killed_at_random_moments_end_with_equal_folders(tmp_path, monkeypatch):
    def start(command: list[str], **_: object) -> Forked:
        assert command[:2] == [sys.executable, "main.py"]
        return Forked(main, command[2:], tmp_path / Path(command[command.index("--output-dir") + 1]).name)

    monkeypatch.setattr(kill, "subprocess", SimpleNamespace(Popen=start, DEVNULL=None, PIPE=None))
    results = kill.kill_many(tmp_path, ["clip-caer"], times=2, seed=3)
    assert [differences for _, _, differences in results] == [[], []]


@pytest.mark.parametrize(
    ("batch", "number"),
    [
        (1, signal.SIGTERM),  # the first step, inside a window of accumulated steps
        (STEPS, signal.SIGINT),  # the last step, a window of its own
        (STEPS + 2, signal.SIGTERM),  # inside validation
        (EPOCH, signal.SIGINT),  # the last batch of validation
        (EPOCH * 2 + STEPS, signal.SIGTERM),  # the last step of all
        (EPOCH * EPOCHS, signal.SIGTERM),  # the last batch before the end
    ],
)
def test_a_run_stopped_by_a_signal_prints_how_to_continue_and_ends_equal(flags, uninterrupted, tmp_path, batch, number):
    folder = tmp_path / "run"
    run = interrupt(flags, folder, number, batch)
    assert run.status == 128 + number, run.out
    assert f"--resume {folder}" in run.err and run.err.count("\n") == 1
    assert (folder / "last.pt").exists() and not (folder / "predictions.csv").exists()
    assert f"resumed from {folder / 'last.pt'}" in assert_resumes(folder, uninterrupted).out


@pytest.mark.parametrize(
    ("batch", "extra"),
    [
        (EPOCH + 3, (*"--optimizer SGD --grad-clip 0.5 --use-weighted-sampler --save-every-minutes 0".split(), *MIXED)),
        (EPOCH * 2 - 1, LAST),
        (EPOCH * EPOCHS, LAST),
        (EPOCH * 2 + 1, (*LORA, "--grad-checkpointing", "--ema", "0.5", "--select-by", "war")),
        (STEPS + 2, (*COSINE, "--accumulate", "3", "--ema", "0.9")),  # inside validation, where the model has the mean
        (WHOLE + 2, ("--batch-size", "3", "--drop-last", *COSINE)),
        (STEPS + 1, ("--patience", "1", "--lr", "0", "--lr-image-encoder", "0", "--lr-prompt-learner", "0")),
    ],
)
def test_other_options_end_equal(flags, uninterrupted_with, tmp_path, batch, extra):
    assert interrupt(flags, tmp_path / "run", signal.SIGTERM, batch, *extra).status == 143
    assert_resumes(tmp_path / "run", uninterrupted_with(*extra))


@pytest.mark.parametrize("batch", [EPOCH + 3, STEPS + 2])
def test_cached_features_end_equal(flags, uninterrupted_with, tmp_path_factory, tmp_path, batch):
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    extra = ("--cache-features", "--lr-image-encoder", "0", "--cache-dir", cache, "--mixup", "0.5", "--hue", "0.2")
    assert interrupt(flags, tmp_path / "run", signal.SIGTERM, batch, *extra).status == 143
    assert "image_encoder" in read(tmp_path / "run/last.pt")["left_out"]
    assert_resumes(tmp_path / "run", uninterrupted_with(*extra))


@pytest.mark.parametrize(
    "extra",
    [
        LORA,
        ("--lr-image-encoder", "0"),
        ("--lr-image-encoder", "0", "--cache-features", "--cache-variants", "1"),
        ("--lr-image-encoder", "0", "--amp", "bf16"),
    ],
)
def test_towers_of_another_run_are_in_the_file_and_end_equal(flags, uninterrupted, uninterrupted_with, tmp_path, extra):
    source = uninterrupted_with(*LORA) if "--amp" in extra else uninterrupted  # the first has another text tower, too
    extra = (*extra, "--init-from", str(source / "best.pt"))  # whose towers are not those of --clip-path
    extra += ("--cache-dir", str(tmp_path / "cache")) if "--cache-features" in extra else ()
    assert interrupt(flags, tmp_path / "run", signal.SIGTERM, EPOCH + 3, *extra).status == 143
    assert read(tmp_path / "run/last.pt")["left_out"] == {}
    assert_resumes(tmp_path / "run", uninterrupted_with(*extra))


@pytest.mark.parametrize(("before", "after", "batch"), [(2, 0, STEPS + 2), (0, 2, STEPS + 1)])
def test_another_number_of_decoding_processes_ends_equal(flags, uninterrupted, tmp_path, before, after, batch):
    assert interrupt(flags, tmp_path / "run", signal.SIGTERM, batch, "--workers", str(before)).status == 143
    assert_resumes(tmp_path / "run", uninterrupted, "--workers", str(after))


def test_a_run_stopped_twice_ends_equal(flags, uninterrupted, tmp_path):
    folder = tmp_path / "run"
    assert interrupt(flags, folder, signal.SIGTERM, 4).status == 143
    # the second signal comes in the step that is repeated
    again = patched(lambda patch: at_forward(patch, 1, send(signal.SIGINT)), "--resume", folder)
    assert again.status == 130
    assert_resumes(folder, uninterrupted)


class TestCrashes:
    @pytest.mark.parametrize(("number", "progress"), [(1, (0, 2)), (3, (0, 5)), (5, (1, 2))])
    def test_after_saving_inside_an_epoch(self, flags, uninterrupted, tmp_path, number, progress):
        folder = tmp_path / "run"
        prepare = partial(on_call, owner=RunCheckpoints, name="save_last", after=at(number, crash))
        crash_run(prepare, *flags, *SAVE_EVERY_STEP, "--output-dir", folder)
        saved = read(folder / "last.pt")["progress"]
        assert (saved["epoch"], saved["step"]) == progress
        assert_resumes(folder, uninterrupted)

    @pytest.mark.parametrize(("number", "extra"), [(1, ()), (2, ()), (3, LAST)])
    def test_between_writing_best_and_last(self, flags, uninterrupted_with, tmp_path, number, extra):
        folder = tmp_path / "run"
        prepare = partial(on_call, owner=RunCheckpoints, name="save_best", after=at(number, crash))
        crash_run(prepare, *flags, *SAVE_EVERY_STEP, *extra, "--output-dir", folder)
        assert read(folder / "best.pt")["epoch"] == read(folder / "last.pt")["epoch"] + 1
        assert_resumes(folder, uninterrupted_with(*extra))

    @pytest.mark.parametrize("epoch", [1, 3])
    def test_between_last_and_its_line_of_metrics(self, flags, uninterrupted, tmp_path, epoch):
        prepare = partial(on_call, owner=RunLog, name="epoch", before=at(epoch, crash))
        crash_run(prepare, *flags, "--output-dir", tmp_path / "run")
        assert read(tmp_path / "run/last.pt")["epoch"] == epoch
        run = assert_resumes(tmp_path / "run", uninterrupted)
        assert [line["epoch"] for line in run.history] == [1, 2, 3]

    def test_inside_the_next_line_of_metrics(self, flags, uninterrupted, tmp_path):
        crash_at(EPOCH + 4, *flags, "--output-dir", tmp_path / "run")
        with open(tmp_path / "run/metrics.jsonl", "a") as file:
            file.write('{"epoch": 2, "train/lo')
        assert_resumes(tmp_path / "run", uninterrupted)

    def test_before_the_score(self, flags, uninterrupted, tmp_path):
        crash_at(EPOCH * EPOCHS + 2, *flags, "--output-dir", tmp_path / "run")
        assert_resumes(tmp_path / "run", uninterrupted)

    def test_before_the_score_of_a_continued_run_that_was_scored_before(self, flags, uninterrupted_with, tmp_path):
        folder = tmp_path / "run"
        call(*flags, *LAST, "--epochs", "2", "--output-dir", folder).ok()
        crash_at(EPOCH + 2, "--resume", folder, "--epochs", "3")
        assert read(folder / "last.pt")["epoch"] == 3
        assert_resumes(folder, uninterrupted_with(*LAST))

    def test_while_the_scores_are_written(self, uninterrupted, tmp_path):
        folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
        truncate(folder / "metrics.json")
        assert_resumes(folder, uninterrupted)

    @pytest.mark.parametrize("is_damaged", [False, True])
    def test_between_the_two_renames_of_a_checkpoint(self, stopped, uninterrupted, is_damaged):
        rename = os.replace

        def prepare(patch: pytest.MonkeyPatch) -> None:
            patch.setattr(os, "replace", lambda old, new: crash() if Path(new).name == "last.pt" else rename(old, new))

        if is_damaged:
            truncate(stopped / "last.pt")
        crash_run(prepare, "--resume", stopped)
        assert is_damaged or not (stopped / "last.pt").exists()
        assert_resumes(stopped, uninterrupted)
