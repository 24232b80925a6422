"""One clip from its slot: behaviour until the annotators agree on the label, then its frames, boxes and votes."""

from dataclasses import dataclass

import numpy as np

from simulate.annotators import annotate, majority, read_clip
from simulate.behaviour import EMOTIONS, draw_behaviour
from simulate.boxes import Box, detect_body, detect_faces, frame_name, seen_boxes
from simulate.identity import Identity, draw_identity
from simulate.moment import Moment
from simulate.plan import Settings, Slot
from simulate.scene import Scene, encode_jpeg

PERSON, CLIP = 1, 2  # families of random streams, apart from the plan's
BEHAVIOUR, SCENE, NOISE, DETECTOR = range(4)  # the streams of a clip


@dataclass(frozen=True)
class Clip:
    """What is written of one clip besides its frames."""

    slot: Slot
    frames: int
    votes: tuple[int, ...]
    face_boxes: dict[str, list[int]]
    body_box: list[float] | None
    objects: dict[str, dict[str, list[float]]]  # frame name → thing → its box


def person_of(settings: Settings, person: int) -> Identity:
    """The looks of a person, the same in all clips."""
    return draw_identity(np.random.default_rng((settings.seed, PERSON, person)))


def behave(settings: Settings, slot: Slot) -> tuple[tuple[Moment, ...], np.ndarray]:
    """The moments and the votes (5,): any emotion is tried until the majority names the slot's label."""
    rng = _stream(settings, slot, BEHAVIOUR)
    frames = settings.frames or int(
        rng.choice((30, 31, 32, 33, 34, 35, 36), p=(0.5, 0.24, 0.14, 0.05, 0.03, 0.02, 0.02))
    )
    while True:
        moments = draw_behaviour(int(rng.integers(len(EMOTIONS))), frames, rng)
        votes = annotate(read_clip(moments), settings.seed, rng)
        if majority(votes) == slot.label:
            return moments, votes


def draw_clip(settings: Settings, slot: Slot) -> tuple[Clip, list[bytes]]:
    """A pure function of its arguments: the record of the clip and its JPEG frames."""
    moments, votes = behave(settings, slot)
    scene = scene_of(settings, slot)
    noise, detector = _stream(settings, slot, NOISE), _stream(settings, slot, DETECTOR)
    pictures: list[bytes] = []
    heads: list[Box] = []
    bodies: list[Box] = []
    objects: dict[str, dict[str, list[float]]] = {}
    size = settings.width, settings.height
    for number, moment in enumerate(moments, start=1):
        image, head, body = scene.draw(moment, noise)
        pictures.append(encode_jpeg(image, scene.camera.quality))
        objects[frame_name(number)] = seen_boxes(scene.objects, *size)
        heads.append(head)
        bodies.append(body)
    faces, body = detect_faces(heads, *size, detector), detect_body(bodies, *size, detector)
    return Clip(slot, len(moments), tuple(votes.tolist()), faces, body, objects), pictures


def scene_of(settings: Settings, slot: Slot) -> Scene:
    """Person, place, desk and camera of a slot: nothing here knows the label."""
    rng = _stream(settings, slot, SCENE)
    return Scene(person_of(settings, slot.person), slot.place, rng, settings.width, settings.height)


def _stream(settings: Settings, slot: Slot, purpose: int) -> np.random.Generator:
    return np.random.default_rng((settings.seed, CLIP, slot.number, purpose))
