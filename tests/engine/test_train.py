"""A run through the command line: it learns, and its folder has all files."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from tests.support.pictures import pixels_of
from tests.support.resuming import read
from tests.support.tiny import NAMES
from tests.support.tools import run_main

FILES = {
    "config.json", "log.txt", "metrics.jsonl", "last.pt", "last.previous.pt", "best.pt", "predictions.csv",
    "metrics.json", "confusion_matrix.png", "reliability.png", "curves.png", "tensorboard", "run_hash.txt", "mistakes",
    "model_card.md",
}  # fmt: skip


def predictions_of(run):
    assert run.status == 0, run.err
    return (run.folder / "predictions.csv").read_bytes()


def test_training_with_every_part_on_beats_chance_clearly(trained):
    assert trained.status == 0, trained.err
    assert trained.metrics["uar"] >= 60  # chance is 20
    losses = [line["train/loss_classification"] for line in trained.history]
    assert losses[-1] < losses[0] / 2


def test_training_without_iec_beats_chance_clearly(tiny_arguments, tmp_path):
    settings = (
        "--num-segments 2 --slerp-weight 0 --optimizer AdamW --lr 1e-3 --lr-image-encoder 1e-3 --lr-prompt-learner 3e-3"
    )
    settings += " --normalize clip --epochs 12 --milestones 10 --select-on last"
    run = run_main([*tiny_arguments, *settings.split()], tmp_path / "run")
    assert run.status == 0 and run.metrics["uar"] >= 60
    assert run.metrics["selected_on"] == "last"


def test_a_run_whose_epoch_was_selected_on_test_clips_is_stored_as_optimistic(tiny_arguments, tiny_flags, tmp_path):
    words = [*tiny_arguments, "--epochs", "1", "--milestones"]
    run = run_main([*words, "--select-on", "test"], tmp_path / "test")
    assert run.metrics["selected_on"] == read(run.folder / "best.pt")["selected_on"] == "test: optimistic"
    assert "warning: the best epoch is selected on test: the scores are optimistic" in run.out
    run = run_main([*words, "--val-annotation", tiny_flags["--test-annotation"]], tmp_path / "val")
    assert "optimistic" in run.metrics["selected_on"]
    assert "also in val: scores on them are optimistic" in run.out


def test_the_run_folder_is_complete_and_nothing_is_written_to_stderr(trained):
    assert {path.name for path in trained.folder.iterdir()} == FILES
    assert trained.err == ""  # without a terminal


def test_the_config_holds_every_resolved_option(trained):
    config = json.loads((trained.folder / "config.json").read_text())
    assert config["optim"]["optimizer"] == "AdamW" and config["optim"]["epochs"] == 14
    assert config["optim"]["lr_fusion"] == config["optim"]["lr"] and config["data"]["crop_body"] is True
    assert config["model"]["contexts_number"] == 12  # a default


def test_the_log_has_the_printed_text_with_the_data_and_the_rates(trained):
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


def test_there_is_one_line_of_metrics_per_epoch(trained):
    history = trained.history
    assert [line["epoch"] for line in history] == list(range(1, 15))
    keys = (
        "train/loss",
        "train/loss_mi",
        "train/loss_dc",
        "train/uar",
        "val/uar",
        "val/war",
        "val/macro_f1",
        "val/loss",
    )
    for key in keys:
        assert all(math.isfinite(line[key]) for line in history), key
    assert history[0]["lr/temporal"] == pytest.approx(1e-3) and history[-1]["lr/temporal"] == pytest.approx(1e-4)


def test_predictions_have_the_promised_columns_labels_and_scores(trained, tiny_flags):
    with open(trained.folder / "predictions.csv", newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    columns = [*(f"logit_{n}" for n in NAMES), *(f"prob_{n}" for n in NAMES)]
    assert header == ["clip", "person", "label", "predicted", *columns]
    clips = [line.rsplit(maxsplit=2) for line in open(f"{tiny_flags['--root-dir']}/annotation/test.txt")]
    rows = trained.predictions
    assert [(row["clip"], row["label"]) for row in rows] == [(clip, NAMES[int(n) - 1]) for clip, _, n in clips]
    logits, probabilities = (
        np.array([[float(row[f"{k}_{n}"]) for n in NAMES] for row in rows]) for k in ("logit", "prob")
    )
    assert [row["predicted"] for row in rows] == [NAMES[k] for k in logits.argmax(axis=1)]
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-6)
    assert trained.metrics["war"] == pytest.approx(100 * np.mean([row["label"] == row["predicted"] for row in rows]))


def test_logits_keep_every_digit_of_a_float(trained):
    texts = [row[f"logit_{name}"] for row in trained.predictions for name in NAMES]
    digits = [len(text.replace("-", "").replace(".", "").lstrip("0")) for text in texts]
    assert np.median(digits) >= 7
    assert all(f"{np.float32(text):.9g}" == text for text in texts)


def test_metrics_hold_the_scores_and_what_the_epoch_was_selected_on(trained):
    metrics = trained.metrics
    assert {"uar", "war", "macro_f1", "per_class", "confusion", "selected_on", "num_clips"} <= set(metrics)
    assert (metrics["selected_on"], metrics["num_clips"]) == ("val", 20)
    assert np.array(metrics["confusion"]).sum(axis=1).tolist() == [4] * 5
    assert metrics["per_class"]["Fatigue"]["support"] == 4


@pytest.mark.parametrize("name", ["confusion_matrix.png", "curves.png", "reliability.png"])
def test_pictures_open_and_are_not_blank(trained, name):
    pixels = pixels_of(trained.folder / name)
    assert min(pixels.shape) > 300 and pixels.std() > 10


def test_tensorboard_has_the_scalars_the_pictures_and_the_config(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.folder / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/uar", "val/uar", "val/loss", "lr/temporal"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("val/uar")] == list(range(1, 15))
    assert tags["images"] == ["confusion/test", "reliability/test"]
    (text,) = events.Tensors("config/text_summary")
    assert '"slerp_weight": 0.5' in text.tensor_proto.string_val[0].decode()


def test_checkpoints_hold_tensors_and_plain_values_and_best_is_the_first_best_epoch(trained):
    best, last = (read(trained.folder / name) for name in ("best.pt", "last.pt"))
    for content in (best, last):
        assert content["classes"] == list(NAMES) and content["config"]["model"]["slerp_weight"] == 0.5
    assert last["epoch"] == 14 and set(last["learning"]) == {"optimizer", "schedule", "scaler"}
    uars = [line["val/uar"] for line in trained.history]
    assert best["epoch"] == uars.index(max(uars)) + 1


def test_the_same_seed_gives_the_same_run_and_another_seed_another(small_flags, tmp_path):
    words = [*small_flags, "--no-deterministic", "--epochs", "2", "--milestones"]
    runs = [run_main([*words, "--seed", seed], tmp_path / str(n)) for n, seed in enumerate("774")]
    first, second, another = (read(run.folder / "last.pt")["model"] for run in runs)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert predictions_of(runs[0]) == predictions_of(runs[1])
    assert not torch.equal(first["fuse.weight"], another["fuse.weight"])


def test_neither_a_filled_cache_nor_the_number_of_workers_changes_a_run(small_flags, tmp_path):
    """Dropout must not depend on how often a loader was started before it."""
    words = [*small_flags, "--lr-image-encoder", "0", "--cache-features", "--epochs", "2", "--no-deterministic"]
    predictions = []
    for number, (cache, workers) in enumerate([("a", "0"), ("a", "0"), ("b", "1")]):
        extra = ["--cache-dir", str(tmp_path / cache), "--workers", workers]
        predictions.append(predictions_of(run_main([*words, *extra], tmp_path / f"run{number}")))
    assert predictions[0] == predictions[1] == predictions[2]
