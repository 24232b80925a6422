"""From a read-only folder, with other data, and in evaluation."""

import contextlib
import io
import json
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
    at_forward,
    call,
    crash,
    crash_run,
    read,
    resume,
    send,
    snapshot,
    write_clip_file,
)
from tests.support.tools import Run, error_of


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
