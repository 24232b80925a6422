"""Describe what can be seen in a frame and over a clip: attributes in words, and varied sentences.

Attributes are read from the latents that were drawn, so a sentence states nothing else. Sentences describe what is seen
and never name an emotion. A clip is described by the face at its apex and the change before it. ``phrases.json`` holds
the words for each value of each attribute.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from simulate.moment import Moment
from simulate.scene import Scene

Conditions = dict[str, Callable[[Moment], bool]]


def _does(action: str) -> Callable[[Moment], bool]:
    """Return whether either hand does ``action``."""
    return lambda m: action in (m.hand("left"), m.hand("right"))


WORDS: dict[str, Conditions] = {  # the words of each attribute; the first one whose condition is true is used
    "mouth": {
        "laughing": lambda m: m.smile > 0.25 and m.mouth_open > 0.2,
        "smiling broadly": lambda m: m.smile > 0.6,
        "smiling": lambda m: m.smile > 0.25,
        "yawning": lambda m: m.mouth_open > 0.5 and m.eyelid < 0.5,
        "wide open": lambda m: m.mouth_open > 0.5,
        "slightly open": lambda m: m.mouth_open > 0.15,
        "pressed": lambda m: m.mouth_press > 0.4,
        "corners down": lambda m: m.smile < -0.2,
        "at rest": lambda m: True,
    },
    "brows": {
        "furrowed": lambda m: m.brow_furrow > 0.4,
        "uneven": lambda m: abs(m.brow_tilt) > 0.4,
        "raised": lambda m: m.brow_raise > 0.35,
        "lowered": lambda m: m.brow_raise < -0.35,
        "at rest": lambda m: True,
    },
    "eyes": {
        "closed": lambda m: m.eyelid < 0.12,
        "half closed": lambda m: m.eyelid < 0.5,
        "lowered": lambda m: m.gaze_y > 0.4,
        "open": lambda m: True,
    },
    "gaze": {  # only the direction, as far as the face shows it
        "hidden": lambda m: m.eyelid < 0.12,
        "right": lambda m: m.yaw / 45 + 0.6 * m.gaze_x > 0.55,
        "left": lambda m: m.yaw / 45 + 0.6 * m.gaze_x < -0.55,
        "down": lambda m: m.gaze_y > 0.25,
        "up": lambda m: m.gaze_y < -0.35,
        "ahead": lambda m: True,
    },
    "target": {
        "nothing": lambda m: m.eyelid < 0.12,
        "phone": lambda m: m.attention == "phone",
        "away": lambda m: m.attention == "away",
        "ahead": lambda m: m.attention == "ahead" or m.work == "lesson",
        "book": lambda m: m.work == "book",
        "notebook": lambda m: m.work == "notebook",
        "laptop": lambda m: m.work == "laptop",
    },
    "head": {
        "turned right": lambda m: m.yaw > 20,
        "turned left": lambda m: m.yaw < -20,
        "tilted": lambda m: abs(m.roll) > 7,
        "bowed": lambda m: m.pitch > 10,
        "raised": lambda m: m.pitch < -6,
        "upright": lambda m: True,
    },
    "posture": {
        "slumped": lambda m: m.slump > 0.6,
        "leaning forward": lambda m: m.forward > 0.5,
        "leaning sideways": lambda m: abs(m.lean) > 0.55,
        "upright": lambda m: True,
    },
    "hands": {
        "holding a phone": _does("phone"),
        "scratching the head": _does("head"),
        "touching the chin": _does("chin"),
        "pen at the lips": _does("pen"),
        "cheek on a palm": _does("palm"),
        "covering the mouth": _does("mouth"),
        "rubbing an eye": _does("eye"),
        "twirling a pen": _does("fiddle"),
        "writing": _does("write"),
        "typing": _does("type"),
        "holding the pages": _does("page"),
        "resting": lambda m: True,
    },
    "object": {
        "phone": lambda m: m.phone == "held",
        "book": lambda m: m.work == "book",
        "notebook and pen": lambda m: m.work == "notebook",
        "laptop": lambda m: m.work == "laptop",
        "none": lambda m: True,
    },
    "idle phone": {"yes": lambda m: m.phone == "desk", "no": lambda m: True},
}
FINER_WORDS: tuple[tuple[str, str, str, Callable[[Moment], bool]], ...] = (
    # attribute, word that is replaced, finer word for what emotions do to a face, condition
    ("brows", "any", "raised and drawn together", lambda m: m.brow_furrow > 0.3 and m.brow_raise > 0.3),
    ("brows", "any", "lowered and drawn together", lambda m: m.brow_furrow > 0.3 and m.brow_raise < -0.3),
    ("brows", "at rest", "slightly furrowed", lambda m: m.brow_furrow > max(0.22, abs(m.brow_raise))),
    ("brows", "at rest", "slightly raised", lambda m: m.brow_raise > 0.22),
    ("brows", "at rest", "slightly lowered", lambda m: m.brow_raise < -0.22),
    ("mouth", "at rest", "slightly up", lambda m: m.smile > 0.13),
    ("mouth", "at rest", "slightly down", lambda m: m.smile < -0.13),
    ("mouth", "pressed", "pressed, corners down", lambda m: m.smile < -0.2),
    ("mouth", "slightly open", "open, corners down", lambda m: m.smile < -0.2),
    ("eyes", "open", "wide", lambda m: m.eyelid > 0.9),
    ("eyes", "open", "narrowed", lambda m: m.eyelid < 0.6),
    ("eyes", "half closed", "narrowed", lambda m: m.smile > 0.25),  # by the cheeks, not by sleep
)
CALM_EYELID = 0.74
FACE_PARTS = ("mouth", "brows", "eyes", "gaze", "head")  # what can change in a face


def read_attributes(scene: Scene, moment: Moment) -> dict[str, str]:
    """Return all attributes of one frame of ``scene``, {attribute: word}."""
    attributes = {
        name: next(word for word, holds in conditions.items() if holds(moment)) for name, conditions in WORDS.items()
    }
    person = {"glasses": scene.identity.glasses, "hair": scene.identity.hair, "clothes": scene.outfit.kind}
    return attributes | {"place": scene.room.lower()} | person


def read_change(scene: Scene, moments: tuple[Moment, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what can be seen at both ends of a clip: attributes of its first and of its most expressive moment.

    If the apex is early, the last moment is used instead of the first. The apex also names movements over time: darting
    eyes, a shaking head, talking lips.
    """
    number = find_apex(moments)
    calmer = moments[0] if number > len(moments) // 4 else moments[-1]
    apex = _read_finely(scene, moments[number])
    if _count_turns(moments, "gaze_x", 0.5) >= 3:
        apex["gaze"] = "darting"
    if _count_turns(moments, "yaw", 5) >= 3:
        apex["head"] = "shaking"
    if _count_turns(moments, "mouth_open", 0.12) >= 4:
        apex["speech"] = "yes"
    return _read_finely(scene, calmer), apex


def find_apex(moments: tuple[Moment, ...]) -> int:
    """Return the number of the frame in the middle of the most expressive three."""
    efforts = np.pad([_effort(moment) for moment in moments], 1, mode="edge")
    return int(np.convolve(efforts, np.ones(3) / 3, "valid").argmax())


def _effort(moment: Moment) -> float:
    """Return how far face and head are from calm; a blink does not count."""
    lids = abs(moment.eyelid - CALM_EYELID) if moment.eyelid > 0.3 else 0.0
    brows = abs(moment.brow_raise) + moment.brow_furrow + 0.7 * abs(moment.brow_tilt)
    mouth = abs(moment.smile) + moment.mouth_open + 0.7 * moment.mouth_press
    head = abs(moment.yaw) / 40 + abs(moment.pitch) / 25 + abs(moment.roll) / 25
    return brows + mouth + head + 1.5 * lids + 0.6 * (abs(moment.gaze_x) + abs(moment.gaze_y))


def _read_finely(scene: Scene, moment: Moment) -> dict[str, str]:
    """Return the attributes of a frame, with finer words for what emotions do to a face."""
    attributes = read_attributes(scene, moment)
    for name, word, finer_word, holds in FINER_WORDS:
        if word in ("any", attributes[name]) and holds(moment):
            attributes[name] = finer_word
    return attributes


def _count_turns(moments: tuple[Moment, ...], latent: str, least: float) -> int:
    """Return how often a latent goes back by more than ``least``."""
    turns, direction, extreme = 0, 0, getattr(moments[0], latent)
    for value in (getattr(moment, latent) for moment in moments):
        if direction * (value - extreme) >= 0 and direction:
            extreme = value
        elif abs(value - extreme) > least:
            turns, direction, extreme = turns + (direction != 0), (1 if value > extreme else -1), value
    return turns


# --- sentences

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
CALM = {"mouth": "at rest", "brows": "at rest", "eyes": "open", "gaze": "ahead"}  # rarely mentioned at an apex
MAX_WORDS = 45  # of the caption of a clip; CLIP reads 77 tokens
Phrases = dict[str, dict[str, list[str]]]


def describe_face(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Return one sentence about only the face, as a face crop shows it."""
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
    """Return phrases for attributes in random order: nearly all in ``always``, and a share ``keep`` of others."""
    names = [name for name in phrases if attributes.get(name) in phrases[name]]
    first = [name for name in names if name in always and rng.random() < 0.92]
    later = [name for name in names if name not in always and rng.random() < keep]
    selection = (first + [later[i] for i in rng.permutation(len(later))])[:most] or names[:1]
    ordered = [selection[i] for i in rng.permutation(len(selection))]
    return [_pick(phrases[name][attributes[name]], rng) for name in ordered]


def describe_clip(first: dict[str, str], apex: dict[str, str], rng: np.random.Generator) -> str:
    """Return one or two sentences of at most ``MAX_WORDS`` words; ``rng`` selects words and order."""
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
    """Return phrases for parts that moved, and for calm ones only if little moves, in random order."""
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
    """Return whether a part is behind a hand, or is implied by another part.

    Lowered lids are implied by a lowered gaze, parted lips by speech.
    """
    if part == "eyes":
        return attributes["eyes"] == "lowered" and attributes["gaze"] == "down"
    if part == "mouth" and "speech" in attributes and attributes["mouth"] in ("at rest", "slightly open"):
        return True
    return part in ("mouth", "speech") and attributes["hands"] == "covering the mouth"


def _before(first: dict[str, str], apex: dict[str, str], rng: np.random.Generator) -> str | None:
    """Return phrases for one or two parts that looked different before; None if no attribute changes."""
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
