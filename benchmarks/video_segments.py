"""Joins clips of a simulated set to a video of known emotions; each segment shows one person and one emotion."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from apps.predict.timeline import Row
from dataloader.annotation import Clip, read_annotation
from dataloader.boxes import Box, read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.frames import read_frame

CLIP_SECONDS = 4.0  # the simulation does not define the frame rate of its clips
FPS = 25.0


class VideoFrame(NamedTuple):
    """One frame of the video with the true boxes of the simulation."""

    seconds: float
    frame: np.ndarray
    face: Box | None
    body: Box | None


class Segment(NamedTuple):
    start: float
    stop: float
    person: str
    label: int
    clips: list[Clip]


def find_segments(root: Path, list_name: str, clips: int = 2, most: int | None = None) -> list[Segment]:
    """Return a segment for every person and emotion with at least ``clips`` clips in the list, sorted by person."""
    groups: dict[tuple[str, int], list[Clip]] = defaultdict(list)
    for clip in read_annotation(list_name, str(root), load_classes("RAER")):
        groups[person_of(clip), clip.label].append(clip)
    segments: list[Segment] = []
    for (person, label), group in sorted(groups.items()):
        if len(group) >= clips:
            start = len(segments) * clips * CLIP_SECONDS
            segments.append(Segment(start, start + clips * CLIP_SECONDS, person, label, group[:clips]))
    return segments[:most]


def segments_by_person(root: Path, list_name: str) -> list[list[Segment]]:
    persons: dict[str, list[Segment]] = defaultdict(list)
    for segment in find_segments(root, list_name):
        persons[segment.person].append(segment)
    return list(persons.values())


def in_time(segments: list[Segment]) -> list[Segment]:
    """Return the segments with new times: one after the other, from 0 s."""
    length = segments[0].stop - segments[0].start
    return [s._replace(start=n * length, stop=(n + 1) * length) for n, s in enumerate(segments)]


def person_of(clip: Clip) -> str:
    return Path(clip.key).parts[-2]


def play(segments: list[Segment], root: Path, scale: float = 1.0, fps: float = FPS) -> Iterator[VideoFrame]:
    """Yield every frame of the video, in which each clip lasts ``CLIP_SECONDS``."""
    faces = read_face_boxes("annotation/face.json", str(root))
    bodies = read_body_boxes("annotation/body.json", str(root))
    count = round(CLIP_SECONDS * fps)
    for segment in segments:
        for position, clip in enumerate(segment.clips):
            start = segment.start + position * CLIP_SECONDS
            for number in range(count):
                name = clip.frames[number * len(clip.frames) // count]
                frame = enlarge(read_frame(clip.folder / name), scale)
                face, body = faces.get(clip.key, {}).get(name), bodies.get(clip.key)
                yield VideoFrame(start + number / fps, frame, scale_box(face, scale), scale_box(body, scale))


def enlarge(frame: Any, scale: float) -> np.ndarray:
    pixels = np.asarray(frame)
    if scale == 1:
        return pixels
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def scale_box(box: Box | None, scale: float) -> Box | None:
    return None if box is None else tuple(value * scale for value in box)


def majority_class(rows: Iterable[Row], start: float, stop: float) -> str | None:
    """Return the class predicted most often by the windows whose middles are between ``start`` and ``stop``."""
    counts = Counter(row.predicted for row in rows if start <= row.middle < stop and row.predicted)
    return counts.most_common(1)[0][0] if counts else None
