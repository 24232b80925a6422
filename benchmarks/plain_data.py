"""The plain loader: reads a clip as the published code does, written as simply as possible.

It is the baseline of ``python -m benchmarks.data`` and the reference of the tests, and shares no code with dataloader/.
Each stream opens every frame separately, at full size. The face is cropped with 20 pixels of margin; the body is
cropped and letterboxed by OpenCV (to BGR and back, as published). Then each group of 16 is rotated, resized,
mirrored and stacked.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]


def load_clip(
    frames: list[Path],
    faces: list[Box | None],
    body: Box | None,
    size: int = 224,
    angles: tuple[float, float] = (0.0, 0.0),
    flips: tuple[bool, bool] = (False, False),
) -> tuple[np.ndarray, np.ndarray]:
    """Return face and context, each (T, 3, size, size) uint8, with an angle and a flip for each of them."""
    context = [letterbox(crop_body(open_frame(path), body), size) for path in frames]
    face = [crop_face(open_frame(path), box) for path, box in zip(frames, faces, strict=True)]
    return transform(face, size, angles[0], flips[0]), transform(context, size, angles[1], flips[1])


def open_frame(path: Path) -> Image.Image:
    """Return the frame, which is read when it is first used. The published code converts nothing: it expects RGB."""
    frame = Image.open(path)
    return frame if frame.mode == "RGB" else frame.convert("RGB")


def crop_face(frame: Image.Image, box: Box | None) -> Image.Image:
    """Return the face with a margin of 20 pixels, or the whole frame if the box is unknown."""
    if box is None:
        return frame
    x1, y1, x2, y2 = (int(v) for v in box)
    width, height = frame.size
    return frame.crop((max(x1 - 20, 0), max(y1 - 20, 0), min(x2 + 20, width), min(y2 + 20, height)))


def crop_body(frame: Image.Image, box: Box | None) -> Image.Image:
    return frame if box is None else frame.crop(box)


def letterbox(crop: Image.Image, size: int) -> Image.Image:
    """Return the crop resized to fit a square, centred on black."""
    pixels = cv2.cvtColor(np.array(crop), cv2.COLOR_RGB2BGR)
    height, width = pixels.shape[:2]
    ratio = min(size / width, size / height)
    new_width, new_height = int(width * ratio), int(height * ratio)
    pixels = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    left, top = (size - new_width) // 2, (size - new_height) // 2
    right, bottom = size - new_width - left, size - new_height - top
    pixels = cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    return Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def transform(group: list[Image.Image], size: int, angle: float, flip: bool) -> np.ndarray:
    """Return the images rotated, resized, mirrored and stacked, (T, 3, size, size) uint8."""
    if angle:
        group = [image.rotate(angle, Image.Resampling.NEAREST) for image in group]
    group = [image.resize((size, size), Image.Resampling.BILINEAR) for image in group]
    if flip:
        group = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in group]
    stacked = np.concatenate([np.array(image) for image in group], axis=2)  # (H, W, 3 T), as the group transform does
    return np.ascontiguousarray(stacked.reshape(size, size, len(group), 3).transpose(2, 3, 0, 1))
