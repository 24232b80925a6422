"""The scene of one clip: a person at a desk in a room in front of a camera; draws frames and returns their boxes."""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from simulate.canvas import Canvas, Layer, carry, rectangle, shade
from simulate.figure import DESK_EDGE, MIDDLE, Arm, Figure, draw_arm, draw_bust, phone_centre
from simulate.identity import CLOTH_COLOURS, Identity, pick_colour
from simulate.moment import Moment
from simulate.props import CLUTTER, draw_prop
from simulate.rooms import WOODS, paint_room

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Outlines = dict[str, np.ndarray]  # thing that the student uses or could use → (N, 2) in scene units

SCENE_WIDTH, SCENE_HEIGHT = 320, 240  # scene units; at 320x240 one unit is one pixel
GRAIN_SPARE = 64
SUPERSAMPLE = 2  # drawn at this many times the size, then shrunk
FOREHEAD = 0.10  # share of the head's height above a detected face, which starts below the hair
PORTRAIT = 128  # pixels, the edge of a saved face
PORTRAIT_SCENE = 480, 360  # pixels of the scene that a portrait is cut from: a face of about 100
PORTRAIT_MARGIN = 1.25  # edge of the square over the longer edge of the face
STEADY = 3  # frames over which a tracker averages
LAPTOP_COLOURS = ((172, 176, 182), (72, 74, 80), (196, 190, 182))
PHONE_COLOURS = ((52, 54, 62), (222, 224, 228), (66, 92, 140), (190, 76, 82), (206, 176, 156))
PENS = {"write": ((-9, 9), (8, -16)), "pen": ((-12, -11), (9, 8)), "fiddle": ((-6, -13), (6, 13))}  # tip and end
REACH = np.array([(dx, dy) for dx in (-10, 10) for dy in (-10, 10)])  # scene units of the body around a joint
PEN_SWING = 12  # scene units that the ends of a twirled pen move


class Camera:
    """A random camera in front of the desk, fixed for one clip and independent of the behaviour."""

    def __init__(self, rng: np.random.Generator) -> None:
        brightness, cast = rng.uniform(0.78, 1.02), rng.uniform(-0.05, 0.05, 3)
        self.gain = brightness * (1 + cast)  # light and colour cast
        self.scale = rng.uniform(0.94, 1.1)
        self.tilt = rng.normal(0, 2.0)  # degrees
        self.shift = np.array((rng.uniform(-12, 12), rng.uniform(-5, 6)))  # scene units
        self.slope = rng.uniform(-0.3, 0.3), rng.uniform(-0.15, 0.15)  # how much brighter the right and lower edge are
        self.noise = rng.uniform(0.8, 3.8)  # standard deviation in grey levels
        self.quality = int(rng.integers(70, 91))  # JPEG

    def matrix(self, width: int, height: int) -> np.ndarray:
        """Return the map from scene units to pixels of a picture of that size, (2, 3)."""
        fit = max(width / SCENE_WIDTH, height / SCENE_HEIGHT)
        middle = np.array((SCENE_WIDTH / 2, SCENE_HEIGHT / 2))
        return carry(middle, np.array((width / 2, height / 2)) + fit * self.shift, fit * self.scale, self.tilt)

    def light(self, width: int, height: int) -> np.ndarray:
        """Return the factor of every pixel, (height, width, 3) float32; compute it once per clip."""
        across = np.linspace(-0.5, 0.5, width)[None, :] * self.slope[0]
        down = np.linspace(-0.5, 0.5, height)[:, None] * self.slope[1]
        slope = 1 + across + down
        return cv2.merge([(slope * gain).astype(np.float32) for gain in self.gain])

    def expose(self, large: np.ndarray, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the finished picture, shrunk, lit and with sensor noise: (height, width, 3) RGB uint8."""
        height, width = light.shape[:2]
        small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
        image = cv2.multiply(small, light, dtype=cv2.CV_32F)
        x, y = rng.integers(GRAIN_SPARE, size=2)[::-1]
        cv2.scaleAdd(_grain(width, height)[y:, x:][:height, :width], self.noise, image, image)
        return np.clip(image, 0, 255, out=image).astype(np.uint8)


@lru_cache(maxsize=1)
def _grain(width: int, height: int) -> np.ndarray:
    """Return unit noise somewhat larger than a picture, of which every frame uses another part, to save time."""
    size = (height + GRAIN_SPARE, width + GRAIN_SPARE, 3)
    return np.random.default_rng(0).standard_normal(size, dtype=np.float32)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Return an RGB image as JPEG bytes."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def frame_name(number: int) -> str:
    """Return ``00001.jpg`` for the first frame."""
    return f"{number:05d}.jpg"


def face_of(head: Box) -> Box:
    """Return the face within the outline of the head."""
    x0, y0, x1, y1 = head
    return x0, y0 + FOREHEAD * (y1 - y0), x1, y1


def clip_box(box: Box, width: int, height: int) -> Box:
    """Return ``box`` clipped at the edges of the picture."""
    x0, y0, x1, y1 = box
    return max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1)


def hull(boxes: list[Box]) -> Box:
    """Return the smallest box around all ``boxes``."""
    edges = np.array(boxes)
    return (*edges[:, :2].min(0).tolist(), *edges[:, 2:].max(0).tolist())


def crop_portraits(pictures: list[np.ndarray], heads: list[Box]) -> list[np.ndarray]:
    """Return one (PORTRAIT, PORTRAIT, 3) face for every picture of a clip, as a tracker crops them.

    The square keeps its size over the clip and follows the mean centre of ``STEADY`` frames.
    """
    boxes = np.array([face_of(head) for head in heads])
    edge = PORTRAIT_MARGIN * float(np.median(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])))
    centres, reach, scale = (boxes[:, :2] + boxes[:, 2:]) / 2, STEADY // 2, PORTRAIT / edge
    portraits = []
    for number, picture in enumerate(pictures):
        corner = centres[max(0, number - reach) : number + reach + 1].mean(0) - edge / 2
        matrix, size = carry(corner, np.zeros(2), scale, 0), (PORTRAIT, PORTRAIT)
        portraits.append(cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return portraits


class Desk:
    """A random table top and what lies on it throughout the clip; its clutter is independent of the person."""

    def __init__(self, rng: np.random.Generator) -> None:
        far = [(rng.uniform(*span), rng.uniform(200, 214)) for span in ((24, 50), (270, 296))]
        near = [(rng.uniform(*span), 228) for span in ((60, 74), (246, 260))]
        self.clutter = [
            (str(rng.choice(CLUTTER)), spot, pick_colour(CLOTH_COLOURS, rng, 0.9, 1.1), rng.normal(0, 3))
            for spot in far + near
            if rng.random() < 0.5
        ]
        # The side, left or right, of a phone that is not held, and of the work while a phone is held.
        self.phone_spot = (MIDDLE + int(rng.choice((-1, 1))) * rng.uniform(70, 82), rng.uniform(216, 224))
        self.aside = int(rng.choice((-1, 1)))
        self.colour = pick_colour(WOODS, rng, 0.9, 1.1)
        self.book_colour = pick_colour(CLOTH_COLOURS, rng, 0.9, 1.1)
        self.laptop_colour = pick_colour(LAPTOP_COLOURS, rng, 0.9, 1.1)
        self.phone_colour = pick_colour(PHONE_COLOURS, rng, 0.9, 1.1)


class Scene:
    """Draws one clip. What stands still is painted once, at the large size: the room, and what lies on the desk."""

    def __init__(
        self, identity: Identity, room: str, rng: np.random.Generator, width: int = 320, height: int = 240
    ) -> None:
        self.identity, self.room = identity, room
        self.outfit = identity.wardrobe[rng.integers(len(identity.wardrobe))]
        self.desk, self.camera = Desk(rng), Camera(rng)
        self.matrix, self.light = self.camera.matrix(width, height), self.camera.light(width, height)
        self.background = np.empty((height * SUPERSAMPLE, width * SUPERSAMPLE, 3), np.uint8)
        paint_room(Canvas(self.background, self.matrix * SUPERSAMPLE), room, rng)
        self.canvas = Canvas(np.empty_like(self.background), self.matrix * SUPERSAMPLE)
        self.layers: dict[tuple[str, ...], tuple[Layer, Outlines]] = {}
        self.objects: dict[str, Box] = {}  # of the last drawn picture: things on the desk or in the hands, no clutter

    def draw(self, moment: Moment, rng: np.random.Generator) -> tuple[np.ndarray, Box, Box]:
        """Return the picture (H, W, 3) RGB uint8, the box of the head and the box of the body, in pixels.

        ``objects`` then holds the boxes of the work and of the phone in it.
        """
        canvas, figure = self.canvas, Figure(self.identity, self.outfit, moment)
        canvas.image[:] = self.background
        draw_bust(canvas, figure)
        things = self._paste(self._draw_desk, moment)
        self._draw_hands(figure)
        if moment.work == "laptop":
            things |= self._paste(self._draw_laptop, moment)
        things |= self._draw_phone(figure)
        canvas.paint()
        self.objects = {kind: self._box_around(outline) for kind, outline in things.items()}
        in_use = ["held phone"] if "held phone" in things else [kind for kind in things if kind != "lying phone"]
        joints = [joint + REACH for arm in figure.arms for joint in (arm.shoulder, arm.elbow, arm.hand)]
        head = figure.head.flat([(-1.1, -1.1), (1.1, -1.1)])
        body = np.concatenate([head, *joints, *(things[kind] for kind in in_use)])
        image = self.camera.expose(canvas.image, self.light, rng)
        return image, self._box_around(figure.head.outline()), self._box_around(body)

    def _paste(self, draw: Callable[[Canvas, Moment], Outlines], moment: Moment) -> Outlines:
        """Paste what ``draw`` draws, which depends only on work and phone, and return the outlines of the things."""
        key = draw.__name__, moment.work, moment.phone
        if key not in self.layers:
            canvas = Canvas(np.full((*self.background.shape[:2], 4), 255, np.uint8), self.matrix * SUPERSAMPLE)
            outlines = draw(canvas, moment)
            self.layers[key] = Layer(canvas), outlines
        layer, outlines = self.layers[key]
        self.canvas.paint()
        layer.paste(self.canvas.image)
        return dict(outlines)

    def _draw_desk(self, canvas: Canvas, moment: Moment) -> Outlines:
        colour = self.desk.colour
        canvas.fill(rectangle(-60, DESK_EDGE, 380, 300), colour)
        canvas.stroke([(-60, DESK_EDGE), (380, DESK_EDGE)], shade(colour, 1.25), 1.6)
        for y in (197, 213, 231):
            canvas.stroke([(-60, y), (380, y + 3)], shade(colour, 0.93), 1.0)
        for prop in self.desk.clutter:
            draw_prop(canvas, *prop)
        things = {}
        if moment.phone == "desk":
            things["lying phone"] = draw_prop(canvas, "lying phone", self.desk.phone_spot, self.desk.phone_colour)
        if moment.work in ("book", "notebook"):
            spot, turn = (self._work_x(moment), 210), 0 if moment.work == "book" else -4
            things[moment.work] = draw_prop(canvas, moment.work, spot, self.desk.book_colour, turn)
        return things

    def _draw_laptop(self, canvas: Canvas, moment: Moment) -> Outlines:
        """Draw the laptop, which hides the hands behind it."""
        return {"laptop": draw_prop(canvas, "laptop", (self._work_x(moment), 188), self.desk.laptop_colour)}

    def _work_x(self, moment: Moment) -> float:
        return MIDDLE + (self.desk.aside * 76 if moment.phone == "held" else 0)

    def _draw_hands(self, figure: Figure) -> None:
        """Draw the arms that do not hold a phone, and their pens."""
        for arm in figure.arms:
            if arm.action != "phone":
                draw_arm(self.canvas, figure, arm)
            if arm.action in PENS:
                _draw_pen(self.canvas, arm, figure.moment.wiggle)

    def _draw_phone(self, figure: Figure) -> Outlines:
        """Draw a held phone and the arms that hold it."""
        arms = [arm for arm in figure.arms if arm.action == "phone"]
        if not arms:
            return {}
        balance = float(np.mean([arm.sign for arm in arms]))
        centre, turn = tuple(phone_centre(figure.head, balance)), 2 * figure.moment.wiggle - 6 * balance
        outline = draw_prop(self.canvas, "held phone", centre, self.desk.phone_colour, turn)
        for arm in arms:
            draw_arm(self.canvas, figure, arm)
        return {"held phone": outline}

    def _box_around(self, points: np.ndarray) -> Box:
        """Return the upright pixel box around scene points."""
        pixels = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return (*pixels.min(0).tolist(), *pixels.max(0).tolist())


def _draw_pen(canvas: Canvas, arm: Arm, wiggle: float) -> None:
    swing = (PEN_SWING * wiggle if arm.action == "fiddle" else 0, 0)
    tip, end = np.array(PENS[arm.action], dtype=float) + (swing, (-swing[0], 0))
    mirror = np.array((arm.sign, 1))
    canvas.stroke([arm.hand + mirror * end, arm.hand + mirror * tip], (40, 66, 130), 2.2)
    canvas.stroke([arm.hand + mirror * tip, arm.hand + mirror * tip * 0.75], (230, 220, 200), 2.0)
