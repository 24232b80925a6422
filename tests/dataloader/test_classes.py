"""Classes and their texts: files of the project, files of the user, and wrong files."""

import json
import re

import pytest

from dataloader.classes import ANNOTATION, list_classes, load_classes, with_compounds, with_names
from utils.errors import UserError

DAISEE = tuple(f"DAiSEE-{name}" for name in ("Binary", "Boredom", "Confusion", "Frustration", "Three"))
STILLS = ("AffectNet", "FER2013", "FERPlus", "RAF-DB")
SETS = ("AFEW", "CAER", "CAER-S", "DAiSEE", *DAISEE, "DFEW", "EngageNet", "FERV39k", "MAFW", "RAER", *STILLS)
EMOTIONS = r"\b(happ|sad|neutral|ang(er|ry)|surpris|disgust|fear|afraid|contempt|anxi|helpless|disappoint|engage)"
KINDS = ("class_names", "class_names_with_context", "class_descriptor", "prompt_ensemble", "descriptive")


def entry(name, **texts):
    return {"name": name, "descriptive": f"a {name} face"} | texts


def classes_of(*names):
    return {"classes": [entry(name) for name in names]}


def load(folder, content, dataset="RAER"):
    path = folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_classes(dataset, str(path))


# the sets that are shipped


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
        ("DAiSEE-Binary", 2, "Not Engaged", "Engaged", 1, 0, True),
        ("DAiSEE-Three", 3, "Low Engagement", "Very High Engagement", 1, 0, True),
        ("DAiSEE-Confusion", 4, "Very Low Confusion", "Very High Confusion", 1, 0, True),
        ("EngageNet", 4, "Not Engaged", "Highly Engaged", 0, 0, False),
        ("RAF-DB", 7, "surprise", "neutral", 1, 0, False),
        ("AffectNet", 8, "neutral", "contempt", 0, 0, False),
        ("FER2013", 7, "anger", "neutral", 0, 0, False),
        ("FERPlus", 8, "neutral", "contempt", 0, 0, False),
        ("RAER", 5, "Neutrality", "Distraction", 1, 0, True),
    ],
)
def test_the_settings_of_each_set(dataset, count, first, last, base, folds, persons):
    classes = load_classes(dataset)
    assert (len(classes), classes.names[0], classes.names[-1]) == (count, first, last)
    assert (classes.label_base, classes.folds, classes.has_persons) == (base, folds, persons)
    assert classes.parts is None


def test_the_sets_exist_and_the_classes_of_raer_are_in_label_order():
    assert sorted(folder.parent.name for folder in ANNOTATION.glob("*/classes.json")) == sorted(SETS)
    names = ("Neutrality", "Enjoyment", "Confusion", "Fatigue", "Distraction")
    assert load_classes("RAER").names == names and load_classes("RAER").texts_of("class_names")[3] == ("Fatigue",)


@pytest.mark.parametrize("dataset", SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_set_has_every_kind_of_text_without_duplicates(dataset, kind):
    classes = load_classes(dataset)
    rows = classes.texts_of(kind)
    assert len(rows) == len(classes) and {len(row) for row in rows} == {3 if kind == "prompt_ensemble" else 1}
    texts = [text for row in rows for text in row]
    assert len({text.lower() for text in texts}) == len(texts)
    if kind != "class_names":
        assert all(text[0].isupper() and text.endswith(".") and text.isascii() for text in texts)
    if kind in KINDS[2:] and dataset != "RAER":  # descriptions name visible signs and no emotion
        assert not [text for text in texts if re.search(EMOTIONS, text, re.I)]


def test_drawn_students_have_texts_of_their_own():
    real, drawn = load_classes("RAER"), load_classes("RAER", str(ANNOTATION / "RAER/simulated.json"))
    assert (drawn.names, drawn.label_base, drawn.has_persons) == (real.names, real.label_base, real.has_persons)
    assert drawn.texts.keys() == real.texts.keys()
    for kind, rows in drawn.texts.items():
        assert not {text for row in rows for text in row} & {text for row in real.texts_of(kind) for text in row}


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_class_has_the_same_texts_in_every_set(kind):
    wordings = {}
    for classes in map(load_classes, SETS):
        for name, texts in zip(classes.names, classes.texts_of(kind), strict=True):
            assert wordings.setdefault(name, texts) == texts, (classes.source, name)


# the user's own


def test_a_file_of_the_user_replaces_classes_and_texts(tmp_path):
    entries = [entry("a", class_descriptor="x"), entry("b", class_descriptor=["y"])]
    classes = load(tmp_path, {"label_base": 0, "classes": entries})
    assert (classes.names, classes.label_base) == (("a", "b"), 0)
    assert classes.texts_of("class_descriptor") == (("x",), ("y",))
    assert classes.texts_of("descriptive") == (("a a face",), ("a b face",))
    with pytest.raises(UserError, match=r"mine\.json.*prompt_ensemble"):  # only on request
        classes.texts_of("prompt_ensemble")


def test_texts_of_the_user_do_not_change_how_lists_are_read(tmp_path):
    classes = load(tmp_path, classes_of(*"abcd"), "DAiSEE")
    assert classes.has_persons and classes.label_base == 1 and classes.format.level_used == "engagement"
    assert not load(tmp_path, {"persons": False} | classes_of("a"), "DAiSEE").has_persons
    assert load(tmp_path, classes_of("a"), "unheard").label_base == 1


def test_other_classes_do_not_use_the_list_order_of_the_set(tmp_path):
    assert load(tmp_path, classes_of("a", "b"), "MAFW").format.order is None
    names = sorted(load_classes("MAFW").names)
    order = load(tmp_path, classes_of(*names), "MAFW").format.order
    assert [names[n] for n in order][:2] == ["happiness", "sadness"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "line 1"),
        ("[]", "classes"),
        ({"classes": []}, "classes"),
        ({"classes": {"a": 1}}, "classes"),
        ({"classes": ["a"]}, "class 1"),
        ({"classes": [entry("a"), {"descriptive": "x"}]}, "class 2"),
        (classes_of("a", " "), "class 2"),
        (classes_of("a", "a"), "same name"),
        (classes_of("a", "a "), "same name"),
        ({"classes": [entry("a"), {"name": "b"}]}, "class b"),
        ({"classes": [entry("a"), entry("b", descriptive=[])]}, "class b"),
        ({"classes": [entry("a"), entry("b", descriptive=5)]}, "class b"),
        ({"classes": [entry("a"), entry("b", descriptive=["x", ""])]}, "class b"),
        (
            {"classes": [entry("a", prompt_ensemble=["x"]), entry("b", prompt_ensemble=["x", "y"])]},
            "the same number of",
        ),
        ('{"classes": [{"name": "a", "name": "b"}]}', "twice"),
        ({"splits": {"training": ["a"]}} | classes_of("a"), "\"splits\" has 'training'"),
        ({"person_pattern": "("} | classes_of("a"), "not a regular expression"),
        ({"published": {"parts": {}}} | classes_of("a"), "source"),
        ({"published": {"source": "x", "parts": {"test": {"clips": "1"}}}} | classes_of("a"), "clips"),
        (
            {"published": {"source": "x", "parts": {"test": {"classes": {"b": 1}}}}} | classes_of("a"),
            "the class 'b' in test",
        ),
        ({"label_base": "1"} | classes_of("a"), "label_base"),
        ({"label_bas": 0} | classes_of("a"), "did you mean label_base"),
        ({"label_base": True} | classes_of("a"), "whole number"),
        ({"persons": "yes"} | classes_of("a"), "true or false"),
        ({"layout": "table"} | classes_of("a"), "'list' or 'names' or 'images'"),
        ({"folds": -1} | classes_of("a"), "a number from 0"),
        ({"clip_folders": []} | classes_of("a"), "list of texts"),
        ({"clip_folders": ["a", 1]} | classes_of("a"), "clip_folders, 1: expected a text"),
        ({"list_order": ["a"]} | classes_of("a", "b"), "every class once"),
        ({"list_order": ["a", "a"]} | classes_of("a", "b"), "every class once"),
        ({"level_columns": ["x"]} | classes_of("a"), "level_used"),
        ({"level_columns": ["x"], "level_used": "y"} | classes_of("a"), "one of x"),
        ({"classes": [entry("a", folders="b"), entry("c")]}, "class a"),
        ({"classes": [entry("a", folders=["X"]), entry("b", folders=["x"])]}, "of a and of b"),
        ({"classes": [entry("a", folders=["B"]), entry("b")]}, "of b and of a"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, content, part):
    with pytest.raises(UserError, match=r"mine\.json") as caught:
        load(tmp_path, content)
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_data_set_names_the_known_ones_and_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--dataset NOPE.*RAER"):
        load_classes("NOPE")
    with pytest.raises(UserError, match=r"gone\.json"):
        load_classes("RAER", str(tmp_path / "gone.json"))


def test_classes_of_a_removed_file_are_those_of_the_set(tmp_path):
    file = tmp_path / "own.json"
    assert list_classes("DFEW", str(file)) == load_classes("DFEW") and list_classes("mine", str(file)) is None
    file.write_text('{"classes": [{"name": "a"}, {"name": "b"}], "flat_face_boxes": true}')
    assert list_classes("mine", str(file)).has_flat_boxes and list_classes("DFEW", str(file)).names == ("a", "b")


# combinations, and the classes of a model


def test_combinations_follow_the_base_classes_in_a_fixed_order():
    base = load_classes("MAFW")
    sets = [{2, 3}, {1, 0}, {0, 1}, {4}, {0, 1, 2}, {0, 10}]
    classes = with_compounds(base, {frozenset(s) for s in sets})
    combinations = ("anger_disgust", "anger_disappointment", "fear_happiness", "anger_disgust_fear")
    assert classes.names == base.names + combinations
    assert classes.parts[11:] == ((0, 1), (0, 10), (2, 3), (0, 1, 2)) and classes.parts[:2] == ((0,), (1,))
    assert with_compounds(base, [frozenset(s) for s in reversed(sets)]) == classes
    assert classes.base_names == base.names
    assert all(classes.texts_of(kind) == base.texts_of(kind) for kind in KINDS)


def test_a_model_brings_its_names_and_the_set_its_lists():
    base = load_classes("MAFW")
    compound = with_compounds(base, {frozenset({0, 1})})
    for classes in (base, compound):
        model = with_names(base, classes.names, 0, "best.pt")
        assert (model.names, model.parts, model.layout, model.source) == (
            classes.names, classes.parts, "names", "best.pt",
        )  # fmt: skip
        assert model.format == base.format and model.texts == {}
    assert with_names(compound, base.names, 0, "best.pt").parts is None
    model = with_names(load_classes("RAER"), ("calm", "glad"), 0, "best.pt")
    assert (model.names, model.label_base, model.has_persons) == (("calm", "glad"), 0, True)
    with pytest.raises(UserError, match=r"best\.pt"):
        with_names(base, (*base.names, "anger_boredom"), 0, "best.pt")


def test_the_numbers_of_a_list_mean_the_same_to_a_model_with_another_order():
    mafw = load_classes("MAFW")
    by_number = [mafw.names[label] for label in mafw.format.order]
    for names in (mafw.names, tuple(sorted(mafw.names)), tuple(by_number)):
        model = with_names(mafw, names, 0, "best.pt")
        order = model.format.order or tuple(range(len(names)))
        assert model.names == names and [model.names[label] for label in order] == by_number
