"""python -m dataloader.prepare: what it writes, what it leaves out, and a training on the set."""

import csv
import json
import os
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from dataloader.annotation import read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.detect import Detection, Detections
from dataloader.prepare.__main__ import main
from dataloader.prepare.lists import choose_persons
from dataloader.video import open_clip
from tests.support.filming import film, picture, sound
from tests.support.preparing import FLAGS, file_contents, film_face, moving_face, prepare, read_list, refusal, run
from tests.support.tools import FAST, ROOT, main_arguments, run_main


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
    script = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    worker = int(script.stdout)
    for _ in range(3000):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, 9)
    raise AssertionError("the worker went on")


# boxes of clips that stay videos


SHORT = [*FAST, "--num-segments", "2", "--epochs", "1"]


def boxes_only(source, out, *words, capsys=None):
    return prepare(source, out, "--boxes-only", "--height", "64", *words, capsys=capsys)


def test_boxes_only_writes_lists_and_boxes_of_parts_of_the_videos_and_no_frame(videos, prepared, tmp_path, capsys):
    """The clips, classes and persons are those that are cut otherwise; the boxes are where the faces are."""
    out = tmp_path / "set"
    status, printed, _ = boxes_only(videos, out, "--test-share", "0.3", capsys=capsys)
    assert status == 0 and not list(out.rglob("*.jpg")) and not (out / "images").exists()
    assert len(read_list(out, "train", "test")) == len(read_list(prepared, "train", "test")) == 12
    for name in ("train", "test"):
        persons = [Counter(folder.split("/")[1] for folder, *_ in read_list(root, name)) for root in (out, prepared)]
        assert persons[0] == persons[1]
    classes = load_classes("RAER", str(out / "annotation/classes.json"))
    clips = [c for name in ("train", "test") for c in read_annotation(f"annotation/{name}.txt", str(out), classes)]
    faces = read_face_boxes("annotation/face.json", str(out))
    bodies = read_body_boxes("annotation/body.json", str(out))
    for clip in clips:
        assert clip.is_video and clip.key in bodies and clip.person.rpartition("/")[2] in ("anna", "ben", "cleo")
        assert len(clip.frames) == round((clip.span[1] - clip.span[0]) * 20)  # all frames, not 10 a second
        boxes = faces[clip.key]
        assert len(boxes) >= len(clip.frames) - 4 and set(boxes) <= set(clip.frames)
        for index, frame in open_clip(clip.folder).read(range(len(clip.frames)), clip.span):
            if box := boxes.get(clip.frames[index]):
                rows, columns = np.nonzero((frame[..., 0] > 150) & (frame[..., 1] < 100))
                square = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                assert np.abs(np.subtract(box, square)).max() < 6
    before = file_contents(out)
    assert boxes_only(videos, out, "--test-share", "0.3")[0] == 0
    assert file_contents(out) == before


def test_the_command_that_boxes_only_prints_trains(videos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, printed, _ = boxes_only(videos, tmp_path / "my set", "--test-share", "0.3", capsys=capsys)
    command = next(line for line in printed.splitlines() if " main.py " in line)
    run = run_main([*main_arguments(command), *SHORT], tmp_path / "run").ok()
    assert {row["clip"] for row in run.predictions} == {folder for folder, *_ in read_list(tmp_path / "my set", "test")}
    assert "face boxes: 12 of 12 clips" in run.out


def write_set_of_videos(root):
    """DAiSEE's folders and label files around films of a moving face; one film is two clips of another list."""
    header, lines = "ClipID,Boredom,Engagement,Confusion,Frustration ", {"Train": [], "Test": []}
    for number in range(14):
        split, person = ("Train", 110001 + number // 4) if number < 12 else ("Test", 500001)
        name = f"{person}{number:04d}"
        film(root / f"DAiSEE/DataSet/{split}/{person}/{name}/{name}.avi", moving_face(30, 10 + number), codec="mpeg4")
        lines[split].append(f"{name}.avi,0,{number % 4},0,0")
    (root / "DAiSEE/Labels").mkdir()
    for split, rows in lines.items():
        (root / f"DAiSEE/Labels/{split}Labels.csv").write_text("\r\n".join([header, *rows, ""]))


def test_the_boxes_of_a_published_set_of_videos(tmp_path, capsys, monkeypatch):
    root, out = tmp_path / "published", tmp_path / "boxes"
    write_set_of_videos(root)
    monkeypatch.chdir(ROOT)
    status, printed, _ = run(
        root, "--boxes-only", "--out", out, "--fps", "10", "@recipes/data/daisee.args", capsys=capsys
    )
    assert status == 0 and "14 clips, a face in 14 of them" in printed
    assert sorted(path.name for path in out.rglob("*") if path.is_file() and ".prepared" not in str(path)) == [
        "body.json", "face.json",
    ]  # fmt: skip
    faces = json.loads((out / "annotation/face.json").read_text())
    folders = {path.parent.relative_to(root / "DAiSEE/DataSet") for path in root.rglob("*.avi")}
    assert set(faces) == {"/".join(folder.parts[1:]) for folder in folders} and len(faces) == 14
    for name, boxes in faces.items():
        left = 10 + int(name[-4:])  # of the face in the first frame; it goes a pixel to the right in each frame
        assert all(abs(box[0] - left - int(frame[:5]) + 1) < 6 for frame, box in boxes.items()) and len(boxes) > 25
    command = next(line for line in printed.splitlines() if " main.py " in line)
    result = run_main([*main_arguments(command), *SHORT], tmp_path / "run").ok()
    assert "face boxes: 14 of 14 clips" in result.out and len(result.predictions) == 2


@pytest.mark.parametrize(("fold", "clips"), [([], 3), (["--fold", "2"], 2)])
def test_boxes_of_a_set_with_folds(tmp_path, capsys, fold, clips):
    """The recipe names --fold all: the clips of all five folds. Only the first fold has all clips."""
    for number in range(3):
        film(tmp_path / f"DFEW_Frame_Face/0000{number}.mp4", moving_face(20))
    for number, (train, test) in enumerate([("0,1\n1,2\n", "2,3\n"), *[("2,3\n", "0,1\n")] * 4], 1):
        for split, rows in (("train", train), ("test", test)):
            path = tmp_path / f"annotation/DFEW_set_{number}_{split}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"video_name,label\n{rows}")
    words = ["--boxes-only", "--out", tmp_path / "out", f"@{ROOT}/recipes/data/dfew.args", *fold]
    status, printed, _ = run(tmp_path, *words, capsys=capsys)
    assert status == 0 and f"{clips} clips, a face in {clips} of them" in printed
    assert "DFEW_set_{fold}_train.txt' --test-annotation" in printed
    assert f"--fold {fold[1] if fold else 'all'}\n" in printed
    assert "--fold 3x" in refusal(tmp_path, *words, "--fold", "3x", capsys=capsys)
    assert "select a fold with --fold N" in refusal(tmp_path, *words, "--fold=", capsys=capsys)


def test_a_recipe_with_face_boxes_names_the_lists_of_a_set_that_gets_new_ones(tmp_path, capsys):
    film(tmp_path / "CAER/train/Anger/0001.mp4", moving_face(20))
    (tmp_path / "annotation").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / f"annotation/{split}.txt").write_text("CAER/train/Anger/0001.mp4 0 0\n")
    words = ["--boxes-only", "--out", tmp_path / "out", f"@{ROOT}/recipes/data/caer.args"]
    status, printed, _ = run(tmp_path, *words, capsys=capsys)
    assert status == 0 and "1 clip, a face in 1 of them" in printed
    assert printed.startswith("flags of the recipe that dataloader.prepare does not read: --bounding-box-face\n")


LISTS = ["--boxes-only", "--train-annotation", "l.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--boxes-only", "--quality", "80"], "--quality 80 is not used with --boxes-only;"),
        ([*LISTS, "--quality", "80"], "--quality 80 is not used with --boxes-only;"),
        ([*LISTS, "--min-face", "0"], "--min-face 0.0 is not used with --boxes-only and the lists of a set;"),
        ([*LISTS, "--seconds", "2"], "--seconds 2.0 is not used with --boxes-only and the lists of a set;"),
        ([*LISTS, "--test-share", "0.1"], "--test-share 0.1 is not used with --boxes-only and the lists of a set;"),
        ([*LISTS, "--own-classes"], "--own-classes is not used with --boxes-only and the lists of a set;"),
        ([*LISTS, "--persons", "2"], "--persons 2 is not used with --boxes-only and the lists of a set;"),
        ([*LISTS, "--labels", "l.csv"], "--labels l.csv is not used with --boxes-only and the lists of a set;"),
        (["--clip-column", "x"], "--clip-column x is not used without --boxes-only;"),
        (
            ["--boxes-only", "--clip-column", "x"],
            "--clip-column x is not used with --boxes-only without the lists of a",
        ),
    ],
)
def test_flags_without_an_effect_are_refused(videos, tmp_path, words, message, capsys):
    assert f"error: {message}" in refusal(videos, "--out", tmp_path / "out", *words, capsys=capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", ["--labels l.csv", "--persons 4", "--class-texts c.json", "--boxes-only", "--no-audit"]
)
def test_flags_without_an_effect_on_a_csv_of_pixels_are_refused(tmp_path, words, capsys):
    (tmp_path / "p.csv").write_text("emotion,pixels,Usage\n0,1 2 3 4,Training\n")
    message = refusal(tmp_path / "p.csv", "--out", tmp_path / "out", *words.split(), capsys=capsys)
    assert f"error: {words} is not used with a CSV of pixels; leave it out" in message


def test_boxes_of_any_csv_by_the_names_of_its_columns(tmp_path, capsys):
    film(tmp_path / "set/a.mp4", moving_face(20))
    (tmp_path / "set/train.csv").write_text("who,file,mood\nx,a.mp4,Fatigue\n")
    words = [
        "--boxes-only",
        "--out",
        tmp_path / "out",
        "--train-annotation",
        "train.csv",
        "--test-annotation",
        "train.csv",
    ]
    columns = ["--clip-column", "file", "--label-column", "mood"]
    status, printed, _ = run(tmp_path / "set", *words, *columns, capsys=capsys)
    assert status == 0 and " ".join(columns) in printed
    assert set(json.loads((tmp_path / "out/annotation/face.json").read_text())) == {"a"}
    assert "--clip-column" in refusal(tmp_path / "set", "--out", tmp_path / "b", *columns, capsys=capsys)


def test_boxes_of_parts_that_overlap_are_counted_from_the_start_of_each(tmp_path, capsys):
    film(tmp_path / "set/a.mp4", moving_face(40))
    (tmp_path / "set/train.txt").write_text("a.mp4#t=0,1 0 1\na.mp4#t=0.5,1.5 0 2\na.mp4 0 3\n")
    words = ["--boxes-only", "--out", tmp_path / "out", "--fps", "20", "--train-annotation", "train.txt"]
    assert run(tmp_path / "set", *words)[0] == 0
    faces = json.loads((tmp_path / "out/annotation/face.json").read_text())
    assert [len(faces[name]) for name in ("a.mp4#t=0,1", "a.mp4#t=0.5,1.5", "a.mp4")] == pytest.approx(
        [20, 20, 40], abs=1
    )
    for name, first in (("a.mp4#t=0,1", 0), ("a.mp4#t=0.5,1.5", 10), ("a.mp4", 0)):
        assert all(abs(box[0] - (10 + first + int(frame[:5]) - 1)) < 6 for frame, box in faces[name].items())


def test_what_boxes_only_cannot_do_is_one_line(videos, prepared, tmp_path, capsys):
    (tmp_path / "frames/x/1").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(picture(20)).save(tmp_path / f"frames/x/1/{number}.png")
    assert "folder of frames; --boxes-only needs videos" in refusal(
        tmp_path / "frames", "--boxes-only", "--out", tmp_path / "a", capsys=capsys
    )
    assert "--train-annotation l.txt is not used without --boxes-only" in refusal(
        videos, "--train-annotation", "l.txt", "--out", tmp_path / "b", capsys=capsys
    )
    lists = ["--train-annotation", "annotation/train.txt", "--class-texts", prepared / "annotation/classes.json"]
    assert "no clip of its lists is a video" in refusal(
        prepared, "--boxes-only", *lists, "--out", tmp_path / "c", capsys=capsys
    )
    message = refusal(videos, "--boxes-only", *FLAGS, "--test-share", "0.3", "--out", prepared, capsys=capsys)
    assert "begun with boxes_only False instead of True" in message
