"""Measures face and body detection on simulated students, whose true boxes are known, and on a photograph.

    python -m benchmarks.detect --root-dir data/raer-sim --face-model cascades
    python -m benchmarks.detect --root-dir data/raer-sim --face-model yunet

The photograph is the astronaut of scikit-image, where that is installed: moved, scaled, mirrored, darkened, blurred and
rotated. Writes benchmarks/results/detect.json.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from benchmarks.machine import describe_machine
from dataloader.boxes import Box, read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.detect import Detections, Detector, body_box, open_detector, overlap, resolve_face_model

PHOTO_FACE = (181, 75, 270, 178)  # measured by eye: from cheek to cheek and from hair to chin
HIT = 0.5  # smallest overlap (IoU) of a correct detection
RESULTS = Path(__file__).parent / "results" / "detect.json"


class Count:
    """Results for the frames of one kind."""

    def __init__(self) -> None:
        self.faces: list[float] = []  # best overlap with the true face, for each frame
        self.bodies: list[float] = []  # overlap with the true body, for each frame with a detected face
        self.false_detections = 0

    def add(self, detections: Detections, face: Box, body: Box | None, width: int, height: int) -> None:
        overlaps = [overlap(detection.box, face) for detection in detections.faces]
        self.faces.append(max(overlaps, default=0.0))
        self.false_detections += sum(value < HIT for value in overlaps)
        if body is not None and overlaps:
            nearest = detections.faces[int(np.argmax(overlaps))].box
            self.bodies.append(overlap(body_box(nearest, detections.bodies, width, height), body))

    def row(self) -> dict[str, float | int | None]:
        """Return the number of frames, the recall, mean overlaps and false detections per frame."""
        faces = np.array(self.faces)
        hits = faces[faces >= HIT]
        return {
            "frames": len(faces),
            "recall": round(float((faces >= HIT).mean()), 3),
            "iou_of_hits": round(float(hits.mean()), 3) if len(hits) else None,
            "false_per_frame": round(self.false_detections / len(faces), 3),
            "body_iou": round(float(np.mean(self.bodies)), 3) if self.bodies else None,
        }


def measure_simulated(detector: Detector, root: Path, frames: int) -> dict[str, dict]:
    """Return results on frames spread over the simulated test clips, for each class and for all together."""
    faces = read_face_boxes("annotation/face.json", str(root))
    bodies = read_body_boxes("annotation/body.json", str(root))
    names = load_classes("RAER").names
    lines = [line.rsplit(" ", 2) for line in (root / "annotation/test.txt").read_text("utf-8").splitlines()]
    truth = [(f, int(label), faces.get(f.removeprefix("RAER/"), faces.get(f))) for f, _, label in lines]
    truth = [(folder, label, boxes) for folder, label, boxes in truth if boxes]
    counts, rng = defaultdict(Count), np.random.default_rng(0)
    for number in range(frames):
        folder, label, boxes = truth[number * len(truth) // frames % len(truth)]
        name = sorted(boxes)[rng.integers(len(boxes))]
        frame = cv2.cvtColor(cv2.imread(str(root / folder / name)), cv2.COLOR_BGR2RGB)
        body = bodies.get(folder, bodies.get(folder.removeprefix("RAER/")))
        detections = detector(frame)
        for kind in ("all", names[label - 1]):
            counts[kind].add(detections, boxes[name], body, frame.shape[1], frame.shape[0])
    return {kind: counts[kind].row() for kind in ("all", *names) if kind in counts}


def measure_photograph(detector: Detector) -> dict[str, dict]:
    """Return results on variants of a photograph with one face, or no results if scikit-image is not installed."""
    try:
        from skimage.data import astronaut
    except ImportError:
        return {}
    counts = defaultdict(Count)
    for kind, frame, face in photographs(astronaut(), np.random.default_rng(0)):
        counts[kind].add(detector(frame), face, None, frame.shape[1], frame.shape[0])
    return {kind: count.row() for kind, count in counts.items()}


def photographs(photo: np.ndarray, rng: np.random.Generator, count: int = 8):
    """Yield (kind, frame of 1280 x 720, true face box), ``count`` frames of each kind."""
    for kind in ("plain", "mirrored", "dark", "blurred", "small", "rotated 10°", "rotated 20°", "rotated 30°"):
        for _ in range(count):
            scale = rng.uniform(0.25, 0.45) if kind == "small" else rng.uniform(0.6, 1.2)
            angle = float(kind[8:-1]) * rng.choice([-1, 1]) if kind.startswith("rotated") else 0.0
            matrix = cv2.getRotationMatrix2D((225, 127), angle, scale)  # around the middle of the face
            matrix[:, 2] += rng.uniform([400, 200], [880, 520]) - (225, 127)
            picture = cv2.warpAffine(photo, matrix, (1280, 720), borderMode=cv2.BORDER_REPLICATE)
            face = corners_around(matrix, PHOTO_FACE, angle)
            if kind == "mirrored":
                picture, face = (
                    np.ascontiguousarray(picture[:, ::-1]),
                    (1280 - face[2], face[1], 1280 - face[0], face[3]),
                )
            picture = (picture * 0.3).astype(np.uint8) if kind == "dark" else picture
            picture = cv2.GaussianBlur(picture, (0, 0), 4) if kind == "blurred" else picture
            yield kind, picture, face


def corners_around(matrix: np.ndarray, face: Box, angle: float) -> Box:
    """Return the face box after the transformation. It is scaled but not widened by ``angle``."""
    middle = matrix @ [(face[0] + face[2]) / 2, (face[1] + face[3]) / 2, 1]
    scale = float(np.hypot(*matrix[0, :2]))
    half = np.array([face[2] - face[0], face[3] - face[1]]) * scale / 2
    return (*(middle - half).tolist(), *(middle + half).tolist())


def show(title: str, rows: dict[str, dict]) -> None:
    """Print the results as a table."""
    print(f"\n{title}\n{'':14}" + "".join(f"{name:>16}" for name in next(iter(rows.values()))))
    for kind, row in rows.items():
        print(f"{kind:14}" + "".join(f"{'-' if value is None else value:>16}" for value in row.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root-dir", type=Path, required=True, help="folder of a simulated set in RAER's layout")
    parser.add_argument("--frames", type=int, default=210, help="number of test frames (default: 210, one per clip)")
    parser.add_argument("--face-model", help="yunet, cascades or a model file (default: yunet if installed)")
    options = parser.parse_args()
    detector, started = open_detector(options.face_model), time.process_time()
    simulated = measure_simulated(detector, options.root_dir, options.frames)
    milliseconds = round(1000 * (time.process_time() - started) / options.frames)
    photo = measure_photograph(detector)
    show("simulated students, 320 x 240", simulated)
    if photo:
        show("a photograph in 1280 x 720", photo)
    print(f"\n{milliseconds} ms of CPU time per simulated frame")
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    results[resolve_face_model(options.face_model)] = {
        "machine": describe_machine(),
        "simulated": simulated,
        "photograph": photo,
        "cpu_ms": milliseconds,
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
