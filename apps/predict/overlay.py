"""The overlay: face boxes, current answers and a strip of the last minute, as overlay.mp4, overlay.jpg or live.

Frames wait until the nearest answer is known. Frames of a camera are shown at once, in a window if there is a display,
else as lines of text.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from apps.drawing import INK, UNCERTAIN_COLOUR, Colour, VideoWriter, class_colours, even, fill, put_text, rgb, text_mask
from apps.predict.runners import CLASSES, FRAMES, ModelInfo
from apps.predict.timeline import FACE, NO_ONE, TOUCHING, UNCERTAIN, Row, Step
from dataloader.track import Person
from dataloader.video import CameraVideo, Video
from utils.files import atomic_write

WIDEST = 960  # pixels; larger videos are shrunk
MAX_WAITING = 128 << 20  # bytes of frames that wait for answers
MINUTE = 60.0
LANES = 6  # persons in the strip
JPEG_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]
# H.264 settings that take about two thirds of the time of the preset "veryfast". Files are a little larger and pictures
# a little less sharp. The preset "superfast" alone does not look ahead, and its files are twice as large.
ENCODER = {"preset": "superfast", "x264": "rc-lookahead=10:mbtree=1"}
PAPER, BAR, LANE, AXIS = (250,) * 3, (205,) * 3, (238,) * 3, (90,) * 3
CAUTION = (255, 226, 150)
Plate = tuple[int, int, int, int]  # left, top, right, bottom
UNNAMED = "#969696"  # the colour of answers without a class
QUIT_KEYS = {ord("q"), 27}  # 27: Escape
Stretch = tuple[float, float, Colour]  # a coloured part of a lane of the strip: from and to in seconds


class Overlay:
    """``add`` takes frames and answers, and draws the frames whose answers are known; a live overlay does not wait."""

    def __init__(
        self,
        folder: Path,
        info: ModelInfo,
        video: Video,
        every: float | None,
        max_persons: int,
        *,
        write: bool = True,
        strip: bool = True,
    ) -> None:
        """``every``: seconds between two answers, None for every frame. Without ``write`` no file is written; without
        ``strip`` the last minute and the legend are not drawn."""
        self.info, self.is_live = info, isinstance(video, CameraVideo)
        self.reach = max(every or 0, 1 / video.fps) / 2  # an answer is used this long before and after its middle
        self.scale = min(1.0, WIDEST / video.width)
        self.width, self.height = even(video.width * self.scale), even(video.height * self.scale)
        self.size = max(round(self.width / 42), 10)  # of letters
        lanes = min(max_persons + (not info.needs_face), LANES)
        has_strip = strip and bool(info.names) and not video.is_still
        self.legend = round(self.size * 1.6) if has_strip else 0
        strip_height = round(self.size * (1.8 + 1.4 * lanes)) if has_strip else 0
        self.caution = round(self.size * 1.6) if info.caution else 0
        rows = strip_height + self.legend + self.caution
        self.below = even(rows) if rows else 0  # rows under the frame: legend, caution, strip
        self.has_strip, self.names_persons = has_strip, max_persons > 1
        self.colours = class_colours(info.names)
        self.background = self._background()
        self.waiting: deque[Step] = deque()  # frames whose answers are not known yet, compressed
        self.waiting_bytes, self.is_packed = 0, info.kind == FRAMES
        self.answers: dict[int, deque[Row]] = {}  # person → rows that are current or later
        self.lanes: dict[int, deque[Stretch]] = {}  # person → stretches of the last minute
        self.answered_until = -1.0  # before the first frame
        self.still = folder / "overlay.jpg" if write and video.is_still else None
        self.video = None
        if write and not video.is_still:
            size = self.width, self.height + self.below
            self.video = VideoWriter(folder / "overlay.mp4", video.fps, size, **ENCODER)

    def _background(self) -> np.ndarray:
        """Return a picture with all that is the same in every frame: the legend, and the caution of the model."""
        picture = np.full((self.height + self.below, self.width, 3), PAPER, dtype=np.uint8)
        if self.caution:
            top = self.height + self.legend
            fill(picture, 0, top, self.width, top + self.caution, CAUTION)
            draw_line(picture, self.info.caution, top, self.size)
        if self.has_strip:
            draw_legend(picture, self.height, self.colours, self.size)
        return picture

    def __enter__(self) -> "Overlay":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None or self.still is None:  # after an error a picture would look as if nobody was in it
            self._draw_ready(everything=True)
        if self.video is not None:
            self.video.close()

    def add(self, step: Step) -> np.ndarray | None:
        """Return the last picture that became ready, or None."""
        for rows in step.rows:
            for row in rows:
                self.answers.setdefault(row.person or 0, deque()).append(row)
                self.answered_until = max(self.answered_until, row.middle)
                if self.has_strip and row.predicted:
                    start = 0.0 if row.start <= 0 else row.middle - self.reach
                    lane = self.lanes.setdefault(row.person or 0, deque())
                    extend_lane(lane, start, row.middle + self.reach, self._colour(row))
        if step.frame is not None:
            self.waiting.append(step._replace(frame=self._compress(step.frame)))
            self.waiting_bytes += self.waiting[-1].frame.nbytes
        return self._draw_ready(everything=self.is_live)

    def _compress(self, frame: np.ndarray) -> np.ndarray:
        """Return pixels in YUV 4:2:0, which takes half the memory of RGB.

        Models of hundreds of frames make as many wait, so these pixels are stored as JPEG.
        """
        if frame.shape[:2] != (self.height, self.width):
            frame = cv2.resize(frame, (self.width, self.height), interpolation=cv2.INTER_AREA)
        pixels = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)
        return cv2.imencode(".jpg", pixels, JPEG_QUALITY)[1] if self.is_packed else pixels

    def _draw_ready(self, everything: bool) -> np.ndarray | None:
        picture = None
        while self.waiting:
            is_answered = self.waiting[0].seconds <= self.answered_until
            if not everything and not is_answered and self.waiting_bytes <= MAX_WAITING:
                break
            self.waiting_bytes -= self.waiting[0].frame.nbytes
            picture = self._draw(self.waiting.popleft())
        return picture

    def _draw(self, step: Step) -> np.ndarray:
        pixels = cv2.imdecode(step.frame, cv2.IMREAD_GRAYSCALE) if self.is_packed else step.frame
        picture = np.empty_like(self.background)
        cv2.cvtColor(pixels, cv2.COLOR_YUV2RGB_I420, dst=picture[: self.height])
        picture[self.height :] = self.background[self.height :]
        current, plates = self._current_rows(step.seconds), []
        for person in step.persons:
            row = current.pop(person.id, None)
            text, share = ("", None) if row is None else (self._text(row), row.confidence)
            if text and self.names_persons:
                text = f"{person.id}: {text}"
            draw_person(picture[: self.height], person, self.scale, text, share, self._colour(row), self.size, plates)
        # Without a face box, the answer for a person is not drawn, because the person is not there.
        faceless = [row for row in current.values() if row.values is None or row.person is None]
        if faceless:
            row = next((row for row in faceless if row.person is None), faceless[0])
            draw_corner(picture[: self.height], self._text(row) or row.seen, self._colour(row), self.size)
        if self.has_strip:
            top = self.height + self.legend + self.caution
            draw_strip(picture, top, self._lanes(step.seconds), step.seconds, self.size)
        if self.video is not None:
            # OpenCV's conversion takes a tenth of the time of FFmpeg's, which averages the colours of edges.
            self.video.add(step.seconds, cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), "yuv420p")
        if self.still is not None:
            data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), JPEG_QUALITY)[1]
            with atomic_write(self.still) as temporary:
                temporary.write_bytes(data)
        return picture

    def _current_rows(self, seconds: float) -> dict[int, Row]:
        """Return the nearest current row of each person, and remove rows that are over."""
        current = {}
        for person, rows in self.answers.items():
            while rows and rows[0].stop + self.reach < seconds:
                rows.popleft()
            row = min(rows, key=lambda row: abs(row.middle - seconds), default=None)
            if row is not None and row.start - self.reach <= seconds:
                current[person] = row
        return current

    def _text(self, row: Row) -> str:
        """Return the answer as a short text, with a note if it is not from the face."""
        text = answer_text(row, self.info)
        if row.seen == FACE:
            return text
        return f"{text} ({row.seen})" if text else row.seen

    def _colour(self, row: Row | None) -> Colour:
        predicted = "" if row is None else row.predicted
        return rgb((self.colours | {UNCERTAIN: UNCERTAIN_COLOUR}).get(predicted, UNNAMED))

    def _lanes(self, seconds: float) -> list[tuple[str, Sequence[Stretch]]]:
        """Return the name and the stretches of each person in the strip, and remove stretches older than the strip."""
        for lane in self.lanes.values():
            while lane and lane[0][1] < seconds - MINUTE - self.reach:
                lane.popleft()
        persons = sorted((p for p, lane in self.lanes.items() if lane), key=lambda p: p or float("inf")) or [0]
        return [(str(person or "?"), self.lanes.get(person, ())) for person in persons[-LANES:]]


def extend_lane(lane: deque[Stretch], start: float, stop: float, colour: Colour) -> None:
    """Append a stretch to a lane, or extend the last one if they touch and have the same colour."""
    if lane and lane[-1][2] == colour and start <= lane[-1][1] + TOUCHING:
        start = lane.pop()[0]
    lane.append((start, stop, colour))


def answer_text(row: Row, info: ModelInfo) -> str:
    """Return a text with class and confidence, valence and arousal, active action units, and other numbers."""
    if row.values is None:
        return ""
    parts = [f"{row.predicted} {100 * row.confidence:.0f} %"] if row.confidence is not None else []
    numbers = dict(zip(info.numbers, row.values[len(info.names) :], strict=True))
    parts += [f"{name} {numbers.pop(name):+.2f}" for name in ("valence", "arousal") if name in numbers]
    active = [name for name, value in numbers.items() if name.startswith("AU") and value >= 0.5]
    if info.kind != CLASSES and active:
        parts.append(" ".join(active[:5]))
    parts += [f"{name} {value:.2f}" for name, value in numbers.items() if not name.startswith("AU")][:3]
    return ", ".join(parts)


def draw_person(
    picture: np.ndarray,
    person: Person,
    scale: float,
    text: str,
    share: float | None,
    colour: Colour,
    size: int,
    plates: list[Plate],
) -> None:
    """Draw the face box, dashed if the face is not visible now, and a plate with the answer and a bar for ``share``.

    ``scale``: factor from the video to the picture; ``plates``: those drawn so far.
    """
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (int(round(v * scale)) for v in person.face)
    thickness = max(size // 7, 2)
    if person.is_visible:
        cv2.rectangle(picture, (x0, y0), (x1, y1), (255, 255, 255), thickness + 2)
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, thickness)
    else:
        draw_dashes(picture, (x0, y0, x1, y1), colour, thickness, size)
    if not text:
        return
    pad, bar = size // 3, max(size // 3, 4)
    text_height, text_width, _ = text_mask(text, size).shape
    plate_width = max(text_width + 2 * pad + size, x1 - x0)
    plate_height = text_height + bar + 2 * pad
    x, y = free_place((x0, y0, x1, y1), plate_width, plate_height, thickness, (width, height), plates)
    plates.append((x, y, x + plate_width, y + plate_height))
    fill(picture, x, y, x + plate_width, y + plate_height, PAPER)
    fill(picture, x + pad, y + pad + size * 0.2, x + pad + size * 0.75, y + pad + size * 0.95, colour)
    put_text(picture, text, x + pad + size, y + pad // 2, size)
    bar_y = y + plate_height - pad - bar
    fill(picture, x + pad, bar_y, x + plate_width - pad, bar_y + bar, BAR)
    if share is not None:
        fill(picture, x + pad, bar_y, x + pad + (plate_width - 2 * pad) * share, bar_y + bar, colour)


def free_place(
    box: Plate, plate_width: int, plate_height: int, gap: int, size: tuple[int, int], plates: list[Plate]
) -> tuple[int, int]:
    """Return the position of a plate: above, below or inside the box, or the nearest free place."""
    x0, y0, _, y1 = box
    x = min(max(x0 - gap // 2, 0), max(size[0] - plate_width, 0))
    lowest = max(size[1] - plate_height, 0)
    tops = [y0 - plate_height - gap, y1 + gap + 1, y1 - plate_height]
    tops += sorted(range(0, lowest + 1, max(plate_height // 2, 1)), key=lambda top: abs(top - tops[0]))
    for top in tops:
        if 0 <= top <= lowest and not any(
            x < right and left < x + plate_width and top < bottom and upper < top + plate_height
            for left, upper, right, bottom in plates
        ):
            return x, top
    return x, min(max(tops[0], 0), lowest)


def draw_dashes(picture: np.ndarray, box: Plate, colour: Colour, thickness: int, size: int) -> None:
    """Draw the outline of a box in dashes."""
    x0, y0, x1, y1 = box
    for start, stop in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        count = max(int(np.hypot(stop[0] - start[0], stop[1] - start[1]) / size), 1)
        points = np.linspace(start, stop, 2 * count + 1).round().astype(int).tolist()
        for first, second in zip(points[::2], points[1::2], strict=False):
            cv2.line(picture, first, second, (255, 255, 255), thickness + 2)
            cv2.line(picture, first, second, colour, thickness)


def draw_line(picture: np.ndarray, text: str, y: int, size: int) -> None:
    """Write a line as wide as the picture, in smaller letters if it would not fit."""
    smaller = next((s for s in range(size, 7, -1) if text_mask(text, s).shape[1] <= picture.shape[1] - size), 7)
    put_text(picture, text, size // 2, y + (size - smaller) // 2, smaller, INK)


def draw_corner(picture: np.ndarray, text: str, colour: Colour, size: int) -> None:
    """Draw a plate in the top left corner, for an answer that belongs to no face box."""
    pad = size // 3
    text_height, text_width, _ = text_mask(text, size).shape
    fill(picture, pad, pad, pad + text_width + 2 * pad + size, pad + text_height + pad, PAPER)
    fill(picture, 2 * pad, pad + size * 0.4, 2 * pad + size * 0.75, pad + size * 1.15, colour)
    put_text(picture, text, 2 * pad + size, pad + pad // 2, size)


def draw_strip(
    picture: np.ndarray, y: int, lanes: Sequence[tuple[str, Sequence[Stretch]]], now: float, size: int
) -> None:
    """Draw a lane per person of the last minute, from row ``y`` down; ``now`` is at the right edge."""
    height, width = picture.shape[:2]
    empty, x0, edges = empty_strip(height, width, y, tuple(name for name, _ in lanes), size)
    picture[y:] = empty
    scale = (width - x0 - size / 2) / MINUTE
    for (upper, lower), (_, stretches) in zip(edges, lanes, strict=True):
        for start, stop, colour in stretches:
            begin, end = x0 + (start - now + MINUTE) * scale, x0 + (min(stop, now) - now + MINUTE) * scale
            if end > x0:
                fill(picture, max(begin, x0), upper, end, lower, colour)


@lru_cache(maxsize=8)
def empty_strip(
    height: int, width: int, y: int, names: tuple[str, ...], size: int
) -> tuple[np.ndarray, int, list[tuple[float, float]]]:
    """Return the rows from ``y`` down with the lanes, their names and the axis, the left edge of the lanes, and their
    upper and lower edges. They are drawn once: the texts would take a tenth of the time of a frame."""
    picture = np.full((height, width, 3), PAPER, dtype=np.uint8)
    x0 = max((text_mask(name, size).shape[1] for name in names), default=0) + size
    axis_height = text_mask("0", size).shape[0]
    lane_height = (height - y - axis_height - size // 2) / max(len(names), 1)
    scale, edges = (width - x0 - size / 2) / MINUTE, []
    for number, name in enumerate(names):
        upper, lower = y + size // 3 + number * lane_height, y + size // 3 + (number + 1) * lane_height - 2
        put_text(picture, name, size // 3, round((upper + lower - axis_height) / 2), size)
        fill(picture, x0, upper, width - size / 2, lower, LANE)
        edges.append((upper, lower))
    for ago in range(0, int(MINUTE) + 1, 10):
        text = f"-{ago} s" if ago else "now"
        x = x0 + (MINUTE - ago) * scale - text_mask(text, size).shape[1] / (1 if ago == 0 else 2)
        put_text(picture, text, round(max(x, x0)), height - axis_height - 1, size, AXIS)
    return picture[y:], x0, edges


def draw_legend(picture: np.ndarray, y: int, colours: dict[str, str], size: int) -> None:
    """Draw as many classes as one line holds, each with its colour."""
    x = size // 2
    fill(picture, 0, y, picture.shape[1], y + round(size * 1.5), PAPER)
    for name, colour in colours.items():
        entry_width = text_mask(name, size).shape[1] + 2 * size
        if x + entry_width > picture.shape[1]:
            put_text(picture, "...", min(x, picture.shape[1] - 2 * size), y, size, INK)
            return
        fill(picture, x, y + size * 0.35, x + size * 0.8, y + size * 1.15, rgb(colour))
        put_text(picture, name, x + size, y, size, INK)
        x += entry_width


class Screen:
    """Show a camera's frames and answers; ``is_closed`` once the user has closed the window."""

    def __init__(self, name: str, say: Callable[[str], None] | None = None) -> None:
        self.name, self.say, self.is_closed = name, say or print, False
        has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        self.has_window = sys.platform in ("win32", "darwin") or bool(has_display)

    def __enter__(self) -> "Screen":
        if self.has_window:
            try:
                cv2.namedWindow(self.name, cv2.WINDOW_NORMAL)
            except cv2.error:  # OpenCV was built without windows
                self.has_window = False
        if not self.has_window:
            self.say("no display: answers are printed as lines; Ctrl-C ends")
        return self

    def __exit__(self, *_: Any) -> None:
        if self.has_window:
            cv2.destroyWindow(self.name)

    def show(self, step: Step, picture: np.ndarray | None) -> None:
        """Show an overlay picture (H, W, 3) RGB or, without a window, say the rows of the step."""
        if not self.has_window:
            for rows in step.rows:
                for row in rows:
                    self.say(row_line(row))
        elif picture is not None:
            cv2.imshow(self.name, picture[..., ::-1])
            key = cv2.waitKey(1) & 0xFF
            self.is_closed = key in QUIT_KEYS or cv2.getWindowProperty(self.name, cv2.WND_PROP_VISIBLE) < 1


def row_line(row: Row) -> str:
    """Return one answer as a line for the terminal."""
    time = f"{row.start:7.1f} to {row.stop:.1f} s"
    if row.seen == NO_ONE:
        return f"{time}: no one"
    answer = f" {row.predicted} {100 * row.confidence:.0f} %" if row.confidence is not None else ""
    return f"{time}: person {row.person or '?'}:{answer}" + ("" if row.seen == FACE else f" ({row.seen})")
