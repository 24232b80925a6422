"""The body: torso, neck, and two arms whose hands rest, write, type, hold things or touch the face."""

import math

import numpy as np

from simulate.canvas import CIRCLE, Canvas, Colour, Sketch, curve, mix, shade
from simulate.head import Head, draw_back_hair, draw_face, draw_front_hair
from simulate.identity import Identity, Outfit
from simulate.moment import Moment

MIDDLE, DESK_EDGE = 160.0, 186.0  # scene units
AT_HEAD = {  # where the hands that do this are on the outline of the head, and how they move with the wiggle
    "palm": ((0.72, 0.80), (0, 0)),
    "head": ((0.78, -0.78), (2, 1)),
    "mouth": ((0.12, 0.66), (0, 0)),
    "eye": ((0.46, 0.1), (1, 0)),
}
AT_CHIN = {"chin": (8, 3), "pen": (17, 6)}  # scene units from it
PROPPED = ("palm", "chin", "pen", "mouth", "eye")  # hands at the face whose elbow stays on the desk
TORSO = np.array([  # corners of the clothes, from the joints below
    (-15, 1), (10, -6), (-5, 6), (-9, 34), (-4, 70), (4, 70), (9, 34), (5, 6), (-10, -6), (15, 1)
])  # fmt: skip
TORSO_JOINTS = [0, 1, 1, 1, 1, 2, 2, 2, 2, 0]  # neck, left shoulder, right shoulder
THROAT = np.array([(12, 5), (0, 16), (-12, 5)])
CHIN_SHADOW = CIRCLE * (10, 5)
MITTEN = CIRCLE * (9.5, 7.5)  # ahead and across, as the next ones
FINGERS = [np.array([(3, offset), (8, offset)]) for offset in (-3.2, 0, 3.2)]


class Figure:
    """A person's pose at one moment, in scene units."""

    def __init__(self, identity: Identity, outfit: Outfit, moment: Moment) -> None:
        self.identity, self.outfit, self.moment = identity, outfit, moment
        self.neck = np.array((MIDDLE + 8 * moment.lean, 134 + 10 * moment.slump + 3 * moment.forward))
        across = 6 * moment.lean + 26 * math.sin(math.radians(moment.roll))
        centre = self.neck + np.array((across, -50 + 4 * moment.slump + 0.22 * moment.pitch))
        self.head = Head(identity, moment, centre, 1 + 0.05 * moment.forward)
        (x, y), reach, drop = self.neck.tolist(), (50 - 3 * moment.slump) * identity.build, 3 * moment.lean
        y += 16 + 2 * moment.slump
        self.shoulders = np.array([(x - reach, y - drop), (x + reach, y + drop)])  # left, right
        self.arms = [Arm(name, moment, self.head, self.shoulders[i]) for i, name in enumerate(("left", "right"))]


class Arm:
    """Three joints of the left or the right arm of the picture, in scene units, and what its hand does."""

    def __init__(self, name: str, moment: Moment, head: Head, shoulder: np.ndarray) -> None:
        self.sign, self.action, self.shoulder = -1 if name == "left" else 1, moment.hand(name), shoulder
        action, reach = getattr(moment, f"{name}_hand"), getattr(moment, f"{name}_reach")
        rest, elbow = np.array((MIDDLE + self.sign * 35, 209.0)), np.array((MIDDLE + self.sign * 67, 202.0))
        raised = elbow
        if action in PROPPED:
            raised = np.array((MIDDLE + self.sign * 52, 207.0))
        elif action == "head":
            raised = shoulder + np.array((self.sign * 27, -4))
        self.elbow = elbow + (raised - elbow) * reach
        self.hand = rest + (_hand_goal(self.sign, action, moment, head) - rest) * reach


def phone_centre(head: Head, balance: float) -> np.ndarray:
    """Return where a phone is held: over the desk, well below the face.

    ``balance`` is the mean sign of the arms that hold it.
    """
    return np.array((MIDDLE + 6 * balance, max(189.0, head.chin[1] + 50)))


def _hand_goal(sign: int, action: str, moment: Moment, head: Head) -> np.ndarray:
    """Return where a hand that does ``action`` is."""
    wiggle = moment.wiggle
    if action == "phone":
        has_two_hands = moment.left_hand == moment.right_hand
        return phone_centre(head, 0 if has_two_hands else sign) + (sign * (10 if has_two_hands else 6), 9 + wiggle)
    if action in AT_HEAD:
        (across, down), (dx, dy) = AT_HEAD[action]
        return head.flat([(sign * across, down)])[0] + (dx * wiggle, dy * wiggle)
    if action in AT_CHIN:
        across, down = AT_CHIN[action]
        return head.chin + (sign * across, down)
    x, y = {
        "desk": (sign * 35, 209.0),
        "page": (sign * 33, 208 + wiggle),
        "write": (sign * 14 + 5 * wiggle, 209 + 1.5 * wiggle),
        "type": (sign * 19, 200 + 2 * sign * wiggle),
        "fiddle": (sign * 30 + 3 * wiggle, 196 - 3 * wiggle),
    }[action]
    return np.array((MIDDLE + x, y))


def draw_bust(canvas: Canvas, figure: Figure) -> None:
    """Draw head, hair, neck and clothes down to the desk."""
    draw_back_hair(canvas, figure.head)
    _draw_torso(canvas, figure)
    draw_face(canvas, figure.head)
    draw_front_hair(canvas, figure.head)


def _draw_torso(canvas: Canvas, figure: Figure) -> None:
    colour, neck, (start, end) = figure.outfit.colour, figure.neck, figure.shoulders
    canvas.fill(curve(TORSO + np.stack([neck, start, end])[TORSO_JOINTS]), colour, edge=shade(colour, 0.75))
    if figure.outfit.kind == "striped jumper":
        for y in range(18, 58, 13):
            canvas.stroke([start + (-5, y), neck + (0, y + 18), end + (5, y)], figure.outfit.second, 4.5)
    throat = figure.head.flat([(-0.42, 0.6), (0.42, 0.6)])
    skin = figure.identity.skin
    canvas.fill(np.concatenate([throat, neck + THROAT]), shade(skin, 0.86))
    canvas.fill(CHIN_SHADOW + (figure.head.chin + (0, 0.5)), shade(skin, 0.72))
    _draw_collar(canvas, figure.outfit, neck)


def _draw_collar(canvas: Canvas, outfit: Outfit, neck: np.ndarray) -> None:
    colour, collar = outfit.colour, Sketch()
    if outfit.kind == "shirt":
        for sign in (-1, 1):
            flap = [(sign * 13, -1), (sign * 17, 8), (sign * 6, 20), (0, 15)]
            collar.fill(flap, shade(colour, 1.15))
            collar.stroke(flap[1:], shade(colour, 0.7), 0.8)
        collar.stroke([(0, 16), (0, 60)], shade(colour, 0.75), 1.0)
        for y in (24, 36, 48):
            collar.disc((2.5, y), 1.2, mix(colour, (255, 255, 255), 0.6))
    elif outfit.kind == "hoodie":
        collar.stroke([(-15, -1), (-14, 9), (0, 19), (14, 9), (15, -1)], shade(colour, 0.8), 7)
        for sign in (-1, 1):
            collar.stroke([(sign * 6, 18), (sign * 7, 38)], mix(outfit.second, (255, 255, 255), 0.5), 1.6)
    else:
        edge = shade(colour, 0.8) if outfit.kind == "t-shirt" else mix(colour, outfit.second, 0.5)
        collar.stroke([(-13, 2), (-9, 11), (0, 16), (9, 11), (13, 2)], edge, 2.6)
    canvas.add(collar, lambda points: points + neck)


def draw_arm(canvas: Canvas, figure: Figure, arm: Arm) -> None:
    """Draw sleeve, forearm and hand, over the desk."""
    cloth, skin = figure.outfit.colour, figure.identity.skin
    _draw_limb(canvas, [arm.shoulder + (-arm.sign * 4, 8), arm.elbow], shade(cloth, 0.96), 21 * figure.identity.build)
    _draw_limb(canvas, [arm.elbow, arm.hand], skin, 11)
    if figure.outfit.kind != "t-shirt":
        _draw_limb(canvas, [arm.elbow, arm.elbow + (arm.hand - arm.elbow) * 0.72], shade(cloth, 1.02), 17)
    # The hand is a mitten with finger lines: one at the face points up, one on the desk inwards.
    is_up = arm.action in PROPPED or arm.action == "head"
    x, y = (-arm.sign * 0.45, -0.9) if is_up else (-arm.sign * 0.9, 0.42)
    directions, hand = np.array([(x, y), (-y, x)]), Sketch()  # ahead and across
    hand.fill(MITTEN, skin, edge=shade(skin, 0.74), width=0.9)
    for finger in FINGERS:
        hand.stroke(finger, shade(skin, 0.74), 0.8)
    canvas.add(hand, lambda points: points @ directions + arm.hand)


def _draw_limb(canvas: Canvas, joints: list[np.ndarray], colour: Colour, width: float) -> None:
    canvas.stroke(joints, shade(colour, 0.76), width + 1.4)
    canvas.stroke(joints, colour, width)
