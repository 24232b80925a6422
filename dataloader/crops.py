"""The two views of a frame: the face box with a margin, and the context letterboxed to a square. No torch here."""

import cv2
import numpy as np
from PIL import Image

from dataloader.boxes import Box

MARGIN = 20  # pixels around the face box
Area = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels


def face_area(width: int, height: int, box: Box | None, margin: int = MARGIN) -> Area:
    """Return the box, ``margin`` pixels wider on each side, inside the frame; the whole frame if there is no box."""
    if box is None:
        return 0, 0, width, height
    left, top, right, bottom = (int(edge) for edge in box)
    area = max(left - margin, 0), max(top - margin, 0), min(right + margin, width), min(bottom + margin, height)
    return area if _has_pixels(area) else (0, 0, width, height)


def context_area(width: int, height: int, box: Box | None) -> Area:
    """Return the box rounded as PIL rounds; it may extend outside the frame.

    Without a box, or with one that is completely outside, return the whole frame.
    """
    if box is None:
        return 0, 0, width, height
    # limited to three frame sizes, so that an enormous box does not need an enormous picture
    left, top = round(max(box[0], -width)), round(max(box[1], -height))
    right, bottom = round(min(box[2], 2 * width)), round(min(box[3], 2 * height))
    touches_frame = right > 0 and bottom > 0 and left < width and top < height
    area = left, top, right, bottom
    return area if touches_frame and _has_pixels(area) else (0, 0, width, height)


def _has_pixels(area: Area) -> bool:
    return area[2] > area[0] and area[3] > area[1]


def cut(frame: np.ndarray, area: Area) -> np.ndarray:
    """Return ``area`` of a frame: a view if it is inside, else a copy that is black outside the frame."""
    height, width = frame.shape[:2]
    left, top, right, bottom = area
    inside = frame[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return inside
    beyond = max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)
    return cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_CONSTANT)


def crop_face(frame: np.ndarray, box: Box | None, margin: int = MARGIN) -> np.ndarray:
    """Return the face of a frame (H, W, 3) with its margin."""
    return cut(frame, face_area(frame.shape[1], frame.shape[0], box, margin))


def crop_context(frame: np.ndarray, box: Box | None) -> np.ndarray:
    """Return the context of a frame (H, W, 3), not letterboxed yet."""
    return cut(frame, context_area(frame.shape[1], frame.shape[0], box))


def face_square(frame: np.ndarray, box: Box | None, size: int, margin: int = MARGIN) -> np.ndarray:
    """Return (3, size, size) uint8 of the face, stretched to a square: what a model sees in evaluation."""
    crop = np.ascontiguousarray(crop_face(frame, box, margin))
    if crop.shape[:2] != (size, size):
        crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR))
    return to_planes(crop)


def context_square(frame: np.ndarray, box: Box | None, size: int) -> np.ndarray:
    """Return (3, size, size) uint8 of the context, letterboxed: what a model sees in evaluation."""
    return to_planes(letterbox(crop_context(frame, box), size))


def to_planes(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) → (3, H, W) uint8, by OpenCV, which is several times as fast as a copy of the transposed array."""
    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    cv2.split(pixels, list(planes))
    return planes


def margin_like(face_width: float | None, box: Box) -> int:
    """Return the margin that shows as much of a head as ``MARGIN`` does around a face of ``face_width`` pixels.

    If ``face_width`` is None, return ``MARGIN``.
    """
    return MARGIN if face_width is None else round(MARGIN * (box[2] - box[0]) / face_width)


def letterbox_size(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """Return the new width and height, and the numbers of black columns on the left and black rows on top.

    An odd number of black columns or rows has the extra one on the right or at the bottom.
    """
    ratio = min(size / width, size / height)
    new_width, new_height = max(int(width * ratio), 1), max(int(height * ratio), 1)
    return new_width, new_height, (size - new_width) // 2, (size - new_height) // 2


def letterbox(crop: np.ndarray, size: int) -> np.ndarray:
    """Return the crop resized to fit (size, size, 3) with its aspect kept, black elsewhere (OpenCV bilinear)."""
    width, height, x, y = letterbox_size(crop.shape[1], crop.shape[0], size)
    square = np.zeros((size, size, 3), dtype=np.uint8)
    square[y : y + height, x : x + width] = cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR)
    return square


def choose_shrink(face: Area | None, context: Area | None, size: int) -> int:
    """Return 1, 2, 4 or 8: the factor by which a frame may be shrunk while each crop keeps its target size.

    The context keeps twice its target size: the published letterbox reads single pixels of the full frame, and averages
    over several pixels differ visibly.
    """
    room = 8.0
    if face is not None:
        room = min(room, (face[2] - face[0]) / size, (face[3] - face[1]) / size)
    if context is not None:
        room = min(room, max(context[2] - context[0], context[3] - context[1]) / (2 * size))
    return next((shrink for shrink in (8, 4, 2) if shrink <= room), 1)


def cut_shrunk(frame: np.ndarray, area: Area, shrink: int) -> tuple[np.ndarray, Box]:
    """Cut ``area`` of the original frame, inside which it must lie, from one decoded at ``1 / shrink``.

    Return the pixels that the area touches, and the area in them in fractions of pixels.
    """
    height, width = frame.shape[:2]
    x, y = area[0] // shrink, area[1] // shrink
    crop = frame[y : min(-(-area[3] // shrink), height), x : min(-(-area[2] // shrink), width)]
    right, bottom = min(area[2] / shrink - x, crop.shape[1]), min(area[3] / shrink - y, crop.shape[0])
    return crop, (area[0] / shrink - x, area[1] / shrink - y, right, bottom)


def letterbox_shrunk(frame: np.ndarray, area: Area, shrink: int, size: int) -> np.ndarray:
    """Return ``letterbox`` of ``area`` of the original frame, from one decoded at ``1 / shrink``.

    Every pixel is read at its exact position in the original, in fractions of pixels. With whole pixels the result
    would differ three times as much.
    """
    left, top, right, bottom = area
    width, height, x, y = letterbox_size(right - left, bottom - top, size)
    step_x, step_y = (right - left) / width / shrink, (bottom - top) / height / shrink
    matrix = np.array(
        [[step_x, 0, step_x / 2 + left / shrink - 0.5], [0, step_y, step_y / 2 + top / shrink - 0.5]], dtype=np.float64
    )
    leaves_frame = left < 0 or top < 0 or right > frame.shape[1] * shrink or bottom > frame.shape[0] * shrink
    border = cv2.BORDER_CONSTANT if leaves_frame else cv2.BORDER_REPLICATE
    square = np.zeros((size, size, 3), dtype=np.uint8)
    square[y : y + height, x : x + width] = cv2.warpAffine(
        frame, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border
    )
    return square
