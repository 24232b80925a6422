"""A user's mistake ends in one line that names what and where, exit status 2, before the first training step."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import models.losses
from tests.support.tiny import as_arguments
from tests.support.tools import FAST, error_of, run_main

ONE_EPOCH = ["--epochs", "1", "--milestones"]


@pytest.fixture
def bad(tiny_flags, tmp_path, capsys):
    """Run the tiny set with some of its flags replaced, and return the error."""

    def run(*more, **changed):
        flags = tiny_flags | {"--" + name.replace("_", "-"): str(value) for name, value in changed.items()}
        folder = tmp_path / "run"
        message = error_of([*FAST, *ONE_EPOCH, "--output-dir", str(folder), *as_arguments(flags), *more], capsys)
        assert not (folder / "metrics.jsonl").exists() and not (folder / "last.pt").exists()
        return message

    return run


@pytest.fixture
def listed(tiny_flags, tmp_path):
    """A copy of the training list with one more line, as a file."""

    def write(line: str) -> Path:
        text = Path(tiny_flags["--root-dir"], "annotation/train.txt").read_text()
        (tmp_path / "bad.txt").write_text(text + line + "\n")
        return tmp_path / "bad.txt"

    return write


FIRST = "RAER/images/SelfStudy/Library/P000/000"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (f"{FIRST} 8 0", ["label 0", "1..5", "Neutrality"]),
        (f"{FIRST} 8 6", ["label 6", "1..5"]),
        (f"{FIRST} 8", ["path frames label"]),
        (f"{FIRST} eight 1", ["eight"]),
        ("RAER/images/SelfStudy/Library/P000/nowhere 8 1", ["P000/nowhere", "--root-dir"]),
    ],
)
@pytest.mark.parametrize("flag", ["train_annotation", "test_annotation"])
def test_a_wrong_line_of_a_list(bad, listed, line, parts, flag):
    message = bad(**{flag: listed(line)})
    assert "bad.txt, line 41" in message
    for part in parts:
        assert part in message, message


def test_an_empty_clip(bad, listed, tmp_path):
    (tmp_path / "RAER/empty").mkdir(parents=True)
    (tmp_path / "RAER/empty/Thumbs.db").write_bytes(b"x")
    message = bad(train_annotation=listed(f"{tmp_path}/RAER/empty 8 1"))
    assert "bad.txt, line 41" in message and "RAER/empty" in message


@pytest.mark.parametrize("flag", ["train_annotation", "val_annotation", "test_annotation"])
def test_a_missing_list(bad, flag):
    assert "gone.txt" in bad(**{flag: "gone.txt"})


def test_a_missing_root(bad):
    assert "gone" in bad(root_dir="gone")


@pytest.mark.parametrize("flag", ["bounding_box_face", "bounding_box_body"])
@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"a":\n [1, 2', "boxes.json, line 2"),
        ("[]", "boxes.json"),
        ('{"RAER/P1/1": [1, 2, 3]}', "P1/1"),
        ('{"RAER/P1/1": {"1.png": [1, 2, 3]}}', "P1/1"),
        ("{}", "no clip of the lists has a box"),
        ('{"a": [1, 2, 3, 4], "a": [1, 2, 3, 5]}', "boxes.json"),
    ],
)
def test_a_wrong_file_of_boxes(bad, tmp_path, flag, text, part):
    (tmp_path / "boxes.json").write_text(text)
    assert part in bad(**{flag: tmp_path / "boxes.json"})


def test_a_missing_file_of_boxes(bad):
    assert "gone.json" in bad(bounding_box_face="gone.json")


def test_face_boxes_that_name_other_frames(bad, tmp_path, tiny_flags):
    boxes = json.loads(Path(tiny_flags["--root-dir"], "annotation/face.json").read_text())
    other = {clip: {f"x{name}": box for name, box in frames.items()} for clip, frames in boxes.items()}
    (tmp_path / "boxes.json").write_text(json.dumps(other))
    assert "--bounding-box-face" in bad(bounding_box_face=tmp_path / "boxes.json")


def test_under_ninety_percent_of_boxes_is_a_warning(tiny_flags, tmp_path):
    boxes = json.loads(Path(tiny_flags["--root-dir"], "annotation/face.json").read_text())
    for kept, warned in ((55, False), (50, True)):
        file = tmp_path / f"{kept}.json"
        file.write_text(json.dumps(dict(list(boxes.items())[:kept])))
        flags = tiny_flags | {"--bounding-box-face": str(file)}
        done = run_main([*FAST, *ONE_EPOCH, *as_arguments(flags)], tmp_path / str(kept))
        assert done.status == 0 and f"face boxes: {kept} of 60 clips" in done.out
        assert (f"warning: face boxes: {kept}" in done.out) is warned


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--clip-path", "gone.pt"], ["--clip-path gone.pt"]),
        (["--image-size", "224"], ["--image-size 224", "--image-size 64"]),
        (["--epoch", "3"], ["--epoch", "--epochs"]),
        (["--dataset", "NOPE"], ["--dataset NOPE", "RAER"]),
        (["--class-texts", "gone.json"], ["gone.json"]),
        (["--class-texts", "{tmp}/texts.json"], ["texts.json, line 1"]),
        (["--mode", "eval"], ["--eval-checkpoint"]),
        (["--contexts-number", "60"], ["77 tokens"]),
        (["@gone.args"], ["gone.args"]),
        (["--device", "cpu", "--gpu", "0"], ["--gpu", "--device"]),
        (["--output-dir", "{tmp}/file/run"], ["file/run", "--output-dir"]),
        (["--output-dir", "{tmp}/" + "x" * 300], ["--output-dir"]),
        (["--output-dir", "{tmp}/old"], ["old", "already holds a run"]),
    ],
)
def test_a_wrong_flag(bad, tmp_path, more, parts):
    (tmp_path / "texts.json").write_text("{broken")
    (tmp_path / "file").write_text("a file, no folder")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_text("{}")
    message = bad(*(word.format(tmp=tmp_path) for word in more))
    for part in parts:
        assert part in message, message
    assert (tmp_path / "old/config.json").read_text() == "{}"


def test_a_mistake_leaves_no_folder_in_the_way_of_the_next_try(bad, tmp_path):
    bad(test_annotation="gone.txt")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite(bad, monkeypatch):
    def lost(logits, label, **_):
        return logits.sum() * float("nan")

    monkeypatch.setattr(models.losses, "classification_loss", lost)
    message = bad()
    assert "classification" in message and "epoch 1, step 1" in message and "--lr" in message


class TestUnreadableFrames:
    @pytest.fixture
    def flags(self, tiny_flags, tmp_path):
        """The tiny set's lists with a JPEG clip of four frames in each, the second one cut off."""
        for split, person in (("train", "P900"), ("test", "P901")):
            folder = tmp_path / f"RAER/{person}/000"
            folder.mkdir(parents=True)
            for n in range(1, 5):
                picture = torch.randint(256, (120, 160, 3), dtype=torch.uint8, generator=torch.manual_seed(n))
                Image.fromarray(picture.numpy()).save(folder / f"{n}.jpg")
            cut = folder / "2.jpg"
            cut.write_bytes(cut.read_bytes()[:4000])
            text = Path(tiny_flags["--root-dir"], f"annotation/{split}.txt").read_text()
            (tmp_path / f"{split}.txt").write_text(f"{text}{folder} 4 1\n")
        lists = {f"--{s}-annotation": str(tmp_path / f"{s}.txt") for s in ("train", "test")}
        return [*FAST, *ONE_EPOCH, "--select-on", "last", *as_arguments(tiny_flags | lists)]

    @pytest.mark.parametrize("workers", ["0", "1"])
    def test_a_truncated_frame_met_in_mid_run_is_one_line_too(self, flags, tmp_path, capsys, workers):
        arguments = [*flags, "--workers", workers, "--output-dir", str(tmp_path / "run")]
        message = error_of(arguments, capsys)
        assert "P900/000/2.jpg" in message and "--on-bad-frame skip" in message

    def test_skip_replaces_counts_and_prints(self, flags, tmp_path):
        done = run_main([*flags, "--on-bad-frame", "skip"], tmp_path / "run")
        assert done.status == 0, done.err
        assert "warning: 1 unreadable frames were replaced in this epoch" in done.out
        assert "warning: test: 1 unreadable frames were replaced" in done.out
        assert done.history[0]["train/replaced_frames"] == 1

    def test_a_file_that_is_no_image_is_found_before_the_first_step(self, flags, tmp_path, capsys):
        (tmp_path / "RAER/P901/000/3.jpg").write_text("no image")
        message = error_of([*flags, "--output-dir", str(tmp_path / "run")], capsys)
        assert "P901/000/3.jpg" in message and not (tmp_path / "run/metrics.jsonl").exists()

    def test_skip_gets_over_that_too(self, flags, tmp_path):
        (tmp_path / "RAER/P901/000/3.jpg").write_text("no image")
        done = run_main([*flags, "--on-bad-frame", "skip"], tmp_path / "run")
        assert done.status == 0 and "3.jpg" in done.out
        assert "warning: test: 2 unreadable frames were replaced" in done.out

    def test_a_clip_of_unreadable_frames_alone_is_named_even_so(self, flags, tmp_path, capsys):
        shutil.rmtree(tmp_path / "RAER/P900/000")
        (tmp_path / "RAER/P900/000").mkdir()
        (tmp_path / "RAER/P900/000/1.jpg").write_bytes(b"\xff\xd8\xff")
        arguments = [*flags, "--on-bad-frame", "skip", "--output-dir", str(tmp_path / "run")]
        assert "P900/000" in error_of(arguments, capsys)
