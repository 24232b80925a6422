"""Boxes as detectors give them: a face box from the drawn head, jitter, and the few that are missing."""

import numpy as np

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

FOREHEAD = 0.10  # detectors start below the hair: this share of the head's height
LOST_CLIPS, LOST_FRAMES, LOST_BODIES = 0.01, 0.01, 0.02


def face_of(head: Box) -> Box:
    """The face within the outline of the head."""
    left, top, right, bottom = head
    return left, top + FOREHEAD * (bottom - top), right, bottom


def clip_box(box: Box, width: int, height: int) -> Box:
    """``box`` cut off at the edges of the picture."""
    left, top, right, bottom = box
    return max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom)


def detect_faces(heads: list[Box], width: int, height: int, rng: np.random.Generator) -> dict[str, list[int]]:
    """The boxes of a clip by frame name, as whole pixels; some frames, and in some clips all, are missing."""
    is_clip_lost, lost = rng.random() < LOST_CLIPS, rng.random(len(heads)) < LOST_FRAMES
    size = width / 320
    jitter = rng.normal(0, 0.8, 4) * size + rng.normal(0, 0.9, (len(heads), 4)) * size
    found = {}
    for number, (head, shake) in enumerate(zip(heads, jitter, strict=True), start=1):
        if not (is_clip_lost or lost[number - 1]):
            box = clip_box(tuple(np.array(face_of(head)) + shake), width, height)
            found[frame_name(number)] = [int(round(edge)) for edge in box]
    return found


def detect_body(bodies: list[Box], width: int, height: int, rng: np.random.Generator) -> list[float] | None:
    """One box around the body over the clip, or None where the detector failed."""
    is_lost = rng.random() < LOST_BODIES
    edges = np.array(bodies)
    whole = np.concatenate([edges[:, :2].min(0), edges[:, 2:].max(0)]) + rng.normal(0, 2.0 * width / 320, 4)
    return None if is_lost else [round(edge, 2) for edge in clip_box(tuple(whole.tolist()), width, height)]


def seen_boxes(objects: dict[str, Box], width: int, height: int) -> dict[str, list[float]]:
    """The true boxes of things, cut off at the edges of the picture; what lies wholly outside is left out."""
    cut = {name: clip_box(box, width, height) for name, box in objects.items()}
    return {
        name: [round(edge, 1) for edge in (left, top, right, bottom)]
        for name, (left, top, right, bottom) in cut.items()
        if left < right and top < bottom
    }


def frame_name(number: int) -> str:
    """``00001.jpg`` for the first frame."""
    return f"{number:05d}.jpg"
