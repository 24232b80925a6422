"""A drawing surface in scene units: polygons and round strokes go through one camera matrix onto a large image."""

import cv2
import numpy as np

Colour = tuple[int, int, int]

FRACTION_BITS = 4
CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 28, endpoint=False)), np.sin(np.linspace(0, 2 * np.pi, 28, endpoint=False))], 1
)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that lies ``share`` of the way from ``first`` to ``second``."""
    return tuple(int(round(a + (b - a) * share)) for a, b in zip(first, second, strict=True))


def shade(colour: Colour, factor: float) -> Colour:
    """``colour`` made darker (factor below 1) or lighter (above 1)."""
    return tuple(int(min(255, max(0, round(part * factor)))) for part in colour)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """The corners of an upright rectangle, (4, 2)."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=float)


def rotate(points: np.ndarray, angle: float) -> np.ndarray:
    """``points`` turned about the origin by ``angle`` degrees, clockwise on the screen."""
    if not angle:
        return points
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return points @ np.array([(cosine, sine), (-sine, cosine)])


def curve(points: np.ndarray | list, steps: int = 6) -> np.ndarray:
    """A smooth closed outline through ``points`` (Catmull-Rom), ``steps`` points for each given one."""
    points = np.asarray(points, dtype=float)
    before, after, later = np.roll(points, 1, 0), np.roll(points, -1, 0), np.roll(points, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (before, points, after, later))
    smooth = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return (smooth / 2).reshape(-1, 2)


class Canvas:
    """An RGB image and the matrix (2, 3) that carries scene units to its pixels."""

    def __init__(self, image: np.ndarray, matrix: np.ndarray):
        self.image = image
        self.linear, self.offset = matrix[:, :2].T * (1 << FRACTION_BITS), matrix[:, 2] * (1 << FRACTION_BITS)
        self.scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))

    def _fixed(self, points: np.ndarray | list) -> np.ndarray:
        """Scene points as the fixed-point pixel coordinates OpenCV draws at."""
        return (np.asarray(points, dtype=float) @ self.linear + self.offset).astype(np.int32)

    def fill(self, points: np.ndarray | list, colour: Colour) -> None:
        """A filled polygon."""
        cv2.fillPoly(self.image, [self._fixed(points)], colour, cv2.LINE_8, FRACTION_BITS)

    def stroke(self, points: np.ndarray | list, colour: Colour, width: float, closed: bool = False) -> None:
        """A line with round ends and joints."""
        thickness = max(1, round(width * self.scale))
        cv2.polylines(self.image, [self._fixed(points)], closed, colour, thickness, cv2.LINE_8, FRACTION_BITS)

    def disc(self, centre: tuple[float, float], radius: float, colour: Colour) -> None:
        """A filled circle."""
        at = self._fixed([centre])[0]
        size = int(radius * self.scale * (1 << FRACTION_BITS))
        cv2.circle(self.image, (int(at[0]), int(at[1])), size, colour, -1, cv2.LINE_8, FRACTION_BITS)
