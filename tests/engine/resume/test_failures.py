"""Signals, infinite losses, too little memory and full disks: one line, and the previous checkpoint is intact."""

import builtins
import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import models.losses
from analysis.results import read_predictions
from engine.methods.clip_caer import PromptTask
from engine.step import TrainingStep
from main import main
from tests.support.forked import Forked
from tests.support.resuming import (
    EPOCH,
    EPOCHS,
    SAVE_EVERY_STEP,
    SIGNALS,
    STEPS,
    Crash,
    assert_resumes,
    at_forward,
    call,
    crash,
    failure,
    interrupt,
    on_call,
    one_line,
    outcome,
    patched,
    read,
    send,
)
from tests.support.tools import Run, main_arguments


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """The signals received by handlers of the test, which replace those of the shell and must be restored."""
    signals: list[int] = []

    def note(number: int, _: Any) -> None:
        signals.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield signals
        assert all(signal.getsignal(number) is note for number in SIGNALS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class TestSignals:
    @pytest.mark.parametrize("end", [0, 130, 143, "crash", "mistake"])
    def test_handlers_are_restored_however_a_run_ends(self, flags, handlers, tmp_path, end):
        words = [*flags, "--epochs", "1", "--output-dir", tmp_path / "run"]
        acts = {0: lambda: None, 130: send(signal.SIGINT), 143: send(signal.SIGTERM)}
        acts |= {"crash": crash, "mistake": raise_out_of_memory}
        with pytest.raises(Crash) if end == "crash" else contextlib.nullcontext():
            run = patched(lambda patch: at_forward(patch, 2, acts[end]), *words)
            assert run.status == (2 if end == "mistake" else end)
        assert handlers == []

    @pytest.mark.parametrize("first", SIGNALS)
    def test_a_second_ctrl_c_stops_at_once(self, stopped, uninterrupted, first):
        def act() -> None:
            send(first)()
            send(signal.SIGINT)()
            raise AssertionError("the step went on")

        before = (stopped / "last.pt").read_bytes()
        run = patched(lambda patch: at_forward(patch, 2, act), "--resume", stopped)
        assert run.status == 130 and run.err.count("\n") <= 2 and "Traceback" not in run.err
        assert (stopped / "last.pt").read_bytes() == before and not list(stopped.glob("*.part"))
        assert_resumes(stopped, uninterrupted)

    def test_a_second_sigterm_does_not_break_the_step(self, flags, uninterrupted, tmp_path):
        def act() -> None:
            send(signal.SIGINT)()
            send(signal.SIGTERM)()

        run = patched(lambda patch: at_forward(patch, 3, act), *flags, "--output-dir", tmp_path / "run")
        assert run.status in (130, 143)
        assert_resumes(tmp_path / "run", uninterrupted)

    @pytest.mark.parametrize("number", SIGNALS)
    def test_a_signal_while_the_test_list_is_scored(self, flags, handlers, uninterrupted, tmp_path, number):
        run = interrupt(flags, tmp_path / "run", number, EPOCH * EPOCHS + 2)
        assert handlers == [] and run.status == 128 + number
        assert f"--resume {tmp_path / 'run'}" in run.err
        assert_resumes(tmp_path / "run", uninterrupted)

    def test_the_command_in_the_message_can_be_typed(self, flags, tmp_path):
        folder = tmp_path / "my run's folder"
        run = interrupt(flags, folder, signal.SIGTERM, 2)
        command = run.err.strip().partition("continue with: ")[2]
        assert main_arguments(command) == ["--resume", str(folder)]


def not_finite_at(patch: pytest.MonkeyPatch, term: str, number: int, value: float) -> None:
    """A loss term is multiplied by ``value`` in one step."""
    loss, calls = getattr(models.losses, term), []

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        calls.append(None)
        return loss(*arguments, **keywords) * (value if len(calls) == number else 1.0)

    patch.setattr(models.losses, term, wrapped)


def infinite_weight_after(patch: pytest.MonkeyPatch, number: int) -> None:
    """A weight is infinite after the ``number``-th update."""
    update, updates = TrainingStep.update, []

    def wrapped(step: TrainingStep) -> None:
        update(step)
        updates.append(None)
        if len(updates) == number:
            next(iter(step.task.model.fuse.parameters())).data.view(-1)[0] = float("inf")

    patch.setattr(TrainingStep, "update", wrapped)


class TestNotFinite:
    @pytest.mark.parametrize(
        ("term", "name", "value"),
        [("mutual_information_loss", "mi", float("nan")), ("classification_loss", "classification", float("inf"))],
    )
    def test_the_term_the_step_and_the_clips_are_named(self, flags, uninterrupted, tmp_path, term, name, value):
        folder, number = tmp_path / "run", STEPS + 3
        clips: list[list[str]] = []
        losses = PromptTask.losses

        def recorded(task: PromptTask, out: Any, batch: dict[str, Any], epoch: int) -> Any:
            clips.append(batch["id"])
            return losses(task, out, batch, epoch)

        def prepare(patch: pytest.MonkeyPatch) -> None:
            patch.setattr(PromptTask, "losses", recorded)
            not_finite_at(patch, term, number, value)

        message = failure(prepare, *flags, "--output-dir", folder)
        assert f"the loss term {name} is not finite" in message and "epoch 2, step 3" in message and "--lr" in message
        # detected after the next step has started, which is not saved
        assert len(clips) == number + 1 and all(clip in message for clip in clips[-2])
        progress = read(folder / "last.pt")["progress"]
        assert (progress["epoch"], progress["step"]) == (1, 0)
        assert_resumes(folder, uninterrupted)

    def test_finite_terms_with_an_infinite_sum_are_named(self, flags, tmp_path):
        def prepare(patch: pytest.MonkeyPatch) -> None:
            for term in ("classification_loss", "mutual_information_loss"):
                patch.setattr(models.losses, term, lambda *_, **__: torch.tensor(3e38))

        message = failure(prepare, *flags, "--mi-loss-weight", "1", "--output-dir", tmp_path / "run")
        assert "classification" in message and "mi" in message

    @pytest.mark.parametrize("extra", [SAVE_EVERY_STEP, ("--select-on", "last")])
    @pytest.mark.parametrize("update", [1, 4])
    def test_infinite_weights_are_never_saved(self, flags, tmp_path, extra, update):
        folder = tmp_path / "run"
        prepare = partial(infinite_weight_after, number=update)
        assert "not finite" in failure(prepare, *flags, *extra, "--output-dir", folder)
        for file in folder.glob("*.pt"):
            assert all(torch.isfinite(value).all() for value in read(file)["model"].values()), file.name


def raise_out_of_memory(*_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total of 1 GiB")


class TestOutOfMemory:
    @pytest.mark.parametrize(
        ("size", "accumulate", "proposal"),
        [(8, 1, (4, 2)), (8, 2, (4, 4)), (6, 1, (3, 2)), (9, 1, (3, 3)), (9, 2, (3, 6)), (7, 1, (1, 7)), (1, 2, None)],
    )
    def test_when_memory_runs_out_the_same_effective_batch_is_proposed_if_possible(
        self, flags, tmp_path, size, accumulate, proposal
    ):
        words = ("--batch-size", str(size), "--accumulate", str(accumulate), "--output-dir", tmp_path / "run")
        message = failure(lambda patch: at_forward(patch, 1, raise_out_of_memory), *flags, *words)
        match = re.search(r"try --batch-size (\d+) --accumulate (\d+)", message)
        assert proposal == (match and tuple(map(int, match.groups()))), message
        assert f"at --batch-size {size}" in message
        assert not (tmp_path / "run").exists()  # no file prevents the next try

    def test_a_validation_batch_that_does_not_fit_is_halved(self, flags, uninterrupted, tmp_path):
        """Logits differ in the last digits, since a matrix product may sum in another order for another batch size."""
        in_validation = partial(at_forward, number=EPOCH + STEPS + 1, act=raise_out_of_memory)
        patched(in_validation, *flags, "--output-dir", tmp_path / "run").ok()
        values, targets = outcome(tmp_path / "run"), outcome(uninterrupted)
        tensors = values.keys() - {"metrics", "predictions", "history"}
        assert len(tensors) > 100 and all(values[key] == targets[key] for key in tensors)
        halved, whole = (read_predictions([run / "predictions.csv"]) for run in (tmp_path / "run", uninterrupted))
        assert halved.ids == whole.ids and np.allclose(halved.logits, whole.logits, rtol=0, atol=1e-4)

    def test_evaluation_stops_if_one_clip_does_not_fit(self, flags, uninterrupted, tmp_path):
        words = evaluation(flags, uninterrupted, tmp_path / "eval")
        message = failure(lambda patch: patch.setattr(PromptTask, "forward", raise_out_of_memory), *words)
        assert "with one clip at a time" in message and "--batch-size" not in message


def evaluation(flags: list[str], run: Path, folder: Path) -> tuple[str | Path, ...]:
    data = flags[flags.index("--root-dir") :]
    return ("--mode", "eval", "--eval-checkpoint", run / "best.pt", *data, "--output-dir", folder)


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk_from(patch: pytest.MonkeyPatch, number: int) -> None:
    """From the ``number``-th file on, the disk is full."""
    on_call(patch, os, "fsync", before=lambda count: no_space() if count >= number else None)


def full_disk_for(patch: pytest.MonkeyPatch, name: str, first: int = 1) -> None:
    """Files of this name, or temporary files for it, are on a full disk from the ``first`` one on."""
    real_open, writes = builtins.open, []

    def guarded_open(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        has_name = isinstance(file, (str, os.PathLike)) and Path(file).name.startswith(name)
        if has_name and set(mode) & set("wax+"):
            writes.append(None)
            if len(writes) >= first:
                if "w" in mode and Path(file).is_file():
                    real_open(file, "w").close()  # the file is truncated nevertheless
                file, mode = "/dev/full", mode.replace("x", "w").replace("a", "w")
        return real_open(file, mode, *arguments, **keywords)

    patch.setattr(builtins, "open", guarded_open)
    patch.setattr(io, "open", guarded_open)


@pytest.mark.parametrize(
    ("break_run", "words"), [(infinite_weight_after, "not finite"), (full_disk_from, "no space left on device")]
)
def test_a_signal_saves_no_infinite_weights_and_nothing_on_a_full_disk(stopped, uninterrupted, break_run, words):
    def prepare(patch: pytest.MonkeyPatch) -> None:
        break_run(patch, 1)
        at_forward(patch, 2, send(signal.SIGTERM))

    before = (stopped / "last.pt").read_bytes()
    assert words in failure(prepare, "--resume", stopped)
    assert (stopped / "last.pt").read_bytes() == before
    assert_resumes(stopped, uninterrupted)


class TestFullDisk:
    @pytest.mark.parametrize("number", [1, 3])
    def test_while_a_checkpoint_is_written(self, stopped, uninterrupted, number):
        names = ("last.pt", "last.previous.pt", "best.pt")
        before = [(stopped / name).read_bytes() for name in names]
        message = failure(lambda patch: full_disk_from(patch, number), "--resume", stopped, *SAVE_EVERY_STEP)
        assert ".pt: cannot be written (no space left on device)" in message and str(stopped) in message
        if number == 1:
            assert [(stopped / name).read_bytes() for name in names] == before
        assert not list(stopped.glob("*.part"))
        assert_resumes(stopped, uninterrupted)

    def test_a_rename_that_fails_keeps_the_previous_file(self, stopped, uninterrupted):
        rename = os.replace

        def fail(old: Path, new: Path) -> None:
            if Path(new).name == "last.pt":
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            rename(old, new)

        assert "quota" in failure(lambda patch: patch.setattr(os, "replace", fail), "--resume", stopped)
        assert_resumes(stopped, uninterrupted)

    def test_a_file_size_limit_of_the_system(self, stopped, uninterrupted):
        """A real limit: torch fails in the middle of writing."""
        before, limit = (stopped / "last.pt").read_bytes(), (stopped / "last.pt").stat().st_size - 100_000
        process = Forked(main, ["--resume", stopped], stopped.parent / "screen", file_bytes=limit)
        out, err = process.communicate()
        message = one_line(Run(process.returncode, stopped, out, err))
        assert f"{stopped / 'last.pt'}: cannot be written (file too large)" in message
        assert (stopped / "last.pt").read_bytes() == before and not list(stopped.glob("*.part"))
        assert_resumes(stopped, uninterrupted)

    @pytest.mark.parametrize("name", ["log.txt", "config.json", "metrics.jsonl", "predictions.csv", "metrics.json"])
    def test_every_file_of_a_resumed_run(self, stopped, uninterrupted, name):
        firsts = (1, 2) if name == "metrics.jsonl" else (1,)  # the restored file, and that of the next epoch
        for first in firsts:
            before = json.loads((stopped / "config.json").read_text())["optim"]
            message = failure(partial(full_disk_for, name=name, first=first), "--resume", stopped)
            assert "no space left on device" in message
            assert json.loads((stopped / "config.json").read_text() or "{}").get("optim") == before
        assert_resumes(stopped, uninterrupted)

    @pytest.mark.parametrize("name", ["log.txt", "config.json"])
    def test_the_first_files_of_a_new_run(self, flags, tmp_path, name):
        words = (*flags, "--epochs", "1", "--output-dir", tmp_path / "run")
        assert "no space left on device" in failure(partial(full_disk_for, name=name), *words)
        assert call(*words).status == 0  # no file prevents the next try

    @pytest.mark.parametrize("name", ["log.txt", "predictions.csv", "metrics.json"])
    def test_the_files_of_an_evaluation(self, flags, uninterrupted, tmp_path, name):
        words = evaluation(flags, uninterrupted, tmp_path / "eval")
        assert "no space left on device" in failure(partial(full_disk_for, name=name), *words)

    def test_a_run_folder_that_disappears_is_named(self, flags, tmp_path):
        folder = tmp_path / "run"
        remove = partial(at_forward, number=2, act=lambda: shutil.rmtree(folder))
        assert str(folder) in failure(remove, *flags, "--output-dir", folder)
