"""python -m dataloader.prepare: labels, persons and names, by folders and by a CSV."""

import os
import unicodedata

import pytest
from PIL import Image

from dataloader.classes import load_classes
from dataloader.prepare.sources import name_persons, plain
from tests.support.filming import film
from tests.support.preparing import PLAIN, listed, move, run


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


def test_an_ending_tells_two_videos_apart(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20))
    film(tmp_path / "in/a.mkv", move(40))
    labels = tmp_path / "l.csv"
    labels.write_text("video,label\na.mp4,Fatigue\na.mkv,Confusion\n")
    assert run(tmp_path / "in", "--out", tmp_path / "set", "--labels", labels, *PLAIN)[0] == 0
    lines = listed(tmp_path / "set", "train") + listed(tmp_path / "set", "test")
    assert sorted(label for _, _, label in lines) == ["3", "3", "4"]  # two clips of Confusion in the longer one
    labels.write_text("video,label\na,Fatigue\n")
    err = run(tmp_path / "in", "--out", tmp_path / "other", "--labels", labels, *PLAIN, capsys=capsys)[2]
    assert "'a' names 2 videos; write its path and ending" in err


def test_accents_may_be_written_either_way(tmp_path):
    apart, joined = unicodedata.normalize("NFD", "zoé"), unicodedata.normalize("NFC", "zoé")
    film(tmp_path / f"in/{apart}.mp4", move(20))
    (tmp_path / "l.csv").write_text(f"video,label,person\n{joined}.mp4,Fatigue,{apart}\n", encoding="utf-8")
    assert run(tmp_path / "in", "--out", tmp_path / "set", "--labels", tmp_path / "l.csv", *PLAIN)[0] == 0
    assert listed(tmp_path / "set", "train") == [[f"images/{joined}/{joined}_0001", "10", "4"]]


def test_different_persons_never_share_a_folder():
    written = ["an na", "an_na", "♥", "☂", "", "कि", "का", unicodedata.normalize("NFD", "zoé"), "zoé", "x/y"]
    names = name_persons(written)
    assert names["an_na"] == "an_na" and names["an na"].startswith("an_na-") and names[""] == ""
    assert names["zoé"] == names[unicodedata.normalize("NFD", "zoé")] == "zoé" and names["x/y"] == "x_y"
    assert len(set(names.values())) == len(written) - 1  # zoé twice
    assert names["♥"] == name_persons(["♥"])["♥"]  # whoever else is there


def test_names_that_no_text_can_hold(tmp_path, capfdbinary):
    os.makedirs(tmp_path / "in")
    film(tmp_path / "in/good.mp4", move(20))
    bad = os.fsencode(tmp_path / "in") + b"/caf\xe9.mp4"
    os.rename(film(tmp_path / "in/x.mp4", move(3)), bad)
    assert run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN)[0] == 0
    assert "caf\\udce9.mp4" in (tmp_path / "set/dropped.csv").read_text(encoding="utf-8")
    with open(bad, "wb") as file:
        file.write(b"broken")
    assert run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN)[0] == 1
    assert b"caf\\udce9.mp4" in capfdbinary.readouterr().out


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("Bored", "bored"), "labels 'Bored' and 'bored': differ in nothing that counts"),
        (("Bored\nKeen", "Keen"), "has characters that no class name can have"),
    ],
)
def test_classes_that_are_mistakes(tmp_path, capsys, names, words):
    for name in names:
        film(tmp_path / f"in/{name}/a.mp4", move(20))
    err = run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN, capsys=capsys)[2]
    assert words in err and err.count("\n") == 1 and not (tmp_path / "set").exists()


def test_known_classes_in_any_case(tmp_path):
    film(tmp_path / "in/fatigue/a.mp4", move(20))
    film(tmp_path / "in/Fatigue/b.mp4", move(20))
    film(tmp_path / "in/CONFUSION/c.mp4", move(20))
    assert run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN)[0] == 0
    lines = listed(tmp_path / "set", "train") + listed(tmp_path / "set", "test")
    assert sorted(label for _, _, label in lines) == ["3", "4", "4"]


def test_one_class_trains_nothing(tmp_path, capsys):
    for name in "ab":
        film(tmp_path / f"in/Bored/{name}.mp4", move(20))
    status, said, _ = run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN, capsys=capsys)
    assert status == 0 and "every clip is of the class Bored" in said and "train with" not in said


def test_links_to_folders_are_followed_but_not_around(tmp_path, capsys):
    film(tmp_path / "disk/Bored/a.mp4", move(20))
    (tmp_path / "in").mkdir()
    os.symlink(tmp_path / "disk/Bored", tmp_path / "in/Bored")
    os.symlink(tmp_path / "in", tmp_path / "disk/Bored/again")
    status, said, _ = run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN, capsys=capsys)
    assert status == 0 and "1 item left alone, no video: " in said
    assert len(listed(tmp_path / "set", "train")) == 1


def test_a_column_twice(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(3))
    (tmp_path / "l.csv").write_text("video,label,label\na,Fatigue,Confusion\n")
    err = run(tmp_path / "in", "--out", tmp_path / "set", "--labels", tmp_path / "l.csv", *PLAIN, capsys=capsys)[2]
    assert "line 1: expected video,label" in err


def test_a_name_for_any_disk():
    assert plain("../a b:c") == "a_b_c" and plain("..") == "" and plain("été 1") == "été_1"


def test_names_as_long_as_a_disk_allows(tmp_path):
    for end in "ab":
        film(tmp_path / f"in/{'é' * 125}{end}.mp4", move(20))
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    for _ in range(2):
        assert run(*words)[0] == 0
        names = [name.split("/")[1] for name, _ in listed(tmp_path / "set", "clips")]
        assert len(set(names)) == 2 and all(name.startswith("é" * 90) for name in names)


def test_pictures_above_videos_hide_none(tmp_path, capsys):
    film(tmp_path / "in/Bored/anna/a.mp4", move(20))
    for place in ("in", "in/Bored"):
        Image.new("RGB", (8, 8)).save(tmp_path / place / "cover.jpg")
    status, said, _ = run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN, capsys=capsys)
    assert status == 0 and "2 items left alone" in said and len(listed(tmp_path / "set", "train")) == 1
    (tmp_path / "frames/below").mkdir(parents=True)
    for place in ("frames", "frames/below"):
        Image.new("RGB", (8, 8)).save(tmp_path / place / "1.jpg")
    err = run(tmp_path / "frames", "--out", tmp_path / "other", *PLAIN, capsys=capsys)[2]
    assert f"{tmp_path / 'frames'}: holds pictures, and so does {tmp_path / 'frames/below'}" in err


def test_a_part_without_a_frame_takes_none_of_another(tmp_path):
    times = [100 * n + (10_000 if n >= 20 else 0) for n in range(40)]  # nothing from 2 to 12 seconds
    film(tmp_path / "in/a.mkv", move(40), times=times)
    rows = "a,Fatigue,0,2\na,Confusion,5,6\na,Enjoyment,6,7\na,Neutrality,12,14\n"
    (tmp_path / "l.csv").write_text("video,label,from,to\n" + rows)
    assert run(tmp_path / "in", "--out", tmp_path / "set", "--labels", tmp_path / "l.csv", *PLAIN)[0] == 0
    assert [row[1:] for row in listed(tmp_path / "set", "train")] == [["10", label] for label in "4411"]
    dropped = (tmp_path / "set/dropped.csv").read_text().splitlines()[1:]
    assert [row.partition("a.mkv,")[2] for row in dropped] == [
        f"{part},the video has no frame in it" for part in ("5.0,6.0", "6.0,7.0")
    ]


def test_folders_below_a_person_are_of_that_person(tmp_path):
    """Else who was filmed on two days would be in both lists."""
    for place in ("Bored/anna/monday", "Keen/anna/tuesday", "Keen/ben"):
        film(tmp_path / f"in/{place}/a.mp4", move(20))
    assert run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN)[0] == 0
    names = {folder for name in ("train", "test") for folder, *_ in listed(tmp_path / "set", name)}
    assert names == {
        "images/anna/Bored_anna_monday_a_0001",
        "images/anna/Keen_anna_tuesday_a_0001",
        "images/ben/Keen_ben_a_0001",
    }
