"""Hair and ears: what lies behind the face and what falls in front of it."""

import numpy as np

from simulate.canvas import CIRCLE, Canvas, curve, shade
from simulate.face import Head

HAIRLINES = {  # on the unit head, from the left temple to the right one
    "short": (
        (-0.93, -0.05), (-0.84, -0.30), (-0.62, -0.52), (-0.25, -0.60),
        (0.15, -0.62), (0.5, -0.55), (0.84, -0.30), (0.93, -0.05),
    ),
    "fringe": (
        (-0.95, 0.0), (-0.82, -0.28), (-0.6, -0.42), (-0.42, -0.36), (-0.2, -0.45),
        (0.02, -0.37), (0.25, -0.45), (0.48, -0.37), (0.8, -0.30), (0.95, 0.0),
    ),
    "parted": (
        (-0.95, 0.1), (-0.86, -0.2), (-0.66, -0.45), (-0.38, -0.68), (-0.24, -0.78),
        (0.1, -0.62), (0.55, -0.42), (0.86, -0.2), (0.95, 0.1),
    ),
    "curly": (
        (-0.97, 0.0), (-0.85, -0.26), (-0.7, -0.42), (-0.48, -0.44), (-0.28, -0.55),
        (-0.02, -0.48), (0.24, -0.55), (0.48, -0.44), (0.72, -0.42), (0.97, 0.0),
    ),
}  # fmt: skip
HAIRLINES |= {"long": HAIRLINES["parted"], "bob": HAIRLINES["fringe"], "bun": HAIRLINES["short"]}
CROWN = ((-1.1, -0.2), (-0.7, -0.95), (0, -1.14), (0.7, -0.95), (1.1, -0.2))
LENGTHS = {  # below the crown, from the right to the left
    "long": ((1.22, 0.9), (1.0, 1.55), (0, 1.45), (-1.0, 1.55), (-1.22, 0.9)),
    "bob": ((1.2, 0.6), (0.8, 0.95), (0, 0.8), (-0.8, 0.95), (-1.2, 0.6)),
}


def draw_back_hair(canvas: Canvas, head: Head) -> None:
    """The hair behind head and shoulders, and the ears where hair leaves them free."""
    style, colour = head.identity.hair, shade(head.identity.hair_colour, 0.82)
    if style in LENGTHS:
        canvas.fill(head.flat(curve(CROWN + LENGTHS[style])), colour)
    elif style == "bun":
        canvas.fill(head.flat(CIRCLE * (0.42, 0.36) + (0, -1.28)), colour)
        canvas.fill(head.flat(CIRCLE * (1.05, 1.06) + (0, -0.08)), colour)
    else:
        canvas.fill(head.flat(CIRCLE * (1.06, 1.0) + (0, -0.12)), colour)
    if style not in LENGTHS:
        _draw_ears(canvas, head)


def _draw_ears(canvas: Canvas, head: Head, only_near: bool = False) -> None:
    """Both ears, or only the one that a turn of the head brings to the front."""
    yaw = np.radians(head.moment.yaw)
    for side in (-1, 1):
        is_near = np.sin(yaw) * side < -0.25
        if only_near and not is_near:
            continue
        ear = head.flat(CIRCLE * (0.15, 0.2) + (side * 1.03 * np.cos(yaw) - 0.1 * np.sin(yaw), 0.06))
        canvas.fill(ear, shade(head.identity.skin, 0.93))
        canvas.stroke(ear, shade(head.identity.skin, 0.7), 0.8, closed=True)


def draw_front_hair(canvas: Canvas, head: Head) -> None:
    """The cap from the hairline up; it slides over the forehead as the head bows."""
    style, colour = head.identity.hair, head.identity.hair_colour
    hairline = head.at(HAIRLINES[style])
    angle = np.linspace(np.radians(-8), np.radians(-172), 22)
    bulge = 1 + (0.05 * np.abs(np.sin(angle * 5)) if style == "curly" else 0)
    thick = 1.16 if style == "curly" else 1.09
    top = head.flat(np.stack([np.cos(angle) * thick * bulge, np.sin(angle) * thick * bulge], 1))
    canvas.fill(np.vstack([hairline, top]), colour)
    canvas.stroke(hairline, shade(colour, 0.8), 1.0)
    shine = np.linspace(np.radians(-125), np.radians(-65), 8)
    canvas.stroke(head.flat(np.stack([np.cos(shine) * 0.86, np.sin(shine) * 0.9], 1)), shade(colour, 1.3), 2.0)
    if style in LENGTHS:
        _draw_side_locks(canvas, head, 1.15 if style == "long" else 0.72)
    else:
        _draw_ears(canvas, head, only_near=True)


def _draw_side_locks(canvas: Canvas, head: Head, end: float) -> None:
    """Hair beside the cheeks; the side turned away shows more."""
    turn = np.sin(np.radians(head.moment.yaw))
    for side in (-1, 1):
        inner = 0.84 - 0.3 * max(0.0, -turn * side)
        cheek = [(side * 0.95, -0.45), (side * inner, -0.05), (side * (inner + 0.04), 0.45)]
        outside = [(side * 1.0, end), (side * 1.16, end - 0.05), (side * 1.14, 0.1)]
        canvas.fill(head.flat(curve(cheek + outside)), head.identity.hair_colour)
