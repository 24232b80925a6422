"""A run that was stopped, killed or damaged goes on with --resume and ends where an uninterrupted one does."""

import contextlib
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import engine.plots
import engine.train
from benchmarks.kill import kill_many
from benchmarks.kill import outcome as tensors_and_predictions
from engine.keep import Keeper
from engine.tasks import ClipCaerTask
from engine.train import Trainer
from main import main
from models.clip_backbone import RANDOM_SHAPE
from models.clip_towers import Clip
from tests.tiny import as_arguments, write_set
from tests.tools import RANDOM_CLIP, Run, error_of
from utils.runlog import RunLog

RECIPE = """
--num-segments 2 --batch-size 2 --accumulate 2 --epochs 3 --milestones 2 --optimizer AdamW --lr 3e-3 --seed 0
--lr-image-encoder 3e-3 --lr-prompt-learner 1e-2 --iec-text both --temperature 0.02 --normalize clip
--deterministic --device cpu --workers 0
""".split()
STEPS, CHECKS, EPOCHS = 5, 3, 3  # batches of an epoch's 10 training and 5 validation clips
EPOCH = STEPS + CHECKS  # also of the 15 clips that --select-on last trains on
WORDS = {signal.SIGTERM: 143, signal.SIGINT: 130}


class Crash(BaseException):
    """The process ends here; nothing of ours catches it."""


def write_small(root: Path) -> list[str]:
    """10 training, 5 validation and 10 test clips of 4 frames, and the flags of a run on them."""
    flags = as_arguments(write_set(root, clips=25, persons=5, frames=4))
    return [*RANDOM_CLIP, *RECIPE, *flags]


def leave_out_pictures(patch: pytest.MonkeyPatch) -> None:
    """They take longer than the training; tests/test_train.py looks at them."""

    class Board:
        def add_scalar(self, *_): ...
        def add_figure(self, *_, **__): ...
        def close(self): ...

    patch.setattr(engine.plots, "draw_confusion", lambda *_: None)
    patch.setattr(engine.plots, "draw_curves", lambda *_: None)
    patch.setattr(engine.plots, "save", lambda _, path: path.write_bytes(b"picture"))
    patch.setattr(RunLog, "board", Board())


def call(*arguments: str | Path, folder: Path = Path()) -> Run:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in arguments])
    return Run(status, folder, out.getvalue(), err.getvalue())


def at_forward(patch: pytest.MonkeyPatch, number: int, act: Callable[[], Any]) -> None:
    """``act`` in the ``number``-th batch, counted from 1 over training, validation and test."""
    forward, seen = ClipCaerTask.forward, []

    def counted(self: ClipCaerTask, batch: dict[str, Any]) -> Any:
        seen.append(None)
        if len(seen) == number:
            act()
        return forward(self, batch)

    patch.setattr(ClipCaerTask, "forward", counted)


def crash() -> None:
    raise Crash


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def after_call(patch: pytest.MonkeyPatch, owner: Any, name: str, number: int) -> None:
    """The process ends right after the ``number``-th call of a method."""
    method, seen = getattr(owner, name), []

    def counted(*arguments: Any) -> Any:
        result = method(*arguments)
        seen.append(None)
        if len(seen) == number:
            raise Crash
        return result

    patch.setattr(owner, name, counted)


def outcome(folder: Path) -> dict[str, Any]:
    """Every tensor that a run ends in, its predictions and its history."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    history = [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
    return tensors_and_predictions(folder) | {"history": history, "metrics": (folder / "metrics.json").read_text()}


def assert_same_end(folder: Path, other: Path) -> None:
    one, two = outcome(folder), outcome(other)
    differing = [key for key in sorted({*one, *two}) if key not in one or key not in two or one[key] != two[key]]
    assert not differing, f"{len(differing)} of {len(two)} differ: {differing[:5]}"


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def read(file: Path) -> dict[str, Any]:
    return torch.load(file, weights_only=True)


def changed(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = read(file)
    change(content)
    torch.save(content, file)


def write_clip_file(path: Path, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.save(Clip(RANDOM_SHAPE).openai_state(), path)
    return path


@pytest.fixture(autouse=True, scope="module")
def no_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_pictures(patch)
        yield


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    return write_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def alone(flags, tmp_path_factory) -> Callable[..., Path]:
    """The folder of an uninterrupted run with these further flags."""
    done: dict[tuple[str, ...], Path] = {}

    def run(*more: str) -> Path:
        if more not in done:
            done[more] = tmp_path_factory.mktemp("alone") / "run"
            result = call(*flags, *more, "--output-dir", done[more])
            assert result.status == 0, result.err
        return done[more]

    return run


@pytest.fixture(scope="module")
def halted_once(flags, tmp_path_factory) -> Path:
    """Stopped inside epoch 2, with the checkpoint of the end of epoch 1 beside the last one."""
    folder = tmp_path_factory.mktemp("halted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        at_forward(patch, EPOCH + 3, send(signal.SIGTERM))
        assert call(*flags, "--output-dir", folder).status == 143
    assert read(folder / "last.pt")["progress"]["step"] == 2
    return folder


@pytest.fixture
def halted(halted_once, tmp_path) -> Path:
    return Path(shutil.copytree(halted_once, tmp_path / "halted"))


def interrupt(flags: list[str], folder: Path, number: int, batch: int, *more: str) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        at_forward(patch, batch, send(number))
        return call(*flags, *more, "--output-dir", folder, folder=folder)


def crash_run(prepare: Callable[[pytest.MonkeyPatch], None], *arguments: str | Path) -> str:
    """A run that ends in Crash; returns what it printed."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), pytest.raises(Crash):
        prepare(patch)
        main([str(word) for word in arguments])
    return out.getvalue()


def begin(*arguments: str | Path) -> str:
    """What is said until the first step."""
    stop = partial(pytest.MonkeyPatch.setattr, target=Trainer, name="run", value=lambda _: crash())
    return crash_run(stop, *arguments)


def resume(folder: Path, *more: str | Path) -> Run:
    done = call("--resume", folder, *more, folder=folder)
    assert done.status == 0, done.err
    return done


def test_killed_runs_end_equal(tmp_path):
    assert kill_many(tmp_path, times=2, seed=3, jobs=2)[0] == 2


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


def crash_at_last_rename(patch: pytest.MonkeyPatch) -> None:
    rename = os.replace
    patch.setattr(os, "replace", lambda old, new: crash() if Path(new).name == "last.pt" else rename(old, new))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


DAMAGES = {
    "truncated": truncate,
    "flipped": flip,
    "empty": lambda file: file.write_bytes(b""),
    "missing": lambda file: file.unlink(),
    "lacks its progress": lambda file: changed(file, lambda content: content.pop("progress")),
}


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


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody, root neither, may write in ``folder`` from Python."""
    import builtins
    import errno

    def inside(path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and folder.resolve() in Path(path).resolve().parents

    def refuse(path: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def guarded_open(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        if set(mode) & set("wax+") and inside(file):
            refuse(file)
        return opened(file, mode, *arguments, **more)

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **more: Any) -> Any:
            for one in (path, *arguments):
                if inside(one) and (function is not os.unlink or Path(one).exists()):
                    refuse(one)
            return function(path, *arguments, **more)

        return call

    opened = builtins.open
    before = snapshot(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", guarded_open)
        patch.setattr(io, "open", guarded_open)
        for name in ("replace", "rename", "unlink", "remove", "mkdir", "rmdir"):
            patch.setattr(os, name, guarded(getattr(os, name)))
        yield
    assert snapshot(folder) == before


class TestReadOnly:
    def test_goes_on_in_another_folder(self, halted, alone, tmp_path):
        with read_only(halted):
            done = call("--resume", halted, "--output-dir", tmp_path / "new")
        assert done.status == 0, done.err
        assert_same_end(tmp_path / "new", alone())

    def test_the_best_so_far_comes_along(self, flags, alone, tmp_path):
        best = min(read(alone() / "best.pt")["epoch"], EPOCHS - 1)
        with pytest.MonkeyPatch.context() as patch:
            at_forward(patch, best * EPOCH + 1, send(signal.SIGTERM))
            call(*flags, "--output-dir", tmp_path / "old")
        with read_only(tmp_path / "old"):
            done = call("--resume", tmp_path / "old", "--output-dir", tmp_path / "new")
        assert done.status == 0, done.err
        assert_same_end(tmp_path / "new", alone())

    def test_is_one_line_where_no_other_is_named(self, halted, capsys):
        with read_only(halted):
            message = error_of(["--resume", str(halted)], capsys)
        assert str(halted) in message and "read-only" in message and "--output-dir" in message

    def test_a_run_that_only_lacks_its_score_is_whole_in_another_folder(self, flags, alone, tmp_path):
        crash_run(lambda patch: at_forward(patch, EPOCH * EPOCHS + 2, crash), *flags, "--output-dir", tmp_path / "old")
        with read_only(tmp_path / "old"):
            done = call("--resume", tmp_path / "old", "--output-dir", tmp_path / "new")
        assert done.status == 0, done.err
        assert_same_end(tmp_path / "new", alone())

    def test_auto_in_the_other_folder_repeats_no_epoch(self, flags, halted, alone, tmp_path):
        new = ("--output-dir", tmp_path / "new")
        crash_run(lambda patch: at_forward(patch, 1, crash), "--resume", halted, *new)
        done = call(*flags, *new, "--resume", "auto", folder=tmp_path / "new")
        assert done.status == 0, done.err
        assert [line["epoch"] for line in done.history] == [1, 2, 3]
        assert_same_end(tmp_path / "new", alone())

    def test_an_other_folder_that_holds_a_run_is_left_alone(self, halted, alone, capsys):
        before = snapshot(alone())
        assert "already holds a run" in error_of(["--resume", str(halted), "--output-dir", str(alone())], capsys)
        assert snapshot(alone()) == before


class TestOtherData:
    @pytest.mark.parametrize("change", ["removed", "relabelled", "reordered"])
    def test_a_changed_training_list_is_one_line(self, flags, halted, tmp_path, capsys, change):
        lines = Path(flags[flags.index("--root-dir") + 1], "annotation/train.txt").read_text().splitlines()
        if change == "removed":
            del lines[3]
        elif change == "reordered":
            lines.reverse()
        else:
            lines[3] = lines[3][:-1] + str(int(lines[3][-1]) % 5 + 1)
        (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
        names = ("last.pt", "last.previous.pt", "best.pt")
        kept = {name: (halted / name).read_bytes() for name in names}
        message = error_of(["--resume", str(halted), "--train-annotation", str(tmp_path / "train.txt")], capsys)
        assert "lists or boxes are not those" in message
        assert [name for name in names if (halted / name).read_bytes() != kept[name]] == []
        assert json.loads((halted / "config.json").read_text())["data"]["train_annotation"] == "annotation/train.txt"

    def test_another_clip_is_one_line(self, halted, tmp_path, capsys):
        other = write_clip_file(tmp_path / "other.pt", 9)
        message = error_of(["--resume", str(halted), "--clip-path", str(other)], capsys)
        assert "--clip-path" in message

    def test_the_same_clip_elsewhere_goes_on(self, halted, alone, tmp_path):
        resume(halted, "--clip-path", write_clip_file(tmp_path / "same.pt", 0))
        assert_same_end(halted, alone())


class TestEvaluation:
    @pytest.fixture(scope="class")
    @staticmethod
    def frozen(flags, tmp_path_factory) -> tuple[Path, Path]:
        """A run on a frozen CLIP from a file, whose best.pt and last.pt are of one epoch."""
        folder = tmp_path_factory.mktemp("frozen")
        clip = write_clip_file(folder / "clip.pt", 7)
        more = ("--lr-image-encoder", "0", "--select-on", "last", "--epochs", "1", "--clip-path", clip)
        assert call(*flags, *more, "--output-dir", folder / "run").status == 0
        return folder / "run", clip

    @staticmethod
    def evaluate(flags: list[str], checkpoint: Path, out: Path, *more: str | Path) -> Run:
        data = flags[flags.index("--root-dir") :]
        return call("--mode", "eval", "--eval-checkpoint", checkpoint, *data, "--output-dir", out, *more, folder=out)

    def test_last_scores_as_best_of_the_same_epoch(self, flags, frozen, tmp_path):
        run, _ = frozen
        assert set(read(run / "last.pt")["left_out"]) == {"image_encoder", "text_encoder"}
        assert not any(key.startswith(("image_encoder", "text_encoder")) for key in read(run / "last.pt")["model"])
        done = [self.evaluate(flags, run / name, tmp_path / name) for name in ("best.pt", "last.pt")]
        assert [one.status for one in done] == [0, 0], done[1].err
        texts = [(one.folder / "predictions.csv").read_bytes() for one in done]
        assert texts[0] == texts[1] == (run / "predictions.csv").read_bytes()

    def test_another_clip_is_named(self, flags, frozen, tmp_path):
        other = write_clip_file(tmp_path / "other.pt", 8)
        done = self.evaluate(flags, frozen[0] / "last.pt", tmp_path / "eval", "--clip-path", other)
        assert done.status == 2 and str(other) in done.err and done.err.count("\n") == 1

    def test_the_same_clip_elsewhere_is_read_and_that_is_not_denied(self, flags, frozen, tmp_path):
        moved = Path(shutil.copy(frozen[1], tmp_path / "moved.pt"))
        done = self.evaluate(flags, frozen[0] / "last.pt", tmp_path / "eval", "--clip-path", moved)
        assert done.status == 0, done.err
        assert "is not read" not in done.out

    def test_best_needs_no_clip_and_last_names_the_one_it_lacks(self, flags, frozen, tmp_path):
        run, clip = frozen
        hidden = clip.rename(tmp_path / "hidden.pt")
        try:
            best = self.evaluate(flags, run / "best.pt", tmp_path / "best")
            last = self.evaluate(flags, run / "last.pt", tmp_path / "last")
        finally:
            hidden.rename(clip)
        assert best.status == 0, best.err
        assert last.status == 2 and str(clip) in last.err and last.err.count("\n") == 1


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def with_value(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


WRONG = {
    **{f"no {key}": without(key) for key in ("format", "config", "classes", "model", "epoch", "best", "learning")},
    **{f"no {key}": without(key) for key in ("progress", "left_out", "train_list")},
    **{f"no {key} in progress": without("progress", key) for key in ("epoch", "best", "history", "random", "seen")},
    **{f"no {key} in learning": without("learning", key) for key in ("optimizer", "schedule", "scaler")},
    **{f"no {key} in config": without("config", key) for key in ("run",)},
    **{f"{key} is a number": with_value(key, value=3) for key in ("progress", "learning", "left_out", "train_list")},
    **{f"{key} is a text": with_value(key, value="x") for key in ("progress", "learning")},
    **{f"{key} is empty": with_value(key, value={}) for key in ("progress", "learning", "model", "config")},
    **{f"{key} is none": with_value("progress", key, value=None) for key in ("epoch", "step", "best", "history")},
    **{f"{key} is a text in progress": with_value("progress", key, value="x") for key in ("epoch", "step", "seen")},
    **{f"{key} is a list in progress": with_value("progress", key, value=[1]) for key in ("best", "random", "history")},
    "an epoch below zero": with_value("progress", "epoch", value=-1),
    "a best without its epoch": with_value("progress", "best", value={"uar": 1.0}),
    "a random state of another size": with_value("progress", "random", value={"cpu": torch.zeros(3)}),
    "scores of other classes": with_value("progress", "seen", value={"clips": 2, "sums": {}, "confusion": [[1]]}),
    "a group of options is a number": with_value("config", "optim", value=3),
    "an option is a table": with_value("config", "optim", "lr", value={"a": 1}),
    "an option is a tensor": with_value("config", "optim", "lr", value=torch.ones(2)),
    "the optimiser is a list": with_value("learning", "optimizer", value=[1]),
    "the optimiser has no state": with_value("learning", "optimizer", value={"param_groups": []}),
    "the schedule is a text": with_value("learning", "schedule", value="x"),
    "the model holds a text": with_value("model", "fuse.weight", value="x"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_checkpoint_with_wrong_metadata_is_one_line(halted_once, tmp_path, flags, capsys, case):
    shutil.copy(halted_once / "last.pt", tmp_path)
    changed(tmp_path / "last.pt", WRONG[case])
    error_of([*flags, "--resume", str(tmp_path)], capsys)
