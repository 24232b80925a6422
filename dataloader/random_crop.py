"""The random resized crop: a part of the picture, drawn once a clip, enlarged to the whole square again."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

Part = tuple[float, float, float, float]  # left, top, right, bottom as shares of width and height

WHOLE: Part = (0.0, 0.0, 1.0, 1.0)
ASPECTS = 3 / 4, 4 / 3
TRIES = 10


def draw_part(rng: np.random.Generator, smallest: float) -> Part:
    """A share of the area from ``smallest`` to 1, an aspect whose logarithm is uniform, any place where it fits.

    Size and aspect are of the square that the model sees, so that one part serves frames of any shape. Where no try
    fits, the largest centred part of an allowed aspect is taken: of a square that is the whole.
    """
    for _ in range(TRIES):
        area, aspect = rng.uniform(smallest, 1), math.exp(rng.uniform(*np.log(ASPECTS)))
        width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if width <= 1 and height <= 1:
            left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
            return left, top, min(left + width, 1.0), min(top + height, 1.0)
    return WHOLE


def pixels_of(part: Part, width: int, height: int) -> tuple[int, int, int, int]:
    """The whole pixels of a part, at least one either way."""
    left, right = _edges(part[0], part[2], width)
    top, bottom = _edges(part[1], part[3], height)
    return left, top, right, bottom


def _edges(start: float, end: float, length: int) -> tuple[int, int]:
    first = min(round(start * length), length - 1)
    return first, max(round(end * length), first + 1)


def part_within(part: Part, box: Part) -> Part:
    """A part of ``box``, whose edges are fractions of a pixel."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return left + part[0] * width, top + part[1] * height, left + part[2] * width, top + part[3] * height


def enlarge_parts(squares: Tensor, parts: Tensor, flip: Tensor) -> Tensor:
    """(B, T, 3, S, S) uint8 and a part (B, 4) of each clip → that part at full size; on any device.

    Where ``flip`` (B,) is true the squares are mirrored already, the parts are not. A part is smaller than its square:
    interpolation between pixels is what PIL's resize is, too. ``parts`` and ``flip`` lie on the CPU.
    """
    S, edges = squares.shape[-1], []
    for part, is_mirrored in zip(parts.tolist(), flip.tolist(), strict=True):
        left, top, right, bottom = pixels_of(tuple(part), S, S)
        edges.append((S - right, top, S - left, bottom) if is_mirrored else (left, top, right, bottom))
    if squares.device.type != "cpu":
        return interpolate_together(squares, torch.tensor(edges))
    made = torch.empty_like(squares)
    for clip, (left, top, right, bottom) in enumerate(edges):
        pixels = squares[clip, ..., top:bottom, left:right].float()  # (T, 3, h, w)
        made[clip] = interpolate(pixels, (S, S), mode="bilinear", align_corners=False).round()
    return made


def interpolate_together(squares: Tensor, edges: Tensor) -> Tensor:
    """The same for all clips in a few kernels, which a GPU wants and a CPU does four times slower; ``edges``
    (B, 4) in pixels. One pixel in 100,000 is rounded the other way."""
    S, edges = squares.shape[-1], edges.to(squares.device, non_blocking=True)
    left, right, share = neighbours(edges[:, 0], edges[:, 2], S)
    columns = [index[:, None, None, None, :].expand_as(squares) for index in (left, right)]
    pixels = torch.lerp(*(squares.gather(4, index).float() for index in columns), share[:, None, None, None, :])
    top, bottom, share = neighbours(edges[:, 1], edges[:, 3], S)
    rows = [index[:, None, None, :, None].expand_as(squares) for index in (top, bottom)]
    return torch.lerp(*(pixels.gather(3, index) for index in rows), share[:, None, None, :, None]).round().byte()


def neighbours(first: Tensor, last: Tensor, S: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each of S pixels that are spread over those from ``first`` to ``last`` (B,): the two between which it lies
    (B, S), and how far it is from the one to the other."""
    count = (last - first)[:, None].float()
    place = ((torch.arange(S, device=first.device) + 0.5) * (count / S) - 0.5).clamp(min=0)
    low = place.floor()
    high = torch.minimum(low + 1, count - 1)
    return first[:, None] + low.long(), first[:, None] + high.long(), place - low
