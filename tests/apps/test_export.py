"""``--mode export``: the ONNX file answers as ``--mode eval`` does, needs nothing but itself, and says what it is."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from apps.export import run as export
from apps.export.onnx_runner import OnnxRunner
from dataloader.classes import load_classes
from engine.checkpoints import open_checkpoint, rebuild
from engine.config import make_config
from engine.data import evaluation_loader, make_views
from engine.device import to_device
from engine.lists import read_splits
from engine.session import open_session
from main import main
from tests.support.exported import export_checkpoint
from tests.support.serving import write_video
from tests.support.tiny import as_arguments
from tests.support.tools import FAST, ROOT, error_of, run_main

NAMES = ("Neutrality", "Enjoyment", "Confusion", "Fatigue", "Distraction")
FAMILIES = {
    "clip-caer": {},
    "soft-texts": {"model": "clip-caer", "iec_text": "both", "normalize": "clip"},
    "context": {"model": "clip-caer", "streams": "context"},
    "dfer-clip": {},
    "emoclip": {},
    "frame-expr": {"num_segments": 1},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Family → its checkpoint and the file of it, made when first asked for."""
    made = {}

    def of(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            given = {"model": name} | FAMILIES[name]
            made[name] = export_checkpoint(
                folder, given, calibration={"temperature": 1.5, "fitted_on": "val", "clips": 9}
            )
        return made[name]

    return of


def pixels(about, B):
    shape = (B, about.frames, 3, about.size, about.size)
    return {view: np.random.default_rng(B).integers(256, size=shape, dtype=np.uint8) for view in about.views}


def answer_of(checkpoint, squares):
    """Logits as an evaluation computes them."""
    opened = open_checkpoint(checkpoint, {})
    task = opened.method.task(rebuild(opened.content, opened.config), NAMES)
    task.model.eval()
    batch = {view: torch.from_numpy(one) for view, one in squares.items()}
    with torch.inference_mode():
        return task.forward(to_device(batch, torch.device("cpu"), opened.config.data.normalize)).logits.numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_any_number_of_clips_is_answered_as_by_the_checkpoint(exported, family):
    checkpoint, file = exported(family)
    runner = OnnxRunner(file)
    for B in (1, 2, 5):
        squares = pixels(runner.about, B)
        logits = runner(squares.get("face"), squares.get("context"))
        expected = answer_of(checkpoint, squares)
        assert logits.dtype == np.float32 and logits.shape == expected.shape == (B, 5)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
        assert np.ptp(expected, axis=1).min() > 1e-3  # the classes differ by more than the tolerance


def test_the_file_says_what_must_be_known_of_it(exported):
    told = OnnxRunner(exported("clip-caer")[1]).about
    assert told.model == "best.onnx"
    assert (told.family, told.names, told.streams, told.views) == ("clip-caer", NAMES, "both", ("face", "context"))
    assert (told.frames, told.size, told.normalize, told.crop_body) == (4, 64, "none", False)
    assert (told.temperature, told.calibrated) == (1.5, True)
    assert OnnxRunner(exported("dfer-clip")[1]).about.views == ("face",)
    assert OnnxRunner(exported("context")[1]).about.views == ("context",)


def test_clips_of_a_list_get_the_logits_of_an_evaluation(exported, tiny_flags, tmp_path):
    """Pixels as the data set makes them, against predictions.csv."""

    checkpoint, file = exported("soft-texts")
    words = ["--mode", "eval", "--eval-checkpoint", str(checkpoint), *as_arguments(tiny_flags), *FAST[-2:]]
    run = run_main([*words, "--workers", "0"], tmp_path / "eval")
    assert run.status == 0, run.err
    stored = {row["clip"]: [float(row[f"logit_{name}"]) for name in NAMES] for row in run.predictions}
    given = {name.strip("-").replace("-", "_"): value for name, value in tiny_flags.items()} | {"workers": 0}
    seen_in_training = {"num_segments": 4, "image_size": 64, "crop_body": False}
    config = make_config(given | seen_in_training | {"output_dir": str(tmp_path / "read")})
    runner, seen = OnnxRunner(file), 0
    with open_session(config) as session:
        clips = read_splits(config, load_classes("RAER"), session.log).test
        loader = evaluation_loader(config, clips, make_views(config, clips, session.log), session)
        for batch in (batch for group in loader for batch in group):
            for name, logits in zip(batch["id"], runner(batch["face"].numpy(), batch["context"].numpy()), strict=True):
                np.testing.assert_allclose(logits, stored[name], rtol=0, atol=1e-4)
                seen += 1
    assert seen == len(stored) == 20


def test_own_class_texts_become_the_classes_of_a_caption_model(exported, tmp_path):
    entries = [{"name": name, "class_descriptor": f"A face that is {name}."} for name in ("glad", "sad", "calm")]
    (tmp_path / "mine.json").write_text(json.dumps({"label_base": 0, "classes": entries}))
    words = ["--mode", "export", "--eval-checkpoint", str(exported("emoclip")[0]), "--output-dir", str(tmp_path)]
    assert main([*words, "--class-texts", str(tmp_path / "mine.json")]) == 0
    runner = OnnxRunner(tmp_path / "best.onnx")
    assert runner.about.names == ("glad", "sad", "calm")
    assert runner(pixels(runner.about, 2)["face"], None).shape == (2, 3)


TELEMETRY = """
import sys
from pathlib import Path
from apps.export.onnx_runner import OnnxRunner
OnnxRunner(Path(sys.argv[1]))
"""


def test_onnxruntime_reports_to_nobody(exported, tmp_path):
    """With its reports on it writes the state of a session of reports into the temporary folder when imported."""
    words, own = [sys.executable, "-c"], os.environ | {"TMPDIR": str(tmp_path)}
    file = str(exported("clip-caer")[1])
    done = subprocess.run([*words, TELEMETRY, file], cwd=ROOT, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it raises
from pathlib import Path
import numpy as np
from apps.export.onnx_runner import OnnxRunner
runner = OnnxRunner(Path(sys.argv[1]))
squares = np.full((2, runner.about.frames, 3, runner.about.size, runner.about.size), 128, dtype=np.uint8)
print(runner(squares, squares).shape)
"""


def test_it_runs_where_torch_cannot_be_imported(exported):
    words = [sys.executable, "-c", WITHOUT_TORCH, str(exported("clip-caer")[1])]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "(2, 5)\n", done.stderr


PREDICT = """
import sys
if "--onnx" in sys.argv:
    sys.modules["torch"] = None
from dataloader import detect
face = detect.Detection(50.0, 20.0, 110.0, 80.0, 1.0)
detect.open_detector = lambda *_: lambda frame: detect.Detections([face], [])
from main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_video_gets_the_same_timeline_without_torch_as_from_the_checkpoint(exported, tmp_path):
    checkpoint, file = exported("clip-caer")
    video = write_video(tmp_path / "video.mp4", [(2, 20), (2, (200, 90, 60)), (2, 240)])
    rows = {}
    for flag, model in (("--onnx", file), ("--eval-checkpoint", checkpoint)):
        words = ["--mode", "predict", flag, str(model), "--input", str(video), "--seconds", "2", "--device", "cpu"]
        words += ["--output-dir", str(tmp_path / flag)]
        done = subprocess.run([sys.executable, "-c", PREDICT, *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows[flag] = json.loads((tmp_path / flag / "timeline.json").read_text())["rows"]
    own, theirs = ([[row[f"prob_{name}"] for name in NAMES] for row in rows[flag]] for flag in rows)
    assert len(own) == len(theirs) >= 5
    np.testing.assert_allclose(own, theirs, rtol=0, atol=2e-5)
    assert np.ptp(own, axis=0).max() > 1e-3  # the windows differ by more than the tolerance


def test_a_file_that_answers_differently_is_not_written(exported, tmp_path, capsys, monkeypatch):
    own_trace = export.trace

    def trace_another(runner):
        with torch.no_grad():
            runner.model.fuse.bias += 0.01
        content = own_trace(runner)
        with torch.no_grad():
            runner.model.fuse.bias -= 0.01
        return content

    monkeypatch.setattr(export, "trace", trace_another)
    words = ["--mode", "export", "--eval-checkpoint", str(exported("clip-caer")[0]), "--output-dir", str(tmp_path)]
    assert "onnxruntime differs by" in error_of(words, capsys)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_stays(exported, capsys):
    checkpoint, file = exported("clip-caer")
    before = file.read_bytes()
    words = ["--mode", "export", "--eval-checkpoint", str(checkpoint), "--output-dir", str(file.parent)]
    assert "best.onnx exists already" in error_of(words, capsys)
    assert file.read_bytes() == before


def test_what_has_no_graph_of_its_own_is_refused(tmp_path, capsys):
    assert "needs --eval-checkpoint" in error_of(["--mode", "export"], capsys)
    words = ["--mode", "export", "--eval-checkpoint", str(tmp_path / "none.pt"), "--output-dir", str(tmp_path)]
    assert "none.pt" in error_of(words, capsys)
    content = {"format": 1, "family": "sequence", "config": {}, "classes": ["va"], "label_base": 0, "epoch": 1}
    torch.save(content | {"model": {"x": torch.zeros(1)}, "selected_on": "val"}, tmp_path / "frames.pt")
    words = ["--mode", "export", "--eval-checkpoint", str(tmp_path / "frames.pt"), "--output-dir", str(tmp_path)]
    assert "answers for every frame, behind a second model" in error_of(words, capsys)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_what_installs_it(exported, tmp_path, capsys, monkeypatch, package):
    words = ["--mode", "export", "--eval-checkpoint", str(exported("clip-caer")[0]), "--output-dir", str(tmp_path)]
    monkeypatch.setitem(sys.modules, package, None)
    line = error_of(words, capsys)
    assert f"{package} is not installed" in line and "pip install -r requirements-export.txt" in line


def refusal(path):
    with pytest.raises(ValueError) as caught:
        OnnxRunner(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_exported_models(exported, tmp_path):
    import onnx

    assert "no such file" in refusal(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    assert "not a model that onnxruntime reads" in refusal(tmp_path / "text.onnx")
    content = exported("clip-caer")[1].read_bytes()
    (tmp_path / "half.onnx").write_bytes(content[: len(content) // 2])
    assert "not a model that onnxruntime reads" in refusal(tmp_path / "half.onnx")
    model = onnx.load(exported("clip-caer")[1])
    for told, complaint in (
        ("{", "damaged"),
        ('{"format": 1, "family": 3, "unknown": 2}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "face_width": 0}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "face_width": "wide"}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "temperature": 0}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "temperature": Infinity}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "size": "224"}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "frames": 0}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "frames": 16.5}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "kind": "words"}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "streams": "left"}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "names": [1, 2]}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "names": 3}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "names": ["a", "a"]}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "duration": 3}', "damaged"),
        ('{"format": 1, "family": "f", "model": "m", "trained_on": 5}', "damaged"),
        ('{"format": 99}', "another version"),
        (None, "not written by --mode export"),
    ):
        del model.metadata_props[:]
        if told is not None:
            onnx.helper.set_model_props(model, {"emotion": told})
        onnx.save(model, tmp_path / "other.onnx")
        assert complaint in refusal(tmp_path / "other.onnx")


@pytest.mark.parametrize(
    "changed",
    [{"frames": 8}, {"frames": 10**9}, {"size": 32}, {"names": ["a", "b"]}, {"kind": "frames"}, {"streams": "face"}],
)
def test_an_export_that_says_other_sizes_than_its_graph_has(exported, tmp_path, changed):
    import onnx

    model = onnx.load(exported("clip-caer")[1])
    told = json.loads(model.metadata_props[0].value) | changed
    onnx.helper.set_model_props(model, {"emotion": json.dumps(told)})
    onnx.save(model, tmp_path / "edited.onnx")
    complaint = refusal(tmp_path / "edited.onnx")
    assert (
        "damaged: it says" in complaint and "is face [4, 3, 64, 64], context [4, 3, 64, 64] to logits [5]" in complaint
    )
