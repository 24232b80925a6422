"""The timeline of a video: rows, smoothed and named, written to `timeline.csv` and `timeline.json` as they come."""

import csv
import json
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from apps.predict.runner import About
from dataloader.boxes import Box
from utils.words import plural

FACE, CONTEXT_ONLY, NO_FACE, NO_ONE = "face", "context only", "no face", "no one"
UNCERTAIN = "uncertain"
FIXED = ("from", "to", "person", "predicted", "confidence", "face_found", "seen", "frames_with_face", "frames")
DIGITS = 6


@dataclass(frozen=True)
class Row:
    """What is said of one person from ``start`` to ``stop``, in seconds; ``person`` is None where nobody is known."""

    start: float
    stop: float
    person: int | None
    seen: str  # FACE, CONTEXT_ONLY, NO_FACE or NO_ONE
    values: tuple[float, ...] | None = None  # one for each of the model's columns
    faces: int = 0  # sampled frames in which the face was found
    samples: int = 0  # sampled frames
    predicted: str = ""
    confidence: float | None = None

    @property
    def middle(self) -> float:
        return (self.start + self.stop) / 2

    def cells(self, about: About) -> dict[str, Any]:
        """The row as both files hold it."""
        values = (None,) * len(about.columns) if self.values is None else self.values
        fixed = (
            round(self.start, 3),
            round(self.stop, 3),
            self.person,
            self.predicted,
            _rounded(self.confidence),
            self.seen == FACE,
            self.seen,
            self.faces,
            self.samples,
        )
        return dict(zip((*FIXED, *about.columns), (*fixed, *map(_rounded, values)), strict=True))


def _rounded(value: float | None) -> float | None:
    """JSON knows no NaN."""
    return None if value is None or not math.isfinite(value) else round(value, DIGITS)


class Smoother:
    """A centred mean of each person's values over ``width`` rows, an odd number; it reaches over no gap.

    Rows come and go in groups, those of one window; a group waits for the ``width // 2`` behind it.
    """

    def __init__(self, width: int, about: About, threshold: float) -> None:
        self.half, self.about, self.threshold = width // 2, about, threshold
        self.groups: deque[list[Row]] = deque()
        self.settled = 0  # of the groups held, those that were given already

    def push(self, rows: list[Row]) -> Iterator[list[Row]]:
        self.groups.append(rows)
        if len(self.groups) - self.settled > self.half:
            yield self._next()

    def finish(self) -> Iterator[list[Row]]:
        while self.settled < len(self.groups):
            yield self._next()

    def _next(self) -> list[Row]:
        rows = [self._smooth(row) for row in self.groups[self.settled]]
        self.settled += 1
        while self.settled > self.half:
            self.groups.popleft()
            self.settled -= 1
        return rows

    def _smooth(self, row: Row) -> Row:
        if row.values is None:
            return row
        near = [row.values]
        for step in (-1, 1):
            place = self.settled + step
            while abs(place - self.settled) <= self.half and 0 <= place < len(self.groups):
                values = next((r.values for r in self.groups[place] if r.person == row.person), None)
                if values is None:
                    break
                near.append(values)
                place += step
        return named(replace(row, values=tuple(np.mean(near, axis=0).tolist())), self.about, self.threshold)


def named(row: Row, about: About, threshold: float) -> Row:
    """With the class of the highest probability, or "uncertain" where that is below ``threshold``."""
    if row.values is None or not about.names:
        return row
    chances = row.values[: len(about.names)]
    best = int(np.argmax(chances))
    told = about.names[best] if chances[best] >= threshold else UNCERTAIN
    return replace(row, predicted=told, confidence=chances[best])


@dataclass
class Summary:
    """What the rows say together, counted as they pass."""

    rows: int = 0
    faces: int = 0  # sampled frames, of every row, in which its person's face was found
    samples: int = 0
    persons: set[int] = field(default_factory=set)
    predicted: dict[int, Counter] = field(default_factory=dict)
    stretches: dict[str, list[list[float]]] = field(default_factory=dict)  # what was seen → [from, to] of each stretch

    def add(self, rows: list[Row]) -> None:
        self.rows += len(rows)
        for row in rows:
            if row.person is not None:
                self.faces, self.samples = self.faces + row.faces, self.samples + row.samples
                self.persons.add(row.person)
                self.predicted.setdefault(row.person, Counter())[row.predicted] += bool(row.predicted)
        for seen in {row.seen for row in rows} - {FACE}:
            if all(row.seen == seen for row in rows):
                self._note(seen, rows[0].start, rows[0].stop)

    def _note(self, seen: str, start: float, stop: float) -> None:
        """Windows overlap: where one of them holds nobody at all, its neighbours do not count."""
        empty = self.stretches.get(NO_ONE, [])
        if seen == NO_ONE:
            for found in (self.stretches.get(other, []) for other in (NO_FACE, CONTEXT_ONLY)):
                if found:
                    found[-1][1] = max(min(found[-1][1], start), found[-1][0])
        elif empty:
            start = max(start, empty[-1][1])
        extend(self.stretches.setdefault(seen, []), start, stop)

    @property
    def found(self) -> float:
        """The share of sampled frames; those of windows with nobody at all do not count."""
        return self.faces / max(self.samples, 1)

    def as_json(self) -> dict[str, Any]:
        counts = {str(person): dict(found.most_common()) for person, found in sorted(self.predicted.items())}
        return {
            "num_rows": self.rows,
            "faces": self.faces,
            "samples": self.samples,
            "persons": sorted(self.persons),
            "predicted": {person: {name: n for name, n in found.items() if n} for person, found in counts.items()},
            "stretches": {
                seen: [[round(a, 3), round(b, 3)] for a, b in found] for seen, found in sorted(self.stretches.items())
            },
        }

    def lines(self) -> list[str]:
        """For the screen: nobody, no face, context alone."""
        told = {NO_ONE: "no one", NO_FACE: "no face, so no answer,", CONTEXT_ONLY: "no face, judged by context alone,"}
        lines = [f"in windows with somebody, a face in {self.found:.0%} of the sampled frames"] if self.samples else []
        for seen, found in sorted(self.stretches.items()):
            shown = ", ".join(f"from {a:.1f} to {b:.1f} s" for a, b in found[:5])
            lines.append(
                f"{told[seen]} {shown}" + (f" and {plural(len(found) - 5, 'time')} more" if len(found) > 5 else "")
            )
        return lines


class Face(NamedTuple):
    """Where a person's face is, or, not seen just now, where it is expected."""

    person: int
    box: Box
    seen: bool


class Step(NamedTuple):
    """One frame that was seen, and the rows that became known with it; the last of all has no frame."""

    seconds: float
    frame: np.ndarray | None
    faces: list[Face]
    rows: list[list[Row]]  # those of one window together


@dataclass
class Timeline:
    """What was said of a video."""

    about: About
    rows: list[Row] = field(default_factory=list)
    summary: Summary = field(default_factory=Summary)
    seconds: float = 0.0  # of video that were seen
    took: float = 0.0
    damaged: str | None = None  # what of the video could not be read
    interrupted: bool = False
    is_still: bool = False  # a picture, which has no speed

    @property
    def speed(self) -> float:
        """Seconds of video in a second."""
        return self.seconds / max(self.took, 1e-9)


def extend(stretches: list[list[float]], start: float, stop: float) -> None:
    """Windows that touch or overlap are one stretch."""
    if stretches and start <= stretches[-1][1] + 1e-6:
        stretches[-1][1] = max(stretches[-1][1], stop)
    else:
        stretches.append([start, stop])


class TimelineWriter:
    """Both files grow row by row; what there is when the run ends, for whatever reason, is whole."""

    def __init__(self, folder: Path, about: About, header: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.table = open(folder / "timeline.csv", "w", newline="", encoding="utf-8")
        self.document = open(folder / "timeline.json", "w", encoding="utf-8")
        self.cells = csv.DictWriter(self.table, [*FIXED, *about.columns], lineterminator="\n")
        self.cells.writeheader()
        self.document.write("{\n" + "".join(f" {json.dumps(k)}: {strict(v)},\n" for k, v in header.items()))
        self.document.write(' "rows": [')
        self.first = True

    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            cells = row.cells(self.about)
            self.document.write(("\n  " if self.first else ",\n  ") + strict(cells))
            self.cells.writerow(cells | {"face_found": str(cells["face_found"]).lower()})
            self.first = False
        self.table.flush()
        self.document.flush()

    def close(self, end: dict[str, Any]) -> None:
        rest = "".join(f",\n {json.dumps(k)}: {strict(v)}" for k, v in end.items())
        self.document.write("\n ]" + rest + "\n}\n")
        self.table.close()
        self.document.close()


def strict(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def majority_of(rows: Iterable[Row], start: float, stop: float) -> str | None:
    """The class predicted most often by the windows whose middles lie from ``start`` to ``stop``."""
    counts = Counter(row.predicted for row in rows if start <= row.middle < stop and row.predicted)
    return counts.most_common(1)[0][0] if counts else None
