"""The two views of a frame as squares, without augmentation and without torch: what a model sees in evaluation."""

import numpy as np
from PIL import Image

from dataloader.boxes import Box
from dataloader.crops import MARGIN, crop_context, crop_face, letterbox


def face_square(frame: np.ndarray, box: Box | None, size: int, margin: int = MARGIN) -> np.ndarray:
    """Return (3, size, size) uint8 of the box with its margin, stretched to a square; without a box the whole frame."""
    crop = np.ascontiguousarray(crop_face(frame, box, margin))
    if crop.shape[:2] != (size, size):
        crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(crop.transpose(2, 0, 1))


def context_square(frame: np.ndarray, box: Box | None, size: int) -> np.ndarray:
    """Return (3, size, size) uint8 of the box, or without one of the whole frame, letterboxed."""
    return np.ascontiguousarray(letterbox(crop_context(frame, box), size).transpose(2, 0, 1))
