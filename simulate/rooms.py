"""The four rooms: a classroom, a library, a laboratory and a dormitory, painted once per clip as background."""

import cv2
import numpy as np

from simulate.canvas import CIRCLE, Canvas, Colour, mix, rectangle, shade
from simulate.identity import pick_colour

ROOMS = ("Laboratory", "Library", "Dormitory", "Classroom")
WALLS = ((226, 222, 210), (206, 216, 224), (220, 208, 192), (200, 212, 200), (232, 228, 222))
WOODS = ((168, 122, 80), (140, 98, 64), (190, 150, 108), (116, 82, 58))
X0, X1, Y0, Y1, FLOOR = -40, 360, -40, 280, 170  # beyond the picture, so that no camera sees an edge


def paint_room(canvas: Canvas, room: str, rng: np.random.Generator) -> None:
    """Paint wall, floor and furniture behind the student, slightly out of focus."""
    wall = pick_colour(WALLS, rng, 0.88, 1.02)
    canvas.fill(rectangle(X0, Y0, X1, Y1), wall)
    canvas.fill(rectangle(X0, FLOOR, X1, Y1), shade(wall, 0.72))
    PAINTERS[room](canvas, wall, rng)
    canvas.paint()
    blur = 1 + 2 * round(0.9 * canvas.scale)
    canvas.image[:] = cv2.GaussianBlur(canvas.image, (blur, blur), 0)


def _wood(rng: np.random.Generator) -> Colour:
    return pick_colour(WOODS, rng, 0.85, 1.1)


def _bright(rng: np.random.Generator) -> Colour:
    """Return the muted colour of a book, a poster, a bottle."""
    return tuple(rng.integers(60, 210, 3).tolist())


def _paint_classroom(canvas: Canvas, wall: Colour, rng: np.random.Generator) -> None:
    board, x = ((52, 92, 74), (62, 70, 76), (242, 244, 244))[rng.integers(3)], rng.uniform(-30, 30)
    canvas.fill(rectangle(38 + x, 14, 246 + x, 104), _wood(rng))
    canvas.fill(rectangle(43 + x, 19, 241 + x, 99), board)
    chalk = shade(board, 0.5) if board[0] > 128 else (222, 228, 222)
    for row in range(4):
        start, length = 52 + x + rng.uniform(0, 50), rng.uniform(40, 110)
        line = np.linspace(start, start + length, 30)
        canvas.stroke(np.stack([line, 34 + 17 * row + 2.2 * np.sin(line * 0.9)], 1), chalk, 1.6)
    _paint_window(canvas, (272, -34)[rng.integers(2)] + rng.uniform(-8, 8), rng)
    wood = _wood(rng)
    for x in (-14, 66, 232, 312):  # the desks and chairs of the row behind
        canvas.fill(rectangle(x - 15, 118, x + 15, 142), shade(wood, 0.8))
        canvas.fill(rectangle(x - 34, 148, x + 34, 156), wood)
        for leg in (-30, 30):
            canvas.stroke([(x + leg, 156), (x + leg, 210)], (96, 96, 100), 3)


def _paint_window(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    sky, frame = mix((150, 196, 232), (250, 236, 206), rng.uniform(0, 0.9)), (240, 240, 236)
    canvas.fill(rectangle(x - 4, 4, x + 74, 104), frame)
    canvas.fill(rectangle(x, 8, x + 70, 100), sky)
    canvas.fill([(x, 84), (x + 18, 76), (x + 40, 82), (x + 70, 70), (x + 70, 100), (x, 100)], (120, 160, 110))
    canvas.fill(rectangle(x - 4, 96, x + 74, 106), frame)
    canvas.stroke([(x + 35, 8), (x + 35, 100)], frame, 4)
    canvas.stroke([(x, 52), (x + 70, 52)], frame, 3)


def _paint_library(canvas: Canvas, wall: Colour, rng: np.random.Generator) -> None:
    wood = shade(_wood(rng), 0.8)
    gap = rng.uniform(60, 260)  # where one shelf ends and the next begins
    canvas.fill(rectangle(X0, -20, X1, 176), shade(wood, 0.62))
    for shelf in range(5):
        base, x = 6 + 42 * shelf, float(X0)
        while x < X1:
            width, height = rng.uniform(4.5, 10), rng.uniform(23, 35)
            if rng.random() < 0.93:
                spine, title = mix(_bright(rng), (120, 92, 72), 0.45), base - height * 0.7
                canvas.fill(rectangle(x, base - height, x + width - 0.8, base), spine)
                canvas.stroke([(x + 1.5, title), (x + width - 2, title)], shade(spine, 1.35), 1.4)
            x += width
        canvas.fill(rectangle(X0, base, X1, base + 5), wood)
    canvas.fill(rectangle(gap, -20, gap + 9, 180), shade(wood, 1.1))


def _paint_laboratory(canvas: Canvas, wall: Colour, rng: np.random.Generator) -> None:
    for x in range(X0, X1, 24):  # tiles
        canvas.stroke([(x, Y0), (x, FLOOR)], shade(wall, 0.93), 1)
    for y in range(-30, FLOOR, 24):
        canvas.stroke([(X0, y), (X1, y)], shade(wall, 0.93), 1)
    steel = (170, 178, 186)
    canvas.fill(rectangle(X0, 128, X1, 138), shade(steel, 0.7))
    canvas.fill(rectangle(X0, 138, X1, Y1), steel)
    canvas.fill(rectangle(X0, 52, X1, 57), shade(steel, 0.8))
    for x in range(-20, X1, 62):
        canvas.stroke([(x, 138), (x, 230)], shade(steel, 0.8), 2)
    for base in (52, 128):
        for x in range(-30, X1, 27):
            if rng.random() < 0.75:
                _paint_vessel(canvas, x + rng.uniform(-5, 5), base, rng)
    x = (38, 278)[rng.integers(2)] + rng.uniform(-14, 14)  # a monitor
    canvas.fill(rectangle(x - 30, 72, x + 30, 114), (44, 46, 52))
    canvas.fill(rectangle(x - 27, 75, x + 27, 111), (40, 72, 104))
    curve = 93 + np.cumsum(rng.normal(0, 2.5, 24)).clip(-14, 14)
    canvas.stroke(np.stack([np.linspace(x - 24, x + 24, 24), curve], 1), (110, 220, 160), 1.5)
    canvas.fill([(x - 5, 114), (x + 5, 114), (x + 9, 128), (x - 9, 128)], (60, 62, 68))


def _paint_vessel(canvas: Canvas, x: float, base: float, rng: np.random.Generator) -> None:
    """Paint a flask, a cylinder or a bottle with something coloured in it."""
    glass, liquid, shape = (222, 234, 238), mix(_bright(rng), (230, 230, 230), 0.25), rng.integers(3)
    if shape == 0:
        flask = [(-3, -26), (3, -26), (3, -16), (11, 0), (-11, 0), (-3, -16)]
        canvas.fill([(x + dx, base + dy) for dx, dy in flask], glass)
        canvas.fill([(x - 6, base - 9), (x + 6, base - 9), (x + 10, base - 1), (x - 10, base - 1)], liquid)
    else:
        half, height = (4, 32) if shape == 1 else (7, 22)
        canvas.fill(rectangle(x - half, base - height, x + half, base), glass)
        canvas.fill(rectangle(x - half + 1, base - height * rng.uniform(0.3, 0.8), x + half - 1, base - 1), liquid)


def _paint_dormitory(canvas: Canvas, wall: Colour, rng: np.random.Generator) -> None:
    sign = (-1, 1)[rng.integers(2)]
    bed, post, sheet = 160 + sign * 104, _wood(rng), _bright(rng)
    for level in (58, 142):  # a bunk bed
        canvas.fill(rectangle(bed - 96, level - 16, bed + 96, level), mix(sheet, (240, 240, 240), 0.45))
        canvas.fill(CIRCLE * (17, 8) + (bed + sign * 52, level - 18), (244, 242, 238))
        canvas.fill(rectangle(bed - 96, level, bed + 96, level + 9), post)
    for x in (bed - 96, bed + 88):
        canvas.fill(rectangle(x, -20, x + 8, 230), shade(post, 0.85))
    ladder = bed - sign * 62
    for x in (ladder - 9, ladder + 9):
        canvas.stroke([(x, 20), (x, 220)], shade(post, 1.15), 3)
    for y in range(30, 220, 22):
        canvas.stroke([(ladder - 9, y), (ladder + 9, y)], shade(post, 1.15), 3)
    for dx, y, half, height in ((-34, 24, 18, 50), (12, 34, 22, 34), (-20, 92, 26, 34)):
        _paint_poster(canvas, 160 - sign * 96 + dx, y, half, height, _bright(rng))
    x = np.linspace(X0, X1, 40)
    lights = np.stack([x, 6 + 5 * np.sin(x * 0.06)], 1)
    canvas.stroke(lights, (90, 84, 80), 1)
    for point in lights[::2]:
        canvas.disc(point + (0, 3), 2.4, (255, 232, 160))


def _paint_poster(canvas: Canvas, x: float, y: float, half: float, height: float, colour: Colour) -> None:
    canvas.fill(rectangle(x - half, y, x + half, y + height), mix(colour, (250, 250, 250), 0.3))
    canvas.fill(CIRCLE * (half * 0.5, height * 0.28) + (x, y + height * 0.45), shade(colour, 0.8))
    line = y + height * 0.85
    canvas.stroke([(x - half * 0.6, line), (x + half * 0.6, line)], shade(colour, 0.6), 2)


PAINTERS = {
    "Classroom": _paint_classroom,
    "Library": _paint_library,
    "Laboratory": _paint_laboratory,
    "Dormitory": _paint_dormitory,
}
