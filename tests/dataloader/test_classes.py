"""Classes and their texts: the project's own file, the user's own, and what may be wrong with it."""

import json

import pytest

from dataloader.classes import load_classes
from utils.errors import UserError

KINDS = ("class_names", "class_names_with_context", "class_descriptor", "prompt_ensemble", "descriptive")


def write(folder, content) -> str:
    path = folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def entry(name, **texts):
    return {"name": name, "descriptive": f"a {name} face"} | texts


def test_raer_has_five_classes_in_label_order_counted_from_one():
    classes = load_classes("RAER")
    assert classes.names == ("Neutrality", "Enjoyment", "Confusion", "Fatigue", "Distraction")
    assert classes.label_base == 1 and len(classes) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_raer_has_every_kind_of_text_and_no_two_alike(kind):
    rows = load_classes("RAER").texts_of(kind)
    assert len(rows) == 5 and {len(row) for row in rows} == {3 if kind == "prompt_ensemble" else 1}
    flat = [text for row in rows for text in row]
    assert len(set(flat)) == len(flat)


def test_class_names_are_the_texts_of_their_kind():
    assert load_classes("RAER").texts_of("class_names")[3] == ("Fatigue",)


def test_ones_own_file_replaces_everything(tmp_path):
    file = write(
        tmp_path, {"label_base": 0, "classes": [entry("a", class_descriptor="x"), entry("b", class_descriptor=["y"])]}
    )
    classes = load_classes("RAER", file)
    assert (classes.names, classes.label_base) == (("a", "b"), 0)
    assert classes.texts_of("class_descriptor") == (("x",), ("y",))
    assert classes.texts_of("descriptive") == (("a a face",), ("a b face",))


def test_a_kind_that_no_class_has_is_named_when_it_is_asked_for(tmp_path):
    classes = load_classes("RAER", write(tmp_path, {"classes": [entry("a"), entry("b")]}))
    with pytest.raises(UserError, match=r"mine\.json.*prompt_ensemble"):
        classes.texts_of("prompt_ensemble")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "line 1"),
        ("[]", "classes"),
        ({"classes": []}, "classes"),
        ({"classes": {"a": 1}}, "classes"),
        ({"classes": ["a"]}, "class 1"),
        ({"classes": [entry("a"), {"descriptive": "x"}]}, "class 2"),
        ({"classes": [entry("a"), entry(" ")]}, "class 2"),
        ({"classes": [entry("a"), entry("a")]}, "same name"),
        ({"classes": [entry("a"), entry("a ")]}, "same name"),
        ({"classes": [entry("a"), {"name": "b"}]}, "class b"),
        ({"classes": [entry("a"), entry("b", descriptive=[])]}, "class b"),
        ({"classes": [entry("a"), entry("b", descriptive=5)]}, "class b"),
        ({"classes": [entry("a"), entry("b", descriptive=["x", ""])]}, "class b"),
        ({"classes": [entry("a", prompt_ensemble=["x"]), entry("b", prompt_ensemble=["x", "y"])]}, "equally many"),
        ({"label_base": "1", "classes": [entry("a")]}, "label_base"),
        ('{"classes": [{"name": "a", "name": "b"}]}', "twice"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, content, part):
    with pytest.raises(UserError, match=r"mine\.json") as caught:
        load_classes("RAER", write(tmp_path, content))
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_data_set_names_the_known_ones():
    with pytest.raises(UserError, match=r"--dataset NOPE.*RAER"):
        load_classes("NOPE")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json"):
        load_classes("RAER", str(tmp_path / "gone.json"))
