"""A set in Aff-Wild2's layout: long videos of one face each, labelled frame by frame for three tasks.

A video has a course of valence, arousal and dominance, which determines everything that is shown and labelled: the face
moves with the weights of the regions of expressions and with valence and arousal, and the expression of a frame is the
region that it is in. A single frame shows less than several neighbours: faces flutter, blink and talk, and part of the
arousal shows only in the movement of the head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import cv2
import numpy as np

from dataloader.frame_labels import TASKS
from simulate.canvas import Canvas, carry
from simulate.emotions import ACTIONS, SIDED, Temper, rest_track
from simulate.figure import Figure, draw_bust
from simulate.head import HEAD_HEIGHT
from simulate.identity import Identity
from simulate.moment import Moment, Track
from simulate.rooms import ROOMS, paint_room
from simulate.scene import PORTRAIT_MARGIN, SCENE_HEIGHT, SCENE_WIDTH, SUPERSAMPLE, Camera, encode_jpeg, frame_name
from simulate.sets import SetSettings, Slot, Stream, option, write_lines

MIN_VIDEOS = 8  # a pair and a single video in each set, and enough for every fold
SETS = {"train": "Train_Set", "validation": "Validation_Set"}
UNLABELLED_SHARE = 0.15  # of the single videos of a set; different ones for each task
INVALID_SHARE = {"va": 0.03, "expr": 0.08, "au": 0.04}
FACELESS_SHARE = 0.05
RUNS = (4, 40)  # frames that are lost together
LENGTHS = (400, 901)
EDGE = 112  # pixels of a saved face
UPRIGHT = 0.85  # share of the roll of a head that is removed
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
REGIONS = {  # valence, arousal, dominance; in the order of the classes
    "neutral": (0.05, -0.05, 0.0),
    "anger": (-0.6, 0.65, 0.7),
    "disgust": (-0.75, 0.0, 0.5),
    "fear": (-0.5, 0.7, -0.75),
    "happiness": (0.75, 0.4, 0.2),
    "sadness": (-0.65, -0.45, -0.5),
    "surprise": (0.2, 0.85, -0.3),
    "other": (0.05, -0.35, 0.9),
}
CENTRES = np.array(list(REGIONS.values()))  # (8, 3)
DECK = [*range(len(CENTRES)), list(REGIONS).index("happiness")]  # happiness twice, since most others are negative
STAYS = (35, 110)  # frames in or near one region
DEPTHS = (0.5, 1.1)  # distance from neutral, as a share of that to the centre of a region
SOFTNESS = 0.22  # distance over which regions blend
TURNING, WANDERING = 7.0, 18.0  # frames
WANDER = 0.1
LAG = 8  # frames of delay of an annotator's hand
DIRECT = {"smile": (0.3, 0), "eyelid": (0, 0.08), "forward": (0, 0.2), "slump": (0, -0.25)}  # valence, arousal
FLUTTER = {
    "brow_raise": 0.2, "brow_furrow": 0.16, "eyelid": 0.06, "smile": 0.22, "mouth_open": 0.05, "mouth_press": 0.16,
}  # fmt: skip
RESTLESS = {"yaw": 7.0, "pitch": 5.0, "gaze_x": 0.3}  # of a head at full arousal
FLUTTERING, SHAKING = 2.5, 1.5  # frames
RARE_CHANCE = 0.5  # movements with a lower probability occur only in short clips
TURN_SHARE = 0.5  # heads turn less than in clips: the crop is aligned to the face
ACTION_UNITS: dict[str, Callable[[Moment], bool]] = {
    "AU1": lambda m: m.brow_raise - 0.3 * m.brow_furrow > 0.35,  # inner brows: a frown holds them down
    "AU2": lambda m: m.brow_raise - 0.6 * m.brow_furrow > 0.4 or abs(m.brow_tilt) > 0.5,  # outer brows, or one of them
    "AU4": lambda m: m.brow_furrow > 0.35,
    "AU6": lambda m: m.smile > 0.45 and m.eyelid < 0.72,  # cheeks up: a smile that reaches the eyes
    "AU7": lambda m: m.eyelid < 0.56,
    "AU10": lambda m: m.smile < -0.25 and m.brow_raise < -0.15,  # the sneer of disgust
    "AU12": lambda m: m.smile > 0.25,
    "AU15": lambda m: m.smile < -0.35,
    "AU23": lambda m: m.mouth_press > 0.35 and m.mouth_open < 0.12,
    "AU24": lambda m: m.mouth_press > 0.55 and m.mouth_open < 0.12,
    "AU25": lambda m: m.mouth_open > 0.12,
    "AU26": lambda m: m.mouth_open > 0.35,
}
Video = tuple[Slot, dict[str, np.ndarray]]  # and its labels by task


@dataclass(frozen=True)
class VideoSettings(SetSettings):
    """All settings of a set. Every video shows another person, so train and validation share no person."""

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
        course = sample_course(length_of(self, slot), behaviour)
        intended, live = show_course(course, temper, behaviour)
        labels = read_video_labels(course, intended, losses)
        for task, rows in labels.items():
            invalid = sample_runs(len(rows), INVALID_SHARE[task], losses)
            labels[task] = np.where(invalid[:, None], TASKS[task].invalid, rows)
        faceless = sample_runs(len(course), FACELESS_SHARE, losses)
        closeup = Closeup(identity, slot.room, self.stream(Stream.SCENE, slot.number))
        noise, files = self.stream(Stream.NOISE, slot.number), {}
        for number, moment in enumerate(live):
            if not faceless[number]:
                data = encode_jpeg(closeup.draw(moment, noise), closeup.camera.quality)
                files[f"{slot.folder}/{frame_name(number + 1)}"] = data
        return (slot, labels), files

    def annotate(self, root: Path, records: list[Video]) -> None:
        """Write one file for each video and task; as in the challenge, each task lacks different videos."""
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


def sample_runs(frames: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return a mask (frames,) that is True in runs, about ``share`` of the frames in total."""
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
        canvas = Canvas(large, matrix)
        draw_bust(canvas, figure)
        canvas.paint()
        return self.camera.expose(large, self.light, rng)


# --- the course of a video, the face that follows it and its labels


def sample_course(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return a course that moves smoothly from one region to another: (frames, 3), each within -1 … 1."""
    goals, deck = [], []
    while len(goals) < frames:
        deck = deck or rng.permutation(DECK).tolist()
        centre = CENTRES[0] + rng.uniform(*DEPTHS) * (CENTRES[deck.pop()] - CENTRES[0])
        goals += [centre + rng.normal(0, 0.08, 3)] * int(rng.integers(*STAYS))
    return np.clip(smooth(np.array(goals[:frames]), TURNING) + wander((frames, 3), WANDER, rng), -1, 1)


def weigh_regions(course: np.ndarray) -> np.ndarray:
    """Return the weight of each region in each frame, (frames, 8); rows sum to 1."""
    distances = ((course[:, None] - CENTRES) ** 2).sum(-1)
    weights = np.exp(-(distances - distances.min(1, keepdims=True)) / (2 * SOFTNESS**2))
    return weights / weights.sum(1, keepdims=True)


def wander(shape: tuple[int, int], size: float, rng: np.random.Generator, width: float = WANDERING) -> np.ndarray:
    """Return noise around zero of that standard deviation, smooth over ``width`` frames."""
    return size * np.sqrt(2 * np.sqrt(np.pi) * width) * smooth(rng.standard_normal(shape), width)


def smooth(values: np.ndarray, width: float) -> np.ndarray:
    """Return every column of (frames, K) smoothed by a Gaussian of ``width`` frames, with constant ends."""
    reach = int(3 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], axis=1)


def show_course(
    course: np.ndarray, temper: Temper, rng: np.random.Generator
) -> tuple[tuple[Moment, ...], tuple[Moment, ...]]:
    """Return the moments of a face that shows the expressions by the weights of their regions, in two versions.

    The first is what an annotator sees who knows the frames before and after; the second is what is filmed.
    """
    track = rest_track(len(course), temper, rng)
    blinks, track.eyelid = track.eyelid == 0, np.full(len(course), np.max(track.eyelid))
    weights = weigh_regions(course)
    # Depth is 0 at neutral and about 1 at the centres of the regions.
    distance = np.linalg.norm(course - CENTRES[0], axis=1)
    depth = np.clip(distance / np.linalg.norm(CENTRES[1:] - CENTRES[0], axis=1).mean(), 0, 1.2)
    for number, name in enumerate(REGIONS):
        amount = weights[:, number] * depth * temper.liveliness
        _show_emotion(track, "contempt" if name == "other" else name, amount, rng)
    for latent, shares in DIRECT.items():
        track.add(latent, course[:, :2] @ np.array(shares, dtype=float))
    _distract(track, rng)
    intended = track.moments()
    for latent, size in FLUTTER.items():
        track.add(latent, wander((track.frames, 1), size, rng, FLUTTERING)[:, 0])
    for latent, size in RESTLESS.items():
        track.add(latent, np.clip(course[:, 1], 0, 1) * wander((track.frames, 1), size, rng, SHAKING)[:, 0])
    track.eyelid = np.where(blinks, 0.0, track.eyelid)
    return intended, track.moments()


def _show_emotion(track: Track, emotion: str, amount: np.ndarray, rng: np.random.Generator) -> None:
    """Add an emotion's movements; a person shows it in the same way in the whole video."""
    sign = track.sign()
    for latent, (full_size, chance) in ACTIONS[emotion].items():
        takes_part, size = rng.random() < chance, full_size * rng.uniform(0.85, 1.15)
        if takes_part and chance >= RARE_CHANCE:
            size *= sign if latent in SIDED else 1
            size *= TURN_SHARE if latent in ("yaw", "pitch", "roll") else 1
            track.add(latent, size * amount)


def _distract(track: Track, rng: np.random.Generator) -> None:
    """Add movements without meaning: glances, turns and a little talk."""
    for _ in range(max(1, track.frames // 150)):
        sign = track.sign()
        track.gaze_x += sign * rng.uniform(0.3, 0.8) * track.bump(rng.uniform(10, 30))
        track.yaw += sign * rng.uniform(5, 16) * track.bump(rng.uniform(15, 50))
    words = np.abs(np.sin(track.time * rng.uniform(0.25, 0.4)))
    track.mouth_open += rng.uniform(0.2, 0.4) * words * track.bump(60)


def read_video_labels(
    course: np.ndarray, moments: tuple[Moment, ...], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return labels (frames, 2), (frames, 1) and (frames, 12) by task.

    Valence and arousal have the delay of an annotator.
    """
    delayed = course[np.maximum(np.arange(len(course)) - LAG, 0), :2]
    valence_arousal = np.clip(delayed + wander((len(course), 2), 0.04, rng), -1, 1)
    units = np.array([[is_active(moment) for is_active in ACTION_UNITS.values()] for moment in moments], dtype=int)
    return {"va": valence_arousal.round(3), "expr": weigh_regions(course).argmax(1)[:, None], "au": units}
