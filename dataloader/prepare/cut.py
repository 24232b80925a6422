"""Cut videos into clips: frames as JPEGs, a face box per frame, a body box per clip; several videos in parallel."""

import math
import multiprocessing
import os
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Thread

import cv2
import numpy as np

from dataloader.annotation import SPAN
from dataloader.boxes import Box
from dataloader.detect import Detector, body_box, face_weight
from dataloader.paths import VIDEO_SUFFIXES
from dataloader.prepare.options import PrepareOptions
from dataloader.prepare.sources import Source
from dataloader.prepare.store import IMAGES, ClipRecord, VideoRecord, remove_clips, write_record
from dataloader.track import Person, Tracker, patience_of
from dataloader.video import JUMPING_TIMES, Video, open_video
from utils.errors import UserError
from utils.processes import ordered_map
from utils.runlog import progress_bar
from utils.text import plural

LINKS = "videos"  # folder of a set whose clips stay in their videos
EXTRA_TRACKS = 8  # additional tracks, because some detections are not faces
MIN_FRAMES = 0.5  # least share of a clip's nominal number of frames; videos with gaps have fewer
EDGE = 5  # percent of the body boxes on each side that the box of a clip may cut off


def cut_all(
    sources: list[Source],
    records: list[VideoRecord],
    out: Path,
    options: PrepareOptions,
    make_detector: Callable[..., Detector],
) -> list[VideoRecord]:
    """Return a record of every video, in the order of ``sources``; finished videos are not cut again."""
    bases = {source.real: source.basis for source in sources}
    complete = [r for r in records if options.set_lists or all(exists(out, clip.folder) for clip in r.clips)]
    by_path = {record.path: record for record in complete if record.basis == bases.get(record.path)}
    remaining = [source for source in sources if source.real not in by_path]
    if len(remaining) < len(sources):
        print(f"continuing: {len(sources) - len(remaining)} of {plural(len(sources), 'video')} done")
    with ordered_map(min(options.workers, len(remaining)), begin_worker) as run:
        results = run(partial(cut_video, out, options, make_detector), remaining)
        by_path |= {record.path: record for record in progress_bar(results, len(remaining), "videos")}
    return [by_path[source.real] for source in sources]


def exists(out: Path, clip: str) -> bool:
    """Return whether the folder or the video of a clip exists."""
    return (out / clip.partition(SPAN)[0]).exists()


def begin_worker() -> None:
    """Make a worker end with the process that started it, so that it cannot write during the next call."""
    cv2.setNumThreads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def cut_video(
    out: Path, options: PrepareOptions, make_detector: Callable[..., Detector], source: Source
) -> VideoRecord:
    """Write the clips of one video, then its record. An unusable video leaves no files and does not stop the others."""
    remove_clips(out, source)
    record = VideoRecord(source.name, source.real, source.basis)
    try:
        with open_video(str(source.path), options.folder_fps) as video:
            detector = make_detector(options.face_model, options.persons)
            kind = SetBoxes if options.set_lists else BoxCutter if options.boxes_only else Cutter
            kind(out, source, video, detector, options, record).cut()
            if options.boxes_only and JUMPING_TIMES in (video.damaged or ""):
                raise UserError(f"{source.path}: its times jump, so no part of it can be named; convert it first")
            record = replace(record, damaged=video.damaged)
    except BaseException as error:
        remove_clips(out, source)
        if isinstance(error, UserError):
            return VideoRecord(source.name, source.real, source.basis, error=str(error))
        raise
    write_record(out, record)
    return record


@dataclass(frozen=True)
class Sample:
    """A frame of a clip, with the face and the body of every person detected in it."""

    seconds: float
    number: int  # of the frame in the video, from 0
    jpeg: bytes  # empty if frames are not written
    persons: dict[int, Person]
    bodies: dict[int, Box]
    scale: float  # pixels of the video for one pixel of the boxes


class Cutter:
    """Cuts one video into clips, each of one person in one window; only the frames of one window are in memory."""

    def __init__(
        self,
        out: Path,
        source: Source,
        video: Video,
        detector: Detector,
        options: PrepareOptions,
        record: VideoRecord,  # filled with the clips and with dropped parts
    ) -> None:
        self.out, self.source, self.parts, self.record = out, source, source.parts, record
        self.video, self.detector, self.options = video, detector, options
        self.half = 0.5 / options.fps  # half the time between two samples
        self.times: list[float] = []  # of all decoded frames
        self.window: deque[Sample] = deque()
        self.begin = 0.0  # of the window, seconds

    def cut(self) -> None:
        waiting, part = deque(range(len(self.parts))), None
        for sample in self._samples():
            if part is not None and self._is_over(part, sample.seconds):
                self._finish(part)
                part = None
            while part is None and waiting and sample.seconds >= self.parts[waiting[0]].start - self.half:
                part = waiting.popleft()
                self.begin = self.parts[part].start
                if self._is_over(part, sample.seconds):
                    self._drop_part(part, "the video has no frame in it")
                    part = None
            if part is not None:
                self._add(sample, part)
        if part is not None:
            self._finish(part)
        for late in waiting:
            self._drop_part(late, "the video ends before it")

    def _is_over(self, part: int, seconds: float) -> bool:
        return seconds >= (self.parts[part].end or math.inf) - self.half

    def _drop_part(self, part: int, reason: str) -> None:
        start, end = self.parts[part].start, self.parts[part].end
        self.record.dropped.append((start, end or start, reason))

    def _samples(self) -> Iterator[Sample]:
        options = self.options
        patience = patience_of(max(1 / options.fps, 1 / self.video.fps))
        tracker = Tracker(options.persons + EXTRA_TRACKS, patience=patience)
        for seconds, frame in self.video.frames(1 / options.fps, self.times):
            if not any(part.start - 2 <= seconds <= (part.end or seconds) + 1 for part in self.parts):
                continue  # outside every labelled part
            number, full_width = len(self.times) - 1, frame.shape[1]
            frame = shrunk(frame, options.height)
            detections, (height, width) = self.detector(frame), frame.shape[:2]
            persons = {person.id: person for person in tracker.update(seconds, detections) if person.is_visible}
            bodies = {id: body_box(p.face, detections.bodies, width, height) for id, p in persons.items()}
            jpeg = b"" if options.boxes_only else encode(frame, options.quality)
            yield Sample(seconds, number, jpeg, persons, bodies, full_width / width)

    def _add(self, sample: Sample, part: int) -> None:
        """Write the windows that end before the sample, then add it to the window."""
        while sample.seconds >= self.begin + self.options.seconds - self.half:
            self._cut_window(part, self.begin + self.options.seconds)
            self.begin += self.options.step
            while self.window and self.window[0].seconds < self.begin - self.half:
                self.window.popleft()
        if sample.seconds >= self.begin - self.half:
            self.window.append(sample)

    def _finish(self, part: int) -> None:
        if self.window:
            end = min(self.window[-1].seconds + 2 * self.half, self.begin + self.options.seconds)
            self._cut_window(part, end)
        self.window.clear()

    def _cut_window(self, part: int, end: float) -> None:
        """Write a clip for each of the persons with the largest and most confident faces; --min-face 0 allows none."""
        options, start, end = self.options, round(self.begin, 3), round(end, 3)
        if len(self.window) < MIN_FRAMES * options.seconds * options.fps:
            self.record.dropped.append((start, end, f"only {plural(len(self.window), 'frame')}"))
            return
        for person in main_persons(self.window, options.persons) or [None]:
            share = sum(person in sample.persons for sample in self.window) / len(self.window)
            if share < options.min_face:
                self.record.dropped.append((start, end, f"a face in {share:.0%} of its frames"))
            else:
                self.record.clips.append(self._write_clip(part, person, start, end))

    def _folder_of(self, person: int | None) -> str:
        return self.source.person if self.options.persons == 1 else f"{self.source.person}_p{person or 0}"

    def _write_clip(self, part: int, person: int | None, start: float, end: float) -> ClipRecord:
        name = self._folder_of(person)
        number = len(self.record.clips) + len(self.record.dropped) + 1
        folder, faces = f"{IMAGES}/{name}/{self.source.name}_{number:04d}", {}
        (self.out / folder).mkdir(parents=True)
        for frame, sample in enumerate(self.window, 1):
            (self.out / folder / f"{frame:05d}.jpg").write_bytes(sample.jpeg)
            if person in sample.persons:
                faces[f"{frame:05d}.jpg"] = rounded(sample.persons[person].face)
        bodies = [sample.bodies[person] for sample in self.window if person in sample.bodies]
        return ClipRecord(folder, name, len(self.window), part, faces, around(bodies) if bodies else None)


class BoxCutter(Cutter):
    """Names the clips of one video as parts of it, and finds their boxes. The set links to the video."""

    def cut(self) -> None:
        if not self.source.path.name.lower().endswith(VIDEO_SUFFIXES):
            kind = "a folder of frames" if self.source.path.is_dir() else "not one of them"
            raise UserError(f"{self.source.path}: is {kind}; --boxes-only needs videos ({', '.join(VIDEO_SUFFIXES)})")
        super().cut()

    def _write_clip(self, part: int, person: int | None, start: float, end: float) -> ClipRecord:
        name = self._folder_of(person)
        path = f"{LINKS}/{name}/{self.source.name}{self.source.path.suffix}"
        link = self.out / path
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(self.source.real)
        frames, faces, body = self._boxes([*self.window], person, start)
        return ClipRecord(f"{path}{SPAN}{seconds_text(start)},{seconds_text(end)}", name, frames, part, faces, body)

    def _boxes(
        self, samples: list[Sample], person: int | None, start: float
    ) -> tuple[int, dict[str, list[float]], list[float] | None]:
        """Return the boxes of a clip that begins at ``start``: the number of its frames from the first to the last
        sample, the face boxes of these frames, and the body box.

        Frames between two samples with the person get boxes in proportion to their distance from both.
        """
        first, faces = bisect_left(self.times, start), {}
        samples = [sample for sample in samples if sample.number >= first]
        for before, after in zip(samples, [*samples[1:], None], strict=True):
            if person not in before.persons:
                continue
            box = scaled(before.persons[person].face, before.scale)
            faces[frame_name(before.number - first)] = rounded(box)
            if after is None or person not in after.persons:
                continue
            last = scaled(after.persons[person].face, after.scale)
            for number in range(before.number + 1, after.number):
                share = (number - before.number) / (after.number - before.number)
                between = [(1 - share) * low + share * high for low, high in zip(box, last, strict=True)]
                faces[frame_name(number - first)] = rounded(between)
        bodies = [scaled(sample.bodies[person], sample.scale) for sample in samples if person in sample.bodies]
        frames = samples[-1].number - samples[0].number + 1 if samples else 0
        return frames, faces, around(bodies) if bodies else None


class SetBoxes(BoxCutter):
    """Finds the boxes of the clips that the lists of a set name in one video; they may overlap."""

    def cut(self) -> None:
        samples = [*self._samples()]
        for number, part in enumerate(self.parts):
            inside = [s for s in samples if s.seconds >= part.start and (part.end is None or s.seconds < part.end)]
            person = next(iter(main_persons(inside, 1)), None)
            frames, faces, body = self._boxes(inside, person, part.start)
            self.record.clips.append(ClipRecord(part.label, "", frames, number, faces, body))


def main_persons(samples: Iterable[Sample], count: int) -> list[int]:
    """Return the ``count`` persons with the largest and most confident faces."""
    weights: Counter[int] = Counter()
    for sample in samples:
        weights.update({id: face_weight(person.face, person.score) for id, person in sample.persons.items()})
    return [person for person, _ in weights.most_common(count)]


def frame_name(number: int) -> str:
    """Return the name that box files have for a frame of a video clip, counted from 0."""
    return f"{number + 1:05d}.jpg"


def seconds_text(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def scaled(box: Box, scale: float) -> Box:
    return tuple(edge * scale for edge in box)


def around(boxes: list[Box]) -> list[float]:
    """Return the box around all boxes except outliers."""
    low, high = np.percentile(boxes, [EDGE, 100 - EDGE], axis=0)
    return rounded((*low[:2], *high[2:]))


def rounded(box: Box) -> list[float]:
    return [round(float(edge), 1) for edge in box]


def shrunk(frame: np.ndarray, short_side: int) -> np.ndarray:
    """Return the frame with a shorter side of at most ``short_side`` pixels."""
    ratio = short_side / min(frame.shape[:2])
    if ratio >= 1:
        return frame
    size = max(round(frame.shape[1] * ratio), 1), max(round(frame.shape[0] * ratio), 1)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def encode(frame: np.ndarray, quality: int) -> bytes:
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
