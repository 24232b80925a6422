"""A drawing surface in scene units: a camera matrix maps polygons and round strokes to a large image."""

import cv2
import numpy as np

Colour = tuple[int, int, int]
Points = np.ndarray | list

FRACTION_BITS = 4  # of fixed-point coordinates for OpenCV
TURN = np.linspace(0, 2 * np.pi, 28, endpoint=False)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], 1)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour that lies ``share`` of the way from ``first`` to ``second``."""
    return tuple(int(round(a + (b - a) * share)) for a, b in zip(first, second, strict=True))


def shade(colour: Colour, factor: float) -> Colour:
    """Return ``colour`` made darker (factor below 1) or lighter (above 1)."""
    return tuple(int(min(255, max(0, round(part * factor)))) for part in colour)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Return the corners of an upright rectangle, (4, 2)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


def rotate(points: np.ndarray, angle: float) -> np.ndarray:
    """Return ``points`` turned about the origin by ``angle`` degrees, clockwise on the screen."""
    if not angle:
        return points
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return points @ np.array([(cosine, sine), (-sine, cosine)])


def carry(point: np.ndarray, target: np.ndarray, scale: float, angle: float) -> np.ndarray:
    """Return the map (2, 3) that scales, turns by ``angle`` degrees and takes ``point`` to ``target``."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    linear = scale * np.array([(cosine, -sine), (sine, cosine)])
    return np.column_stack([linear, target - linear @ point])


def curve(points: Points, steps: int = 6) -> np.ndarray:
    """Return a smooth closed outline through ``points`` (Catmull-Rom), ``steps`` points for each of them."""
    points = np.asarray(points, dtype=float)
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (np.roll(points, shift, 0)[:, None] for shift in (1, 0, -1, -2))
    smooth = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return (smooth / 2).reshape(-1, 2)


class Canvas:
    """An RGB image and the matrix (2, 3) that maps scene units to its pixels."""

    def __init__(self, image: np.ndarray, matrix: np.ndarray) -> None:
        self.image = image
        self.linear, self.offset = matrix[:, :2].T * (1 << FRACTION_BITS), matrix[:, 2] * (1 << FRACTION_BITS)
        self.scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))

    def _fixed(self, points: Points) -> np.ndarray:
        return (np.asarray(points, dtype=float) @ self.linear + self.offset).astype(np.int32)

    def fill(self, points: Points, colour: Colour, edge: Colour | None = None, width: float = 0.8) -> None:
        """Draw a filled polygon, and its outline in the colour ``edge``."""
        cv2.fillPoly(self.image, [self._fixed(points)], colour, cv2.LINE_8, FRACTION_BITS)
        if edge is not None:
            self.stroke(points, edge, width, closed=True)

    def stroke(self, points: Points, colour: Colour, width: float, closed: bool = False) -> None:
        """Draw a line with round ends and joints."""
        thickness = max(1, round(width * self.scale))
        cv2.polylines(self.image, [self._fixed(points)], closed, colour, thickness, cv2.LINE_8, FRACTION_BITS)

    def disc(self, centre: tuple[float, float] | np.ndarray, radius: float, colour: Colour) -> None:
        """Draw a filled circle."""
        x, y = self._fixed([centre])[0].tolist()
        size = int(radius * self.scale * (1 << FRACTION_BITS))
        cv2.circle(self.image, (x, y), size, colour, -1, cv2.LINE_8, FRACTION_BITS)
