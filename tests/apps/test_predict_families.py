"""--mode predict --input with every family of models: each answers in its own way."""

import json

import pytest

from tests.apps.test_predict_video import read
from tests.support import affect
from tests.support.tools import FAST, RANDOM_CLIP, error_of, run_main
from tests.support.watched import film

WIDTH = 64  # features a frame of the random CLIP
CLASSES = {
    "label_base": 0,
    "classes": [{"name": name, "class_descriptor": f"a student who is {name}"} for name in ("awake", "asleep")],
}
SMALL = "--window 20 --stride 12 --batch-size 4 --transformer-layers 1 --tcn-channels 16 8 --device cpu --epochs 1"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "v.mp4", [(1, 3.0), ("nobody", 2.0), (3, 2.0)])


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequence")
    data = affect.write_set(folder / "set", width=WIDTH)
    return run_main(["--model", "sequence", *SMALL.split(), *data], folder / "run").folder / "best.pt"


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    affect.write_set(folder / "set")
    affect.write_frames(folder / "set")
    words = f"--model frame-expr --root-dir {folder}/set --epochs 1 --device cpu --workers 0 --frame-step 8".split()
    done = run_main([*words, *RANDOM_CLIP], folder / "run")
    assert done.status == 0, done.err
    return done.folder / "best.pt"


def predict(folder, video, *words):
    done = run_main(["--mode", "predict", "--input", str(video), "--device", "cpu", *words], folder)
    assert done.status == 0, done.err
    return read(folder)


def test_one_stream(tiny_arguments, video, tmp_path, eyes):
    words = "--model dfer-clip --optimizer AdamW --lr 1e-3 --epochs 1"
    trained = run_main([*tiny_arguments, *words.split()], tmp_path / "train")
    assert trained.status == 0, trained.err
    document, table = predict(tmp_path / "run", video, "--eval-checkpoint", str(tmp_path / "train/best.pt"))
    assert document["family"] == "dfer-clip"
    assert [row["from"] for row in table] == ["0.0", "1.0", "2.0", "3.0"]
    assert [row["person"] for row in table] == ["1", "1", "1", "1"]  # gone for 2 s, but the only one
    assert all(bool(row["predicted"]) == (row["seen"] == "face") for row in table)


def test_single_frames(frames, video, tmp_path, eyes):
    document, table = predict(tmp_path / "run", video, "--eval-checkpoint", str(frames))
    assert len(table) == 35 and document["options"]["every"] == 0.2
    # last seen at 2.8 s; expected for 1.5 s more
    assert [row["seen"] for row in table] == ["face"] * 15 + ["no face"] * 7 + ["no one"] * 3 + ["face"] * 10
    assert set(document["classes"]) == {key.removeprefix("prob_") for key in table[0] if key.startswith("prob_")}


@pytest.mark.parametrize("encoder", ["a CLIP", "a checkpoint"])
def test_every_frame(sequence, frames, video, tmp_path, eyes, encoder):
    named = "random" if encoder == "a CLIP" else str(frames)
    words = ["--eval-checkpoint", str(sequence), "--encoder", named]
    document, table = predict(tmp_path / "run", video, *words)
    assert document["kind"] == "frames" and document["numbers"][:2] == ["valence", "arousal"]
    assert len(table) == 70
    assert sum(row["seen"] == "no face" for row in table) == 14 and sum(row["seen"] == "no one" for row in table) == 6
    told = [row for row in table if row["seen"] == "face"]
    assert all(-1 <= float(row["valence"]) <= 1 and 0 <= float(row["AU12"]) <= 1 for row in told)
    assert all(row["predicted"] and 0 < float(row["confidence"]) <= 1 for row in told)
    assert all(row["valence"] == "" for row in table if row["seen"] != "face")
    assert (tmp_path / "run/timeline.png").stat().st_size > 10_000


def test_mistakes_about_encoders(sequence, video, tmp_path, capsys, eyes):
    words = ["--mode", "predict", "--input", str(video), "--eval-checkpoint", str(sequence), "--device", "cpu"]
    assert "name what made them, --encoder FILE" in error_of(words, capsys)
    narrow = affect.write_set(tmp_path / "narrow", width=9)
    trained = run_main(["--model", "sequence", *SMALL.split(), *narrow], tmp_path / "run").folder / "best.pt"
    words[words.index(str(sequence))] = str(trained)
    assert f"gives {WIDTH} numbers a frame" in error_of([*words, "--encoder", "random"], capsys)
    assert "no such" in error_of([*words, "--encoder", str(tmp_path / "none.pt")], capsys)


def test_captions_with_new_classes(captioned, video, tmp_path, eyes):
    """A model trained on captions answers in the classes of its training, or in those of a file."""
    document, table = predict(tmp_path / "own", video, "--eval-checkpoint", str(captioned.folder / "best.pt"))
    assert len(document["classes"]) == 11
    assert [(row["from"], row["person"]) for row in table if row["from"] > "1"] == [
        ("1.0", "1"),
        ("2.0", "1"),
        ("3.0", "1"),
    ]
    texts = tmp_path / "classes.json"
    texts.write_text(json.dumps(CLASSES), encoding="utf-8")
    words = ["--eval-checkpoint", str(captioned.folder / "best.pt"), "--class-texts", str(texts)]
    document, _ = predict(tmp_path / "new", video, *words)
    assert document["classes"] == ["awake", "asleep"]


def test_plain_clip(video, tmp_path, eyes):
    texts = tmp_path / "classes.json"
    texts.write_text(json.dumps(CLASSES), encoding="utf-8")
    document, table = predict(tmp_path / "run", video, *FAST, "--class-texts", str(texts))
    assert document["family"] == "zero-shot" and document["classes"] == ["awake", "asleep"]
    assert {row["predicted"] for row in table} <= {"awake", "asleep", ""}
