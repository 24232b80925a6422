"""Things on the desk and in the hands: book, notebook, laptop, phone, and clutter without meaning."""

from collections.abc import Callable

import numpy as np

from simulate.canvas import CIRCLE, Canvas, Colour, Points, mix, rectangle, rotate, shade

CLUTTER = ("mug", "books", "bottle", "pencils", "plant", "papers")
PAPER, PRINT = (247, 244, 234), (150, 148, 146)
Transform = Callable[[Points], np.ndarray]  # points around the origin → scene units


def draw_prop(
    canvas: Canvas, kind: str, centre: tuple[float, float], colour: Colour, turn: float = 0.0
) -> np.ndarray | None:
    """Draw one thing, turned by some degrees, and return its outline in scene units; clutter has none."""

    def at(points: Points) -> np.ndarray:
        return rotate(np.asarray(points, dtype=float), turn) + centre

    if kind in OBJECTS:
        return OBJECTS[kind](canvas, at, colour)
    return _draw_clutter(canvas, at, colour, kind)


def _draw_book(canvas: Canvas, at: Transform, colour: Colour) -> np.ndarray:
    cover = at([(-34, -11), (34, -11), (43, 15), (-43, 15)])
    canvas.fill(cover, colour, edge=shade(colour, 0.7), width=1.0)
    for sign in (-1, 1):
        page = at([(0, -11), (sign * 16, -14), (sign * 31, -11), (sign * 39, 12), (sign * 20, 9), (0, 12)])
        canvas.fill(page, PAPER, edge=shade(PAPER, 0.78))
        for row in range(4):
            y = -6.5 + 4.2 * row
            canvas.stroke(at([(sign * 5, y), (sign * (27 + 1.4 * row), y)]), PRINT, 0.9)
    return cover


def _draw_notebook(canvas: Canvas, at: Transform, colour: Colour) -> np.ndarray:
    page = at([(-25, -12), (25, -12), (31, 16), (-31, 16)])
    canvas.fill(page + (1.5, 2), shade(colour, 0.8))
    canvas.fill(page, PAPER)
    canvas.stroke(at([(-25, -12), (25, -12)]), colour, 3.2)
    for row in range(5):
        y = -6.5 + 4.4 * row
        canvas.stroke(at([(-23 - row, y), (23 + row, y)]), (176, 196, 218), 0.8)
    for row in range(3):
        x = np.linspace(-21, 10 - 6 * row, 14)
        canvas.stroke(at(np.stack([x, -7.5 + 4.4 * row + 1.2 * np.sin(x * 1.7 + row)], 1)), (60, 66, 110), 0.8)
    return page


def _draw_laptop(canvas: Canvas, at: Transform, colour: Colour) -> np.ndarray:
    lid = at([(-40, -24), (40, -24), (43, 20), (-43, 20)])
    canvas.fill(at([(-45, 19), (45, 19), (46, 24), (-46, 24)]), shade(colour, 0.6))
    canvas.fill(lid, colour, edge=shade(colour, 0.72), width=1.4)
    canvas.stroke(at([(-38, -22), (38, -22)]), shade(colour, 1.15), 1.2)
    canvas.fill(at(CIRCLE * 4.5 + (0, -2)), shade(colour, 1.28))
    return lid


def _draw_held_phone(canvas: Canvas, at: Transform, colour: Colour) -> np.ndarray:
    """Draw its back: the screen faces the student."""
    case = at(rectangle(-11.5, -19, 11.5, 19))
    canvas.stroke(case, shade(colour, 0.55), 4.0, closed=True)
    canvas.fill(case, colour, edge=colour, width=2.2)
    canvas.fill(at(rectangle(-10, -17.5, -2.5, -7.5)), shade(colour, 0.55))
    for y in (-15, -10.2):
        canvas.disc(at([(-6.2, y)])[0], 1.6, (24, 24, 30))
    return case


def _draw_lying_phone(canvas: Canvas, at: Transform, colour: Colour) -> np.ndarray:
    case = at([(-9, -6), (7, -6), (10, 8), (-8, 8)])
    canvas.stroke(case, shade(colour, 0.6), 2.6, closed=True)
    canvas.fill(case, (32, 36, 46))
    canvas.stroke(at([(-5, -4), (-5, 5)]), (86, 98, 118), 1.4)
    return case


def _draw_clutter(canvas: Canvas, at: Transform, colour: Colour, kind: str) -> None:
    if kind == "mug":
        canvas.stroke(at(CIRCLE * (6, 6) + (9, -3)), shade(colour, 0.85), 2.4, closed=True)
        canvas.fill(at([(-8, -14), (8, -14), (7, 8), (-7, 8)]), colour)
        canvas.fill(at(CIRCLE * (8, 2.6) + (0, -14)), shade(colour, 0.55))
    elif kind == "books":
        tints = (colour, mix(colour, (60, 90, 140), 0.7), mix(colour, (210, 170, 80), 0.75))
        for x, y, tint in zip((-2, 2, 0), (6, -2, -10), tints, strict=True):
            canvas.fill(at(rectangle(x - 21, y - 8, x + 21, y)), tint)
            canvas.fill(at(rectangle(x + 14, y - 6.6, x + 20, y - 1.4)), PAPER)
    elif kind == "bottle":
        body = at([(-6, -18), (6, -18), (7, -13), (7, 10), (-7, 10), (-7, -13)])
        canvas.fill(body, mix(colour, (210, 226, 236), 0.4))
        canvas.fill(at(rectangle(-4, -26, 4, -18)), shade(colour, 0.6))
        canvas.stroke(at([(-4, -12), (-4, 7)]), (246, 250, 252), 1.4)
    elif kind == "pencils":
        for x, tip, lead in ((-4, -7, (232, 178, 52)), (0, 1, (196, 66, 58)), (4, 9, (64, 116, 176))):
            canvas.stroke(at([(x, -8), (tip, -26)]), lead, 2.0)
        canvas.fill(at([(-7, -11), (7, -11), (6, 8), (-6, 8)]), colour)
    elif kind == "plant":
        for angle in (-48, -20, 8, 38):
            canvas.fill(at(rotate(CIRCLE * (3.2, 11) + (0, -15), angle)), (70 + angle // 4, 134, 78))
        canvas.fill(at([(-8, -8), (8, -8), (6, 8), (-6, 8)]), colour)
    elif kind == "papers":
        for angle in (-9, 6):
            sheet = rotate(np.array([(-17.0, -7), (15, -7), (19, 9), (-19, 9)]), angle)
            canvas.fill(at(sheet), PAPER, edge=shade(PAPER, 0.8))


OBJECTS = {
    "book": _draw_book,
    "notebook": _draw_notebook,
    "laptop": _draw_laptop,
    "held phone": _draw_held_phone,
    "lying phone": _draw_lying_phone,
}
