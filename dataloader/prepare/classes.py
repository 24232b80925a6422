"""The classes of a prepared set: a known set's, or the user's own by their folders or labels, with texts of each."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataloader.classes import load_classes, read_json
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


@dataclass(frozen=True)
class SetClasses:
    """``numbers``: {label as written: number in the lists}; ``entries``: of own classes, as their file holds them."""

    numbers: dict[str, int]
    own: tuple[str, ...] = ()
    entries: list[dict[str, Any]] = field(default_factory=list)

    def write(self, out: Path) -> None:
        """A file whose texts would be lost goes aside."""
        path, stored = file_of(out), read_own(out)
        if self.own and stored == self.entries:
            return
        if any(entry not in self.entries for entry in stored):
            os.replace(path, path.with_name("classes.previous.json"))
        if self.own:
            write_json(path, {"label_base": 1, "persons": True, "classes": self.entries})


def find_classes(out: Path, sources: list[Source], options: PrepareOptions) -> SetClasses:
    written = sorted({part.label for source in sources for part in source.parts if part.label is not None})
    if not written and (out / "annotation/train.txt").is_file():
        raise UserError(
            f"--out {out}: its clips have labels, this call names none: name them as before or choose another --out"
        )
    known = load_classes(options.dataset, options.class_texts)
    missing = [label for label in written if label.lower() not in known.words]
    if not missing:
        return SetClasses({label: known.words[label.lower()] + known.label_base for label in written})
    if options.class_texts:
        advice = closest(missing[0], list(known.names)) or f"; one of {', '.join(known.names)}"
        raise UserError(f"label {missing[0]!r}: no class of {known.source}{advice}")
    check_names(written)
    earlier = {entry["name"]: entry for entry in read_own(out)}
    entries = [earlier.get(name) or entry_of(name) for name in written]
    return SetClasses({label: number for number, label in enumerate(written, 1)}, tuple(written), entries)


def check_names(labels: list[str]) -> None:
    """What is a mistake rather than a class."""
    known: dict[str, str] = {}
    for label in labels:
        if not label.isprintable():
            raise UserError(f"label {label!r}: has characters that no class name can have; rename it")
        if (other := known.setdefault(label.strip().casefold(), label)) != label:
            raise UserError(f"labels {other!r} and {label!r}: differ in nothing that counts; write them alike")


def entry_of(name: str) -> dict[str, Any]:
    word = name.replace("_", " ").lower()
    return {"name": name} | {kind: filled(text, word) for kind, text in TEXTS.items()}


def filled(text: str | list[str], word: str) -> str | list[str]:
    return text.format(word) if isinstance(text, str) else [one.format(word) for one in text]


def file_of(out: Path) -> Path:
    return out / "annotation/classes.json"


def read_own(out: Path) -> list[dict[str, Any]]:
    """The classes that the set has by now; a file that somebody broke is not written over."""
    if not file_of(out).is_file():
        return []
    load_classes("RAER", str(file_of(out)))
    return read_json(file_of(out))["classes"]
