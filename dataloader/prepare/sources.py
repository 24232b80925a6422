"""Which videos there are, who is in them, and what their labels are: by folders or by a CSV."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataloader.frames import list_frames, numeric_key
from dataloader.paths import VIDEOS, slashes
from utils.errors import UserError

SUFFIXES = (*VIDEOS, ".m4v", ".mpeg", ".mts", ".m2ts", ".ts", ".flv", ".3gp", ".ogv", ".gif")
COLUMNS = ("video", "label", "person", "from", "to")


@dataclass(frozen=True)
class Part:
    """A stretch of a video with one label; no label where nobody gave one."""

    label: str | None
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class Source:
    """One video: a file or a folder of frames."""

    path: Path
    inside: str  # its path below the folder that was named, without suffix
    name: str  # of its clips, unique
    person: str
    parts: tuple[Part, ...]  # none where the CSV leaves it out


@dataclass(frozen=True)
class FoundVideo:
    path: Path
    inside: Path  # below the folder that was named


def find_videos(named: Sequence[str]) -> tuple[list[FoundVideo], list[Path]]:
    """Every video, and the files that are none."""
    videos, others = [], []
    for word in named:
        path = Path(word)
        if not path.exists():
            raise UserError(f"{word}: no such file or folder")
        if not path.is_dir() or _holds_frames(path):
            videos.append(FoundVideo(path, Path(path.resolve().name)))
            continue
        for found in _walk(path):
            is_video = found.is_dir() or found.name.lower().endswith(SUFFIXES)
            videos.append(FoundVideo(found, found.relative_to(path))) if is_video else others.append(found)
    places: set[Path] = set()
    for video in videos:
        if video.path.resolve() in places:
            raise UserError(f"{video.path}: is named twice, and would be two persons; name it once")
        places.add(video.path.resolve())
    if not videos:
        raise UserError(f"{named[0]}: holds no video ({', '.join(SUFFIXES[:4])}, ...) and no folder of frames")
    return videos, others


def _holds_frames(folder: Path) -> bool:
    """Images alone; beside videos they are pictures of something else."""
    return bool(list_frames(folder)) and not any(f.name.lower().endswith(SUFFIXES) for f in folder.iterdir())


def _walk(folder: Path) -> Iterator[Path]:
    """Files, and folders of frames as a whole, by the numbers in their names; links to folders are not followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: numeric_key(entry.name)):
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if not entry.is_dir(follow_symlinks=False):
            yield path
        elif _holds_frames(path):
            yield path
        else:
            yield from _walk(path)


def make_sources(videos: list[FoundVideo], labels: str | None) -> list[Source]:
    """With their labels, by folders or by the CSV."""
    rows = None if labels is None else read_labels(Path(labels), videos)
    sources, taken = [], set()
    for number, video in enumerate(videos):
        folders, stem = video.inside.parts[:-1], _stem(video)
        name = plain("_".join([*folders, stem])) or "video"
        while name.lower() in taken:
            name += "-2"
        taken.add(name.lower())
        person, parts = (plain("_".join(folders[1:])) or name), (Part(folders[0] if folders else None),)
        if rows is not None:
            told, parts = rows.get(number, ("", ()))
            person = plain(told) or name
        sources.append(Source(video.path, video.inside.as_posix(), name, person, parts))
    labelled = [part.label is not None for source in sources for part in source.parts[:1]]
    if any(labelled) and not all(labelled):
        where = sources[labelled.index(False)].path
        raise UserError(f"{where}: lies in no folder of a class, as others do; move it, or name --labels FILE")
    return sources


def read_labels(file: Path, videos: list[FoundVideo]) -> dict[int, tuple[str, tuple[Part, ...]]]:
    """{number of the video: (person, parts)}."""
    known: dict[str, list[int]] = {}
    for number, video in enumerate(videos):
        for word in {_key(video.inside.as_posix()), _key(str(video.path)), _key(video.path.name)}:
            known.setdefault(word, []).append(number)
    found: dict[int, tuple[str, list[Part]]] = {}
    for where, row in _rows(file):
        numbers = known.get(_key(row["video"]), [])
        if len(numbers) != 1:
            what = f"names {len(numbers)} videos; write its path" if numbers else "is none of the videos"
            raise UserError(f"{where}: {row['video']!r} {what}")
        person, parts = found.setdefault(numbers[0], (row["person"], []))
        if row["person"] != person:
            raise UserError(f"{where}: {row['video']!r} is of {person!r} above and of {row['person']!r} here")
        start, end = _seconds(row["from"], where) or 0.0, _seconds(row["to"], where)
        if end is not None and end <= start:
            raise UserError(f"{where}: ends at {row['to']}, before it begins at {row['from'] or 0}")
        if any((p.end is None or start < p.end) and (end is None or p.start < end) for p in parts):
            raise UserError(f"{where}: overlaps another part of {row['video']!r}")
        parts.append(Part(row["label"], start, end))
    if not found:
        raise UserError(f"--labels {file}: has no line with a video")
    return {number: (person, tuple(sorted(parts, key=lambda p: p.start))) for number, (person, parts) in found.items()}


def _rows(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            head = [word.strip().lower() for word in next(reader, [])]
            if head[:1] != ["video"] or "label" not in head or not {*head} <= {*COLUMNS}:
                raise UserError(f"{file}, line 1: expected video,label[,person][,from,to], got {','.join(head)!r}")
            for words in reader:
                where = f"{file}, line {reader.line_num}"
                if not any(words):
                    continue
                row = dict.fromkeys(COLUMNS, "") | dict(zip(head, (w.strip() for w in words), strict=False))
                if len(words) != len(head) or not row["video"] or not row["label"]:
                    raise UserError(f"{where}: expected {','.join(head)}, got {','.join(words)!r}")
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--labels {file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _seconds(text: str, where: str) -> float | None:
    """``90``, ``1:30`` or ``0:01:30.5``."""
    if not text:
        return None
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text):
        raise UserError(f"{where}: {text!r} is no time; write seconds or minutes:seconds")
    total = 0.0
    for word in text.split(":"):
        total = 60 * total + float(word)
    return total


def _stem(video: FoundVideo) -> str:
    return video.inside.name if video.path.is_dir() else video.inside.stem


def _key(path: str) -> str:
    """The same with and without suffix and whatever slash."""
    path = slashes(path).strip("/").removeprefix("./")
    return path[: path.rfind(".")] if path.lower().endswith(SUFFIXES) else path


def plain(text: str) -> str:
    """A name that any file system and any list can hold."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")
