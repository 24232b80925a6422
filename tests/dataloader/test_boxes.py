"""Boxes are found whatever their keys look like, and their hit rate is told."""

import json
import pickle
from pathlib import Path

import pytest

from dataloader.annotation import Clip
from dataloader.boxes import (
    body_hits,
    clip_key,
    face_hits,
    middle_width,
    nearest_boxes,
    read_body_boxes,
    read_face_boxes,
)
from utils.errors import UserError

NAME = "RAER/images/Library/P1/001"


def clip(written: str, root: Path, frames: int = 4) -> Clip:
    return Clip(
        written, root / NAME, tuple(f"{n}.jpg" for n in range(1, frames + 1)), frames, 0, clip_key(written, str(root))
    )


def write(folder: Path, content) -> str:
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


KEYS = [
    "/media/F/FERDataset/AER-DB/RAER/images/Library/P1/001",
    "/kaggle/input/raer/RAER/images/Library/P1/001/",
    "RAER/images/Library/P1/001",
    "./RAER/images/Library/P1/001",
    "/RAER/images/Library/P1/001",
    "D:\\data\\RAER\\images\\Library\\P1\\001",
    "RAER\\images\\Library\\P1\\001",
    "{root}/RAER/images/Library/P1/001",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("written", [KEYS[0], KEYS[2], KEYS[5], KEYS[7]])
def test_boxes_match_whatever_prefix_and_slash_either_side_has(tmp_path, key, written):
    root, key, written = str(tmp_path), key.format(root=tmp_path), written.format(root=tmp_path)
    one = clip(written, tmp_path)
    faces = read_face_boxes(write(tmp_path, {key: {f"{n}.jpg": [1, 2, 3, 4] for n in range(1, 5)}}), root)
    assert face_hits([one], faces).frames_with_box == 4
    bodies = read_body_boxes(write(tmp_path, {key: [1, 2, 3.5, 4]}), root)
    assert bodies[clip_key(written, root)] == (1, 2, 3.5, 4)


@pytest.mark.parametrize("key", ["{root}/Library/P1/001", "Library/P1/001", "Library\\P1\\001", "./Library/P1/001/"])
@pytest.mark.parametrize("written", ["{root}/Library/P1/001", "Library/P1/001"])
def test_other_sets_match_absolute_and_root_relative_keys(tmp_path, key, written):
    root, key, written = str(tmp_path), key.format(root=tmp_path), written.format(root=tmp_path)
    bodies = read_body_boxes(write(tmp_path, {key: [1, 2, 3, 4]}), root)
    assert body_hits([clip(written, tmp_path)], bodies).clips_with_box == 1


@pytest.mark.parametrize(
    "key", ["{root}/images/P1/001", "images/P1/001", "RAER/images/P1/001", "/x/RAER/images/P1/001"]
)
@pytest.mark.parametrize("written", ["images/P1/001", "RAER/images/P1/001", "{root}/images/P1/001"])
def test_the_root_may_be_the_raer_folder_itself(tmp_path, key, written):
    root = str(tmp_path / "RAER")
    bodies = read_body_boxes(write(tmp_path, {key.format(root=root): [1, 2, 3, 4]}), root)
    assert body_hits([clip(written.format(root=root), tmp_path)], bodies).clips_with_box == 1


def test_another_clip_does_not_match(tmp_path):
    bodies = read_body_boxes(write(tmp_path, {"RAER/images/Library/P11/001": [1, 2, 3, 4]}), str(tmp_path))
    assert body_hits([clip(NAME, tmp_path)], bodies).clips_with_box == 0


def test_frame_keys_may_carry_their_folder(tmp_path):
    faces = read_face_boxes(write(tmp_path, {NAME: {f"{NAME}/1.jpg": [1, 2, 3, 4], "a\\b\\2.jpg": [1, 2, 3, 4]}}), None)
    assert set(faces[clip_key(NAME, None)]) == {"1.jpg", "2.jpg"}


def test_hit_rates_count_clips_and_frames(tmp_path):
    clips = [clip(f"RAER/{n}", tmp_path) for n in "abc"]
    faces = {"a": {f"{n}.jpg": (0, 0, 1, 1) for n in range(1, 5)}, "b": {"2.jpg": (0, 0, 1, 1), "9.jpg": (0, 0, 1, 1)}}
    hits = face_hits(clips, faces)
    assert (hits.clips_with_box, hits.clips, hits.frames_with_box, hits.frames) == (2, 3, 5, 12)
    assert hits.share == pytest.approx(5 / 12)
    assert "2 of 3 clips (66.7%)" in str(hits) and "5 of 12 frames (41.7%)" in str(hits)
    bodies = body_hits(clips, {"c": (0, 0, 1, 1)})
    assert (bodies.clips_with_box, bodies.share) == (1, pytest.approx(1 / 3)) and "1 of 3 clips" in str(bodies)


def test_a_frame_without_a_box_takes_the_nearest_one_in_time():
    frames = tuple(f"{n}.jpg" for n in range(7))
    first, last = (0, 0, 1, 1), (5, 5, 9, 9)
    got = nearest_boxes(frames, {"1.jpg": first, "5.jpg": last})
    assert got[:3] == [first] * 3 and got[4:] == [last] * 3 and got[3] in (first, last)
    assert nearest_boxes(frames, {}) == [None] * 7
    assert nearest_boxes(frames, {"other.jpg": first}) == [None] * 7


def test_null_and_boxes_without_area_count_as_missing(tmp_path):
    boxes = {"1.jpg": None, "2.jpg": [5, 5, 5, 9], "3.jpg": [5, 9, 8, 2], "4.jpg": [1, 2, 3, 4]}
    faces = read_face_boxes(write(tmp_path, {NAME: boxes}), None)
    assert faces[clip_key(NAME, None)] == {"4.jpg": (1, 2, 3, 4)}
    assert read_body_boxes(write(tmp_path, {NAME: None, "RAER/b": [1, 1, 1, 1]}), None) == {}


def test_the_same_clip_twice_is_fine_where_both_agree_and_an_error_where_not(tmp_path):
    agree = {NAME: [1, 2, 3, 4], "/other/" + NAME: [1, 2, 3, 4]}
    assert len(read_body_boxes(write(tmp_path, agree), None)) == 1
    with pytest.raises(UserError, match="images/Library/P1/001"):
        read_body_boxes(write(tmp_path, agree | {"/other/" + NAME: [9, 9, 10, 10]}), None)


def test_a_key_that_stands_twice_in_the_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match="twice"):
        read_body_boxes(write(tmp_path, '{"a": [1, 2, 3, 4], "a": [1, 2, 3, 5]}'), None)


@pytest.mark.parametrize(
    "box",
    [
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        "1 2 3 4",
        7,
        {"left": 1},
        [1, 2, 3, "4"],
        [1, 2, 3, None],
        [True, 2, 3, 4],
        [[1] * 4],
    ],
)
def test_a_wrong_box_is_named_by_file_clip_and_frame(tmp_path, box):
    with pytest.raises(UserError, match=r"boxes\.json.*P1/001.*2\.jpg"):
        read_face_boxes(write(tmp_path, {NAME: {"2.jpg": box}}), None)
    if not isinstance(box, dict):
        with pytest.raises(UserError, match=r"boxes\.json.*P1/001"):
            read_body_boxes(write(tmp_path, {NAME: box}), None)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400])
def test_numbers_that_are_no_pixels_are_refused(tmp_path, number):
    with pytest.raises(UserError, match=r"boxes\.json"):
        read_body_boxes(write(tmp_path, f'{{"a": [1, 2, {number}, 4]}}'), None)


def test_swapped_files_are_noticed(tmp_path):
    with pytest.raises(UserError, match="one box a frame"):
        read_face_boxes(write(tmp_path, {NAME: [1, 2, 3, 4]}), None)
    with pytest.raises(UserError, match="P1/001"):
        read_body_boxes(write(tmp_path, {NAME: {"1.jpg": [1, 2, 3, 4]}}), None)


def test_a_flat_box_is_every_frames_box_where_the_set_says_so(tmp_path):
    """A set of videos may have one face box each; elsewhere the box of a body was given for a face."""
    file = write(tmp_path, {"CAER/train/Anger/0001": [1, 2, 3, 4], "CAER/train/Anger/0002": None})
    faces = read_face_boxes(file, str(tmp_path), flat=True)
    assert nearest_boxes(("1.jpg", "2.jpg"), faces["train/Anger/0001"]) == [(1, 2, 3, 4)] * 2
    assert faces["train/Anger/0001"].get("7.jpg") == (1, 2, 3, 4) and faces["train/Anger/0002"] == {}
    assert pickle.loads(pickle.dumps(faces))["train/Anger/0001"]["9.jpg"] == (1, 2, 3, 4)
    one = Clip("train/Anger/0001.avi", tmp_path, ("1.jpg", "2.jpg", "3.jpg"), 3, 0, "train/Anger/0001")
    assert face_hits([one], faces).frames_with_box == 3
    with pytest.raises(UserError, match="one box a frame"):
        read_face_boxes(file, str(tmp_path))


@pytest.mark.parametrize("key", ["CAER-S/test/Anger/12.png", "/x/CAER-S/test/Anger/12.png", "{root}/test/Anger/12.png"])
def test_an_image_has_one_box_as_it_is(tmp_path, key):
    faces = read_face_boxes(write(tmp_path, {key.format(root=tmp_path): [1, 2, 3, 4]}), str(tmp_path))
    one = Clip("test/Anger/12.png", tmp_path, ("12.png",), None, 0, "test/Anger/12")
    assert nearest_boxes(one.frames, faces["test/Anger/12"]) == [(1, 2, 3, 4)]
    assert face_hits([one], faces).share == 1


def test_broken_json_is_named_with_its_line(tmp_path):
    with pytest.raises(UserError, match=r"boxes\.json, line 2"):
        read_face_boxes(write(tmp_path, '{"a":\n {"1.jpg": [1, 2, 3, 4}}'), None)
    with pytest.raises(UserError, match=r"boxes\.json"):
        read_face_boxes(write(tmp_path, [1]), None)
    with pytest.raises(UserError, match=r"gone\.json"):
        read_face_boxes(str(tmp_path / "gone.json"), None)


def test_the_middle_width_counts_frames_that_are_read():
    one = Clip("a", Path("a"), ("1.jpg", "2.jpg", "3.jpg", "4.jpg"), None, 0, "a")
    boxes = {"a": {"1.jpg": (0, 0, 10, 5), "2.jpg": (5, 0, 35, 5), "3.jpg": (0, 0, 50, 5), "9.jpg": (0, 0, 900, 5)}}
    assert middle_width([one], boxes) == 30.0
    assert middle_width([one], {"b": boxes["a"]}) is None and middle_width([], boxes) is None
