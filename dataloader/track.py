"""Track persons over frames: match faces by place, size and motion, smooth their boxes, and detect cuts."""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from dataloader.boxes import Box
from dataloader.detect import Detection, Detections, face_weight, overlap

PATIENCE = 1.5  # seconds without a detection after which a person is lost
MISSED = 2.5  # times the time between two searches, if that is longer
HITS = 2  # detections after which a face counts as a person
NEAR = 1.0  # largest distance of a face from its expected place, in face sizes
GROWTH = 1.8  # a face's size changes by at most this factor between two detections
SEAT = 2.0  # distance in face sizes within which a new face is the person lost there
BOX_TIME, MOTION_TIME = 0.08, 0.25  # seconds over which boxes and speeds are smoothed
CELLS, BINS = 4, 8  # of a frame along each side, each with a histogram of as many bins for every colour
CUT_LEAST, CUT_MORE = 0.18, 4.0  # least share of changed pixels at a cut, and least factor to recent changes
CUT_MEMORY = 10  # number of recent pairs of neighbouring frames
FAR = 1e6  # cost of an impossible pair; the assignment needs finite costs


@dataclass(frozen=True)
class Person:
    id: int  # from 1
    face: Box
    is_visible: bool  # False: not detected now; the box is where the face is expected
    score: float  # of the last detection


@dataclass
class Track:
    """One face over time: centre, size and speed."""

    state: np.ndarray  # (4,) centre x, y, width, height
    seconds: float  # of the last detection
    score: float
    weight: float  # sum over all detections
    speed: np.ndarray = field(default_factory=lambda: np.zeros(2))  # pixels a second
    hits: int = 1
    id: int | None = None  # of its person

    def expected(self, seconds: float) -> np.ndarray:
        """Return the state if the face moves on as before; the longer it is not detected, the slower it moves."""
        gap = seconds - self.seconds
        state = self.state.copy()
        state[:2] += self.speed * PATIENCE * (1 - math.exp(-gap / PATIENCE))
        return state

    def update(self, seconds: float, detection: Detection) -> None:
        gap, measured = max(seconds - self.seconds, 1e-3), as_state(detection.box)
        self.speed += (1 - math.exp(-gap / MOTION_TIME)) * ((measured[:2] - self.state[:2]) / gap - self.speed)
        expected = self.expected(seconds)
        self.state = expected + (1 - math.exp(-gap / BOX_TIME)) * (measured - expected)
        self.seconds, self.score, self.hits = seconds, detection.score, self.hits + 1
        self.weight += face_weight(detection.box, detection.score)


class Tracker:
    """Tracks at most ``most`` persons at a time. A new person is the largest and most confident face.

    A new face near the place where a person was lost is that person. ``in_all``: the video shows only ``most`` persons;
    once all have appeared, every new face is the lost person nearest to it.
    """

    def __init__(self, most: int = 1, patience: float = PATIENCE, hits: int = HITS, in_all: bool = False) -> None:
        self.most, self.patience, self.hits, self.in_all = most, patience, hits, in_all
        self.tracks: list[Track] = []
        self.lost_tracks: dict[int, Track] = {}  # by id
        self.in_other_scenes: set[int] = set()  # ids of persons lost by a cut, whose last place is meaningless
        self.num_persons = 0  # so far

    def update(self, seconds: float, detections: Detections) -> list[Person]:
        """Return the persons in the frame, sorted by id."""
        self.lost_tracks |= {t.id: t for t in self.tracks if t.id is not None and seconds - t.seconds > self.patience}
        self.tracks = [track for track in self.tracks if seconds - track.seconds <= self.patience]
        faces = detections.faces
        pairs = self._match(seconds, faces)
        for track, face in pairs.items():
            self.tracks[track].update(seconds, faces[face])
        for face in (faces[index] for index in range(len(faces)) if index not in pairs.values()):
            self.tracks.append(Track(as_state(face.box), seconds, face.score, face_weight(face.box, face.score)))
        self._add_persons()
        tracks = sorted((track for track in self.tracks if track.id is not None), key=lambda track: track.id)
        return [Person(t.id, as_box(t.expected(seconds)), t.seconds == seconds, float(t.score)) for t in tracks]

    def end_scene(self) -> None:
        """End all tracks at a cut, since no person is at the same place afterwards."""
        self.lost_tracks |= {track.id: track for track in self.tracks if track.id is not None}
        self.in_other_scenes, self.tracks = set(self.lost_tracks), []

    def _match(self, seconds: float, faces: list[Detection]) -> dict[int, int]:
        """Return {track: face}, the assignment with the least total cost; tracks of persons come first."""
        pairs: dict[int, int] = {}
        for is_person in (True, False):
            rows = [i for i, track in enumerate(self.tracks) if (track.id is not None) == is_person]
            columns = [j for j in range(len(faces)) if j not in pairs.values()]
            if not rows or not columns:
                continue
            costs = np.array([[cost(self.tracks[i].expected(seconds), faces[j].box) for j in columns] for i in rows])
            assignment = zip(*linear_sum_assignment(np.minimum(costs, FAR)), strict=True)
            pairs |= {rows[i]: columns[j] for i, j in assignment if math.isfinite(costs[i, j])}
        return pairs

    def _add_persons(self) -> None:
        free = self.most - sum(track.id is not None for track in self.tracks)
        waiting = [track for track in self.tracks if track.id is None and track.hits >= self.hits]
        waiting.sort(key=lambda track: -track.weight)
        for track in waiting[: max(free, 0)]:
            track.id = self._identify(track)

    def _identify(self, track: Track) -> int:
        """Return the id of a lost person that fits, or a new id."""
        is_complete = self.in_all and self.num_persons >= self.most
        reach = math.inf if is_complete else SEAT
        excluded = set() if is_complete else self.in_other_scenes
        candidates = {id: candidate for id, candidate in self.lost_tracks.items() if id not in excluded}
        costs = {id: cost(candidate.state, as_box(track.state), reach) for id, candidate in candidates.items()}
        nearest = min(costs, key=costs.get, default=None)
        if nearest is not None and costs[nearest] < math.inf:
            del self.lost_tracks[nearest]
            self.in_other_scenes.discard(nearest)
            return nearest
        self.num_persons += 1
        return self.num_persons


class CutDetector:
    """Returns for each frame in turn whether a new scene begins with it.

    A cut changes far more of the picture than recent movement. The change is measured as the distance between the
    colour histograms of the cells of two neighbouring frames.
    """

    def __init__(self) -> None:
        self.last: np.ndarray | None = None
        self.recent: deque[float] = deque(maxlen=CUT_MEMORY)

    def __call__(self, frame: np.ndarray) -> bool:
        histogram, last = cell_histograms(frame), self.last
        self.last = histogram
        if last is None or last.shape != histogram.shape:
            return False
        change = float(np.abs(histogram - last).sum() / 2)
        usual = float(np.median(self.recent)) if self.recent else 0.0
        is_cut = change > max(CUT_LEAST, CUT_MORE * usual)
        if not is_cut:
            self.recent.append(change)
        return is_cut


def cell_histograms(frame: np.ndarray) -> np.ndarray:
    """Return (CELLS² · 3 · BINS,): the share of pixels, of about 48 × 64 samples, in each bin of each cell."""
    height, width = frame.shape[:2]
    small = frame[:: max(height // 48, 1), :: max(width // 64, 1)]
    rows, columns = (np.arange(size) * CELLS // size for size in small.shape[:2])
    bins = small.astype(np.int64) * BINS // 256 + np.arange(3) * BINS
    indexes = bins + ((rows[:, None] * CELLS + columns) * 3 * BINS)[..., None]
    return np.bincount(indexes.ravel(), minlength=CELLS * CELLS * 3 * BINS) / indexes.size


def patience_of(wait: float) -> float:
    """Return the seconds after which a person is lost, with ``wait`` to 2 ``wait`` seconds between searches."""
    return max(PATIENCE, MISSED * wait)


def cost(expected: np.ndarray, face: Box, reach: float = NEAR) -> float:
    """Return the distance in face sizes minus the overlap; infinite if it cannot be the same face."""
    measured, size = as_state(face), math.sqrt(expected[2] * expected[3])
    distance = math.hypot(*(measured[:2] - expected[:2])) / size
    growth = math.sqrt(measured[2] * measured[3]) / size
    if reach < math.inf and (distance > reach or not 1 / GROWTH < growth < GROWTH):
        return math.inf
    return distance - overlap(as_box(expected), face)


def as_state(box: Box) -> np.ndarray:
    left, top, right, bottom = box
    return np.array([(left + right) / 2, (top + bottom) / 2, max(right - left, 1.0), max(bottom - top, 1.0)])


def as_box(state: np.ndarray) -> Box:
    x, y, width, height = (float(value) for value in state)
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
