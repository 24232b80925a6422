"""Cropped faces as published sets hold them: a steady square around the true box of the head, frame by frame."""

import cv2
import numpy as np

from simulate.boxes import Box, face_of

SIDE = 128  # pixels of a saved face
SCENE_SIZE = 480, 360  # pixels of the scene it is cut from: a face of about 100
MARGIN = 1.25  # side of the square over the longer side of the face
STEADY = 3  # frames over which a tracker averages


def crop_portraits(pictures: list[np.ndarray], heads: list[Box]) -> list[np.ndarray]:
    """One (SIDE, SIDE, 3) face for every picture of a clip; the square keeps its size over the clip."""
    boxes = np.array([face_of(head) for head in heads])
    side = MARGIN * float(np.median(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])))
    corners = _averaged((boxes[:, :2] + boxes[:, 2:]) / 2) - side / 2
    return [_cut(picture, corner, SIDE / side) for picture, corner in zip(pictures, corners, strict=True)]


def _averaged(centres: np.ndarray) -> np.ndarray:
    """Every centre (T, 2) replaced by the mean of its neighbours and itself."""
    reach = STEADY // 2
    return np.stack([centres[max(0, at - reach) : at + reach + 1].mean(0) for at in range(len(centres))])


def _cut(picture: np.ndarray, corner: np.ndarray, scale: float) -> np.ndarray:
    matrix = np.column_stack([np.eye(2) * scale, -corner * scale])
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
