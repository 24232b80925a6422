"""The head: an egg with features on an ellipsoid, so that turning and nodding shift them as on a real head."""

import math

import numpy as np

from simulate.canvas import CIRCLE, Canvas, Points, Sketch, curve, join, mix, shade, turning
from simulate.identity import Identity
from simulate.moment import Moment

HEAD_WIDTH, HEAD_HEIGHT = 31.0, 38.0  # half axes in scene units
EYE_X, EYE_Y = 0.41, -0.02  # features are given on the unit head: x right, y down
LIP, MOUTH_DARK, TEETH = (176, 84, 84), (92, 30, 36), (248, 246, 240)
TONGUE, WHITE, INK = (206, 104, 108), (252, 250, 246), (36, 28, 30)
SPAN = np.linspace(-1, 1, 9)
THERE_AND_BACK = np.hstack([SPAN, SPAN[::-1]])
ARCH = 1 - SPAN**2
BULGE = np.sqrt(np.clip(ARCH, 0, 1))
EYE_HALF = np.array((0.215, 0.165))  # half width and height
SIDES = -1, 1  # the left and the right one in the picture
EYE_CENTRES = np.array([(-EYE_X, EYE_Y), (EYE_X, EYE_Y)])
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
HAIRLINES = {style: np.array(points) for style, points in HAIRLINES.items()}
NOSE = np.array([(0.01, 0.10), (0.06, 0.24), (0.07, 0.27), (0.0, 0.30), (-0.07, 0.27)])
FOLD, BAG = join(SPAN * 0.9, -0.95 * ARCH - 0.1), join(SPAN * 0.8, ARCH * 0.45 + 0.95)  # of an eyelid, under an eye
BROW = np.linspace(0, 1, 6)  # from the inner to the outer end
BROW_ARCH, BROW_INNER = 0.07 * np.sin(np.pi * (0.15 + 0.8 * BROW)), (1 - BROW) ** 1.5
LENSES = {"round": CIRCLE * (0.285, 0.225), "square": np.sign(CIRCLE) * np.abs(CIRCLE) ** 0.5 * (0.28, 0.205)}
IRIS, PUPIL = (CIRCLE * (radius * 0.74, radius) for radius in (0.66, 0.34))  # of an eye
BLUSH, EAR = CIRCLE * (0.15, 0.10), CIRCLE * (0.15, 0.2)
CROWN = ((-1.1, -0.2), (-0.7, -0.95), (0, -1.14), (0.7, -0.95), (1.1, -0.2))
LENGTHS = {  # long hair below the crown, from the right to the left
    "long": ((1.22, 0.9), (1.0, 1.55), (0, 1.45), (-1.0, 1.55), (-1.22, 0.9)),
    "bob": ((1.2, 0.6), (0.8, 0.95), (0, 0.8), (-0.8, 0.95), (-1.2, 0.6)),
}
BACKS = {style: curve(CROWN + length) for style, length in LENGTHS.items()}
TOP = np.linspace(np.radians(-8), np.radians(-172), 22)  # angles along the upper edge of the hair
CURLS = 1 + 0.05 * np.abs(np.sin(TOP * 5))
TOPS = {
    False: join(np.cos(TOP) * 1.09, np.sin(TOP) * 1.09),
    True: join(np.cos(TOP) * 1.16 * CURLS, np.sin(TOP) * 1.16 * CURLS),  # of curly hair
}
GLOSS = np.linspace(np.radians(-125), np.radians(-65), 8)
SHINE = join(np.cos(GLOSS) * 0.86, np.sin(GLOSS) * 0.9)


class Head:
    """A head at its place in the scene, turned and rolled."""

    def __init__(self, identity: Identity, moment: Moment, centre: np.ndarray, size: float = 1.0) -> None:
        self.identity, self.moment, self.centre = identity, moment, centre
        self.width, self.height = HEAD_WIDTH * identity.face_width * size, HEAD_HEIGHT * identity.face_height * size
        yaw, pitch = math.radians(moment.yaw), math.radians(moment.pitch)
        self.ahead, self.aside, self.down = math.cos(yaw), math.sin(yaw), math.sin(pitch)  # shares of where it looks
        across = (self.ahead, 0, self.aside)
        down = (-self.aside * self.down * 0.5, math.cos(pitch), self.ahead * self.down)
        self.half, self.turn = np.array((self.width, self.height)), turning(moment.roll)
        self.linear = (np.array([across, down]) * self.half[:, None]).T @ self.turn
        self.jaw = 0.14 * moment.mouth_open
        self.chin = self.flat([(0, 1 + self.jaw)])[0]  # the lowest point of the face

    def at(self, points: Points) -> np.ndarray:
        """Return points on the front of the unit head (N, 2) in scene units."""
        points = np.asarray(points, dtype=float)
        solid = np.empty((len(points), 3))
        solid[:, :2], squares = points, points**2
        solid[:, 2] = np.sqrt(np.maximum(1 - squares[:, 0] - 0.8 * squares[:, 1], 0))
        return solid @ self.linear + self.centre

    def flat(self, points: Points) -> np.ndarray:
        """Return points on the outline plane of the head (N, 2) in scene units: rolled, not turned."""
        return np.asarray(points, dtype=float) * self.half @ self.turn + self.centre

    def outline(self) -> np.ndarray:
        """Return the egg, its chin following the turn and the jaw."""
        x, y = CIRCLE.T
        low = np.maximum(y, 0)
        x = x * (1 - 0.2 * low**2) + 0.10 * self.aside * low
        return self.flat(join(x, y * (1 + self.jaw * low) + 0.10 * self.down * low))


def draw_face(canvas: Canvas, head: Head) -> None:
    """Draw the head with features and glasses, without hair."""
    moment, skin, face = head.moment, head.identity.skin, Sketch()  # the points of the face are on the unit head
    canvas.fill(head.outline(), skin, edge=shade(skin, 0.72))
    smile = max(0.0, moment.smile)
    blush = mix(skin, (226, 92, 92), 0.12 + 0.16 * smile)
    for sign in SIDES:
        face.fill(BLUSH + (sign * 0.56, 0.33 - 0.05 * smile), blush)
    # The nose sticks out, so it moves more than the face when the head turns.
    face.stroke(NOSE + (0.10 * head.aside, 0.06 * head.down), shade(skin, 0.74), 1.2)
    _draw_mouth(face, head)
    eye, size = _sketch_eye(head), EYE_HALF * head.identity.eye_size
    for sign, centre in zip(SIDES, EYE_CENTRES, strict=True):
        face.add(eye, lambda points, centre=centre: points * size + centre)
        _draw_brow(face, head, sign)
    if moment.brow_furrow > 0.3:
        for x in (-0.055, 0.055):
            face.stroke([(x, -0.36), (x * 0.8, -0.24)], shade(skin, 0.68), 0.9 * moment.brow_furrow)
    if head.identity.glasses != "none":
        _draw_glasses(face, head)
    canvas.add(face, head.at)


def _sketch_eye(head: Head) -> Sketch:
    """Return an eye in half widths and heights; both eyes are the same."""
    moment, eye, skin = head.moment, Sketch(), head.identity.skin
    opening = min(max(moment.eyelid * (1 - 0.45 * max(0.0, moment.gaze_y)), 0), 1.05) - 0.12 * moment.brow_furrow
    upper = ARCH * (0.55 - 1.55 * max(0.0, opening))
    lower = np.maximum(upper, ARCH * (0.8 - 0.35 * max(0.0, moment.smile)))
    if opening > 0.1:
        eye.fill(join(THERE_AND_BACK, np.concatenate([upper, lower[::-1]])), WHITE)
        look = np.array((0.42 * moment.gaze_x, 0.40 * moment.gaze_y))
        for circle, colour in ((IRIS, head.identity.eye_colour), (PUPIL, INK)):  # cut off at the lids
            x, y = (circle + look).T
            x = np.minimum(np.maximum(x, -1), 1)
            y = np.minimum(np.maximum(y, np.interp(x, SPAN, upper)), np.interp(x, SPAN, lower))
            eye.fill(join(x, y), colour)
        glint = look + (0.18, -0.22)
        if glint[1] > np.interp(glint[0], SPAN, upper) + 0.15:
            eye.disc(glint, 0.9, WHITE)
    eye.stroke(join(SPAN, upper), mix(shade(skin, 0.6), INK, 0.6), 1.7)
    fold = shade(skin, 0.74)
    if opening < 0.75:  # a lowered lid shows its fold
        eye.stroke(FOLD, fold, 0.8)
    if moment.eyelid < 0.55:  # and heavy eyes their bags
        eye.stroke(BAG, fold, 0.9)
    return eye


def _draw_brow(face: Sketch, head: Head, sign: int) -> None:
    moment = head.moment
    lift = 0.11 * moment.brow_raise + 0.09 * moment.brow_tilt * sign - 0.03 * moment.brow_furrow
    x = sign * (EYE_X - 0.24 - 0.07 * moment.brow_furrow + 0.46 * BROW)
    inner = 0.13 * moment.brow_furrow * BROW_INNER - 0.06 * max(0.0, moment.brow_raise) * (1 - BROW)
    y = -0.285 - lift - BROW_ARCH + inner
    width = head.identity.brow_width * 0.055 * (1.1 - 0.7 * BROW)
    points = join(np.concatenate([x, x[::-1]]), np.concatenate([y - width, (y + width)[::-1]]))
    face.fill(points, shade(head.identity.hair_colour, 0.75))


def _draw_mouth(face: Sketch, head: Head) -> None:
    moment, skin = head.moment, head.identity.skin
    smile, opening, press = moment.smile, moment.mouth_open, moment.mouth_press
    width = 0.27 + 0.13 * max(0.0, smile) - 0.07 * opening * (smile < 0.3) - 0.03 * press
    corner = -0.15 * smile * (1 if smile > 0 else 0.7)
    centre = np.array((0.0, 0.55 + 0.05 * opening))
    upper = join(SPAN * width, corner * SPAN**2 - (0.05 * opening) * ARCH + 0.045 * max(0.0, smile) * ARCH)
    line = shade(mix(skin, LIP, 0.75), 0.72 if sum(skin) > 400 else 0.5)
    if opening > 0.12:
        depth = 0.10 + 0.34 * opening
        lower = join(upper[:, 0], upper[:, 1] + depth * BULGE)
        outline = np.concatenate([upper, lower[::-1]]) + centre
        face.fill(outline, MOUTH_DARK)
        if smile > 0.2:
            teeth = join(upper[:, 0], upper[:, 1] + min(0.09, depth * 0.5) * BULGE)
            face.fill(np.concatenate([upper, teeth[::-1]]) + centre, TEETH)
        face.fill(CIRCLE * (0.13, depth * 0.26) + centre + (0, upper[4, 1] + depth * 0.7), TONGUE)
        face.stroke(outline, line, 1.3, closed=True)
    else:
        if press < 0.35:
            lower = join(SPAN * width * 0.55, upper[:, 1] + 0.085 * ARCH)
            lip = np.concatenate([upper[2:-2] + (0, 0.01), lower[::-1]])
            face.fill(lip + centre, mix(skin, LIP, 0.5))
        face.stroke(upper + centre, line, 1.5 + 0.5 * press)
    if max(press, smile - 0.2) > 0.3:  # dimples
        for sign in SIDES:
            tip = centre + (sign * (width + 0.05), corner)
            face.stroke(tip + [(0, -0.05), (sign * 0.015, 0), (0, 0.05)], shade(skin, 0.74), 0.9)


def _draw_glasses(face: Sketch, head: Head) -> None:
    colour, lens = head.identity.glasses_colour, LENSES[head.identity.glasses]
    for sign in SIDES:
        face.stroke(lens + (sign * EYE_X, EYE_Y + 0.02), colour, 1.3, closed=True)
        face.stroke([(sign * (EYE_X + 0.28), EYE_Y), (sign * 0.97, EYE_Y - 0.05)], colour, 1.2)
    face.stroke([(-0.13, EYE_Y), (0, EYE_Y - 0.04), (0.13, EYE_Y)], colour, 1.2)


def draw_back_hair(canvas: Canvas, head: Head) -> None:
    """Draw the hair behind head and shoulders, and the ears if hair does not cover them."""
    style, colour, hair = head.identity.hair, shade(head.identity.hair_colour, 0.82), Sketch()
    if style in BACKS:
        hair.fill(BACKS[style], colour)
    else:
        if style == "bun":
            hair.fill(CIRCLE * (0.42, 0.36) + (0, -1.28), colour)
        size, drop = ((1.05, 1.06), -0.08) if style == "bun" else ((1.06, 1.0), -0.12)
        hair.fill(CIRCLE * size + (0, drop), colour)
        for sign in SIDES:
            _draw_ear(hair, head, sign)
    canvas.add(hair, head.flat)


def _draw_ear(hair: Sketch, head: Head, sign: int) -> None:
    hair.fill(
        EAR + (sign * 1.03 * head.ahead - 0.1 * head.aside, 0.06),
        shade(head.identity.skin, 0.93),
        edge=shade(head.identity.skin, 0.7),
    )


def draw_front_hair(canvas: Canvas, head: Head) -> None:
    """Draw the cap from the hairline up; it slides over the forehead as the head bows."""
    style, colour, hair = head.identity.hair, head.identity.hair_colour, Sketch()
    hairline = head.at(HAIRLINES[style])
    canvas.fill(np.concatenate([hairline, head.flat(TOPS[style == "curly"])]), colour)
    canvas.stroke(hairline, shade(colour, 0.8), 1.0)
    hair.stroke(SHINE, shade(colour, 1.3), 2.0)
    for sign in SIDES:
        if style in LENGTHS:  # locks beside the cheeks; the one turned away shows more
            end = 1.15 if style == "long" else 0.72
            inner = 0.84 - 0.3 * max(0.0, -head.aside * sign)
            cheek = [(sign * 0.95, -0.45), (sign * inner, -0.05), (sign * (inner + 0.04), 0.45)]
            outside = [(sign * 1.0, end), (sign * 1.16, end - 0.05), (sign * 1.14, 0.1)]
            hair.fill(curve(cheek + outside), colour)
        elif head.aside * sign < -0.25:  # the ear that a turn of the head brings to the front
            _draw_ear(hair, head, sign)
    canvas.add(hair, head.flat)
