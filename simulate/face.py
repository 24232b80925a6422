"""The head: an egg whose features lie on an ellipsoid, so that turning and nodding shift them as on a real head."""

import numpy as np

from simulate.canvas import CIRCLE, Canvas, Colour, mix, rotate, shade
from simulate.identity import Identity
from simulate.moment import Moment

HEAD_WIDTH, HEAD_HEIGHT = 31.0, 38.0  # half axes in scene units
EYE_X, EYE_Y = 0.41, -0.02  # features are given on the unit head: x right, y down
LIP, MOUTH_DARK, TEETH, TONGUE, WHITE, INK = (
    (176, 84, 84),
    (92, 30, 36),
    (248, 246, 240),
    (206, 104, 108),
    (252, 250, 246),
    (36, 28, 30),
)
SPAN = np.linspace(-1, 1, 9)
ARCH = 1 - SPAN**2


class Head:
    """Where the head is and how it is turned."""

    def __init__(self, identity: Identity, moment: Moment, centre: np.ndarray, size: float = 1.0):
        self.identity, self.moment, self.centre = identity, moment, centre
        self.width, self.height = HEAD_WIDTH * identity.face_width * size, HEAD_HEIGHT * identity.face_height * size
        yaw, pitch = np.radians(moment.yaw), np.radians(moment.pitch)
        linear = np.array(
            [
                (np.cos(yaw), 0, np.sin(yaw)),
                (-np.sin(yaw) * np.sin(pitch) * 0.5, np.cos(pitch), np.cos(yaw) * np.sin(pitch)),
            ]
        )
        self.linear = rotate((linear * [[self.width], [self.height]]).T, moment.roll)
        self.jaw = 0.14 * moment.mouth_open

    def at(self, points: np.ndarray | list) -> np.ndarray:
        """Points on the front of the unit head (N, 2) → scene units."""
        points = np.asarray(points, dtype=float)
        depth = np.sqrt(np.clip(1 - points[:, 0] ** 2 - 0.8 * points[:, 1] ** 2, 0, None))[:, None]
        return np.hstack([points, depth]) @ self.linear + self.centre

    def flat(self, points: np.ndarray | list) -> np.ndarray:
        """Points on the outline plane of the head (N, 2) → scene units: rolled, not turned."""
        return rotate(np.asarray(points, dtype=float) * (self.width, self.height), self.moment.roll) + self.centre

    def outline(self) -> np.ndarray:
        """The egg, its chin following the turn and the jaw."""
        x, y = CIRCLE.T
        low = np.clip(y, 0, None)
        chin = 0.10 * np.sin(np.radians(self.moment.yaw)) * low
        nod = 0.10 * np.sin(np.radians(self.moment.pitch))
        return self.flat(np.stack([x * (1 - 0.2 * low**2) + chin, y * (1 + self.jaw * low) + nod * low], 1))


def draw_face(canvas: Canvas, head: Head) -> None:
    """Head, features and glasses, without hair."""
    skin = head.identity.skin
    outline = head.outline()
    canvas.fill(outline, skin)
    canvas.stroke(outline, shade(skin, 0.72), 0.8, closed=True)
    _draw_cheeks(canvas, head)
    _draw_nose(canvas, head)
    _draw_mouth(canvas, head)
    for side in (-1, 1):
        _draw_eye(canvas, head, side)
        _draw_brow(canvas, head, side)
    if head.moment.brow_furrow > 0.3:
        for x in (-0.055, 0.055):
            canvas.stroke(head.at([(x, -0.36), (x * 0.8, -0.24)]), shade(skin, 0.68), 0.9 * head.moment.brow_furrow)
    if head.identity.glasses != "none":
        _draw_glasses(canvas, head)


def _draw_cheeks(canvas: Canvas, head: Head) -> None:
    smile = max(0.0, head.moment.smile)
    blush = mix(head.identity.skin, (226, 92, 92), 0.12 + 0.16 * smile)
    for side in (-1, 1):
        canvas.fill(head.at(CIRCLE * (0.15, 0.10) + (side * 0.56, 0.33 - 0.05 * smile)), blush)


def _draw_nose(canvas: Canvas, head: Head) -> None:
    dark = shade(head.identity.skin, 0.74)
    lift = np.array(
        (0.10 * np.sin(np.radians(head.moment.yaw)), 0.06 * np.sin(np.radians(head.moment.pitch)))
    )  # it sticks out
    canvas.stroke(
        head.at(np.array([(0.01, 0.10), (0.06, 0.24), (0.07, 0.27), (0.0, 0.30), (-0.07, 0.27)]) + lift), dark, 1.2
    )


def _draw_eye(canvas: Canvas, head: Head, side: int) -> None:
    moment, size = head.moment, head.identity.eye_size
    centre, half = np.array((side * EYE_X, EYE_Y)), np.array((0.215, 0.165)) * size
    down = max(0.0, moment.gaze_y)
    opening = float(np.clip(moment.eyelid * (1 - 0.45 * down), 0, 1.05)) - 0.12 * moment.brow_furrow
    upper = ARCH * (0.55 - 1.55 * max(0.0, opening))
    lower = np.maximum(upper, ARCH * (0.8 - 0.35 * max(0.0, moment.smile)))
    lid = np.stack([SPAN, upper], 1)
    if opening > 0.1:
        canvas.fill(head.at(np.vstack([lid, np.stack([SPAN, lower], 1)[::-1]]) * half + centre), WHITE)
        _draw_iris(canvas, head, centre, half, upper, lower)
    lid_colour = mix(shade(head.identity.skin, 0.6), INK, 0.6)
    canvas.stroke(head.at(lid * half + centre), lid_colour, 1.7)
    fold = shade(head.identity.skin, 0.74)
    if opening < 0.75:  # a lowered lid shows its fold
        canvas.stroke(head.at(np.stack([SPAN * 0.9, -0.95 * ARCH - 0.1], 1) * half + centre), fold, 0.8)
    if moment.eyelid < 0.55:  # and heavy eyes their bags
        canvas.stroke(head.at(np.stack([SPAN * 0.8, ARCH * 0.45 + 0.95], 1) * half + centre), fold, 0.9)


def _draw_iris(canvas: Canvas, head: Head, centre, half, upper, lower) -> None:
    """Iris, pupil and glint, cut off at the lids."""
    moment, look = head.moment, np.array((0.42, 0.40))
    middle = look * (moment.gaze_x, moment.gaze_y)
    for radius, colour in ((0.66, head.identity.eye_colour), (0.34, INK)):
        ring = CIRCLE * (radius * 0.74, radius) + middle
        ring[:, 0] = np.clip(ring[:, 0], -1, 1)
        ring[:, 1] = np.clip(ring[:, 1], np.interp(ring[:, 0], SPAN, upper), np.interp(ring[:, 0], SPAN, lower))
        canvas.fill(head.at(ring * half + centre), colour)
    glint = middle + (0.18, -0.22)
    if glint[1] > np.interp(glint[0], SPAN, upper) + 0.15:
        canvas.disc(head.at([glint * half + centre])[0], 0.9, WHITE)


def _draw_brow(canvas: Canvas, head: Head, side: int) -> None:
    moment = head.moment
    lift = 0.11 * moment.brow_raise + 0.09 * moment.brow_tilt * side - 0.03 * moment.brow_furrow
    along = np.linspace(0, 1, 6)
    x = side * (EYE_X - 0.24 - 0.07 * moment.brow_furrow + 0.46 * along)
    arch = 0.07 * np.sin(np.pi * (0.15 + 0.8 * along))
    inner = 0.13 * moment.brow_furrow * (1 - along) ** 1.5 - 0.06 * max(0.0, moment.brow_raise) * (1 - along)
    y = -0.285 - lift - arch + inner
    width = head.identity.brow_width * 0.055 * (1.1 - 0.7 * along)
    points = np.vstack([np.stack([x, y - width], 1), np.stack([x, y + width], 1)[::-1]])
    canvas.fill(head.at(points), shade(head.identity.hair_colour, 0.75))


def _draw_mouth(canvas: Canvas, head: Head) -> None:
    moment = head.moment
    smile, opened, press = moment.smile, moment.mouth_open, moment.mouth_press
    width = 0.27 + 0.13 * max(0.0, smile) - 0.07 * opened * (smile < 0.3) - 0.03 * press
    corner = -0.15 * smile * (1 if smile > 0 else 0.7)
    centre = np.array((0.0, 0.55 + 0.05 * opened))
    upper = np.stack([SPAN * width, corner * SPAN**2 - (0.05 * opened) * ARCH + 0.045 * max(0.0, smile) * ARCH], 1)
    line = shade(mix(head.identity.skin, LIP, 0.75), 0.72 if sum(head.identity.skin) > 400 else 0.5)
    if opened > 0.12:
        _draw_open_mouth(canvas, head, upper, centre, line)
    else:
        if press < 0.35:
            lower = np.stack([SPAN * width * 0.55, upper[:, 1] + 0.085 * ARCH], 1)
            canvas.fill(
                head.at(np.vstack([upper[2:-2] + (0, 0.01), lower[::-1]]) + centre), mix(head.identity.skin, LIP, 0.5)
            )
        canvas.stroke(head.at(upper + centre), line, 1.5 + 0.5 * press)
    dimple = max(press, smile - 0.2)
    if dimple > 0.3:
        for side in (-1, 1):
            tip = centre + (side * (width + 0.05), corner)
            canvas.stroke(
                head.at([tip + (0, -0.05), tip + (side * 0.015, 0), tip + (0, 0.05)]),
                shade(head.identity.skin, 0.74),
                0.9,
            )


def _draw_open_mouth(canvas: Canvas, head: Head, upper: np.ndarray, centre: np.ndarray, line: Colour) -> None:
    moment = head.moment
    depth = 0.10 + 0.34 * moment.mouth_open
    lower = np.stack([upper[:, 0], upper[:, 1] + depth * np.sqrt(np.clip(ARCH, 0, 1))], 1)
    outline = np.vstack([upper, lower[::-1]]) + centre
    canvas.fill(head.at(outline), MOUTH_DARK)
    if moment.smile > 0.2:
        teeth = np.stack([upper[:, 0], upper[:, 1] + np.minimum(0.09, depth * 0.5) * np.sqrt(ARCH)], 1)
        canvas.fill(head.at(np.vstack([upper, teeth[::-1]]) + centre), TEETH)
    tongue = CIRCLE * (0.13, depth * 0.26) + centre + (0, upper[4, 1] + depth * 0.7)
    canvas.fill(head.at(tongue), TONGUE)
    canvas.stroke(head.at(outline), line, 1.3, closed=True)


def _draw_glasses(canvas: Canvas, head: Head) -> None:
    colour = head.identity.glasses_colour
    lens = CIRCLE * (0.285, 0.225)
    if head.identity.glasses == "square":
        lens = np.sign(CIRCLE) * np.abs(CIRCLE) ** 0.5 * (0.28, 0.205)
    for side in (-1, 1):
        canvas.stroke(head.at(lens + (side * EYE_X, EYE_Y + 0.02)), colour, 1.3, closed=True)
        canvas.stroke(head.at([(side * (EYE_X + 0.28), EYE_Y), (side * 0.97, EYE_Y - 0.05)]), colour, 1.2)
    canvas.stroke(head.at([(-0.13, EYE_Y), (0, EYE_Y - 0.04), (0.13, EYE_Y)]), colour, 1.2)
