"""Sentences about a drawing, with varied words and order: what is seen, never the name of an emotion."""

import numpy as np

SUBJECTS = ("a student", "a young person", "someone", "a person", "a cartoon of a student", "the student")
FACE_SUBJECTS = ("a face", "the face of a student", "a close view of a face", "a portrait of a student", "a young face")
FACE = {  # noun phrases that follow "with"
    "mouth": {
        "laughing": ("an open laughing mouth", "a laughing mouth showing teeth", "a wide open smile"),
        "smiling broadly": ("a broad smile", "a wide smile", "the corners of the mouth pulled far up"),
        "smiling": ("a smile", "a light smile", "the corners of the mouth turned up"),
        "yawning": ("a mouth wide open in a yawn", "a big yawn", "a yawning mouth"),
        "wide open": ("a wide open mouth", "a mouth opened wide"),
        "slightly open": ("slightly parted lips", "a slightly open mouth"),
        "pressed": ("lips pressed together", "tightly pressed lips", "a tight closed mouth"),
        "corners down": ("the corners of the mouth turned down", "a downturned mouth"),
        "at rest": ("a closed resting mouth", "a straight mouth", "closed lips"),
    },
    "brows": {
        "furrowed": ("furrowed brows", "eyebrows drawn together", "a wrinkled forehead between the brows"),
        "uneven": ("one eyebrow raised", "uneven eyebrows", "one brow higher than the other"),
        "raised": ("raised eyebrows", "both brows lifted"),
        "lowered": ("lowered eyebrows", "low brows"),
        "at rest": ("level eyebrows", "relaxed brows", "smooth brows"),
    },
    "eyes": {
        "closed": ("closed eyes", "both eyes shut", "eyelids fully down"),
        "half closed": ("half-closed eyes", "heavy drooping eyelids", "eyelids hanging low"),
        "lowered": ("lowered eyelids", "eyes cast down"),
        "open": ("open eyes", "clear open eyes"),
    },
    "gaze": {
        "down": ("eyes looking down", "a lowered gaze", "the gaze directed downwards"),
        "ahead": ("eyes looking straight ahead", "a gaze towards the front"),
        "up": ("eyes looking up", "a gaze lifted upwards"),
        "left": ("eyes looking to the left", "a gaze off to the left side"),
        "right": ("eyes looking to the right", "a gaze off to the right side"),
    },
    "head": {
        "tilted": ("a tilted head", "the head leaning to one side"),
        "bowed": ("a bowed head", "the head bent down"),
        "raised": ("a raised chin", "the head tipped back"),
        "turned left": ("the head turned to the left", "a face turned left"),
        "turned right": ("the head turned to the right", "a face turned right"),
    },
    "glasses": {"round": ("round glasses",), "square": ("square glasses", "rectangular glasses")},
}
SCENE = {  # participles that follow "sits at a desk in a library"
    "target": {
        "book": ("reading a book", "looking at an open book", "with eyes on the book"),
        "notebook": ("looking at the notebook", "with eyes on the notes"),
        "laptop": ("looking at a laptop screen", "watching the laptop"),
        "phone": ("looking at a phone", "staring down at a mobile phone", "with eyes on a phone"),
        "ahead": ("looking ahead", "looking up to the front"),
        "away": ("looking away from the desk", "looking off to the side", "gazing out of the picture"),
        "nothing": ("with eyes closed", "eyes shut"),
    },
    "hands": {
        "holding a phone": ("holding a phone", "a phone in the hand", "handling a smartphone"),
        "scratching the head": ("scratching the head", "a hand in the hair"),
        "touching the chin": ("a fist at the chin", "touching the chin with one hand"),
        "pen at the lips": ("holding a pen to the lips", "a pen at the mouth"),
        "cheek on a palm": ("resting the cheek on a palm", "the head propped on one hand"),
        "covering the mouth": ("covering the mouth with a hand", "a hand over the mouth"),
        "rubbing an eye": ("rubbing one eye", "a hand rubbing the eye"),
        "twirling a pen": ("twirling a pen", "fiddling with a pen"),
        "writing": ("writing with a pen", "taking notes", "pen in hand, writing"),
        "typing": ("typing", "hands on the keyboard"),
        "holding the pages": ("hands on the pages", "holding the pages open"),
        "resting": ("hands resting on the desk", "arms lying on the table"),
    },
    "posture": {
        "slumped": ("slumped in the chair", "sunk down with low shoulders"),
        "leaning forward": ("leaning forward", "bent over the desk"),
        "leaning sideways": ("leaning to one side",),
        "upright": ("sitting upright", "with a straight back"),
    },
    "object": {
        "book": ("an open book on the table", "a book in front"),
        "notebook and pen": ("a notebook in front", "a sheet of notes on the table"),
        "laptop": ("a laptop in front", "behind an open laptop"),
    },
    "idle phone": {"yes": ("a phone lying unused on the desk", "a phone set aside")},
    "mouth": {name: tuple(f"with {words}" for words in phrases) for name, phrases in FACE["mouth"].items()},
    "brows": {name: tuple(f"with {words}" for words in phrases) for name, phrases in FACE["brows"].items()},
    "eyes": {name: tuple(f"with {words}" for words in FACE["eyes"][name]) for name in ("half closed",)},
    "head": {name: tuple(f"with {words}" for words in phrases) for name, phrases in FACE["head"].items()},
}
PLACE_WORDS = {
    "classroom": ("a classroom", "a school room with a board"),
    "library": ("a library", "a library with book shelves"),
    "laboratory": ("a laboratory", "a lab with glassware"),
    "dormitory": ("a dormitory", "a dorm room with a bunk bed"),
}


def describe_face(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """One sentence about the face alone, as a face crop shows it."""
    clauses = _clauses(FACE, attributes, rng, always=("mouth", "eyes", "brows"), keep=0.8, most=5)
    return finish(f"{pick(FACE_SUBJECTS, rng)} with {join(clauses)}")


def describe_scene(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """One sentence about the person, the hands, the things in use and the place."""
    always = ("target", "hands") if rng.random() < 0.85 else ("target",)
    clauses = _clauses(SCENE, attributes, rng, always=always, keep=0.35, most=4)
    place = pick(PLACE_WORDS[attributes["place"]], rng)
    if rng.random() < 0.3:
        return finish(f"in {place}, {pick(SUBJECTS, rng)} at a desk, {join(clauses)}")
    where = f" in {place}" if rng.random() < 0.75 else ""
    return finish(f"{pick(SUBJECTS, rng)} at {pick(('a desk', 'a table'), rng)}{where}, {join(clauses)}")


def _clauses(
    grammar: dict, attributes: dict, rng: np.random.Generator, always: tuple, keep: float, most: int
) -> list[str]:
    """Worded attributes in random order: those in ``always`` nearly surely, of the others a share ``keep``."""
    spoken = [name for name in grammar if attributes.get(name) in grammar[name]]
    first = [name for name in spoken if name in always and rng.random() < 0.92]
    others = [name for name in spoken if name not in always and rng.random() < keep]
    chosen = (first + [others[i] for i in rng.permutation(len(others))])[:most]
    chosen = chosen or spoken[:1]
    return [pick(grammar[chosen[i]][attributes[chosen[i]]], rng) for i in rng.permutation(len(chosen))]


def join(clauses: list[str]) -> str:
    """``a, b and c``."""
    return clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"


def pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    """Any of ``options``."""
    return options[rng.integers(len(options))]


def finish(sentence: str) -> str:
    """A capital letter and a full stop."""
    return f"{sentence[0].upper()}{sentence[1:]}."
