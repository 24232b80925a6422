"""A CSV of labels: which stretch of which video shows what, and whom."""

import csv
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dataloader.paths import slashes
from dataloader.prepare.videos import FoundVideo
from dataloader.video.kinds import SUFFIXES
from utils.errors import UserError

COLUMNS = ("video", "label", "person", "from", "to")


@dataclass(frozen=True)
class Part:
    """A stretch of a video with one label; no label where nobody gave one."""

    label: str | None
    start: float = 0.0
    end: float | None = None


def read_labels(file: Path, videos: list[FoundVideo]) -> dict[int, tuple[str, tuple[Part, ...]]]:
    """{number of the video: (person, parts)}."""
    find, found = _finder(videos), {}
    for where, row in _rows(file):
        numbers = find(row["video"])
        if len(numbers) != 1:
            what = f"names {len(numbers)} videos; write its path and ending" if numbers else "is none of the videos"
            raise UserError(f"{where}: {row['video']!r} {what}")
        person, parts = found.setdefault(min(numbers), (row["person"], []))
        if row["person"] != person:
            raise UserError(f"{where}: {row['video']!r} is of {person!r} above and of {row['person']!r} here")
        start, end = _seconds(row["from"], where) or 0.0, _seconds(row["to"], where)
        if end is not None and end <= start:
            raise UserError(f"{where}: ends at {row['to']}, before it begins at {row['from'] or 0}")
        if any((p.end is None or start < p.end) and (end is None or p.start < end) for p in parts):
            raise UserError(f"{where}: overlaps another part of {row['video']!r}")
        parts.append(Part(composed(row["label"]), start, end))
    if not found:
        raise UserError(f"--labels {file}: has no line with a video")
    return {number: (person, tuple(sorted(parts, key=lambda p: p.start))) for number, (person, parts) in found.items()}


def _finder(videos: list[FoundVideo]) -> Callable[[str], set[int]]:
    """Videos by a path or a name; the ending counts where only it tells two apart."""
    whole: dict[str, set[int]] = {}
    short: dict[str, set[int]] = {}
    for number, video in enumerate(videos):
        for path in (video.inside, video.path, os.path.abspath(video.path), video.path.name):
            whole.setdefault(_key(str(path)), set()).add(number)
            short.setdefault(_without_ending(_key(str(path))), set()).add(number)
    return lambda written: whole.get(_key(written)) or short.get(_without_ending(_key(written)), set())


def _key(path: str) -> str:
    """The same whatever the slash and however the accents are put together."""
    return composed(slashes(path).strip("/").removeprefix("./"))


def composed(text: str) -> str:
    """Accents as one character, however a disk or a program wrote them."""
    return unicodedata.normalize("NFC", text)


def _without_ending(path: str) -> str:
    return path[: path.rfind(".")] if path.lower().endswith(SUFFIXES) else path


def _rows(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            head = [word.strip().lower() for word in next(reader, [])]
            if head[:1] != ["video"] or "label" not in head or not {*head} <= {*COLUMNS} or len({*head}) < len(head):
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
