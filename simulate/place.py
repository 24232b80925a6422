"""The four places: a classroom, a library, a laboratory and a dormitory, painted once for a clip as background."""

import cv2
import numpy as np

from simulate.canvas import CIRCLE, Canvas, Colour, mix, rectangle, shade

PLACES = ("Laboratory", "Library", "Dormitory", "Classroom")
WALLS = ((226, 222, 210), (206, 216, 224), (220, 208, 192), (200, 212, 200), (232, 228, 222))
WOODS = ((168, 122, 80), (140, 98, 64), (190, 150, 108), (116, 82, 58))
LEFT, RIGHT, TOP, BOTTOM, FLOOR = -40, 360, -40, 280, 170  # beyond the picture, so that no camera sees an edge


def paint_place(canvas: Canvas, place: str, rng: np.random.Generator) -> None:
    """Wall, floor and furniture behind the student, slightly out of focus."""
    wall = shade(WALLS[rng.integers(len(WALLS))], rng.uniform(0.88, 1.02))
    canvas.fill(rectangle(LEFT, TOP, RIGHT, BOTTOM), wall)
    canvas.fill(rectangle(LEFT, FLOOR, RIGHT, BOTTOM), shade(wall, 0.72))
    PAINTERS[place](canvas, wall, rng)
    blur = 1 + 2 * round(0.9 * canvas.scale)
    canvas.image[:] = cv2.GaussianBlur(canvas.image, (blur, blur), 0)


def _wood(rng: np.random.Generator) -> Colour:
    return shade(WOODS[rng.integers(len(WOODS))], rng.uniform(0.85, 1.1))


def _bright(rng: np.random.Generator) -> Colour:
    """The muted colour of a book, a poster, a bottle."""
    return tuple(int(part) for part in rng.integers(60, 210, 3))


def _paint_window(canvas: Canvas, left: float, rng: np.random.Generator) -> None:
    sky = mix((150, 196, 232), (250, 236, 206), rng.uniform(0, 0.9))
    canvas.fill(rectangle(left - 4, 4, left + 74, 104), (240, 240, 236))
    canvas.fill(rectangle(left, 8, left + 70, 100), sky)
    canvas.fill(
        [(left, 84), (left + 18, 76), (left + 40, 82), (left + 70, 70), (left + 70, 100), (left, 100)], (120, 160, 110)
    )
    canvas.fill(rectangle(left - 4, 96, left + 74, 106), (240, 240, 236))
    canvas.stroke([(left + 35, 8), (left + 35, 100)], (240, 240, 236), 4)
    canvas.stroke([(left, 52), (left + 70, 52)], (240, 240, 236), 3)


def _paint_classroom(canvas: Canvas, wall: Colour, rng: np.random.Generator) -> None:
    board, shift = ((52, 92, 74), (62, 70, 76), (242, 244, 244))[rng.integers(3)], rng.uniform(-30, 30)
    canvas.fill(rectangle(38 + shift, 14, 246 + shift, 104), _wood(rng))
    canvas.fill(rectangle(43 + shift, 19, 241 + shift, 99), board)
    chalk = shade(board, 0.5) if board[0] > 128 else (222, 228, 222)
    for row in range(4):
        start, length = 52 + shift + rng.uniform(0, 50), rng.uniform(40, 110)
        xs = np.linspace(start, start + length, 30)
        canvas.stroke(np.stack([xs, 34 + 17 * row + 2.2 * np.sin(xs * 0.9)], 1), chalk, 1.6)
    _paint_window(canvas, (272, -34)[rng.integers(2)] + rng.uniform(-8, 8), rng)
    wood = _wood(rng)
    for x in (-14, 66, 232, 312):  # the desks and chairs of the row behind
        canvas.fill(rectangle(x - 15, 118, x + 15, 142), shade(wood, 0.8))
        canvas.fill(rectangle(x - 34, 148, x + 34, 156), wood)
        for leg in (-30, 30):
            canvas.stroke([(x + leg, 156), (x + leg, 210)], (96, 96, 100), 3)


def _paint_library(canvas: Canvas, wall: Colour, rng: np.random.Generator) -> None:
    wood = shade(_wood(rng), 0.8)
    gap = rng.uniform(60, 260)  # where one shelf ends and the next begins
    canvas.fill(rectangle(LEFT, -20, RIGHT, 176), shade(wood, 0.62))
    for shelf in range(5):
        floor = 6 + 42 * shelf
        x = float(LEFT)
        while x < RIGHT:
            width, height = rng.uniform(4.5, 10), rng.uniform(23, 35)
            if rng.random() < 0.93:
                spine = mix(_bright(rng), (120, 92, 72), 0.45)
                canvas.fill(rectangle(x, floor - height, x + width - 0.8, floor), spine)
                canvas.stroke(
                    [(x + 1.5, floor - height * 0.7), (x + width - 2, floor - height * 0.7)], shade(spine, 1.35), 1.4
                )
            x += width
        canvas.fill(rectangle(LEFT, floor, RIGHT, floor + 5), wood)
    canvas.fill(rectangle(gap, -20, gap + 9, 180), shade(wood, 1.1))


def _paint_laboratory(canvas: Canvas, wall: Colour, rng: np.random.Generator) -> None:
    for x in range(LEFT, RIGHT, 24):  # tiles
        canvas.stroke([(x, TOP), (x, FLOOR)], shade(wall, 0.93), 1)
    for y in range(-30, FLOOR, 24):
        canvas.stroke([(LEFT, y), (RIGHT, y)], shade(wall, 0.93), 1)
    steel = (170, 178, 186)
    canvas.fill(rectangle(LEFT, 128, RIGHT, 138), shade(steel, 0.7))
    canvas.fill(rectangle(LEFT, 138, RIGHT, BOTTOM), steel)
    canvas.fill(rectangle(LEFT, 52, RIGHT, 57), shade(steel, 0.8))
    for x in range(-20, RIGHT, 62):
        canvas.stroke([(x, 138), (x, 230)], shade(steel, 0.8), 2)
    for base in (52, 128):
        for x in range(-30, RIGHT, 27):
            if rng.random() < 0.75:
                _paint_vessel(canvas, x + rng.uniform(-5, 5), base, rng)
    _paint_monitor(canvas, (38, 278)[rng.integers(2)] + rng.uniform(-14, 14), rng)


def _paint_vessel(canvas: Canvas, x: float, base: float, rng: np.random.Generator) -> None:
    """A flask, a cylinder or a bottle with something coloured in it."""
    glass, liquid, shape = (222, 234, 238), mix(_bright(rng), (230, 230, 230), 0.25), rng.integers(3)
    if shape == 0:
        canvas.fill(
            [
                (x - 3, base - 26),
                (x + 3, base - 26),
                (x + 3, base - 16),
                (x + 11, base),
                (x - 11, base),
                (x - 3, base - 16),
            ],
            glass,
        )
        canvas.fill([(x - 6, base - 9), (x + 6, base - 9), (x + 10, base - 1), (x - 10, base - 1)], liquid)
    else:
        half, height = (4, 32) if shape == 1 else (7, 22)
        canvas.fill(rectangle(x - half, base - height, x + half, base), glass)
        canvas.fill(rectangle(x - half + 1, base - height * rng.uniform(0.3, 0.8), x + half - 1, base - 1), liquid)


def _paint_monitor(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    canvas.fill(rectangle(x - 30, 72, x + 30, 114), (44, 46, 52))
    canvas.fill(rectangle(x - 27, 75, x + 27, 111), (40, 72, 104))
    xs = np.linspace(x - 24, x + 24, 24)
    canvas.stroke(np.stack([xs, 93 + np.cumsum(rng.normal(0, 2.5, 24)).clip(-14, 14)], 1), (110, 220, 160), 1.5)
    canvas.fill([(x - 5, 114), (x + 5, 114), (x + 9, 128), (x - 9, 128)], (60, 62, 68))


def _paint_dormitory(canvas: Canvas, wall: Colour, rng: np.random.Generator) -> None:
    side = (-1, 1)[rng.integers(2)]
    bed, post, sheet = 160 + side * 104, _wood(rng), _bright(rng)
    for level in (58, 142):  # a bunk bed
        canvas.fill(rectangle(bed - 96, level - 16, bed + 96, level), mix(sheet, (240, 240, 240), 0.45))
        canvas.fill(CIRCLE * (17, 8) + (bed + side * 52, level - 18), (244, 242, 238))
        canvas.fill(rectangle(bed - 96, level, bed + 96, level + 9), post)
    for x in (bed - 96, bed + 88):
        canvas.fill(rectangle(x, -20, x + 8, 230), shade(post, 0.85))
    ladder = bed - side * 62
    for x in (ladder - 9, ladder + 9):
        canvas.stroke([(x, 20), (x, 220)], shade(post, 1.15), 3)
    for y in range(30, 220, 22):
        canvas.stroke([(ladder - 9, y), (ladder + 9, y)], shade(post, 1.15), 3)
    _paint_posters(canvas, 160 - side * 96, rng)
    xs = np.linspace(LEFT, RIGHT, 40)
    string = np.stack([xs, 6 + 5 * np.sin(xs * 0.06)], 1)
    canvas.stroke(string, (90, 84, 80), 1)
    for point in string[::2]:
        canvas.disc(point + (0, 3), 2.4, (255, 232, 160))


def _paint_posters(canvas: Canvas, x: float, rng: np.random.Generator) -> None:
    for dx, y, half, height in ((-34, 24, 18, 50), (12, 34, 22, 34), (-20, 92, 26, 34)):
        colour = _bright(rng)
        canvas.fill(rectangle(x + dx - half, y, x + dx + half, y + height), mix(colour, (250, 250, 250), 0.3))
        canvas.fill(CIRCLE * (half * 0.5, height * 0.28) + (x + dx, y + height * 0.45), shade(colour, 0.8))
        canvas.stroke(
            [(x + dx - half * 0.6, y + height * 0.85), (x + dx + half * 0.6, y + height * 0.85)], shade(colour, 0.6), 2
        )


PAINTERS = {
    "Classroom": _paint_classroom,
    "Library": _paint_library,
    "Laboratory": _paint_laboratory,
    "Dormitory": _paint_dormitory,
}
