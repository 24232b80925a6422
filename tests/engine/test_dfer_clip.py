"""DFER-CLIP through the command line: it learns, is reproducible, and reads pixels as its recipe says."""

import json

import pytest

from tests.support.drawn import QUICK, SEVEN, classes_in_columns, flags, truth, write_colours
from tests.support.resuming import assert_same_end, read
from tests.support.tools import run_ok

RECIPE = "@recipes/dfer_clip.args"
TRANSFORMS = "--random-crop 0.08 --brightness 0.5 --max-angle 4 --contrast 0.5 --saturation 0.5 --hue 0.2".split()
TRANSFORMS += "--grayscale 0.2 --random-erasing 0.3".split()
LEARN = "--optimizer AdamW --lr 3e-3 --lr-image-encoder 3e-3 --lr-prompt-learner 1e-2".split()
FROZEN = "--lr 0 --lr-image-encoder 0 --lr-prompt-learner 0 --epochs 1 --select-on last".split()


def predictions_of(run):
    return (run.folder / "predictions.csv").read_bytes()


@pytest.fixture(scope="module")
def published(drawn):
    """The recipe with every published transform, on the simulated set."""
    return [RECIPE, *flags("dfew", drawn("dfew")), *LEARN, *TRANSFORMS, "--epochs", "2"]


@pytest.fixture(scope="module")
def first(published, tmp_path_factory):
    return run_ok(published, tmp_path_factory.mktemp("first") / "run")


@pytest.fixture(scope="module")
def frozen(published, tmp_path_factory):
    return run_ok([*published, *FROZEN], tmp_path_factory.mktemp("frozen") / "run")


def test_dfer_clip_learns_colours(tmp_path):
    root = write_colours(tmp_path / "set")
    words = [RECIPE, "@recipes/data/dfew.args", "--fold", "1", "--root-dir", str(root), *QUICK, *LEARN]
    settings = "--num-segments 1 --batch-size 4 --temperature 0.05 --normalize clip --select-on last --epochs 6"
    run = run_ok([*words, *settings.split(), "--random-crop", "0.5"], tmp_path / "run")
    assert run.labels == truth("dfew", root, 1)
    assert run.metrics["uar"] >= 60  # chance is 14
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"] / 2


def test_a_second_run_ends_with_the_same_bits(published, first, tmp_path):
    assert_same_end(run_ok(published, tmp_path / "run").folder, first.folder)


def test_the_number_of_decoding_processes_changes_nothing(published, first, tmp_path):
    run = run_ok([*published, "--workers", "2"], tmp_path / "run")
    assert predictions_of(run) == predictions_of(first)
    assert [line["train/loss"] for line in run.history] == [line["train/loss"] for line in first.history]


OFF = ["--random-crop 1", "--brightness 0", "--max-angle 0", "--no-flip", "--contrast 0", "--saturation 0", "--hue 0"]
OFF += ["--grayscale 0", "--random-erasing 0"]


@pytest.mark.parametrize("off", OFF)
def test_every_transform_changes_only_training_pixels(off, published, frozen, tmp_path):
    """With a learning rate of 0, losses depend on the training pixels and predictions on the test pixels."""
    run = run_ok([*published, *FROZEN, *off.split()], tmp_path / "off")
    assert run.history[0]["train/loss"] != frozen.history[0]["train/loss"]
    assert predictions_of(run) == predictions_of(frozen)


def test_a_checkpoint_holds_one_stream_and_learnable_prompts(first):
    content = read(first.folder / "best.pt")
    names = set(content["model"])
    assert not any(part in name for name in names for part in ("context_temporal", "adapter", "fuse"))
    assert any(name.startswith("face_temporal.") for name in names)
    config = json.loads((first.folder / "config.json").read_text())
    assert config["model"]["streams"] == "face" and config["model"]["contexts_number"] == 8
    assert config["data"]["random_crop"] == 0.08 and config["data"]["sampling"] == "published"
    assert content["classes"] == SEVEN == classes_in_columns(first.folder / "predictions.csv")


def test_evaluation_repeats_the_predictions_without_augmentation(first, drawn, tmp_path):
    words = ["--mode", "eval", "--eval-checkpoint", str(first.folder / "best.pt"), "@recipes/data/dfew.args"]
    run = run_ok([*words, "--fold", "2", "--root-dir", str(drawn("dfew")), "--workers", "0"], tmp_path / "run")
    assert predictions_of(run) == predictions_of(first) and run.metrics["uar"] == first.metrics["uar"]
