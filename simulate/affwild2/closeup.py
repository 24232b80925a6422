"""A face as the challenge crops it: turned upright, centred, small; drawn in place, since videos are long."""

from dataclasses import dataclass

import cv2
import numpy as np

from simulate.camera import SCENE_HEIGHT, SCENE_WIDTH, SUPERSAMPLE, draw_camera
from simulate.canvas import Canvas
from simulate.face import HEAD_HEIGHT, draw_face
from simulate.figure import Figure, draw_torso, pose_figure
from simulate.hair import draw_back_hair, draw_front_hair
from simulate.identity import Identity
from simulate.moment import Moment
from simulate.place import paint_place
from simulate.portrait import MARGIN

SIDE = 112  # pixels of a saved face
UPRIGHT = 0.85  # of the roll of a head is undone
SHAKE, BREATH = 0.4, 0.008  # of the alignment: pixels, and of the size


@dataclass(frozen=True)
class Alignment:
    """How the crops of one video lie on the head."""

    scale: float  # pixels of a saved face for a scene unit
    drop: float  # scene units from the middle of the head to the middle of the crop

    def matrix(self, figure: Figure, rng: np.random.Generator) -> np.ndarray:
        """Scene units → pixels of the large drawing, (2, 3)."""
        scale = SUPERSAMPLE * self.scale * rng.normal(1, BREATH)
        angle = np.radians(-UPRIGHT * figure.moment.roll)
        linear = scale * np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
        middle = SUPERSAMPLE * (SIDE / 2 + rng.normal(0, SHAKE, 2))
        return np.column_stack([linear, middle - linear @ (figure.head.centre + (0, self.drop))])


class Closeup:
    """Draws one video. The background is painted once."""

    def __init__(self, identity: Identity, place: str, rng: np.random.Generator):
        self.identity, self.outfit = identity, identity.wardrobe[rng.integers(len(identity.wardrobe))]
        self.camera = draw_camera(rng)
        self.light = self.camera.light(SIDE, SIDE)
        self.alignment = Alignment(SIDE / (2 * MARGIN * HEAD_HEIGHT) * rng.uniform(0.97, 1.05), rng.normal(2, 1))
        self.background = np.empty((SCENE_HEIGHT, SCENE_WIDTH, 3), np.uint8)
        paint_place(Canvas(self.background, np.eye(2, 3)), place, rng)

    def draw(self, moment: Moment, rng: np.random.Generator) -> np.ndarray:
        """(SIDE, SIDE, 3) RGB uint8."""
        figure = pose_figure(self.identity, self.outfit, moment)
        matrix = self.alignment.matrix(figure, rng)
        size = SIDE * SUPERSAMPLE
        large = cv2.warpAffine(self.background, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
        canvas = Canvas(large, matrix)
        draw_back_hair(canvas, figure.head)
        draw_torso(canvas, figure)
        draw_face(canvas, figure.head)
        draw_front_hair(canvas, figure.head)
        return self.camera.expose(large, self.light, rng)
