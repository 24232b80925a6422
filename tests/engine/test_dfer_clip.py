"""DFER-CLIP through the command line: it learns, repeats itself, and reads pixels as its recipe says."""

import json

import pytest
import torch

from tests.support.drawn import QUICK, SEVEN, classes_in_columns, flags, truth, write_colours
from tests.support.resuming import assert_same_end
from tests.support.tools import ROOT, error_of, run_main

RECIPE = "@recipes/dfer_clip.args"
TRANSFORMS = "--random-crop 0.08 --brightness 0.5 --max-angle 4".split()
LEARN = "--optimizer AdamW --lr 3e-3 --lr-image-encoder 3e-3 --lr-prompt-learner 1e-2".split()


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    root = write_colours(tmp_path_factory.mktemp("colours") / "set")
    data = ["@recipes/data/dfew.args", "--fold", "1", "--root-dir", str(root)]
    learn = [*LEARN, "--batch-size", "4", "--temperature", "0.05", "--normalize", "clip", "--select-on", "last"]
    return root, [RECIPE, *data, *QUICK, "--num-segments", "1", *learn]


@pytest.fixture(scope="module")
def published(drawn):
    """The recipe with every published transform on, on the drawn set."""
    return [RECIPE, *flags("dfew", drawn("dfew")), *LEARN, *TRANSFORMS, "--epochs", "2"]


@pytest.fixture(scope="module")
def once(published, tmp_path_factory):
    return ran(published, tmp_path_factory.mktemp("once") / "run")


def ran(words, folder):
    run = run_main(words, folder)
    assert run.status == 0, run.err
    return run


def test_it_learns_colours(colours, tmp_path):
    root, words = colours
    run = ran([*words, "--epochs", "6", "--random-crop", "0.5"], tmp_path / "run")
    assert {row["clip"]: row["label"] for row in run.predictions} == truth("dfew", root, 1)
    assert run.metrics["uar"] >= 60  # chance is 14
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"] / 2


def test_two_runs_with_every_published_transform_are_one(published, once, tmp_path):
    again = ran(published, tmp_path / "run")
    assert_same_end(again.folder, once.folder)


def test_processes_that_decode_change_nothing(published, once, tmp_path):
    run = ran([*published, "--workers", "2"], tmp_path / "run")
    assert (run.folder / "predictions.csv").read_bytes() == (once.folder / "predictions.csv").read_bytes()
    assert [line["train/loss"] for line in run.history] == [line["train/loss"] for line in once.history]


@pytest.mark.parametrize("off", [["--random-crop", "1"], ["--brightness", "0"], ["--max-angle", "0"], ["--no-flip"]])
def test_every_transform_does_something_to_training_alone(off, published, once, tmp_path):
    """At rate 0 the loss tells of the training pixels, and the predictions of those of the test."""
    still = "--lr 0 --lr-image-encoder 0 --lr-prompt-learner 0 --epochs 1 --select-on last".split()
    run, other = ran([*published, *still, *off], tmp_path / "off"), ran([*published, *still], tmp_path / "on")
    assert run.history[0]["train/loss"] != other.history[0]["train/loss"]
    assert (run.folder / "predictions.csv").read_bytes() == (other.folder / "predictions.csv").read_bytes()


def test_one_stream_and_learnable_prompts_are_what_is_stored(once):
    content = torch.load(once.folder / "best.pt", weights_only=True)
    names = set(content["model"])
    assert not any(part in name for name in names for part in ("context_temporal", "adapter", "fuse"))
    assert any(name.startswith("face_temporal.") for name in names)
    config = json.loads((once.folder / "config.json").read_text())
    assert config["model"]["streams"] == "face" and config["model"]["contexts_number"] == 8
    assert config["data"]["random_crop"] == 0.08 and config["data"]["sampling"] == "published"
    assert content["classes"] == SEVEN == classes_in_columns(once.folder / "predictions.csv")


def test_evaluation_repeats_the_predictions(once, drawn, tmp_path):
    """Nothing but the checkpoint and the data is named; nothing is augmented."""
    words = ["--mode", "eval", "--eval-checkpoint", str(once.folder / "best.pt"), "@recipes/data/dfew.args"]
    run = ran([*words, "--fold", "2", "--root-dir", str(drawn("dfew")), "--workers", "0"], tmp_path / "run")
    assert (run.folder / "predictions.csv").read_bytes() == (once.folder / "predictions.csv").read_bytes()
    assert run.metrics["uar"] == once.metrics["uar"]


@pytest.mark.parametrize("more", [["--adapter", "residual"], ["--crop-body"], ["--captions", "c.json"]])
def test_what_means_nothing_to_one_stream_is_one_line(more, published, tmp_path, capsys):
    assert more[0] in error_of([*published, *more, "--output-dir", str(tmp_path / "run")], capsys)


def test_its_recipe_says_the_published_settings():
    """Numbers of the paper and its code, written out by hand."""
    text = (ROOT / "recipes/dfer_clip.args").read_text()
    for line in (
        "--lr 1e-2", "--lr-image-encoder 1e-5", "--lr-prompt-learner 1e-3", "--weight-decay 1e-4", "--momentum 0.9",
        "--epochs 50", "--batch-size 48", "--milestones 30 40", "--contexts-number 8", "--temperature 0.01",
        "--num-segments 16", "--dropout 0", "--random-crop 0.08", "--normalize none", "--seed 1", "--max-angle 0",
    ):  # fmt: skip
        assert f"\n{line}\n" in text, line
