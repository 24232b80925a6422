"""overlay.mp4: the video with face boxes, the present answers, and a strip of the last minute; H.264, true times. Of a
picture overlay.jpg."""

from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np

from apps.predict.colours import UNCERTAIN_COLOUR, class_colours, rgb
from apps.predict.drawing import Piece, draw_corner, draw_legend, draw_person, draw_strip
from apps.predict.runner import CLASSES, FRAMES, About
from apps.predict.timeline import FACE, UNCERTAIN, Face, Row, Step

WIDEST = 960  # pixels; larger videos are shrunk
HELD = 128 << 20  # bytes of frames that wait for their answers
MINUTE = 60.0
LANES = 6  # persons in the strip
TICKS, SLOW_TICKS = 90_000, 1000  # of a second; the format counts in 32 bits from a frame to those that it is built on
SLOW = 1 / 60  # frames a second
QUALITY = 95  # of frames that wait as JPEG
GREY = (150, 150, 150)


class Waiting(NamedTuple):
    """A frame whose answer is not known yet; its colours are stored as video stores them, at half the size. For models
    that read hundreds of frames together, so that as many wait, it is a JPEG of that."""

    seconds: float
    pixels: np.ndarray
    faces: list[Face]


class Overlay:
    """Frames go in by ``add`` and wait until the answer nearest to them is known; live ones wait for nothing."""

    def __init__(self, folder: Path, predictor: Any, video: Any, *, write: bool = True, live: bool = False) -> None:
        self.about: About = predictor.about
        self.live = live
        self.reach = max(predictor.timing.every or 0, 1 / video.fps) / 2  # an answer holds this long around its middle
        self.scale = min(1.0, WIDEST / video.width)
        self.width, self.height = even(video.width * self.scale), even(video.height * self.scale)
        self.size = max(round(self.width / 42), 10)  # of letters
        lanes = min(predictor.config.video.max_persons + (not self.about.needs_face), LANES)
        has_strip = self.about.names and not video.is_still
        self.legend = round(self.size * 1.6) if has_strip else 0
        self.strip = round(self.size * (1.8 + 1.4 * lanes)) if has_strip else 0
        self.colours = class_colours(self.about.names)
        self.waiting: deque[Waiting] = deque()
        self.held, self.is_packed = 0, self.about.kind == FRAMES  # bytes; whether they are JPEGs
        self.answers: dict[int, deque[Row]] = {}
        self.known = -1.0  # until when answers are; none yet, not even of the first frame
        self.below = even(self.strip + self.legend) if self.strip else 0
        self.film = open_film(folder, video, self.width, self.height + self.below) if write else None

    def __enter__(self) -> "Overlay":
        return self

    def __exit__(self, *_: Any) -> None:
        self._release(everything=True)
        if self.film is not None:
            self.film.close()

    def add(self, step: Step) -> np.ndarray | None:
        """The last picture that became ready, where one did."""
        for rows in step.rows:
            for row in rows:
                self.answers.setdefault(row.person or 0, deque()).append(row)
                self.known = max(self.known, row.middle)
        if step.frame is not None:
            faces = [face._replace(box=tuple(v * self.scale for v in face.box)) for face in step.faces]
            self.waiting.append(Waiting(step.seconds, self._small(step.frame), faces))
            self.held += self.waiting[-1].pixels.nbytes
        return self._release(everything=self.live)

    def _small(self, frame: np.ndarray) -> np.ndarray:
        if frame.shape[:2] != (self.height, self.width):
            frame = cv2.resize(frame, (self.width, self.height), interpolation=cv2.INTER_AREA)
        pixels = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)
        return cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1] if self.is_packed else pixels

    def _release(self, everything: bool) -> np.ndarray | None:
        drawn = None
        while self.waiting:
            if not everything and self.waiting[0].seconds > self.known and self.held <= HELD:
                break
            self.held -= self.waiting[0].pixels.nbytes
            drawn = self.draw(self.waiting.popleft())
        return drawn

    def draw(self, waiting: Waiting) -> np.ndarray:
        pixels = cv2.imdecode(waiting.pixels, cv2.IMREAD_GRAYSCALE) if self.is_packed else waiting.pixels
        frame = cv2.cvtColor(pixels, cv2.COLOR_YUV2RGB_I420)
        picture = np.concatenate([frame, np.full((self.below, self.width, 3), 250, dtype=np.uint8)])
        self._forget(waiting.seconds)
        present = {person: self._present(person, waiting.seconds) for person in self.answers}
        shown = {face.person for face in waiting.faces}
        for face in waiting.faces:
            self._draw_face(picture[: self.height], face, present.get(face.person))
        self._draw_faceless(picture, [row for person, row in present.items() if row and person not in shown])
        if self.strip:
            draw_strip(picture, self.height + self.legend, self._lanes(), waiting.seconds, MINUTE, self.size)
            draw_legend(picture, self.height, self.colours, self.size)
        if self.film is not None:
            self.film.add(waiting.seconds, picture)
        return picture

    def _present(self, person: int, seconds: float) -> Row | None:
        """The answer whose middle is nearest."""
        rows = self.answers[person]
        row = min(rows, key=lambda row: abs(row.middle - seconds), default=None)
        if row is None or not row.start - self.reach <= seconds <= row.stop + self.reach:
            return None
        return row

    def _draw_face(self, picture: np.ndarray, face: Face, row: Row | None) -> None:
        colour = GREY if row is None else self._colour(row)
        text = "" if row is None else text_of(row, self.about)
        if row is not None and row.seen != FACE:
            text = f"{text} ({row.seen})" if text else row.seen
        draw_person(picture, face, text, None if row is None else row.confidence, colour, self.size)

    def _draw_faceless(self, picture: np.ndarray, rows: list[Row]) -> None:
        """Persons whose face this frame does not show."""
        row = next((row for row in rows if row.values is not None or row.person is None), None)
        row = row or next(iter(rows), None)
        if row is not None:
            text = text_of(row, self.about)
            told = f"{text} ({row.seen})" if text and row.seen != FACE else text or row.seen
            draw_corner(picture, told, self._colour(row), self.size)

    def _colour(self, row: Row) -> tuple[int, int, int]:
        if row.predicted == UNCERTAIN:
            return rgb(UNCERTAIN_COLOUR)
        return rgb(self.colours[row.predicted]) if row.predicted in self.colours else GREY

    def _lanes(self) -> list[tuple[str, list[Piece]]]:
        told = {person for person, rows in self.answers.items() if any(row.predicted for row in rows)}
        persons = sorted(told, key=lambda person: person or float("inf")) or [0]
        lanes = []
        for person in persons[-LANES:]:
            rows = [row for row in self.answers.get(person, ()) if row.predicted]
            pieces = [
                Piece(0.0 if row.start <= 0 else row.middle - self.reach, row.middle + self.reach, self._colour(row))
                for row in rows
            ]
            lanes.append((str(person or "?"), pieces))
        return lanes

    def _forget(self, seconds: float) -> None:
        for person in list(self.answers):
            rows = self.answers[person]
            while rows and rows[0].middle < seconds - MINUTE - 2 * self.reach:
                rows.popleft()
            if not rows:
                del self.answers[person]


class Film:
    """An H.264 file whose frames stand at their own times."""

    def __init__(self, path: Path, fps: float, width: int, height: int) -> None:
        self.container = av.open(str(path), "w")
        rate = Fraction(fps).limit_denominator(1001)
        self.stream = self.container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "24"})
        self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, "yuv420p"
        self.ticks, self.last = TICKS if fps > SLOW else SLOW_TICKS, -1
        self.stream.time_base = self.stream.codec_context.time_base = Fraction(1, self.ticks)

    def add(self, seconds: float, picture: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        self.last = max(round(seconds * self.ticks), self.last + 1)
        frame.pts, frame.time_base = self.last, Fraction(1, self.ticks)
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        self.container.mux(self.stream.encode())
        self.container.close()


class Still:
    """A picture's overlay is a picture."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, seconds: float, picture: np.ndarray) -> None:
        cv2.imwrite(str(self.path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])

    def close(self) -> None:
        """It is whole already."""


def open_film(folder: Path, video: Any, width: int, height: int) -> Film | Still:
    return Still(folder / "overlay.jpg") if video.is_still else Film(folder / "overlay.mp4", video.fps, width, height)


def even(value: float) -> int:
    """H.264 takes even sizes."""
    return max(2 * round(value / 2), 2)


def text_of(row: Row, about: About) -> str:
    """The answer in a few words."""
    if row.values is None:
        return ""
    parts = [f"{row.predicted} {100 * row.confidence:.0f} %"] if row.confidence is not None else []
    numbers = dict(zip(about.numbers, row.values[len(about.names) :], strict=True))
    parts += [f"{name} {numbers.pop(name):+.2f}" for name in ("valence", "arousal") if name in numbers]
    active = [name for name, value in numbers.items() if name.startswith("AU") and value >= 0.5]
    if about.kind != CLASSES and active:
        parts.append(" ".join(active[:5]))
    others = [f"{name} {value:.2f}" for name, value in numbers.items() if not name.startswith("AU")]
    return ", ".join(parts + others[:3])
