"""The timeline of a video: rows, smoothed and labelled, written at once to `timeline.csv` and `timeline.json`."""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from apps.predict.runners import ModelInfo
from dataloader.track import Person
from utils.text import plural

FACE, CONTEXT_ONLY, NO_FACE, NO_ONE = "face", "context only", "no face", "no one"  # values of ``Row.seen``
UNCERTAIN = "uncertain"
FIXED = ("from", "to", "person", "predicted", "confidence", "face_found", "seen", "frames_with_face", "frames")
DIGITS = 6
TOUCHING = 1e-6  # seconds


@dataclass(frozen=True)
class Row:
    """The answer for one person from ``start`` to ``stop``, in seconds; ``person`` is None if nobody is known."""

    start: float
    stop: float
    person: int | None
    seen: str  # FACE, CONTEXT_ONLY, NO_FACE or NO_ONE
    values: tuple[float, ...] | None = None  # one for each of the model's columns
    faces: int = 0  # number of sampled frames with a detected face
    samples: int = 0  # number of sampled frames
    predicted: str = ""
    confidence: float | None = None
    part: tuple[float, float] | None = None  # the part of a window divided by a cut, for rows without a person

    @property
    def middle(self) -> float:
        return (self.start + self.stop) / 2

    def cells(self, info: ModelInfo) -> dict[str, Any]:
        """Return the row as both files store it."""
        confidence, *values = (  # None instead of infinite and NaN, which JSON cannot hold
            None if value is None or not math.isfinite(value) else round(value, DIGITS)
            for value in (self.confidence, *(self.values or (None,) * len(info.columns)))
        )
        start, stop, has_face = round(self.start, 3), round(self.stop, 3), self.seen == FACE
        fixed = (start, stop, self.person, self.predicted, confidence, has_face, self.seen, self.faces, self.samples)
        return dict(zip((*FIXED, *info.columns), (*fixed, *values), strict=True))


class Step(NamedTuple):
    """One frame of the video and the rows that became known with it; the last step has no frame."""

    seconds: float
    frame: np.ndarray | None
    persons: list[Person]
    rows: list[list[Row]]  # in groups of one window


class Smoother:
    """A centred mean of each person's values over ``width`` rows, an odd number; it does not extend across gaps.

    Rows are pushed and returned in groups of one window; a group waits for the ``width // 2`` following groups. Rows
    with values get the most probable class, or "uncertain" if its probability is below ``threshold``.
    """

    def __init__(self, width: int, info: ModelInfo, threshold: float) -> None:
        self.half, self.info, self.threshold = width // 2, info, threshold
        self.groups: list[list[Row]] = []
        self.settled = 0  # number of groups in memory that were already returned

    def push(self, rows: list[Row]) -> Iterator[list[Row]]:
        self.groups.append(rows)
        if len(self.groups) - self.settled > self.half:
            yield self._next()

    def finish(self) -> Iterator[list[Row]]:
        while self.settled < len(self.groups):
            yield self._next()

    def _next(self) -> list[Row]:
        before, after = self.groups[: self.settled][::-1], self.groups[self.settled + 1 :][: self.half]
        rows = [self._smooth(row, before, after) for row in self.groups[self.settled]]
        self.groups = self.groups[max(self.settled + 1 - self.half, 0) :]
        self.settled = min(self.settled + 1, self.half)
        return rows

    def _smooth(self, row: Row, *neighbours: list[list[Row]]) -> Row:
        if row.values is None:
            return row
        values = [row.values]
        for groups in neighbours:
            for group in groups:
                neighbour = next((r.values for r in group if r.person == row.person), None)
                if neighbour is None:
                    break
                values.append(neighbour)
        row = replace(row, values=tuple(np.mean(values, axis=0).tolist()))
        if not self.info.names:
            return row
        probabilities = row.values[: len(self.info.names)]
        best = int(np.argmax(probabilities))
        predicted = self.info.names[best] if probabilities[best] >= self.threshold else UNCERTAIN
        return replace(row, predicted=predicted, confidence=probabilities[best])


@dataclass
class Summary:
    """Counts over all rows, updated as the rows come."""

    rows: int = 0
    faces: int = 0  # sampled frames with a detected face, over all rows of persons
    samples: int = 0
    predicted: dict[int, Counter] = field(default_factory=dict)  # person → count of each class
    stretches: dict[str, list[list[float]]] = field(default_factory=dict)  # Row.seen → [from, to] of each stretch

    def add(self, rows: list[Row]) -> None:
        """Add the rows of one window."""
        self.rows += len(rows)
        for row in rows:
            if row.person is not None:
                self.faces, self.samples = self.faces + row.faces, self.samples + row.samples
                self.predicted.setdefault(row.person, Counter())[row.predicted] += bool(row.predicted)
        for visibility in {row.seen for row in rows} - {FACE}:
            if all(row.seen == visibility for row in rows):
                self._add_stretch(visibility, *(rows[0].part or (rows[0].start, rows[0].stop)))

    def _add_stretch(self, visibility: str, start: float, stop: float) -> None:
        """Extend the last stretch, or begin a new one.

        Windows overlap. If a window has no person, the stretches of its neighbours are shortened.
        """
        if visibility == NO_ONE:
            for kind in self.stretches.keys() - {NO_ONE}:
                last = self.stretches[kind][-1]
                last[1] = max(min(last[1], start), last[0])
        elif NO_ONE in self.stretches:
            start = max(start, self.stretches[NO_ONE][-1][1])
        stretches = self.stretches.setdefault(visibility, [])
        if stretches and start <= stretches[-1][1] + TOUCHING:
            stretches[-1][1] = max(stretches[-1][1], stop)
        else:
            stretches.append([start, stop])

    @property
    def face_share(self) -> float:
        """Return the share of sampled frames with a face; windows without a person are ignored."""
        return self.faces / max(self.samples, 1)

    def as_json(self) -> dict[str, Any]:
        return {
            "num_rows": self.rows,
            "faces": self.faces,
            "samples": self.samples,
            "persons": sorted(self.predicted),
            "predicted": {
                str(person): {name: count for name, count in counts.most_common() if count}
                for person, counts in sorted(self.predicted.items())
            },
            "stretches": {
                visibility: [[round(start, 3), round(stop, 3)] for start, stop in stretches]
                for visibility, stretches in sorted(self.stretches.items())
            },
        }

    def lines(self) -> list[str]:
        """Return lines for the terminal: how often faces were detected, and stretches without a face."""
        words = {NO_ONE: "no one", NO_FACE: "no face, so no answer,", CONTEXT_ONLY: "no face, only context,"}
        lines = []
        if self.samples:
            lines.append(f"in windows with a person, a face in {self.face_share:.0%} of the sampled frames")
        for visibility, stretches in sorted(self.stretches.items()):
            first = ", ".join(f"from {start:.1f} to {stop:.1f} s" for start, stop in stretches[:5])
            rest = f" and {plural(len(stretches) - 5, 'time')} more" if len(stretches) > 5 else ""
            lines.append(f"{words[visibility]} {first}{rest}")
        return lines


@dataclass
class Timeline:
    """All results of a video."""

    info: ModelInfo
    rows: list[Row] = field(default_factory=list)
    summary: Summary = field(default_factory=Summary)
    seconds: float = 0.0  # of video that was read
    took: float = 0.0  # seconds
    damaged: str | None = None  # which part of the video could not be read
    interrupted: bool = False
    is_still: bool = False  # a picture, which has no speed

    @property
    def speed(self) -> float:
        """Return seconds of video per second."""
        return self.seconds / max(self.took, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """Return what is known only at the end, for timeline.json."""
        return self.summary.as_json() | {
            "seconds": round(self.seconds, 3),
            "speed": round(self.speed, 2),
            "damaged": self.damaged,
            "interrupted": self.interrupted,
        }


class TimelineWriter:
    """Writes both files row by row; they are complete after ``close``."""

    def __init__(self, folder: Path, info: ModelInfo, header: dict[str, Any]) -> None:
        self.info = info
        self.table = open(folder / "timeline.csv", "w", newline="", encoding="utf-8")
        self.document = open(folder / "timeline.json", "w", encoding="utf-8")
        self.table_writer = csv.DictWriter(self.table, [*FIXED, *info.columns], lineterminator="\n")
        self.table_writer.writeheader()
        self.document.write("{\n" + "".join(f" {json.dumps(k)}: {strict_json(v)},\n" for k, v in header.items()))
        self.document.write(' "rows": [')
        self.separator = "\n  "

    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            cells = row.cells(self.info)
            self.document.write(self.separator + strict_json(cells))
            self.table_writer.writerow(cells | {"face_found": str(cells["face_found"]).lower()})
            self.separator = ",\n  "
        self.table.flush()
        self.document.flush()

    def close(self, footer: dict[str, Any]) -> None:
        """Write what is known only at the end, and close both files."""
        rest = "".join(f",\n {json.dumps(k)}: {strict_json(v)}" for k, v in footer.items())
        self.document.write("\n ]" + rest + "\n}\n")
        self.table.close()
        self.document.close()


def strict_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
