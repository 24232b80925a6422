"""One clip's scene: a person at a desk in a place before a camera; draws the frames and knows their boxes."""

from dataclasses import dataclass

import cv2
import numpy as np

from simulate.boxes import Box
from simulate.camera import SUPERSAMPLE, draw_camera
from simulate.canvas import Canvas, Colour, rectangle, shade
from simulate.face import draw_face
from simulate.figure import DESK_EDGE, MIDDLE, Figure, draw_arm, draw_torso, phone_centre, pose_figure
from simulate.hair import draw_back_hair, draw_front_hair
from simulate.identity import CLOTH_COLOURS, Identity
from simulate.moment import Moment
from simulate.place import WOODS, paint_place
from simulate.props import CLUTTER, Prop, draw_prop

LAPTOP_COLOURS = ((172, 176, 182), (72, 74, 80), (196, 190, 182))
PHONE_COLOURS = ((52, 54, 62), (222, 224, 228), (66, 92, 140), (190, 76, 82), (206, 176, 156))


@dataclass(frozen=True)
class Desk:
    """The table top and what lies on it whatever happens."""

    colour: Colour
    clutter: tuple[Prop, ...]
    aside: int  # the side to which work is pushed while a phone is held
    book_colour: Colour
    laptop_colour: Colour
    phone_colour: Colour
    phone_spot: tuple[float, float]  # where the phone lies when nobody holds it


def draw_desk(rng: np.random.Generator) -> Desk:
    """A random desk; its clutter says nothing about the person."""
    far = [(rng.uniform(*span), rng.uniform(200, 214)) for span in ((24, 50), (270, 296))]
    near = [(rng.uniform(*span), 228) for span in ((60, 74), (246, 260))]
    clutter = tuple(
        Prop(str(rng.choice(CLUTTER)), spot, _pick(CLOTH_COLOURS, rng), rng.normal(0, 3))
        for spot in far + near
        if rng.random() < 0.5
    )
    side = int(rng.choice((-1, 1)))
    spot = (MIDDLE + side * rng.uniform(70, 82), rng.uniform(216, 224))
    aside = int(rng.choice((-1, 1)))
    return Desk(
        _pick(WOODS, rng),
        clutter,
        aside,
        _pick(CLOTH_COLOURS, rng),
        _pick(LAPTOP_COLOURS, rng),
        _pick(PHONE_COLOURS, rng),
        spot,
    )


def _pick(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    return shade(colours[rng.integers(len(colours))], rng.uniform(0.9, 1.1))


class Scene:
    """Draws one clip. The background is painted once, at the large size."""

    def __init__(self, identity: Identity, place: str, rng: np.random.Generator, width: int = 320, height: int = 240):
        self.identity, self.place = identity, place
        self.outfit = identity.wardrobe[rng.integers(len(identity.wardrobe))]
        self.desk, self.camera = draw_desk(rng), draw_camera(rng)
        self.matrix, self.size = self.camera.matrix(width, height), (width, height)
        self.light = self.camera.light(width, height)
        self.background = np.empty((height * SUPERSAMPLE, width * SUPERSAMPLE, 3), np.uint8)
        paint_place(self._canvas(self.background), place, rng)
        self.objects: dict[str, Box] = {}  # of the picture drawn last: what lies in front or is held, clutter apart

    def _canvas(self, image: np.ndarray) -> Canvas:
        return Canvas(image, self.matrix * SUPERSAMPLE)

    def draw(self, moment: Moment, rng: np.random.Generator) -> tuple[np.ndarray, Box, Box]:
        """The picture (H, W, 3) RGB uint8, the face box and the body box in pixels, not yet jittered.

        ``objects`` then holds the boxes of the work and of the phone in it.
        """
        self.objects.clear()
        large = self.background.copy()
        canvas, figure = self._canvas(large), pose_figure(self.identity, self.outfit, moment)
        draw_back_hair(canvas, figure.head)
        draw_torso(canvas, figure)
        draw_face(canvas, figure.head)
        draw_front_hair(canvas, figure.head)
        self._draw_desk(canvas, moment)
        held = self._draw_work(canvas, figure)
        return self.camera.expose(large, self.light, rng), self._face_box(figure), self._body_box(figure, held)

    def _draw_desk(self, canvas: Canvas, moment: Moment) -> None:
        colour = self.desk.colour
        canvas.fill(rectangle(-60, DESK_EDGE, 380, 300), colour)
        canvas.stroke([(-60, DESK_EDGE), (380, DESK_EDGE)], shade(colour, 1.25), 1.6)
        for y in (197, 213, 231):
            canvas.stroke([(-60, y), (380, y + 3)], shade(colour, 0.93), 1.0)
        for prop in self.desk.clutter:
            draw_prop(canvas, prop)
        if moment.phone == "desk":
            self._draw_object(canvas, Prop("lying phone", self.desk.phone_spot, self.desk.phone_colour))

    def _draw_object(self, canvas: Canvas, prop: Prop) -> np.ndarray:
        """Draw a thing that has to do with what the student does, and keep its box; returns its outline."""
        outline = draw_prop(canvas, prop)
        self.objects[prop.kind] = self._around(outline)
        return outline

    def _draw_work(self, canvas: Canvas, figure: Figure) -> list[np.ndarray]:
        """Work, arms and what the hands hold, nearest last; returns the outlines of held things."""
        moment, work = figure.moment, figure.moment.work
        held = []
        if work in ("book", "notebook"):
            held.append(self._draw_object(canvas, self._work_prop(moment)))
        phone = self._phone_prop(figure)
        for arm in figure.arms:
            if arm.does != "phone":
                draw_arm(canvas, figure, arm)
            if arm.does in ("write", "pen", "fiddle"):
                self._draw_pen(canvas, arm, moment)
        if work == "laptop":
            outline = self._draw_object(canvas, self._work_prop(moment))
            held.append(outline if phone is None else outline[:0])
        if phone is not None:
            held = [self._draw_object(canvas, phone)]
            for arm in figure.arms:
                if arm.does == "phone":
                    draw_arm(canvas, figure, arm)
        return held

    def _work_prop(self, moment: Moment) -> Prop:
        x = MIDDLE + (self.desk.aside * 76 if moment.phone == "held" else 0)
        if moment.work == "laptop":
            return Prop("laptop", (x, 188), self.desk.laptop_colour)
        return Prop(moment.work, (x, 210), self.desk.book_colour, 0 if moment.work == "book" else -4)

    def _phone_prop(self, figure: Figure) -> Prop | None:
        sides = [arm.side for arm in figure.arms if arm.does == "phone"]
        if not sides:
            return None
        turn = 2 * figure.moment.wiggle - 6 * float(np.mean(sides))
        return Prop("held phone", tuple(phone_centre(figure.head, float(np.mean(sides)))), self.desk.phone_colour, turn)

    def _draw_pen(self, canvas: Canvas, arm, moment: Moment) -> None:
        ahead = {"write": (-9, 9), "pen": (-12, -11), "fiddle": (-6 + 12 * moment.wiggle, -13)}[arm.does]
        back = {"write": (8, -16), "pen": (9, 8), "fiddle": (6 - 12 * moment.wiggle, 13)}[arm.does]
        mirror = np.array((arm.side, 1))
        canvas.stroke([arm.hand + mirror * back, arm.hand + mirror * ahead], (40, 66, 130), 2.2)
        canvas.stroke([arm.hand + mirror * ahead, arm.hand + mirror * ahead * 0.75], (230, 220, 200), 2.0)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def _face_box(self, figure: Figure) -> Box:
        return self._around(figure.head.outline())

    def _body_box(self, figure: Figure, held: list[np.ndarray]) -> Box:
        reach = np.array([(dx, dy) for dx in (-10, 10) for dy in (-10, 10)])
        joints = [joint + reach for arm in figure.arms for joint in (arm.shoulder, arm.elbow, arm.hand)]
        return self._around(np.vstack([figure.head.flat([(-1.1, -1.1), (1.1, -1.1)]), *joints, *held]))

    def _around(self, points: np.ndarray) -> Box:
        """The upright pixel box around scene points."""
        pixels = self._pixels(points)
        return (*pixels.min(0).tolist(), *pixels.max(0).tolist())


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """An RGB image as JPEG bytes."""
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
