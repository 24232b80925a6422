"""``--mode export``: the ONNX file gives the logits of ``--mode eval``, needs no other file, and holds its metadata."""

import json
import os
import random
import shutil
import subprocess
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from apps import export
from apps.predict.runners import OnnxRunner
from dataloader import detect
from engine.checkpoints import open_checkpoint, rebuild
from engine.device import to_device
from main import main
from tests.support.exported import export_checkpoint
from tests.support.serving import write_video
from tests.support.tiny import NAMES
from tests.support.tools import ROOT, error_of, main_arguments, run_main

FAMILIES = {
    "clip-caer": {},
    "soft-texts": {"model": "clip-caer", "iec_text": "both", "normalize": "clip"},
    "context": {"model": "clip-caer", "streams": "context"},
    "dfer-clip": {},
    "emoclip": {},
    "frame-expr": {"num_segments": 1},
}
CALIBRATION = {"temperature": 1.5, "fitted_on": "val", "clips": 9}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return the checkpoint and the exported file of a family, written at the first call."""
    files = {}

    def of(name):
        if name not in files:
            options = {"model": name} | FAMILIES[name]
            files[name] = export_checkpoint(tmp_path_factory.mktemp(name), options, calibration=CALIBRATION)
        return files[name]

    return of


def export_words(checkpoint, folder):
    return ["--mode", "export", "--eval-checkpoint", str(checkpoint), "--output-dir", str(folder)]


def logits_of(checkpoint, clips):
    """Return logits as an evaluation computes them."""
    opened = open_checkpoint(checkpoint, {})
    task = opened.method.task(rebuild(opened.content, opened.config), NAMES)
    task.model.eval()
    batch = {view: torch.from_numpy(pixels) for view, pixels in clips.items()}
    with torch.inference_mode():
        return task.forward(to_device(batch, torch.device("cpu"), opened.config.data.normalize)).logits.numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_any_number_of_clips_has_the_logits_of_the_checkpoint(exported, family):
    checkpoint, file = exported(family)
    runner = OnnxRunner(file)
    for B in (1, 2, 5):
        clips = export.random_clips(runner.info, B)
        logits, expected = runner.head(clips.get("face"), clips.get("context")), logits_of(checkpoint, clips)
        assert logits.dtype == np.float32 and logits.shape == expected.shape == (B, 5)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
        assert np.ptp(expected, axis=1).min() > 1e-3  # the classes differ by more than the tolerance


def test_the_file_holds_its_metadata(exported):
    info = OnnxRunner(exported("clip-caer")[1]).info
    assert (info.model, info.family, info.names) == ("best.onnx", "clip-caer", NAMES)
    assert (info.streams, info.views) == ("both", ("face", "context"))
    assert (info.frames, info.size, info.normalize, info.crop_body) == (4, 64, "none", False)
    assert (info.temperature, info.calibrated) == (1.5, True)
    assert OnnxRunner(exported("dfer-clip")[1]).info.views == ("face",)
    assert OnnxRunner(exported("context")[1]).info.views == ("context",)


def test_own_class_texts_become_the_classes_of_a_caption_model(exported, tmp_path):
    entries = [{"name": name, "class_descriptor": f"A face that is {name}."} for name in ("glad", "sad", "calm")]
    (tmp_path / "mine.json").write_text(json.dumps({"label_base": 0, "classes": entries}))
    words = [*export_words(exported("emoclip")[0], tmp_path), "--class-texts", str(tmp_path / "mine.json")]
    assert main(words) == 0
    runner = OnnxRunner(tmp_path / "best.onnx")
    assert runner.info.names == ("glad", "sad", "calm")
    assert runner.head(export.random_clips(runner.info, 2)["face"], None).shape == (2, 3)


def test_warnings_come_before_an_export(trained, tmp_path):
    words = [*export_words(trained.folder / "best.pt", tmp_path)[:4], "--normalize", "none", "--lr", "1"]
    run = run_main(words, tmp_path / "run")
    assert run.out.index("step 1 of 2  building the graph") < run.out.index("step 2 of 2  comparing")
    assert "warning: --mode export does not read --lr\n" in run.out
    assert "warning: --normalize none: trained with clip, so this is another model" in run.out


def test_the_printed_command_names_the_exported_file(exported, tmp_path, capsys):
    folder, checkpoint = tmp_path / "my models", exported("dfer-clip")[0]
    capsys.readouterr()  # what was printed for the fixture
    assert main(export_words(checkpoint, folder)) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if " main.py " in line)
    words = main_arguments(line.removeprefix("use it"))
    assert words == ["--mode", "predict", "--onnx", str(folder / "best.onnx"), "--input", "VIDEO"]


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
    values = []
    for flag, model in (("--onnx", file), ("--eval-checkpoint", checkpoint)):
        words = ["--mode", "predict", flag, str(model), "--input", str(video), "--seconds", "2", "--device", "cpu"]
        words += ["--output-dir", str(tmp_path / flag)]
        process = subprocess.run([sys.executable, "-c", PREDICT, *words], cwd=ROOT, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        rows = json.loads((tmp_path / flag / "timeline.json").read_text())["rows"]
        values.append([[row[f"prob_{name}"] for name in NAMES] for row in rows])
    assert len(values[0]) == len(values[1]) >= 5
    np.testing.assert_allclose(*values, rtol=0, atol=2e-5)
    assert np.ptp(values[0], axis=0).max() > 1e-3  # the windows differ by more than the tolerance


def test_a_file_with_different_outputs_is_not_written(exported, tmp_path, capsys, monkeypatch):
    trace, checkpoint = export.trace, exported("clip-caer")[0]

    def trace_another(runner):
        with torch.no_grad():
            runner.model.fuse.bias += 0.01
            content = trace(runner)
            runner.model.fuse.bias -= 0.01
        return content

    monkeypatch.setattr(export, "trace", trace_another)
    assert "onnxruntime differs by" in error_of(export_words(checkpoint, tmp_path), capsys)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_not_overwritten(exported, capsys):
    checkpoint, file = exported("clip-caer")
    before = file.read_bytes()
    assert "best.onnx already exists" in error_of(export_words(checkpoint, file.parent), capsys)
    assert file.read_bytes() == before


def test_models_without_a_graph_are_refused(tmp_path, capsys):
    assert "needs --eval-checkpoint" in error_of(["--mode", "export"], capsys)
    assert "none.pt" in error_of(export_words(tmp_path / "none.pt", tmp_path), capsys)
    content = {
        "format": 1,
        "family": "sequence",
        "config": {"model": {"model": "sequence"}},
        "classes": ["va"],
        "label_base": 0,
        "epoch": 1,
    }
    torch.save(content | {"model": {"x": torch.zeros(1)}, "selected_on": "val"}, tmp_path / "frames.pt")
    line = error_of(export_words(tmp_path / "frames.pt", tmp_path), capsys)
    assert "needs the features of another model" in line


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_what_installs_it(exported, tmp_path, capsys, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    line = error_of(export_words(exported("clip-caer")[0], tmp_path), capsys)
    assert f"{package} is not installed" in line and "pip install -r requirements-export.txt" in line


def refusal(path):
    with pytest.raises(ValueError) as caught:
        OnnxRunner(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_files_that_are_not_exported_models_are_refused(exported, tmp_path):
    assert "no such file" in refusal(tmp_path / "none.onnx")
    file = exported("clip-caer")[1].read_bytes()
    for content in (b"hello", file[: len(file) // 2]):
        (tmp_path / "broken.onnx").write_bytes(content)
        assert "not a model that onnxruntime reads" in refusal(tmp_path / "broken.onnx")


OTHER_SIZES = "is face [4, 3, 64, 64], context [4, 3, 64, 64] to logits [5]"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ("{", "damaged"), (None, "not written by --mode export"), ({"format": 99}, "another version"),
        *(({name: value}, "damaged: its metadata") for name, value in (
            ("unknown", 2), ("face_width", 0), ("face_width", "wide"), ("temperature", 0), ("temperature", np.inf),
            ("size", "224"), ("frames", 0), ("frames", 16.5), ("kind", "words"), ("streams", "left"), ("names", [1, 2]),
            ("names", 3), ("names", ["a", "a"]), ("duration", 3), ("trained_on", 5),
        )),
        *(({name: value}, OTHER_SIZES) for name, value in (
            ("frames", 8), ("frames", 10**9), ("size", 32), ("names", ["a", "b"]), ("kind", "frames"),
            ("streams", "face"),
        )),
    ],
)  # fmt: skip
def test_metadata_that_do_not_fit_the_graph_are_refused(exported, tmp_path, changes, complaint):
    """Metadata of another kind, impossible values, and those of a model other than the graph."""
    model = onnx.load(exported("clip-caer")[1])
    facts = next(entry.value for entry in model.metadata_props if entry.key == "emotion")
    text = json.dumps(json.loads(facts) | changes) if isinstance(changes, dict) else changes
    del model.metadata_props[:]
    if text is not None:
        onnx.helper.set_model_props(model, {"emotion": text})
    onnx.save(model, tmp_path / "edited.onnx")
    assert complaint in refusal(tmp_path / "edited.onnx")


# -- files that are damaged, or made by somebody else ---------------------------------------------------------------


def test_a_flipped_bit_is_refused(exported, tmp_path):
    data, rng, file = exported("clip-caer")[1].read_bytes(), random.Random(0), tmp_path / "hurt.onnx"
    for _ in range(25):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        refusal(file)


def add_loop(model):
    body = onnx.helper.make_graph([], "body", [], [])
    model.graph.node.append(onnx.helper.make_node("Loop", [""], [], body=body))


def add_function(model):
    model.functions.append(onnx.FunctionProto(name="f", domain="mine"))


def add_outside(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="/etc/passwd")


def add_large(model):
    model.graph.initializer.append(onnx.TensorProto(name="large", dims=[2**20, 2**20], data_type=1, raw_data=b"1234"))


def add_large_constant(model):
    value = onnx.TensorProto(dims=[2**40], data_type=1, raw_data=b"1234")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["large"], value=value))


def add_domain(model):
    model.graph.node[0].domain = "mine"


@pytest.mark.parametrize(
    ("add", "word"),
    [
        (add_loop, "loops"), (add_function, "functions"), (add_outside, "other files"), (add_large, "more numbers"),
        (add_large_constant, "more numbers"), (add_domain, "another domain"),
    ],
)  # fmt: skip
def test_a_graph_that_no_export_writes_is_refused_before_it_is_opened(exported, tmp_path, monkeypatch, add, word):
    model = onnx.load(exported("clip-caer")[1])
    model.metadata_props[-1].value = "0" * 16
    assert model.metadata_props[-1].key == "emotion.checksum"
    add(model)
    (tmp_path / "strange.onnx").write_bytes(model.SerializeToString())
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    assert word in refusal(tmp_path / "strange.onnx")


def test_an_export_without_a_checksum_is_opened(exported, tmp_path):
    model = onnx.load(exported("clip-caer")[1])
    del model.metadata_props[-1]
    onnx.save(model, tmp_path / "old.onnx")
    assert OnnxRunner(tmp_path / "old.onnx").info.names == NAMES


def test_a_graph_that_fails_while_it_runs_gives_a_one_line_error(exported, tmp_path, capsys, monkeypatch):
    """The graph tries to reshape five logits of one clip to seven rows."""
    model = onnx.load(exported("clip-caer")[1])
    del model.metadata_props[-1]
    last = next(node for node in model.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "five"
    for name, source, shape, target in (("rows", "five", [7, -1], "seven"), ("back", "seven", [-1, 5], "logits")):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(shape), name))
        model.graph.node.append(onnx.helper.make_node("Reshape", [source, name], [target]))
    file = tmp_path / "impossible.onnx"
    onnx.save(model, file)
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros((120, 160, 3), np.uint8))
    face = detect.Detection(50.0, 20.0, 110.0, 80.0, 1.0)
    monkeypatch.setattr(detect, "open_detector", lambda *_: lambda frame: detect.Detections([face], []))
    words = ["--mode", "predict", "--onnx", str(file), "--input", str(tmp_path / "picture.png")]
    line = error_of([*words, "--output-dir", str(tmp_path / "out")], capsys)
    assert f"--onnx {file}: fails during the computation (" in line and "reshape" in line.lower()


def test_a_path_that_is_not_utf8_is_named_as_the_reason(exported, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.onnx")
    shutil.copy(exported("clip-caer")[1], path)
    with pytest.raises(ValueError, match=r"caf\\udce9.onnx: onnxruntime opens only paths that are UTF-8; rename"):
        OnnxRunner(path)
