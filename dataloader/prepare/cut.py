"""One video cut into clips: frames as JPEGs, a face box a frame, a body box a clip."""

import math
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from dataloader.body import body_box
from dataloader.boxes import Box
from dataloader.detect import Detector, weight_of
from dataloader.prepare.options import PrepareOptions
from dataloader.prepare.sources import Source
from dataloader.track import Tracker, patience_of
from dataloader.video.open import open_video
from dataloader.video.video import Video
from utils.words import plural

CANDIDATES = 8  # faces followed beyond the persons wanted: one of them may be no face
FEWEST = 0.5  # of the frames that a clip should have; videos with gaps have fewer
EDGE = 5  # percent of the body boxes on each side that a clip's box may cut


@dataclass(frozen=True)
class Sample:
    """A kept frame: (left, top, right, bottom) of every face seen in it, and of its body, by person."""

    seconds: float
    jpeg: bytes
    faces: dict[int, Box]
    weights: dict[int, float]  # what speaks for each face
    bodies: dict[int, Box]


@dataclass
class CutClip:
    """One person over one window."""

    seconds: tuple[float, float]
    part: int  # of its video
    person: int | None  # None: nobody was found, and none had to be
    samples: list[Sample]
    reason: str | None = None  # why it is left out

    @property
    def face_boxes(self) -> dict[str, list[float]]:
        named = enumerate(self.samples, 1)
        return {frame_name(n): rounded(s.faces[self.person]) for n, s in named if self.person in s.faces}

    @property
    def body_box(self) -> list[float] | None:
        """Around the person's bodies over the clip, without the odd one that is far off."""
        boxes = np.array([s.bodies[self.person] for s in self.samples if self.person in s.bodies])
        if not len(boxes):
            return None
        low, high = np.percentile(boxes, [EDGE, 100 - EDGE], axis=0)
        return rounded((*low[:2], *high[2:]))


@dataclass
class Cutter:
    """``clips()`` holds the frames of one window at a time; after it ``damaged`` tells what could not be read."""

    source: Source
    options: PrepareOptions
    detector: Detector
    damaged: str | None = None
    window: deque = field(default_factory=deque)

    def clips(self) -> Iterator[CutClip]:
        with open_video(str(self.source.path), self.options.folder_fps) as video:
            parts, left, part = self.source.parts, deque(range(len(self.source.parts))), None
            for sample in self._samples(video):
                if part is not None and self._is_over(part, sample.seconds):
                    yield from self._finish(part)
                    part = None
                while part is None and left and sample.seconds >= parts[left[0]].start - self._half:
                    part = left.popleft()
                    self.begin = parts[part].start
                    if self._is_over(part, sample.seconds):
                        yield self._without_frames(part, "the video has no frame in it")
                        part = None
                if part is not None:
                    yield from self._add(sample, part)
            if part is not None:
                yield from self._finish(part)
            for late in left:
                yield self._without_frames(late, "the video ends before it")
            self.damaged = video.damaged

    @property
    def _half(self) -> float:
        return 0.5 / self.options.fps

    def _is_over(self, part: int, seconds: float) -> bool:
        return seconds >= (self.source.parts[part].end or math.inf) - self._half

    def _without_frames(self, part: int, reason: str) -> CutClip:
        span = self.source.parts[part].start, self.source.parts[part].end or self.source.parts[part].start
        return CutClip(span, part, None, [], reason)

    def _samples(self, video: Video) -> Iterator[Sample]:
        patience = patience_of(max(1 / self.options.fps, 1 / video.fps))
        tracker = Tracker(self.options.persons + CANDIDATES, patience=patience)
        for seconds, frame in video.frames(1 / self.options.fps):
            frame = shrunk(frame, self.options.height)
            if not any(p.start - 2 <= seconds <= (p.end or seconds) + 1 for p in self.source.parts):
                continue  # far from every labelled part
            found, (height, width) = self.detector(frame), frame.shape[:2]
            seen = [person for person in tracker.update(seconds, found) if person.seen]
            faces = {person.id: person.face for person in seen}
            weights = {person.id: weight_of(person.face, person.score) for person in seen}
            bodies = {number: body_box(face, found.bodies, width, height) for number, face in faces.items()}
            yield Sample(seconds, encode(frame, self.options.quality), faces, weights, bodies)

    def _add(self, sample: Sample, part: int) -> Iterator[CutClip]:
        """Windows that end before this frame are whole."""
        while sample.seconds >= self.begin + self.options.seconds - self._half:
            yield from self._choose(part, self.begin + self.options.seconds)
            self.begin += self.options.step
            while self.window and self.window[0].seconds < self.begin - self._half:
                self.window.popleft()
        if sample.seconds >= self.begin - self._half:
            self.window.append(sample)

    def _finish(self, part: int) -> Iterator[CutClip]:
        if self.window:
            end = min(self.window[-1].seconds + 2 * self._half, self.begin + self.options.seconds)
            yield from self._choose(part, end)
        self.window.clear()

    def _choose(self, part: int, end: float) -> Iterator[CutClip]:
        """The persons of a window who are largest and surest for longest."""
        samples, span, wanted = list(self.window), (round(self.begin, 3), round(end, 3)), self.options
        if len(samples) < FEWEST * wanted.seconds * wanted.fps:
            yield CutClip(span, part, None, samples, f"only {plural(len(samples), 'frame')}")
            return
        seen: Counter[int] = Counter()
        for sample in samples:
            seen.update(sample.weights)
        chosen: list[int | None] = [person for person, _ in seen.most_common(wanted.persons)]
        for person in chosen or [None]:
            share = sum(person in sample.faces for sample in samples) / len(samples)
            reason = f"a face in {share:.0%} of its frames" if share < wanted.min_face else None
            yield CutClip(span, part, person, samples, reason)


def write_clip(clip: CutClip, folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, sample in enumerate(clip.samples, 1):
        (folder / frame_name(number)).write_bytes(sample.jpeg)


def frame_name(number: int) -> str:
    return f"{number:05d}.jpg"


def rounded(box: Box) -> list[float]:
    return [round(float(edge), 1) for edge in box]


def shrunk(frame: np.ndarray, side: int) -> np.ndarray:
    """With a shorter side of at most ``side`` pixels."""
    ratio = side / min(frame.shape[:2])
    if ratio >= 1:
        return frame
    size = max(round(frame.shape[1] * ratio), 1), max(round(frame.shape[0] * ratio), 1)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def encode(frame: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()
