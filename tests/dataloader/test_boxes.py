"""Boxes are matched with any form of keys, and their coverage is counted."""

import json
import pickle
from pathlib import Path

import pytest
from PIL import Image

from dataloader import pack
from dataloader.annotation import Clip
from dataloader.boxes import (
    boxes_outside,
    check_boxes,
    every_frame,
    face_hits,
    middle_width,
    nearest_boxes,
    read_body_boxes,
    read_face_boxes,
    require_inside,
    share_inside,
)
from dataloader.paths import clip_key
from tests.support.tools import error_of
from utils.errors import UserError

NAME, KEY = "RAER/images/Library/P1/001", "images/Library/P1/001"
BOX = [1, 2, 3, 4]


def clip_of(name: str, root: Path | None = None, count: int = 4) -> Clip:
    frames = tuple(f"{n}.jpg" for n in range(1, count + 1))
    return Clip(name, Path(name), frames, count, 0, clip_key(name, root and str(root)))


def faces_of(folder: Path, content, root=None, **settings):
    return read_face_boxes(write(folder, content), root and str(root), **settings)


def bodies_of(folder: Path, content, root=None):
    return read_body_boxes(write(folder, content), root and str(root))


def write(folder: Path, content) -> str:
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_boxes_match_with_any_prefix_and_slash_in_keys_and_lists(tmp_path):
    key, clip = "/media/F/RAER/images/Library/P1/001/", clip_of("D:\\data\\RAER\\images\\Library\\P1\\001", tmp_path)
    faces = faces_of(tmp_path, {key: {frame: BOX for frame in clip.frames}}, tmp_path)
    assert face_hits([clip], faces).frames_with_box == 4
    bodies = bodies_of(tmp_path, {key: [1, 2, 3.5, 4]}, tmp_path)
    assert bodies[clip.key] == (1, 2, 3.5, 4) and face_hits([clip], every_frame(bodies)).clips_with_box == 1


def test_another_clip_does_not_match(tmp_path):
    bodies = bodies_of(tmp_path, {"RAER/images/Library/P11/001": BOX}, tmp_path)
    assert face_hits([clip_of(NAME, tmp_path)], every_frame(bodies)).clips_with_box == 0


def test_frame_keys_may_carry_their_folder(tmp_path):
    faces = faces_of(tmp_path, {NAME: {f"{NAME}/1.jpg": BOX, "a\\b\\2.jpg": BOX}})
    assert set(faces[KEY]) == {"1.jpg", "2.jpg"}


def test_hit_rates_count_clips_and_frames():
    clips = [clip_of(f"RAER/{n}") for n in "abc"]
    faces = {"a": {f"{n}.jpg": (0, 0, 1, 1) for n in range(1, 5)}, "b": {"2.jpg": (0, 0, 1, 1), "9.jpg": (0, 0, 1, 1)}}
    hits = face_hits(clips, faces)
    assert (hits.clips_with_box, hits.clips, hits.frames_with_box, hits.frames) == (2, 3, 5, 12)
    assert hits.share == pytest.approx(5 / 12)
    assert "2 of 3 clips (66.7%)" in str(hits) and "5 of 12 frames (41.7%)" in str(hits)
    bodies = check_boxes(clips, every_frame({"c": (0, 0, 1, 1)}), "body")
    assert bodies.share == pytest.approx(1 / 3) and str(bodies) == "body boxes: 1 of 3 clips (33.3%)"


def test_a_frame_without_a_box_uses_the_nearest_box_in_time():
    frames = tuple(f"{n}.jpg" for n in range(7))
    first, last = (0, 0, 1, 1), (5, 5, 9, 9)
    boxes = nearest_boxes(frames, {"1.jpg": first, "5.jpg": last})
    assert boxes[:3] == [first] * 3 and boxes[4:] == [last] * 3 and boxes[3] in (first, last)
    assert nearest_boxes(frames, {}) == nearest_boxes(frames, {"other.jpg": first}) == [None] * 7


def test_null_and_boxes_without_area_count_as_missing(tmp_path):
    boxes = {"1.jpg": None, "2.jpg": [5, 5, 5, 9], "3.jpg": [5, 9, 8, 2], "4.jpg": BOX}
    assert faces_of(tmp_path, {NAME: boxes})[KEY] == {"4.jpg": (1, 2, 3, 4)}
    assert bodies_of(tmp_path, {NAME: None, "RAER/b": [1, 1, 1, 1]}) == {}
    assert len(bodies_of(tmp_path, {NAME: BOX, "/other/" + NAME: BOX})) == 1  # twice, but the same


@pytest.mark.parametrize(
    "box",
    [
        *([1, 2, 3], [1, 2, 3, 4, 5], "1 2 3 4", 7, {"left": 1}, [1, 2, 3, "4"], [1, 2, 3, None], [True, 2, 3, 4]),
        *([[1] * 4], [1, 2, float("nan"), 4], [1, 2, float("inf"), 4], [1, 2, 10**400, 4]),
    ],
)
def test_a_wrong_box_is_named_by_file_clip_and_frame(tmp_path, box):
    with pytest.raises(UserError, match=r"boxes\.json.*P1/001.*2\.jpg"):
        faces_of(tmp_path, {NAME: {"2.jpg": box}})
    with pytest.raises(UserError, match=r"boxes\.json.*P1/001"):
        bodies_of(tmp_path, {NAME: box})


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (faces_of, {NAME: BOX}, "boxes.json: .* must hold one box per frame"),  # of bodies
        (bodies_of, {NAME: {"1.jpg": BOX}}, "P1/001"),  # of faces
        (faces_of, '{"a":\n {"1.jpg": [1, 2, 3, 4}}', "boxes.json, line 2"),
        (bodies_of, f'{{"a": [1, 2, {"9" * 4400}, 4]}}', r"boxes.json.* broken JSON \(a number of too many digits"),
        (bodies_of, '{"a": [1, 2, 3, 4], "a": [1, 2, 3, 5]}', "twice"),
        (bodies_of, {NAME: BOX, "/other/" + NAME: [9, 9, 10, 10]}, f"two different entries for the clip '{KEY}'"),
        (faces_of, [1], "boxes.json"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, read, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, content)


def test_errors_may_be_collected_instead(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json"):
        read_face_boxes(str(tmp_path / "gone.json"), None)
    faults = []
    faces = faces_of(tmp_path, {"a": BOX, "b": {"1.jpg": BOX}, "c": {"1.jpg": 7}}, on_fault=faults.append)
    assert set(faces) == {"b"} and len(faults) == 2


def test_a_flat_box_is_the_box_of_every_frame_if_the_set_says_so(tmp_path):
    """A set may have one face box per video; in other sets such a box means that body boxes were given for faces."""
    content = {"CAER/train/Anger/0001": BOX, "CAER/train/Anger/0002": None}
    faces = faces_of(tmp_path, content, tmp_path, flat=True)
    assert nearest_boxes(("1.jpg", "2.jpg"), faces["train/Anger/0001"]) == [(1, 2, 3, 4)] * 2
    assert faces["train/Anger/0001"].get("7.jpg") == (1, 2, 3, 4) and faces["train/Anger/0002"] == {}
    assert pickle.loads(pickle.dumps(faces))["train/Anger/0001"]["9.jpg"] == (1, 2, 3, 4)
    assert face_hits([clip_of("CAER/train/Anger/0001.avi", count=3)], faces).frames_with_box == 3
    with pytest.raises(UserError, match="one box per frame"):
        faces_of(tmp_path, content, tmp_path)


@pytest.mark.parametrize("key", ["CAER-S/test/Anger/12.png", "/x/CAER-S/test/Anger/12.png", "{root}/test/Anger/12.png"])
def test_an_image_has_one_box_as_it_is(tmp_path, key):
    faces = faces_of(tmp_path, {key.format(root=tmp_path): BOX}, tmp_path)
    clip = Clip("test/Anger/12.png", tmp_path, ("12.png",), None, 0, "test/Anger/12")
    assert nearest_boxes(clip.frames, faces[clip.key]) == [(1, 2, 3, 4)] and face_hits([clip], faces).share == 1


def test_the_middle_width_counts_frames_that_are_read():
    clip = clip_of("a")
    boxes = {"a": {"1.jpg": (0, 0, 10, 5), "2.jpg": (5, 0, 35, 5), "3.jpg": (0, 0, 50, 5), "9.jpg": (0, 0, 900, 5)}}
    assert middle_width([clip], boxes) == 30.0
    assert middle_width([clip], {"b": boxes["a"]}) is None and middle_width([], boxes) is None


# boxes and the size of frames


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> list[Clip]:
    """40 clips of two frames of 128 x 72."""
    root = tmp_path_factory.mktemp("filmed")
    names = [f"P{n // 4}/{n:03d}" for n in range(40)]
    for name in names:
        (root / name).mkdir(parents=True)
        for frame in ("1.png", "2.png"):
            Image.new("RGB", (128, 72)).save(root / name / frame)
    return [Clip(name, root / name, ("1.png", "2.png"), 2, 0, name) for name in names]


def boxes_of(clips: list[Clip], *boxes) -> dict:
    """One box for each clip, in its second frame; the given boxes alternate."""
    return {clip.key: {"2.png": boxes[index % len(boxes)]} for index, clip in enumerate(clips)}


def test_boxes_of_another_resolution_are_refused_with_both_sizes(filmed):
    faces = boxes_of(filmed, (30, 20, 50, 40), (130, 40, 150, 60), (170, 85, 190, 105))  # of 192 x 108
    with pytest.raises(UserError, match="^--bounding-box-face: .* of 40 clips .*128 x 72, boxes reach 190 x 105; "):
        require_inside(filmed, faces, "--bounding-box-face")
    bodies = every_frame({clip.key: (60, 10, 250, 140) for clip in filmed})
    with pytest.raises(UserError, match="--bounding-box-body: 40 of 40 .* 250 x 140"):
        require_inside(filmed, bodies, "--bounding-box-body")


def test_boxes_over_the_edge_and_a_few_outside_are_accepted(filmed):
    near = boxes_of(filmed, (100, 40, 134, 75), (-9, -9, 40, 30), (0, 0, 128, 72), (100, 20, 140, 50))
    require_inside(filmed, near, "--bounding-box-face")
    require_inside(filmed, near | boxes_of(filmed[:2], (300, 10, 320, 30)), "--bounding-box-face")
    with pytest.raises(UserError, match="3 of 40"):
        require_inside(filmed, near | boxes_of(filmed[:3], (300, 10, 320, 30)), "--bounding-box-face")
    outside, compared = boxes_outside(filmed, near | boxes_of(filmed[:2], (300, 10, 320, 30)))
    assert [entry.clip for entry in outside] == filmed[:2] and compared == 40
    assert "frame 128 x 72, box to 320 x 30" in str(outside[0])


def test_a_box_counts_with_the_size_of_its_own_frame_and_frames_elsewhere_with_none(filmed, tmp_path):
    (tmp_path / "c").mkdir()
    Image.new("RGB", (128, 72)).save(tmp_path / "c/1.png")
    Image.new("RGB", (400, 300)).save(tmp_path / "c/2.png")
    mixed = [Clip("c", tmp_path / "c", ("1.png", "2.png"), 2, 0, "c")]
    assert boxes_outside(mixed, {"c": {"1.png": (9, 9, 20, 20), "2.png": (300, 200, 350, 280)}}) == ([], 1)
    packed = [Clip("away", tmp_path / "away", ("1.png",), 1, 0, "away")]
    assert boxes_outside(packed, {"away": {"1.png": (900, 0, 950, 10)}}) == ([], 0)
    require_inside(packed, {"away": {"1.png": (900, 0, 950, 10)}}, "--bounding-box-face")
    require_inside(packed, {}, "--bounding-box-face")


def test_the_share_inside_is_that_of_the_area():
    assert share_inside((0, 0, 10, 10), (10, 10)) == 1 and share_inside((20, 0, 30, 10), (10, 10)) == 0
    assert share_inside((5, -5, 15, 5), (10, 10)) == pytest.approx(0.25)


def test_training_evaluation_and_packing_refuse_them(small_flags, scaled_boxes, tmp_path, capsys):
    words = [*small_flags, "--bounding-box-face", str(scaled_boxes)]
    for mode in ([], ["--mode", "zero-shot"]):
        message = error_of([*words, *mode, "--output-dir", str(tmp_path / "run")], capsys)
        assert "--bounding-box-face: " in message and "frame 160 x 120, boxes reach 300 x 180" in message
    lists = small_flags[small_flags.index("--root-dir") :]
    assert pack.main([*lists, "--bounding-box-face", str(scaled_boxes), "--out", str(tmp_path / "pack")]) == 2
    assert "boxes reach 300 x 180" in capsys.readouterr().err


@pytest.fixture
def scaled_boxes(small_flags, tmp_path) -> Path:
    """The face boxes of the small set for frames three times as wide and high."""
    root = Path(small_flags[small_flags.index("--root-dir") + 1])
    boxes = json.loads((root / "annotation/face.json").read_text())
    for frames in boxes.values():
        frames.update({name: [3 * edge for edge in box] for name, box in frames.items()})
    path = tmp_path / "scaled.json"
    path.write_text(json.dumps(boxes))
    return path
