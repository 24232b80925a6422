"""mistakes/: which clips are shown, that the pictures show them, and that a missing picture does not end a run."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from analysis.mistakes import LIMIT, MOST, PER_CLASS, choose, draw_strip, write_mistakes
from dataloader import pack
from dataloader.annotation import Clip, read_annotation, set_note
from dataloader.classes import load_classes
from dataloader.clips import Views
from dataloader.sources import open_source
from tests.support.tiny import FACE_COLOURS, as_arguments, write_set
from tests.support.tools import FAST, run_main
from utils.runlog import RunLog

WIDTH, HEIGHT = 4 * 112 + 3 * 2, 2 * 112 + 2
QUICK = [*FAST, "--select-on", "last", "--epochs", "1"]


def row(label: str, predicted: str, **probabilities: float) -> dict[str, str]:
    return {"label": label, "predicted": predicted} | {f"prob_{k}": str(v) for k, v in probabilities.items()}


def test_the_most_confident_mistakes_and_some_of_every_class_are_shown():
    rows = [row("a", "a", a=0.99, b=0.0, c=0.01)]  # classified correctly: never shown
    rows += [row("a", "b", a=0.05, b=0.9 - n / 100, c=0.1) for n in range(8)]
    rows += [
        row("b", "a", a=0.5, b=0.001, c=0.3),
        row("c", "b", a=0.3, b=0.4, c=0.3),
        row("c", "a", a=0.39, b=0.3, c=0.31),
    ]
    reasons = choose(rows)
    assert list(reasons) == [*range(1, 7), 9, 10, 11]  # most confident first, at most 6 of class a
    assert reasons[1] == ["surest", "worst", "class"] and reasons[3] == ["surest", "worst"]
    assert reasons[9] == ["worst", "class"] and reasons[11] == ["class"] and reasons[6] == ["surest"]


def test_the_number_of_mistakes_is_limited_for_many_classes():
    names = [f"c{n}" for n in range(50)]
    rows = [row(name, "x", **{name: 0.1, "x": 0.5 + n / 1000}) for n, name in enumerate(names) for _ in range(3)]
    assert MOST <= len(choose(rows)) <= LIMIT and PER_CLASS == 2
    assert choose([row("a", "a", a=1.0)]) == {}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    write_set(root, clips=30, frames=6)
    return root


@pytest.fixture(scope="module")
def flags(root) -> list[str]:
    lists = {"--train-annotation": "annotation/train.txt", "--test-annotation": "annotation/test.txt"}
    boxes = {"--bounding-box-face": "annotation/face.json", "--bounding-box-body": "annotation/body.json"}
    return as_arguments({"--root-dir": str(root)} | lists | boxes)


@pytest.fixture(scope="module")
def run(flags, tmp_path_factory):
    return run_main([*QUICK, *flags], tmp_path_factory.mktemp("runs") / "run")


def mistakes_of(folder):
    return json.loads((folder / "mistakes/mistakes.json").read_text(encoding="utf-8"))["mistakes"]


def test_a_run_leaves_its_mistakes(run):
    assert run.status == 0, run.err
    wrong = {line["clip"]: line for line in run.predictions if line["label"] != line["predicted"]}
    assert wrong and mistakes_of(run.folder)
    for mistake in mistakes_of(run.folder):
        line = wrong[mistake["clip"]]
        assert (mistake["label"], mistake["predicted"]) == (line["label"], line["predicted"])
        assert mistake["confidence"] == float(line[f"prob_{line['predicted']}"])
        assert mistake["p_true"] == float(line[f"prob_{line['label']}"])
        assert Image.open(run.folder / "mistakes" / mistake["file"]).size == (WIDTH, HEIGHT)
    sure = [mistake["confidence"] for mistake in mistakes_of(run.folder)]
    assert sure == sorted(sure, reverse=True)


def test_the_pictures_are_of_the_clip(run):
    """The face box of the tiny set has one colour per class; the hands of a distracted person are red."""
    names = load_classes("RAER").names
    for mistake in mistakes_of(run.folder):
        pixels = np.asarray(Image.open(run.folder / "mistakes" / mistake["file"]), dtype=float)
        colour = FACE_COLOURS[names.index(mistake["label"])]
        for frame in range(4):
            x = frame * 114 + 40
            assert np.abs(pixels[40:72, x : x + 32].mean(axis=(0, 1)) - colour).max() < 12
        context = pixels[114:, :112]
        red = ((context[..., 0] > 180) & (context[..., 1] < 90) & (context[..., 2] < 90)).mean()
        assert (red > 0.03) == (mistake["label"] == "Distraction")


def test_one_stream_has_one_row_and_frames_can_be_left_out(flags, tmp_path):
    face = run_main([*QUICK, *flags, "--streams", "face", "--adapter", "none"], tmp_path / "face")
    assert {Image.open(face.folder / "mistakes" / mistake["file"]).size for mistake in mistakes_of(face.folder)} == {
        (WIDTH, 112)
    }
    command = ["--mode", "eval", "--eval-checkpoint", str(face.folder / "best.pt"), "--no-mistake-frames", *flags]
    plain = run_main([*command, "--device", "cpu", "--workers", "0"], tmp_path / "plain")
    assert plain.status == 0, plain.err
    assert [path.name for path in (plain.folder / "mistakes").iterdir()] == ["mistakes.json"]
    clips = [mistake["clip"] for mistake in mistakes_of(face.folder)]
    assert [(mistake["clip"], mistake["file"]) for mistake in mistakes_of(plain.folder)] == [(c, None) for c in clips]


def read(root) -> list[Clip]:
    return read_annotation("annotation/test.txt", str(root), load_classes("RAER"))


def strip_of(root, clip: Clip, **views) -> np.ndarray:
    cut = Views(**{"segments": 5, "size": 64, "root": str(root)} | views)
    return draw_strip(clip, cut, open_source(cut))


def test_a_clip_of_one_frame_has_one(root):
    first = read(root)[0]
    clip = replace(first, frames=first.frames[:1])
    assert strip_of(root, clip, streams="context", segments=1).shape == (112, 112, 3)


def test_a_pack_gives_the_same_pictures(root, tmp_path):
    words = ["--root-dir", str(root), "--test-annotation", "annotation/test.txt", "--image-size", "64"]
    assert pack.main([*words, "--workers", "0", "--out", str(tmp_path / "pack"), "--format", "raw"]) == 0
    clip = read(root)[3]
    np.testing.assert_array_equal(strip_of(root, clip, pack=str(tmp_path / "pack")), strip_of(root, clip))


def test_a_missing_frame_is_a_warning_and_not_an_error(root, run, tmp_path, capsys):
    """All clips are classified wrongly; the frames of one clip are missing."""
    shutil.copytree(root, tmp_path / "copy")
    clips, views = read(tmp_path / "copy"), Views(segments=5, size=64, root=str(tmp_path / "copy"))
    shutil.rmtree(clips[0].folder)
    rows = "".join(f"{clip.id},a,b,0.1,0.9\n" for clip in clips)
    (tmp_path / "predictions.csv").write_text(f"clip,label,predicted,prob_a,prob_b\n{rows}", encoding="utf-8")
    write_mistakes(clips, views, RunLog(tmp_path), root=None, with_frames=True)
    files = {mistake["clip"]: mistake["file"] for mistake in mistakes_of(tmp_path)}
    assert [clip for clip, file in files.items() if file is None] == [clips[0].id] and len(files) > 1
    assert re.search(r"^warning: mistakes/: 1 picture could not be made \(.*cannot be read", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("content", "note"),
    [('{"note": "drawn"}', "drawn"), ("[]", None), ("{", None), ('{"note": 3}', None), (None, None)],
)
def test_the_note_of_a_set_about_itself(tmp_path, content, note):
    if content is not None:
        (tmp_path / "about.json").write_text(content, encoding="utf-8")
    assert set_note(str(tmp_path)) == note
