"""Sentences about single drawings and about clips, with varied words and order.

They say what is seen and never name an emotion. A clip is described by what a face does at its apex and how it got
there. ``phrases.json`` holds the words for each value of each attribute.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simulate.attributes import FACE_PARTS

PHRASES = json.loads((Path(__file__).parent / "phrases.json").read_text(encoding="utf-8"))
SUBJECTS = ("a student", "a young person", "someone", "a person", "a cartoon of a student", "the student")
FACE_SUBJECTS = ("a face", "the face of a student", "a close view of a face", "a portrait of a student", "a young face")
PEOPLE = ("a person", "someone", "the person", "a cartoon person", "a figure", "one person")
FACE = PHRASES["face"]  # noun phrases that follow "with"
SCENE = PHRASES["scene"] | {  # participles that follow "a student at a desk in a library"
    "mouth": {name: [f"with {words}" for words in phrases] for name, phrases in FACE["mouth"].items()},
    "brows": {name: [f"with {words}" for words in phrases] for name, phrases in FACE["brows"].items()},
    "eyes": {"half closed": [f"with {words}" for words in FACE["eyes"]["half closed"]]},
    "head": {name: [f"with {words}" for words in phrases] for name, phrases in FACE["head"].items()},
}
CLIP = {part: FACE.get(part, {}) | PHRASES["finer face"].get(part, {}) for part in (*FACE_PARTS, "speech")}
CALM = {"mouth": "at rest", "brows": "at rest", "eyes": "open", "gaze": "ahead"}  # worth few words at an apex
MAX_WORDS = 45  # of the caption of a clip; CLIP reads 77 tokens
Phrases = dict[str, dict[str, list[str]]]


def describe_face(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Return one sentence about the face alone, as a face crop shows it."""
    clauses = _clauses(FACE, attributes, rng, always=("mouth", "eyes", "brows"), keep=0.8, most=5)
    return _finish(f"{_pick(FACE_SUBJECTS, rng)} with {_join(clauses)}")


def describe_scene(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Return one sentence about the person, the hands, the things in use and the room."""
    always = ("target", "hands") if rng.random() < 0.85 else ("target",)
    clauses = _clauses(SCENE, attributes, rng, always=always, keep=0.35, most=4)
    room = _pick(PHRASES["rooms"][attributes["place"]], rng)
    if rng.random() < 0.3:
        return _finish(f"in {room}, {_pick(SUBJECTS, rng)} at a desk, {_join(clauses)}")
    where = f" in {room}" if rng.random() < 0.75 else ""
    return _finish(f"{_pick(SUBJECTS, rng)} at {_pick(('a desk', 'a table'), rng)}{where}, {_join(clauses)}")


def _clauses(
    phrases: Phrases,
    attributes: dict[str, str],
    rng: np.random.Generator,
    always: Sequence[str],
    keep: float,
    most: int,
) -> list[str]:
    """Return worded attributes in random order: those in ``always`` nearly surely, of the rest a share ``keep``."""
    names = [name for name in phrases if attributes.get(name) in phrases[name]]
    first = [name for name in names if name in always and rng.random() < 0.92]
    later = [name for name in names if name not in always and rng.random() < keep]
    selection = (first + [later[i] for i in rng.permutation(len(later))])[:most] or names[:1]
    ordered = [selection[i] for i in rng.permutation(len(selection))]
    return [_pick(phrases[name][attributes[name]], rng) for name in ordered]


def describe_clip(first: dict[str, str], apex: dict[str, str], rng: np.random.Generator) -> str:
    """Return one or two sentences of at most ``MAX_WORDS`` words; ``rng`` chooses words and order."""
    start = _before(first, apex, rng)
    for most in (4, 3, 2):
        sentence = _compose(start, _at_apex(apex, most, rng), rng)
        if len(sentence.split()) <= MAX_WORDS:
            break
    if rng.random() < 0.35 and len(sentence.split()) <= MAX_WORDS - 8:
        looks = [words[apex[name]] for name, words in PHRASES["looks"].items() if apex[name] in words]
        options = looks[rng.integers(len(looks))]
        person = _pick(("the person", "this person", "the figure"), rng)
        sentence += " " + _finish(f"{person} {_pick(options, rng)}")
    return sentence


def _at_apex(apex: dict[str, str], most: int, rng: np.random.Generator) -> str:
    """Return phrases for parts that moved, and for calm ones only where little moves; all in random order."""
    parts = [part for part in CLIP if apex.get(part) in CLIP[part] and not _is_hidden(part, apex)]
    moving = [part for part in parts if apex[part] != CALM.get(part)]
    calm = [part for part in parts if part not in moving]
    selection = [moving[i] for i in rng.permutation(len(moving))] + [calm[i] for i in rng.permutation(len(calm))]
    selection = selection[: max(min(3, most), min(most, len(moving)))]
    clauses = [_pick(CLIP[part][apex[part]], rng) for part in selection]
    hands = PHRASES["hands at the face"].get(apex["hands"])
    if hands and rng.random() < 0.7:
        clauses[-1] = _pick(hands, rng)
    return _join([clauses[i] for i in rng.permutation(len(clauses))])


def _is_hidden(part: str, attributes: dict[str, str]) -> bool:
    """Return whether a part lies behind a hand, or is told by another part.

    Lids are told by a gaze that falls, parted lips by speech.
    """
    if part == "eyes":
        return attributes["eyes"] == "lowered" and attributes["gaze"] == "down"
    if part == "mouth" and "speech" in attributes and attributes["mouth"] in ("at rest", "slightly open"):
        return True
    return part in ("mouth", "speech") and attributes["hands"] == "covering the mouth"


def _before(first: dict[str, str], apex: dict[str, str], rng: np.random.Generator) -> str | None:
    """Return phrases for one or two parts that looked different before; None where nothing nameable changes."""
    parts = [
        part
        for part in FACE_PARTS
        if first.get(part) != apex.get(part) and first.get(part) in CLIP[part] and not _is_hidden(part, first)
    ]
    selection = rng.permutation(len(parts))[: rng.integers(1, 3)]
    return _join([_pick(CLIP[parts[i]][first[parts[i]]], rng) for i in selection]) if parts else None


def _compose(start: str | None, apex: str, rng: np.random.Generator) -> str:
    person = _pick(PEOPLE, rng)
    if start is None or rng.random() < 0.2:
        options = (f"{person} with {apex}", f"{person} is seen with {apex}", f"{person} shows {apex}")
        return _finish(_pick(options, rng))
    orders = (
        f"at first {person} is seen with {start}, then with {apex}",
        f"{person}, at first with {start}, then with {apex}",
        f"{person} starts with {start}. Then come {apex}",
        f"{person} with {apex}. At first with {start}",
        f"{person} shows {start} at first, {apex} later",
        f"{person} goes from {start} to {apex}",
    )
    return _finish(_pick(orders, rng))


def describe_in_chinese(apex: dict[str, str]) -> str:
    """Return one sentence about mouth, brows and gaze for the Chinese column of MAFW's lists."""
    words = PHRASES["chinese"]
    is_covered = apex["hands"] == "covering the mouth"
    mouth = "一只手捂着嘴" if is_covered else words["mouth"].get(apex["mouth"])
    parts = (words["brows"].get(apex["brows"]), words["gaze"].get(apex["gaze"], "眼睛闭着"), mouth)
    return f"画面中的人{'，'.join(part for part in parts if part)}。"


def _join(clauses: list[str]) -> str:
    """Return ``a, b and c``."""
    return clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[rng.integers(len(options))]


def _finish(sentence: str) -> str:
    """Return the sentence with a capital letter and a full stop."""
    return f"{sentence[0].upper()}{sentence[1:]}."
