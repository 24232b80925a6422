"""The classes of a prepared set: a known set's, or the user's own by their folders or labels, with texts of each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataloader.classes import Classes, load_classes, read_json
from dataloader.prepare.notes import write_json
from dataloader.prepare.options import PrepareOptions
from dataloader.prepare.sources import Source
from utils.errors import UserError, closest

TEXTS = {  # of classes that come as folder names: replace them by better ones
    "class_names_with_context": "A person with an expression of {}.",
    "class_descriptor": "A person whose face and posture show {}.",
    "prompt_ensemble": ["A person with an expression of {}.", "A face that shows {}."],
    "descriptive": "A face and a posture that show {}.",
}
PREVIOUS = "classes.previous.json"


@dataclass(frozen=True)
class SetClasses:
    """``numbers``: {label as written: number in the lists}; ``entries``: of own classes, as their file holds them."""

    numbers: dict[str, int]
    own: tuple[str, ...] = ()
    entries: list[dict[str, Any]] = field(default_factory=list)

    def write(self, out: Path) -> Path | None:
        """The file of texts that no class has any longer, where there are such: nothing that was written goes."""
        stored, path = read_own(out), file_of(out)
        gone, aside = [entry for entry in stored if entry not in self.entries], path.with_name(PREVIOUS)
        if gone:
            before = read_previous(aside)
            write_json(aside, stated([*before, *(entry for entry in gone if entry not in before)]))
        if not self.own:
            path.unlink(missing_ok=True)
        elif not stored or read_json(path) != stated(self.entries):
            write_json(path, stated(self.entries))
        return aside if gone else None


def find_classes(out: Path, sources: list[Source], options: PrepareOptions) -> SetClasses:
    written = sorted({part.label for source in sources for part in source.parts if part.label is not None})
    if not written and (out / "annotation/train.txt").is_file():
        raise UserError(
            f"--out {out}: its clips have labels, this call names none: name them as before or choose another --out"
        )
    if options.class_texts and Path(options.class_texts).resolve() == file_of(out).resolve():
        raise UserError(
            f"--class-texts {options.class_texts}: is this set's own file, which holds anyway; leave it out"
        )
    stored, known = read_own(out), load_classes(options.dataset, options.class_texts)
    if known.layout == "images" or known.format.checks_class_folder:
        raise UserError(f"{known.source}: its lists are of another kind than a prepared set's; choose another")
    missing = [label for label in written if label.lower() not in known.words]
    if not missing:
        return SetClasses({label: number_of(known, label) for label in written})
    if options.class_texts:
        advice = closest(missing[0], list(known.names)) or f"; one of {', '.join(known.names)}"
        raise UserError(f"label {missing[0]!r}: no class of {known.source}{advice}")
    check_names(written)
    earlier = {entry["name"]: entry for entry in stored}
    entries = [earlier.get(name) or entry_of(name, stored[0] if stored else TEXTS) for name in written]
    return SetClasses({label: number for number, label in enumerate(written, 1)}, tuple(written), entries)


def check_names(labels: list[str]) -> None:
    """What is a mistake rather than a class."""
    known: dict[str, str] = {}
    for label in labels:
        if not label.isprintable():
            raise UserError(f"label {label!r}: has characters that no class name can have; rename it")
        if (other := known.setdefault(label.strip().casefold(), label)) != label:
            raise UserError(f"labels {other!r} and {label!r}: differ in nothing that counts; write them alike")


def number_of(known: Classes, label: str) -> int:
    """As the lists of a known set count, some in an order of their own."""
    place, order = known.words[label.lower()], known.format.order
    return known.label_base + (place if order is None else order.index(place))


def entry_of(name: str, like: dict[str, Any]) -> dict[str, Any]:
    """With as many texts of each kind as another class has, which all must."""
    word, entry = name.replace("_", " ").lower(), {"name": name}
    for kind in filter(like.__contains__, TEXTS):
        texts = TEXTS[kind] if isinstance(TEXTS[kind], list) else [TEXTS[kind]]
        count = len(like[kind]) if isinstance(like[kind], list) else 1
        made = [texts[number % len(texts)].format(word) for number in range(count)]
        entry[kind] = made if isinstance(like[kind], list) else made[0]
    return entry


def stated(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"label_base": 1, "persons": True, "classes": entries}


def file_of(out: Path) -> Path:
    return out / "annotation/classes.json"


def read_own(out: Path) -> list[dict[str, Any]]:
    """The classes that the set has by now; a file that somebody broke is not written over."""
    if not file_of(out).is_file():
        return []
    load_classes("RAER", str(file_of(out)))
    return read_json(file_of(out))["classes"]


def read_previous(path: Path) -> list[dict[str, Any]]:
    stored = read_json(path) if path.is_file() else stated([])
    if not isinstance(stored, dict) or not isinstance(stored.get("classes"), list):
        raise UserError(f'{path}: expected {{"classes": [...]}}; rename it, a new one is written')
    return stored["classes"]
