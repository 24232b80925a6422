"""--model sequence through the command line: trained, scored again, stopped and resumed, refused in one line."""

import csv
import signal

import numpy as np
import pytest
import torch

from dataloader.frame_labels import TASKS
from engine.options import group_of, names_with
from engine.sequence.train import SequenceTrainer
from main import main
from tests.support.affect import VIDEOS, label_file, write_labels, write_set
from tests.support.tools import error_of, run_main
from utils.checkpoint import read_checkpoint

SMALL = "--model sequence --window 20 --stride 12 --batch-size 4 --transformer-layers 1 --tcn-channels 16 8"
SMALL += " --device cpu --dropout 0.1"
LEARNING = ["--epochs", "4", "--lr", "1e-3"]
FRAMES = sum(VIDEOS["validation"].values())


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> list[str]:
    return write_set(tmp_path_factory.mktemp("affect") / "set")


@pytest.fixture(scope="module")
def arguments(data) -> list[str]:
    return [*SMALL.split(), *data]


@pytest.fixture(scope="module")
def run(arguments, tmp_path_factory):
    return run_main([*arguments, *LEARNING], tmp_path_factory.mktemp("runs") / "run")


def test_it_learns_three_tasks_together(run):
    assert run.status == 0, run.err
    assert {"va", "expr", "au"} < set(run.metrics) and run.metrics["frames"] == FRAMES
    assert run.metrics["va"]["ccc"] > 0.5 and run.metrics["au"]["f1"] > 0.6
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"]
    assert {"train/loss_va", "train/loss_expr", "train/loss_au", "val/score", "lr"} <= set(run.history[0])
    assert list((run.folder / "tensorboard").iterdir()) and (run.folder / "timeline.png").stat().st_size > 10_000


def test_the_final_score_is_that_of_the_best_epoch(run):
    best = max(run.history, key=lambda values: values["val/score"])
    assert run.metrics["score"] == best["val/score"]
    assert read_checkpoint(run.folder / "best.pt")["epoch"] == best["epoch"]


@pytest.mark.parametrize("task", ["va", "expr", "au"])
def test_every_frame_has_one_line_in_the_submission(run, task):
    with open(run.folder / f"submission/{task}.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    names = [f"{id}/{n:05d}.jpg" for id, count in VIDEOS["validation"].items() for n in range(1, count + 1)]
    assert [row[0] for row in rows] == names
    assert header == ["image_location", *(("expression",) if task == "expr" else TASKS[task].names)]
    values = np.array([row[1:] for row in rows], dtype=float)
    low, high = TASKS[task].bounds
    assert values.min() >= low and values.max() <= high


def test_evaluation_repeats_the_score_to_the_last_digit(run, tmp_path):
    again = run_main(["--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt")], tmp_path / "eval")
    assert again.status == 0, again.err
    assert again.metrics == run.metrics
    files = ["predictions/d.csv", "predictions/e.csv", "submission/va.csv", "submission/au.csv"]
    for name in files:
        assert (again.folder / name).read_bytes() == (run.folder / name).read_bytes(), name


def test_thresholds_and_smoothing_are_chosen_when_evaluated(run, tmp_path):
    best = str(run.folder / "best.pt")
    flags = ["--thresholds", "tuned", "--smooth", "5"]
    again = run_main(["--mode", "eval", "--eval-checkpoint", best, *flags], tmp_path / "eval")
    assert again.metrics["au"]["thresholds"] == read_checkpoint(run.folder / "best.pt")["thresholds"]
    assert again.metrics["va"] != run.metrics["va"]


@pytest.mark.parametrize("task", ["va", "expr", "au"])
def test_each_task_alone_without_a_part(arguments, tmp_path, task):
    part = {"va": "--no-tcn", "expr": "--no-transformer", "au": "--positions"}[task]
    alone = run_main([*arguments, "--task", task, part, "--epochs", "1", "--fold", "2"], tmp_path / "run")
    assert alone.status == 0, alone.err
    assert set(alone.metrics) == {task, "score", "fold", "videos", "frames", "intervals"} and alone.metrics["fold"] == 2
    about, main = alone.metrics["intervals"], {"va": "va_ccc", "expr": "expr_f1", "au": "au_f1"}[task]
    assert about["resampled"] == "videos" and about["score"] == about[main]
    again = run_main(["--mode", "eval", "--eval-checkpoint", str(alone.folder / "best.pt")], tmp_path / "eval")
    assert again.metrics == alone.metrics
    off = run_main(
        ["--mode", "eval", "--eval-checkpoint", str(alone.folder / "best.pt"), "--ci", "off"], tmp_path / "off"
    )
    assert off.status == 0 and "intervals" not in off.metrics and off.metrics["score"] == alone.metrics["score"]


def test_folders_of_features_stand_side_by_side(arguments, data, tmp_path):
    both = [*arguments, "--features", data[-1], data[-1], "--epochs", "1"]
    wide = run_main(both, tmp_path / "run")
    assert wide.status == 0 and "12 features a frame" in wide.out


def same_state(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def stop_at(monkeypatch, epoch: int, step: int) -> None:
    """The signal of Ctrl-C comes while that step is computed."""
    update = SequenceTrainer.update

    def stopping(self, total):
        update(self, total)
        if (self.progress.epoch, self.inside["step"]) == (epoch, step):
            self.stop.received = signal.SIGINT

    monkeypatch.setattr(SequenceTrainer, "update", stopping)


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (1, 2)])
def test_a_stopped_run_ends_as_if_it_had_not_been(run, tmp_path, monkeypatch, arguments, epoch, step):
    settings, whole = [*arguments, *LEARNING], run
    with monkeypatch.context() as patch:
        stop_at(patch, epoch, step)
        stopped = run_main(settings, tmp_path / "stopped")
    assert stopped.status == 130 and "--resume" in stopped.err
    assert main(["--resume", str(stopped.folder)]) == 0
    for name in ("best.pt", "last.pt"):
        one, other = (read_checkpoint(folder / name) for folder in (whole.folder, stopped.folder))
        assert same_state(one["model"], other["model"]) and one["best"] == other["best"]
    assert (whole.folder / "metrics.json").read_bytes() == (stopped.folder / "metrics.json").read_bytes()


def test_a_complete_run_says_so(run, capsys):
    assert main(["--resume", str(run.folder)]) == 0
    assert "is complete" in capsys.readouterr().out


def test_the_cosine_ends_where_it_was_planned(run, capsys):
    assert "falls to 0 at epoch 4" in error_of(["--resume", str(run.folder), "--epochs", "9"], capsys)


def test_a_loss_that_is_not_finite_is_named(arguments, tmp_path, capsys):
    flags = [*arguments, "--lr", "1e30", "--warmup-epochs", "0", "--grad-clip", "0", "--task", "au"]
    assert "the loss term au is not finite" in error_of([*flags, "--output-dir", str(tmp_path / "r")], capsys)


REFUSED = {
    "--milestones 3": "--milestones 3 means nothing to --model sequence",
    "--task classification": "whose tasks are va, expr, au, multi",
    "--window 10": "--stride 12: at most --window 10",
    "--tcn-channels": "--tcn-channels needs",
    "--smooth 4": "--smooth 4: an odd number",
    "--fold 7": "--fold 7: expected 0 to 4",
    "--fold all": "one fold at a time",
    "--select-on test": "--select-on test",
    "--no-tcn --no-causal": "--no-causal is about",
    "--features nowhere": "nowhere/a.npy: no such file of features",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_cannot_be_meant_is_one_line(arguments, capsys, flags):
    assert REFUSED[flags] in error_of([*arguments, *flags.split()], capsys)


def test_its_flags_mean_nothing_elsewhere(capsys):
    assert "--window 9 means nothing to --model clip-caer" in error_of(["--window", "9"], capsys)
    assert "--task va means nothing to --model clip-caer" in error_of(["--task", "va"], capsys)


@pytest.mark.parametrize("missing", ["--root-dir", "--features"])
def test_data_must_be_named(data, capsys, missing):
    named = dict(zip(data[::2], data[1::2], strict=True))
    named.pop(missing)
    assert f"needs {missing}" in error_of([*SMALL.split(), *[w for pair in named.items() for w in pair]], capsys)


def test_files_that_do_not_fit_are_one_line(tmp_path, capsys):
    flags = [*SMALL.split(), *write_set(tmp_path / "set")]
    file = tmp_path / "set/features/c.npy"
    np.save(file, np.zeros((24, 6), np.float16))
    assert "24 rows, the video has 25 label lines" in error_of(flags, capsys)
    np.save(file, np.zeros((25, 7), np.float16))
    assert "7 features a frame" in error_of(flags, capsys)
    file.unlink()
    assert f"{file}: no such file of features" in error_of(flags, capsys)


def test_labels_that_are_all_invalid_are_one_line(tmp_path, capsys):
    flags = [*SMALL.split(), *write_set(tmp_path / "set")]
    for id, frames in VIDEOS["validation"].items():
        write_labels(tmp_path / "set", "expr", "validation", id, ["-1"] * frames)
    assert "no validation video has a valid expr label" in error_of(flags, capsys)
    path = label_file(tmp_path / "set", "va", "train", "a")
    path.write_text("arousal,valence\n0,0\n", encoding="utf-8")
    assert "expected valence,arousal" in error_of(flags, capsys)


def test_features_of_another_width_are_refused(run, tmp_path, capsys):
    other = write_set(tmp_path / "wide", width=9)
    best = ["--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt")]
    assert "9 numbers a frame" in error_of([*best, *other], capsys)
    assert "--milestones 3 means nothing" in error_of([*best, "--milestones", "3"], capsys)


def test_tuned_thresholds_need_a_run_that_ended(run, tmp_path, capsys):
    content = read_checkpoint(run.folder / "best.pt")
    content.pop("thresholds")
    torch.save(content, tmp_path / "cut.pt")
    flags = ["--mode", "eval", "--eval-checkpoint", str(tmp_path / "cut.pt"), "--thresholds", "tuned"]
    assert "--thresholds tuned: this checkpoint holds none" in error_of(
        [*flags, "--output-dir", str(tmp_path / "o")], capsys
    )


def test_it_can_be_looked_at_and_converted(run, tmp_path, capsys):
    best = str(run.folder / "best.pt")
    assert main(["--mode", "inspect", best]) == 0
    shown = capsys.readouterr().out
    assert "6 numbers a frame, windows of 20: TCN, transformer" in shown and "--tcn-channels 16 8" in shown
    assert main(["--mode", "convert", best, "--output-dir", str(tmp_path / "c")]) == 0
    for name in ("best.pt", "best.safetensors"):
        flags = ["--mode", "eval", "--eval-checkpoint", str(tmp_path / "c" / name)]
        again = run_main(flags, tmp_path / name)
        assert again.status == 0 and again.metrics == run.metrics, again.err


def test_patience_ends_a_run(arguments, tmp_path):
    flags = [*arguments, "--task", "expr", "--lr", "0", "--patience", "1", "--epochs", "9"]
    assert len(run_main(flags, tmp_path / "run").history) < 9


BUILT = ["--no-tcn", "--tcn-channels 8", "--no-transformer", "--transformer-layers 2", "--no-causal", "--positions"]


@pytest.mark.parametrize("flags", [*BUILT, "--task va"])
def test_what_the_tensors_were_made_with_stays(run, capsys, flags):
    best = ["--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt")]
    assert "this checkpoint was trained with" in error_of([*best, *flags.split()], capsys)


def test_every_option_that_is_built_in_is_tried_above():
    tried = {flags.split()[0].removeprefix("--").removeprefix("no-").replace("-", "_") for flags in BUILT}
    assert tried == {name for name in names_with(checkpoint="fixed classes") if group_of(name) == "sequence"}
