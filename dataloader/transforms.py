"""Augmentation: one draw for all frames of a view, made once a clip; evaluation draws nothing.

``to_square`` does it as published, on the crop, before the resize. ``augment_squares`` does the same to crops that are
squares already, which a pack and the device have: many at once, nearest pixel, black where the crop ends.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataloader.random_crop import WHOLE, Part, draw_part, enlarge_parts, part_within, pixels_of

MAX_ANGLE = 4.0  # degrees
FIXED = 1 << 16  # PIL turns pictures in fixed point


@dataclass(frozen=True)
class AugmentationLimits:
    """What is drawn from: angles to either side, mirrored or not, the smallest part, how far brightness may go."""

    max_angle: float = MAX_ANGLE
    flip: bool = True
    random_crop: float = 1.0
    brightness: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    angle: float = 0.0
    flip: bool = False
    part: Part = WHOLE
    brightness: float = 1.0


PLAIN = Augmentation()
DEFAULT_LIMITS = AugmentationLimits()


def draw_augmentation(rng: np.random.Generator, limits: AugmentationLimits = DEFAULT_LIMITS) -> Augmentation:
    """Angle and flip are drawn even where they are off: the other draws stay the same."""
    angle, flip = float(rng.uniform(-limits.max_angle, limits.max_angle)), bool(rng.random() < 0.5)
    part = draw_part(rng, limits.random_crop) if limits.random_crop < 1 else WHOLE
    brightness = float(rng.uniform(1 - limits.brightness, 1 + limits.brightness)) if limits.brightness else 1.0
    return Augmentation(angle, flip and limits.flip, part, brightness)


def to_square(
    crop: np.ndarray, augmentation: Augmentation, size: int, inside: tuple[float, ...] | None = None
) -> np.ndarray:
    """Rotate (nearest, same canvas, black), take the part, resize ignoring aspect (PIL bilinear), flip, brighten →
    (3, size, size) uint8.

    ``inside``: the part of the crop that is meant, to a fraction of a pixel; all of it where there is none.
    """
    pixels = crop
    if augmentation.angle or augmentation.part != WHOLE or crop.shape[:2] != (size, size):
        image = Image.fromarray(crop)
        if augmentation.angle:
            image = image.rotate(augmentation.angle, resample=Image.Resampling.NEAREST)
        if augmentation.part != WHOLE and inside is None:
            image = image.crop(pixels_of(augmentation.part, *image.size))
        elif augmentation.part != WHOLE:
            inside = part_within(augmentation.part, inside)
        pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=inside))
    if augmentation.flip:
        pixels = pixels[:, ::-1]
    square = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if augmentation.brightness == 1:
        return square
    return brighten(torch.from_numpy(square), torch.tensor(augmentation.brightness)).numpy()


def brighten(pixels: Tensor, factor: Tensor) -> Tensor:
    """uint8 times a float32 factor, cut off at 255 and rounded down: PIL's numbers."""
    return (pixels * factor).clamp(max=255).byte()


def augment_squares(
    squares: Tensor,
    crop_size: Tensor,
    angle: Tensor,
    flip: Tensor,
    part: Tensor | None = None,
    brightness: Tensor | None = None,
) -> Tensor:
    """(B, T, 3, S, S) uint8 turned by ``angle`` (B,), mirrored by ``flip`` (B,), cut to ``part`` (B, 4) and multiplied
    by ``brightness`` (B,), on the squares' device; ``crop_size`` (B, T, 2) is what they were made of."""
    steps = turn_steps(angle, crop_size, squares.shape[-1])
    made = turn(squares, steps.to(squares.device, non_blocking=True), flip.to(squares.device, non_blocking=True))
    if part is not None:
        made = enlarge_parts(made, part, flip)
    if brightness is not None:
        factor = brightness.to(squares.device, torch.float32, non_blocking=True)
        made = brighten(made, factor.view(-1, 1, 1, 1, 1))
    return made


def turn_steps(angle: Tensor, crop_size: Tensor, size: int) -> Tensor:
    """(B,) degrees and (B, T, 2) widths and heights of the crops → (B, T, 6) int64: where a square's pixel comes from;
    (B, 1, 6) where all frames of each clip have crops of one shape.

    A crop that is turned and then squeezed into a square is the square, stretched, turned and squeezed again. Where the
    crop is a square itself, these are the very numbers that PIL turns by.
    """
    radians = -torch.deg2rad((angle % 360).double())[:, None]  # (B, 1)
    aspect = crop_size[..., 0].double() / crop_size[..., 1].double()  # (B, T)
    cosine, sine = torch.cos(radians).expand_as(aspect), torch.sin(radians).expand_as(aspect)
    a, b, d, e = cosine, sine / aspect, -sine * aspect, cosine
    c, f = (size / 2 * (1 - p - q) for p, q in ((a, b), (d, e)))
    steps = torch.stack([a, b, c + (a + b) / 2, d, e, f + (d + e) / 2], dim=-1)
    fixed = torch.floor(steps * FIXED + 0.5).long()
    return fixed[:, :1] if bool((fixed == fixed[:, :1]).all()) else fixed


def turn(squares: Tensor, steps: Tensor, flip: Tensor) -> Tensor:
    """(B, T, 3, S, S) turned by ``steps`` (B, T or 1, 6), then mirrored where ``flip`` (B,) is true; on any device."""
    B, T, _, S, _ = squares.shape
    a, b, c, d, e, f = steps[..., None, None].unbind(2)  # (B, T or 1, 1, 1) each
    y = torch.arange(S, device=squares.device).view(S, 1)
    x = torch.arange(S, device=squares.device).expand(B, 1, 1, S)
    x = torch.where(flip.view(B, 1, 1, 1), S - 1 - x, x)
    from_x, from_y = (c + a * x + b * y) >> 16, (f + d * x + e * y) >> 16  # (B, T or 1, S, S)
    if is_on_processor(squares):
        return _gather_by_opencv(squares, torch.stack([from_x, from_y], dim=-1))
    inside = (from_x >= 0) & (from_x < S) & (from_y >= 0) & (from_y < S)
    place = (from_y.clamp(0, S - 1) * S + from_x.clamp(0, S - 1)).flatten(2)[:, :, None]  # (B, T or 1, 1, S * S)
    turned = squares.flatten(3).gather(3, place.expand(B, T, 3, S * S)).view_as(squares)
    return turned * inside[:, :, None]


def is_on_processor(pixels: Tensor) -> bool:
    return pixels.device.type == "cpu"


def _gather_by_opencv(squares: Tensor, places: Tensor) -> Tensor:
    """The same on a processor, where it is several times as fast: ``places`` (B, T or 1, S, S, 2) of x and y."""
    turned, maps = torch.empty(squares.shape, dtype=torch.uint8), places.to(torch.int16).numpy()
    for clip, (source, target) in enumerate(zip(squares.contiguous().numpy(), turned.numpy(), strict=True)):
        for frame in range(source.shape[0]):
            place = maps[clip, frame if maps.shape[1] > 1 else 0]
            for plane, into in zip(source[frame], target[frame], strict=True):
                cv2.remap(plane, place, None, cv2.INTER_NEAREST, into, cv2.BORDER_CONSTANT, 0)
    return turned
