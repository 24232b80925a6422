"""Where a model's square lies in the frame it was cut from, and a map of patches laid over that part of the frame."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from dataloader.annotation import Clip
from dataloader.clips import Views, boxes_of, streams_of
from dataloader.crops import Area, context_area, face_area, letterbox_size
from dataloader.frames import BadFrame


@dataclass(frozen=True)
class Place:
    """One square of one stream."""

    area: Area  # of the frame: left, top, right, bottom in its pixels
    inside: Area  # of the square: the rest is black padding


def places_of(clip: Clip, views: Views, indexes: list[int]) -> dict[str, list[Place]]:
    """Of each stream, the place of every wanted frame."""
    faces, body = boxes_of(clip, views)
    places: dict[str, list[Place]] = {stream: [] for stream in streams_of(views)}
    for index in indexes:
        size = size_of(clip, index)
        for stream, row in places.items():
            row.append(place_face(*size, faces[index], views) if stream == "face" else place_body(*size, body, views))
    return places


def size_of(clip: Clip, index: int) -> tuple[int, int]:
    """Width and height of a frame, or where it cannot be read of the nearest that can."""
    for other in sorted(range(len(clip.frames)), key=lambda other: abs(other - index)):
        try:
            with Image.open(clip.frame_path(other)) as image:
                return image.size
        except OSError:
            continue
    raise BadFrame(f"{clip.folder}: none of its frames can be read; remove the clip from the list")


def place_face(width: int, height: int, box: tuple | None, views: Views) -> Place:
    """Squeezed into the square: there is no padding."""
    return Place(face_area(width, height, box), (0, 0, views.size, views.size))


def place_body(width: int, height: int, box: tuple | None, views: Views) -> Place:
    """Letterboxed: its shape is kept."""
    area = context_area(width, height, box)
    wide, high, left, top = letterbox_size(area[2] - area[0], area[3] - area[1], views.size)
    return Place(area, (left, top, left + wide, top + high))


def padding_share(maps: np.ndarray, places: list[Place], size: int) -> float:
    """Of a stream's relevance (T, rows, columns), what lies in the padding: each patch by the part of it there."""
    rows, columns = maps.shape[1:]
    inside = 0.0
    for values, place in zip(maps, places, strict=True):
        left, top, right, bottom = place.inside
        covered = np.outer(_covered(top, bottom, size, rows), _covered(left, right, size, columns))
        inside += float((values * covered).sum())
    total = float(maps.sum())
    return max(1 - inside / total, 0.0) if total > 0 else 0.0


def _covered(first: int, last: int, size: int, patches: int) -> np.ndarray:
    """The part of each patch between two edges."""
    edges = np.linspace(0, size, patches + 1)
    return np.clip(np.minimum(edges[1:], last) - np.maximum(edges[:-1], first), 0, None) / (size / patches)


def spread(values: np.ndarray, place: Place, size: int, shape: tuple[int, int]) -> np.ndarray:
    """A map (rows, columns) as large as the part of the frame that it is of (height, width): bicubic, never below 0,
    the padding cut away."""
    square = cv2.resize(values.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    left, top, right, bottom = place.inside
    height, width = shape
    inside = cv2.resize(square[top:bottom, left:right], (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(inside, 0, None)


def paint(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 in grey, and over it the colours of a map (H, W) from 0 to 1: the more, the denser."""
    from matplotlib import colormaps

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    values = np.clip(values, 0, 1)
    colours = colormaps["inferno"](values)[..., :3].astype(np.float32) * 255
    share = (0.8 * np.sqrt(values))[..., None]
    return np.clip((40 + 0.75 * grey) * (1 - share) + colours * share, 0, 255).astype(np.uint8)
