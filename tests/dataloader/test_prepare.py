"""python -m dataloader.prepare: what it writes, what it leaves out, how it goes on, and a training on it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataloader.annotation import read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.prepare.__main__ import main
from dataloader.prepare.lists import choose_persons
from tests.dataloader.filming import film, picture, red_detector, sound
from tests.tools import FAST, run_main

PLAIN = ["--fps", "10", "--seconds", "1", "--no-audit"]


def run(*words: str | Path, capsys=None) -> tuple[int, str, str]:
    status = main([str(word) for word in words], make_detector=red_detector)
    return (status, *capsys.readouterr()) if capsys else (status, "", "")


def move(count: int, start: int = 10) -> list[np.ndarray]:
    """A face that goes to the right, a pixel a frame."""
    return [picture(start + n) for n in range(count)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two classes of own names with two persons each, 2.5 seconds a video."""
    root = tmp_path_factory.mktemp("videos")
    for name in ("Bored/anna", "Bored/ben", "Keen/anna", "Keen/cleo"):
        film(root / f"{name}/one.mp4", move(50, start=len(name)))
    return root


@pytest.fixture(scope="module")
def made(videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "set"
    assert run(videos, "--out", out, *PLAIN, "--test-share", "0.3")[0] == 0
    return out


def listed(out: Path, name: str) -> list[list[str]]:
    return [line.split() for line in (out / f"annotation/{name}.txt").read_text(encoding="utf-8").splitlines()]


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


def test_the_same_command_again_does_nothing_anew(videos, made, capsys):
    frame = next((made / "images").rglob("*.jpg"))
    before, train = frame.stat().st_mtime_ns, (made / "annotation/train.txt").read_bytes()
    status, out, _ = run(videos, "--out", made, *PLAIN, "--test-share", "0.3", capsys=capsys)
    assert status == 0 and "4 of 4 videos done" in out
    assert frame.stat().st_mtime_ns == before and (made / "annotation/train.txt").read_bytes() == train


def test_other_options_in_the_same_folder_are_refused(videos, made, capsys):
    status, _, err = run(videos, "--out", made, *PLAIN, "--fps", "5", capsys=capsys)
    assert status == 2 and "was begun with fps 10.0 instead of 5.0" in err and err.count("\n") == 1


def test_clips_of_videos_that_are_not_named_are_kept_until_told_otherwise(tmp_path, capsys):
    film(tmp_path / "monday/one.mp4", move(20))
    film(tmp_path / "tuesday/two.mp4", move(20))
    days, out = (tmp_path / "monday", tmp_path / "tuesday"), tmp_path / "set"
    assert run(days[0], "--out", out, *PLAIN)[0] == 0
    status, _, err = run(days[1], "--out", out, *PLAIN, capsys=capsys)
    assert status == 2 and f"clips of 1 video not named now ({days[0] / 'one.mp4'})" in err and err.count("\n") == 1
    assert listed(out, "clips") == [["images/one/one_0001", "10"]]
    assert run(*days, "--out", out, *PLAIN)[0] == 0
    assert [row[0] for row in listed(out, "clips")] == ["images/one/one_0001", "images/two/two_0001"]
    assert run(days[1], "--out", out, *PLAIN, "--drop-others")[0] == 0
    assert [path.name for path in (out / "images").iterdir()] == ["two"]
    assert listed(out, "clips") == [["images/two/two_0001", "10"]]


def test_a_video_of_the_same_name_elsewhere_is_another_one(tmp_path, capsys):
    film(tmp_path / "monday/one.mp4", move(20))
    film(tmp_path / "tuesday/one.mp4", move(40))
    out = tmp_path / "set"
    assert run(tmp_path / "monday", "--out", out, *PLAIN)[0] == 0
    status, _, err = run(tmp_path / "tuesday", "--out", out, *PLAIN, capsys=capsys)
    assert status == 2 and f"not named now ({tmp_path / 'monday/one.mp4'})" in err
    (tmp_path / "monday").rename(tmp_path / "moved")
    status, said, _ = run(tmp_path / "moved", "--out", out, *PLAIN, capsys=capsys)
    assert status == 0 and "1 of 1 video done" in said
    film(tmp_path / "moved/one.mp4", move(60))  # changed where it is
    (tmp_path / "moved").rename(tmp_path / "monday")
    assert run(tmp_path / "monday", "--out", out, *PLAIN)[0] == 0
    assert len(listed(out, "clips")) == 3


def test_videos_that_a_csv_leaves_out_keep_their_clips(tmp_path):
    for name in "ab":
        film(tmp_path / f"in/{name}.mp4", move(20))
    out = tmp_path / "set"
    assert run(tmp_path / "in", "--out", out, *PLAIN)[0] == 0
    (tmp_path / "labels.csv").write_text("video,label\nb,Fatigue\n")
    assert run(tmp_path / "in", "--out", out, "--labels", tmp_path / "labels.csv", *PLAIN)[0] == 0
    assert [row[0] for row in listed(out, "train")] == ["images/b/b_0001"]
    assert (out / "images/a/a_0001").is_dir()


def test_texts_that_somebody_wrote_stay(tmp_path):
    film(tmp_path / "in/Bored/a.mp4", move(20))
    out = tmp_path / "set"
    assert run(tmp_path / "in", "--out", out, *PLAIN)[0] == 0
    path = out / "annotation/classes.json"
    written = path.read_text(encoding="utf-8").replace("A face that shows bored.", "Heavy eyes.")
    path.write_text(written)
    assert "Heavy eyes." in written and run(tmp_path / "in", "--out", out, *PLAIN)[0] == 0
    assert path.read_text(encoding="utf-8") == written


def test_a_video_named_twice_is_not_two_persons(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20))
    Image.new("RGB", (8, 8)).save(tmp_path / "in/cover.jpg")  # no folder of frames for that
    status, _, err = run(tmp_path / "in", tmp_path / "in/a.mp4", "--out", tmp_path / "set", *PLAIN, capsys=capsys)
    assert status == 2 and "a.mp4: is named twice" in err


def test_interrupted_goes_on_to_the_same_set(videos, made, tmp_path, capsys):
    calls = []

    class Stopping:
        def __call__(self, frame):
            calls.append(1)
            if len(calls) == 40:  # in the second video
                raise KeyboardInterrupt
            return red_detector()(frame)

    out = tmp_path / "set"
    words = [str(videos), "--out", str(out), *PLAIN, "--test-share", "0.3"]
    assert main(words, make_detector=lambda *_: Stopping()) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not (out / "annotation").exists()
    assert run(*words)[0] == 0
    for name in ("train.txt", "test.txt", "face.json", "body.json"):
        assert (out / "annotation" / name).read_bytes() == (made / "annotation" / name).read_bytes()
    pictures = {path.relative_to(out): path.read_bytes() for path in (out / "images").rglob("*.jpg")}
    assert pictures == {path.relative_to(made): path.read_bytes() for path in (made / "images").rglob("*.jpg")}
    assert not (out / ".unfinished").exists()


def test_a_csv_names_labels_persons_and_parts(tmp_path):
    film(tmp_path / "in/a.mp4", move(60))
    film(tmp_path / "in/b.mp4", move(20))
    (tmp_path / "labels.csv").write_text("video,label,person,from,to\na.mp4,Fatigue,p1,0,1\na,Confusion,p1,0:02,3\n")
    status, _, _ = run(tmp_path / "in", "--out", tmp_path / "set", "--labels", tmp_path / "labels.csv", *PLAIN)
    assert status == 0
    names = load_classes("RAER").names
    assert [(names[int(label) - 1], frames) for _, frames, label in listed(tmp_path / "set", "train")] == [
        ("Fatigue", "10"),
        ("Confusion", "10"),
    ]
    assert "b.mp4,,,not in --labels" in (tmp_path / "set/dropped.csv").read_text()


def test_clips_without_a_face_are_left_out_and_listed(tmp_path):
    film(tmp_path / "in/a.mp4", move(20) + [picture(None)] * 40)
    assert run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN)[0] == 0
    assert len(listed(tmp_path / "set", "clips")) == 1  # no label: a list of clips without
    with open(tmp_path / "set/dropped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(float(r["from"]), r["reason"]) for r in rows] == [(1, "a face in 0% of its frames")] * 1 + [
        (2, "a face in 0% of its frames")
    ]


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
    assert "sound alone" in out and "c.avi: cannot be read" in out and "1 file left alone, no video: " in out
    status, _, err = run(tmp_path / "in/b.mp4", "--out", tmp_path / "other", *PLAIN, capsys=capsys)
    assert status == 2 and err.count("\n") == 1 and "sound alone" in err


def test_two_processes_write_the_same(videos, made, tmp_path):
    """With the cascades, which find nothing here: every clip is kept without a box."""
    sets = [tmp_path / "one", tmp_path / "two"]
    for count, out in enumerate(sets, 1):
        assert main([str(videos), "--out", str(out), *PLAIN, "--min-face", "0", "--workers", str(count)]) == 0
    assert (sets[0] / "annotation/train.txt").read_bytes() == (sets[1] / "annotation/train.txt").read_bytes()
    assert len(list((sets[0] / "images").rglob("*.jpg"))) == len(list((sets[1] / "images").rglob("*.jpg"))) == 100


@pytest.mark.parametrize(
    "text, words",
    [
        ("clip,label\n", "line 1: expected video,label"),
        ("video,label\nnone.mp4,x\n", "line 2: 'none.mp4' is none of the videos"),
        ("video,label,from,to\na.mp4,x,2,1\n", "line 2: ends at 1"),
        ("video,label,from,to\na.mp4,x,0,2\na.mp4,y,1,3\n", "line 3: overlaps"),
        ("video,label\na.mp4\n", "line 2: expected"),
        ("video,label\n", "has no line with a video"),
        ("video,label,from\na.mp4,x,soon\n", "'soon' is no time"),
    ],
)
def test_mistakes_in_a_csv(tmp_path, capsys, text, words):
    film(tmp_path / "in/a.mp4", move(3))
    (tmp_path / "l.csv").write_text(text)
    status, _, err = run(tmp_path / "in", "--out", tmp_path / "set", "--labels", tmp_path / "l.csv", capsys=capsys)
    assert status == 2 and words in err and err.count("\n") == 1


def test_other_mistakes(tmp_path, capsys):
    assert "no video: name files" in run("--out", tmp_path / "x", capsys=capsys)[2]
    assert "--out DIR is missing" in run(tmp_path, capsys=capsys)[2]
    assert "more: no flag takes it" in run(tmp_path, "--out", tmp_path / "x", "more", capsys=capsys)[2]
    assert "holds no video" in run(tmp_path, "--out", tmp_path / "x", capsys=capsys)[2]
    film(tmp_path / "a.mp4", move(3))
    assert "is no prepared set" in run(tmp_path / "a.mp4", "--out", tmp_path, capsys=capsys)[2]


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
