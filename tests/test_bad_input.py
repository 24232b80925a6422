"""A user's mistake gives a one-line error with its place, and exit status 2, before the first training step."""

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.support.tiny import as_arguments, write_set
from tests.support.tools import FAST, call, error_of, run_main

ONE_EPOCH = ["--epochs", "1", "--milestones"]
CLIP = "RAER/images/SelfStudy/Library/P000/000"


@pytest.fixture
def refused(tmp_path, capsys):
    """The error of a training that makes no step."""

    def message(words, run="run"):
        text = error_of(["--output-dir", str(tmp_path / run), *words], capsys)
        assert not (tmp_path / run / "metrics.jsonl").exists() and not (tmp_path / run / "last.pt").exists()
        return text

    return message


@pytest.fixture
def bad(tiny_flags, refused):
    """The error of a training on the tiny set with some flags replaced and some added."""

    def message(*extra, **changed):
        replaced = tiny_flags | {"--" + name.replace("_", "-"): str(value) for name, value in changed.items()}
        return refused([*FAST, *ONE_EPOCH, *as_arguments(replaced), *extra])

    return message


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (f"{CLIP} 8 0", "label 0|1..5|Neutrality"),
        (f"{CLIP} 8", "path frames label"),
        ("{tmp}/RAER/empty 8 1", "RAER/empty"),
    ],
)
@pytest.mark.parametrize("flag", ["train_annotation", "test_annotation"])
def test_a_wrong_line_of_a_list_is_named(bad, tiny_flags, tmp_path, line, parts, flag):
    (tmp_path / "RAER/empty").mkdir(parents=True)
    (tmp_path / "RAER/empty/Thumbs.db").write_bytes(b"x")
    text = Path(tiny_flags["--root-dir"], "annotation/train.txt").read_text()
    (tmp_path / "bad.txt").write_text(text + line.format(tmp=tmp_path) + "\n")
    message = bad(**{flag: tmp_path / "bad.txt"})
    assert all(part in message for part in ["bad.txt, line 41", *parts.split("|")]), message


@pytest.mark.parametrize(
    "flag", ["train_annotation", "val_annotation", "test_annotation", "bounding_box_face", "root_dir"]
)
def test_a_missing_file_is_named_and_leaves_no_run_folder(bad, tmp_path, flag):
    assert "gone.file" in bad(**{flag: "gone.file"})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["bounding_box_face", "bounding_box_body"])
@pytest.mark.parametrize(
    ("text", "part"),
    [('{"a":\n [1, 2', "boxes.json, line 2"), ("{}", "no clip of the lists has a box")],
)
def test_a_wrong_file_of_boxes_is_named(bad, tmp_path, flag, text, part):
    (tmp_path / "boxes.json").write_text(text)
    assert part in bad(**{flag: tmp_path / "boxes.json"})


def test_face_boxes_of_other_frames_are_refused(bad, tmp_path, tiny_flags):
    boxes = json.loads(Path(tiny_flags["--root-dir"], "annotation/face.json").read_text())
    renamed = {clip: {f"x{name}": box for name, box in frames.items()} for clip, frames in boxes.items()}
    (tmp_path / "boxes.json").write_text(json.dumps(renamed))
    assert "--bounding-box-face" in bad(bounding_box_face=tmp_path / "boxes.json")


@pytest.mark.parametrize(("count", "is_warned"), [(55, False), (50, True)])
def test_boxes_of_less_than_ninety_percent_of_the_clips_are_a_warning(tiny_flags, tmp_path, count, is_warned):
    boxes = json.loads(Path(tiny_flags["--root-dir"], "annotation/face.json").read_text())
    (tmp_path / "boxes.json").write_text(json.dumps(dict(list(boxes.items())[:count])))
    replaced = tiny_flags | {"--bounding-box-face": str(tmp_path / "boxes.json")}
    run = run_main([*FAST, *ONE_EPOCH, *as_arguments(replaced)], tmp_path / "run")
    assert run.status == 0 and f"face boxes: {count} of 60 clips" in run.out
    assert (f"warning: face boxes: {count}" in run.out) is is_warned


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--clip-path gone.pt", "--clip-path gone.pt"),
        ("--image-size 224", "--image-size 224|--image-size 64"),
        ("--epoch 3", "--epoch|--epochs"),
        ("--dataset NOPE", "--dataset NOPE|RAER"),
        ("--class-texts gone.json", "gone.json"),
        ("--class-texts {tmp}/texts.json", "texts.json, line 1"),
        ("--mode eval", "--eval-checkpoint"),
        ("--contexts-number 60", "77 tokens"),
        ("@gone.args", "gone.args"),
        ("--device cpu --gpu 0", "--gpu|--device"),
        ("--output-dir {tmp}/file/run", "file/run|--output-dir"),
        ("--output-dir {tmp}/" + "x" * 300, "--output-dir"),
        ("--output-dir {tmp}/old", "old|already holds a run"),
    ],
)
def test_a_wrong_flag_is_named(bad, tmp_path, words, parts):
    (tmp_path / "texts.json").write_text("{broken")
    (tmp_path / "file").write_text("a file, no folder")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_text("{}")
    message = bad(*words.format(tmp=tmp_path).split())
    assert all(part in message for part in parts.split("|")), message
    assert (tmp_path / "old/config.json").read_text() == "{}"


class TestUnreadableFrames:
    @pytest.fixture
    def words(self, tiny_flags, tmp_path):
        """The tiny set's lists with a JPEG clip of four frames in each, the second one cut off."""
        for split, person in (("train", "P900"), ("test", "P901")):
            folder = tmp_path / f"RAER/{person}/000"
            folder.mkdir(parents=True)
            for n in range(1, 5):
                picture = torch.randint(256, (120, 160, 3), dtype=torch.uint8, generator=torch.manual_seed(n))
                Image.fromarray(picture.numpy()).save(folder / f"{n}.jpg")
            (folder / "2.jpg").write_bytes((folder / "2.jpg").read_bytes()[:4000])
            text = Path(tiny_flags["--root-dir"], f"annotation/{split}.txt").read_text()
            (tmp_path / f"{split}.txt").write_text(f"{text}{folder} 4 1\n")
        lists = {f"--{s}-annotation": str(tmp_path / f"{s}.txt") for s in ("train", "test")}
        return [*FAST, *ONE_EPOCH, "--select-on", "last", *as_arguments(tiny_flags | lists)]

    @pytest.mark.parametrize("workers", ["0", "1"])
    def test_a_truncated_frame_inside_an_epoch_gives_a_one_line_error(self, words, refused, workers):
        message = refused([*words, "--workers", workers])
        assert "P900/000/2.jpg" in message and "--on-bad-frame skip" in message

    @pytest.mark.parametrize("kind", ["a text", "a pipe"])
    def test_a_file_that_is_not_an_image_is_named_before_the_first_step(self, words, tmp_path, refused, kind):
        frame = tmp_path / "RAER/P901/000/3.jpg"
        frame.unlink()
        frame.write_text("no image") if kind == "a text" else os.mkfifo(frame)
        message = refused(words)
        assert "P901/000/3.jpg" in message and "--on-bad-frame" in message

    @pytest.mark.parametrize("count", [1, 2])
    def test_skip_replaces_bad_frames_and_prints_their_number(self, words, tmp_path, count):
        if count == 2:
            (tmp_path / "RAER/P901/000/3.jpg").write_text("no image")
        run = run_main([*words, "--on-bad-frame", "skip"], tmp_path / "run").ok()
        assert "warning: 1 unreadable frames were replaced in this epoch" in run.out
        assert f"warning: test: {count} unreadable frames were replaced" in run.out
        assert run.history[0]["train/replaced_frames"] == 1 and (count == 1 or "3.jpg" in run.out)

    def test_a_clip_without_a_readable_frame_is_also_an_error_with_skip(self, words, tmp_path, refused):
        for frame in (tmp_path / "RAER/P900/000").iterdir():
            frame.unlink()
        (tmp_path / "RAER/P900/000/1.jpg").write_bytes(b"\xff\xd8\xff")
        assert "P900/000" in refused([*words, "--on-bad-frame", "skip"])


NOT_UTF8 = os.fsdecode(b"caf\xe9")


def test_folders_and_frames_whose_names_are_not_utf8_are_read_and_written(tmp_path):
    """As the root of a set, as frames (decoded by OpenCV), as the name of an experiment and as a run folder."""
    root = tmp_path / NOT_UTF8
    words = as_arguments(write_set(root, clips=15, persons=3, frames=2))
    for number, frame in enumerate(root.rglob("*.png")):
        Image.open(frame).save(frame.with_name(f"{NOT_UTF8 if number % 3 else ''}{frame.stem}.jpg"))
        frame.unlink()
    boxes = root / "annotation/face.json"
    boxes.write_text(boxes.read_text().replace(".png", ".jpg"))
    words = [*FAST, *ONE_EPOCH, *words, "--exper-name", NOT_UTF8, "--select-on", "last"]
    run_main(words, root / "run").ok()
    assert (root / "run/confusion_matrix.png").exists() and list((root / "run/tensorboard").iterdir())
    report = call("--mode", "report", root / "run", "--output-dir", root / "report")
    assert report.status == 0, report.err
    assert r"caf\udce9" in (root / "report/report.md").read_text(encoding="utf-8")


def test_a_list_with_names_that_are_not_utf8_gives_a_one_line_error(bad, tiny_flags, tmp_path):
    text = Path(tiny_flags["--root-dir"], "annotation/train.txt").read_bytes()
    (tmp_path / "bad.txt").write_bytes(text + b"caf\xe9 8 1\n")
    assert "bad.txt, line 41: not a UTF-8 text file" in bad(train_annotation=tmp_path / "bad.txt")
