"""Frame files: which files of a folder are frames, their order in time, and reading one."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from utils.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF", b"II*\0", b"MM\0*")


class BadFrame(UserError):
    """A frame file that cannot be read as an image."""


def list_frames(folder: Path) -> tuple[str, ...]:
    """The names of a folder's frames in numeric order: ``2.jpg`` before ``10.jpg``; other files are no frames."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.lower().endswith(SUFFIXES) and not e.name.startswith(".")]
    return tuple(sorted(names, key=numeric_key))


def numeric_key(name: str) -> list:
    """Numbers by value; names that differ in leading zeros alone still have one order."""
    parts = re.split(r"([0-9]+)", name)  # text and number by turns
    return [[(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], name]


def read_frame(path: Path) -> Image.Image:
    """One decoded frame as RGB, whatever its file holds (grey, palette, alpha)."""
    with open_frame(path) as image:
        return to_rgb(image)


@contextmanager
def open_frame(path: Path) -> Iterator[Image.Image]:
    """The file before its pixels are decoded; what cannot be read of it, also then, is a ``BadFrame``."""
    try:
        with Image.open(path) as image:
            image.filename = ""  # else Pillow maps a plain TIFF into memory, which scrambles one that lies on its side
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadFrame(
            f"{path}: cannot be read as an image ({error}); replace the file or pass --on-bad-frame skip"
        ) from None


def to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: convert() would cut everything above 255 to white
        image = Image.fromarray((np.asarray(image, dtype=np.uint32) >> 8).astype(np.uint8))
    return image.convert("RGB")


def find_unreadable(paths: list[Path]) -> list[Path]:
    """The files that are empty, missing, or do not begin like an image: a quick look at 8 bytes of each."""
    with ThreadPoolExecutor(8) as pool:
        sound = pool.map(begins_like_an_image, paths, chunksize=256)
        return [path for path, is_sound in zip(paths, sound, strict=True) if not is_sound]


def begins_like_an_image(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(8).startswith(SIGNATURES)
    except OSError:
        return False
