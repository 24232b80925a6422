"""python -m dataloader.prepare: what it writes, what it leaves out, and a training on the set."""

import csv
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from dataloader.annotation import read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.detect import Detection, Detections
from dataloader.prepare.__main__ import main
from dataloader.prepare.lists import choose_persons
from tests.support.filming import film, picture, sound
from tests.support.preparing import FLAGS, film_face, moving_face, prepare, read_list, refusal, run
from tests.support.tools import FAST, run_main


def test_clips_last_a_second_and_a_rest_of_half_a_second_is_kept(prepared):
    lines = read_list(prepared, "train", "test")
    assert sorted(int(frames) for _, frames, _ in lines) == [5] * 4 + [10] * 8  # 2.5 seconds each
    for folder, frames, _ in lines:
        names = [path.name for path in sorted((prepared / folder).iterdir())]
        assert names == [f"{n:05d}.jpg" for n in range(1, int(frames) + 1)]


def test_labels_by_folder_and_persons_kept_whole(prepared):
    labels = {folder.split("/")[2].split("_")[0]: label for folder, _, label in read_list(prepared, "train", "test")}
    assert labels == {"Bored": "1", "Keen": "2"}
    train, test = ({folder.split("/")[1] for folder, *_ in read_list(prepared, name)} for name in ("train", "test"))
    assert train | test == {"anna", "ben", "cleo"} and test and not train & test


def test_boxes_are_at_the_faces(prepared):
    classes = load_classes("RAER", str(prepared / "annotation/classes.json"))
    clips = read_annotation("annotation/train.txt", str(prepared), classes)
    faces = read_face_boxes("annotation/face.json", str(prepared))
    bodies = read_body_boxes("annotation/body.json", str(prepared))
    assert classes.names == ("Bored", "Keen") and clips[0].person is not None
    for clip in clips:
        assert clip.key in bodies and len(faces[clip.key]) >= len(clip.frames) - 1  # two detections make a person
        for name, box in faces[clip.key].items():
            pixels = np.asarray(Image.open(clip.folder / name)).astype(int)
            rows, columns = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 1] < 100))
            square = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert np.abs(np.subtract(box, square)).max() < 6


def test_a_prepared_set_can_be_trained_on(prepared, tmp_path):
    boxes = "--bounding-box-face annotation/face.json --bounding-box-body annotation/body.json"
    lists = "--train-annotation annotation/train.txt --test-annotation annotation/test.txt"
    classes = ["--class-texts", str(prepared / "annotation/classes.json"), "--root-dir", str(prepared)]
    result = run_main([*FAST, *lists.split(), *boxes.split(), *classes, "--epochs", "1"], tmp_path / "run")
    assert result.status == 0, result.err
    assert result.metrics["classes"] == ["Bored", "Keen"]
    assert {row["clip"] for row in result.predictions} == {folder for folder, *_ in read_list(prepared, "test")}


def test_clips_without_a_face_are_left_out_and_listed(tmp_path):
    film(tmp_path / "in/a.mp4", moving_face(20) + [picture(None)] * 40)
    assert prepare(tmp_path / "in", tmp_path / "set")[0] == 0
    assert len(read_list(tmp_path / "set", "clips")) == 1  # without labels: a list of clips only
    with open(tmp_path / "set/dropped.csv", newline="") as file:
        rows = [(float(row["from"]), row["reason"]) for row in csv.DictReader(file)]
    assert rows == [(1, "a face in 0% of its frames"), (2, "a face in 0% of its frames")]


def test_cascades_that_miss_faces_are_reported(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", moving_face(20) + [picture(None)] * 4)
    for model, is_reported in (("cascades", True), ("mine.onnx", False)):
        status, out, _ = prepare(tmp_path / "in", tmp_path / model, "--face-model", model, capsys=capsys)
        assert status == 0 and ("installs a network that finds more" in out) == is_reported


def test_persons_are_known_from_a_frame_in_two_seconds(tmp_path):
    for name in ("!!!", "???"):  # names without any valid letter
        film(tmp_path / f"videos/{name}.mkv", [picture(10)] * 20, times=[1000 * n for n in range(20)])
    words = ["--fps", "0.5", "--seconds", "10", "--no-audit"]
    assert run(tmp_path / "videos", "--out", tmp_path / "out", *words)[0] == 0
    assert [name.split("/")[1:] for name, _ in read_list(tmp_path / "out", "clips")] == [
        [video, f"{video}_{number:04d}"] for video in ("video", "video-2") for number in (1, 2)
    ]


def test_two_persons_are_two_clips(tmp_path):
    two = Detections([Detection(5, 30, 35, 60, 0.9), Detection(100, 30, 130, 60, 0.9)], [])
    film_face(tmp_path / "in/a.mp4")
    words = [tmp_path / "in", "--out", tmp_path / "set", *FLAGS, "--persons", "2"]
    assert run(*words, detector=lambda frame: two)[0] == 0
    faces = json.loads((tmp_path / "set/annotation/face.json").read_text())
    assert sorted(next(iter(boxes.values()))[0] for boxes in faces.values()) == [5, 100]
    assert {folder.split("/")[1] for folder, _ in read_list(tmp_path / "set", "clips")} == {"a_p1", "a_p2"}


def test_bad_videos_do_not_stop_the_others(tmp_path, capsys):
    film_face(tmp_path / "in/a.mp4")
    sound(tmp_path / "in/b.mp4")
    (tmp_path / "in/c.avi").write_bytes(b"nothing")
    (tmp_path / "in/d.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "in/e.mp4").symlink_to("e.mp4")
    (tmp_path / "in/notes.txt").write_text("x")
    status, out, _ = prepare(tmp_path / "in", tmp_path / "set", capsys=capsys)
    assert status == 1 and len(read_list(tmp_path / "set", "clips")) == 1
    for part in ("only sound", "c.avi: cannot be read", "d.mp4: no such file", "e.mp4: no such file"):
        assert part in out
    assert "1 item ignored, not a video: " in out
    assert "only sound" in refusal(tmp_path / "in/b.mp4", "--out", tmp_path / "other", *FLAGS, capsys=capsys)
    assert not (tmp_path / "other").exists(), "a call that made nothing leaves nothing"


def test_two_processes_write_the_same(videos, tmp_path):
    """With the cascades, which detect nothing here: every clip is kept without a box."""
    sets = [tmp_path / "one", tmp_path / "two"]
    for count, out in enumerate(sets, 1):
        assert main([str(videos), "--out", str(out), *FLAGS, "--min-face", "0", "--workers", str(count)]) == 0
    assert (sets[0] / "annotation/train.txt").read_bytes() == (sets[1] / "annotation/train.txt").read_bytes()
    assert len(list((sets[0] / "images").rglob("*.jpg"))) == len(list((sets[1] / "images").rglob("*.jpg"))) == 100


def test_mistakes(tmp_path, capsys):
    film_face(tmp_path / "in/a.mp4", 3)
    Image.new("RGB", (8, 8)).save(tmp_path / "in/cover.jpg")  # does not make "in" a folder of frames
    (tmp_path / "empty").mkdir()
    out = ["--out", tmp_path / "x"]
    for words, part in (
        (out, "no videos: name files"),
        (["", *out], "no videos: name files"),
        ([tmp_path / "in"], "--out DIR is missing"),
        ([tmp_path / "in", "--out", ""], "--out DIR is missing"),
        ([tmp_path / "in", *out, "more"], "more: does not belong to a flag"),
        ([tmp_path / "empty", *out], "holds no video"),
        ([tmp_path / "in", tmp_path / "in/a.mp4", *out], "a.mp4: is named twice"),
        ([tmp_path / "in", "--out", tmp_path], "is not a prepared set"),
    ):
        assert part in refusal(*words, capsys=capsys)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("videos", [("ab", "cd", "e"), ("ab", "bc", "de", "f"), ("abc", "d"), ("a", "b")])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_persons_who_share_a_video_are_in_one_list(videos, share):
    """``ab``: a video with a clip of a and a clip of b."""
    test = choose_persons([list(video) for video in videos], share)
    assert test and test < {person for video in videos for person in video}
    assert all({*video} <= test or not {*video} & test for video in videos)


@pytest.mark.parametrize(("videos", "share"), [(("ab", "bc"), 0.5), (("a",), 0.5), (("a", "b"), 0.0), ((), 0.5)])
def test_there_is_no_test_list_if_nobody_can_be_held_out(videos, share):
    assert choose_persons([list(video) for video in videos], share) == set()


def test_a_worker_ends_with_the_process_that_started_it():
    """Otherwise it would write to the files of the next call."""
    code = (
        "import multiprocessing, os, time\n"
        "from dataloader.prepare.cut import begin_worker\n"
        "if __name__ == '__main__':\n"
        "    pool = multiprocessing.get_context('spawn').Pool(1, begin_worker)\n"
        "    print(pool.apply(os.getpid), flush=True)\n"
        "    pool.apply_async(time.sleep, (600,))\n"
        "    time.sleep(0.5)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    script = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    worker = int(script.stdout)
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, 9)
    raise AssertionError("the worker went on")
