"""python -m dataloader.prepare: what it writes, what it leaves out, and a training on it."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from dataloader.annotation import read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.prepare.__main__ import main
from dataloader.prepare.lists import choose_persons
from tests.support.filming import film, picture, sound
from tests.support.preparing import PLAIN, listed, move, run
from tests.support.tools import FAST, run_main


def test_clips_of_a_second_and_the_rest_where_it_is_half(made):
    lines = listed(made, "train") + listed(made, "test")
    assert len(lines) == 4 * 3  # 2.5 seconds: two whole clips and one of half a second
    assert sorted(int(frames) for _, frames, _ in lines) == [5] * 4 + [10] * 8
    for folder, frames, _ in lines:
        names = [path.name for path in sorted((made / folder).iterdir())]
        assert names == [f"{n:05d}.jpg" for n in range(1, int(frames) + 1)]


def test_labels_by_folder_and_persons_kept_whole(made):
    labels = {
        folder.split("/")[2].split("_")[0]: label for n in ("train", "test") for folder, _, label in listed(made, n)
    }
    assert labels == {"Bored": "1", "Keen": "2"}
    persons = [{folder.split("/")[1] for folder, _, _ in listed(made, name)} for name in ("train", "test")]
    assert persons[0] | persons[1] == {"anna", "ben", "cleo"}
    assert persons[1] and not persons[0] & persons[1]


def test_boxes_where_the_faces_are(made):
    classes = load_classes("RAER", str(made / "annotation/classes.json"))
    clips = read_annotation("annotation/train.txt", str(made), classes)
    faces = read_face_boxes("annotation/face.json", str(made))
    bodies = read_body_boxes("annotation/body.json", str(made))
    assert classes.names == ("Bored", "Keen") and clips[0].person is not None
    for clip in clips:
        assert clip.key in bodies and len(faces[clip.key]) >= len(clip.frames) - 1  # two sightings make a person
        for name, box in faces[clip.key].items():
            pixels = np.asarray(Image.open(clip.folder / name)).astype(int)
            rows, columns = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 1] < 100))
            true = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert np.abs(np.subtract(box, true)).max() < 6


def test_training_on_it(made, tmp_path):
    boxes = "--bounding-box-face annotation/face.json --bounding-box-body annotation/body.json"
    lists = "--train-annotation annotation/train.txt --test-annotation annotation/test.txt"
    own = ["--class-texts", str(made / "annotation/classes.json"), "--root-dir", str(made)]
    done = run_main([*FAST, *lists.split(), *boxes.split(), *own, "--epochs", "1"], tmp_path / "run")
    assert done.status == 0, done.err
    assert done.metrics["classes"] == ["Bored", "Keen"]
    assert {row["clip"] for row in done.predictions} == {folder for folder, _, _ in listed(made, "test")}


def test_a_video_named_twice_is_not_two_persons(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20))
    Image.new("RGB", (8, 8)).save(tmp_path / "in/cover.jpg")  # no folder of frames for that
    status, _, err = run(tmp_path / "in", tmp_path / "in/a.mp4", "--out", tmp_path / "set", *PLAIN, capsys=capsys)
    assert status == 2 and "a.mp4: is named twice" in err


def test_clips_without_a_face_are_left_out_and_listed(tmp_path):
    film(tmp_path / "in/a.mp4", move(20) + [picture(None)] * 40)
    assert run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN)[0] == 0
    assert len(listed(tmp_path / "set", "clips")) == 1  # no label: a list of clips without
    with open(tmp_path / "set/dropped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(float(r["from"]), r["reason"]) for r in rows] == [(1, "a face in 0% of its frames")] * 1 + [
        (2, "a face in 0% of its frames")
    ]


def test_cascades_that_miss_faces_are_said_to(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20) + [picture(None)] * 4)
    for model, is_said in (("cascades", True), ("mine.onnx", False)):
        words = [tmp_path / "in", "--out", tmp_path / model, *PLAIN, "--face-model", model]
        status, said, _ = run(*words, capsys=capsys)
        assert status == 0 and ("brings a network that finds more" in said) == is_said


def test_persons_are_known_from_a_frame_in_two_seconds(tmp_path):
    for name in ("!!!", "???"):  # names of which no letter is left
        film(tmp_path / f"videos/{name}.mkv", [picture(10)] * 20, times=[1000 * n for n in range(20)])
    words = ["--fps", "0.5", "--seconds", "10", "--no-audit"]
    assert run(tmp_path / "videos", "--out", tmp_path / "out", *words)[0] == 0
    assert [name.split("/")[1:] for name, _ in listed(tmp_path / "out", "clips")] == [
        [video, f"{video}_{number:04d}"] for video in ("video", "video-2") for number in (1, 2)
    ]


def test_two_persons_are_two_clips(tmp_path):
    from dataloader.detect import Detections, Found

    two = Detections([Found(5, 30, 35, 60, 0.9), Found(100, 30, 130, 60, 0.9)], [])
    film(tmp_path / "in/a.mp4", move(20))
    words = [str(tmp_path / "in"), "--out", str(tmp_path / "set"), *PLAIN, "--persons", "2"]
    assert main(words, make_detector=lambda *_: lambda frame: two) == 0
    faces = json.loads((tmp_path / "set/annotation/face.json").read_text())
    assert sorted(next(iter(boxes.values()))[0] for boxes in faces.values()) == [5, 100]
    assert {folder.split("/")[1] for folder, _ in listed(tmp_path / "set", "clips")} == {"a_p1", "a_p2"}


def test_a_bad_video_does_not_stop_the_others(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20))
    sound(tmp_path / "in/b.mp4")
    (tmp_path / "in/c.avi").write_bytes(b"nothing")
    (tmp_path / "in/notes.txt").write_text("x")
    status, out, _ = run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN, capsys=capsys)
    assert status == 1 and len(listed(tmp_path / "set", "clips")) == 1
    assert "sound alone" in out and "c.avi: cannot be read" in out and "1 item left alone, no video: " in out
    status, _, err = run(tmp_path / "in/b.mp4", "--out", tmp_path / "other", *PLAIN, capsys=capsys)
    assert status == 2 and err.count("\n") == 1 and "sound alone" in err


def test_two_processes_write_the_same(videos, made, tmp_path):
    """With the cascades, which find nothing here: every clip is kept without a box."""
    sets = [tmp_path / "one", tmp_path / "two"]
    for count, out in enumerate(sets, 1):
        assert main([str(videos), "--out", str(out), *PLAIN, "--min-face", "0", "--workers", str(count)]) == 0
    assert (sets[0] / "annotation/train.txt").read_bytes() == (sets[1] / "annotation/train.txt").read_bytes()
    assert len(list((sets[0] / "images").rglob("*.jpg"))) == len(list((sets[1] / "images").rglob("*.jpg"))) == 100


def test_other_mistakes(tmp_path, capsys):
    assert "no video: name files" in run("--out", tmp_path / "x", capsys=capsys)[2]
    assert "--out DIR is missing" in run(tmp_path, capsys=capsys)[2]
    assert "more: no flag takes it" in run(tmp_path, "--out", tmp_path / "x", "more", capsys=capsys)[2]
    assert "no video: name files" in run("", "--out", tmp_path / "x", capsys=capsys)[2]
    assert "--out DIR is missing" in run(tmp_path, "--out", "", capsys=capsys)[2]
    assert "holds no video" in run(tmp_path, "--out", tmp_path / "x", capsys=capsys)[2]
    film(tmp_path / "a.mp4", move(3))
    assert "is no prepared set" in run(tmp_path / "a.mp4", "--out", tmp_path, capsys=capsys)[2]
    assert not (tmp_path / "x").exists()


def showing(*videos: str) -> list[dict]:
    """``"ab"``: a video of the persons a and b, a clip each."""
    return [{"clips": [{"person": person} for person in persons]} for persons in videos]


@pytest.mark.parametrize("videos", [("ab", "cd", "e"), ("ab", "bc", "de", "f"), ("abc", "d"), ("a", "b")])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_who_share_a_video_are_in_one_list(videos, share):
    tested = choose_persons(showing(*videos), share)
    assert tested and tested < {person for video in videos for person in video}
    assert all({*video} <= tested or not {*video} & tested for video in videos)


@pytest.mark.parametrize(("videos", "share"), [(("ab", "bc"), 0.5), (("a",), 0.5), (("a", "b"), 0.0), ((), 0.5)])
def test_nobody_is_tested_where_nobody_can_be(videos, share):
    assert choose_persons(showing(*videos), share) == set()
