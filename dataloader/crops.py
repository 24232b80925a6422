"""The two views of a frame: the face box with a margin, and the context, letterboxed to a square."""

import cv2
import numpy as np
from PIL import Image

MARGIN = 20  # pixels around the face box
Box = tuple[float, float, float, float]


def crop_face(frame: Image.Image, box: Box | None) -> Image.Image:
    """The box, 20 pixels wider on each side, inside the frame; without a box the whole frame."""
    if box is None:
        return frame
    left, top, right, bottom = (int(value) for value in box)
    area = (
        max(left - MARGIN, 0),
        max(top - MARGIN, 0),
        min(right + MARGIN, frame.width),
        min(bottom + MARGIN, frame.height),
    )
    return frame.crop(area) if area[2] > area[0] and area[3] > area[1] else frame


def crop_context(frame: Image.Image, box: Box | None) -> Image.Image:
    """The box, black where it leaves the frame; without a box, or with one that misses the frame, the whole frame."""
    if box is None:
        return frame
    left, top = max(box[0], -frame.width), max(box[1], -frame.height)
    right, bottom = min(box[2], 2 * frame.width), min(box[3], 2 * frame.height)
    inside = round(right) > 0 and round(bottom) > 0 and round(left) < frame.width and round(top) < frame.height
    if not inside or round(right) <= round(left) or round(bottom) <= round(top):
        return frame
    return frame.crop((left, top, right, bottom))


def letterbox_size(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """New width and height, and the black columns on the left and rows on top; an odd rest goes right and below."""
    ratio = min(size / width, size / height)
    new_width, new_height = max(int(width * ratio), 1), max(int(height * ratio), 1)
    return new_width, new_height, (size - new_width) // 2, (size - new_height) // 2


def letterbox(image: Image.Image, size: int) -> Image.Image:
    """Shrunk or grown to fit ``size`` × ``size`` with its aspect kept, black elsewhere (OpenCV bilinear)."""
    width, height, left, top = letterbox_size(image.width, image.height, size)
    square = np.zeros((size, size, 3), dtype=np.uint8)
    square[top : top + height, left : left + width] = cv2.resize(
        np.asarray(image), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return Image.fromarray(square)
