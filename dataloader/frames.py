"""Frame files: which files of a folder are frames, their order in time, and their pixels as RGB.

Complete JPEGs are decoded by OpenCV, three times as fast as by PIL and with the same bits; PIL decodes all other files.
"""

import hashlib
import math
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image
from PIL.Image import Transpose

from utils.errors import UserError
from utils.files import open_regular

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF", b"II*\0", b"MM\0*")
DECODE_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
MAX_PIXELS = 2**27  # a JPEG that states more is opened by PIL, which refuses it
END_OF_JPEG = b"\xff\xd9"
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of the segment that holds the size
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}  # markers without a length
BLOCK = 4096  # bytes hashed at the beginning, in the middle and at the end of a file
MOST_HASHED = 50_000  # frames of a set, which takes 1.5 s
EXIF_ORIENTATION = 0x0112
EXIF_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
EXIF_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height
buffers = threading.local()


class BadFrame(UserError):
    """A frame file that cannot be read as an image."""

    @classmethod
    def of(cls, path: Path, error: Exception) -> "BadFrame":
        return cls(f"{path}: cannot be read as an image ({error}); replace the file or pass --on-bad-frame skip")


def list_frames(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder's frames in numeric order: ``2.jpg`` before ``10.jpg``. Other files are left out."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.lower().endswith(SUFFIXES) and not e.name.startswith(".")]
    return tuple(sorted(names, key=numeric_key))


def numeric_key(name: str) -> list:
    """Return a sort key that compares numbers by value, and names that differ only in leading zeros by their text."""
    parts = re.split(r"([0-9]+)", name)  # text and number alternate
    return [[(int(part), "") if index % 2 else (0, part) for index, part in enumerate(parts)], name]


def decode_frame(path: Path, shrink: int = 1) -> tuple[np.ndarray, int]:
    """Return a frame as (H, W, 3) uint8 RGB, and the factor by which it was shrunk.

    ``shrink`` is 1, 2, 4 or 8: a JPEG is decoded at 1 / ``shrink`` of its size; other files are never shrunk. With 1
    every bit is as PIL decodes it. The next call in this thread overwrites the pixels.
    """
    size = jpeg_size(path)
    if size is not None:
        flags = DECODE_FLAGS[shrink] | cv2.IMREAD_IGNORE_ORIENTATION
        # The name is passed as bytes, because OpenCV's bindings crash on text that is not UTF-8.
        pixels = cv2.imread(os.fsencode(path), _buffer(-(-size[1] // shrink), -(-size[0] // shrink)), flags)
        if pixels is not None and pixels.ndim == 3:
            return (pixels if shrink == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels)), shrink
    return np.asarray(read_frame(path)), 1  # this also raises the error for a damaged file


def _buffer(height: int, width: int) -> np.ndarray:
    """Return memory that is reused for every frame: new pages would cost as much as decoding into them."""
    count = math.prod((height, width, 3))
    if getattr(buffers, "pixels", None) is None or buffers.pixels.size < count:
        buffers.pixels = np.empty(count, dtype=np.uint8)
    return buffers.pixels[:count].reshape(height, width, 3)


def jpeg_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of a complete JPEG in 8-bit grey or colour, None for any other file."""
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise BadFrame.of(path, error) from None
    if not data.startswith(b"\xff\xd8") or not data.rstrip(b"\0").endswith(END_OF_JPEG):
        return None  # truncated; OpenCV would print a warning
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in START_OF_FRAME:
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            is_plain = data[at + 4] == 8 and data[at + 9] in (1, 3) and 0 < width * height < MAX_PIXELS
            return (width, height) if is_plain else None
        if marker == 0xFF:  # padding
            at += 1
        else:
            at += 2 if marker in WITHOUT_LENGTH else 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def read_frame(path: Path) -> Image.Image:
    """Return a decoded frame as RGB, from grey, palette or alpha images too."""
    with open_frame(path) as image:
        return to_rgb(image)


@contextmanager
def open_frame(path: Path) -> Iterator[Image.Image]:
    """Open a file without decoding it. An error in reading it, also later in the block, becomes a ``BadFrame``."""
    try:
        # Open without the name: otherwise Pillow memory-maps a plain TIFF and scrambles it if it is rotated.
        with open_regular(path) as file, Image.open(file) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadFrame.of(path, error) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image as RGB. For 16-bit grey the upper byte is used, whereas PIL would clip at 255."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, dtype=np.uint32) >> 8).astype(np.uint8))
    return image.convert("RGB")


def find_unreadable(paths: list[Path]) -> list[Path]:
    """Return the files that are empty, missing, or do not start like an image; only 8 bytes of each are read."""
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(begins_like_an_image, paths, chunksize=256)
        return [path for path, is_image in zip(paths, results, strict=True) if not is_image]


def begins_like_an_image(path: Path) -> bool:
    """Return whether the first bytes of a file are those of an image format."""
    try:
        with open_regular(path, buffering=0) as file:
            return file.read(8).startswith(SIGNATURES)
    except OSError:
        return False


def header_size(path: Path) -> tuple[int, int]:
    """Return width and height from the header of a frame; nothing is decoded."""
    with open_frame(path) as image:
        return image.size


def upright(path: Path) -> np.ndarray:
    """Return a picture as (H, W, 3) uint8 RGB, rotated by its EXIF orientation."""
    with open_frame(path) as image:
        turn, frame = EXIF_TURNS.get(_orientation(image)), to_rgb(image)
    del image  # freeing the memory of the decoded file makes the copy below a quarter faster
    return np.array(frame if turn is None else frame.transpose(turn))


def of_one_size(folder: Path, names: Sequence[str]) -> bool:
    """Return whether all pictures that can be opened state the same size, as frames of a video do."""
    sizes = (size for name in names if (size := stated_size(folder / name)))
    first = next(sizes, None)
    return all(size == first for size in sizes)


def stated_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of the upright picture from its header, or None if it cannot be opened."""
    try:
        with open_frame(path) as image:
            return image.size[::-1] if _orientation(image) in EXIF_SIDEWAYS else image.size
    except BadFrame:
        return None


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation if it is stored before the pixels; reading one after them would decode a whole PNG.

    Return 1, upright, for damaged EXIF data, and for a TIFF, which Pillow rotates itself.
    """
    if image.format == "TIFF":
        return 1
    try:
        return Image.Image.getexif(image).get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF data raises errors of many types
        return 1


def hash_files(paths: Sequence[Path], all_bytes: bool = False, most: int = MOST_HASHED) -> str:
    """Return a hash of the contents of files; their times do not matter, and a missing file counts as an empty one.

    Without ``all_bytes`` only samples are hashed: the size and three blocks of a file, and at most about ``most``
    evenly spread files.
    """
    total = hashlib.blake2b(digest_size=16)
    for path in paths if all_bytes else paths[:: -(-len(paths) // most) or 1]:
        try:
            with open_regular(path, buffering=0) as file:
                content = file.read() if all_bytes else _sample(file)
        except OSError:
            content = b""
        total.update(hashlib.blake2b(content, digest_size=16).digest())
    return total.hexdigest()


def _sample(file: BinaryIO) -> bytes:
    size = os.fstat(file.fileno()).st_size
    starts = range(0, size, BLOCK) if size <= 3 * BLOCK else (0, (size - BLOCK) // 2, size - BLOCK)
    blocks = [str(size).encode()]
    for start in starts:
        file.seek(start)
        blocks.append(file.read(BLOCK))
    return b"".join(blocks)
