"""Lists of the published sets with one line at fault: one line on the screen, with the file and the line."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.support.drawn import flags
from tests.support.tools import error_of

MAFW = Path("Train_Test_Set/single/with_caption_new/set_4/train.txt")
MAFW_TEST = Path("Train_Test_Set/single/no_caption_new/set_4/test.txt")
CAER_S = Path("annotation/train.txt")


@pytest.fixture
def fails(drawn, tmp_path, capsys):
    """Trains on a list in which line 3 was changed; returns the error and the changed list's name."""

    def run(reader, layout, listed, change, flag="--train-annotation"):
        root = drawn(layout)
        lines = (root / listed).read_bytes().split(b"\n")
        lines[2] = change(lines[2].rstrip(b"\r"))
        (tmp_path / "changed.txt").write_bytes(b"\n".join(lines))
        model = "@recipes/emoclip_supervised.args" if layout == "mafw" else "@recipes/dfer_clip.args"
        words = [model, *flags(reader, root), flag, str(tmp_path / "changed.txt")]
        message = error_of([*words, "--output-dir", str(tmp_path / "run")], capsys)
        assert not (tmp_path / "run/metrics.jsonl").exists() and not (tmp_path / "run/last.pt").exists()
        return message

    return run


def columns(change):
    return lambda line: b"\t".join(change(line.split(b"\t")))


@pytest.mark.parametrize(
    "change",
    [columns(lambda row: row[:3]), columns(lambda row: [*row, b"more"]), columns(lambda row: row[:1])],
    ids=["three", "five", "one"],
)
def test_a_wrong_number_of_columns_beside_captions(change, fails):
    message = fails("mafw_captions", "mafw", MAFW, change)
    assert "changed.txt, line 3" in message and "columns" in message


@pytest.mark.parametrize(
    ("listed", "flag", "change"),
    [
        (MAFW, "--train-annotation", columns(lambda row: [row[0], b"hapiness", *row[2:]])),
        (MAFW_TEST, "--test-annotation", lambda line: line.split(b" ")[0] + b" hapiness"),
    ],
)
def test_an_unknown_class_name(listed, flag, change, fails):
    message = fails("mafw_captions", "mafw", listed, change, flag)
    assert "changed.txt, line 3" in message and "'hapiness'" in message and "did you mean happiness" in message


@pytest.mark.parametrize("garbage", [b"\xff\xff\xfe", b"\x81\x20\x81"])
def test_bytes_that_are_neither_utf8_nor_gbk(garbage, fails):
    message = fails("mafw_captions", "mafw", MAFW, columns(lambda row: [*row[:2], garbage, row[3]]))
    assert "changed.txt, line 3" in message and "GBK" in message and "UTF-8" in message


@pytest.mark.parametrize("label", ["7", "-1", "70"])
@pytest.mark.parametrize(
    ("reader", "layout", "listed"),
    [
        ("dfew", "dfew", "annotation/DFEW_set_2_train.txt"),
        ("ferv39k", "ferv39k", "annotation/train_image.txt"),
        ("caer", "caer", "annotation/train.txt"),
    ],
)
def test_a_label_out_of_range(reader, layout, listed, label, fails):
    message = fails(reader, layout, listed, lambda line: line.rsplit(b" ", 1)[0] + b" " + label.encode())
    assert "changed.txt, line 3" in message and f"label {label}" in message and "0..6" in message


@pytest.mark.parametrize("label", [b"0", b"5"])
def test_a_level_out_of_range(label, fails):
    message = fails("daisee", "daisee", "annotation/train.txt", lambda line: line.rsplit(b" ", 1)[0] + b" " + label)
    assert "changed.txt, line 3" in message and "1..4" in message


@pytest.mark.parametrize("step", [-1, 1])
def test_a_list_that_counts_from_another_number(step, drawn, tmp_path, capsys):
    """Folders name the classes of CAER-S, and the first line that disagrees is named."""
    root = drawn("caer-s")
    rows = [line.rsplit(" ", 1) for line in (root / CAER_S).read_text().splitlines()]
    (tmp_path / "changed.txt").write_text("".join(f"{rest} {int(label) + step}\n" for rest, label in rows))
    words = [*flags("caer_s", root), "--train-annotation", str(tmp_path / "changed.txt")]
    message = error_of(["@recipes/dfer_clip.args", *words, "--output-dir", str(tmp_path / "run")], capsys)
    assert "changed.txt, line 1:" in message
    assert rows[0][0].split("/")[-2] in message or "outside 1..7" in message


def test_a_clip_folder_without_frames(drawn, tmp_path, capsys):
    root = tmp_path / "set"
    shutil.copytree(drawn("ferv39k"), root)
    lines = (root / "annotation/test_image.txt").read_text().splitlines()
    folder = root / lines[4].split(" ")[0]
    for frame in folder.iterdir():
        frame.unlink()
    words = ["@recipes/dfer_clip.args", *flags("ferv39k", root), "--output-dir", str(tmp_path / "run")]
    message = error_of(words, capsys)
    assert "test_image.txt, line 5" in message and str(folder) in message and "no image" in message
    folder.rmdir()
    words[-1] = str(tmp_path / "again")
    message = error_of(words, capsys)
    assert "test_image.txt, line 5" in message and lines[4].split(" ")[0] in message


def test_an_unknown_class_folder(drawn, tmp_path, capsys):
    root = tmp_path / "set"
    shutil.copytree(drawn("afew"), root)
    (root / "AFEW_Face/train/Suprise/1").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(root / "AFEW_Face/train/Suprise/1/1.png")
    words = ["@recipes/dfer_clip.args", *flags("afew", root), "--output-dir", str(tmp_path / "run")]
    message = error_of(words, capsys)
    assert "AFEW_Face/train" in message and "'Suprise'" in message and "did you mean surprise" in message.lower()


def test_a_frame_that_is_no_image(drawn, tmp_path, capsys):
    root = tmp_path / "set"
    shutil.copytree(drawn("dfew"), root)
    (root / "DFEW_Frame_Face/00007/00002.jpg").write_bytes(b"not a picture")
    words = ["@recipes/dfer_clip.args", *flags("dfew", root), "--output-dir", str(tmp_path / "run")]
    message = error_of(words, capsys)
    assert "00007/00002.jpg" in message and "--on-bad-frame" in message


@pytest.mark.parametrize("reader", ["dfew", "afew"])
def test_lists_of_another_set(reader, drawn, tmp_path, capsys):
    """A root without what the recipe names."""
    words = ["@recipes/dfer_clip.args", *flags(reader, drawn("caer")), "--output-dir", str(tmp_path / "run")]
    assert str(drawn("caer")) in error_of(words, capsys)
