"""Text, boxes and the strip of the last minute on RGB frames: what the overlay is made of."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from apps.predict.colours import rgb
from apps.predict.timeline import Face

INK, PAPER, SOFT = (25, 25, 25), (250, 250, 250), (205, 205, 205)
Colour = tuple[int, int, int]


class Piece(NamedTuple):
    """A stretch of the strip."""

    start: float
    stop: float
    colour: Colour


@lru_cache(maxsize=32)
def font(size: int) -> Any:
    """DejaVu Sans, which comes with matplotlib: it has the letters of most languages, OpenCV's have not."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


@lru_cache(maxsize=512)
def letters(text: str, size: int) -> np.ndarray:
    """How much of each pixel is ink, (H, W, 1) from 0 to 1."""
    from PIL import Image, ImageDraw

    ascent, descent = font(size).getmetrics()
    image = Image.new("L", (int(font(size).getlength(text)) + 2, ascent + descent), 0)
    ImageDraw.Draw(image).text((1, 0), text, fill=255, font=font(size))
    return np.asarray(image, dtype=np.float32)[..., None] / 255


def text_width(text: str, size: int) -> int:
    return letters(text, size).shape[1]


def put_text(picture: np.ndarray, text: str, left: int, top: int, size: int, colour: Colour = INK) -> None:
    """What reaches over an edge is cut off."""
    ink = letters(text, size)
    top, left = max(top, 0), max(left, 0)
    into = picture[top : top + ink.shape[0], left : left + ink.shape[1]]
    ink = ink[: into.shape[0], : into.shape[1]]
    into[:] = (into * (1 - ink) + np.float32(colour) * ink).astype(np.uint8)


def fill(picture: np.ndarray, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
    picture[max(round(top), 0) : max(round(bottom), 0), max(round(left), 0) : max(round(right), 0)] = colour


def draw_person(picture: np.ndarray, face: Face, text: str, share: float | None, colour: Colour, size: int) -> None:
    """The face box, thin where the face is not seen just now, and above it, or below where there is no room, a plate
    with the answer and a bar for ``share``."""
    height, width = picture.shape[:2]
    left, top, right, bottom = (int(round(v)) for v in face.box)
    thick = max(size // 7, 2) if face.seen else 1
    cv2.rectangle(picture, (left, top), (right, bottom), (255, 255, 255), thick + 2)
    cv2.rectangle(picture, (left, top), (right, bottom), colour, thick)
    if not text:
        return
    pad, bar = size // 3, max(size // 3, 4)
    wide = max(text_width(text, size) + 2 * pad + size, right - left)
    tall = letters(text, size).shape[0] + bar + 2 * pad
    x = min(max(left - thick // 2, 0), max(width - wide, 0))
    y = top - tall - thick if top - tall - thick >= 0 else min(bottom + thick + 1, height - tall)
    fill(picture, x, y, x + wide, y + tall, PAPER)
    fill(picture, x + pad, y + pad + size * 0.2, x + pad + size * 0.75, y + pad + size * 0.95, colour)
    put_text(picture, text, x + pad + size, y + pad // 2, size)
    under = y + tall - pad - bar
    fill(picture, x + pad, under, x + wide - pad, under + bar, SOFT)
    if share is not None:
        fill(picture, x + pad, under, x + pad + (wide - 2 * pad) * share, under + bar, colour)


def draw_corner(picture: np.ndarray, text: str, colour: Colour, size: int) -> None:
    """A plate in the corner: what belongs to no face box."""
    pad = size // 3
    wide, tall = text_width(text, size) + 2 * pad + size, letters(text, size).shape[0] + pad
    fill(picture, pad, pad, pad + wide, pad + tall, PAPER)
    fill(picture, 2 * pad, pad + size * 0.4, 2 * pad + size * 0.75, pad + size * 1.15, colour)
    put_text(picture, text, 2 * pad + size, pad + pad // 2, size)


def draw_strip(
    picture: np.ndarray, top: int, lanes: Sequence[tuple[str, Sequence[Piece]]], now: float, span: float, size: int
) -> None:
    """A lane a person of the last ``span`` seconds, from the row ``top`` down; ``now`` is at the right edge."""
    height, width = picture.shape[:2]
    fill(picture, 0, top, width, height, PAPER)
    label = max((text_width(name, size) for name, _ in lanes), default=0) + size
    axis = letters("0", size).shape[0]
    lane = (height - top - axis - size // 2) / max(len(lanes), 1)
    scale = (width - label - size / 2) / span
    for number, (name, pieces) in enumerate(lanes):
        upper, lower = top + size // 3 + number * lane, top + size // 3 + (number + 1) * lane - 2
        put_text(picture, name, size // 3, round((upper + lower - axis) / 2), size)
        fill(picture, label, upper, width - size / 2, lower, (238, 238, 238))
        for start, stop, colour in pieces:
            begin, end = label + (start - now + span) * scale, label + (min(stop, now) - now + span) * scale
            if end > label:
                fill(picture, max(begin, label), upper, end, lower, colour)
    for ago in range(0, int(span) + 1, 10):
        text = f"-{ago} s" if ago else "now"
        x = label + (span - ago) * scale - text_width(text, size) / (1 if ago == 0 else 2)
        put_text(picture, text, round(max(x, label)), height - axis - 1, size, (90, 90, 90))


def draw_legend(picture: np.ndarray, top: int, colours: dict[str, str], size: int) -> None:
    """As many classes as one line holds, each with its colour."""
    x = size // 2
    fill(picture, 0, top, picture.shape[1], top + round(size * 1.5), PAPER)
    for name, colour in colours.items():
        wide = text_width(name, size) + 2 * size
        if x + wide > picture.shape[1]:
            put_text(picture, "...", min(x, picture.shape[1] - 2 * size), top, size)
            return
        fill(picture, x, top + size * 0.35, x + size * 0.8, top + size * 1.15, rgb(colour))
        put_text(picture, name, x + size, top, size)
        x += wide
