"""Small videos written by the tests, and a detector that finds coloured squares in them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from dataloader.detect import Detection, Detections

WIDTH, HEIGHT, FPS = 160, 120, 20
FACE = (220, 30, 30)
MILLISECONDS = Fraction(1, 1000)


def picture(left: int | None, top: int = 30, side: int = 32) -> np.ndarray:
    """A grey picture with a red square as the face."""
    pixels = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    if left is not None:
        pixels[top : top + side, left : left + side] = FACE
    return pixels


def film(path: Path, pictures: list[np.ndarray], *, codec: str = "libx264", fps: int = FPS, times=None, **options):
    """``times``: milliseconds of the pictures, for a variable rate. ``rotation``: quarter turns in degrees."""
    path.parent.mkdir(parents=True, exist_ok=True)
    container_options = options.get("container_options", {})
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.gop_size, stream.bit_rate = "yuv420p", 10, 4_000_000
        if options.get("rotation"):
            stream.set_display_rotation(options["rotation"])
        if options.get("matrix"):
            stream.set_display_matrix(options["matrix"])
        if times is not None:
            stream.codec_context.time_base = MILLISECONDS
        for number, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], MILLISECONDS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sound(path: Path, seconds: float = 1.0) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for start in range(0, int(16000 * seconds), 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def find_red(frame: np.ndarray) -> Detections:
    """Return the bounding box of the red pixels as a face."""
    red = (frame[..., 0] > 150) & (frame[..., 1] < 100)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    if not len(rows):
        return Detections([], [])
    return Detections([Detection(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, 0.9)], [])
