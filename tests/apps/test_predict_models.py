"""--mode predict with every kind of model, on videos or on features of frames."""

import csv
import json

import numpy as np
import pytest
import torch

from apps.predict.run import Predictor
from dataloader.annotation import set_note
from tests.support import affect
from tests.support.exported import export_checkpoint
from tests.support.tools import FAST, error_of, run_main
from tests.support.watched import film, predict, predict_words, read_timeline

WIDTH = 64  # features per frame of the random CLIP
CLASSES = {
    "label_base": 0,
    "classes": [{"name": name, "class_descriptor": f"a student who is {name}"} for name in ("awake", "asleep")],
}
SMALL = "--model sequence --window 20 --stride 12 --batch-size 4 --transformer-layers 1 --tcn-channels 16 8"
SMALL = [*SMALL.split(), "--device", "cpu", "--epochs", "1"]
NOTE = "Drawings; they say nothing of people."
LENGTHS = affect.VIDEOS["train"] | affect.VIDEOS["validation"]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "v.mp4", [(1, 3.0), ("nobody", 2.0), (3, 2.0)])


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    """A run of a sequence model; its features are in set/features beside it."""
    folder = tmp_path_factory.mktemp("sequence")
    return run_main([*SMALL, *affect.write_set(folder / "set", width=WIDTH)], folder / "run")


@pytest.fixture
def class_texts(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES), encoding="utf-8")
    return ["--class-texts", str(tmp_path / "classes.json")]


def test_one_stream(tiny_arguments, video, tmp_path, eyes):
    words = "--model dfer-clip --optimizer AdamW --lr 1e-3 --epochs 1"
    assert run_main([*tiny_arguments, *words.split()], tmp_path / "train").status == 0
    predict(tmp_path / "train/best.pt", video, tmp_path / "run")
    document, table = read_timeline(tmp_path / "run")
    assert document["family"] == "dfer-clip"
    assert [row["from"] for row in table] == ["0.0", "1.0", "2.0", "3.0"]
    assert [row["person"] for row in table] == ["1", "", "", "1"]  # nobody is visible in the middle of two windows
    assert all(bool(row["predicted"]) == (row["seen"] == "face") for row in table)


def test_single_frames(frame_model, video, tmp_path, eyes):
    predict(frame_model, video, tmp_path / "run")
    document, table = read_timeline(tmp_path / "run")
    assert len(table) == 35 and document["options"]["every"] == 0.2
    assert [row["seen"] for row in table] == ["face"] * 15 + ["no one"] * 10 + ["face"] * 10  # a cut
    assert set(document["classes"]) == {key.removeprefix("prob_") for key in table[0] if key.startswith("prob_")}


@pytest.mark.parametrize("encoder", ["a CLIP", "a checkpoint"])
def test_every_frame(sequence, frame_model, video, tmp_path, eyes, real_figures, encoder):
    encoder = "random" if encoder == "a CLIP" else str(frame_model)
    predict(sequence.folder / "best.pt", video, tmp_path / "run", "--encoder", encoder)
    document, table = read_timeline(tmp_path / "run")
    assert document["kind"] == "frames" and document["numbers"][:2] == ["valence", "arousal"]
    assert len(table) == 70
    assert [row["seen"] for row in table] == ["face"] * 30 + ["no one"] * 20 + ["face"] * 20
    visible = [row for row in table if row["seen"] == "face"]
    assert all(-1 <= float(row["valence"]) <= 1 and 0 <= float(row["AU12"]) <= 1 for row in visible)
    assert all(row["predicted"] and 0 < float(row["confidence"]) <= 1 for row in visible)
    assert all(row["valence"] == "" for row in table if row["seen"] != "face")
    assert (tmp_path / "run/timeline.png").stat().st_size > 10_000


def test_mistakes_about_encoders(sequence, video, tmp_path, capsys, eyes):
    words = predict_words(sequence.folder / "best.pt", video)
    assert "name their encoder with --encoder FILE" in error_of(words, capsys)
    assert "no such" in error_of([*words, "--encoder", str(tmp_path / "none.pt")], capsys)
    narrow = run_main([*SMALL, *affect.write_set(tmp_path / "narrow", width=9)], tmp_path / "run")
    words = [*predict_words(narrow.folder / "best.pt", video), "--encoder", "random"]
    assert f"{WIDTH} features per frame" in error_of(words, capsys)


def test_captions_with_new_classes(captioned, video, tmp_path, class_texts, eyes):
    """A model trained on captions predicts the classes of its training, or those of a file."""
    predict(captioned.folder / "best.pt", video, tmp_path / "own")
    document, table = read_timeline(tmp_path / "own")
    assert len(document["classes"]) == 11
    rows = [(row["from"], row["person"]) for row in table if row["from"] > "1"]
    assert rows == [("1.0", ""), ("2.0", ""), ("3.0", "1")]
    predict(captioned.folder / "best.pt", video, tmp_path / "new", *class_texts)
    assert read_timeline(tmp_path / "new")[0]["classes"] == ["awake", "asleep"]


def test_plain_clip(video, tmp_path, class_texts, eyes):
    run = run_main(["--mode", "predict", "--input", str(video), *FAST, *class_texts], tmp_path / "run")
    assert run.status == 0, run.err
    document, table = read_timeline(tmp_path / "run")
    assert document["family"] == "zero-shot" and document["classes"] == ["awake", "asleep"]
    assert {row["predicted"] for row in table} <= {"awake", "asleep", ""}


def test_an_exported_model_runs_on_the_device_of_onnxruntime(video, tmp_path, eyes, capsys, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    _, file = export_checkpoint(tmp_path, {"model": "clip-caer"})
    words = ["--mode", "predict", "--onnx", str(file), "--input", str(video)]
    assert "--device cuda:1: this onnxruntime uses no GPU" in error_of([*words, "--device", "cuda:1"], capsys)
    run = run_main([*words, "--gpu", "0", "--no-overlay"], tmp_path / "run")
    assert run.status == 0 and "warning: --gpu 0: this onnxruntime uses no GPU, running on the CPU" in run.out


# -- what the training set says of itself ----------------------------------------------------------------------------


def test_a_model_of_simulated_people_says_so(captioned, drawn, video, tmp_path, eyes):
    note, best = set_note(str(drawn("mafw"))), captioned.folder / "best.pt"
    assert "Drawings" in note and torch.load(best, weights_only=True)["trained_on"] == note
    run = predict(best, video, tmp_path / "a", "--no-overlay")
    assert f"warning: best.pt was trained on a data set with this note: {note}" in run.out
    assert read_timeline(tmp_path / "a")[0]["trained_on"] == note


def test_the_note_of_the_training_set_is_stored_with_the_weights(trained, tmp_path, capsys):
    content = torch.load(trained.folder / "best.pt", weights_only=True)
    assert "trained_on" not in content
    torch.save(content | {"trained_on": NOTE}, tmp_path / "noted.pt")
    assert run_main(["--mode", "inspect", str(tmp_path / "noted.pt")], tmp_path / "i").out.count(NOTE) == 1
    run_main(["--mode", "convert", str(tmp_path / "noted.pt")], tmp_path / "c")
    for file in ("noted.pt", "noted.safetensors"):
        assert Predictor(tmp_path / "c" / file, device="cpu").info.trained_on == NOTE
    torch.save(content | {"trained_on": 3}, tmp_path / "bad.pt")
    assert "bad.pt: damaged" in error_of(["--mode", "inspect", str(tmp_path / "bad.pt")], capsys)


def test_control_characters_of_a_note_are_not_printed(trained, tmp_path):
    content = torch.load(trained.folder / "best.pt", weights_only=True)
    torch.save(content | {"trained_on": "\x1b[31mred\nerror: " + "x" * 5000}, tmp_path / "bad.pt")
    (warning,) = Predictor(tmp_path / "bad.pt", device="cpu").warnings
    assert warning.isprintable() and len(warning) < 500
    assert "\x1b" not in run_main(["--mode", "inspect", str(tmp_path / "bad.pt")], tmp_path / "i").out


# -- features of frames without a label ------------------------------------------------------------------------------


def predict_features(run, features, folder):
    words = ["--mode", "predict", "--eval-checkpoint", str(run.folder / "best.pt"), "--device", "cpu"]
    return run_main([*words, "--features", str(features)], folder)


def submission(folder, task="va"):
    with open(folder / f"submission/{task}.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_every_frame_of_every_file_has_the_prediction_of_the_evaluation(sequence, tmp_path, real_figures):
    run = predict_features(sequence, sequence.folder.parent / "set/features", tmp_path / "run")
    assert run.status == 0, run.err
    frames = [f"{id}/{n:05d}.jpg" for id in sorted(LENGTHS) for n in range(1, LENGTHS[id] + 1)]
    for task in ("va", "expr", "au"):
        assert [row[0] for row in submission(run.folder, task)[1:]] == frames
    assert (run.folder / "timeline.png").stat().st_size > 5_000
    assert not (run.folder / "metrics.json").exists()
    answers = {row[0]: row for row in submission(run.folder)}
    assert all(answers[row[0]] == row for row in submission(sequence.folder))


def test_a_new_video_without_any_label_file(sequence, tmp_path):
    (tmp_path / "new").mkdir()
    np.save(tmp_path / "new/x.npy", np.load(sequence.folder.parent / "set/features/a.npy")[:7])
    assert predict_features(sequence, tmp_path / "new", tmp_path / "run").status == 0
    assert len(submission(tmp_path / "run")) == 1 + 7


def test_mistakes_about_features(sequence, tmp_path, capsys):
    words = ["--mode", "predict", "--eval-checkpoint", str(sequence.folder / "best.pt")]
    assert "needs --features" in error_of(words, capsys)
    assert "no such folder" in error_of([*words, "--features", str(tmp_path / "none")], capsys)
    assert "no .npy" in error_of([*words, "--features", str(tmp_path)], capsys)
    for shape, message in (((5, 9), "9 numbers a frame"), ((0, WIDTH), "holds no frame")):
        np.save(tmp_path / "wide.npy", np.zeros(shape, dtype=np.float16))
        assert message in error_of([*words, "--features", str(tmp_path)], capsys)
    words = ["--mode", "predict", "--eval-checkpoint", "weights/demo_best.pt", "--features", str(tmp_path)]
    line = error_of(words, capsys)
    assert "takes sequence models" in line and "without --input" in line
