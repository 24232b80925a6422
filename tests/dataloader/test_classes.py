"""Classes and their texts: the project's own file, the user's own, and what may be wrong with it."""

import json
import re

import pytest

from dataloader.classes import ANNOTATION, list_classes, load_classes, with_compounds, with_names
from utils.errors import UserError

SETS = sorted(folder.parent.name for folder in ANNOTATION.glob("*/classes.json"))
EMOTIONS = r"\b(happ|sad|neutral|ang(er|ry)|surpris|disgust|fear|afraid|contempt|anxi|helpless|disappoint|engage)"
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
        ({"label_bas": 0, "classes": [entry("a")]}, "did you mean label_base"),
        ({"label_base": True, "classes": [entry("a")]}, "whole number"),
        ({"persons": "yes", "classes": [entry("a")]}, "true or false"),
        ({"layout": "table", "classes": [entry("a")]}, "list, names, images"),
        ({"folds": -1, "classes": [entry("a")]}, "negative"),
        ({"clip_folders": [], "classes": [entry("a")]}, "list of texts"),
        ({"clip_folders": ["a", 1], "classes": [entry("a")]}, "list of texts"),
        ({"list_order": ["a"], "classes": [entry("a"), entry("b")]}, "every class once"),
        ({"list_order": ["a", "a"], "classes": [entry("a"), entry("b")]}, "every class once"),
        ({"level_columns": ["x"], "classes": [entry("a")]}, "level_used"),
        ({"level_columns": ["x"], "level_used": "y", "classes": [entry("a")]}, "one of x"),
        ({"classes": [entry("a", folders="b"), entry("c")]}, "class a"),
        ({"classes": [entry("a", folders=["X"]), entry("b", folders=["x"])]}, "of a and of b"),
        ({"classes": [entry("a", folders=["B"]), entry("b")]}, "of b and of a"),
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


def test_the_sets_are_there():
    assert SETS == ["AFEW", "CAER", "CAER-S", "DAiSEE", "DFEW", "FERV39k", "MAFW", "RAER"]


@pytest.mark.parametrize("dataset", SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_set_has_every_kind_of_text_and_no_two_alike(dataset, kind):
    classes = load_classes(dataset)
    rows = classes.texts_of(kind)
    assert len(rows) == len(classes) and {len(row) for row in rows} == {3 if kind == "prompt_ensemble" else 1}
    flat = [text for row in rows for text in row]
    assert len({text.lower() for text in flat}) == len(flat)
    if kind != "class_names":
        assert all(text[0].isupper() and text.endswith(".") and text.isascii() for text in flat)


@pytest.mark.parametrize("dataset", sorted({*SETS} - {"RAER"}))
@pytest.mark.parametrize("kind", KINDS[2:])
def test_descriptions_say_what_is_seen_and_name_no_emotion(dataset, kind):
    named = [text for row in load_classes(dataset).texts_of(kind) for text in row if re.search(EMOTIONS, text, re.I)]
    assert not named


def test_a_class_is_worded_alike_in_every_set():
    for kind in KINDS[1:]:
        wordings = {}
        for dataset in SETS:
            classes = load_classes(dataset)
            for name, texts in zip(classes.names, classes.texts_of(kind), strict=True):
                assert wordings.setdefault(name, texts) == texts, (dataset, name)


@pytest.mark.parametrize(
    ("dataset", "count", "first", "last", "base", "folds", "persons"),
    [
        ("DFEW", 7, "happiness", "fear", 0, 5, False),
        ("FERV39k", 7, "happiness", "fear", 0, 0, False),
        ("MAFW", 11, "anger", "disappointment", 0, 5, False),
        ("AFEW", 7, "happiness", "fear", 0, 0, False),
        ("CAER", 7, "anger", "surprise", 0, 0, False),
        ("CAER-S", 7, "anger", "surprise", 1, 0, False),
        ("DAiSEE", 4, "Very Low", "Very High", 1, 0, True),
        ("RAER", 5, "Neutrality", "Distraction", 1, 0, True),
    ],
)
def test_what_is_stated_of_each_set(dataset, count, first, last, base, folds, persons):
    classes = load_classes(dataset)
    assert (len(classes), classes.names[0], classes.names[-1]) == (count, first, last)
    assert (classes.label_base, classes.folds, classes.has_persons) == (base, folds, persons)
    assert classes.parts is None and not classes.is_compound


def test_ones_own_texts_leave_the_lists_of_the_set_as_they_are(tmp_path):
    classes = load_classes("DAiSEE", write(tmp_path, {"classes": [entry(n) for n in "abcd"]}))
    assert classes.has_persons and classes.label_base == 1 and classes.format.level_used == 1
    assert not load_classes("DAiSEE", write(tmp_path, {"persons": False, "classes": [entry("a")]})).has_persons
    assert load_classes("unheard", write(tmp_path, {"classes": [entry("a")]})).label_base == 1


def test_combinations_follow_the_base_classes_in_an_order_of_their_own():
    base = load_classes("MAFW")
    sets = [{2, 3}, {1, 0}, {0, 1}, {4}, {0, 1, 2}, {0, 10}]
    classes = with_compounds(base, {frozenset(s) for s in sets})
    extra = ("anger_disgust", "anger_disappointment", "fear_happiness", "anger_disgust_fear")
    assert classes.names == base.names + extra and classes.is_compound
    assert classes.parts[11:] == ((0, 1), (0, 10), (2, 3), (0, 1, 2)) and classes.parts[:2] == ((0,), (1,))
    assert with_compounds(base, [frozenset(s) for s in reversed(sets)]) == classes
    assert classes.base_names == base.names
    assert all(classes.texts_of(kind) == base.texts_of(kind) for kind in KINDS)


def test_a_model_brings_its_names_and_the_set_its_lists():
    base = load_classes("MAFW")
    compound = with_compounds(base, {frozenset({0, 1})})
    for classes in (base, compound):
        told = with_names(base, classes.names, 0, "best.pt")
        assert (told.names, told.parts, told.layout, told.source) == (classes.names, classes.parts, "names", "best.pt")
        assert told.format == base.format and told.texts == {}
    assert with_names(compound, base.names, 0, "best.pt").parts is None
    others = with_names(load_classes("RAER"), ("calm", "glad"), 0, "best.pt")
    assert (others.names, others.label_base, others.has_persons) == (("calm", "glad"), 0, True)
    with pytest.raises(UserError, match=r"best\.pt"):
        with_names(base, (*base.names, "anger_boredom"), 0, "best.pt")


def test_other_classes_do_not_take_over_the_order_of_a_sets_lists(tmp_path):
    assert load_classes("MAFW", write(tmp_path, {"classes": [entry("a"), entry("b")]})).format.order is None
    same = {"classes": [entry(name) for name in sorted(load_classes("MAFW").names)]}
    order = load_classes("MAFW", write(tmp_path, same)).format.order
    assert [sorted(load_classes("MAFW").names)[n] for n in order][:2] == ["happiness", "sadness"]


def test_the_numbers_of_a_list_mean_the_same_to_a_model_with_another_order():
    mafw = load_classes("MAFW")
    numbered = [mafw.names[label] for label in mafw.format.order]
    for names in (mafw.names, tuple(sorted(mafw.names)), tuple(numbered)):
        told = with_names(mafw, names, 0, "best.pt")
        order = told.format.order or tuple(range(len(names)))
        assert told.names == names and [told.names[label] for label in order] == numbered


def test_classes_of_a_file_that_is_gone_are_those_of_the_set(tmp_path):
    own = tmp_path / "own.json"
    assert list_classes("DFEW", str(own)) == load_classes("DFEW") and list_classes("mine", str(own)) is None
    own.write_text('{"classes": [{"name": "a"}, {"name": "b"}], "flat_face_boxes": true}')
    assert list_classes("mine", str(own)).has_flat_boxes and list_classes("DFEW", str(own)).names == ("a", "b")
