"""Drawing in scene units: sketches of polygons and round strokes, which a camera matrix maps to a large image."""

from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate

import cv2
import numpy as np

Colour = tuple[int, int, int]
Points = np.ndarray | list
Style = tuple[str, Colour, float]  # fill, stroke, loop (a closed stroke) or disc; width of a stroke, radius of a disc

FRACTION_BITS = 4  # of fixed-point coordinates for OpenCV
TURN = np.linspace(0, 2 * np.pi, 28, endpoint=False)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], 1)
STEPS = np.linspace(0, 1, 6, endpoint=False)[None, :, None]  # between two points of a curve


@lru_cache(maxsize=4096)
def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour that lies ``share`` of the way from ``first`` to ``second``."""
    return tuple(int(round(a + (b - a) * share)) for a, b in zip(first, second, strict=True))


@lru_cache(maxsize=4096)
def shade(colour: Colour, factor: float) -> Colour:
    """Return ``colour`` made darker (factor below 1) or lighter (above 1)."""
    return tuple(int(min(255, max(0, round(part * factor)))) for part in colour)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Return the corners of an upright rectangle, (4, 2)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


@lru_cache(maxsize=256)
def turning(angle: float) -> np.ndarray:
    """Return the matrix (2, 2) by which points are multiplied to turn them by ``angle`` degrees."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.array([(cosine, sine), (-sine, cosine)])


def rotate(points: np.ndarray, angle: float) -> np.ndarray:
    """Return ``points`` turned about the origin by ``angle`` degrees, clockwise on the screen."""
    return points @ turning(angle) if angle else points


def carry(point: np.ndarray, target: np.ndarray, scale: float, angle: float) -> np.ndarray:
    """Return the map (2, 3) that scales, turns by ``angle`` degrees and takes ``point`` to ``target``."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    linear = scale * np.array([(cosine, -sine), (sine, cosine)])
    return np.column_stack([linear, target - linear @ point])


def join(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return points (N, 2) with these coordinates."""
    points = np.empty((len(x), 2))
    points[:, 0], points[:, 1] = x, y
    return points


def curve(points: Points) -> np.ndarray:
    """Return a smooth closed outline through ``points`` (Catmull-Rom), ``len(STEPS)`` points for each of them."""
    points = np.asarray(points, dtype=float)
    around = np.concatenate([points[-1:], points, points[:2]])[:, None]
    p0, p1, p2, p3 = (around[shift : shift + len(points)] for shift in range(4))
    smooth = 2 * p1 + (p2 - p0) * STEPS + (2 * p0 - 5 * p1 + 4 * p2 - p3) * STEPS**2
    return ((smooth + (3 * p1 - p0 - 3 * p2 + p3) * STEPS**3) / 2).reshape(-1, 2)


class Sketch:
    """Shapes in the order in which they are drawn.

    All their points are mapped and drawn at once: most shapes have few, and every call of NumPy has its price.
    """

    def __init__(self) -> None:
        self.points: list[np.ndarray] = []
        self.styles: list[Style] = []

    def fill(self, points: Points, colour: Colour, edge: Colour | None = None, width: float = 0.8) -> None:
        """Add a filled polygon, and its outline in the colour ``edge``."""
        self._add(points, ("fill", colour, 0.0))
        if edge is not None:
            self.stroke(points, edge, width, closed=True)

    def stroke(self, points: Points, colour: Colour, width: float, closed: bool = False) -> None:
        """Add a line with round ends and joints."""
        self._add(points, ("loop" if closed else "stroke", colour, width))

    def disc(self, centre: tuple[float, float] | np.ndarray, radius: float, colour: Colour) -> None:
        """Add a filled circle."""
        self._add([centre], ("disc", colour, radius))

    def _add(self, points: Points, style: Style) -> None:
        self.points.append(np.asarray(points, dtype=float))
        self.styles.append(style)

    def add(self, sketch: "Sketch", place: Callable[[np.ndarray], np.ndarray]) -> None:
        """Add the shapes of another sketch, their points mapped by ``place``."""
        self.points += split(place(np.concatenate(sketch.points)), sketch.points)
        self.styles += sketch.styles


def split(rows: np.ndarray, parts: list[np.ndarray]) -> list[np.ndarray]:
    """Return ``rows`` in parts that are as long as ``parts``."""
    ends = list(accumulate(map(len, parts)))
    return [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class Canvas(Sketch):
    """A sketch, the image on which ``paint`` draws it, and the matrix (2, 3) from scene units to pixels."""

    def __init__(self, image: np.ndarray, matrix: np.ndarray) -> None:
        super().__init__()
        self.image = image
        self.linear, self.offset = matrix[:, :2].T * (1 << FRACTION_BITS), matrix[:, 2] * (1 << FRACTION_BITS)
        self.scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))

    def paint(self) -> None:
        """Draw all shapes on the image and forget them."""
        if not self.points:
            return
        pixels = (np.concatenate(self.points) @ self.linear + self.offset).astype(np.int32)
        for (kind, colour, width), points in zip(self.styles, split(pixels, self.points), strict=True):
            if kind == "fill":
                cv2.fillPoly(self.image, [points], colour, cv2.LINE_8, FRACTION_BITS)
            elif kind == "disc":
                size = int(width * self.scale * (1 << FRACTION_BITS))
                cv2.circle(self.image, points[0].tolist(), size, colour, -1, cv2.LINE_8, FRACTION_BITS)
            else:
                thickness = max(1, round(width * self.scale))
                cv2.polylines(self.image, [points], kind == "loop", colour, thickness, cv2.LINE_8, FRACTION_BITS)
        self.points.clear()
        self.styles.clear()


class Layer:
    """What the shapes on a canvas cover, to be pasted into other images.

    The image of the canvas has a fourth channel of 255, into which every shape writes 0.
    """

    def __init__(self, canvas: Canvas) -> None:
        canvas.paint()
        covered = cv2.compare(canvas.image[..., 3], 0, cv2.CMP_EQ)
        x, y, width, height = cv2.boundingRect(covered)
        self.area = slice(y, y + height), slice(x, x + width)
        self.mask = covered[self.area].copy()
        self.pixels = cv2.cvtColor(canvas.image[self.area], cv2.COLOR_RGBA2RGB)

    def paste(self, image: np.ndarray) -> None:
        """Paste it into an image of the size of the canvas."""
        cv2.copyTo(self.pixels, self.mask, image[self.area])
