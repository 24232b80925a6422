"""The videos of a set: what each is called, who is in it, which labels it has, and what was made of it before."""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataloader.prepare.labels import Part, composed, read_labels
from dataloader.prepare.notes import Stored
from dataloader.prepare.videos import FoundVideo
from utils.errors import UserError

Told = tuple[str, tuple[Part, ...]]  # who is in a video, and what its stretches show
LONGEST = 200  # bytes of a name: file systems know 255, and it gets a number and endings


@dataclass(frozen=True)
class Source:
    """One video: a file or a folder of frames."""

    path: Path
    place: str  # without links
    stamp: str  # another one: the video has changed
    name: str  # of its clips, unique
    person: str
    parts: tuple[Part, ...]  # none where the CSV leaves it out
    is_done: bool = False
    earlier: str | None = None  # the name of what was made of it before

    @property
    def basis(self) -> dict[str, Any]:
        """What its clips depend on beside the options; a label can change without them."""
        return {"stamp": self.stamp, "person": self.person, "spans": [[part.start, part.end] for part in self.parts]}


def tell_apart(videos: list[FoundVideo], labels: str | None) -> list[Told]:
    """Persons and labels, by folders or by the CSV."""
    if labels is None:
        return _by_folders(videos)
    rows = read_labels(Path(labels), videos)
    return [rows.get(number, ("", ())) for number in range(len(videos))]


def make_sources(videos: list[FoundVideo], told: list[Told], stored: Sequence[Stored]) -> list[Source]:
    """A video that a set holds keeps its name there."""
    persons, stamps = name_persons([person for person, _ in told]), [stamp_of(video.path) for video in videos]
    names = [plain("_".join([*video.folders, video.stem])) or "video" for video in videos]
    before = find_earlier(videos, stamps, names, stored)
    sources, taken = [], {one.name.casefold() for one in stored}
    for number, (video, (person, parts)) in enumerate(zip(videos, told, strict=True)):
        earlier, name = before.get(number), names[number]
        if earlier is not None and re.fullmatch(re.escape(name) + "(-2)*", earlier.name):
            name = earlier.name
        else:
            while name.casefold() in taken:
                name += "-2"
            taken.add(name.casefold())
        source = Source(video.path, video.place, stamps[number], name, persons[person] or name, parts)
        if earlier is not None:
            is_done = name == earlier.name and source.basis == earlier.basis
            source = replace(source, is_done=is_done, earlier=earlier.name)
        sources.append(source)
    return sources


def find_earlier(
    videos: list[FoundVideo], stamps: list[str], names: list[str], stored: Sequence[Stored]
) -> dict[int, Stored]:
    """{number of the video: what was made of it}: by its place; moved as it is; where a note is damaged by its name."""
    found: dict[int, Stored] = {}
    places = [video.place for video in videos]
    for key, values in (("place", places), ("stamp", stamps), ("name", names)):
        done = {one.name for one in found.values()}
        known: dict[str, list[Stored]] = {}  # copies have one stamp
        for one in stored:
            if one.name not in done and one.is_damaged == (key == "name"):
                known.setdefault(getattr(one, key), []).append(one)
        for number, value in enumerate(values):
            if number not in found and known.get(value):
                found[number] = known[value].pop(0)
    return found


def _by_folders(videos: list[FoundVideo]) -> list[Told]:
    """``<class>/<person>/<video>``, or ``<class>/<video>``; whatever a person's folder holds is of that person."""
    labelled = [bool(video.folders) for video in videos]
    if any(labelled) and not all(labelled):
        where = videos[labelled.index(False)].path
        raise UserError(f"{where}: lies in no folder of a class, as others do; move it, or name --labels FILE")
    return [("".join(v.folders[1:2]), (Part(composed(v.folders[0]) if v.folders else None),)) for v in videos]


def name_persons(written: list[str]) -> dict[str, str]:
    """{as written: as a folder}: the same in every call, and different persons never by one name."""
    texts = {composed(text) for text in written}
    count = Counter(map(plain, texts))

    def named(text: str) -> str:
        name = plain(text)
        if not text or name == text or (name and count[name] == 1):
            return name
        return f"{name or 'person'}-{mark_of(text)}"

    return {text: named(composed(text)) for text in written}


def plain(text: str) -> str:
    """A name that any file system and any list can hold; a long one is cut, and stays unlike others."""
    kept = (c if c.isalnum() or c in "_.-" or unicodedata.category(c)[0] == "M" else " " for c in composed(text))
    name = re.sub(r" +", "_", "".join(kept)).strip("._")
    if len(name.encode()) <= LONGEST:
        return name
    return f"{name.encode()[: LONGEST - 7].decode(errors='ignore')}-{mark_of(text)}"


def mark_of(text: str) -> str:
    return hashlib.sha256(composed(text).encode(errors="surrogateescape")).hexdigest()[:6]


def stamp_of(path: Path) -> str:
    """Of a file's name, size and time, or those of all in a folder; what is not there stops no other video."""
    inside = path.iterdir() if path.is_dir() else [path]
    files = sorted(file for file in inside if file.is_file())
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()
