"""The body: torso, neck, and two arms whose hands rest, write, type, hold or go to the face."""

from dataclasses import dataclass

import numpy as np

from simulate.canvas import CIRCLE, Canvas, Colour, curve, mix, shade
from simulate.face import Head
from simulate.identity import Identity, Outfit
from simulate.moment import Moment

MIDDLE, DESK_EDGE = 160.0, 186.0  # scene units
RAISED = ("palm", "chin", "pen", "mouth", "eye")  # the elbow stays on the desk


@dataclass(frozen=True)
class Arm:
    """Three joints in scene units and what the hand does."""

    side: int  # -1 left of the picture, 1 right
    does: str
    shoulder: np.ndarray
    elbow: np.ndarray
    hand: np.ndarray


@dataclass(frozen=True)
class Figure:
    """A person's pose at one moment."""

    identity: Identity
    outfit: Outfit
    moment: Moment
    head: Head
    neck: np.ndarray
    shoulders: np.ndarray  # left and right, (2, 2)
    arms: tuple[Arm, Arm]


def pose_figure(identity: Identity, outfit: Outfit, moment: Moment) -> Figure:
    """Where every joint is."""
    neck = np.array((MIDDLE + 8 * moment.lean, 134 + 10 * moment.slump + 3 * moment.forward))
    centre = neck + np.array(
        (6 * moment.lean + 26 * np.sin(np.radians(moment.roll)), -50 + 4 * moment.slump + 0.22 * moment.pitch)
    )
    head = Head(identity, moment, centre, 1 + 0.05 * moment.forward)
    half = (50 - 3 * moment.slump) * identity.build
    drop = np.array((-moment.lean, moment.lean)) * 3
    shoulders = np.stack([neck[0] + np.array((-half, half)), neck[1] + 16 + 2 * moment.slump + drop], 1)
    arms = tuple(_pose_arm(side, moment, head, shoulder) for side, shoulder in zip((-1, 1), shoulders, strict=True))
    return Figure(identity, outfit, moment, head, neck, shoulders, arms)


def chin_of(head: Head) -> np.ndarray:
    """The lowest point of the face."""
    return head.flat([(0, 1 + head.jaw)])[0]


def phone_centre(head: Head, held_by: float) -> np.ndarray:
    """A phone is held over the desk, well below the face; ``held_by`` is the mean side of the hands on it."""
    return np.array((MIDDLE + 6 * held_by, max(189.0, chin_of(head)[1] + 50)))


def _pose_arm(side: int, moment: Moment, head: Head, shoulder: np.ndarray) -> Arm:
    name = moment.left_hand if side < 0 else moment.right_hand
    reach = moment.left_reach if side < 0 else moment.right_reach
    rest, rest_elbow = np.array((MIDDLE + side * 35, 209.0)), np.array((MIDDLE + side * 67, 202.0))
    goal, elbow = _goal(side, name, moment, head), rest_elbow
    if name in RAISED:
        elbow = np.array((MIDDLE + side * 52, 207.0))
    elif name == "head":
        elbow = shoulder + np.array((side * 27, -4))
    does = moment.hand("left" if side < 0 else "right")
    return Arm(side, does, shoulder, rest_elbow + (elbow - rest_elbow) * reach, rest + (goal - rest) * reach)


def _goal(side: int, name: str, moment: Moment, head: Head) -> np.ndarray:
    """Where a hand that does ``name`` is."""
    chin, wiggle = chin_of(head), moment.wiggle
    if name == "page":
        return np.array((MIDDLE + side * 33, 208 + wiggle))
    if name == "write":
        return np.array((MIDDLE + side * 14 + 5 * wiggle, 209 + 1.5 * wiggle))
    if name == "type":
        return np.array((MIDDLE + side * 19, 200 + 2 * side * wiggle))
    if name == "phone":
        both = moment.left_hand == moment.right_hand
        return phone_centre(head, 0 if both else side) + (side * (10 if both else 6), 9 + wiggle)
    if name == "fiddle":
        return np.array((MIDDLE + side * 30 + 3 * wiggle, 196 - 3 * wiggle))
    if name == "palm":
        return head.flat([(side * 0.72, 0.80)])[0]
    if name == "chin":
        return chin + (side * 8, 3)
    if name == "pen":
        return chin + (side * 17, 6)
    if name == "head":
        return head.flat([(side * 0.78, -0.78)])[0] + (2 * wiggle, wiggle)
    if name == "mouth":
        return head.flat([(side * 0.12, 0.66)])[0]
    if name == "eye":
        return head.flat([(side * 0.46, 0.1)])[0] + (wiggle, 0)
    return np.array((MIDDLE + side * 35, 209.0))


def draw_torso(canvas: Canvas, figure: Figure) -> None:
    """Clothes down to the desk, and the neck."""
    colour, (left, right), neck = figure.outfit.colour, figure.shoulders, figure.neck
    outline = _torso_outline(left, right, neck)
    canvas.fill(outline, colour)
    canvas.stroke(outline, shade(colour, 0.75), 0.8, closed=True)
    if figure.outfit.kind == "striped jumper":
        for down in range(18, 58, 13):
            canvas.stroke([left + (-5, down), neck + (0, down + 18), right + (5, down)], figure.outfit.second, 4.5)
    skin, chin = shade(figure.identity.skin, 0.86), chin_of(figure.head)
    throat = figure.head.flat([(-0.42, 0.6), (0.42, 0.6)])
    canvas.fill([throat[0], throat[1], neck + (12, 5), neck + (0, 16), neck + (-12, 5)], skin)
    canvas.fill(CIRCLE * (10, 5) + (chin + (0, 0.5)), shade(figure.identity.skin, 0.72))  # the shadow under the chin
    _draw_collar(canvas, figure)


def _torso_outline(left: np.ndarray, right: np.ndarray, neck: np.ndarray) -> np.ndarray:
    """From the left of the neck over both shoulders, down behind the desk and back."""
    first = [neck + (-15, 1), left + (10, -6), left + (-5, 6), left + (-9, 34), left + (-4, 70)]
    second = [right + (4, 70), right + (9, 34), right + (5, 6), right + (-10, -6), neck + (15, 1)]
    return curve(first + second)


def _draw_collar(canvas: Canvas, figure: Figure) -> None:
    neck, colour, second = figure.neck, figure.outfit.colour, figure.outfit.second
    if figure.outfit.kind == "shirt":
        for side in (-1, 1):
            canvas.fill(
                [neck + (side * 13, -1), neck + (side * 17, 8), neck + (side * 6, 20), neck + (0, 15)],
                shade(colour, 1.15),
            )
            canvas.stroke([neck + (side * 17, 8), neck + (side * 6, 20), neck + (0, 15)], shade(colour, 0.7), 0.8)
        canvas.stroke([neck + (0, 16), neck + (0, 60)], shade(colour, 0.75), 1.0)
        for down in (24, 36, 48):
            canvas.disc(neck + (2.5, down), 1.2, mix(colour, (255, 255, 255), 0.6))
    elif figure.outfit.kind == "hoodie":
        canvas.stroke(
            [neck + (-15, -1), neck + (-14, 9), neck + (0, 19), neck + (14, 9), neck + (15, -1)], shade(colour, 0.8), 7
        )
        for side in (-1, 1):
            canvas.stroke([neck + (side * 6, 18), neck + (side * 7, 38)], mix(second, (255, 255, 255), 0.5), 1.6)
    else:
        edge = shade(colour, 0.8) if figure.outfit.kind == "t-shirt" else mix(colour, second, 0.5)
        canvas.stroke([neck + (-13, 2), neck + (-9, 11), neck + (0, 16), neck + (9, 11), neck + (13, 2)], edge, 2.6)


def draw_arm(canvas: Canvas, figure: Figure, arm: Arm) -> None:
    """Sleeve, forearm and hand, over the desk."""
    cloth, skin = figure.outfit.colour, figure.identity.skin
    sleeve_end = arm.elbow + (arm.hand - arm.elbow) * (0.0 if figure.outfit.kind == "t-shirt" else 0.72)
    joints = [arm.shoulder + (-arm.side * 4, 8), arm.elbow]
    _draw_limb(canvas, joints, shade(cloth, 0.96), 21 * figure.identity.build)
    _draw_limb(canvas, [arm.elbow, arm.hand], skin, 11)
    if figure.outfit.kind != "t-shirt":
        _draw_limb(canvas, [arm.elbow, sleeve_end], shade(cloth, 1.02), 17)
    _draw_hand(canvas, arm, skin)


def _draw_limb(canvas: Canvas, joints: list, colour: Colour, width: float) -> None:
    canvas.stroke(joints, shade(colour, 0.76), width + 1.4)
    canvas.stroke(joints, colour, width)


def _draw_hand(canvas: Canvas, arm: Arm, skin: Colour) -> None:
    """A mitten with finger lines; a hand at the face points up, one on the desk inwards."""
    dark = shade(skin, 0.74)
    up = arm.does in RAISED or arm.does == "head"
    ahead = np.array((-arm.side * 0.45, -0.9)) if up else np.array((-arm.side * 0.9, 0.42))
    across = np.array((-ahead[1], ahead[0]))
    palm = np.outer(CIRCLE[:, 0], ahead * 9.5) + np.outer(CIRCLE[:, 1], across * 7.5) + arm.hand
    canvas.fill(palm, skin)
    canvas.stroke(palm, dark, 0.9, closed=True)
    for offset in (-3.2, 0, 3.2):
        start = arm.hand + across * offset
        canvas.stroke([start + ahead * 3, start + ahead * 8], dark, 0.8)
