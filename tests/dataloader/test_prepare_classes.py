"""python -m dataloader.prepare: the texts of own classes, and labels of other sets than RAER."""

import json
from pathlib import Path

import pytest

from dataloader.annotation import read_annotation
from dataloader.classes import load_classes
from tests.support.filming import film
from tests.support.preparing import PLAIN, listed, move, run, write


@pytest.fixture
def words(tmp_path) -> list:
    for name in "ab":
        film(tmp_path / f"in/{name}.mp4", move(20))
    return [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]


def label(tmp_path: Path, first: str, second: str) -> list:
    return ["--labels", write(tmp_path / "l.csv", f"video,label\na,{first}\nb,{second}\n")]


def test_no_text_that_was_written_is_ever_lost(tmp_path, words, capsys):
    path = tmp_path / "set/annotation/classes.json"
    for said in ("Heavy eyes.", "A long yawn."):
        assert run(*words, *label(tmp_path, "Bored", "Keen"))[0] == 0
        write(path, path.read_text(encoding="utf-8").replace("A face that shows bored.", said))
        status, out, _ = run(*words, *label(tmp_path, "Fatigue", "Confusion"), capsys=capsys)
        assert status == 0 and "classes.previous.json" in out and not path.exists()
    previous = path.with_name("classes.previous.json").read_text(encoding="utf-8")
    assert "Heavy eyes." in previous and "A long yawn." in previous
    assert run(*words, *label(tmp_path, "Bored", "Keen"))[0] == 0
    write(path.with_name("classes.previous.json"), "[]")
    status, _, err = run(*words, *label(tmp_path, "Fatigue", "Confusion"), capsys=capsys)
    assert status == 2 and "classes.previous.json: expected" in err and path.exists()


def test_a_new_class_has_as_many_texts_as_the_others(tmp_path, words):
    path = tmp_path / "set/annotation/classes.json"
    assert run(*words, *label(tmp_path, "Bored", "Keen"))[0] == 0
    stored = json.loads(path.read_text(encoding="utf-8"))
    for entry in stored["classes"]:
        entry["prompt_ensemble"] = ["one", "two", "three"]
        del entry["descriptive"]
    write(path, json.dumps(stored))
    assert run(*words, *label(tmp_path, "Angry", "Keen"))[0] == 0
    classes = load_classes("RAER", str(path))
    assert classes.names == ("Angry", "Keen") and set(classes.texts) == {*stored["classes"][0]} - {"name"}
    assert [len(texts) for texts in classes.texts_of("prompt_ensemble")] == [3, 3]


def test_the_file_of_classes_counts_as_the_lists_do(tmp_path, words):
    path = tmp_path / "set/annotation/classes.json"
    assert run(*words, *label(tmp_path, "Bored", "Keen"))[0] == 0
    before = path.read_text(encoding="utf-8")
    write(path, before.replace('"label_base": 1', '"label_base": 0'))
    assert run(*words, *label(tmp_path, "Bored", "Keen"))[0] == 0
    assert path.read_text(encoding="utf-8") == before


def test_the_own_file_of_the_set_is_not_taken_from_it(tmp_path, words, capsys):
    path = tmp_path / "set/annotation/classes.json"
    assert run(*words, *label(tmp_path, "Bored", "Keen"))[0] == 0
    status, _, err = run(*words, *label(tmp_path, "Bored", "Keen"), "--class-texts", path, capsys=capsys)
    assert status == 2 and "is this set's own file" in err and path.is_file()


@pytest.mark.parametrize("dataset", ["MAFW", "DFEW", "AFEW"])
def test_labels_of_other_sets_are_read_as_they_are_meant(tmp_path, words, dataset):
    assert run(*words, *label(tmp_path, "anger", "sadness"), "--dataset", dataset)[0] == 0
    classes = load_classes(dataset)
    clips = [
        clip
        for name in ("train", "test")
        if listed(tmp_path / "set", name)
        for clip in read_annotation(f"annotation/{name}.txt", str(tmp_path / "set"), classes)
    ]
    told = {clip.id.split("/")[1]: classes.names[clip.label] for clip in clips}
    assert told == {"a": "anger", "b": "sadness"}


@pytest.mark.parametrize("dataset", ["CAER", "CAER-S"])
def test_sets_whose_lists_are_of_another_kind(tmp_path, words, capsys, dataset):
    status, _, err = run(*words, *label(tmp_path, "anger", "sadness"), "--dataset", dataset, capsys=capsys)
    assert status == 2 and "its lists are of another kind" in err and not (tmp_path / "set").exists()
