"""Things on the desk and in the hands: book, notebook, laptop, phone, pen and the clutter that means nothing."""

from dataclasses import dataclass

import numpy as np

from simulate.canvas import CIRCLE, Canvas, Colour, mix, rectangle, rotate, shade

CLUTTER = ("mug", "books", "bottle", "pencils", "plant", "papers")
PAPER, PRINT = (247, 244, 234), (150, 148, 146)


@dataclass(frozen=True)
class Prop:
    """One thing at a place on the desk."""

    kind: str
    at: tuple[float, float]
    colour: Colour
    turn: float = 0.0  # degrees


def draw_prop(canvas: Canvas, prop: Prop) -> np.ndarray:
    """Draw one thing; returns its outline in scene units."""
    return DRAWERS[prop.kind](canvas, prop)


def _placed(prop: Prop, points: np.ndarray | list) -> np.ndarray:
    return rotate(np.asarray(points, dtype=float), prop.turn) + prop.at


def _draw_book(canvas: Canvas, prop: Prop) -> np.ndarray:
    cover = _placed(prop, [(-34, -11), (34, -11), (43, 15), (-43, 15)])
    canvas.fill(cover, prop.colour)
    canvas.stroke(cover, shade(prop.colour, 0.7), 1.0, closed=True)
    for side in (-1, 1):
        page = _placed(prop, [(0, -11), (side * 16, -14), (side * 31, -11), (side * 39, 12), (side * 20, 9), (0, 12)])
        canvas.fill(page, PAPER)
        canvas.stroke(page, shade(PAPER, 0.78), 0.8, closed=True)
        for row in range(4):
            y = -6.5 + 4.2 * row
            canvas.stroke(_placed(prop, [(side * 5, y), (side * (27 + 1.4 * row), y)]), PRINT, 0.9)
    return cover


def _draw_notebook(canvas: Canvas, prop: Prop) -> np.ndarray:
    page = _placed(prop, [(-25, -12), (25, -12), (31, 16), (-31, 16)])
    canvas.fill(page + (1.5, 2), shade(prop.colour, 0.8))
    canvas.fill(page, PAPER)
    canvas.stroke(_placed(prop, [(-25, -12), (25, -12)]), prop.colour, 3.2)
    for row in range(5):
        y = -6.5 + 4.4 * row
        canvas.stroke(_placed(prop, [(-23 - row, y), (23 + row, y)]), (176, 196, 218), 0.8)
    for row in range(3):
        xs = np.linspace(-21, 10 - 6 * row, 14)
        scribble = np.stack([xs, -7.5 + 4.4 * row + 1.2 * np.sin(xs * 1.7 + row)], 1)
        canvas.stroke(_placed(prop, scribble), (60, 66, 110), 0.8)
    return page


def _draw_laptop(canvas: Canvas, prop: Prop) -> np.ndarray:
    lid = _placed(prop, [(-40, -24), (40, -24), (43, 20), (-43, 20)])
    canvas.fill(_placed(prop, [(-45, 19), (45, 19), (46, 24), (-46, 24)]), shade(prop.colour, 0.6))
    canvas.fill(lid, prop.colour)
    canvas.stroke(lid, shade(prop.colour, 0.72), 1.4, closed=True)
    canvas.stroke(_placed(prop, [(-38, -22), (38, -22)]), shade(prop.colour, 1.15), 1.2)
    canvas.fill(_placed(prop, CIRCLE * 4.5 + (0, -2)), shade(prop.colour, 1.28))
    return lid


def _draw_held_phone(canvas: Canvas, prop: Prop) -> np.ndarray:
    """Its back is seen: the screen faces the student."""
    case = _placed(prop, rectangle(-11.5, -19, 11.5, 19))
    canvas.stroke(case, shade(prop.colour, 0.55), 4.0, closed=True)
    canvas.fill(case, prop.colour)
    canvas.stroke(case, prop.colour, 2.2, closed=True)
    canvas.fill(_placed(prop, rectangle(-10, -17.5, -2.5, -7.5)), shade(prop.colour, 0.55))
    for y in (-15, -10.2):
        canvas.disc(_placed(prop, [(-6.2, y)])[0], 1.6, (24, 24, 30))
    return case


def _draw_lying_phone(canvas: Canvas, prop: Prop) -> np.ndarray:
    case = _placed(prop, [(-9, -6), (7, -6), (10, 8), (-8, 8)])
    canvas.stroke(case, shade(prop.colour, 0.6), 2.6, closed=True)
    canvas.fill(case, (32, 36, 46))
    canvas.stroke(_placed(prop, [(-5, -4), (-5, 5)]), (86, 98, 118), 1.4)
    return case


def _draw_mug(canvas: Canvas, prop: Prop) -> np.ndarray:
    body = _placed(prop, [(-8, -14), (8, -14), (7, 8), (-7, 8)])
    canvas.stroke(_placed(prop, CIRCLE * (6, 6) + (9, -3)), shade(prop.colour, 0.85), 2.4, closed=True)
    canvas.fill(body, prop.colour)
    canvas.fill(_placed(prop, CIRCLE * (8, 2.6) + (0, -14)), shade(prop.colour, 0.55))
    return body


def _draw_books(canvas: Canvas, prop: Prop) -> np.ndarray:
    tints = (prop.colour, mix(prop.colour, (60, 90, 140), 0.7), mix(prop.colour, (210, 170, 80), 0.75))
    for level, tint in enumerate(tints):
        x, y = (-2, 2, 0)[level], 6 - 8 * level
        canvas.fill(_placed(prop, rectangle(x - 21, y - 8, x + 21, y)), tint)
        canvas.fill(_placed(prop, rectangle(x + 14, y - 6.6, x + 20, y - 1.4)), PAPER)
    return _placed(prop, rectangle(-23, -18, 23, 6))


def _draw_bottle(canvas: Canvas, prop: Prop) -> np.ndarray:
    body = _placed(prop, [(-6, -18), (6, -18), (7, -13), (7, 10), (-7, 10), (-7, -13)])
    canvas.fill(body, mix(prop.colour, (210, 226, 236), 0.4))
    canvas.fill(_placed(prop, rectangle(-4, -26, 4, -18)), shade(prop.colour, 0.6))
    canvas.stroke(_placed(prop, [(-4, -12), (-4, 7)]), (246, 250, 252), 1.4)
    return body


def _draw_pencils(canvas: Canvas, prop: Prop) -> np.ndarray:
    for x, tip, colour in ((-4, -7, (232, 178, 52)), (0, 1, (196, 66, 58)), (4, 9, (64, 116, 176))):
        canvas.stroke(_placed(prop, [(x, -8), (tip, -26)]), colour, 2.0)
    cup = _placed(prop, [(-7, -11), (7, -11), (6, 8), (-6, 8)])
    canvas.fill(cup, prop.colour)
    return cup


def _draw_plant(canvas: Canvas, prop: Prop) -> np.ndarray:
    for angle in (-48, -20, 8, 38):
        canvas.fill(_placed(prop, rotate(CIRCLE * (3.2, 11) + (0, -15), angle)), (70 + angle // 4, 134, 78))
    pot = _placed(prop, [(-8, -8), (8, -8), (6, 8), (-6, 8)])
    canvas.fill(pot, prop.colour)
    return pot


def _draw_papers(canvas: Canvas, prop: Prop) -> np.ndarray:
    for turn in (-9, 6):
        sheet = rotate(np.array([(-17.0, -7), (15, -7), (19, 9), (-19, 9)]), turn)
        canvas.fill(_placed(prop, sheet), PAPER)
        canvas.stroke(_placed(prop, sheet), shade(PAPER, 0.8), 0.8, closed=True)
    return _placed(prop, rectangle(-19, -9, 19, 10))


DRAWERS = {
    "book": _draw_book, "notebook": _draw_notebook, "laptop": _draw_laptop, "held phone": _draw_held_phone,
    "lying phone": _draw_lying_phone, "mug": _draw_mug, "books": _draw_books, "bottle": _draw_bottle,
    "pencils": _draw_pencils, "plant": _draw_plant, "papers": _draw_papers,
}  # fmt: skip
