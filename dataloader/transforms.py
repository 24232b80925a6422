"""Augmentation, sampled once per clip for all frames of a view. Evaluation is not augmented.

``to_square`` augments as published: on the crop, before it is resized. ``augment_squares`` does the same to many crops
that are already squares, as in a pack and on the device: nearest pixel, black outside the crop.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from dataloader.crops import to_planes

Part = tuple[float, float, float, float]  # left, top, right, bottom as shares of width and height

FULL_AREA: Part = (0.0, 0.0, 1.0, 1.0)
ASPECTS = 3 / 4, 4 / 3  # of a random crop
CROP_TRIES = 10
MAX_ANGLE = 4.0  # degrees
FIXED_POINT = 1 << 16  # PIL rotates pictures in this fixed point


@dataclass(frozen=True)
class AugmentationLimits:
    """The ranges from which a run samples augmentations."""

    max_angle: float = MAX_ANGLE  # degrees in both directions
    flip: bool = True  # half of the clips are mirrored
    random_crop: float = 1.0  # the smallest share of the area
    brightness: float = 0.0  # factors from 1 - brightness to 1 + brightness


@dataclass(frozen=True)
class Augmentation:
    """One sampled augmentation."""

    angle: float = 0.0
    flip: bool = False
    part: Part = FULL_AREA
    brightness: float = 1.0


PLAIN = Augmentation()
DEFAULT_LIMITS = AugmentationLimits()


def sample_augmentation(rng: np.random.Generator, limits: AugmentationLimits = DEFAULT_LIMITS) -> Augmentation:
    """Return a sampled augmentation. Angle and flip are sampled even if off, so that other numbers stay the same."""
    angle, flip = float(rng.uniform(-limits.max_angle, limits.max_angle)), bool(rng.random() < 0.5)
    part = sample_part(rng, limits.random_crop) if limits.random_crop < 1 else FULL_AREA
    brightness = float(rng.uniform(1 - limits.brightness, 1 + limits.brightness)) if limits.brightness else 1.0
    return Augmentation(angle, flip and limits.flip, part, brightness)


def as_tensors(augmentations: list[Augmentation], with_part: bool, with_brightness: bool) -> dict[str, Tensor]:
    """Return tensors with a row for each augmentation, under the argument names of ``augment_squares``."""
    rows = {
        "angle": torch.tensor([augmentation.angle for augmentation in augmentations], dtype=torch.float64),
        "flip": torch.tensor([augmentation.flip for augmentation in augmentations]),
    }
    if with_part:
        rows["part"] = torch.tensor([augmentation.part for augmentation in augmentations], dtype=torch.float64)
    if with_brightness:
        rows["brightness"] = torch.tensor([augmentation.brightness for augmentation in augmentations])
    return rows


def cached_variants(count: int, max_angle: float = MAX_ANGLE, flip: bool = True) -> list[Augmentation]:
    """Return at most ``count`` augmentations for a feature cache.

    They are no change, a flip, and both at eight angles spread over the range, in this order.
    """
    angles = [sign * max_angle * step / 4 for step in (3, 1, 4, 2) for sign in (1, -1)] if max_angle else []
    flips = (False, True) if flip else (False,)
    return [Augmentation(angle, is_mirrored) for angle in [0.0, *angles] for is_mirrored in flips][:count]


def sample_part(rng: np.random.Generator, smallest: float) -> Part:
    """Sample a random resized crop: area uniform from ``smallest`` to 1, logarithm of the aspect ratio uniform.

    Both refer to the square that the model sees, so that one part can be used for frames of any shape. If no try fits,
    the part is the largest centred one with an allowed aspect ratio, which for a square is the full square.
    """
    for _ in range(CROP_TRIES):
        area, aspect = rng.uniform(smallest, 1), math.exp(rng.uniform(*np.log(ASPECTS)))
        width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if width <= 1 and height <= 1:
            x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
            return x, y, min(x + width, 1.0), min(y + height, 1.0)
    return FULL_AREA


def pixels_of(part: Part, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the edges of a part in whole pixels, at least one pixel wide and high."""
    x, y = min(round(part[0] * width), width - 1), min(round(part[1] * height), height - 1)
    return x, y, max(round(part[2] * width), x + 1), max(round(part[3] * height), y + 1)


def part_within(part: Part, box: Part) -> Part:
    """Return the edges in pixels of a part of ``box``, whose edges may be between pixels."""
    x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
    return x + part[0] * width, y + part[1] * height, x + part[2] * width, y + part[3] * height


def to_square(
    crop: np.ndarray, augmentation: Augmentation, size: int, inside: tuple[float, ...] | None = None
) -> np.ndarray:
    """Return a crop (H, W, 3) as an augmented square (3, size, size) uint8.

    The steps are: rotate (nearest pixel, same canvas, black corners), cut the part, resize ignoring the aspect (PIL
    bilinear), flip, brighten. ``inside`` is the part of the crop to use, in fractions of pixels; None means all.
    """
    pixels = crop
    if augmentation.angle or augmentation.part != FULL_AREA or crop.shape[:2] != (size, size):
        image = Image.fromarray(crop)
        if augmentation.angle:
            image = image.rotate(augmentation.angle, resample=Image.Resampling.NEAREST)
        if augmentation.part != FULL_AREA and inside is None:
            image = image.crop(pixels_of(augmentation.part, *image.size))
        elif augmentation.part != FULL_AREA:
            inside = part_within(augmentation.part, inside)
        pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=inside))
    square = to_planes(cv2.flip(pixels, 1) if augmentation.flip else pixels)
    if augmentation.brightness == 1:
        return square
    return brighten(torch.from_numpy(square), torch.tensor(augmentation.brightness)).numpy()


def brighten(pixels: Tensor, factor: Tensor) -> Tensor:
    """Return uint8 pixels times a float32 factor, clipped at 255 and rounded down, as PIL computes it."""
    return (pixels * factor).clamp(max=255).byte()


def augment_squares(
    squares: Tensor,
    crop_size: Tensor,
    angle: Tensor,
    flip: Tensor,
    part: Tensor | None = None,
    brightness: Tensor | None = None,
) -> Tensor:
    """Return squares (B, T, 3, S, S) uint8, augmented on their device, with one augmentation per clip.

    ``crop_size`` (B, T, 2) is the width and height of the crop that each square was resized from; ``angle``, ``flip``
    and ``brightness`` are (B,), ``part`` is (B, 4).
    """
    steps = turn_steps(angle, crop_size, squares.shape[-1])
    squares = turn(squares, steps.to(squares.device, non_blocking=True), flip.to(squares.device, non_blocking=True))
    if part is not None:
        squares = enlarge_parts(squares, part, flip)
    if brightness is not None:
        factor = brightness.to(squares.device, torch.float32, non_blocking=True)
        squares = brighten(squares, factor.view(-1, 1, 1, 1, 1))
    return squares


def turn_steps(angle: Tensor, crop_size: Tensor, size: int) -> Tensor:
    """Return the affine map from each pixel of a rotated square to its source pixel, in fixed point.

    (B,) degrees and (B, T, 2) widths and heights of the crops → (B, T, 6) int64, or (B, 1, 6) if all crops of each clip
    have the same shape. Rotating a crop and resizing it to a square equals stretching the square to the crop's shape,
    rotating it and resizing it back. For a square crop these are PIL's own numbers.
    """
    radians = -torch.deg2rad((angle % 360).double())[:, None]  # (B, 1)
    aspect = crop_size[..., 0].double() / crop_size[..., 1].double()  # (B, T)
    cosine, sine = torch.cos(radians).expand_as(aspect), torch.sin(radians).expand_as(aspect)
    a, b, d, e = cosine, sine / aspect, -sine * aspect, cosine
    c, f = (size / 2 * (1 - p - q) for p, q in ((a, b), (d, e)))
    steps = torch.stack([a, b, c + (a + b) / 2, d, e, f + (d + e) / 2], dim=-1)
    fixed = torch.floor(steps * FIXED_POINT + 0.5).long()
    return fixed[:, :1] if bool((fixed == fixed[:, :1]).all()) else fixed


def turn(squares: Tensor, steps: Tensor, flip: Tensor) -> Tensor:
    """Return (B, T, 3, S, S) rotated by ``steps`` (B, T or 1, 6), then mirrored where ``flip`` (B,) is true.

    Pixels from outside the square are black.
    """
    return turn_by_opencv(squares, steps, flip) if squares.device.type == "cpu" else turn_by_torch(squares, steps, flip)


def turn_by_torch(squares: Tensor, steps: Tensor, flip: Tensor) -> Tensor:
    B, T, _, S, _ = squares.shape
    a, b, c, d, e, f = steps[..., None, None].unbind(2)  # (B, T or 1, 1, 1) each
    y = torch.arange(S, device=squares.device).view(S, 1)
    x = torch.arange(S, device=squares.device).expand(B, 1, 1, S)
    x = torch.where(flip.view(B, 1, 1, 1), S - 1 - x, x)
    from_x, from_y = (c + a * x + b * y) >> 16, (f + d * x + e * y) >> 16  # (B, T or 1, S, S)
    inside = (from_x >= 0) & (from_x < S) & (from_y >= 0) & (from_y < S)
    index = (from_y.clamp(0, S - 1) * S + from_x.clamp(0, S - 1)).flatten(2)[:, :, None]  # (B, T or 1, 1, S * S)
    turned = squares.flatten(3).gather(3, index.expand(B, T, 3, S * S)).view_as(squares)
    return turned * inside[:, :, None]


def turn_by_opencv(squares: Tensor, steps: Tensor, flip: Tensor) -> Tensor:
    """Return the same on a CPU, several times as fast: a single frame at a time fits into the cache."""
    S = squares.shape[-1]
    turned, maps = torch.empty_like(squares, memory_format=torch.contiguous_format), np.empty((S, S, 2), np.int16)
    pixels, rotated = np.empty((2, S, S, 3), np.uint8)
    largest = (steps[..., [0, 3]].abs() + steps[..., [1, 4]].abs()).max() * S + steps[..., [2, 5]].abs().max()
    # int32 takes half the time and is wide enough for the map, except for extreme shapes.
    ramp, limits = (np.arange(S, dtype=np.int32), None) if largest < 2**31 else (np.arange(S), (-1, S))
    numbers = steps.numpy().astype(ramp.dtype)
    for clip, (source, target) in enumerate(zip(squares.numpy(), turned.numpy(), strict=True)):
        x = ramp[::-1] if flip[clip] else ramp
        for frame, planes in enumerate(source):
            if frame < numbers.shape[1]:
                a, b, c, d, e, f = numbers[clip, frame]
                for axis, (across, down, start) in enumerate(((a, b, c), (d, e, f))):
                    sources = (start + down * ramp)[:, None] + across * x
                    sources >>= 16
                    maps[..., axis] = sources if limits is None else sources.clip(*limits)
            cv2.merge(list(planes), pixels)  # rotating three interleaved colours is faster than three planes
            cv2.remap(pixels, maps, None, cv2.INTER_NEAREST, rotated, cv2.BORDER_CONSTANT, 0)
            cv2.split(rotated, list(target[frame]))
    return turned


def enlarge_parts(squares: Tensor, parts: Tensor, flip: Tensor) -> Tensor:
    """Return the part (B, 4) of each clip of squares (B, T, 3, S, S) uint8 at full size.

    If ``flip`` (B,) is true, the squares are already mirrored but the parts are not. ``parts`` and ``flip`` are on the
    CPU. A part is smaller than its square, so bilinear interpolation gives the same as PIL's resize.
    """
    S, edges = squares.shape[-1], []
    for part, is_mirrored in zip(parts.tolist(), flip.tolist(), strict=True):
        left, top, right, bottom = pixels_of(tuple(part), S, S)
        edges.append((S - right, top, S - left, bottom) if is_mirrored else (left, top, right, bottom))
    if squares.device.type != "cpu":
        return interpolate_together(squares, torch.tensor(edges))
    enlarged = torch.empty_like(squares)
    for clip, (left, top, right, bottom) in enumerate(edges):
        pixels = squares[clip, ..., top:bottom, left:right].float()  # (T, 3, h, w)
        enlarged[clip] = interpolate(pixels, (S, S), mode="bilinear", align_corners=False).round()
    return enlarged


def interpolate_together(squares: Tensor, edges: Tensor) -> Tensor:
    """Return the parts of all clips at full size, with a few kernels; ``edges`` (B, 4) are in pixels.

    This is for a GPU; a CPU is four times slower with it. One pixel in 100,000 is rounded differently.
    """
    S, edges = squares.shape[-1], edges.to(squares.device, non_blocking=True)
    low, high, share = _neighbours(edges[:, 0], edges[:, 2], S)
    columns = [squares.gather(4, index[:, None, None, None, :].expand_as(squares)).float() for index in (low, high)]
    pixels = torch.lerp(*columns, share[:, None, None, None, :])
    low, high, share = _neighbours(edges[:, 1], edges[:, 3], S)
    rows = [pixels.gather(3, index[:, None, None, :, None].expand_as(pixels)) for index in (low, high)]
    return torch.lerp(*rows, share[:, None, None, :, None]).round().byte()


def _neighbours(first: Tensor, last: Tensor, S: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels before and after each of S points between ``first`` and ``last`` (B,), and the weight of the
    second one, (B, S) each."""
    count = (last - first)[:, None].float()
    position = ((torch.arange(S, device=first.device) + 0.5) * (count / S) - 0.5).clamp(min=0)
    low = position.floor()
    high = torch.minimum(low + 1, count - 1)
    return first[:, None] + low.long(), first[:, None] + high.long(), position - low
