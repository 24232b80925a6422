"""Published files through the command line: read without running their code, inspected, converted, evaluated."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.checkpoints import open_checkpoint
from main import main
from models.clip_backbone import tokenize
from tests.support import published as files
from tests.support import reference
from tests.support.containers import write_container
from tests.support.published import Recipe, class_descriptions, write_class_texts
from tests.support.tiny import NAMES, as_arguments, write_set
from tests.support.tools import error_of, run_ok
from utils.errors import UserError

QUICK = ["--workers", "0", "--device", "cpu", "--batch-size", "5"]
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
SEVEN = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]  # in the order of the lists
ELEVEN = [*SEVEN, "contempt", "anxiety", "helplessness", "disappointment"]


@pytest.fixture(autouse=True)
def no_heap_of_large_files(tmp_path):
    yield
    for file in tmp_path.glob("*.pth"):
        file.unlink()


def save_emoclip(path: Path) -> Path:
    torch.save(files.emoclip(Recipe(depth=2)).state, path)
    return path


# -- containers -----------------------------------------------------------------------------------------------------


def rewrite_pickle(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes in the pickle of an archive by those that another NumPy or another device would have written."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in parts if name.endswith("/data.pkl"))
    assert old in parts[pickled]
    parts[pickled] = parts[pickled].replace(old, new)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("recorder", "best_acc"),
    [
        ("__main__.RecorderMeter", np.float64(64.25)),
        ("utils.utils.RecorderMeter", 64.25),
        ("__main__.RecorderMeter", torch.tensor(64.25)),
    ],
    ids=["CLIP-CAER", "RAPT", "DFER-CLIP"],
)
def test_containers_of_every_published_program_open(tmp_path, recorder, best_acc):
    published = files.clip_caer(Recipe())
    path = write_container(tmp_path / "model_best.pth", published, recorder, best_acc)
    opened = open_checkpoint(path, {})
    assert opened.report.missing == opened.report.unexpected == []
    assert len(opened.report.loaded) + len(opened.report.dropped) == len(published.state)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"cnumpy._core.", b"cnumpy.core."), (b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")],
    ids=["older NumPy", "GPU"],
)
def test_containers_of_an_older_numpy_or_of_a_gpu_open(tmp_path, old, new):
    path = write_container(tmp_path / "model_best.pth", files.clip_caer(Recipe()), "__main__.RecorderMeter")
    rewrite_pickle(path, old, new)
    report = open_checkpoint(path, {}).report
    assert report.missing == report.unexpected == []
    assert report.prompts[3] == "eyelids that fall"


# -- inspect --------------------------------------------------------------------------------------------------------


def inspect(path: Path, capsys, *more: str) -> str:
    capsys.readouterr()
    assert main(["--mode", "inspect", str(path), *more]) == 0
    return capsys.readouterr().out


def test_inspect_shows_the_family_the_counts_and_the_texts(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    published = files.fork(Recipe(n_ctx=12))
    path = write_container(tmp_path / "model.pth", published)
    text = inspect(path, capsys)
    report = open_checkpoint(path, {}).report
    assert "CLIP-CAER" in text and f"{len(published.state)} keys" in text and f"{len(report.loaded)} loaded" in text
    assert "0 missing" in text and "0 unexpected" in text
    for sentence in ("a still face above an open book", "a broad smile", "a face that beams with teeth in view"):
        assert sentence in text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.pth"]


def test_inspect_names_unknown_keys_and_missing_files(tmp_path, capsys):
    path = write_container(tmp_path / "model.pth", files.two_heads(Recipe()))
    assert "cls_bin.weight" in inspect(path, capsys, "--allow-partial")
    assert "inspect" in error_of(["--mode", "inspect"], capsys)
    assert "gone.pth" in error_of(["--mode", "inspect", str(tmp_path / "gone.pth")], capsys)


@pytest.mark.parametrize("outputs", [None, 3])
def test_the_downstream_files_of_emoclip_are_known_but_hold_no_classes(tmp_path, capsys, tiny, outputs):
    """176 or 180 keys: an image tower and a temporal transformer without a text tower."""
    published = files.emoclip_downstream(Recipe(layers=12, depth=2), outputs)
    assert len(published.state) == (176 if outputs is None else 180)
    path = tmp_path / "downstream.pth"
    torch.save(published.state, path)
    assert "emoclip" in inspect(path, capsys, "--allow-partial").lower()
    message = error_of(["--mode", "eval", "--eval-checkpoint", str(path), *tiny, *QUICK], capsys)
    assert "downstream.pth" in message


# -- evaluate and convert -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> list[str]:
    """Five test clips of three frames, with boxes."""
    return as_arguments(write_set(tmp_path_factory.mktemp("set"), clips=15, persons=3, frames=3))


def evaluate(path: Path, folder: Path, *flags: str):
    return run_ok(["--mode", "eval", "--eval-checkpoint", str(path), *QUICK, *flags], folder)


CONVERTED = {
    "clip-caer": (lambda: files.clip_caer(Recipe(class_specific=False)), ["--class-token-position", "middle"]),
    "fork": (lambda: files.fork(Recipe(n_ctx=12)), ["--slerp-weight", "0.4"]),
    "rapt": (lambda: files.rapt(Recipe(texts_per_class=3), moco=True), []),
    "dfer-clip": (lambda: files.dfer_clip(Recipe()), ["--class-token-position", "front", "--temperature", "0.03"]),
    "emoclip": (lambda: files.emoclip(Recipe(depth=2)), []),
}


def same_predictions(first, second) -> bool:
    return (first.folder / "predictions.csv").read_bytes() == (second.folder / "predictions.csv").read_bytes()


def convert(path: Path, folder: Path, *flags: str) -> None:
    run_ok(["--mode", "convert", str(path), *flags], folder)


@pytest.mark.parametrize("name", CONVERTED)
def test_a_converted_file_scores_as_the_published_one(name, tiny, tmp_path):
    """Settings that the published file does not hold are given only to the conversion."""
    build, flags = CONVERTED[name]
    path = tmp_path / f"{name}.pth"
    torch.save(build().state, path) if name == "emoclip" else write_container(path, build())
    convert(path, tmp_path / "converted", *flags)
    before = evaluate(path, tmp_path / "before", *tiny, *flags)
    assert len(before.predictions) == 10
    for suffix in (".pt", ".safetensors"):
        assert same_predictions(evaluate(tmp_path / f"converted/{name}{suffix}", tmp_path / suffix, *tiny), before)


def test_a_converted_emoclip_file_holds_its_texts(tiny, tmp_path):
    """The texts of the user may be removed before the evaluation."""
    path, texts = save_emoclip(tmp_path / "4.pth"), write_class_texts(tmp_path / "five.json", NAMES, label_base=1)
    before = evaluate(path, tmp_path / "before", *tiny, "--class-texts", str(texts))
    convert(path, tmp_path / "out", "--class-texts", str(texts))
    texts.unlink()
    path.unlink()
    assert same_predictions(evaluate(tmp_path / "out/4.pt", tmp_path / "after", *tiny), before)


def test_a_converted_file_is_plain_tensors(tmp_path, capsys):
    path = write_container(tmp_path / "model_best.pth", files.clip_caer(Recipe()))
    convert(path, tmp_path / "out")
    content = torch.load(tmp_path / "out/model_best.pt", weights_only=True)
    assert {"format", "family", "config", "classes", "label_base", "clip_shape", "model", "epoch"} <= content.keys()
    assert (tmp_path / "out/model_best.pt").stat().st_size < path.stat().st_size
    for suffix in (".pt", ".safetensors"):
        assert NAMES[4] in inspect(tmp_path / f"out/model_best{suffix}", capsys)


# -- classes and frames ---------------------------------------------------------------------------------------------


def test_classes_without_names_are_neither_scored_nor_converted(tiny, tmp_path, capsys):
    """Seven classes under RAER's five names, or under numbers, would score labels that mean something else."""
    path = write_container(tmp_path / "seven.pth", files.dfer_clip(Recipe(classes=7)))
    assert "--class-texts" in error_of(["--mode", "eval", "--eval-checkpoint", str(path), *tiny, *QUICK], capsys)
    assert "--class-texts" in error_of(["--mode", "convert", str(path), "--output-dir", str(tmp_path / "o")], capsys)
    texts = write_class_texts(tmp_path / "seven.json", [f"class{number}" for number in range(7)])
    convert(path, tmp_path / "o", "--class-texts", str(texts))


@pytest.mark.parametrize(("dataset", "names"), [("DFEW", SEVEN), ("FERV39k", SEVEN), ("MAFW", ELEVEN)])
def test_dfer_clip_knows_its_classes_by_the_data_set(tmp_path, dataset, names):
    path = write_container(tmp_path / "model.pth", files.dfer_clip(Recipe(classes=len(names))))
    opened = open_checkpoint(path, {"dataset": dataset})
    assert opened.content["classes"] == names and opened.unnamed is None
    assert opened.content["family"] == opened.config.model.model == "dfer-clip"


def test_more_frames_than_an_emoclip_file_has_positions_for_are_refused(tmp_path):
    published = files.emoclip(Recipe(depth=2))
    path = write_container(tmp_path / "model.pth", published)
    most = published.state["module.temporal.pos_embedding"].shape[1] - 1
    assert open_checkpoint(path, {"dataset": "DFEW", "num_segments": most}).config.data.num_segments == most
    with pytest.raises(UserError, match=f"--num-segments {most + 1}"):
        open_checkpoint(path, {"dataset": "DFEW", "num_segments": most + 1})


# -- from frames on disk to logits ----------------------------------------------------------------------------------

COLOURS = ((250, 20, 20), (20, 250, 60), (30, 60, 250), (128, 128, 128), (240, 220, 10))


@pytest.fixture(scope="module")
def plain_set(tmp_path_factory) -> list[str]:
    """Square frames of one colour each: every crop of them, at any size, is that colour."""
    root = tmp_path_factory.mktemp("plain")
    lines = []
    for number, colour in enumerate(COLOURS):
        folder = root / f"RAER/images/P{number:03d}/001"
        folder.mkdir(parents=True)
        for frame in (1, 2, 3):
            Image.new("RGB", (40, 40), colour).save(folder / f"{frame:05d}.png")
        lines.append(f"RAER/images/P{number:03d}/001 3 {number + 1}")
    (root / "test.txt").write_text("\n".join(lines), encoding="utf-8")
    return ["--root-dir", str(root), "--test-annotation", "test.txt"]


def plain_views(frames: int, mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0)) -> torch.Tensor:
    """The same set as tensors (B, T, 3, 32, 32), without reading it."""
    pixels = (torch.tensor(COLOURS) / 255 - torch.tensor(mean)) / torch.tensor(deviation)
    return pixels.view(5, 1, 3, 1, 1).expand(5, frames, 3, 32, 32)


def clip_caer_logits(file) -> torch.Tensor:
    view = plain_views(16)
    return reference.clip_caer_logits(file.state, file.lengths, view, view, classes=5, tau=0.01)


def emoclip_logits(file) -> torch.Tensor:
    view = plain_views(32, CLIP_MEAN, CLIP_DEVIATION)
    return reference.emoclip_logits(file.state, tokenize(class_descriptions(5)), view)


@pytest.mark.parametrize(
    ("build", "depth", "logits"),
    [
        (files.clip_caer, 1, clip_caer_logits),
        (files.dfer_clip, 1, lambda file: reference.dfer_clip_logits(file.state, file.lengths, plain_views(16))),
        (files.emoclip, 2, emoclip_logits),  # which normalises as CLIP does
    ],
    ids=["clip-caer", "dfer-clip", "emoclip"],
)
def test_an_evaluation_gives_the_published_logits(plain_set, tmp_path, build, depth, logits):
    file, texts = build(Recipe(depth=depth)), write_class_texts(tmp_path / "five.json", NAMES, label_base=1)
    path = write_container(tmp_path / "model.pth", file)
    flags = ["--class-texts", str(texts)] if build is files.emoclip else []
    rows, expected = evaluate(path, tmp_path / "run", *plain_set, *flags).predictions, logits(file)
    assert expected.std(dim=0).min() > 0.05  # different colours give different logits
    scores = torch.tensor([[float(row[f"logit_{name}"]) for name in NAMES] for row in rows])
    torch.testing.assert_close(scores.double(), expected, atol=1e-3, rtol=0)
