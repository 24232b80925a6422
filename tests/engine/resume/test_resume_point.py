"""The checkpoint from which a run continues: damaged files, other options, other data, and --resume auto."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dataloader.annotation import Clip
from dataloader.clips import Views
from engine.run_checkpoints import hash_data
from tests.support.resuming import (
    DAMAGES,
    assert_resumes,
    assert_same_end,
    at_forward,
    begin,
    call,
    changed,
    crash_at,
    interrupt,
    patched,
    read,
    resume,
    send,
    snapshot,
    truncate,
    write_clip_file,
)
from tests.support.tools import error_of

CHECKPOINTS = ("last.pt", "last.previous.pt")


def assert_refused(folder: Path, capsys, *words: str | Path) -> str:
    """Check that resuming is refused and changes no file; return the error."""
    before, resumed = snapshot(folder), () if "--resume" in words else ("--resume", folder)
    message = error_of([str(word) for word in (*resumed, *words)], capsys)
    assert snapshot(folder) == before
    return message


class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_checkpoint_is_replaced_by_the_one_before_with_a_warning(self, stopped, uninterrupted, damage):
        DAMAGES[damage](stopped / "last.pt")
        runs_on = damage not in ("flipped", "empty")
        out = resume(stopped).out if runs_on else begin("--resume", stopped)
        warnings = [line for line in out.splitlines() if line.startswith("warning: ") and "last.pt" in line]
        assert len(warnings) == 1 and "before it" in warnings[0]
        assert f"resumed from {stopped / 'last.previous.pt'}" in out
        if runs_on:
            assert_same_end(stopped, uninterrupted)

    @pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
    def test_two_damaged_checkpoints_give_a_one_line_error(self, stopped, capsys, damage):
        for name in CHECKPOINTS:
            DAMAGES[damage](stopped / name)
        message = assert_refused(stopped, capsys)
        assert str(stopped / "last.pt") in message and "no undamaged checkpoint before it" in message

    def test_a_damaged_best_is_reported_and_the_rest_of_the_run_continues(self, stopped):
        truncate(stopped / "best.pt")
        assert "the best checkpoint so far (epoch 1) is lost" in resume(stopped).out
        assert read(stopped / "best.pt")["epoch"] in (2, 3)

    @pytest.mark.parametrize("name", ["gone", "gone/last.pt", "best.pt", "."])
    def test_a_path_without_a_run_is_named(self, stopped, tmp_path, capsys, name):
        path = stopped / "best.pt" if name == "best.pt" else tmp_path / name
        message = error_of(["--resume", str(path)], capsys)
        assert f"{path}" in message and "undamaged" not in message


def test_warnings_before_a_stop_are_stored_for_the_whole_run(stopped):
    before = {"kind": "setting", "text": "said before the run was stopped"}
    for name in CHECKPOINTS:
        content = read(stopped / name)
        content["warnings"] = [before, *content["warnings"]]
        torch.save(content, stopped / name)
    resume(stopped)
    assert json.loads((stopped / "metrics.json").read_text())["facts"]["warnings"][0] == before


MISSING = object()


def set_entry(*keys: Any, value: Any = MISSING) -> Callable[[dict[str, Any]], None]:
    """Return a change of one entry of a checkpoint; without a value the entry is removed."""

    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        if value is MISSING:
            del content[keys[-1]]
        else:
            content[keys[-1]] = value

    return change


WRONG_CONTENT = [
    *((key,) for key in "format config classes model epoch best learning progress left_out train_list".split()),
    *(("progress", key) for key in ("epoch", "best", "history", "random", "seen")),
    *(("learning", key) for key in ("optimizer", "schedule", "scaler")),
    ("config", "run"),
    *((key, 3) for key in ("progress", "learning", "left_out", "train_list")),
    *((key, "x") for key in ("progress", "learning")),
    *((key, {}) for key in ("progress", "learning", "model", "config")),
    *(("progress", key, None) for key in ("epoch", "step", "best", "history")),
    *(("progress", key, "x") for key in ("epoch", "step", "seen")),
    *(("progress", key, [1]) for key in ("best", "random", "history")),
    ("progress", "epoch", -1),
    ("progress", "best", {"uar": 1.0}),  # without its epoch
    ("progress", "random", {"cpu": torch.zeros(3)}),  # of another size
    ("progress", "seen", {"clips": 2, "sums": {}, "confusion": [[1]]}),  # of other classes
    ("config", "optim", 3),
    ("config", "optim", "lr", {"a": 1}),
    ("config", "optim", "lr", torch.ones(2)),
    ("learning", "optimizer", [1]),
    ("learning", "optimizer", {"param_groups": []}),
    ("learning", "schedule", "x"),
    ("model", "fuse.weight", "x"),
    ("learning", "optimizer", "state", 0, "exp_avg", torch.zeros(1)),  # fused kernels write beyond it
    ("learning", "optimizer", "state", 0, "exp_avg_sq", torch.zeros(1, dtype=torch.float64)),
    ("learning", "optimizer", "state", 0, "step", torch.tensor(float("nan"))),
    ("learning", "optimizer", "state", 0, {"momentum_buffer": torch.zeros(3)}),
    ("learning", "optimizer", "state", 10**6, {}),
    ("learning", "optimizer", "param_groups", 0, "lr", -1.0),
    ("learning", "optimizer", "param_groups", 0, "params", [0, 0, 0]),
    ("learning", "schedule", "last_epoch", -1),
    ("learning", "schedule", "last_epoch", 0),  # from the first epoch of the run, which is in its second
    ("model", "logit_scale", torch.tensor(float("nan"))),
    ("learning", "schedule", "_last_lr", [0.1]),
    ("learning", "scaler", {"scale": 0.0}),
    ("progress", "random", {"cpu": torch.full_like(torch.get_rng_state(), 255)}),
    ("progress", "step", 10**6),
    ("progress", "epoch", 10**12),
    ("progress", "history", []),
    ("progress", "best", {"war": 1.0, "epoch": 1}),
    ("progress", "seen", "clips", 0),
    ("classes", ["a", "b", "a", "c", "d"]),
]
REMOVED = 10 + 5 + 3 + 1  # the first cases: entries that are removed


@pytest.mark.parametrize("number", range(len(WRONG_CONTENT)), ids=lambda n: "-".join(map(str, WRONG_CONTENT[n])))
def test_a_checkpoint_with_wrong_content_gives_a_one_line_error(stopped_once, tmp_path, flags, capsys, number):
    case = WRONG_CONTENT[number]
    change = set_entry(*case) if number < REMOVED else set_entry(*case[:-1], value=case[-1])
    shutil.copy(stopped_once / "last.pt", tmp_path)
    changed(tmp_path / "last.pt", change)
    error_of([*flags, "--resume", str(tmp_path)], capsys)


class TestOptions:
    @pytest.mark.parametrize(
        "extra", ["--lr 0.5", "--batch-size 4", "--seed 1", "--optimizer SGD", "--milestones 1", "--no-deterministic"]
    )
    def test_a_flag_that_differs_is_named(self, stopped, capsys, extra):
        message = assert_refused(stopped, capsys, *extra.split())
        assert extra.split()[0].replace("--no-", "--") in message and "run was started with" in message

    def test_the_command_that_began_the_run_can_be_typed_again(self, flags, stopped, uninterrupted):
        call(*flags, "--resume", stopped).ok()
        assert_same_end(stopped, uninterrupted)

    @pytest.mark.parametrize(
        "extra", [("--use-amp",), ("--gpu", "7"), ("--lr-fusion", "0.02", "--val-fraction", "0.3")]
    )
    def test_flags_that_are_resolved_into_other_flags_can_be_typed_again_too(self, flags, tmp_path, extra):
        words = [word for word in flags if word not in ("--device", "cpu")] if "--gpu" in extra else flags
        assert interrupt(words, tmp_path / "run", signal.SIGTERM, 1, *extra).status == 143
        again = (*words, *extra, "--resume", tmp_path / "run")
        run = patched(lambda patch: at_forward(patch, 1, send(signal.SIGTERM)), *again)
        assert run.status == 143, run.err

    def test_options_without_an_effect_on_results_may_differ(self, stopped, uninterrupted):
        assert_resumes(
            stopped, uninterrupted, *"--workers 2 --print-freq 1 --device cpu --save-every-minutes 0".split()
        )

    def test_more_epochs_continue_a_complete_run(self, flags, uninterrupted, tmp_path):
        call(*flags, "--epochs", "2", "--output-dir", tmp_path / "run").ok()
        assert_resumes(tmp_path / "run", uninterrupted, "--epochs", "3")

    def test_fewer_epochs_than_completed_gives_a_one_line_error(self, flags, uninterrupted, capsys):
        message = assert_refused(uninterrupted, capsys, "--epochs", "2")
        assert "--epochs 2" in message and "3 epochs" in message
        run = call(*flags, "--epochs", "2", "--output-dir", uninterrupted, "--resume", "auto")
        assert "complete (2 epochs" not in run.out

    @pytest.mark.parametrize("by", ["path", "auto"])
    def test_a_complete_run_is_reported_and_not_changed(self, flags, uninterrupted, by):
        before = snapshot(uninterrupted)
        words = ("--resume", uninterrupted)
        run = call(*(words if by == "path" else (*flags, "--output-dir", uninterrupted, "--resume", "auto")))
        assert run.status == 0 and "complete" in run.out and run.err == ""
        assert snapshot(uninterrupted) == before

    def test_resume_is_refused_in_modes_that_do_not_train(self, flags, uninterrupted, tmp_path, capsys):
        words = [word for word in flags if word != "--deterministic"]
        words += ["--mode", "zero-shot", "--output-dir", str(tmp_path / "x"), "--resume", str(uninterrupted)]
        assert "--resume" in error_of(words, capsys)


class TestData:
    @pytest.mark.parametrize("change", ["removed", "relabelled", "reordered"])
    def test_a_changed_training_list_gives_a_one_line_error(self, flags, stopped, tmp_path, capsys, change):
        lines = Path(flags[flags.index("--root-dir") + 1], "annotation/train.txt").read_text().splitlines()
        if change == "removed":
            del lines[3]
        elif change == "reordered":
            lines.reverse()
        else:
            lines[3] = lines[3][:-1] + str(int(lines[3][-1]) % 5 + 1)
        (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
        names = (*CHECKPOINTS, "best.pt")
        before = [(stopped / name).read_bytes() for name in names]
        message = error_of(["--resume", str(stopped), "--train-annotation", str(tmp_path / "train.txt")], capsys)
        assert "lists or boxes are not those" in message
        assert [(stopped / name).read_bytes() for name in names] == before
        assert json.loads((stopped / "config.json").read_text())["data"]["train_annotation"] == "annotation/train.txt"

    @pytest.mark.parametrize("keeps", ["size and time", "size", "nothing"])
    def test_replaced_frames_give_a_one_line_error(self, flags, stopped, tmp_path, capsys, keeps):
        source = flags[flags.index("--root-dir") + 1]
        root = shutil.copytree(source, tmp_path / "copy")
        frame = root / Path((root / "annotation/train.txt").read_text().split()[0]) / "00002.png"
        stat, data = frame.stat(), bytearray(frame.read_bytes())
        data[len(data) // 2] ^= 1
        frame.write_bytes(data + (b"more" if keeps == "nothing" else b""))
        if keeps == "size and time":
            os.utime(frame, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        before = [(stopped / name).read_bytes() for name in CHECKPOINTS]
        message = error_of(["--resume", str(stopped), "--root-dir", str(root)], capsys)
        assert "last.pt: the content of frame or feature files has changed" in message
        assert [(stopped / name).read_bytes() for name in CHECKPOINTS] == before

    def test_a_copy_of_the_frames_is_accepted(self, flags, stopped, uninterrupted, tmp_path):
        root = shutil.copytree(flags[flags.index("--root-dir") + 1], tmp_path / "copy")
        for frame in root.glob("RAER/**/*.png"):
            os.utime(frame, (1, 1))
        assert_resumes(stopped, uninterrupted, "--root-dir", root)

    def test_a_checkpoint_of_an_older_version_without_frames_continues(self, flags, stopped, uninterrupted):
        assert re.fullmatch("[0-9a-f]{32}", read(stopped / "last.pt")["frames"])
        changed(stopped / "last.pt", lambda content: content.pop("frames"))
        assert_resumes(stopped, uninterrupted)

    def test_the_hash_of_lists_and_boxes_is_that_of_older_versions(self):
        """Otherwise no older run could continue: the value is of the version before frames were hashed."""
        clip = Clip("c", Path("c"), ("1.jpg", "2.jpg"), 2, 3, "P1/c")
        views = Views(face_boxes={"P1/c": {"1.jpg": (1, 2, 3, 4.5)}}, body_boxes={"P1/c": (0, 0, 9, 9)})
        assert hash_data([clip], views) == "d682132a1420a8d0b13c0d5e9f969eabae99a94d29603e95b83496d20a4a05d5"

    def test_changed_captions_count_as_changed_data(self):
        def hashed(caption: str | None) -> str:
            return hash_data([Clip("c", Path("c"), ("1.jpg",), 1, 0, "c", caption=caption)], Views())

        assert hashed("a smile") != hashed("a frown") and hashed("a smile") != hashed(None)

    def test_other_clip_weights_give_a_one_line_error(self, stopped, tmp_path, capsys):
        weights = write_clip_file(tmp_path / "other.pt", 9)
        assert "--clip-path" in error_of(["--resume", str(stopped), "--clip-path", str(weights)], capsys)

    def test_the_same_clip_weights_in_another_file_are_accepted(self, stopped, uninterrupted, tmp_path):
        assert_resumes(stopped, uninterrupted, "--clip-path", write_clip_file(tmp_path / "same.pt", 0))


class TestAuto:
    @pytest.fixture(autouse=True)
    def working_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    @staticmethod
    def copy(run: Path, name: str, age: float) -> Path:
        """A copy of ``run`` in outputs/, ``age`` seconds old."""
        folder = Path(shutil.copytree(run, Path("outputs") / name))
        for file in folder.glob("last*.pt"):
            stamp = file.stat().st_mtime - age
            os.utime(file, (stamp, stamp))
        return folder

    def test_without_a_run_a_new_one_begins(self, flags):
        out = begin(*flags, "--resume", "auto")
        assert "no checkpoint to continue from; a new run starts" in out and "resumed from" not in out
        assert len(list(Path("outputs").glob("run-*"))) == 1

    def test_the_newest_of_several_runs_continues(self, flags, stopped_once, uninterrupted):
        folders = [self.copy(stopped_once, f"run-{n}", age) for n, age in enumerate([50, 10, 90])]
        run = call(*flags, "--resume", "auto")
        assert run.status == 0 and f"resumed from {folders[1] / 'last.pt'}" in run.out
        assert_same_end(folders[1], uninterrupted)
        assert not (folders[0] / "metrics.json").exists() and len(list(Path("outputs").iterdir())) == 3

    def test_a_damaged_newer_run_is_skipped_with_a_warning(self, flags, stopped_once):
        older, newer = self.copy(stopped_once, "run-a", 60), self.copy(stopped_once, "run-b", 10)
        for name in CHECKPOINTS:
            stamp = (newer / name).stat().st_mtime
            truncate(newer / name)
            os.utime(newer / name, (stamp, stamp))
        out = begin(*flags, "--resume", "auto")
        assert f"resumed from {older / 'last.pt'}" in out
        assert [line for line in out.splitlines() if line.startswith("warning: not resumed") and str(newer) in line]

    def test_one_damaged_file_of_the_newest_run_falls_back_inside_that_run(self, flags, stopped_once):
        self.copy(stopped_once, "run-a", 60)
        newer = self.copy(stopped_once, "run-b", 10)
        truncate(newer / "last.pt")
        out = begin(*flags, "--resume", "auto")
        assert f"resumed from {newer / 'last.previous.pt'}" in out and "before it" in out

    @pytest.mark.parametrize("name", ["other", "run-two"])
    def test_a_run_of_another_experiment_is_not_resumed(self, flags, stopped_once, name):
        folder = self.copy(stopped_once, f"{name}-20260101-000000", 10)
        for file in folder.glob("last*.pt"):
            changed(file, lambda content: content["config"]["run"].update(exper_name=name))
        before = snapshot(folder)
        assert "resumed from" not in begin(*flags, "--resume", "auto") and snapshot(folder) == before

    def test_a_run_with_other_options_is_not_resumed_and_the_option_is_named(self, flags, stopped_once):
        folder = self.copy(stopped_once, "run-a", 10)
        before = snapshot(folder)
        out = begin(*flags, "--resume", "auto", "--lr", "0.5")
        assert "resumed from" not in out and snapshot(folder) == before
        assert [line for line in out.splitlines() if str(folder) in line and "started with 0.003" in line]

    def test_a_named_folder_without_a_checkpoint_is_restarted(self, flags, uninterrupted):
        crash_at(2, *flags, "--output-dir", "X")
        assert (Path("X") / "config.json").exists() and not (Path("X") / "last.pt").exists()
        call(*flags, "--output-dir", "X", "--resume", "auto").ok()
        assert_same_end(Path("X"), uninterrupted)

    def test_a_named_folder_that_does_not_exist_is_made(self, flags):
        assert "a new run starts" in begin(*flags, "--resume", "auto", "--output-dir", "X")
        assert (Path("X") / "config.json").exists() and not Path("outputs").exists()

    def test_a_named_folder_with_other_options_gives_a_one_line_error_that_names_the_option(
        self, flags, stopped, capsys
    ):
        words = [*flags, "--lr", "0.5", "--output-dir", stopped, "--resume", "auto"]
        message = assert_refused(stopped, capsys, *words)
        assert str(stopped) in message and "--lr" in message

    def test_a_named_folder_with_damaged_checkpoints_gives_a_one_line_error_that_names_them(
        self, flags, stopped, capsys
    ):
        for name in CHECKPOINTS:
            truncate(stopped / name)
        assert "last.pt" in assert_refused(stopped, capsys, *flags, "--output-dir", stopped, "--resume", "auto")
