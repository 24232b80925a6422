"""The hash of a run: what its result depends on changes it, and nothing else does."""

import dataclasses
import json
import shutil

import pytest

from engine.config import read_command
from engine.run_hash import RESULTS, finished_runs, run_hash, stored_hash


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    for name in ("train.txt", "test.txt", "face.json"):
        (root / name).write_text(name)
    (tmp_path / "clip.pt").write_bytes(b"weights")
    return root


def hash_of(root, *more):
    words = [
        *("--root-dir", str(root), "--train-annotation", "train.txt", "--test-annotation", "test.txt"),
        *("--bounding-box-face", "face.json", "--clip-path", str(root.parent / "clip.pt"), "--device", "cpu"),
    ]
    return run_hash(read_command([*words, *more])[1])


@pytest.mark.parametrize(
    "words",
    [
        ["--output-dir", "elsewhere"],
        ["--exper-name", "other"],
        ["--workers", "0"],
        ["--print-freq", "7"],
        ["--cache-dir", "other"],
        ["--save-every-minutes", "1"],
        ["--ci", "clips"],
        ["--seeds", "3"],
        ["--no-mistake-frames"],
        ["--lr", "3e-4"],  # what it is anyway
    ],
)
def test_what_no_result_depends_on(files, words):
    assert hash_of(files, *words) == hash_of(files)


@pytest.mark.parametrize(
    "words",
    [
        ["--lr", "1e-3"],
        ["--epochs", "3"],
        ["--seed", "1"],
        ["--adapter", "none"],
        ["--no-flip"],
        ["--milestones", "3", "4"],
        ["--select-on", "last"],
        ["--mi-loss-weight", "0"],
        ["--dataset", "DFEW"],
        ["--lr-image-encoder", "0", "--cache-features"],
        ["--bounding-box-body", "body.json"],
        ["--val-annotation", "test.txt"],
    ],
)
def test_what_a_result_depends_on(files, words):
    assert hash_of(files, *words) != hash_of(files)


@pytest.mark.parametrize("name", ["train.txt", "test.txt", "face.json"])
def test_lists_and_boxes_count_by_what_is_in_them(files, name):
    before = hash_of(files)
    (files / name).write_text("something else")
    assert hash_of(files) != before
    (files / name).write_text(name)
    assert hash_of(files) == before


def test_a_list_by_another_name_is_the_same_list(files):
    shutil.copy(files / "train.txt", files / "copy.txt")
    assert hash_of(files, "--train-annotation", "copy.txt") == hash_of(files)


def test_weights_count_by_what_is_in_them(files):
    before = hash_of(files)
    (files.parent / "clip.pt").write_bytes(b"other!!")
    assert hash_of(files) != before


def test_a_folder_of_clips_counts_by_what_lies_in_it(files):
    (files / "train").mkdir()
    before = hash_of(files, "--train-annotation", "train")
    (files / "train/clip.png").write_bytes(b"x")
    assert hash_of(files, "--train-annotation", "train") != before


def test_class_texts_count_by_what_is_in_them(files):
    (files / "own.json").write_text(json.dumps({"classes": []}))
    one = hash_of(files, "--class-texts", str(files / "own.json"))
    shutil.copy(files / "own.json", files / "copy.json")
    assert hash_of(files, "--class-texts", str(files / "copy.json")) == one != hash_of(files)


def test_only_complete_runs_are_found(tmp_path):
    for name in ("a/run", "b"):
        (tmp_path / name).mkdir(parents=True)
        for file in RESULTS:
            (tmp_path / name / file).write_text("x")
        (tmp_path / name / "run_hash.txt").write_text(f"{name}\n")
    assert finished_runs(tmp_path) == {"a/run": tmp_path / "a/run", "b": tmp_path / "b"}
    (tmp_path / "b/predictions.csv").write_text("")
    (tmp_path / "a/run/metrics.json").unlink()
    assert finished_runs(tmp_path) == {} and stored_hash(tmp_path / "b") is None
    assert finished_runs(tmp_path / "nowhere") == {}


def test_every_option_is_judged(files):
    """A new option counts unless it is listed as free: forgetting one costs a repeated run, never a wrong result."""
    config = read_command(["--root-dir", str(files), "--device", "cpu"])[1]
    changed = dataclasses.replace(config, optim=dataclasses.replace(config.optim, weight_decay=0.5))
    assert run_hash(config) != run_hash(changed)
