"""A user's mistake ends in one line that names what and where, exit status 2, before the first training step."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.support.drawn import flags
from tests.support.tiny import as_arguments
from tests.support.tools import FAST, error_of, run_main

ONE_EPOCH = ["--epochs", "1", "--milestones"]
CLIP = "RAER/images/SelfStudy/Library/P000/000"
MAFW = "Train_Test_Set/single/with_caption_new/set_4/train.txt"
MAFW_TEST = "Train_Test_Set/single/no_caption_new/set_4/test.txt"


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
        (f"{CLIP} 8 6", "label 6|1..5"),
        (f"{CLIP} 8", "path frames label"),
        (f"{CLIP} eight 1", "eight"),
        ("RAER/images/SelfStudy/Library/P000/nowhere 8 1", "P000/nowhere|--root-dir"),
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
def test_a_missing_file_is_named_and_leaves_no_folder_in_the_way_of_the_next_try(bad, tmp_path, flag):
    assert "gone.file" in bad(**{flag: "gone.file"})
    assert not (tmp_path / "run").exists()


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
    def test_a_truncated_frame_inside_an_epoch_is_one_line(self, words, refused, workers):
        message = refused([*words, "--workers", workers])
        assert "P900/000/2.jpg" in message and "--on-bad-frame skip" in message

    def test_a_file_that_is_no_image_is_named_before_the_first_step(self, words, tmp_path, refused):
        (tmp_path / "RAER/P901/000/3.jpg").write_text("no image")
        message = refused(words)
        assert "P901/000/3.jpg" in message and "--on-bad-frame" in message

    @pytest.mark.parametrize("count", [1, 2])
    def test_skip_replaces_counts_and_prints(self, words, tmp_path, count):
        if count == 2:
            (tmp_path / "RAER/P901/000/3.jpg").write_text("no image")
        run = run_main([*words, "--on-bad-frame", "skip"], tmp_path / "run").ok()
        assert "warning: 1 unreadable frames were replaced in this epoch" in run.out
        assert f"warning: test: {count} unreadable frames were replaced" in run.out
        assert run.history[0]["train/replaced_frames"] == 1 and (count == 1 or "3.jpg" in run.out)

    def test_a_clip_without_a_readable_frame_is_named_under_skip_too(self, words, tmp_path, refused):
        for frame in (tmp_path / "RAER/P900/000").iterdir():
            frame.unlink()
        (tmp_path / "RAER/P900/000/1.jpg").write_bytes(b"\xff\xd8\xff")
        assert "P900/000" in refused([*words, "--on-bad-frame", "skip"])


@pytest.fixture
def changed_line(drawn, tmp_path, refused):
    """The error of a training on a published set, after line 3 of one of its lists was changed."""

    def message(reader, file, change, flag="--train-annotation"):
        root = drawn(reader.removesuffix("_captions"))
        lines = (root / file).read_bytes().split(b"\n")
        lines[2] = change(lines[2].rstrip(b"\r"))
        (tmp_path / "changed.txt").write_bytes(b"\n".join(lines))
        recipe = "emoclip_supervised" if reader.startswith("mafw") else "dfer_clip"
        words = [f"@recipes/{recipe}.args", *flags(reader, root), flag, str(tmp_path / "changed.txt")]
        return refused(words)

    return message


def columns(change):
    return lambda line: b"\t".join(change(line.split(b"\t")))


def label(value):
    return lambda line: line.rsplit(b" ", 1)[0] + b" " + value


TYPO = "'hapiness'|did you mean happiness"


@pytest.mark.parametrize(
    ("reader", "file", "change", "parts"),
    [
        ("mafw_captions", MAFW, columns(lambda row: row[:3]), "columns"),
        ("mafw_captions", MAFW, columns(lambda row: [*row, b"more"]), "columns"),
        ("mafw_captions", MAFW, columns(lambda row: row[:1]), "columns"),
        ("mafw_captions", MAFW, columns(lambda row: [row[0], b"hapiness", *row[2:]]), TYPO),
        ("mafw_captions", MAFW_TEST, label(b"hapiness"), TYPO),
        ("mafw_captions", MAFW, columns(lambda row: [*row[:2], b"\xff\xff\xfe", row[3]]), "GBK|UTF-8"),
        ("mafw_captions", MAFW, columns(lambda row: [*row[:2], b"\x81\x20\x81", row[3]]), "GBK|UTF-8"),
        *(
            (reader, f"annotation/{file}", label(value), f"label {value.decode()}|0..6")
            for reader, file in (
                ("dfew", "DFEW_set_2_train.txt"),
                ("ferv39k", "train_image.txt"),
                ("caer", "train.txt"),
            )
            for value in (b"7", b"-1", b"70")
        ),
        ("daisee", "annotation/train.txt", label(b"0"), "1..4"),
        ("daisee", "annotation/train.txt", label(b"5"), "1..4"),
    ],
)
def test_a_wrong_line_of_a_published_list_is_named(reader, file, change, parts, changed_line):
    message = changed_line(reader, file, change, "--test-annotation" if file == MAFW_TEST else "--train-annotation")
    assert all(part in message for part in ["changed.txt, line 3", *parts.split("|")]), message


@pytest.mark.parametrize("step", [-1, 1])
def test_a_list_that_counts_from_another_number_is_named_by_its_first_line(step, drawn, tmp_path, refused):
    """Folders name the classes of CAER-S."""
    root = drawn("caer-s")
    rows = [line.rsplit(" ", 1) for line in (root / "annotation/train.txt").read_text().splitlines()]
    (tmp_path / "changed.txt").write_text("".join(f"{rest} {int(label) + step}\n" for rest, label in rows))
    changed = ["--train-annotation", str(tmp_path / "changed.txt")]
    message = refused(["@recipes/dfer_clip.args", *flags("caer_s", root), *changed])
    assert "changed.txt, line 1:" in message
    assert rows[0][0].split("/")[-2] in message or "outside 1..7" in message


@pytest.fixture
def copied(drawn, tmp_path):
    """A copy of a published set, and the words of a training on it."""

    def copy(reader):
        root = Path(shutil.copytree(drawn(reader), tmp_path / "set"))
        return root, ["@recipes/dfer_clip.args", *flags(reader, root)]

    return copy


def test_a_clip_folder_without_frames_or_missing_is_named(copied, refused):
    root, words = copied("ferv39k")
    clip = (root / "annotation/test_image.txt").read_text().splitlines()[4].split(" ")[0]
    for frame in (root / clip).iterdir():
        frame.unlink()
    message = refused(words)
    assert "test_image.txt, line 5" in message and str(root / clip) in message and "no image" in message
    (root / clip).rmdir()
    message = refused(words, "again")
    assert "test_image.txt, line 5" in message and clip in message


def test_an_unknown_class_folder_is_named(copied, refused):
    root, words = copied("afew")
    (root / "AFEW_Face/train/Suprise/1").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(root / "AFEW_Face/train/Suprise/1/1.png")
    message = refused(words)
    assert "AFEW_Face/train" in message and "'Suprise'" in message and "did you mean surprise" in message.lower()


@pytest.mark.parametrize("reader", ["dfew", "afew"])
def test_a_root_without_the_lists_of_the_recipe_is_named(reader, drawn, refused):
    assert str(drawn("caer")) in refused(["@recipes/dfer_clip.args", *flags(reader, drawn("caer"))])
