"""Draw on RGB frames: class colours, text, filled areas; and write H.264 files."""

import colorsys
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np

Colour = tuple[int, int, int]
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")  # after Okabe and Ito
NEUTRAL, UNCERTAIN_COLOUR = "#8C8C8C", "#D9D9D9"
INK: Colour = (25, 25, 25)
FINE_TICKS, COARSE_TICKS = 90_000, 1000  # per second; MP4 holds the ticks between dependent frames in 32 bits
SLOW = 1 / 60  # frames per second; at or below this rate fine ticks would overflow


def class_colours(names: Iterable[str]) -> dict[str, str]:
    """Return ``#rrggbb`` for each class, the same in every picture and distinct for colour-blind readers.

    A neutral class is grey. Classes beyond the seventh get darker and lighter versions of the palette.
    """
    colours: dict[str, str] = {}
    position = 0
    for name in names:
        if name.lower().startswith("neutral") and NEUTRAL not in colours.values():
            colours[name] = NEUTRAL
        else:
            colours[name] = shade(PALETTE[position % len(PALETTE)], position // len(PALETTE))
            position += 1
    return colours


def shade(colour: str, cycle: int) -> str:
    """Return the colour for a cycle through the palette: unchanged in cycle 0, darker in odd, lighter in even ones."""
    if cycle == 0:
        return colour
    hue, lightness, saturation = colorsys.rgb_to_hls(*(value / 255 for value in rgb(colour)))
    step = 0.14 * ((cycle + 1) // 2)
    lightness = max(lightness - step, 0.1) if cycle % 2 else min(lightness + step, 0.9)
    return "#" + "".join(f"{round(255 * value):02X}" for value in colorsys.hls_to_rgb(hue, lightness, saturation))


def rgb(colour: str) -> Colour:
    """Return (r, g, b) from 0 to 255 of a ``#rrggbb`` colour."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@lru_cache(maxsize=32)
def font(size: int) -> Any:
    """Return DejaVu Sans, which comes with matplotlib and, unlike OpenCV's fonts, has the letters of most languages."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


@lru_cache(maxsize=512)
def text_mask(text: str, size: int) -> np.ndarray:
    """Return how much of each pixel is covered by ink, (H, W, 1) from 0 to 1."""
    from PIL import Image, ImageDraw

    ascent, descent = font(size).getmetrics()
    image = Image.new("L", (int(font(size).getlength(text)) + 2, ascent + descent), 0)
    ImageDraw.Draw(image).text((1, 0), text, fill=255, font=font(size))
    return np.asarray(image, dtype=np.float32)[..., None] / 255


def put_text(picture: np.ndarray, text: str, x: int, y: int, size: int, colour: Colour = INK) -> None:
    """Draw ``text`` with its top left corner at (x, y); parts outside the right or lower edge are cut off."""
    ink = text_mask(text, size)
    y, x = max(y, 0), max(x, 0)
    region = picture[y : y + ink.shape[0], x : x + ink.shape[1]]
    ink = ink[: region.shape[0], : region.shape[1]]
    region[:] = (region * (1 - ink) + np.float32(colour) * ink).astype(np.uint8)


def fill(picture: np.ndarray, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
    """Fill the rectangle from (x0, y0) to (x1, y1)."""
    picture[max(round(y0), 0) : max(round(y1), 0), max(round(x0), 0) : max(round(x1), 0)] = colour


def even(value: float) -> int:
    """Return the nearest even size of at least 2, which H.264 requires."""
    return max(2 * round(value / 2), 2)


class VideoWriter:
    """Write RGB frames of even width and height to an H.264 file, each at its own time.

    The file grows with each frame and is complete after ``close``, even if that is called early.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        size: tuple[int, int],
        *,
        crf: int = 24,
        preset: str = "veryfast",
        x264: str = "",
        ticks: int | None = None,
        faststart: bool = False,
        container: str | None = "mp4",
    ) -> None:
        """``size``: width and height. ``x264``: settings that differ from ``preset``, as name=value:name=value.
        ``ticks``: time steps per second, by default fine enough for any frame rate.
        ``container``: None for that of the suffix of ``path``."""
        options = {"movflags": "faststart"} if faststart else {}
        self.container = av.open(str(path), "w", format=container, options=options)
        rate = Fraction(fps).limit_denominator(1001)
        encoder = {"preset": preset, "crf": str(crf), "x264-params": x264}
        self.stream = self.container.add_stream("libx264", rate=rate, options=encoder)
        (self.stream.width, self.stream.height), self.stream.pix_fmt = size, "yuv420p"
        self.ticks = ticks or (FINE_TICKS if fps > SLOW else COARSE_TICKS)
        self.stream.time_base = self.stream.codec_context.time_base = Fraction(1, self.ticks)
        self.last_tick = -1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, seconds: float, picture: np.ndarray, pixels: str = "rgb24") -> None:
        """Add a frame; of two frames at the same time the second comes one tick later.

        ``pixels``: format of ``picture``, rgb24 (H, W, 3) or yuv420p (1.5 H, W), which is not converted again.
        """
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=pixels)
        self.last_tick = max(round(seconds * self.ticks), self.last_tick + 1)
        frame.pts, frame.time_base = self.last_tick, Fraction(1, self.ticks)
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        self.container.mux(self.stream.encode())
        self.container.close()
