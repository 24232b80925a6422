"""--mode predict: answers for videos that nobody labelled, from their features alone."""

import csv

import numpy as np
import pytest

from tests.support.affect import VIDEOS, write_set
from tests.support.tools import error_of, run_main

SMALL = "--model sequence --window 20 --stride 12 --batch-size 4 --transformer-layers 1 --tcn-channels 16 8"
SMALL += " --device cpu --epochs 1"
EVERY = VIDEOS["train"] | VIDEOS["validation"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabelled")
    data = write_set(folder / "set")
    return run_main([*SMALL.split(), *data], folder / "run"), folder / "set/features"


def predict(trained, features, folder, *more):
    words = ["--mode", "predict", "--eval-checkpoint", str(trained.folder / "best.pt"), "--device", "cpu"]
    return run_main([*words, "--features", str(features), *more], folder)


def lines(folder, task="va"):
    with open(folder / f"submission/{task}.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_every_frame_of_every_file(trained, tmp_path):
    run, features = trained
    done = predict(run, features, tmp_path / "run")
    assert done.status == 0, done.err
    expected = [f"{id}/{n:05d}.jpg" for id in sorted(EVERY) for n in range(1, EVERY[id] + 1)]
    for task in ("va", "expr", "au"):
        assert [row[0] for row in lines(tmp_path / "run", task)[1:]] == expected
    assert (tmp_path / "run/timeline.png").stat().st_size > 5_000
    assert not (tmp_path / "run/metrics.json").exists()


def test_the_answers_are_those_of_the_evaluation(trained, tmp_path):
    run, features = trained
    predict(run, features, tmp_path / "run")
    answers = {row[0]: row for row in lines(tmp_path / "run")}
    assert all(answers[row[0]] == row for row in lines(run.folder))


def test_a_new_video_without_any_label_file(trained, tmp_path):
    run, features = trained
    (tmp_path / "new").mkdir()
    rows = np.load(features / "a.npy")
    np.save(tmp_path / "new/x.npy", rows[:7])
    assert predict(run, tmp_path / "new", tmp_path / "run").status == 0
    assert len(lines(tmp_path / "run")) == 1 + 7


def test_mistakes(trained, tmp_path, capsys):
    run, features = trained
    words = ["--mode", "predict", "--eval-checkpoint", str(run.folder / "best.pt")]
    assert "needs --features" in error_of(words, capsys)
    assert "no such folder" in error_of([*words, "--features", str(tmp_path / "none")], capsys)
    assert "no .npy" in error_of([*words, "--features", str(tmp_path)], capsys)
    np.save(tmp_path / "wide.npy", np.zeros((5, 9), dtype=np.float16))
    assert "9 numbers a frame" in error_of([*words, "--features", str(tmp_path)], capsys)
    np.save(tmp_path / "wide.npy", np.zeros((0, 6), dtype=np.float16))
    assert "holds no frame" in error_of([*words, "--features", str(tmp_path)], capsys)
    demo = ["--mode", "predict", "--eval-checkpoint", "weights/demo_best.pt", "--features", str(features)]
    line = error_of(demo, capsys)
    assert "takes sequence models" in line and "without --input" in line
    assert "needs --eval-checkpoint" in error_of(["--mode", "predict"], capsys)
