"""A folder instead of a list: its folders are classes, and their folders are clips."""

import os

import pytest

from tests.support.reading import make_frames, read_set
from utils.errors import UserError


@pytest.fixture
def root(tmp_path):
    folders = ("Happy/000046280", "Happy/000012", "sad/x", "Fear/3", ".cache/3")
    make_frames(tmp_path, *(f"AFEW_Face/train/{folder}" for folder in folders))
    (tmp_path / "AFEW_Face/train/Fear/notes.txt").write_text("x")
    return tmp_path


def test_folders_are_classes_and_clips(root):
    clips = read_set("AFEW", root, "AFEW_Face/train")
    found = {clip.id: clip.label for clip in clips}
    prefix = "AFEW_Face/train/"
    expected = {"Happy/000012": 0, "Happy/000046280": 0, "sad/x": 1, "Fear/3": 6}
    assert found == {prefix + name: label for name, label in expected.items()}
    assert [clip.key for clip in clips] == [f"train/{name}" for name in sorted(expected)]
    assert all(clip.frames == ("1.jpg", "2.jpg") and clip.listed_frames is None for clip in clips)
    assert read_set("AFEW", root, f"{root}/AFEW_Face/train/")[0].key == "train/Fear/3"


def test_the_folder_of_a_class_is_no_person(root):
    make_frames(root, "folders/Fatigue/1", "folders/Confusion/2")
    assert [clip.person for clip in read_set("RAER", root, "folders")] == [None, None]


def test_an_unknown_class_folder_is_named(root):
    make_frames(root, "AFEW_Face/train/Hapy/1")
    with pytest.raises(UserError, match=r"AFEW_Face/train: unknown class 'Hapy'; did you mean Happy"):
        read_set("AFEW", root, "AFEW_Face/train")


def test_a_clip_without_frames_is_named(root):
    (root / "AFEW_Face/train/Fear/9").mkdir()
    with pytest.raises(UserError, match=r"Fear/9.*no image"):
        read_set("AFEW", root, "AFEW_Face/train")


@pytest.mark.parametrize(
    ("stray", "part"),
    [("Fear/1.avi", "cannot be read as a video"), ("Fear/1.png", "folder of frames"), ("1.png", "like the classes")],
)
def test_media_files_outside_of_clip_folders_are_refused(root, stray, part):
    (root / "AFEW_Face/train" / stray).write_bytes(b"x")
    with pytest.raises(UserError, match=part) as caught:
        read_set("AFEW", root, "AFEW_Face/train")
    assert os.path.basename(stray) in str(caught.value)


def test_a_folder_without_classes_holds_no_clip(root):
    (root / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no clip; expected folders"):
        read_set("AFEW", root, "empty")


def test_images_may_be_directly_in_class_folders(root):
    make_frames(root, "CAER-S/test/Anger", names=("1.png", "note.txt"))
    (clip,) = read_set("CAER-S", root, "CAER-S/test")
    assert (clip.key, clip.label, clip.frames) == ("test/Anger/1", 0, ("1.png",))
