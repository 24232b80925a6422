"""A run through the command line: it learns, and leaves the folder it should."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from tests.support.pictures import pixels_of
from tests.support.tiny import NAMES
from tests.support.tools import run_main

FILES = {
    "config.json", "log.txt", "metrics.jsonl", "last.pt", "last.previous.pt", "best.pt", "predictions.csv",
    "metrics.json", "confusion_matrix.png", "reliability.png", "curves.png", "tensorboard", "run_hash.txt", "mistakes",
    "model_card.md",
}  # fmt: skip


def test_training_with_every_part_on_beats_chance_clearly(trained):
    assert trained.status == 0, trained.err
    assert trained.metrics["uar"] >= 60  # chance is 20
    losses = [line["train/loss_classification"] for line in trained.history]
    assert losses[-1] < losses[0] / 2


def test_training_without_iec_beats_chance_clearly(tiny_arguments, tmp_path):
    settings = "--slerp-weight 0 --optimizer AdamW --lr 1e-3 --lr-image-encoder 1e-3 --lr-prompt-learner 3e-3"
    settings += " --normalize clip --epochs 12 --milestones 10 --select-on last"
    done = run_main([*tiny_arguments, *settings.split()], tmp_path / "run")
    assert done.status == 0 and done.metrics["uar"] >= 60
    assert done.metrics["selected_on"] == "last"


def test_zero_shot_scores_plain_clip_without_training(tiny_arguments, tmp_path):
    done = run_main([*tiny_arguments, "--mode", "zero-shot"], tmp_path / "run")
    assert done.status == 0, done.err
    assert len(done.predictions) == 20 and 0 <= done.metrics["uar"] <= 100
    assert "zero-shot" in done.metrics["selected_on"] and not (done.folder / "best.pt").exists()


def test_the_run_folder_is_complete(trained):
    assert {path.name for path in trained.folder.iterdir()} == FILES
    assert not list(trained.folder.glob("*.part"))


def test_nothing_is_written_to_stderr_where_there_is_no_terminal(trained):
    assert trained.err == ""


def test_the_config_holds_every_resolved_option(trained):
    config = json.loads((trained.folder / "config.json").read_text())
    assert config["optim"]["optimizer"] == "AdamW" and config["optim"]["epochs"] == 14
    assert config["optim"]["lr_fusion"] == config["optim"]["lr"] and config["data"]["crop_body"] is True
    assert config["model"]["contexts_number"] == 12  # a default


def test_the_log_says_what_was_read_and_who_learns(trained):
    log = (trained.folder / "log.txt").read_text()
    assert log == trained.out
    for part in (
        "face boxes: 60 of 60 clips (100.0%), 480 of 480 frames (100.0%)",
        "body boxes: 60 of 60 clips (100.0%)",
        "train    30 clips of 3 persons",
        "image encoder",
        "best epoch",
        "run folder",
    ):
        assert part in log, part


def test_one_line_of_metrics_an_epoch(trained):
    history = trained.history
    assert [line["epoch"] for line in history] == list(range(1, 15))
    for key in ("train/loss", "train/loss_mi", "train/loss_dc", "train/uar", "val/uar", "val/war", "val/macro_f1"):
        assert all(math.isfinite(line[key]) for line in history), key
    assert history[0]["lr/temporal"] == pytest.approx(1e-3) and history[-1]["lr/temporal"] == pytest.approx(1e-4)


def test_predictions_have_the_promised_columns(trained):
    with open(trained.folder / "predictions.csv", newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    columns = [*(f"logit_{n}" for n in NAMES), *(f"prob_{n}" for n in NAMES)]
    assert header == ["clip", "person", "label", "predicted", *columns]


def test_predictions_read_back_give_the_same_classes_and_scores(trained, tiny_flags):
    listed = [line.rsplit(maxsplit=2) for line in open(f"{tiny_flags['--root-dir']}/annotation/test.txt")]
    rows = trained.predictions
    assert [row["clip"] for row in rows] == [clip for clip, _, _ in listed]
    assert [row["label"] for row in rows] == [NAMES[int(label) - 1] for _, _, label in listed]
    logits = np.array([[float(row[f"logit_{name}"]) for name in NAMES] for row in rows])
    probabilities = np.array([[float(row[f"prob_{name}"]) for name in NAMES] for row in rows])
    assert [row["predicted"] for row in rows] == [NAMES[k] for k in logits.argmax(axis=1)]
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(probabilities, softmax, atol=1e-6)
    right = [row["label"] == row["predicted"] for row in rows]
    assert trained.metrics["war"] == pytest.approx(100 * np.mean(right))


def test_logits_keep_every_digit_of_a_float(trained):
    texts = [row[f"logit_{name}"] for row in trained.predictions for name in NAMES]
    digits = [len(text.replace("-", "").replace(".", "").lstrip("0")) for text in texts]
    assert np.median(digits) >= 7
    assert all(f"{np.float32(text):.9g}" == text for text in texts)


def test_metrics_json_holds_the_scores_and_what_they_were_chosen_on(trained):
    metrics = trained.metrics
    assert {"uar", "war", "macro_f1", "per_class", "confusion", "selected_on", "num_clips"} <= set(metrics)
    assert (metrics["selected_on"], metrics["num_clips"]) == ("val", 20)
    assert np.array(metrics["confusion"]).sum(axis=1).tolist() == [4] * 5
    assert metrics["per_class"]["Fatigue"]["support"] == 4


def test_a_test_selected_run_is_stored_as_optimistic(tiny_arguments, tmp_path):
    arguments = [*tiny_arguments, "--select-on", "test", "--epochs", "1", "--milestones"]
    done = run_main(arguments, tmp_path / "run")
    assert done.metrics["selected_on"] == "test: optimistic"
    assert "warning: the best epoch is selected on test: optimistic" in done.out
    assert torch.load(done.folder / "best.pt", weights_only=True)["selected_on"] == "test: optimistic"


@pytest.mark.parametrize("name", ["confusion_matrix.png", "curves.png", "reliability.png"])
def test_pictures_open_and_are_not_blank(trained, name):
    pixels = pixels_of(trained.folder / name)
    assert min(pixels.shape) > 300 and pixels.std() > 10


def test_tensorboard_has_the_scalars_the_pictures_and_the_config(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.folder / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/uar", "val/uar", "lr/temporal"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("val/uar")] == list(range(1, 15))
    assert tags["images"] == ["confusion/test", "reliability/test"]
    (text,) = events.Tensors("config/text_summary")
    assert '"slerp_weight": 0.5' in text.tensor_proto.string_val[0].decode()


def test_checkpoints_hold_tensors_and_primitives_only(trained):
    for name in ("best.pt", "last.pt"):
        content = torch.load(trained.folder / name, weights_only=True)
        assert content["classes"] == list(NAMES) and content["config"]["model"]["slerp_weight"] == 0.5
    assert content["epoch"] == 14 and set(content["learning"]) == {"optimizer", "schedule", "scaler"}


def test_best_is_the_first_epoch_with_the_highest_validation_uar(trained):
    uars = [line["val/uar"] for line in trained.history]
    best = torch.load(trained.folder / "best.pt", weights_only=True)
    assert best["epoch"] == uars.index(max(uars)) + 1


def test_the_same_seed_gives_the_same_run(tiny_arguments, tmp_path):
    arguments = [*tiny_arguments, "--epochs", "2", "--milestones", "--lr", "0.01"]
    runs = [run_main([*arguments, "--seed", seed], tmp_path / str(n)) for n, seed in enumerate("774")]
    same, again, other = (torch.load(run.folder / "last.pt", weights_only=True)["model"] for run in runs)
    assert all(torch.equal(same[key], again[key]) for key in same)
    assert (runs[0].folder / "predictions.csv").read_bytes() == (runs[1].folder / "predictions.csv").read_bytes()
    assert not torch.equal(same["fuse.weight"], other["fuse.weight"])


def test_a_rerun_is_the_same_run_whatever_was_cached_and_however_many_workers(tiny_arguments, tmp_path):
    """Dropout must not depend on how often a loader was started before it."""
    flags = [*tiny_arguments, "--lr-image-encoder", "0", "--cache-features", "--epochs", "2", "--optimizer", "AdamW"]
    runs = []
    for number, (cache, workers) in enumerate([("a", "0"), ("a", "0"), ("b", "1")]):
        more = ["--cache-dir", str(tmp_path / cache), "--workers", workers]
        runs.append(run_main([*flags, *more], tmp_path / f"run{number}"))
    assert all(run.status == 0 for run in runs)
    predictions = [(run.folder / "predictions.csv").read_bytes() for run in runs]
    assert predictions[0] == predictions[1] == predictions[2]


def test_a_validation_list_that_holds_test_clips_is_called_optimistic(tiny_arguments, tiny_flags, tmp_path):
    flags = [*tiny_arguments, "--val-annotation", tiny_flags["--test-annotation"], "--epochs", "1"]
    run = run_main(flags, tmp_path / "run")
    assert "optimistic" in run.metrics["selected_on"]
    assert "also in val: scores on them are optimistic" in run.out
