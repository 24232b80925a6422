"""The lists and boxes of a prepared set, in RAER's layout, and the table of what was left out."""

import csv
import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.prepare.notes import write_json, write_text
from dataloader.prepare.sources import Source
from utils.errors import one_line


def write_lists(
    out: Path, sources: list[Source], made: list[dict[str, Any]], numbers: dict[str, int], test_share: float
) -> dict[str, int]:
    """``{list: clips}``. Without labels one list without them."""
    labelled = [
        (clip, source.parts[clip["part"]].label)
        for source, video in zip(sources, made, strict=True)
        for clip in video["clips"]
    ]
    clips = [clip for clip, _ in labelled]
    write_json(out / "annotation/face.json", {c["folder"]: c["faces"] for c in clips if c["faces"]})
    write_json(out / "annotation/body.json", {c["folder"]: c["body"] for c in clips if c["body"]})
    lists: dict[str, list[str]] = {"train": [], "test": []} if numbers else {"clips": []}
    tested = choose_persons(made, test_share) if numbers else set()
    for clip, label in labelled:
        name = "clips" if not numbers else "test" if clip["person"] in tested else "train"
        number = f" {numbers[label]}" if numbers else ""
        lists[name].append(f"{clip['folder']} {clip['frames']}{number}\n")
    for name, lines in lists.items():
        write_text(out / f"annotation/{name}.txt", "".join(lines))
    if numbers:
        (out / "annotation/clips.txt").unlink(missing_ok=True)
    return {name: len(lines) for name, lines in lists.items()}


def choose_persons(made: list[dict[str, Any]], share: float) -> set[str]:
    """Whole persons with about ``share`` of the clips, and with them all who are in the same videos, whose frames show
    both. Nobody where these are all. By their names, so that most stay where they are when others come."""
    counts = Counter(clip["person"] for video in made for clip in video["clips"])
    groups = groups_of([{clip["person"] for clip in video["clips"]} for video in made])
    sizes = [sum(counts[person] for person in group) for group in groups]
    wanted, chosen = share * counts.total(), []
    for place in sorted(range(len(groups)), key=lambda place: hashlib.sha256(min(groups[place]).encode()).digest()):
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


def write_dropped(out: Path, sources: list[Source], made: list[dict[str, Any]], left_out: list[Path]) -> int:
    """``dropped.csv``: everything that was named and is in no list, and why; how many rows."""
    rows = []
    for source, video in zip(sources, made, strict=True):
        path = one_line(str(source.path))
        rows += [(path, row["from"], row["to"], row["reason"]) for row in video["dropped"]]
        rows += [(path, "", "", video["error"])] if "error" in video else []
    rows += [(one_line(str(path)), "", "", "not in --labels") for path in left_out]
    with open(out / "dropped.csv.part", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("video", "from", "to", "reason"), *rows])
    os.replace(out / "dropped.csv.part", out / "dropped.csv")
    return len(rows)
