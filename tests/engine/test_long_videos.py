"""--model sequence through the command line: training, evaluation, stopping and resuming, one-line errors."""

import csv
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.kill import flatten
from dataloader.frame_labels import TASKS
from engine.checkpoints import evaluation_config
from engine.config import make_config
from engine.long_videos.train import SequenceTrainer
from engine.options import group_of, names_with
from main import main
from tests.support.affect import VIDEOS, label_file, write_labels, write_set
from tests.support.pictures import real_pictures
from tests.support.tools import error_of, run_main, run_ok
from utils.checkpoint import read_checkpoint, to_full
from utils.errors import UserError

SMALL = "--model sequence --window 20 --stride 12 --batch-size 4 --transformer-layers 1 --tcn-channels 16 8"
SMALL = [*SMALL.split(), "--device", "cpu", "--dropout", "0.1"]
LEARNING = ["--epochs", "4", "--lr", "1e-3"]
EVAL = ["--mode", "eval", "--eval-checkpoint"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> list[str]:
    return write_set(tmp_path_factory.mktemp("affect") / "set")


@pytest.fixture(scope="module")
def arguments(data) -> list[str]:
    return [*SMALL, *data]


@pytest.fixture(scope="module")
def run(arguments, tmp_path_factory):
    with real_pictures():
        return run_ok([*arguments, *LEARNING], tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def best(run) -> str:
    return str(run.folder / "best.pt")


def test_the_sequence_model_learns_three_tasks_and_scores_the_best_epoch(run, best):
    metrics, history = run.metrics, run.history
    assert {"va", "expr", "au"} < set(metrics) and metrics["frames"] == sum(VIDEOS["validation"].values())
    assert metrics["va"]["ccc"] > 0.5 and metrics["au"]["f1"] > 0.6
    assert history[-1]["train/loss"] < history[0]["train/loss"]
    assert {"train/loss_va", "train/loss_expr", "train/loss_au", "val/score", "lr"} <= set(history[0])
    assert history[-1]["lr"] == pytest.approx(0, abs=1e-12)  # of the cosine schedule
    assert list((run.folder / "tensorboard").iterdir()) and (run.folder / "timeline.png").stat().st_size > 10_000
    best_epoch = max(history, key=lambda values: values["val/score"])
    assert metrics["score"] == best_epoch["val/score"] and read_checkpoint(Path(best))["epoch"] == best_epoch["epoch"]


@pytest.mark.parametrize("task", ["va", "expr", "au"])
def test_every_frame_has_one_line_in_the_submission(run, task):
    with open(run.folder / f"submission/{task}.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    names = [f"{id}/{n:05d}.jpg" for id, count in VIDEOS["validation"].items() for n in range(1, count + 1)]
    assert [row[0] for row in rows] == names
    assert header == ["image_location", *(("expression",) if task == "expr" else TASKS[task].names)]
    values, (low, high) = np.array([row[1:] for row in rows], dtype=float), TASKS[task].bounds
    assert values.min() >= low and values.max() <= high


def test_evaluation_writes_the_same_files_unless_options_change(run, best, tmp_path):
    again = run_ok([*EVAL, best], tmp_path / "eval")
    assert again.metrics == run.metrics
    for name in ("predictions/d.csv", "predictions/e.csv", "submission/va.csv", "submission/au.csv"):
        assert (again.folder / name).read_bytes() == (run.folder / name).read_bytes(), name
    tuned = run_main([*EVAL, best, "--thresholds", "tuned", "--smooth", "5"], tmp_path / "tuned").metrics
    assert tuned["au"]["thresholds"] == read_checkpoint(Path(best))["thresholds"] and tuned["va"] != run.metrics["va"]


@pytest.mark.parametrize(
    ("task", "part", "score"),
    [("va", "--no-tcn", "va_ccc"), ("expr", "--no-transformer", "expr_f1"), ("au", "--positions", "au_f1")],
)
def test_each_task_is_trained_alone_with_one_part_left_out(arguments, tmp_path, task, part, score):
    single = run_ok([*arguments, "--task", task, part, "--epochs", "1", "--fold", "2"], tmp_path / "run")
    metrics, intervals = single.metrics, single.metrics["intervals"]
    assert set(metrics) == {task, "score", "fold", "videos", "frames", "intervals"} and metrics["fold"] == 2
    assert intervals["resampled"] == "videos" and intervals["score"] == intervals[score]
    evaluate = [*EVAL, str(single.folder / "best.pt")]
    assert run_main(evaluate, tmp_path / "eval").metrics == metrics
    off = run_ok([*evaluate, "--ci", "off"], tmp_path / "off")
    assert "intervals" not in off.metrics and off.metrics["score"] == metrics["score"]


def test_features_of_several_folders_are_joined_side_by_side(arguments, data, tmp_path):
    wide = run_ok([*arguments, "--features", data[-1], data[-1], "--epochs", "1"], tmp_path / "run")
    assert "12 features a frame" in wide.out


def stop_at(monkeypatch, arguments, folder, epoch, step):
    """Return a run that gets the signal of Ctrl-C while a step is computed."""
    update = SequenceTrainer.update

    def stopping(self, loss):
        update(self, loss)
        if (self.progress.epoch, self.inside["step"]) == (epoch, step):
            self.stop.received = signal.SIGINT

    with monkeypatch.context() as patch:
        patch.setattr(SequenceTrainer, "update", stopping)
        return run_main([*arguments, *LEARNING], folder)


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (1, 2)])
def test_a_stopped_and_resumed_run_ends_like_an_uninterrupted_one(run, tmp_path, monkeypatch, arguments, epoch, step):
    stopped = stop_at(monkeypatch, arguments, tmp_path / "stopped", epoch, step)
    assert stopped.status == 130 and "--resume" in stopped.err
    assert main(["--resume", str(stopped.folder)]) == 0
    for name in ("best.pt", "last.pt"):
        whole, resumed = (read_checkpoint(folder / name) for folder in (run.folder, stopped.folder))
        weights = zip(whole["model"].values(), resumed["model"].values(), strict=True)
        assert all(torch.equal(a, b) for a, b in weights) and whole["best"] == resumed["best"]
    assert run.metrics == stopped.metrics


def test_a_stopped_run_has_the_same_rates_and_averages(arguments, tmp_path, monkeypatch):
    extra = "--schedule milestones --milestones 1 3 --gamma 0.5 --ema 0.9 --drop-last --batch-size 5"
    words = [*arguments, "--task", "va", *extra.split()]
    whole = run_ok([*words, *LEARNING], tmp_path / "whole")
    stopped = stop_at(monkeypatch, words, tmp_path / "stopped", 1, 2)
    assert stopped.status == 130 and main(["--resume", str(stopped.folder)]) == 0
    values: list[dict] = [{}, {}]
    for content, run in zip(values, (whole, stopped), strict=True):
        for name in ("best.pt", "last.pt"):
            checkpoint = read_checkpoint(run.folder / name)
            for key in ("model", "learning", "best"):
                flatten(checkpoint.get(key), f"{name}/{key}", content)
    assert values[0] == values[1] and any("average" in name and "running_mean" in name for name in values[0])
    assert [row["lr"] for row in whole.history] == pytest.approx([1e-3, 0.5e-3, 0.5e-3, 0.25e-3])
    average = read_checkpoint(whole.folder / "last.pt")["learning"]["average"]
    assert average["updates"] == 4 * (32 // 5)  # 32 windows an epoch


def test_the_mean_of_two_sequence_models_has_the_mean_of_their_statistics(run, arguments, tmp_path):
    other = run_ok([*arguments, "--epochs", "1", "--seed", "3"], tmp_path / "other")
    files = [run.folder / "best.pt", other.folder / "best.pt"]
    words = ["--mode", "convert", "--average", *map(str, files)]
    mean = run_ok(words, tmp_path / "mean").folder / "average.pt"
    first, second, state = (to_full(read_checkpoint(file)["model"]) for file in (*files, mean))
    names = [name for name in state if "running_var" in name or name.endswith("weight")]
    assert len(names) > 4
    for name in names:
        assert torch.allclose(state[name], (first[name].double() + second[name].double()).float() / 2, rtol=1e-6)
    counts = [name for name in state if name.endswith("num_batches_tracked")]
    assert counts and all(state[name] == first[name] > second[name] for name in counts)
    assert "thresholds" not in read_checkpoint(mean) and run_ok([*EVAL, str(mean)], tmp_path / "eval").metrics["score"]


def test_a_run_is_not_resumed_with_replaced_features(data, tmp_path, monkeypatch, capsys):
    features = Path(shutil.copytree(data[-1], tmp_path / "features"))
    words = [*SMALL, *data[:-1], str(features)]
    stopped = stop_at(monkeypatch, words, tmp_path / "stopped", 0, 0)
    rows = np.load(features / "a.npy")
    np.save(features / "a.npy", rows[::-1])
    assert "last.pt: the content of frame or feature files has changed" in error_of(
        ["--resume", str(stopped.folder)], capsys
    )
    np.save(features / "a.npy", rows)
    assert main(["--resume", str(stopped.folder)]) == 0


def test_a_complete_run_is_not_one_of_other_features(run, data, tmp_path, capsys):
    features = Path(shutil.copytree(data[-1], tmp_path / "features"))
    words = ["--model", "sequence", "--resume", str(run.folder), "--features", str(features)]
    assert main(words) == 0 and "is complete" in capsys.readouterr().out
    np.save(features / "a.npy", np.load(features / "a.npy")[::-1])
    assert "are not those of its training" in error_of(words, capsys)
    assert "nowhere" in error_of(["--resume", str(run.folder), "--root-dir", str(tmp_path / "nowhere")], capsys)


def test_a_complete_run_is_reported_and_more_epochs_are_refused(run, capsys):
    assert main(["--resume", str(run.folder)]) == 0
    assert "is complete" in capsys.readouterr().out
    assert "falls to 0 at epoch 4" in error_of(["--resume", str(run.folder), "--epochs", "9"], capsys)


def test_a_sequence_checkpoint_can_be_inspected_and_converted(run, best, tmp_path, capsys):
    assert main(["--mode", "inspect", best]) == 0
    text = capsys.readouterr().out
    assert "6 numbers a frame, windows of 20: TCN, transformer" in text and "--tcn-channels 16 8" in text
    assert main(["--mode", "convert", best, "--output-dir", str(tmp_path / "c")]) == 0
    for name in ("best.pt", "best.safetensors"):
        assert run_ok([*EVAL, str(tmp_path / "c" / name)], tmp_path / name).metrics == run.metrics


def test_patience_ends_a_run(arguments, tmp_path):
    flags = [*arguments, "--task", "expr", "--lr", "0", "--patience", "1", "--epochs", "9"]
    assert len(run_main(flags, tmp_path / "run").history) < 9


# -- mistakes -------------------------------------------------------------------------------------------------------

REFUSED = {
    "--milestones 3": "--milestones 3 is not used with --schedule cosine",
    "--select-by war": "--select-by war is not used by --model sequence",
    "--drop-last --batch-size 99": "--drop-last: an epoch has 32 windows, fewer than --batch-size 99",
    "--task classification": "whose tasks are va, expr, au, multi",
    "--window 10": "--stride 12: must be at most --window 10",
    "--tcn-channels": "--tcn-channels is empty",
    "--smooth 4": "--smooth 4: must be odd",
    "--fold 7": "--fold 7: expected 0 to 4",
    "--fold all": "one fold at a time",
    "--select-on test": "--select-on test",
    "--no-tcn --no-causal": "--no-causal changes",
    "--features nowhere": "nowhere/a.npy: no such file",
    "--lr 1e30 --warmup-epochs 0 --grad-clip 0 --task au": "the loss term au is not finite",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_mistakes_in_training_give_a_one_line_error(arguments, capsys, tmp_path, flags):
    words = [*arguments, "--output-dir", str(tmp_path / "run"), *flags.split()]
    assert REFUSED[flags] in error_of(words, capsys)


@pytest.mark.parametrize("flags", [{"smooth": 4}, {"stride": 400}, {"ci": "persons"}], ids=str)
@pytest.mark.parametrize("mode", ["eval", "predict"])
def test_a_checkpoint_refuses_the_same_mistakes(mode, flags):
    stored = asdict(make_config({"model": "sequence"}))
    with pytest.raises(UserError, match=f"^--{next(iter(flags))} "):
        evaluation_config({"config": stored}, flags, mode=mode)


@pytest.mark.parametrize("flags", ["--window 9", "--task va"])
def test_its_flags_mean_nothing_to_others(capsys, flags):
    assert f"{flags} is not used by --model clip-caer" in error_of(flags.split(), capsys)


@pytest.mark.parametrize("missing", [0, 2])
def test_data_must_be_named(data, capsys, missing):
    words = data[:missing] + data[missing + 2 :]
    assert f"needs {data[missing]}" in error_of([*SMALL, *words], capsys)


def test_files_that_do_not_fit_give_a_one_line_error(tmp_path, capsys):
    flags, file = [*SMALL, *write_set(tmp_path / "set")], tmp_path / "set/features/c.npy"
    for shape, message in (((24, 6), "24 rows, the video has 25 label lines"), ((25, 7), "7 features per frame")):
        np.save(file, np.zeros(shape, np.float16))
        assert message in error_of(flags, capsys)
    file.unlink()
    assert f"{file}: no such file" in error_of(flags, capsys)
    for id, frames in VIDEOS["validation"].items():
        write_labels(tmp_path / "set", "expr", "validation", id, ["-1"] * frames)
    np.save(file, np.zeros((25, 6), np.float16))
    assert "no validation video has a valid expr label" in error_of(flags, capsys)
    label_file(tmp_path / "set", "va", "train", "a").write_text("arousal,valence\n0,0\n", encoding="utf-8")
    assert "expected valence,arousal" in error_of(flags, capsys)


def test_mistakes_in_evaluation_give_a_one_line_error(best, tmp_path, capsys):
    assert "9 numbers a frame" in error_of([*EVAL, best, *write_set(tmp_path / "wide", width=9)], capsys)
    assert "--lr-image-encoder 1.0 is not used" in error_of([*EVAL, best, "--lr-image-encoder", "1"], capsys)
    content = read_checkpoint(Path(best))
    content.pop("thresholds")
    torch.save(content, tmp_path / "unfinished.pt")
    flags = [*EVAL, str(tmp_path / "unfinished.pt"), "--thresholds", "tuned", "--output-dir", str(tmp_path / "run")]
    assert "--thresholds tuned: this checkpoint holds none" in error_of(flags, capsys)


FIXED = ["--no-tcn", "--tcn-channels 8", "--no-transformer", "--transformer-layers 2", "--no-causal", "--positions"]


@pytest.mark.parametrize("flags", [*FIXED, "--task va"])
def test_options_that_the_checkpoint_fixes_cannot_change(best, capsys, flags):
    assert "this checkpoint was trained with" in error_of([*EVAL, best, *flags.split()], capsys)


def test_every_option_that_a_checkpoint_fixes_is_tested_above():
    tried = {flags.split()[0].removeprefix("--").removeprefix("no-").replace("-", "_") for flags in FIXED}
    assert tried == {name for name in names_with(checkpoint="fixed classes") if group_of(name) == "sequence"}
