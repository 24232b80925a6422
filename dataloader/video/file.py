"""Video files: whatever FFmpeg decodes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from dataloader.video.video import UNKNOWN_FPS, Shot, Video
from utils.errors import UserError

FORMATS = (  # containers of videos; what is missing here are playlists, which name other files, and pictures
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,asf,flv,ogg,gif,dv,mxf,ivf,"
    "mp3,wav,aac,flac"
)
BACK, AHEAD = 1.0, 6 * 3600.0  # seconds; times that leap further do not tell when a frame was
SHORT = 0.5  # seconds that may lack at the end before a file counts as cut off


class FileVideo(Video):
    """Whatever FFmpeg decodes, frames of variable rate at their own times, rotated as the file asks."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.stem
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        if not path.is_file() or not path.stat().st_size:
            raise UserError(f"{path}: {'is empty' if path.is_file() else 'is no file'}; expected a video")
        with self._open() as container:
            stream = self._stream(container)
            self.fps = max(float(stream.average_rate or stream.guessed_rate or 0) or UNKNOWN_FPS, 1 / AHEAD)
            self.duration = duration_of(container, stream)
            ratio = float(stream.sample_aspect_ratio or 1)
            self._ratio = ratio if 0.2 < ratio < 5 else 1.0  # how much wider than high a pixel is to be shown
            shot = next(self._decode(container, stream, []), None)
        if shot is None:
            raise UserError(f"{path}: no frame of it can be decoded; is the file whole?")
        self._turns = display_turns(shot)
        self._shape = upright_shape(shot, self._ratio, self._turns[0])
        self.height, self.width = self._shape

    def _shots(self) -> Iterator[Shot]:
        faults: list[str] = []
        first, last, end = None, 0.0, 0.0
        with self._open() as container:
            for frame in self._decode(container, self._stream(container), faults):
                stamp = (first or 0.0) + end if frame.time is None else float(frame.time)
                first = stamp if first is None else first
                if not -BACK <= stamp - first - last <= AHEAD:  # parts that were joined, each with times of its own
                    faults.append("times that leap: what follows is counted on")
                    first = stamp - end
                last = max(stamp - first, last)
                end = last + min(max(float(frame.duration or 0) * float(frame.time_base or 0), 1 / self.fps), AHEAD)
                yield last, lambda frame=frame: upright(frame, self._shape, self._turns)
        if self.duration is not None and end < self.duration - SHORT:
            faults.append(f"ends at {end:.1f} of {self.duration:.1f} s")
        self.damaged = "; ".join(dict.fromkeys(faults)) or None

    def _open(self) -> Any:
        try:
            # never a network address, whatever the name or the file says
            options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
            return av.open(f"file:{self.path}", options=options, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UserError(
                f"{self.path}: cannot be read as a video ({_reason(error)}); is it one, and whole?"
            ) from None

    def _stream(self, container: Any) -> Any:
        """The first that moves: the cover of a song is a picture."""
        moving = [s for s in container.streams.video if "attached_pic" not in str(s.disposition)]
        if not moving:
            kinds = "sound alone" if container.streams.audio else "no picture"
            raise UserError(f"{self.path}: has {kinds}, no video stream")
        moving[0].thread_type = "AUTO"
        return moving[0]

    def _decode(self, container: Any, stream: Any, faults: list[str]) -> Iterator[Any]:
        """Every frame that decodes; a packet that does not is told in ``faults``, and the next is tried."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                faults.append(f"breaks off ({_reason(error)})")
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.EOFError:
                return
            except (av.FFmpegError, ValueError) as error:
                faults.append(f"frames that cannot be decoded ({_reason(error)})")
                continue
            if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
                faults.append("frames that are not whole")
            yield from (frame for frame in frames if not frame.is_corrupt)


def duration_of(container: Any, stream: Any) -> float | None:
    """Seconds as the file states them: of its pictures, for the sound may be longer."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    end = None
    if told := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = map(float, told.groups())
        end = hours * 3600 + minutes * 60 + seconds
    elif container.duration is not None and len(container.streams) == 1:
        end = container.duration / av.time_base
    if end is None or "matroska" not in container.format.name:
        return end
    begin = max(float((stream.start_time or 0) * stream.time_base), 0.0)  # Matroska counts from 0, not from the picture
    return end - begin if end > begin else None


def upright_shape(frame: Any, ratio: float, is_transposed: bool) -> tuple[int, int]:
    """Height and width of a frame as it is to be seen: square pixels, rotated."""
    width = round(frame.width * ratio)
    return (width, frame.height) if is_transposed else (frame.height, width)


def upright(frame: Any, shape: tuple[int, int], turns: tuple[bool, tuple[int, ...]]) -> np.ndarray:
    """(H, W, 3) uint8 RGB; a frame that changes its size within the file is brought to ``shape``."""
    is_transposed, flips = turns
    height, width = shape[::-1] if is_transposed else shape
    pixels = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    pixels = pixels.transpose(1, 0, 2) if is_transposed else pixels
    return np.ascontiguousarray(np.flip(pixels, flips)) if flips or is_transposed else pixels


def display_turns(frame: Any) -> tuple[bool, tuple[int, ...]]:
    """Whether rows become columns, and which axes are flipped afterwards, by the file's display matrix.

    The matrix sends pixel (x, y) to (a x + c y, b x + d y); it is rounded to the nearest quarter turn. Asked of one
    frame of a file: PyAV ties a frame and its side data to each other, and frames that were asked stay in memory until
    the garbage collector comes to the eldest.
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
