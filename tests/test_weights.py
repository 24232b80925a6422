"""The shipped weights: the claims of the documents, and that a fresh clone can use them."""

import contextlib
import random
from pathlib import Path

import pytest
import torch

from dataloader.classes import load_classes
from engine.run_hash import hash_path
from models.build import build_prompts
from models.clip_backbone import load_clip
from simulate import Settings, write_set
from simulate.pretrain import MINI
from tests.support.tools import ROOT, run_main
from utils.checkpoint import load_checkpoint
from utils.errors import UserError

CLIP, DEMO = ROOT / "weights/mini_clip.safetensors", ROOT / "weights/demo_best.pt"
EVAL = ["--workers", "0", "--mode", "eval", "--eval-checkpoint", str(DEMO), "--root-dir"]


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    root = tmp_path_factory.mktemp("students") / "set"
    write_set(root, Settings(persons=8, clips=50, frames=16, seed=9), workers=1)  # persons in no training set
    return str(root)


def test_the_small_clip_has_the_shape_that_pretraining_makes():
    assert CLIP.stat().st_size < 16e6
    assert load_clip(str(CLIP)).shape == MINI


def test_a_flipped_bit_of_the_small_clip_is_detected(tmp_path):
    data, rng, file = CLIP.read_bytes(), random.Random(0), tmp_path / "clip.safetensors"
    for _ in range(30):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="clip.safetensors"):
            load_clip(str(file))


def test_the_checksum_of_the_small_clip_does_not_change_run_hashes():
    """Runs that were finished with the file without a checksum still have the same hash."""
    assert hash_path(str(CLIP)) == "415b64ede40ad9553c29fc29e44f200e668f3182cf8c8d8efc48a9582a213643"


def test_the_demo_weights_hold_no_absolute_path():
    config = load_checkpoint(DEMO, ("config",))["config"]
    values = [value for group in config.values() for value in group.values() if isinstance(value, str)]
    assert not [value for value in values if value.startswith(("/", "~")) or ":\\" in value]


@pytest.fixture(scope="module")
def evaluated(students, tmp_path_factory):
    """The demo weights, evaluated on the new persons from another folder than the project's."""
    with contextlib.chdir(tmp_path_factory.mktemp("elsewhere")):
        return run_main([*EVAL, students], Path("run").absolute()).ok()


def test_the_demo_weights_score_above_chance_on_new_persons(evaluated):
    assert evaluated.metrics["uar"] > 50  # chance is 20; 3 clips a class


def test_the_demo_weights_have_the_prompts_of_the_texts_of_drawn_students():
    content, clip = load_checkpoint(DEMO, ("config", "model")), load_clip(str(CLIP))
    data, options = content["config"]["data"], content["config"]["model"]
    texts = load_classes(data["dataset"], str(ROOT / data["class_texts"])).texts_of(options["text_type"])
    prompts = build_prompts(clip, [text for (text,) in texts], contexts=8, position="end", class_specific=True)
    for name in ("start", "text", "end", "text_lengths"):
        assert torch.equal(content["model"][f"prompts.{name}"].float(), getattr(prompts, name).float()), name


def test_the_demo_weights_are_evaluated_with_the_recipe_of_their_set(evaluated, students, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    run = run_main([*EVAL, students, "@recipes/simulated.args"], tmp_path / "recipe").ok()
    assert run.metrics == evaluated.metrics


def test_the_small_clip_scores_above_chance_without_training(students, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    flags = [
        "--workers",
        "0",
        "--num-segments",
        "4",
        "--mode",
        "zero-shot",
        f"@{ROOT / 'recipes/simulated.args'}",
        "--root-dir",
        students,
    ]
    run = run_main([*flags, "--test-annotation", "annotation/train.txt"], tmp_path / "run").ok()
    assert run.metrics["uar"] > 35
