"""The lists, boxes and classes of a prepared set, in RAER's layout."""

import csv
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.classes import Classes, load_classes
from dataloader.prepare.options import PrepareOptions
from dataloader.prepare.sources import Source
from dataloader.prepare.store import write_json
from utils.errors import UserError, closest

TEXTS = {  # of classes that come as folder names: replace them by better ones
    "class_names_with_context": "A person with an expression of {}.",
    "class_descriptor": "A person whose face and posture show {}.",
    "prompt_ensemble": ["A person with an expression of {}.", "A face that shows {}."],
    "descriptive": "A face and a posture that show {}.",
}


def find_classes(sources: list[Source], options: PrepareOptions) -> tuple[dict[str, int], list[str] | None]:
    """``{label as written: number in the lists}``, and the names of classes where they are the user's own."""
    written = sorted({part.label for source in sources for part in source.parts if part.label is not None})
    known: Classes = load_classes(options.dataset, options.class_texts)
    missing = [label for label in written if label.lower() not in known.words]
    if not missing:
        return {label: known.words[label.lower()] + known.label_base for label in written}, None
    if options.class_texts:
        advice = closest(missing[0], list(known.names)) or f"; one of {', '.join(known.names)}"
        raise UserError(f"label {missing[0]!r}: no class of {known.source}{advice}")
    return {label: number for number, label in enumerate(written, 1)}, written


def write_lists(out: Path, made: list[dict[str, Any]], numbers: dict[str, int], test_share: float) -> dict[str, int]:
    """``{list: clips}``. Without labels one list without them."""
    clips = [clip for video in made for clip in video["clips"]]
    write_json(out / "annotation/face.json", {c["folder"]: c["faces"] for c in clips if c["faces"]})
    write_json(out / "annotation/body.json", {c["folder"]: c["body"] for c in clips if c["body"]})
    lists: dict[str, list[str]] = {"train": [], "test": []} if numbers else {"clips": []}
    tested = choose_persons(made, test_share) if numbers else set()
    for clip in clips:
        name = "clips" if not numbers else "test" if clip["person"] in tested else "train"
        label = f" {numbers[clip['label']]}" if numbers else ""
        lists[name].append(f"{clip['folder']} {clip['frames']}{label}\n")
    for name, lines in lists.items():
        write_text(out / f"annotation/{name}.txt", "".join(lines))
    return {name: len(lines) for name, lines in lists.items()}


def choose_persons(made: list[dict[str, Any]], share: float) -> set[str]:
    """Whole persons with about ``share`` of the clips, and with them all who are in the same videos, whose frames show
    both. Nobody where these are all."""
    counts = Counter(clip["person"] for video in made for clip in video["clips"])
    groups = groups_of([{clip["person"] for clip in video["clips"]} for video in made])
    sizes = [sum(counts[person] for person in group) for group in groups]
    wanted, chosen = share * counts.total(), []
    for place in np.random.default_rng(42).permutation(len(groups)):
        held = sum(sizes[one] for one in chosen)
        if abs(held + sizes[place] - wanted) < abs(held - wanted) and len(chosen) < len(groups) - 1:
            chosen.append(place)
    if not chosen and share > 0 and len(groups) > 1:
        chosen = [int(np.argmin(sizes))]
    return set().union(*(groups[place] for place in chosen))


def groups_of(videos: list[set[str]]) -> list[set[str]]:
    """The persons of the videos, those who share one together."""
    groups: list[set[str]] = []
    for persons in filter(None, videos):
        apart = [group for group in groups if not group & persons]
        groups = [*apart, persons.union(*(group for group in groups if group & persons))]
    return sorted(groups, key=min)


def write_classes(out: Path, names: list[str]) -> None:
    """The folder names as classes, with plain texts; a file for the same classes stays as it was edited."""
    path = out / "annotation/classes.json"
    if path.is_file() and load_classes("RAER", str(path)).names == tuple(names):
        return
    entries = [{"name": n} | {k: filled(text, n.replace("_", " ").lower()) for k, text in TEXTS.items()} for n in names]
    write_json(path, {"label_base": 1, "persons": True, "classes": entries})


def filled(text: str | list[str], word: str) -> str | list[str]:
    return text.format(word) if isinstance(text, str) else [one.format(word) for one in text]


def write_dropped(out: Path, sources: list[Source], made: list[dict[str, Any]], left_out: list[Path]) -> int:
    """``dropped.csv``: everything that was named and is in no list, and why; how many rows."""
    rows = []
    for source, video in zip(sources, made, strict=True):
        rows += [(source.path, row["from"], row["to"], row["reason"]) for row in video["dropped"]]
        rows += [(source.path, "", "", video["error"])] if "error" in video else []
    rows += [(path, "", "", "not in --labels") for path in left_out]
    with open(out / "dropped.csv.part", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("video", "from", "to", "reason"), *rows])
    os.replace(out / "dropped.csv.part", out / "dropped.csv")
    return len(rows)


def write_text(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
