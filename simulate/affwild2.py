"""A set in Aff-Wild2's layout: long videos of one face each, labelled frame by frame for three tasks."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import cv2
import numpy as np

from dataloader.frame_labels import TASKS
from simulate.affect import draw_course, read_video_labels, show_course
from simulate.canvas import Canvas, carry
from simulate.emotions import Temper
from simulate.figure import Figure, draw_bust
from simulate.head import HEAD_HEIGHT
from simulate.identity import Identity
from simulate.moment import Moment
from simulate.rooms import ROOMS, paint_room
from simulate.scene import (
    PORTRAIT_MARGIN,
    SCENE_HEIGHT,
    SCENE_WIDTH,
    SUPERSAMPLE,
    Camera,
    encode_jpeg,
    frame_name,
)  # fmt: skip
from simulate.settings import SetSettings, Slot, Stream, option
from simulate.writer import write_lines

MIN_VIDEOS = 8  # a pair and a single one in either set, and enough of them for every fold
SETS = {"train": "Train_Set", "validation": "Validation_Set"}
UNLABELLED_SHARE = 0.15  # of the single videos of a set, for each task different ones
INVALID_SHARE = {"va": 0.03, "expr": 0.08, "au": 0.04}
FACELESS_SHARE = 0.05
RUNS = (4, 40)  # frames that are lost together
LENGTHS = (400, 901)
EDGE = 112  # pixels of a saved face
UPRIGHT = 0.85  # of the roll of a head is undone
SHAKE, BREATH = 0.4, 0.008  # of the alignment: pixels, and of the size
NOTE = (
    "Drawings of simulated people whose faces follow a simulated course of valence and arousal; "
    "they support no claim about the published set or people."
)
PATHS = (
    "cropped_aligned/<video>/00001.jpg and on, without the frames in which no face was found; "
    "annotations/<challenge>/<Train_Set or Validation_Set>/<video>.txt, line i below the header for frame i; "
    "-5 and -1 stand for no valid label"
)
Video = tuple[Slot, dict[str, np.ndarray]]  # and its labels by task


@dataclass(frozen=True)
class VideoSettings(SetSettings):
    """What decides the bytes of a set. Every video shows another person, so train and validation share nobody."""

    title: ClassVar[str] = "affwild2"
    layout: Literal["affwild2"] = "affwild2"
    clips: int = option(
        16, "how many videos, both sets together; two pairs of them show the two persons of one video", MIN_VIDEOS, 998
    )
    test_fraction: float = option(0.3, "share of the videos in the validation set")
    seed: int = option(42, "same seed, same bytes")
    frames: int | None = option(None, "frames in every video (default: 400 to 900)", 1, 99999)

    @property
    def persons(self) -> int:
        return self.clips

    def plan(self) -> list[Slot]:
        """Return the videos of both sets, a pair in each."""
        rng = self.stream(Stream.PLAN)
        # In validation at least a pair and a single video; four groups are left to train on.
        held_out = min(max(3, round(self.clips * self.test_fraction)), self.clips - 5)
        sizes = {"train": self.clips - held_out, "validation": held_out}
        videos = [name for name, size in sizes.items() for _ in range(size - 1)]  # a pair is one video
        pairs = {videos.index(name) for name in sizes}
        slots: list[Slot] = []
        for number, video in enumerate(rng.permutation(len(videos)).tolist(), 1):
            room = ROOMS[rng.integers(len(ROOMS))]
            for suffix in ("_left", "_right") if video in pairs else ("",):
                folder = f"cropped_aligned/{number:03d}{suffix}"
                slots.append(Slot(len(slots), videos[video], len(slots), room, 0, folder))
        return slots

    def draw(self, slot: Slot) -> tuple[Video, dict[str, bytes]]:
        person, behaviour, losses = (
            self.stream(purpose, slot.number) for purpose in (Stream.PERSON, Stream.BEHAVIOUR, Stream.LOSSES)
        )
        identity, temper = Identity(person), Temper(person)
        course = draw_course(length_of(self, slot), behaviour)
        intended, live = show_course(course, temper, behaviour)
        labels = read_video_labels(course, intended, losses)
        for task, rows in labels.items():
            invalid = draw_runs(len(rows), INVALID_SHARE[task], losses)
            labels[task] = np.where(invalid[:, None], TASKS[task].invalid, rows)
        faceless = draw_runs(len(course), FACELESS_SHARE, losses)
        closeup = Closeup(identity, slot.room, self.stream(Stream.SCENE, slot.number))
        noise, files = self.stream(Stream.NOISE, slot.number), {}
        for number, moment in enumerate(live):
            if not faceless[number]:
                data = encode_jpeg(closeup.draw(moment, noise), closeup.camera.quality)
                files[f"{slot.folder}/{frame_name(number + 1)}"] = data
        return (slot, labels), files

    def annotate(self, root: Path, records: list[Video]) -> None:
        """Write one file for each video and task; as in the challenge, tasks leave out different videos."""
        skipped: dict[str, set[int]] = {task: set() for task in TASKS}
        for number, name in enumerate(SETS, 1):
            slots = [slot for slot, _ in records if slot.list_name == name]
            singles = [slot.number for slot in slots if not id_of(slot).endswith(("_left", "_right"))]
            count = min(max(1, round(UNLABELLED_SHARE * len(singles))), len(singles) // len(TASKS))
            order = self.stream(Stream.PLAN, number).permutation(singles).tolist()
            for position, task in enumerate(TASKS):
                skipped[task] |= set(order[position * count : (position + 1) * count])
        for task, challenge in TASKS.items():
            for slot, labels in records:
                if slot.number not in skipped[task]:
                    folder = root / "annotations" / challenge.folders[0] / SETS[slot.list_name]
                    rows = [",".join(f"{value:g}" for value in row) for row in labels[task]]
                    write_lines(folder / f"{id_of(slot)}.txt", [",".join(challenge.names), *rows])

    def about(self) -> dict:
        return {"note": NOTE, "paths": PATHS}


def id_of(slot: Slot) -> str:
    """Return the name of a video: ``001``, or ``001_left`` for one of its two persons."""
    return slot.folder.rpartition("/")[2]


def length_of(settings: VideoSettings, slot: Slot) -> int:
    """Return the frames of a video, the same for both of its persons."""
    return settings.frames or int(settings.stream(Stream.LENGTH, int(id_of(slot)[:3])).integers(*LENGTHS))


def draw_runs(frames: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return a mask (frames,) that is True in runs, about ``share`` of the frames in all."""
    mask = np.zeros(frames, dtype=bool)
    target, longest = rng.normal(share, share / 4) * frames, min(RUNS[1], max(RUNS[0] + 1, frames // 12))
    while mask.sum() < target:
        start = rng.integers(frames)
        mask[start : start + rng.integers(RUNS[0], longest)] = True
    return mask if not mask.all() else ~mask  # a very short video keeps its frames


class Closeup:
    """Draws one video as the challenge crops it: a face turned upright, centred and small."""

    def __init__(self, identity: Identity, room: str, rng: np.random.Generator) -> None:
        self.identity, self.outfit = identity, identity.wardrobe[rng.integers(len(identity.wardrobe))]
        self.camera = Camera(rng)
        self.light = self.camera.light(EDGE, EDGE)
        self.scale = EDGE / (2 * PORTRAIT_MARGIN * HEAD_HEIGHT) * rng.uniform(0.97, 1.05)  # pixels for a scene unit
        self.drop = rng.normal(2, 1)  # scene units from the middle of the head to the middle of the crop
        self.background = np.empty((SCENE_HEIGHT, SCENE_WIDTH, 3), np.uint8)
        paint_room(Canvas(self.background, np.eye(2, 3)), room, rng)

    def draw(self, moment: Moment, rng: np.random.Generator) -> np.ndarray:
        """Return a frame, (EDGE, EDGE, 3) RGB uint8."""
        figure = Figure(self.identity, self.outfit, moment)
        scale = SUPERSAMPLE * self.scale * rng.normal(1, BREATH)
        middle = SUPERSAMPLE * (EDGE / 2 + rng.normal(0, SHAKE, 2))
        matrix = carry(figure.head.centre + (0, self.drop), middle, scale, -UPRIGHT * moment.roll)
        size = EDGE * SUPERSAMPLE
        large = cv2.warpAffine(self.background, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
        draw_bust(Canvas(large, matrix), figure)
        return self.camera.expose(large, self.light, rng)
