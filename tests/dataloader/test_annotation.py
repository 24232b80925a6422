"""Lists: every line becomes a clip on disk, or an error that names the line."""

from dataclasses import replace
from pathlib import Path

import pytest

from dataloader.annotation import read_annotation
from dataloader.classes import Classes
from utils.errors import UserError

CLASSES = Classes(("Calm", "Glad", "Lost"), 1, {}, "test", has_persons=True)


@pytest.fixture
def root(tmp_path):
    for name in ("RAER/images/P1/001", "RAER/images/P1/002", "RAER/images/P 2/00 3"):
        (tmp_path / name).mkdir(parents=True)
        for frame in ("2.jpg", "10.jpg", "1.jpg", "Thumbs.db"):
            (tmp_path / name / frame).write_bytes(b"x")
    return tmp_path


def read(root, text, base=1, encoding="utf-8", root_dir="given"):
    (root / "list.txt").write_bytes(text.encode(encoding))
    classes = replace(CLASSES, label_base=base)
    return read_annotation(str(root / "list.txt"), str(root) if root_dir == "given" else root_dir, classes)


def error(root, text, base=1):
    with pytest.raises(UserError) as caught:
        read(root, text, base)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_line_becomes_a_clip(root):
    (clip,) = read(root, "RAER/images/P1/001 30 3\n")
    assert (clip.id, clip.listed_frames, clip.label) == ("RAER/images/P1/001", 30, 2)
    assert clip.folder == root / "RAER/images/P1/001" and clip.frames == ("1.jpg", "2.jpg", "10.jpg")
    assert clip.frame_path(2) == clip.folder / "10.jpg"
    assert clip.person == "images/P1"


def test_a_set_may_not_say_who_is_in_a_clip(root):
    (root / "list.txt").write_text("RAER/images/P1/001 30 3")
    (clip,) = read_annotation(str(root / "list.txt"), str(root), replace(CLASSES, has_persons=False))
    assert clip.person is None and clip.caption is None


def test_a_person_is_the_same_however_the_list_spells_the_path(root):
    spellings = ["RAER/images/P1/001", f"{root}/RAER/images/P1/001", "RAER\\images\\P1\\001"]
    assert {read(root, f"{written} 30 3\n")[0].person for written in spellings} == {"images/P1"}


def test_labels_count_from_the_sets_own_base(root):
    assert [clip.label for clip in read(root, "RAER/images/P1/001 3 1\nRAER/images/P1/002 3 3")] == [0, 2]
    assert [clip.label for clip in read(root, "RAER/images/P1/001 3 0\nRAER/images/P1/002 3 2", base=0)] == [0, 2]


def test_blanks_in_paths_and_around_lines_are_kept_apart(root):
    clips = read(root, "\ufeff\n  RAER/images/P 2/00 3  30\t2 \r\n\nRAER/images/P1/001 3 1")
    assert [(clip.id, clip.label) for clip in clips] == [("RAER/images/P 2/00 3", 1), ("RAER/images/P1/001", 0)]


@pytest.mark.parametrize(
    "written",
    [
        "RAER/images/P1/001",
        "./RAER/images/P1/001/",
        "RAER\\images\\P1\\001",
        "/media/F/FERDataset/AER-DB/RAER/images/P1/001",
        "D:\\data\\RAER\\images\\P1\\001",
        "{root}/RAER/images/P1/001",
    ],
)
def test_a_clip_is_found_whatever_prefix_and_slash_its_path_has(root, written):
    (clip,) = read(root, written.format(root=root) + " 3 1")
    assert clip.folder.resolve() == (root / "RAER/images/P1/001").resolve() and len(clip.frames) == 3


def test_the_root_may_be_the_raer_folder_itself(root):
    (clip,) = read(root, "/old/place/RAER/images/P1/001 3 1", root_dir=str(root / "RAER"))
    assert len(clip.frames) == 3


def test_a_list_is_looked_for_below_the_root_too(root, monkeypatch):
    (root / "lists").mkdir()
    (root / "lists/a.txt").write_text("RAER/images/P1/001 3 1")
    monkeypatch.chdir(Path("/"))
    assert len(read_annotation("lists/a.txt", str(root), CLASSES)) == 1


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("RAER/images/P1/001 3 0", ["label 0", "1..3", "Calm"]),
        ("RAER/images/P1/001 3 4", ["label 4", "1..3"]),
        ("RAER/images/P1/001 3 -1", ["label -1"]),
        ("RAER/images/P1/001 3", ["expected", "path frames label"]),
        ("RAER/images/P1/001", ["expected"]),
        ("RAER/images/P1/001 many 1", ["whole numbers", "many"]),
        ("RAER/images/P1/001 3 1.0", ["whole numbers", "1.0"]),
        ("RAER/images/P9/001 3 1", ["no folder", "P9/001", "--root-dir"]),
        ("RAER/empty 3 1", ["RAER/empty", "no image"]),
        ("x" * 300 + "/001 3 1", ["no folder"]),
    ],
)
def test_a_line_at_fault_is_named_with_its_number(root, line, parts):
    (root / "RAER/empty").mkdir()
    (root / "RAER/empty/Thumbs.db").write_bytes(b"x")
    message = error(root, f"RAER/images/P1/001 3 1\n\n{line}\n")
    assert "list.txt, line 3" in message
    for part in parts:
        assert part in message, message


def test_zero_based_lists_are_refused_not_shifted(root):
    assert "count from 1" in error(root, "RAER/images/P1/001 3 0")


def test_an_empty_list_a_missing_list_and_a_binary_file_are_named(root):
    assert "list.txt" in error(root, "\n\n")
    (root / "list.bin").write_bytes(b"\xff\xfe\x00\x01")
    for name in ("gone.txt", "list.bin", "RAER"):
        with pytest.raises(UserError, match=name):
            read_annotation(str(root / name), None, CLASSES)
