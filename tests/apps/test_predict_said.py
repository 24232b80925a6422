"""What --mode predict says before its answers: flags that it does not read, devices that are not there, drawn sets."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from apps.predict.outputs import describe
from apps.predict.run import Predictor
from apps.predict.runner import About
from apps.predict.timeline import Timeline
from dataloader.set_note import set_note
from tests.support.exported import export_checkpoint
from tests.support.tiny import NAMES
from tests.support.tools import error_of, run_main
from tests.support.watched import film, frame_of, know_faces
from utils.errors import UserError

NOTE = "Drawings; they say nothing of people."


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "short.mp4", [(1, 2.0)])


def predict(checkpoint, source, folder, *more):
    words = ["--mode", "predict", "--eval-checkpoint", str(checkpoint), "--input", str(source), "--no-overlay"]
    return run_main([*words, *more], folder)


def test_flags_that_change_nothing_are_named(trained, short, tmp_path, eyes):
    best = trained.folder / "best.pt"
    done = predict(best, short, tmp_path / "a", "--device", "cpu", "--epochs", "3", "--every", "2", "--calibrate")
    assert done.status == 0 and "warning: --mode predict does not read --epochs --calibrate\n" in done.out
    assert "does not read" not in predict(best, short, tmp_path / "b", "--device", "cpu", "--amp", "off").out


def test_flags_that_make_it_another_model_are_named(trained, short, tmp_path, eyes):
    done = predict(trained.folder / "best.pt", short, tmp_path / "a", "--device", "cpu", "--normalize", "none")
    assert "--normalize none: trained with clip, so this scores another model" in done.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_warning_and_a_device_an_error(trained, short, tmp_path, eyes, capsys):
    best = trained.folder / "best.pt"
    assert "warning: --gpu 0: there is no such GPU here" in predict(best, short, tmp_path / "a", "--gpu", "0").out
    words = ["--mode", "predict", "--eval-checkpoint", str(best), "--input", str(short), "--device", "cuda"]
    assert "--device cuda: not available here" in error_of(words, capsys)


def test_an_exported_model_goes_where_onnxruntime_can(short, tmp_path, eyes, capsys, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    _, file = export_checkpoint(tmp_path, {"model": "clip-caer"})
    words = ["--mode", "predict", "--onnx", str(file), "--input", str(short)]
    assert "--device cuda:1: this onnxruntime uses no GPU" in error_of([*words, "--device", "cuda:1"], capsys)
    assert "not on mps" in error_of([*words, "--gpu", "mps"], capsys)
    done = run_main([*words, "--gpu", "0", "--no-overlay"], tmp_path / "run")
    assert done.status == 0 and "warning: --gpu 0: this onnxruntime uses no GPU, running on the CPU" in done.out


def test_who_learnt_from_drawings_says_so(captioned, drawn, short, tmp_path, eyes):
    note = set_note(str(drawn("mafw")))
    assert "Drawings" in note and torch.load(captioned.folder / "best.pt", weights_only=True)["trained_on"] == note
    done = predict(captioned.folder / "best.pt", short, tmp_path / "a", "--device", "cpu")
    assert f"warning: best.pt was trained on a set that says of itself: {note}" in done.out
    assert json.loads((tmp_path / "a/timeline.json").read_text(encoding="utf-8"))["trained_on"] == note


def test_a_note_goes_with_the_weights(trained, tmp_path, capsys):
    content = torch.load(trained.folder / "best.pt", weights_only=True)
    assert "trained_on" not in content
    torch.save(content | {"trained_on": NOTE}, tmp_path / "noted.pt")
    assert run_main(["--mode", "inspect", str(tmp_path / "noted.pt")], tmp_path / "i").out.count(NOTE) == 1
    run_main(["--mode", "convert", str(tmp_path / "noted.pt")], tmp_path / "c")
    for file in ("noted.pt", "noted.safetensors"):
        assert Predictor(tmp_path / "c" / file, device="cpu").about.trained_on == NOTE
    torch.save(content | {"trained_on": 3}, tmp_path / "bad.pt")
    assert "bad.pt: damaged" in error_of(["--mode", "inspect", str(tmp_path / "bad.pt")], capsys)


def test_a_note_draws_nothing_on_the_terminal(trained, tmp_path):
    content = torch.load(trained.folder / "best.pt", weights_only=True)
    torch.save(content | {"trained_on": "\x1b[31mred\nerror: " + "x" * 5000}, tmp_path / "bad.pt")
    (caution,) = Predictor(tmp_path / "bad.pt", device="cpu").cautions
    assert caution.isprintable() and len(caution) < 500
    assert "\x1b" not in run_main(["--mode", "inspect", str(tmp_path / "bad.pt")], tmp_path / "i").out


def test_options_that_do_not_exist_are_named(trained):
    with pytest.raises(UserError, match="no option evry; did you mean every?"):
        Predictor(trained.folder / "best.pt", evry=2)


@pytest.mark.parametrize("flag", [["--image-size", "64"], ["--normalize", "clip"], ["--temporal-layers", "5"]])
def test_what_a_file_settles_is_refused_beside_it(flag, short, capsys):
    words = ["--mode", "predict", "--onnx", "model.onnx", "--input", str(short), *flag]
    assert f"{flag[0]} is settled in the file of --onnx" in error_of(words, capsys)


def test_a_name_that_no_file_system_takes(trained, capsys):
    words = ["--mode", "predict", "--eval-checkpoint", str(trained.folder / "best.pt"), "--device", "cpu"]
    assert "file name too long" in error_of([*words, "--input", "a" * 300 + ".mp4"], capsys)


def test_an_earlier_timeline_stays(trained, short, tmp_path, eyes):
    predictor = Predictor(trained.folder / "best.pt", device="cpu", overlay=False)
    predictor(short, out=tmp_path / "a")
    before = (tmp_path / "a/timeline.csv").read_bytes()
    with pytest.raises(UserError, match="holds a timeline already"):
        predictor(short, out=tmp_path / "a")
    assert (tmp_path / "a/timeline.csv").read_bytes() == before


def test_a_picture_is_answered_with_a_picture(trained, tmp_path, monkeypatch):
    know_faces(monkeypatch)
    monkeypatch.setattr("dataloader.track.HITS", 2)  # as users have it: a face must be found twice, but not here
    pixels = frame_of(2, np.random.default_rng(0))
    Image.fromarray(pixels).save(tmp_path / "photo.PNG")
    words = ["--mode", "predict", "--eval-checkpoint", str(trained.folder / "best.pt"), "--device", "cpu"]
    done = run_main([*words, "--input", str(tmp_path / "photo.PNG")], tmp_path / "run")
    assert done.status == 0, done.err
    (row,) = json.loads((tmp_path / "run/timeline.json").read_text(encoding="utf-8"))["rows"]
    assert (row["from"], row["to"], row["person"], row["seen"], row["frames"]) == (0.0, 1.0, 1, "face", 1)
    assert row["predicted"] == NAMES[2]
    shown = cv2.imread(str(tmp_path / "run/overlay.jpg"))
    assert shown.shape == pixels.shape
    assert not (tmp_path / "run/overlay.mp4").exists() and (tmp_path / "run/timeline.png").exists()


def test_an_export_says_it_too(trained, tmp_path):
    words = [
        "--mode",
        "export",
        "--eval-checkpoint",
        str(trained.folder / "best.pt"),
        "--normalize",
        "none",
        "--lr",
        "1",
    ]
    done = run_main(words, tmp_path / "run")
    assert "warning: --mode export does not read --lr\n" in done.out
    assert "warning: --normalize none: trained with clip, so this scores another model" in done.out


def test_what_the_screen_does_not_name_is_counted(tmp_path):
    timeline = Timeline(About("f", "m"))
    timeline.summary.predicted = {1: Counter(a=8, b=4, c=3, d=2, e=1, f=1, g=1), 2: Counter(a=3, b=0), 3: Counter()}
    one, two, three = describe(timeline, "v.mp4", tmp_path)[:3]
    assert one == "person 1: a 40 %, b 20 %, c 15 %, d 10 %, e 5 %, the rest 10 %"
    assert (two, three) == ("person 2: a 100 %", "person 3: no answer")


def test_a_name_that_breaks_lines_breaks_none(tmp_path):
    timeline = Timeline(About("f", "m"), damaged="breaks off")
    told = describe(timeline, "a\nb.mp4", tmp_path / "a\nb")
    assert told[0] == "warning: a\\nb.mp4: breaks off" and told[-1] == f"written to {tmp_path}/a\\nb"
