"""A set in RAER's layout: students, labelled by the majority of ten simulated annotators, with boxes as detected."""

from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, Literal

import numpy as np

from simulate.behaviour import EMOTIONS, sample_behaviour
from simulate.identity import Identity
from simulate.moment import Moment
from simulate.rooms import ROOMS
from simulate.scene import Box, Scene, clip_box, encode_jpeg, face_of, frame_name, hull
from simulate.sets import SetSettings, Slot, option, write_json, write_lines

TRAIN_PRIORS = {
    "raer": (0.6171, 0.0576, 0.0669, 0.0701, 0.1883),  # of RAER's train list
    "uniform": (0.2, 0.2, 0.2, 0.2, 0.2),
}
NOTE = "Drawings of simulated students, labelled by simulated annotators; they support no claim about RAER or people."
PERSON, CLIP = 1, 2  # families of random streams, beside 0, the plan's
BEHAVIOUR, SCENE, NOISE, DETECTOR = range(4)  # the streams of a clip
LENGTHS = {30: 0.5, 31: 0.24, 32: 0.14, 33: 0.05, 34: 0.03, 35: 0.02, 36: 0.02}  # frames: probability
ANNOTATORS = 10
READING_NOISE, SHARED_NOISE, BIAS = 0.11, 0.085, 0.05  # of one reading, of the clip as a whole, and of a person
NEUTRAL_EVIDENCE = 0.42  # the evidence for another emotion must exceed this
NAMES = [item.name for item in fields(Moment)]
MISSED_CLIPS, MISSED_FRAMES, MISSED_BODIES = 0.01, 0.01, 0.02  # shares in which the detector fails


@dataclass(frozen=True)
class Clip:
    """What is written about a clip besides its frames."""

    slot: Slot
    frames: int
    votes: tuple[int, ...]
    face_boxes: dict[str, list[int]]
    body_box: list[float] | None
    objects: dict[str, dict[str, list[float]]]  # frame name → thing → its box


@dataclass(frozen=True)
class Settings(SetSettings):
    """All settings of a set in RAER's layout."""

    layout: ClassVar[str] = "raer"
    title: ClassVar[str] = "raer"
    persons: int = option(40, "how many persons")
    clips: int = option(700, "how many clips, all lists together")
    imbalance: Literal["raer", "uniform"] = option(
        "uniform", "class shares of the train list (raer: as published); the test list is uniform"
    )
    split: Literal["persons-apart", "published-like"] = option(
        "persons-apart", "no student in both lists, or every test student also in the train list, as published for RAER"
    )
    test_fraction: float = option(0.3, "share of the clips in the test list")
    seed: int = option(42, "same seed, same bytes")
    width: int = option(320, "pixels", 64, 1920)
    height: int = option(240, "pixels", 48, 1440)
    frames: int | None = option(None, "frames in every clip (default: 30 to 36, mostly 30)", 1, 9999)

    def __post_init__(self) -> None:
        super().__post_init__()
        enough = "enough for one clip of each class in each list, 10 or more"
        self.require(self.clips >= 10 and self.train_clips >= 5, "--clips", enough)
        fewest = 2 if self.split == "persons-apart" else 1
        self.require(fewest <= self.persons <= 999, "--persons", f"{fewest} to 999 with --split {self.split}")
        self.require(self.clips <= 999 * self.persons, "--clips", "at most 999 for each of --persons")

    @property
    def test_clips_per_class(self) -> int:
        return max(1, round(self.clips * self.test_fraction / len(EMOTIONS)))

    @property
    def train_clips(self) -> int:
        return self.clips - len(EMOTIONS) * self.test_clips_per_class

    def plan(self) -> list[Slot]:
        """Return the clips of both lists."""
        rng = np.random.default_rng((self.seed, 0))
        counts = {"train": _train_counts(self), "test": [self.test_clips_per_class] * len(EMOTIONS)}
        labels = {name: rng.permutation(np.repeat(np.arange(len(EMOTIONS)), counts[name])).tolist() for name in counts}
        order = rng.permutation(self.persons).tolist()
        if self.split == "published-like":  # with few clips some students have none
            persons = {"train": order, "test": order[: self.train_clips]}
        else:
            tested = min(self.persons - 1, max(1, round(self.persons * self.test_fraction)))
            persons = {"train": order[tested:], "test": order[:tested]}
        rooms = rng.permutation(ROOMS).tolist()
        clips_of, slots = dict.fromkeys(range(self.persons), 0), []
        for name in counts:
            for turn, label in enumerate(labels[name]):
                person = persons[name][turn % len(persons[name])]
                room = rooms[person % len(rooms)]
                clips_of[person] += 1
                folder = f"RAER/images/SelfStudy/{room}/P{person + 1:03d}/{clips_of[person]:03d}"
                slots.append(Slot(len(slots), name, person, room, label, folder))
        return slots

    def draw(self, slot: Slot) -> tuple[Clip, dict[str, bytes]]:
        moments, votes = behave(self, slot)
        scene, noise, detector = scene_of(self, slot), _stream(self, slot, NOISE), _stream(self, slot, DETECTOR)
        files, heads, bodies, objects = {}, [], [], {}
        for number, moment in enumerate(moments, start=1):
            image, head, body = scene.draw(moment, noise)
            files[f"{slot.folder}/{frame_name(number)}"] = encode_jpeg(image, scene.camera.quality)
            objects[frame_name(number)] = _visible_boxes(scene.objects, self.width, self.height)
            heads.append(head)
            bodies.append(body)
        face_boxes = detect_faces(heads, self.width, self.height, detector)
        body_box = detect_body(bodies, self.width, self.height, detector)
        return Clip(slot, len(moments), tuple(votes.tolist()), face_boxes, body_box, objects), files

    def annotate(self, root: Path, records: list[Clip]) -> None:
        """Write both lists, both box files, the boxes of things and the votes."""
        folder = root / "annotation"
        for name in ("train", "test"):
            clips = [clip for clip in records if clip.slot.list_name == name]
            lines = [f"{clip.slot.folder} {clip.frames} {clip.slot.label + 1}" for clip in clips]
            write_lines(folder / f"{name}.txt", lines)
        write_json(folder / "face.json", {clip.slot.folder: clip.face_boxes for clip in records if clip.face_boxes})
        write_json(folder / "body.json", {clip.slot.folder: clip.body_box for clip in records if clip.body_box})
        write_json(folder / "objects.json", {clip.slot.folder: clip.objects for clip in records})
        rows = [("clip", "label", *EMOTIONS)]
        rows += [(clip.slot.folder, clip.slot.label + 1, *clip.votes) for clip in records]
        write_lines(folder / "votes.csv", [",".join(map(str, row)) for row in rows])

    def about(self) -> dict:
        return {"note": NOTE, "classes": EMOTIONS}


def _train_counts(settings: Settings) -> list[int]:
    """Return the clips of each class in the train list: the priors by largest remainder, but at least one each."""
    spare = settings.train_clips - len(EMOTIONS)
    exact = np.maximum(np.array(TRAIN_PRIORS[settings.imbalance]) * settings.train_clips - 1, 0)
    exact = exact / exact.sum() * spare if spare else np.zeros(len(EMOTIONS))
    counts = np.floor(exact).astype(int)
    for label in np.argsort(counts - exact, kind="stable")[: spare - counts.sum()]:
        counts[label] += 1
    return (counts + 1).tolist()


def _stream(settings: Settings, slot: Slot, purpose: int) -> np.random.Generator:
    return np.random.default_rng((settings.seed, CLIP, slot.number, purpose))


def scene_of(settings: Settings, slot: Slot) -> Scene:
    """Return person, room, desk and camera of a slot: nothing here depends on the label.

    A person has the same looks in all clips.
    """
    identity = Identity(np.random.default_rng((settings.seed, PERSON, slot.person)))
    return Scene(identity, slot.room, _stream(settings, slot, SCENE), settings.width, settings.height)


def behave(settings: Settings, slot: Slot) -> tuple[tuple[Moment, ...], np.ndarray]:
    """Return the moments and the votes (5,): emotions are sampled until the majority votes for the slot's label."""
    rng = _stream(settings, slot, BEHAVIOUR)
    frames = settings.frames or int(rng.choice(list(LENGTHS), p=list(LENGTHS.values())))
    while True:
        moments = sample_behaviour(int(rng.integers(len(EMOTIONS))), frames, rng)
        votes = vote(read_evidence(moments), settings.seed, rng)
        second, first = np.sort(votes)[-2:]
        if first > second and votes.argmax() == slot.label:
            return moments, votes


def read_evidence(moments: tuple[Moment, ...]) -> np.ndarray:
    """Return the evidence for each emotion in what is seen, (5,): from behaviour, not from the intended emotion."""
    columns = map(np.array, zip(*map(attrgetter(*NAMES), moments), strict=True))
    track = SimpleNamespace(**dict(zip(NAMES, columns, strict=True)))
    hands = [{m.hand("left"), m.hand("right")} for m in moments]

    def does(*actions: str) -> np.ndarray:
        """Return in which frames either hand visibly does one of the actions, (T,)."""
        return np.array([not pair.isdisjoint(actions) for pair in hands])

    smile = np.maximum(0.0, track.smile)
    enjoyment = smile * 1.05 + 0.3 * track.mouth_open * (track.smile > 0.25)
    frown = 0.75 * track.brow_furrow + 0.25 * np.abs(track.brow_tilt) + 0.2 * track.mouth_press
    confusion = frown + 0.015 * np.abs(track.roll) + 0.22 * does("chin", "head", "pen") - 0.15 * smile
    # A nod falls and jerks back up; it is measured as a share of 20 degrees.
    nods = np.clip(np.abs(np.diff(track.pitch)).max(initial=0) / 20 - 0.15, 0, 0.5)
    yawn, heavy = track.mouth_open * (track.smile < 0.25), np.maximum(0.0, 0.78 - track.eyelid)
    fatigue = 1.25 * heavy + 0.6 * yawn + 0.22 * track.slump + 0.1 * does("palm") + 0.35 * does("eye")
    # How far eyes and head turn away from the scene; a slight turn has little weight.
    turn = np.clip((np.abs(track.yaw) - 12) / 24, 0, 1) + 0.35 * np.maximum(0.0, np.abs(track.gaze_x) - 0.45)
    straying = turn + 0.12 * ((track.left_hand == "fiddle") | (track.right_hand == "fiddle"))
    is_phone = track.attention == "phone"
    distraction = 0.95 * (is_phone & (track.phone == "held")) + np.where(is_phone, 0.0, straying)
    return np.array(
        [NEUTRAL_EVIDENCE, enjoyment.mean(), confusion.mean(), fatigue.mean() + 0.5 * nods, distraction.mean()]
    )


def vote(evidence: np.ndarray, seed: int, rng: np.random.Generator) -> np.ndarray:
    """Return the votes of ten annotators, each with an individual bias and noise, for each emotion, (5,).

    The annotators of a set, and so their biases, depend only on ``seed``.
    """
    biases = np.random.default_rng((seed, ANNOTATORS)).normal(0, BIAS, (ANNOTATORS, len(EMOTIONS)))
    impression = evidence + rng.normal(0, SHARED_NOISE, len(EMOTIONS))
    readings = impression + biases + rng.normal(0, READING_NOISE, (ANNOTATORS, len(EMOTIONS)))
    return np.bincount(readings.argmax(1), minlength=len(EMOTIONS))


def detect_faces(heads: list[Box], width: int, height: int, rng: np.random.Generator) -> dict[str, list[int]]:
    """Return jittered face boxes by frame name, in whole pixels; some frames, and in some clips all, are missing."""
    is_clip_missed, missed = rng.random() < MISSED_CLIPS, rng.random(len(heads)) < MISSED_FRAMES
    size = width / 320
    jitter = rng.normal(0, 0.8, 4) * size + rng.normal(0, 0.9, (len(heads), 4)) * size
    boxes = {}
    for number, (head, shake) in enumerate(zip(heads, jitter, strict=True), start=1):
        if not (is_clip_missed or missed[number - 1]):
            box = clip_box(tuple(np.array(face_of(head)) + shake), width, height)
            boxes[frame_name(number)] = [int(round(edge)) for edge in box]
    return boxes


def detect_body(bodies: list[Box], width: int, height: int, rng: np.random.Generator) -> list[float] | None:
    """Return one box around the body over the clip, or None if the detector failed."""
    is_missed = rng.random() < MISSED_BODIES
    box = np.array(hull(bodies)) + rng.normal(0, 2.0 * width / 320, 4)
    return None if is_missed else [round(edge, 2) for edge in clip_box(tuple(box.tolist()), width, height)]


def _visible_boxes(objects: dict[str, Box], width: int, height: int) -> dict[str, list[float]]:
    """Return the true boxes of things, clipped at the edges; those completely outside the picture are left out."""
    boxes = {name: clip_box(box, width, height) for name, box in objects.items()}
    return {
        name: [round(edge, 1) for edge in (x0, y0, x1, y1)]
        for name, (x0, y0, x1, y1) in boxes.items()
        if x0 < x1 and y0 < y1
    }
