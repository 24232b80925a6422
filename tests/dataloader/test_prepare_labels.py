"""python -m dataloader.prepare: labels, persons, names and classes, by folders and by a CSV."""

import os
import unicodedata

import pytest
from PIL import Image

from dataloader.annotation import read_annotation
from dataloader.classes import load_classes
from dataloader.prepare.sources import name_persons, safe_name
from tests.support.filming import film
from tests.support.preparing import FLAGS, film_face, moving_face, prepare, read_list, refusal, write


def test_a_csv_names_labels_persons_and_parts(tmp_path):
    film_face(tmp_path / "in/a.mp4", 60)
    film_face(tmp_path / "in/b.mp4")
    labels = write(tmp_path / "l.csv", "video,label,person,from,to\na.mp4,Fatigue,p1,0,1\na,Confusion,p1,0:02,3\n")
    assert prepare(tmp_path / "in", tmp_path / "set", "--labels", labels)[0] == 0
    names = load_classes("RAER").names
    lines = [(names[int(label) - 1], frames) for _, frames, label in read_list(tmp_path / "set", "train")]
    assert lines == [("Fatigue", "10"), ("Confusion", "10")]
    assert "b.mp4,,,not in --labels" in (tmp_path / "set/dropped.csv").read_text()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("clip,label\n", "line 1: expected video,label"),
        ("video,label,label\na,Fatigue,Confusion\n", "line 1: expected video,label"),
        ("video,label\nnone.mp4,x\n", "line 2: 'none.mp4' is not one of them"),
        ("video,label,from,to\na.mp4,x,2,1\n", "line 2: ends at 1"),
        ("video,label,from,to\na.mp4,x,0,2\na.mp4,y,1,3\n", "line 3: overlaps"),
        ("video,label,person\na.mp4,x,p\na.mp4,y,q\n", "line 3: 'a.mp4' is of 'p' above and of 'q' here"),
        ("video,label\na.mp4\n", "line 2: expected"),
        ("video,label\n", "has no line with a video"),
        ("video,label,from\na.mp4,x,soon\n", "'soon' is not a time"),
        ("video,label\na,Fatigue\n", "'a' names 2 videos; write its path and suffix"),
    ],
)
def test_mistakes_in_a_csv(tmp_path, capsys, text, part):
    for name in ("a.mp4", "a.mkv"):
        film_face(tmp_path / "in" / name, 3)
    labels = write(tmp_path / "l.csv", text)
    assert part in refusal(tmp_path / "in", "--out", tmp_path / "set", "--labels", labels, capsys=capsys)


def test_videos_that_differ_in_their_suffix_are_distinguished(tmp_path):
    film_face(tmp_path / "in/a.mp4")
    film_face(tmp_path / "in/a.mkv", 40)
    labels = write(tmp_path / "l.csv", "video,label\na.mp4,Fatigue\na.mkv,Confusion\n")
    assert prepare(tmp_path / "in", tmp_path / "set", "--labels", labels)[0] == 0
    lines = read_list(tmp_path / "set", "train", "test")
    assert sorted(label for _, _, label in lines) == ["3", "3", "4"]  # two clips of Confusion in the longer one


def test_accents_may_be_composed_or_decomposed(tmp_path):
    apart, joined = unicodedata.normalize("NFD", "zoé"), unicodedata.normalize("NFC", "zoé")
    film_face(tmp_path / f"in/{apart}.mp4")
    labels = write(tmp_path / "l.csv", f"video,label,person\n{joined}.mp4,Fatigue,{apart}\n")
    assert prepare(tmp_path / "in", tmp_path / "set", "--labels", labels)[0] == 0
    assert read_list(tmp_path / "set", "train") == [[f"images/{joined}/{joined}_0001", "10", "4"]]


def test_different_persons_never_share_a_folder():
    persons = ["an na", "an_na", "♥", "☂", "", "कि", "का", unicodedata.normalize("NFD", "zoé"), "zoé", "x/y"]
    names = name_persons(persons)
    assert names["an_na"] == "an_na" and names["an na"].startswith("an_na-") and names[""] == ""
    assert names["zoé"] == names[unicodedata.normalize("NFD", "zoé")] == "zoé" and names["x/y"] == "x_y"
    assert len(set(names.values())) == len(persons) - 1  # the name zoé in two encodings
    assert names["♥"] == name_persons(["♥"])["♥"]  # with any other persons


def test_names_are_valid_on_any_disk():
    assert safe_name("../a b:c") == "a_b_c" and safe_name("..") == "" and safe_name("été 1") == "été_1"


def test_names_that_no_text_can_hold(tmp_path, capfdbinary):
    film_face(tmp_path / "in/good.mp4")
    bad = os.fsencode(tmp_path / "in") + b"/caf\xe9.mp4"
    os.rename(film_face(tmp_path / "in/x.mp4", 3), bad)
    assert prepare(tmp_path / "in", tmp_path / "set")[0] == 0
    assert "caf\\udce9.mp4" in (tmp_path / "set/dropped.csv").read_text(encoding="utf-8")
    with open(bad, "wb") as file:
        file.write(b"broken")
    assert prepare(tmp_path / "in", tmp_path / "set")[0] == 1
    assert b"caf\\udce9.mp4" in capfdbinary.readouterr().out


def test_names_as_long_as_a_disk_allows(tmp_path):
    for end in "ab":
        film_face(tmp_path / f"in/{'é' * 125}{end}.mp4")
    for _ in range(2):
        assert prepare(tmp_path / "in", tmp_path / "set")[0] == 0
        names = [name.split("/")[1] for name, _ in read_list(tmp_path / "set", "clips")]
        assert len(set(names)) == 2 and all(name.startswith("é" * 90) for name in names)


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (("Bored", "bored"), "labels 'Bored' and 'bored': are almost equal"),
        (("Bored\nKeen", "Keen"), "has characters that are not allowed in a class name"),
    ],
)
def test_wrong_classes_are_refused(tmp_path, capsys, names, part):
    for name in names:
        film_face(tmp_path / f"in/{name}/a.mp4", 3)
    assert part in refusal(tmp_path / "in", "--out", tmp_path / "set", *FLAGS, capsys=capsys)
    assert not (tmp_path / "set").exists()


def test_known_classes_in_any_case(tmp_path, capsys):
    for name in ("fatigue/a", "Fatigue/b", "CONFUSION/c"):
        film_face(tmp_path / f"in/{name}.mp4")
    status, screen, _ = prepare(tmp_path / "in", tmp_path / "set", capsys=capsys)
    assert status == 0
    assert sorted(label for _, _, label in read_list(tmp_path / "set", "train", "test")) == ["3", "4", "4"]
    assert "the classes are the 5 of RAER" in screen and "no clip is of Neutrality, Enjoyment, Distraction" in screen
    assert "no persons are named: each video counts as one person" in screen


def test_own_classes_are_the_labels_with_the_known_texts(tmp_path, capsys):
    for name in ("Fatigue/anna/a", "Confusion/ben/b"):
        film_face(tmp_path / f"in/{name}.mp4")
    status, screen, _ = prepare(tmp_path / "in", tmp_path / "set", "--own-classes", capsys=capsys)
    assert status == 0 and "no clip is of" not in screen and "no persons are named" not in screen
    classes, known = load_classes("RAER", str(tmp_path / "set/annotation/classes.json")), load_classes("RAER")
    assert classes.names == ("Confusion", "Fatigue")
    assert classes.texts_of("prompt_ensemble") == tuple(known.texts_of("prompt_ensemble")[n] for n in (2, 3))
    assert sorted(label for _, _, label in read_list(tmp_path / "set", "train", "test")) == ["1", "2"]


@pytest.mark.parametrize("dataset", ["MAFW", "DFEW", "AFEW", "CAER", "CAER-S"])
def test_labels_of_other_sets_are_read_with_their_meaning(tmp_path, capsys, dataset):
    for name in ("anger/a", "sadness/b"):
        film_face(tmp_path / f"in/{name}.mp4")
    words = [tmp_path / "in", tmp_path / "set", "--dataset", dataset]
    if dataset.startswith("CAER"):
        status, _, err = prepare(*words, capsys=capsys)
        assert (
            status == 2 and "its list format is not that of a prepared set" in err and not (tmp_path / "set").exists()
        )
        return
    assert prepare(*words)[0] == 0
    known, labels, persons = load_classes(dataset), {}, set()
    classes = load_classes(dataset, str(tmp_path / "set/annotation/classes.json"))
    assert classes.names == known.names and classes.texts == known.texts
    for name in ("train", "test"):
        for clip in read_annotation(f"annotation/{name}.txt", str(tmp_path / "set"), classes):
            labels[clip.id.split("_")[-2]] = classes.names[clip.label]
            persons.add(clip.person)
    assert labels == {"a": "anger", "b": "sadness"} and len(persons) == 2 and None not in persons


def test_a_set_with_one_class_gets_no_training_command(tmp_path, capsys):
    for name in "ab":
        film_face(tmp_path / f"in/Bored/{name}.mp4")
    status, screen, _ = prepare(tmp_path / "in", tmp_path / "set", capsys=capsys)
    assert status == 0 and "every clip is of the class Bored" in screen and "main.py" not in screen


def test_links_to_folders_are_followed_without_loops(tmp_path, capsys):
    film_face(tmp_path / "disk/Bored/a.mp4")
    (tmp_path / "in").mkdir()
    os.symlink(tmp_path / "disk/Bored", tmp_path / "in/Bored")
    os.symlink(tmp_path / "in", tmp_path / "disk/Bored/again")
    status, screen, _ = prepare(tmp_path / "in", tmp_path / "set", capsys=capsys)
    assert status == 0 and "1 item ignored, not a video: " in screen
    assert len(read_list(tmp_path / "set", "train")) == 1


def test_pictures_beside_videos_do_not_hide_them(tmp_path, capsys):
    film_face(tmp_path / "in/Bored/anna/a.mp4")
    (tmp_path / "frames/below").mkdir(parents=True)
    for folder in ("in", "in/Bored", "frames", "frames/below"):
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "1.jpg")
    status, screen, _ = prepare(tmp_path / "in", tmp_path / "set", capsys=capsys)
    assert status == 0 and "2 items ignored" in screen and len(read_list(tmp_path / "set", "train")) == 1
    err = refusal(tmp_path / "frames", "--out", tmp_path / "other", *FLAGS, capsys=capsys)
    assert f"{tmp_path / 'frames'}: holds pictures, and so does {tmp_path / 'frames/below'}" in err


def test_a_part_without_a_frame_does_not_use_frames_of_another(tmp_path):
    times = [100 * n + (10_000 if n >= 20 else 0) for n in range(40)]  # nothing from 2 to 12 seconds
    film(tmp_path / "in/a.mkv", moving_face(40), times=times)
    rows = "a,Fatigue,0,2\na,Confusion,5,6\na,Enjoyment,6,7\na,Neutrality,12,14\n"
    labels = write(tmp_path / "l.csv", "video,label,from,to\n" + rows)
    assert prepare(tmp_path / "in", tmp_path / "set", "--labels", labels)[0] == 0
    assert [row[1:] for row in read_list(tmp_path / "set", "train")] == [["10", label] for label in "4411"]
    dropped = (tmp_path / "set/dropped.csv").read_text().splitlines()[1:]
    assert [row.partition("a.mkv,")[2] for row in dropped] == [
        f"{part},the video has no frame in it" for part in ("5.0,6.0", "6.0,7.0")
    ]


def test_folders_below_a_person_are_of_that_person(tmp_path):
    """Otherwise a person who was filmed on two days would be in both lists."""
    for folder in ("Bored/anna/monday", "Keen/anna/tuesday", "Keen/ben"):
        film_face(tmp_path / f"in/{folder}/a.mp4")
    assert prepare(tmp_path / "in", tmp_path / "set")[0] == 0
    assert {folder for folder, *_ in read_list(tmp_path / "set", "train", "test")} == {
        "images/anna/Bored_anna_monday_a_0001",
        "images/anna/Keen_anna_tuesday_a_0001",
        "images/ben/Keen_ben_a_0001",
    }
