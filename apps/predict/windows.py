"""Sample frames of a video, slide windows over them, and compute a model's answer for each window. No torch here.

Evaluation spreads its T frames over a clip. Here windows overlap, so frames are sampled on one grid of times, T per
window: neighbouring windows share frames, and each frame is encoded once.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.calibration import softmax
from apps.predict.runners import CLASSES, ModelFailure, ModelInfo, Runner
from apps.predict.timeline import CONTEXT_ONLY, FACE, NO_FACE, NO_ONE, Row
from dataloader.boxes import Box
from dataloader.crops import context_square, face_square, margin_like
from dataloader.detect import Detection, Detections, Detector, body_box
from dataloader.sampling import choose_frames
from dataloader.track import CutDetector, Person, Tracker

BODY_ONLY = 0  # person number of a body without a detected face; tracked persons count from 1
SLACK = 1e-6  # seconds of rounding error, since times are sums of fractions
CONTEXT_SECONDS = 10.0  # since a face was visible in the scene; after that a body without a face is ignored
BODY_SECONDS = 1.0  # between two searches for bodies while faces are visible; bodies move less, and the search is slow
EARLY = 0.9  # a search may be a tenth early, so that it is on a sampled frame


@dataclass
class View:
    """One person in one sampled frame; ``squares`` become ``features`` when a window first needs them."""

    has_face: bool
    squares: dict[str, np.ndarray]
    features: dict[str, np.ndarray] = field(default_factory=dict)
    answers: list[np.ndarray] = field(default_factory=list)  # of a model of frames: one from each window


@dataclass
class Sample:
    """A sampled frame and the persons in it."""

    seconds: float
    views: dict[int, View]  # person → view
    scene: int = 0  # number of cuts before it


@dataclass(frozen=True)
class Window:
    start: float
    stop: float
    samples: tuple[Sample, ...]
    part: tuple[float, float] | None = None  # from and to of the samples, if a cut divides the window

    def persons(self) -> list[int]:
        """Return the persons to answer for.

        These are all persons with a detected face in any frame; if there are none, all with an expected face; if there
        are none, a body without a face.
        """
        views = [pair for sample in self.samples for pair in sample.views.items()]
        persons, with_face = {person for person, _ in views}, {person for person, view in views if view.has_face}
        return sorted(with_face or persons - {BODY_ONLY} or persons)

    def views_of(self, person: int) -> list[View]:
        return [sample.views[person] for sample in self.samples if person in sample.views]


class Grid:
    """Selects the sampled frames: the first at or after each of ``rate`` times per second; None selects all."""

    def __init__(self, rate: float | None, fps: float) -> None:
        self.rate, self.early, self.last_slot = rate, 0.5 / fps, -1

    def takes(self, seconds: float) -> bool:
        if self.rate is None:
            return True
        slot = int(np.floor((seconds + self.early) * self.rate + SLACK))
        is_new, self.last_slot = slot > self.last_slot, max(slot, self.last_slot)
        return is_new


class SlidingWindows:
    """Windows of ``seconds``, one every ``every`` seconds, each closed by the first frame after it."""

    def __init__(self, seconds: float, every: float) -> None:
        self.seconds, self.every = seconds, every
        self.number, self.covered = 0, 0.0  # of the next window; the end of the last window
        self.samples: list[Sample] = []  # from the start of the next window on

    def push(self, sample: Sample) -> Iterator[Window]:
        """Yield the windows that end before ``sample``."""
        yield from self._full_windows(sample.seconds)
        self.samples.append(sample)

    def finish(self, end: float) -> Iterator[Window]:
        """Yield the remaining whole windows, then a shorter one if the last seconds are in no window."""
        yield from self._full_windows(end)
        if self.covered < end - SLACK and end > self.number * self.every:
            yield self._close(end)

    def _full_windows(self, end: float) -> Iterator[Window]:
        while (stop := self.number * self.every + self.seconds) <= end + SLACK:
            yield self._close(stop)

    def _close(self, stop: float) -> Window:
        start = self.number * self.every
        self.number, self.covered = self.number + 1, stop
        inside = [s for s in self.samples if start - SLACK <= s.seconds < stop - SLACK]
        scene = same_scene(inside, (start + stop) / 2)
        self.samples = [s for s in self.samples if s.seconds >= self.number * self.every - SLACK]
        return Window(start, stop, scene, part_of(scene, inside, start, stop))


def same_scene(samples: list[Sample], middle: float) -> tuple[Sample, ...]:
    """Return the samples of the scene at ``middle``: a window divided by a cut is predicted from that scene only."""
    scenes = [sample.scene for sample in samples if sample.seconds <= middle + SLACK] or [s.scene for s in samples[:1]]
    return tuple(sample for sample in samples if sample.scene == scenes[-1])


def part_of(scene: tuple[Sample, ...], samples: list[Sample], start: float, stop: float) -> tuple[float, float] | None:
    """Return from and to of the samples of ``scene`` in a window divided by a cut, and None in any other."""
    if len(scene) == len(samples):
        return None
    first = start if scene[0] is samples[0] else scene[0].seconds
    return first, next((sample.seconds for sample in samples if sample.scene > scene[0].scene), stop)


class FrameWindows:
    """Windows of ``size`` samples, one every ``stride``, the last at the end, as in the evaluation of sequence models.

    A cut is treated as the end of one video and the start of the next, so no window extends across it.
    """

    def __init__(self, size: int, stride: int) -> None:
        self.size, self.stride = size, stride
        self.count, self.covered = 0, 0
        self.samples: deque[Sample] = deque(maxlen=size)

    def push(self, sample: Sample) -> Iterator[Window]:
        if self.samples and sample.scene != self.samples[-1].scene:
            yield from self.finish(sample.seconds)
            self.samples.clear()
            self.count = self.covered = 0
        self.samples.append(sample)
        self.count += 1
        if self.count >= self.size and (self.count - self.size) % self.stride == 0:
            yield self._close(sample.seconds)

    def finish(self, end: float) -> Iterator[Window]:
        if self.count > self.covered:
            yield self._close(end)

    def _close(self, stop: float) -> Window:
        self.covered = self.count
        return Window(self.samples[0].seconds, stop, tuple(self.samples))


class Watcher:
    """Detects and tracks the persons of a video, and crops their squares from sampled frames.

    Detection is slow. It is done on sampled frames at least ``detect_every`` seconds apart, and after at most twice
    that time if no frame is sampled. In between, persons keep their last position, until a cut removes all of them.

    Bodies are searched only if the model reads them, or if no face shows a person. That search is the slowest of all.
    """

    def __init__(self, detector: Detector, tracker: Tracker, info: ModelInfo, grid: Grid, detect_every: float) -> None:
        self.detector, self.tracker, self.info = detector, tracker, info
        self.grid, self.detect_every = grid, detect_every
        self.is_cut, self.scene = CutDetector(), 0
        self.last_search: float | None = None
        self.last_face: float | None = None  # in this scene
        self.persons: list[Person] = []
        self.detections = Detections([], [])  # of the last search
        self.bodies: list[Detection] = []
        self.bodies_until = -1.0  # seconds, when bodies are searched again

    def look(self, seconds: float, frame: np.ndarray) -> Sample | None:
        """Update the persons, and return the frame as a sample if the grid takes it."""
        is_sampled = self.grid.takes(seconds)
        wait = self.detect_every * (EARLY if is_sampled else 2)
        is_due = self.last_search is None or seconds - self.last_search >= wait
        if (is_sampled or is_due) and self.is_cut(frame):
            self.tracker.end_scene()
            self.scene, self.last_face, is_due, self.bodies_until = self.scene + 1, None, True, -1.0
        if is_due:
            self.last_search, self.detections = seconds, self.detector(frame)
            self.persons = self.tracker.update(seconds, self.detections)
            if any(person.is_visible for person in self.persons):
                self.last_face = seconds
        if not is_sampled:
            return None
        if self.persons and self.info.crop_body and "context" in self.info.views and seconds >= self.bodies_until:
            self.bodies, self.bodies_until = self.detections.bodies, seconds + BODY_SECONDS * EARLY
        views = {person.id: self._view(frame, person.face, person.is_visible) for person in self.persons}
        if not views and not self.info.needs_face and had_face_lately(self.last_face, seconds):
            self.bodies, self.bodies_until = self.detections.bodies, -1.0
            if self.bodies:
                views[BODY_ONLY] = self._view(frame, None, False)
        return Sample(seconds, views, self.scene)

    def _view(self, frame: np.ndarray, face: Box | None, has_face: bool) -> View:
        """Return the squares of one person.

        Without a face the face stream gets the full frame, as in training for clips without face boxes. If the face is
        hidden, the body is searched for around the expected place of the face.
        """
        info, squares = self.info, {}
        if "face" in info.views and (has_face or not info.needs_face):
            margin = margin_like(info.face_width, face) if has_face else 0
            squares["face"] = face_square(frame, face if has_face else None, info.size, margin)
        if "context" in info.views:
            height, width = frame.shape[:2]
            body = body_box(face, self.bodies, width, height) if info.crop_body else None
            squares["context"] = context_square(frame, body, info.size)
        return View(has_face, squares)


def had_face_lately(last_face: float | None, seconds: float) -> bool:
    """Return whether a body without a face may be a person, because a face was visible recently in this scene."""
    return last_face is not None and seconds - last_face <= CONTEXT_SECONDS


class WindowAnswers:
    """One row per person and window, for models of kinds CLASSES and NUMBERS."""

    def __init__(self, runner: Runner, info: ModelInfo) -> None:
        self.runner, self.info = runner, info

    def answer(self, window: Window) -> Iterator[list[Row]]:
        """Yield the rows of the window as one group."""
        usable = {person: choose_views(window.views_of(person), self.info) for person in window.persons()}
        encode_views(self.runner, [view for views in usable.values() for view in views])
        values = self._values({person: views for person, views in usable.items() if views}, window.start)
        rows = []
        for person in usable:
            faces = sum(view.has_face for view in window.views_of(person))
            visibility = FACE if faces else CONTEXT_ONLY if person in values else NO_FACE
            cells = values.get(person)
            rows.append(Row(window.start, window.stop, person or None, visibility, cells, faces, len(window.samples)))
        yield rows or [Row(window.start, window.stop, None, NO_ONE, samples=len(window.samples), part=window.part)]

    def finish(self, end: float) -> Iterator[list[Row]]:
        return iter(())

    def _values(self, views: dict[int, list[View]], start: float) -> dict[int, tuple[float, ...]]:
        """Return the probabilities or numbers of every person with T views; ``start`` of the window, in seconds."""
        if not views:
            return {}
        streams = {
            name: np.stack([[view.features[name] for view in row] for row in views.values()])
            for name in self.info.views
        }
        values = compute_outputs(self.runner, streams.get("face"), streams.get("context"), [start] * len(views))
        if self.info.kind == CLASSES:
            values = softmax(values.astype(np.float64), self.info.temperature)
        return {person: tuple(map(float, row)) for person, row in zip(views, values, strict=True)}


class FrameAnswers:
    """One row per person and frame, for models of kind FRAMES: the answers of overlapping windows are averaged."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.samples: deque[Sample] = deque()  # those whose answers may still change

    def answer(self, window: Window) -> Iterator[list[Row]]:
        """Yield the rows of all frames before this window, which no later window covers."""
        while self.samples and self.samples[0] is not window.samples[0]:
            yield self._settle(window.start)
        self.samples.extend(window.samples[len(self.samples) :])
        persons = [person for person in window.persons() if any(view.has_face for view in window.views_of(person))]
        encode_views(self.runner, [v for person in persons for v in window.views_of(person) if v.has_face])
        for person in persons:
            self._add(window, person)

    def finish(self, end: float) -> Iterator[list[Row]]:
        """Yield the remaining rows; the last frame lasts until ``end``."""
        while self.samples:
            yield self._settle(end)

    def _add(self, window: Window, person: int) -> None:
        """Add the answers for one person.

        A frame without the face gets the features of the last frame with it, or of the first if there is none before.
        """
        views = [sample.views.get(person) for sample in window.samples]
        indexes = [index for index, view in enumerate(views) if view is not None and view.has_face]
        last_visible = np.searchsorted(indexes, np.arange(len(views)), side="right") - 1
        features = np.stack([views[indexes[max(number, 0)]].features["face"] for number in last_visible])
        values = compute_outputs(self.runner, features[None], None, [[sample.seconds for sample in window.samples]])[0]
        for index in indexes:
            views[index].answers.append(values[index].astype(np.float64))

    def _settle(self, end: float) -> list[Row]:
        """Return the rows of the first frame, which lasts until the next or, if it is the last, until ``end``."""
        sample, rows = self.samples.popleft(), []
        until = self.samples[0].seconds if self.samples else end
        for person in sorted(sample.views.keys() - {BODY_ONLY}):
            answers = sample.views[person].answers
            values = tuple(map(float, sum(answers) / len(answers))) if answers else None
            visibility = FACE if answers else NO_FACE
            rows.append(Row(sample.seconds, until, person, visibility, values, int(bool(answers)), 1))
        return rows or [Row(sample.seconds, until, None, NO_ONE, samples=1)]


def choose_views(views: list[View], info: ModelInfo) -> list[View]:
    """Return T views, selected like frames of a clip in evaluation, among those with a detected face.

    If there are none, a model with a context stream uses all views, and any other model none.
    """
    with_face = [view for view in views if view.has_face]
    if not with_face and info.needs_face:
        return []
    usable = with_face if with_face and info.streams != "context" else views
    segments = info.frames // info.duration
    return [usable[i] for i in choose_frames(len(usable), segments, info.duration, info.sampling, None, False)]


def compute_outputs(
    runner: Runner, face: np.ndarray | None, context: np.ndarray | None, seconds: Sequence[Any]
) -> np.ndarray:
    """Return the outputs of ``runner.head``; raise a ``ModelFailure`` with the first time at which one is not finite.

    ``seconds``: the time of each row (B,), or of each frame (B, T) of a model of kind FRAMES.
    """
    values = runner.head(face, context)
    is_finite = np.isfinite(values).all(axis=-1)
    if not is_finite.all():
        first = np.asarray(seconds)[~is_finite].min()
        raise ModelFailure(
            f"{runner.info.model}: its output at {first:.1f} s is not finite; with mixed precision try --amp off, "
            "otherwise another checkpoint"
        )
    return values


def encode_views(runner: Runner, views: list[View]) -> None:
    """Encode the squares of all views that have no features yet, in one batch, and free the pixels."""
    waiting = [(view, name) for view in {id(view): view for view in views}.values() for name in view.squares]
    if not waiting:
        return
    rows = runner.encode(np.stack([view.squares[name] for view, name in waiting]))
    for (view, name), row in zip(waiting, rows, strict=True):
        view.features[name] = row
        del view.squares[name]
