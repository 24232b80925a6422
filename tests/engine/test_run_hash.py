"""The hash of a run: what its result depends on changes it, and nothing else does."""

import shutil

import pytest

from engine.config import read_command
from engine.run_hash import RESULTS, counted_options, finished_runs, run_hash, stored_hash


@pytest.fixture
def root(tmp_path):
    """A data set's lists and boxes, and the weights of a CLIP beside them."""
    root = tmp_path / "set"
    root.mkdir()
    for name in ("train.txt", "test.txt", "face.json", "classes.json"):
        (root / name).write_text(name)
    (tmp_path / "clip.pt").write_bytes(b"weights")
    return root


def config_of(root, *extra):
    words = f"--root-dir {root} --train-annotation train.txt --test-annotation test.txt --bounding-box-face face.json"
    return read_command([*words.split(), "--clip-path", f"{root.parent}/clip.pt", "--device", "cpu", *extra])[1]


def hash_of(root, *extra):
    return run_hash(config_of(root, *extra))


@pytest.mark.parametrize(
    "words",
    [
        "--output-dir elsewhere", "--exper-name other", "--workers 0", "--print-freq 7", "--cache-dir other",
        "--save-every-minutes 1", "--ci clips", "--seeds 3", "--no-mistake-frames", "--lr 3e-4",  # its default
    ],
)  # fmt: skip
def test_options_without_an_effect_on_results_do_not_change_the_hash(root, words):
    assert hash_of(root, *words.split()) == hash_of(root)


@pytest.mark.parametrize(
    "words",
    [
        "--lr 1e-3", "--epochs 3", "--seed 1", "--adapter none", "--no-flip", "--milestones 3 4", "--select-on last",
        "--mi-loss-weight 0", "--weight-decay 0.5", "--dataset DFEW", "--lr-image-encoder 0 --cache-features",
        "--bounding-box-body body.json", "--val-annotation test.txt", "--lora-rank 2", "--lora-rank 2 --lora-alpha 4",
        "--temporal-pool mean", "--ldam cosine", "--semantic-labels 0.1", "--hue 0.1",
        "--mixup 0.2",
    ],
)  # fmt: skip
def test_options_with_an_effect_on_results_change_the_hash(root, words):
    assert hash_of(root, *words.split()) != hash_of(root)


@pytest.mark.parametrize("name", ["train.txt", "test.txt", "face.json", "../clip.pt", "classes.json"])
def test_files_count_by_their_content(root, name):
    extra = ["--class-texts", str(root / "classes.json")] if name == "classes.json" else []
    before, content = hash_of(root, *extra), (root / name).read_bytes()
    (root / name).write_text("other!!")
    assert hash_of(root, *extra) != before
    (root / name).write_bytes(content)
    assert hash_of(root, *extra) == before


def test_files_do_not_count_by_their_name(root):
    for name in ("train.txt", "classes.json"):
        shutil.copy(root / name, root / f"copy-{name}")
    assert hash_of(root, "--train-annotation", "copy-train.txt") == hash_of(root)
    texts = [hash_of(root, "--class-texts", str(root / name)) for name in ("classes.json", "copy-classes.json")]
    assert texts[0] == texts[1] != hash_of(root)


def test_a_clip_counts_by_its_weights_and_the_configs_beside_them(root):
    folder = root.parent / "clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text("{}")
    (folder / "open_clip_model.safetensors").write_bytes(b"weights")
    hashes = {hash_of(root, "--clip-path", str(folder))}
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (folder / name).write_bytes((folder / name).read_bytes()[::-1])  # the size stays
        hashes.add(hash_of(root, "--clip-path", str(folder)))
    assert len(hashes) == 3
    before = hash_of(root)
    (root.parent / "config.json").write_text("{}")  # beside clip.pt
    assert hash_of(root) != before


def test_options_that_came_later_leave_the_hash_of_earlier_runs(root):
    """The options of LoRA at their defaults are not in it."""
    assert not any("lora" in name for name in counted_options(config_of(root))["optim"])
    assert "temporal_pool" not in counted_options(config_of(root))["model"]
    assert counted_options(config_of(root, "--lora-rank", "2"))["optim"]["lora_rank"] == 2


def test_a_folder_of_clips_counts_by_its_content(root):
    (root / "train").mkdir()
    before = hash_of(root, "--train-annotation", "train")
    (root / "train/clip.png").write_bytes(b"x")
    assert hash_of(root, "--train-annotation", "train") != before


def test_only_complete_runs_count_as_finished(tmp_path):
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
