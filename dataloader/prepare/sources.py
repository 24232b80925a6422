"""Find the videos of a set, with their persons and labels from folders or from a CSV."""

import csv
import hashlib
import io
import json
import math
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.annotation import Clip
from dataloader.frames import list_frames, numeric_key
from dataloader.paths import slashes
from dataloader.video import VIDEO_SUFFIXES, is_video_file
from utils.errors import UserError, about, quote, shorten
from utils.files import open_regular
from utils.json_files import read_text

STATE = ".prepared"  # a folder in every set that this command wrote
COLUMNS = ("video", "label", "person", "from", "to")
MAX_NAME = 200  # bytes; file systems allow 255, and a number and endings are added


@dataclass(frozen=True)
class Part:
    """A part of a video with one label; None if it has no label."""

    label: str | None
    start: float = 0.0  # seconds
    end: float | None = None


@dataclass(frozen=True)
class Source:
    """A video file or a folder of frames, with its person, its labelled parts and the name of its clips."""

    path: Path
    inside: Path  # relative to the folder that the user named
    person: str = ""  # as the user wrote it; ``name_sources`` turns it into a folder name
    parts: tuple[Part, ...] = ()  # empty if the CSV does not have the video
    name: str = ""  # of its clips, unique
    stamp: str = ""  # changes with the video

    @property
    def real(self) -> str:
        return os.path.realpath(self.path)  # unlike resolve() it accepts circular links

    @property
    def folders(self) -> tuple[str, ...]:
        return self.inside.parts[:-1]

    @property
    def basis(self) -> dict[str, Any]:
        """What its clips depend on besides the options. A label can change without cutting clips again."""
        return {"stamp": self.stamp, "person": self.person, "spans": [[part.start, part.end] for part in self.parts]}


def find_videos(arguments: Sequence[str]) -> tuple[list[Source], list[Path]]:
    """Return every video in files and folders, and the paths that are not videos."""
    videos, other_files = [], []
    for word in arguments:
        path = Path(word)
        if not path.exists():
            raise UserError(f"{word}: no such file or folder")
        if is_prepared(path):
            raise UserError(f"{word}: is a prepared set; name the videos that it was made from")
        if not path.is_dir() or holds_frames(path):
            videos.append(Source(path, Path(path.resolve().name)))
            continue
        for below, is_video in _walk(path):
            videos.append(Source(below, below.relative_to(path))) if is_video else other_files.append(below)
    first: dict[str, Source] = {}
    for video in videos:
        if first.setdefault(video.real, video) is not video:
            raise UserError(f"{video.path}: is named twice and would be two persons; name it once")
    if not videos:
        raise UserError(
            f"{arguments[0]}: holds no video ({', '.join(VIDEO_SUFFIXES[:4])}, ...) and no folder of frames"
        )
    return videos, other_files


def holds_frames(folder: Path, above: tuple[Path, ...] = ()) -> bool:
    """Return whether a folder is a video; pictures in a folder that also holds videos are not frames."""
    if not list_frames(folder):
        return False
    below = [path for path, is_video in _walk(folder, above) if is_video]
    if below and all(path.is_dir() for path in below):
        raise UserError(f"{folder}: holds pictures, and so does {below[0]}; move those that are not frames elsewhere")
    return not below


def is_prepared(folder: Path) -> bool:
    return (folder / STATE / "options.json").is_file()


def _walk(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[Path, bool]]:
    """Yield every path below a folder, sorted by the numbers in its names, and whether it is a video.

    Prepared sets and links to a folder ``above`` are not entered.
    """
    above = (*above, folder.resolve())
    for name in sorted(os.listdir(folder), key=numeric_key):
        path = folder / name
        if name.startswith("."):
            continue
        if not path.is_dir():
            yield path, is_video_file(path)
        elif is_prepared(path) or path.resolve() in above:
            yield path, False
        elif holds_frames(path, above):
            yield path, True
        else:
            yield from _walk(path, above)


def read_contents(videos: list[Source], labels: str | None) -> list[Source]:
    """Return the videos with their persons and labels: from the CSV ``labels``, or from folders.

    Folders are ``<class>/<person>/<video>`` or ``<class>/<video>``; all folders below a person are of that person.
    """
    if labels is not None:
        return read_labels(Path(labels), videos)
    unlabelled = [video for video in videos if not video.folders]
    if 0 < len(unlabelled) < len(videos):
        path = unlabelled[0].path
        raise UserError(f"{path}: is not in a folder of a class, as others are; move it, or pass --labels FILE")
    return [
        replace(
            video,
            person="".join(video.folders[1:2]),
            parts=(Part(composed(video.folders[0]) if video.folders else None),),
        )
        for video in videos
    ]


def read_labels(file: Path, videos: list[Source]) -> list[Source]:
    """Return the videos with the persons and parts from a CSV."""
    find, persons, parts = _finder(videos), {}, defaultdict(list)
    for where, row in _rows(file):
        numbers = find(row["video"])
        if len(numbers) != 1:
            problem = f"names {len(numbers)} videos; write its path and suffix" if numbers else "is not one of them"
            raise UserError(f"{where}: {quote(row['video'])} {problem}")
        number = min(numbers)
        if row["person"] != persons.setdefault(number, row["person"]):
            persons_of_video = f"{quote(persons[number])} above and of {quote(row['person'])} here"
            raise UserError(f"{where}: {quote(row['video'])} is of {persons_of_video}")
        start, end = _seconds(row["from"], where) or 0.0, _seconds(row["to"], where)
        if end is not None and end <= start:
            raise UserError(f"{where}: ends at {shorten(row['to'])}, before it begins at {shorten(row['from'] or '0')}")
        if any((p.end is None or start < p.end) and (end is None or p.start < end) for p in parts[number]):
            raise UserError(f"{where}: overlaps another part of {quote(row['video'])}")
        parts[number].append(Part(composed(row["label"]), start, end))
    if not parts:
        raise UserError(f"--labels {file}: has no line with a video")
    return [
        replace(video, person=persons.get(n, ""), parts=tuple(sorted(parts[n], key=lambda part: part.start)))
        for n, video in enumerate(videos)
    ]


def _finder(videos: list[Source]) -> Callable[[str], set[int]]:
    """Return a function that finds videos by path or name, with or without suffix."""
    with_ending: dict[str, set[int]] = {}
    without_ending: dict[str, set[int]] = {}

    def key(path: str) -> str:
        """Return one text for all forms of slashes and accents."""
        return composed(slashes(path).strip("/").removeprefix("./"))

    def strip(path: str) -> str:
        return path[: path.rfind(".")] if path.lower().endswith(VIDEO_SUFFIXES) else path

    for number, video in enumerate(videos):
        for path in (video.inside, video.path, os.path.abspath(video.path), video.path.name):
            with_ending.setdefault(key(str(path)), set()).add(number)
            without_ending.setdefault(strip(key(str(path))), set()).add(number)
    return lambda path: with_ending.get(key(path)) or without_ending.get(strip(key(path)), set())


def _rows(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (file and line, {column: text}) of every line that is not blank."""
    try:
        reader = csv.reader(io.StringIO(read_text(file), newline=""))
        head = [word.strip().lower() for word in next(reader, [])]
        if head[:1] != ["video"] or "label" not in head or not {*head} <= {*COLUMNS} or len({*head}) < len(head):
            raise UserError(f"{file}, line 1: expected video,label[,person][,from,to], got {quote(','.join(head))}")
        for cells in reader:
            where = f"{file}, line {reader.line_num}"
            if not any(cells):
                continue
            row = dict.fromkeys(COLUMNS, "") | dict(zip(head, (c.strip() for c in cells), strict=False))
            if len(cells) != len(head) or not row["video"] or not row["label"]:
                raise UserError(f"{where}: expected {','.join(head)}, got {quote(','.join(cells))}")
            yield where, row
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: not a CSV ({error})") from None


def read_pixels(file: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield label, usage (``Training`` if the file has no such column) and the grey square (S, S) of every row."""
    with about(file), open_regular(file) as content:
        lines = io.TextIOWrapper(content, "utf-8-sig", newline="")
        try:
            head = [cell.strip() for cell in next(lines, "").split(",")]
            columns = ("emotion", "pixels", *(["Usage"] if "Usage" in head else []))
            if any(head.count(column) != 1 for column in columns):
                raise UserError(
                    f"{file}, line 1: expected the columns emotion, pixels and Usage, got {quote(','.join(head))}"
                )
            for number, line in enumerate(lines, 2):
                cells = [cell.strip().strip('"') for cell in line.split(",")]
                if line.strip():
                    row = dict(zip(head, cells, strict=True)) if len(cells) == len(head) else {}
                    yield _pixel_row(row, f"{file}, line {number}")
        except UnicodeDecodeError:
            raise UserError(f"{file}: is not a UTF-8 text file; name a CSV of pixels or videos") from None


def _pixel_row(row: dict[str, str], where: str) -> tuple[str, str, np.ndarray]:
    numbers = row.get("pixels", "").split()
    side = math.isqrt(len(numbers))
    if not row.get("emotion") or not numbers or side * side != len(numbers):
        raise UserError(
            f"{where}: expected a label and the pixels of a square, got {len(numbers)} numbers; is the row complete?"
        )
    wrong = next((number for number in numbers if not re.fullmatch("[0-9]{1,3}", number) or int(number) > 255), None)
    if wrong is not None:
        raise UserError(f"{where}: a pixel is {quote(wrong)}, expected 0 to 255; restore the row")
    pixels = np.array(numbers, dtype=np.int64).astype(np.uint8).reshape(side, side)
    return row["emotion"], row.get("Usage", "Training"), pixels


def _seconds(text: str, where: str) -> float | None:
    """Return the seconds of ``90``, ``1:30`` or ``0:01:30.5``."""
    if not text:
        return None
    if not re.fullmatch(r"(\d{1,9}:){0,2}\d{1,9}(\.\d+)?", text):
        raise UserError(f"{where}: {quote(text)} is not a time; write seconds or minutes:seconds")
    total = 0.0
    for number in text.split(":"):
        total = 60 * total + float(number)
    return total


def name_sources(videos: list[Source], names: Mapping[str, str]) -> list[Source]:
    """Return the videos with names for their clips; ``names``: {real path: name} of videos already in the set."""
    persons = name_persons([video.person for video in videos])
    sources, taken_names = [], {name.casefold() for name in names.values()}
    for video in videos:
        name = names.get(video.real)
        if name is None:
            stem = video.inside.name if video.path.is_dir() else video.inside.stem
            name = safe_name("_".join([*video.folders, stem])) or "video"
            while name.casefold() in taken_names:
                name += "-2"
            taken_names.add(name.casefold())
        person = persons[video.person] or name
        sources.append(replace(video, name=name, person=person, stamp=stamp_of(video.path)))
    return sources


def clip_sources(clips: Sequence[Clip], names: Mapping[str, str]) -> list[Source]:
    """Return the videos of clips; the parts of each are its clips, whose labels are the clips' names in the lists.

    ``names``: as in ``name_sources``.
    """
    by_video: dict[Path, list[Part]] = defaultdict(list)
    for clip in clips:
        start, end = clip.span or (0.0, None)
        by_video[clip.folder].append(Part(clip.id, start, end))
    videos = [Source(path, Path(path.name), parts=tuple(parts)) for path, parts in by_video.items()]
    return name_sources(videos, names)


def name_persons(persons: list[str]) -> dict[str, str]:
    """Return {person as written: folder name}, equal in every call and different for different persons."""
    texts = {composed(text) for text in persons}
    count = Counter(map(safe_name, texts))

    def unique(text: str) -> str:
        name = safe_name(text)
        if not text or name == text or (name and count[name] == 1):
            return name
        return f"{name or 'person'}-{short_hash(text)}"

    return {text: unique(composed(text)) for text in persons}


def safe_name(text: str) -> str:
    """Return a name that is valid in file systems and lists; a long one is shortened and gets a hash."""
    allowed = (c if c.isalnum() or c in "_.-" or unicodedata.category(c)[0] == "M" else " " for c in composed(text))
    name = re.sub(r" +", "_", "".join(allowed)).strip("._")
    if len(name.encode()) <= MAX_NAME:
        return name
    return f"{name.encode()[: MAX_NAME - 7].decode(errors='ignore')}-{short_hash(text)}"


def composed(text: str) -> str:
    """Return the text with each accented letter as one character (Unicode NFC)."""
    return unicodedata.normalize("NFC", text)


def short_hash(text: str) -> str:
    return hashlib.sha256(composed(text).encode(errors="surrogateescape")).hexdigest()[:6]


def stamp_of(path: Path) -> str:
    """Return a hash of a file's name, size and time, or of those of all files in a folder; links may be broken."""
    files = sorted(file for file in (path.iterdir() if path.is_dir() else [path]) if file.is_file())
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return digest(stamps)


def digest(content: Any) -> str:
    """Return a hash of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
