"""Runs that continue in another folder because theirs is read-only, and last.pt in evaluation."""

import builtins
import contextlib
import errno
import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.resuming import (
    EPOCH,
    EPOCHS,
    assert_same_end,
    call,
    crash_at,
    interrupt,
    one_line,
    read,
    snapshot,
    write_clip_file,
)
from tests.support.tools import Run, error_of


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write in ``folder`` from Python, not even root."""
    real_open = builtins.open

    def refuse(path: Any) -> None:
        is_path = isinstance(path, (str, os.PathLike))
        if is_path and folder.resolve() in Path(path).resolve().parents:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def guarded_open(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        if set(mode) & set("wax+"):
            refuse(file)
        return real_open(file, mode, *arguments, **keywords)

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call_outside(*arguments: Any, **keywords: Any) -> Any:
            for argument in arguments:
                if function is not os.unlink or Path(argument).exists():
                    refuse(argument)
            return function(*arguments, **keywords)

        return call_outside

    before = snapshot(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", guarded_open)
        patch.setattr(io, "open", guarded_open)
        for name in ("replace", "rename", "unlink", "remove", "mkdir", "rmdir"):
            patch.setattr(os, name, guarded(getattr(os, name)))
        patch.setattr(Path, "touch", guarded(Path.touch))
        yield
    assert snapshot(folder) == before


class TestReadOnly:
    @staticmethod
    def assert_goes_on(old: Path, new: Path, expected: Path) -> None:
        with read_only(old):
            run = call("--resume", old, "--output-dir", new)
        assert run.status == 0, run.err
        assert_same_end(new, expected)

    def test_a_run_continues_in_another_folder(self, stopped, uninterrupted, tmp_path):
        self.assert_goes_on(stopped, tmp_path / "new", uninterrupted)

    def test_the_best_checkpoint_is_copied_too(self, flags, uninterrupted, tmp_path):
        best = min(read(uninterrupted / "best.pt")["epoch"], EPOCHS - 1)
        interrupt(flags, tmp_path / "old", signal.SIGTERM, best * EPOCH + 1)
        self.assert_goes_on(tmp_path / "old", tmp_path / "new", uninterrupted)

    def test_a_run_without_its_score_is_completed_in_the_other_folder(self, flags, uninterrupted, tmp_path):
        crash_at(EPOCH * EPOCHS + 2, *flags, "--output-dir", tmp_path / "old")
        self.assert_goes_on(tmp_path / "old", tmp_path / "new", uninterrupted)

    def test_a_read_only_folder_without_output_dir_gives_a_one_line_error(self, stopped, capsys):
        with read_only(stopped):
            message = error_of(["--resume", str(stopped)], capsys)
        assert str(stopped) in message and "read-only" in message and "--output-dir" in message

    def test_auto_in_the_other_folder_does_not_repeat_epochs(self, flags, stopped, uninterrupted, tmp_path):
        new = ("--output-dir", tmp_path / "new")
        crash_at(1, "--resume", stopped, *new)
        run = call(*flags, *new, "--resume", "auto", folder=tmp_path / "new").ok()
        assert [line["epoch"] for line in run.history] == [1, 2, 3]
        assert_same_end(tmp_path / "new", uninterrupted)

    def test_another_folder_that_holds_a_run_is_not_changed(self, stopped, uninterrupted, capsys):
        before = snapshot(uninterrupted)
        words = ["--resume", str(stopped), "--output-dir", str(uninterrupted)]
        assert "already holds a run" in error_of(words, capsys)
        assert snapshot(uninterrupted) == before


class TestEvaluation:
    @pytest.fixture(scope="class")
    @staticmethod
    def frozen(flags, tmp_path_factory) -> tuple[Path, Path]:
        """A run on a frozen CLIP from a file, whose best.pt and last.pt are of one epoch."""
        folder = tmp_path_factory.mktemp("frozen")
        weights = write_clip_file(folder / "clip.pt", 7)
        extra = ("--lr-image-encoder", "0", "--select-on", "last", "--epochs", "1", "--clip-path", weights)
        call(*flags, *extra, "--output-dir", folder / "run").ok()
        return folder / "run", weights

    @staticmethod
    def evaluate(flags: list[str], checkpoint: Path, out: Path, *extra: str | Path) -> Run:
        data = flags[flags.index("--root-dir") :]
        return call("--mode", "eval", "--eval-checkpoint", checkpoint, *data, "--output-dir", out, *extra, folder=out)

    def test_last_scores_as_best_of_the_same_epoch(self, flags, frozen, tmp_path):
        run, _ = frozen
        last = read(run / "last.pt")
        assert set(last["left_out"]) == {"image_encoder", "text_encoder"}
        assert not any(key.startswith(("image_encoder", "text_encoder")) for key in last["model"])
        for name in ("best.pt", "last.pt"):
            scored = self.evaluate(flags, run / name, tmp_path / name).ok()
            assert (scored.folder / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()

    def test_other_clip_weights_are_refused_by_name(self, flags, frozen, tmp_path):
        weights = write_clip_file(tmp_path / "other.pt", 8)
        run = self.evaluate(flags, frozen[0] / "last.pt", tmp_path / "eval", "--clip-path", weights)
        assert str(weights) in one_line(run)

    def test_the_same_clip_weights_in_another_file_are_read(self, flags, frozen, tmp_path):
        weights = Path(shutil.copy(frozen[1], tmp_path / "moved.pt"))
        run = self.evaluate(flags, frozen[0] / "last.pt", tmp_path / "eval", "--clip-path", weights).ok()
        assert "is not read" not in run.out

    def test_best_needs_no_clip_weights_and_last_names_the_missing_file(self, flags, frozen, tmp_path):
        run, weights = frozen
        hidden = weights.rename(tmp_path / "hidden.pt")
        try:
            best = self.evaluate(flags, run / "best.pt", tmp_path / "best")
            last = self.evaluate(flags, run / "last.pt", tmp_path / "last")
        finally:
            hidden.rename(weights)
        assert best.status == 0, best.err
        assert str(weights) in one_line(last)
