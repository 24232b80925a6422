"""The two views of a frame: the face box with a margin, and the context, letterboxed to a square."""

import cv2
import numpy as np

from dataloader.boxes import Box

MARGIN = 20  # pixels around the face box
Area = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels


def face_area(width: int, height: int, box: Box | None, margin: int = MARGIN) -> Area:
    """The box, ``margin`` pixels wider on each side, inside the frame; without a box the whole frame."""
    whole = (0, 0, width, height)
    if box is None:
        return whole
    left, top, right, bottom = (int(value) for value in box)
    area = (max(left - margin, 0), max(top - margin, 0), min(right + margin, width), min(bottom + margin, height))
    return area if area[2] > area[0] and area[3] > area[1] else whole


def context_area(width: int, height: int, box: Box | None) -> Area:
    """The box rounded as PIL rounds, partly outside the frame if need be; without a box, or with one that misses the
    frame, the whole frame."""
    whole = (0, 0, width, height)
    if box is None:
        return whole
    left, top = round(max(box[0], -width)), round(max(box[1], -height))
    right, bottom = round(min(box[2], 2 * width)), round(min(box[3], 2 * height))
    inside = right > 0 and bottom > 0 and left < width and top < height
    return (left, top, right, bottom) if inside and right > left and bottom > top else whole


def cut(frame: np.ndarray, area: Area) -> np.ndarray:
    """``area`` of a frame, black where it lies outside; a view where nothing does."""
    height, width = frame.shape[:2]
    left, top, right, bottom = area
    inside = frame[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return inside
    made = np.zeros((bottom - top, right - left, 3), dtype=np.uint8)
    y, x = max(-top, 0), max(-left, 0)
    made[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return made


def margin_like(face_width: float | None, box: Box) -> int:
    """As large a part of this face as ``MARGIN`` was of one ``face_width`` wide, so that pictures of another size show
    as much of a head; the margin itself where nobody knows how wide."""
    return MARGIN if face_width is None else round(MARGIN * (box[2] - box[0]) / face_width)


def crop_face(frame: np.ndarray, box: Box | None, margin: int = MARGIN) -> np.ndarray:
    return cut(frame, face_area(frame.shape[1], frame.shape[0], box, margin))


def crop_context(frame: np.ndarray, box: Box | None) -> np.ndarray:
    return cut(frame, context_area(frame.shape[1], frame.shape[0], box))


def letterbox_size(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """New width and height, and the black columns on the left and rows on top; an odd rest goes right and below."""
    ratio = min(size / width, size / height)
    new_width, new_height = max(int(width * ratio), 1), max(int(height * ratio), 1)
    return new_width, new_height, (size - new_width) // 2, (size - new_height) // 2


def letterbox(crop: np.ndarray, size: int) -> np.ndarray:
    """Shrunk or grown to fit ``size`` × ``size`` with its aspect kept, black elsewhere (OpenCV bilinear)."""
    width, height, left, top = letterbox_size(crop.shape[1], crop.shape[0], size)
    square = np.zeros((size, size, 3), dtype=np.uint8)
    square[top : top + height, left : left + width] = cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR)
    return square


def choose_shrink(face: Area | None, context: Area | None, size: int) -> int:
    """1, 2, 4 or 8: a frame decoded at that part of its size still gives each crop the pixels of its target.

    The context keeps twice its target: the published letterbox reads single pixels of the whole frame, and what is
    averaged over more of them differs visibly.
    """
    room = 8.0
    if face is not None:
        room = min(room, (face[2] - face[0]) / size, (face[3] - face[1]) / size)
    if context is not None:
        room = min(room, max(context[2] - context[0], context[3] - context[1]) / (2 * size))
    return next((shrink for shrink in (8, 4, 2) if shrink <= room), 1)


def cut_shrunk(frame: np.ndarray, area: Area, shrink: int) -> tuple[np.ndarray, Box]:
    """``area``, which lies inside, from a frame decoded at ``1 / shrink``: the pixels that it touches, and where among
    them it begins and ends, to a fraction of a pixel."""
    height, width = frame.shape[:2]
    left, top = area[0] // shrink, area[1] // shrink
    right, bottom = min(-(-area[2] // shrink), width), min(-(-area[3] // shrink), height)
    crop = frame[top:bottom, left:right]
    inside = area[0] / shrink - left, area[1] / shrink - top, area[2] / shrink - left, area[3] / shrink - top
    return crop, (*inside[:2], min(inside[2], crop.shape[1]), min(inside[3], crop.shape[0]))


def letterbox_shrunk(frame: np.ndarray, area: Area, shrink: int, size: int) -> np.ndarray:
    """``letterbox`` of ``area`` from a frame decoded at ``1 / shrink``: every pixel is read where the whole frame's
    would have been, to a fraction of a pixel. Whole pixels alone would differ three times as much."""
    left, top, right, bottom = area
    width, height, x, y = letterbox_size(right - left, bottom - top, size)
    step_x, step_y = (right - left) / width / shrink, (bottom - top) / height / shrink
    matrix = np.array(
        [[step_x, 0, step_x / 2 + left / shrink - 0.5], [0, step_y, step_y / 2 + top / shrink - 0.5]], dtype=np.float64
    )
    leaves = left < 0 or top < 0 or right > frame.shape[1] * shrink or bottom > frame.shape[0] * shrink
    square = np.zeros((size, size, 3), dtype=np.uint8)
    square[y : y + height, x : x + width] = cv2.warpAffine(
        frame,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT if leaves else cv2.BORDER_REPLICATE,
    )
    return square
