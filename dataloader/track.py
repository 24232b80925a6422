"""Who is who from frame to frame: faces joined over time by place, size and motion, and their boxes smoothed."""

import math
from dataclasses import dataclass, field

import numpy as np

from dataloader.boxes import Box
from dataloader.detect import Detections, Found, overlap, weight_of

PATIENCE = 1.5  # seconds that a person may go unseen
MISSED = 2.5  # times the wait for the next search, where that is longer
HITS = 2  # sightings before a face is a person
NEAR = 1.0  # face sizes between a face and where it is expected
GROWTH = 1.8  # a face's size between two sightings, at most times this
SEAT = 2.0  # face sizes from where somebody was lost: who comes back there is the same person
BOX_TIME, MOTION_TIME = 0.08, 0.25  # seconds over which boxes and speeds are smoothed


@dataclass(frozen=True)
class Person:
    id: int  # from 1
    face: Box | None
    seen: bool  # False: the box is where the face is expected
    score: float  # of the last sighting


@dataclass
class Track:
    """One face: centre, size and speed."""

    state: np.ndarray  # (4,) centre x, y, width, height
    seconds: float  # of the last sighting
    score: float
    weight: float  # of all sightings
    speed: np.ndarray = field(default_factory=lambda: np.zeros(2))  # pixels a second
    hits: int = 1
    id: int | None = None

    def expected(self, seconds: float) -> np.ndarray:
        """Where it goes on as before; a face unseen for long slows down."""
        gap = seconds - self.seconds
        there = self.state.copy()
        there[:2] += self.speed * PATIENCE * (1 - math.exp(-gap / PATIENCE))
        return there

    def see(self, seconds: float, found: Found) -> None:
        gap, measured = max(seconds - self.seconds, 1e-3), as_state(found.box)
        weight = 1 - math.exp(-gap / MOTION_TIME)
        self.speed += weight * ((measured[:2] - self.state[:2]) / gap - self.speed)
        expected = self.expected(seconds)
        self.state = expected + (1 - math.exp(-gap / BOX_TIME)) * (measured - expected)
        self.seconds, self.score, self.hits = seconds, found.score, self.hits + 1
        self.weight += weight_of(found.box, found.score)


class Tracker:
    """At most ``most`` persons at a time: whoever is one stays one; a free place goes to the largest and surest.

    Who comes back where somebody was lost is that person. ``in_all``: ``most`` are all that there ever are; once they
    are known, whoever comes anywhere is the one lost nearest to there.
    """

    def __init__(self, most: int = 1, patience: float = PATIENCE, hits: int = HITS, in_all: bool = False) -> None:
        self.most, self.patience, self.hits, self.in_all = most, patience, hits, in_all
        self.tracks: list[Track] = []
        self.lost: dict[int, Track] = {}  # by id
        self.known = 0  # persons so far

    def update(self, seconds: float, found: Detections) -> list[Person]:
        """Everyone who is there, by id."""
        self.lost |= {t.id: t for t in self.tracks if t.id is not None and seconds - t.seconds > self.patience}
        self.tracks = [track for track in self.tracks if seconds - track.seconds <= self.patience]
        pairs = self._match(seconds, found.faces)
        for place, face in pairs.items():
            self.tracks[place].see(seconds, found.faces[face])
        for place in sorted({*range(len(found.faces))} - {*pairs.values()}):
            face = found.faces[place]
            self.tracks.append(Track(as_state(face.box), seconds, face.score, weight_of(face.box, face.score)))
        self._name()
        named = sorted((track for track in self.tracks if track.id is not None), key=lambda track: track.id)
        return [self._person(track, seconds) for track in named]

    def _match(self, seconds: float, faces: list[Found]) -> dict[int, int]:
        """{track: face}, the assignment with the least distance in all; known persons are served first."""
        from scipy.optimize import linear_sum_assignment

        pairs: dict[int, int] = {}
        for wanted in (True, False):
            rows = [i for i, track in enumerate(self.tracks) if (track.id is not None) == wanted]
            columns = [j for j in range(len(faces)) if j not in pairs.values()]
            if not rows or not columns:
                continue
            costs = np.array([[cost(self.tracks[i].expected(seconds), faces[j].box) for j in columns] for i in rows])
            chosen = zip(*linear_sum_assignment(np.minimum(costs, 1e6)), strict=True)
            pairs |= {rows[i]: columns[j] for i, j in chosen if math.isfinite(costs[i, j])}
        return pairs

    def _name(self) -> None:
        free = self.most - sum(track.id is not None for track in self.tracks)
        waiting = [track for track in self.tracks if track.id is None and track.hits >= self.hits]
        waiting.sort(key=lambda track: -track.weight)
        for track in waiting[: max(free, 0)]:
            track.id = self._who(track)

    def _who(self, track: Track) -> int:
        """Somebody who was lost, or somebody new."""
        reach = math.inf if self.in_all and self.known >= self.most else SEAT
        costs = {id: cost(lost.state, as_box(track.state), reach) for id, lost in self.lost.items()}
        nearest = min(costs, key=costs.get, default=None)
        if nearest is not None and costs[nearest] < math.inf:
            del self.lost[nearest]
            return nearest
        self.known += 1
        return self.known

    def _person(self, track: Track, seconds: float) -> Person:
        return Person(track.id, as_box(track.expected(seconds)), track.seconds == seconds, float(track.score))


def patience_of(wait: float) -> float:
    """Seconds that a person may go unseen where searches are to be ``wait`` seconds apart, at most twice as far."""
    return max(PATIENCE, MISSED * wait)


def cost(expected: np.ndarray, face: Box, reach: float = NEAR) -> float:
    """Distance in face sizes less the overlap; infinite where it cannot be the same face."""
    measured, size = as_state(face), math.sqrt(expected[2] * expected[3])
    far = math.hypot(*(measured[:2] - expected[:2])) / size
    growth = math.sqrt(measured[2] * measured[3]) / size
    is_other = far > reach or not 1 / GROWTH < growth < GROWTH
    return math.inf if is_other and reach < math.inf else far - overlap(as_box(expected), face)


def as_state(box: Box) -> np.ndarray:
    left, top, right, bottom = box
    return np.array([(left + right) / 2, (top + bottom) / 2, max(right - left, 1.0), max(bottom - top, 1.0)])


def as_box(state: np.ndarray) -> Box:
    x, y, width, height = (float(value) for value in state)
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
