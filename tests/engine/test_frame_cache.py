"""--mode cache: an encoder runs once over long videos; what is there already is not read again."""

import json

import numpy as np
import pytest
from PIL import Image

from dataloader.frame_files import to_square
from engine import frame_cache
from engine.feature_cache import carry
from main import main
from tests.support.affect import VIDEOS, write_frames, write_set
from tests.support.tools import error_of, run_main

LENGTHS = VIDEOS["train"] | VIDEOS["validation"]
RANDOM = ["--mode", "cache", "--clip-path", "random", "--device", "cpu", "--workers", "0"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cache") / "set"
    write_set(root)
    write_frames(root)
    return root


@pytest.fixture(scope="module")
def cached(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cached")
    run = run_main([*RANDOM, "--root-dir", str(root), "--cache-dir", str(folder / "features")], folder / "run")
    assert run.status == 0, run.err
    return folder / "features"


def test_every_label_line_has_a_row(cached):
    for id, frames in LENGTHS.items():
        rows = np.load(cached / f"{id}.npy")
        assert rows.shape == (frames, 64) and rows.dtype == np.float16
        assert rows.any() == (id != "c")
    assert set(json.loads((cached / "index.json").read_text())["videos"]) == set(LENGTHS)


def test_a_frame_without_a_file_has_the_features_before_it(cached, root):
    rows = np.load(cached / "a.npy")
    there = {int(path.stem) for path in (root / "cropped_aligned/a").iterdir()}
    gaps = [n for n in range(2, LENGTHS["a"] + 1) if n not in there]
    assert gaps and all(np.array_equal(rows[n - 1], rows[n - 2]) for n in gaps)


def test_carry():
    rows = np.arange(10, dtype=np.float16).reshape(5, 2)
    sound = np.array([False, True, False, False, True])
    assert carry(rows, sound)[:, 0].tolist() == [2, 2, 2, 2, 8]
    assert not carry(rows, np.zeros(5, bool)).any()


def test_only_what_is_not_there_is_read(cached, root, monkeypatch, tmp_path):
    (cached / "d.npy").unlink()
    read, encode = [], frame_cache.encode_video
    monkeypatch.setattr(frame_cache, "encode_video", lambda v, *rest: read.append(v.id) or encode(v, *rest))
    again = run_main([*RANDOM, "--root-dir", str(root), "--cache-dir", str(cached)], tmp_path / "run")
    assert again.status == 0 and read == ["d"] and (cached / "d.npy").exists()


def test_another_encoder_needs_another_folder(cached, root, capsys):
    flags = [*RANDOM, "--root-dir", str(root), "--cache-dir", str(cached)]
    assert "another encoder" in error_of([*flags, "--seed", "7"], capsys)
    assert "another encoder" in error_of([*flags, "--normalize", "none"], capsys)


def test_models_train_on_what_was_cached(cached, root, tmp_path):
    flags = "--model sequence --task va --window 20 --stride 20 --batch-size 4 --transformer-layers 1 --device cpu"
    flags += f" --tcn-channels 8 --epochs 1 --root-dir {root} --features {cached}"
    run = run_main(flags.split(), tmp_path / "run")
    assert run.status == 0, run.err
    assert "64 features a frame" in run.out and "without any frame file" in run.out


def test_an_unreadable_frame_ends_the_run_or_has_a_neighbour(tmp_path, capsys):
    root = tmp_path / "set"
    write_set(root)
    write_frames(root)
    first = sorted((root / "cropped_aligned/e").iterdir())[0]
    first.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    flags = [*RANDOM, "--root-dir", str(root), "--cache-dir", str(tmp_path / "f"), "--output-dir", str(tmp_path / "o")]
    assert f"{first}: cannot be read" in error_of(flags, capsys)
    assert main([*flags[:-1], str(tmp_path / "p"), "--on-bad-frame", "skip"]) == 0
    assert "1 unreadable frames" in capsys.readouterr().out


def test_squares_of_any_shape_fit_the_encoder():
    wide = np.asarray(Image.new("RGB", (40, 20), (255, 0, 0)))
    assert to_square(wide, 16).shape == (16, 16, 3) and not to_square(wide, 16)[0].any()
    assert to_square(wide[:, :20], 16).shape == (16, 16, 3)


def test_the_set_must_be_named(capsys):
    assert "--mode cache needs --root-dir" in error_of(RANDOM, capsys)


def test_videos_without_labels_are_cached_too(tmp_path):
    """The challenge's test videos: as long as their last frame's number."""
    write_set(tmp_path / "set")
    write_frames(tmp_path / "set")
    folder = tmp_path / "set/cropped_aligned/test_left"
    folder.mkdir()
    for number in (1, 2, 5):
        Image.new("RGB", (24, 24), (9 * number, 40, 80)).save(folder / f"{number:05d}.png")
    (tmp_path / "set/cropped_aligned/empty").mkdir()
    words = [*RANDOM, "--root-dir", str(tmp_path / "set"), "--cache-dir", str(tmp_path / "features")]
    run = run_main(words, tmp_path / "run")
    assert run.status == 0 and "1 video without labels (test_left" in run.out
    rows = np.load(tmp_path / "features/test_left.npy")
    assert len(rows) == 5 and np.array_equal(rows[1], rows[3]) and not np.array_equal(rows[3], rows[4])
    assert not (tmp_path / "features/empty.npy").exists()
