"""Frame files → RGB arrays: OpenCV for sound JPEGs, three times as fast as PIL with the same bits; PIL for the rest."""

import math
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from dataloader.frames import BadFrame, read_frame

FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
kept = threading.local()
LARGEST = 2**27  # pixels; what claims more is left to PIL, which refuses it
NO_LENGTH = {0x01, *range(0xD0, 0xD8)}  # markers that stand alone
END = b"\xff\xd9"


def decode_frame(path: Path, choose: Callable[[int, int], int] | None = None) -> tuple[np.ndarray, int]:
    """``(H, W, 3)`` uint8 and by how much it was shrunk.

    ``choose`` maps the frame's width and height to 1, 2, 4 or 8: a JPEG is decoded at that part of its size. Without
    it every bit is PIL's. The pixels are good until the next call, which writes over them.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFrame(
            f"{path}: cannot be read as an image ({error}); replace the file or pass --on-bad-frame skip"
        ) from None
    size = jpeg_size(data)
    if size is not None:
        shrink = choose(*size) if choose else 1
        pixels = cv2.imread(str(path), room_for(*size, shrink), FLAGS[shrink] | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is not None and pixels.ndim == 3:
            return (pixels if shrink == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels)), shrink
    return np.asarray(read_frame(path)), 1  # which also says what is wrong with a file


def room_for(width: int, height: int, shrink: int) -> np.ndarray:
    """The same memory for frame after frame: fresh pages would cost as much as decoding into them."""
    shape = -(-height // shrink), -(-width // shrink), 3
    needed = math.prod(shape)
    if getattr(kept, "pixels", None) is None or kept.pixels.size < needed:
        kept.pixels = np.empty(needed, dtype=np.uint8)
    return kept.pixels[:needed].reshape(shape)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG of 8-bit grey or colour that is there to its end; None for anything else."""
    if not data.startswith(b"\xff\xd8") or not data.rstrip(b"\0").endswith(END):
        return None  # OpenCV would print a complaint about a file that is cut off
    place = 2
    while place + 9 < len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker in START_OF_FRAME:
            height, width = int.from_bytes(data[place + 5 : place + 7]), int.from_bytes(data[place + 7 : place + 9])
            plain = data[place + 4] == 8 and data[place + 9] in (1, 3) and 0 < width * height < LARGEST
            return (width, height) if plain else None
        if marker == 0xFF:  # padding
            place += 1
        else:
            place += 2 if marker in NO_LENGTH else 2 + int.from_bytes(data[place + 2 : place + 4])
    return None
