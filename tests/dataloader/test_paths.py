"""One key for a clip for every spelling of its path, and the folder of the clip."""

import pytest

from dataloader.paths import clip_key, find_clip_folder, find_file, without_suffix


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/data/x/DFEW_Frame_Face/00001", "00001"),
        ("DFEW_Frame_Face\\00001\\", "00001"),
        ("/q/2_ClipsforFaceCrop/Daily/Sad/0001", "Daily/Sad/0001"),
        ("AFEW_Face/train/Happy/1", "train/Happy/1"),
        ("D:\\sets\\CAER-S\\train\\Anger\\1.png", "train/Anger/1"),
        ("CAER/train/Anger/0001.avi", "train/Anger/0001"),
        ("data/faces/03747", "03747"),
        ("03747.mp4", "03747"),
        ("/home/CAER/mafw/data/faces/03747.mp4", "03747"),
        ("/x/RAER/images/P1/001", "images/P1/001"),
        ("/x/MyRAER/images/P1/001", "x/MyRAER/images/P1/001"),
        ("RAER", "RAER"),
        ("clips/v1.5", "clips/v1.5"),
    ],
)
@pytest.mark.parametrize("has_root", [True, False])
def test_a_key_is_the_path_below_the_folder_of_the_set(tmp_path, path, key, has_root):
    assert clip_key(path, str(tmp_path) if has_root else None) == key


@pytest.mark.parametrize("is_on_disk", [True, False])
@pytest.mark.parametrize(
    ("folder", "root", "key", "paths"),
    [
        (
            "RAER/images/P 1/001", ".", "images/P 1/001",
            ["/media/F/AER-DB/RAER/images/P 1/001", "/kaggle/input/RAER/images/P 1/001/", "RAER/images/P 1/001",
             "./RAER/images/P 1/001/", "/RAER/images/P 1/001", "D:\\data\\RAER\\images\\P 1\\001",
             "RAER\\images\\P 1\\001", "{root}/RAER/images/P 1/001"],
        ),
        (
            "RAER/images/P 1/001", "RAER", "images/P 1/001",  # the root may be the set's own folder
            ["{root}/images/P 1/001", "images/P 1/001", "RAER/images/P 1/001", "/x/RAER/images/P 1/001"],
        ),
        (
            "Library/P1/001", ".", "Library/P1/001",
            ["{root}/Library/P1/001", "Library/P1/001", "Library\\P1\\001", "./Library/P1/001/"],
        ),
        (
            "CAER-S/test/Angry/1", ".", "test/Angry/1",
            ["CAER-S/test/Angry/1.png", "/else/CAER-S/test/Angry/1.png", "{root}/CAER-S/test/Angry/1.png"],
        ),
        (
            "CAER-S/test/Angry/1", "CAER-S", "test/Angry/1",
            ["test/Angry/1.png", "CAER-S/test/Angry/1.png", "/else/CAER-S/test/Angry/1.png", "test\\Angry\\1.png"],
        ),
    ],
)  # fmt: skip
def test_a_clip_has_one_key_and_one_folder_however_its_path_is_spelled(tmp_path, folder, root, key, paths, is_on_disk):
    root, paths = str(tmp_path / root), [path.format(root=tmp_path / root) for path in paths]
    if is_on_disk:
        (tmp_path / folder).mkdir(parents=True)
        assert {find_clip_folder(path, root).resolve() for path in paths} == {tmp_path / folder}
    assert {clip_key(path, root) for path in paths} == {key}


def test_folders_that_the_root_does_not_hold_are_left_out(tmp_path):
    (tmp_path / "train/P1/001").mkdir(parents=True)
    for path in ("train/P1/001", "/a/b/train/P1/001", "other/train/P1/001.mp4", f"{tmp_path}/train/P1/001"):
        assert clip_key(path, str(tmp_path)) == "train/P1/001"
        assert find_clip_folder(path, str(tmp_path)).resolve() == tmp_path / "train/P1/001"
    assert clip_key("a/train/P1/002", str(tmp_path)) == "a/train/P1/002"
    assert find_clip_folder("a/train/P1/002", str(tmp_path)) is None


def test_folders_of_another_machine_are_left_out_of_parts_of_videos(tmp_path):
    (tmp_path / "videos/anna").mkdir(parents=True)
    (tmp_path / "videos/anna/l.mp4").touch()
    assert clip_key("/media/other/videos/anna/l.mp4#t=0,4", str(tmp_path)) == "videos/anna/l.mp4#t=0,4"


def test_a_root_inside_the_folder_of_a_set_finds_clips_by_both_spellings(tmp_path):
    root = tmp_path / "DAiSEE/frames"
    (root / "Train/1/2").mkdir(parents=True)
    for path in ("Train/1/2", f"{root}/Train/1/2", "/x/DAiSEE/frames/Train/1/2"):
        assert clip_key(path, str(root)) == "Train/1/2"


def test_a_clip_outside_of_the_root_keeps_its_path(tmp_path):
    """A folder of the same name inside the root is another clip."""
    for folder in ("root/P1/001", "other/P1/001"):
        (tmp_path / folder).mkdir(parents=True)
    path = f"{tmp_path}/other/P1/001"
    assert clip_key(path, f"{tmp_path}/root") == path.strip("/")
    assert str(find_clip_folder(path, f"{tmp_path}/root")) == path


def test_the_folders_of_a_set_are_searched_in_order(tmp_path):
    for folder in ("faces/1", "data/faces/1", "faces/2", "3"):
        (tmp_path / folder).mkdir(parents=True)
    places = ("data/faces", "faces", "")
    found = [find_clip_folder(f"{n}.mp4", str(tmp_path), places) for n in (1, 2, 3, 4)]
    assert found == [tmp_path / "data/faces/1", tmp_path / "faces/2", tmp_path / "3", None]


def test_a_folder_that_is_named_like_a_video_is_found_first(tmp_path):
    for folder in ("1.mp4", "1"):
        (tmp_path / folder).mkdir()
    assert find_clip_folder("1.mp4", str(tmp_path)) == tmp_path / "1.mp4"


def test_files_are_searched_like_folders(tmp_path):
    (tmp_path / "CAER-S/train").mkdir(parents=True)
    (tmp_path / "CAER-S/train/1.png").write_bytes(b"x")
    expected = tmp_path / "CAER-S/train/1.png"
    assert find_file("/x/CAER-S/train/1.png", str(tmp_path)) == expected
    assert find_file("train/1.png", str(tmp_path), ("", "CAER-S")) == expected
    assert find_file("train/train/1.png", str(tmp_path / "CAER-S")) == expected
    assert find_file("train", str(tmp_path), ("", "CAER-S")) is None


@pytest.mark.parametrize("path", ["x" * 300 + "/001", "a\0b", "", "/"])
def test_an_impossible_path_is_not_found(tmp_path, path):
    assert find_file(path, str(tmp_path)) is None
    clip_key(path, str(tmp_path))


def test_only_suffixes_of_videos_and_images_are_left_out():
    assert [without_suffix(p) for p in ("a/1.AVI", "a/1.png", "a/1.5", "a.b/1")] == ["a/1", "a/1", "a/1.5", "a.b/1"]
