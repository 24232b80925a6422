"""Read upright RGB frames with their times from a video file, a folder of frames, a picture or a camera."""

import itertools
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from dataloader.frames import SUFFIXES as IMAGE_SUFFIXES
from dataloader.frames import BadFrame, list_frames, stated_size, upright
from dataloader.paths import VIDEO_SUFFIXES
from utils.errors import UserError

CONTAINERS = (  # formats that FFmpeg may open; no playlists, which name other files, and no pictures
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,asf,flv,ogg,gif,dv,mxf,ivf,"
    "mp3,wav,aac,flac"
)
FOLDER_FPS = 25.0  # default rate of a folder of frames
UNKNOWN_FPS = 25.0  # rate of a file or camera that does not state one
JUMPING_TIMES = "times that jump; the following times are counted on"
MAX_BACK, MAX_AHEAD = 1.0, 6 * 3600.0  # seconds; a larger jump of the timestamps is ignored
MAX_LACK = 0.5  # seconds by which a video may end before its list says; times in lists are rounded
MAX_MISSING = 0.5  # seconds that may be missing at the end before a file counts as truncated
FAULTS = (
    av.FFmpegError,
    OSError,
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
)  # errors of PyAV
Shot = tuple[float, Callable[[], np.ndarray]]  # seconds, and a function that returns the picture
Span = tuple[float, float]  # seconds: start, and end (exclusive)
Turn = tuple[bool, tuple[int, ...]]  # whether rows become columns, and axes to flip afterwards


class TooLong(UserError):
    """A frame comes after ``Video.longest``."""


class Video(AbstractContextManager):
    """A source of frames. ``width`` and ``height`` are those of the upright picture; ``duration`` may be unknown.

    After a pass over it, ``damaged`` is a text on what could not be read, or None.
    """

    name: str
    width: int
    height: int
    fps: float  # nominal
    duration: float | None = None
    damaged: str | None = None
    longest: float | None = None  # seconds; a later frame raises TooLong
    end: float = 0.0  # seconds, end of the last frame that was read
    is_still: bool = False  # one picture

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing, since files are open only during a pass."""

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        return self.frames()

    def frames(
        self, every: float | None = None, times: list[float] | None = None
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Yield ``(seconds, (H, W, 3) uint8)`` of each frame, or of the first one in every ``every`` seconds.

        Frames in between are decoded, since later ones depend on them, but not converted to RGB, which takes as long.
        The seconds of every decoded frame are added to ``times``.
        """
        due, early = 0.0, 0.5 / self.fps
        for seconds, picture in self._shots():
            if self.longest is not None and seconds > self.longest:
                raise TooLong(f"{self.name}: lasts longer than {self.longest:.0f} s")
            self.end = seconds + 1 / self.fps
            if times is not None:
                times.append(seconds)
            if every is None:
                yield seconds, picture()
            elif seconds + early >= due:
                due = every * (math.floor((seconds + early) / every) + 1)
                yield seconds, picture()

    def _shots(self) -> Iterator[Shot]:
        raise NotImplementedError


def open_video(source: str | int | Path, fps: float | None = None) -> Video:
    """Return the video that ``source`` names: a camera number, a folder of frames (at ``fps``), or a file."""
    if isinstance(source, int) or (str(source).isdecimal() and not os.path.exists(source)):
        return CameraVideo(int(source))
    path = Path(source)
    if path.is_dir():
        return FolderVideo(path, fps or FOLDER_FPS)
    return PictureVideo(path) if path.suffix.lower() in IMAGE_SUFFIXES else FileVideo(path)


def is_video_file(path: Path) -> bool:
    return path.name.lower().endswith(VIDEO_SUFFIXES) and not path.name.startswith(".") and not path.is_dir()


def video_files(folder: Path) -> list[Path]:
    """Return the video files directly inside a folder, sorted."""
    return sorted(filter(is_video_file, folder.iterdir()))


class FileVideo(Video):
    """A video file decoded by FFmpeg, with the true times of its frames and the rotation that it states."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """``threads``: number of decoding threads; 0 means one per core."""
        self.path, self.name, self.threads = path, path.stem, threads
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        if not path.is_file() or not path.stat().st_size:
            raise UserError(f"{path}: {'is empty' if path.is_file() else 'is not a file'}; expected a video")
        with self._open() as container:
            stream = self._stream(container)
            self.fps = max(float(stream.average_rate or stream.guessed_rate or 0) or UNKNOWN_FPS, 1 / MAX_AHEAD)
            self.duration = duration_of(container, stream)
            # AVI has no times of display. FFmpeg numbers H.264 frames in decoding order, so a frame of such a file gets
            # the time of the packet that completed it, less the constant delay of the decoder.
            self.is_numbered = container.format.name == "avi" and stream.codec_context.name in ("h264", "hevc")
            ratio = float(stream.sample_aspect_ratio or 1)  # width of a pixel divided by its height
            ratio = ratio if 0.2 < ratio < 5 else 1.0
            frame = next(self._decode(container, stream, []), None)
        if frame is None:
            raise UserError(f"{path}: no frame can be decoded; is the file complete?")
        self.first = frame.time  # seconds on the file's clock; None if it has no times
        self.delay = frame.dts - frame.pts if self.is_numbered and None not in (frame.dts, frame.pts) else 0
        # The rotation is read from one frame only. In PyAV a frame and its side data refer to each other, so frames
        # whose side data was read stay in memory until a full garbage collection.
        self._turn = display_turn(frame)
        size = (frame.height, round(frame.width * ratio))
        self._shape = size[::-1] if self._turn[0] else size
        self.height, self.width = self._shape

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return self.width, self.height

    def count(self, span: Span | None = None) -> int:
        """Return the number of frames, or of those in ``span``, from the file's index without decoding.

        A span that ends more than MAX_LACK seconds after the last frame is an error.
        """
        try:
            with self._open() as container:
                stream = self._stream(container)
                if span is None:
                    return stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
            times = self._packet_times(span[0], span[1] + MAX_BACK)
        except UserError:
            raise
        except FAULTS as error:
            raise UserError(f"{self.path}: its frames cannot be counted ({_reason(error)}); is it whole?") from None
        # Packets are in decoding order, in which a frame comes at most a second after later ones.
        end = max(times, default=math.inf) + 1 / self.fps
        if end < span[1] - MAX_LACK:
            raise UserError(
                f"{self.path} ends at {end:.1f} s, the clip at {span[1]:g} s; correct the seconds, or replace the video"
            )
        return sum(span[0] <= seconds < span[1] for seconds in times)

    def read(self, indexes: Sequence[int], span: Span | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Yield number and picture of the frames ``indexes`` (sorted), counted from 0 at the start of ``span``.

        The file is decoded once, from a key frame before the span, mostly the last one, or from its start if it cannot
        be searched. Frames that cannot be decoded are left out.
        """
        numbers, number = {*indexes}, -1
        for seconds, picture in self._shots(span[0] if span else 0.0):
            if span is not None and seconds < span[0]:
                continue
            number += 1
            if number in numbers:
                yield number, picture()
            if number >= indexes[-1]:
                return

    def read_parts(self, spans: Sequence[Span | None]) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the number of the span, the number of the frame from its start, and the picture, for all frames in any
        of ``spans`` (None: the whole file). The file is decoded once, from the first span to the last.
        """
        start = min(span[0] if span else 0.0 for span in spans)
        stop = max(span[1] if span else math.inf for span in spans)
        counts = [0] * len(spans)
        for seconds, picture in self._shots(start):
            if seconds >= stop:
                return
            inside = [n for n, span in enumerate(spans) if span is None or span[0] <= seconds < span[1]]
            pixels = picture() if inside else None
            for n in inside:
                yield n, counts[n], pixels
                counts[n] += 1

    def _time_of(self, packet: Any) -> float:
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or self.first is None:
            raise UserError(f"{self.path}: has no times, so parts of it cannot be used; use the whole file")
        return float(stamp * packet.time_base) - self.first

    def _packet_times(self, start: float, stop: float) -> list[float]:
        """Return the times of the packets from one at or before ``start`` to the first at or after ``stop``."""
        for target in _earlier(start):
            with self._open() as container:
                stream = self._stream(container)
                self._seek(container, stream, target)
                times = (self._time_of(packet) for packet in container.demux(stream) if packet.size)
                near = [*itertools.takewhile(lambda seconds: seconds < stop, times)]
            if not target or (near and near[0] <= start):
                break
        return near

    def _seek(self, container: Any, stream: Any, seconds: float) -> None:
        """Go to a key frame near ``seconds``, mostly the last one before it.

        Files without times are read from their start, and so are MPEG program and transport streams: they have no
        index, and the times of the first packets after a search are guesses.
        """
        if seconds > 0 and self.first is not None and not container.format.name.startswith("mpeg"):
            container.seek(int((self.first + seconds) / stream.time_base), stream=stream)

    def _shots(self, start: float = 0.0) -> Iterator[Shot]:
        """Yield every frame, from one at or before ``start`` on.

        If a search went too far, it begins earlier: frames of H.265 before a key frame may need those of the group
        before, and AVI counts in decoding order.
        """
        for target in _earlier(start):
            shots = self._shots_from(target)
            first = next(shots, None)
            if first is not None and (not target or first[0] <= start):
                yield first
                yield from shots
                return

    def _shots_from(self, start: float) -> Iterator[Shot]:
        """Yield every frame from where a search for ``start`` leads."""
        faults: list[str] = []
        # One for all frames of the pass: to set it up takes several times as long as to convert a frame.
        converter = VideoReformatter()
        first, last, end = self.first if start else None, 0.0, 0.0
        with self._open() as container:
            stream = self._stream(container)
            self._seek(container, stream, start)
            for frame in self._decode(container, stream, faults):
                shown_at = frame.time
                if self.is_numbered and (end or frame.dts is not None):  # the last frames have no packet
                    shown_at = None if frame.dts is None else (frame.dts - self.delay) * frame.time_base
                stamp = (first or 0.0) + end if shown_at is None else float(shown_at)
                first = stamp if first is None else first
                if not -MAX_BACK <= stamp - first - last <= MAX_AHEAD:  # joined parts with separate times
                    faults.append(JUMPING_TIMES)
                    first = stamp - end
                last = max(stamp - first, last)
                length = float(frame.duration or 0) * float(frame.time_base or 0)
                end = last + min(max(length, 1 / self.fps), MAX_AHEAD)
                yield last, lambda frame=frame: self._picture(frame, converter)
        if self.duration is not None and end < self.duration - MAX_MISSING:
            faults.append(f"ends at {end:.1f} of {self.duration:.1f} s")
        self.damaged = "; ".join(dict.fromkeys(faults)) or None

    def _open(self) -> Any:
        try:
            # Neither the name nor the content of a file may open a network address.
            options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
            return av.open(f"file:{self.path}", options=options, metadata_errors="replace")
        except FAULTS as error:
            reason = _reason(error)
            raise UserError(f"{self.path}: cannot be read as a video ({reason}); is it a complete video?") from None

    def _stream(self, container: Any) -> Any:
        """Return the first video stream that is not a cover picture."""
        streams = [s for s in container.streams.video if "attached_pic" not in str(s.disposition)]
        if not streams:
            kinds = "only sound" if container.streams.audio else "no picture"
            raise UserError(f"{self.path}: has {kinds}, no video stream")
        streams[0].thread_type = "AUTO"
        streams[0].codec_context.thread_count = self.threads
        return streams[0]

    def _decode(self, container: Any, stream: Any, faults: list[str]) -> Iterator[Any]:
        """Yield every frame that can be decoded; other packets are noted in ``faults`` and skipped."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except FAULTS as error:
                faults.append(f"breaks off ({_reason(error)})")
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.EOFError:
                return
            except FAULTS as error:
                faults.append(f"frames that cannot be decoded ({_reason(error)})")
                continue
            if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
                faults.append("incomplete frames")
            yield from (frame for frame in frames if not frame.is_corrupt)

    def _picture(self, frame: Any, converter: VideoReformatter) -> np.ndarray:
        """Return a frame as (H, W, 3) uint8; a frame of another size is resized to that of the video."""
        is_transposed, flips = self._turn
        height, width = self._shape[::-1] if is_transposed else self._shape
        try:
            # By one thread: several take twice the processor time for a frame.
            pixels = converter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
        except FAULTS as error:
            raise UserError(f"{self.path}: a frame has colours that cannot be read ({_reason(error)})") from None
        pixels = pixels.transpose(1, 0, 2) if is_transposed else pixels
        return np.ascontiguousarray(np.flip(pixels, flips)) if flips or is_transposed else pixels


def _earlier(seconds: float) -> Iterator[float]:
    """Yield ``seconds``, then 1, 3, 7, ... seconds before, and at last 0."""
    back = 0.0
    while seconds > back:
        yield seconds - back
        back = 2 * back + 1
    yield 0.0


@lru_cache(maxsize=65536)
def open_clip(path: Path) -> FileVideo:
    """Return the video of a clip, decoded by one thread, since several processes read clips in parallel."""
    return FileVideo(path, threads=1)


def duration_of(container: Any, stream: Any) -> float | None:
    """Return the duration of the pictures that the file states, in seconds; the sound may be longer."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    end = None
    if match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = map(float, match.groups())
        end = hours * 3600 + minutes * 60 + seconds
    elif container.duration is not None and len(container.streams) == 1:
        end = container.duration / av.time_base
    if end is None or "matroska" not in container.format.name:
        return end
    begin = max(float((stream.start_time or 0) * stream.time_base), 0.0)  # Matroska counts from 0, not from the picture
    return end - begin if end > begin else None


def display_turn(frame: Any) -> Turn:
    """Return how to turn a frame by the file's display matrix, rounded to the nearest quarter turn.

    The matrix sends pixel (x, y) to (a x + c y, b x + d y).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, ()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5]
    is_transposed = abs(int(b)) > abs(int(a))
    x, y = (c, b) if is_transposed else (a, d)
    return is_transposed, (*((0,) if y < 0 else ()), *((1,) if x < 0 else ()))


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


class FolderVideo(Video):
    """A folder of frames in the order of the numbers in their names."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.name, self.fps = path, path.resolve().name, fps
        self.files = list_frames(path)
        if not self.files:
            raise UserError(f"{path}: holds no image; expected a folder of frames or a video file")
        self.duration = len(self.files) / fps
        self.width, self.height = self._first_readable().shape[1::-1]
        for name in self.files:  # checked now, before any frame is used
            self._require_size(name, stated_size(path / name))

    def _first_readable(self) -> np.ndarray:
        for name in self.files:
            try:
                return upright(self.path / name)
            except BadFrame:
                continue
        raise UserError(f"{self.path}: none of its {len(self.files)} images can be read")

    def _shots(self) -> Iterator[Shot]:
        bad = []
        for number, name in enumerate(self.files):
            try:
                frame = upright(self.path / name)
            except BadFrame:
                bad.append(name)
                continue
            self._require_size(name, frame.shape[1::-1])
            yield number / self.fps, lambda frame=frame: frame
        ellipsis = ", ..." if len(bad) > 1 else ""
        self.damaged = f"{len(bad)} of {len(self.files)} images cannot be read ({bad[0]}{ellipsis})" if bad else None

    def _require_size(self, name: str, size: tuple[int, int] | None) -> None:
        if size not in (None, (self.width, self.height)):
            raise UserError(
                f"{self.path / name}: is {size[0]} × {size[1]}, the frames before it {self.width} × {self.height}; put "
                "pictures of another size in a separate folder"
            )


class PictureVideo(Video):
    """One picture, shown for a second."""

    is_still = True

    def __init__(self, path: Path) -> None:
        self.name, self.fps, self.duration = path.stem, 1.0, 1.0
        try:
            self.pixels = upright(path)
        except BadFrame as error:
            if not path.exists():
                raise UserError(f"{path}: no such file or folder") from None
            is_empty = path.is_file() and not path.stat().st_size
            raise UserError(f"{path}: is empty" if is_empty else str(error).partition("; replace")[0]) from None
        self.height, self.width = self.pixels.shape[:2]

    def _shots(self) -> Iterator[Shot]:
        yield 0.0, lambda: self.pixels


class CameraVideo(Video):
    """A camera until it is closed; times are measured by the clock from its first frame on."""

    def __init__(self, number: int) -> None:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a missing camera would print many lines
        self.name, self._capture = f"camera {number}", cv2.VideoCapture(number)
        is_read, frame = self._capture.read() if self._capture.isOpened() else (False, None)
        if not is_read:
            self._capture.release()
            raise UserError(f"camera {number}: cannot be opened; is it connected and not in use?")
        self.height, self.width = frame.shape[:2]
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 1 <= rate <= 240 else UNKNOWN_FPS

    def close(self) -> None:
        self._capture.release()

    def _shots(self) -> Iterator[Shot]:
        begin = None
        while self._capture.isOpened() and self._capture.grab():
            now = time.monotonic()
            begin = now if begin is None else begin
            yield now - begin, self._retrieve

    def _retrieve(self) -> np.ndarray:
        is_read, frame = self._capture.retrieve()
        if not is_read:
            raise UserError(f"{self.name}: returned no picture; was it disconnected?")
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
