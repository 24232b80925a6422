"""A sentence or two about a clip: what a face does at its apex and how it got there, never the name of an emotion."""

import numpy as np

from simulate.captions import FACE, finish, join, pick
from simulate.change import PARTS, Change

LONGEST = 45  # words; CLIP reads 77 tokens
PEOPLE = ("a person", "someone", "the person", "a cartoon person", "a figure", "one person")
FINER = {  # beside the words for single drawings
    "mouth": {
        "pressed, corners down": ("lips pressed together and turned down", "tight lips with lowered corners"),
        "slightly up": ("mouth corners slightly lifted", "a hint of upturned lips"),
        "slightly down": ("mouth corners slightly lowered", "lips turned down a little"),
        "open, corners down": ("parted lips pulled down at the corners", "an open mouth with its corners drawn down"),
    },
    "brows": {
        "raised and drawn together": ("brows lifted and pulled together", "raised and knitted eyebrows"),
        "slightly furrowed": ("slightly furrowed brows", "brows drawn together a little"),
        "slightly raised": ("slightly raised brows", "brows lifted a little"),
        "slightly lowered": ("slightly lowered brows", "brows pulled down a little"),
        "lowered and drawn together": ("lowered and furrowed brows", "eyebrows pulled down and together"),
    },
    "eyes": {
        "wide": ("wide open eyes", "eyes opened wide", "lids pulled far up"),
        "narrowed": ("narrowed eyes", "slightly closed lids", "small eyes"),
    },
    "gaze": {"darting": ("eyes darting from side to side", "a restless gaze that jumps about")},
    "head": {"shaking": ("the head turning from side to side", "a shaking head")},
    "speech": {"yes": ("lips moving as in speech", "a talking mouth")},
}
WORDS = {part: FACE.get(part, {}) | FINER.get(part, {}) for part in (*PARTS, "speech")}
HANDS = {
    "scratching the head": ("a hand in the hair", "fingers at the side of the head"),
    "touching the chin": ("a hand at the chin", "a fist under the chin"),
    "cheek on a palm": ("a cheek on one palm", "the head propped on one hand"),
    "covering the mouth": ("a hand over the mouth", "fingers before the lips"),
    "rubbing an eye": ("a hand at one eye", "fingers rubbing an eye"),
}
CALM = {"mouth": "at rest", "brows": "at rest", "eyes": "open", "gaze": "ahead"}  # worth few words at an apex
LOOKS = {
    "glasses": {"round": ("wears round glasses",), "square": ("wears square glasses",)},
    "hair": {
        "short": ("has short hair",), "fringe": ("has a fringe",), "parted": ("has parted hair",),
        "curly": ("has curly hair",), "long": ("has long hair",), "bob": ("has hair to the chin",),
        "bun": ("has the hair in a bun",),
    },
    "clothes": {
        "t-shirt": ("wears a t-shirt",), "shirt": ("wears a shirt",), "hoodie": ("wears a hoodie",),
        "striped jumper": ("wears a striped jumper",), "jumper": ("wears a jumper",),
    },
}  # fmt: skip


def describe_clip(change: Change, rng: np.random.Generator) -> str:
    """One or two sentences of at most ``LONGEST`` words; ``rng`` chooses words and order."""
    first = _before(change, rng)
    for most in (4, 3, 2):
        sentence = _compose(first, _at_apex(change.apex, most, rng), rng)
        if len(sentence.split()) <= LONGEST:
            break
    if rng.random() < 0.35 and len(sentence.split()) <= LONGEST - 8:
        sentence += f" {_describe_looks(change.apex, rng)}"
    return sentence


def _at_apex(apex: dict[str, str], most: int, rng: np.random.Generator) -> str:
    """Moved parts first, calm ones only where little moves; then all in random order."""
    parts = [part for part in WORDS if apex.get(part) in WORDS[part] and not _is_hidden(part, apex)]
    moved = [part for part in parts if apex[part] != CALM.get(part)]
    calm = [part for part in parts if part not in moved]
    chosen = [moved[i] for i in rng.permutation(len(moved))] + [calm[i] for i in rng.permutation(len(calm))]
    chosen = chosen[: max(min(3, most), min(most, len(moved)))]
    clauses = [pick(WORDS[part][apex[part]], rng) for part in chosen]
    if apex["hands"] in HANDS and rng.random() < 0.7:
        clauses[-1] = pick(HANDS[apex["hands"]], rng)
    return join([clauses[i] for i in rng.permutation(len(clauses))])


def _is_hidden(part: str, apex: dict[str, str]) -> bool:
    """Lips behind a hand; and what another part tells: lids by a gaze that falls, parted lips by speech."""
    if part == "eyes":
        return apex["eyes"] == "lowered" and apex["gaze"] == "down"
    if part == "mouth" and "speech" in apex and apex["mouth"] in ("at rest", "slightly open"):
        return True
    return part in ("mouth", "speech") and apex["hands"] == "covering the mouth"


def _before(change: Change, rng: np.random.Generator) -> str | None:
    """One or two parts that looked otherwise before; None where nothing nameable changes."""
    parts = [
        part
        for part in PARTS
        if change.first.get(part) != change.apex.get(part)
        and change.first.get(part) in WORDS[part]
        and not _is_hidden(part, change.first)
    ]
    chosen = rng.permutation(len(parts))[: rng.integers(1, 3)]
    return join([pick(WORDS[parts[i]][change.first[parts[i]]], rng) for i in chosen]) if parts else None


def _compose(first: str | None, apex: str, rng: np.random.Generator) -> str:
    who = pick(PEOPLE, rng)
    if first is None or rng.random() < 0.2:
        return finish(pick((f"{who} with {apex}", f"{who} is seen with {apex}", f"{who} shows {apex}"), rng))
    orders = (
        f"at first {who} is seen with {first}, then with {apex}",
        f"{who}, at first with {first}, then with {apex}",
        f"{who} starts with {first}. Then come {apex}",
        f"{who} with {apex}. At first with {first}",
        f"{who} shows {first} at first, {apex} later",
        f"{who} goes from {first} to {apex}",
    )
    return finish(pick(orders, rng))


def _describe_looks(apex: dict[str, str], rng: np.random.Generator) -> str:
    known = [name for name in LOOKS if apex[name] in LOOKS[name]]
    name = known[rng.integers(len(known))]
    return finish(f"{pick(('the person', 'this person', 'the figure'), rng)} {pick(LOOKS[name][apex[name]], rng)}")
