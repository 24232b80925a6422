"""Sets in the layouts of published ones: their classes and folders; draws their clips or stills and writes their lists.

The layouts of RAER and Aff-Wild2 are in other files.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import cv2
import numpy as np

from simulate.captions import describe_clip, describe_in_chinese, find_apex, read_change
from simulate.emotions import EMOTION_NAMES, Temper, sample_emotions, sample_learner, sample_levels
from simulate.identity import Identity
from simulate.moment import Moment
from simulate.rooms import ROOMS
from simulate.scene import PORTRAIT_SCENE, Scene, clip_box, crop_portraits, encode_jpeg, face_of, frame_name, hull
from simulate.sets import SetSettings, Slot, Stream, option, write_json, write_lines
from utils.errors import UserError

NOTE = (
    "Drawings of simulated people, labelled with what they were drawn to show; "
    "they support no claim about the published set or people."
)
SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")  # of DFEW, FERV39k and AFEW
SEVEN_FOLDERS = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
RAF_CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
AFFECT_CLASSES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
AFFECT_COLUMNS = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)
NO_FACE = 10  # AffectNet's label of pictures without a face
FER_CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
FER_FOLDERS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FER_SIDE = 48  # pixels
FER_VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
ENGAGEMENT_CLASSES = ("Not-Engaged", "Barely-engaged", "Engaged", "Highly-Engaged")
CAER_CLASSES = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
EMOTION_OF = dict(zip(SEVEN_FOLDERS, SEVEN, strict=True)) | {"Anger": "anger"}  # for classes with another name
BLENDS = (  # in MAFW's class order
    ("anger", "disgust"), ("fear", "surprise"), ("sadness", "disappointment"), ("happiness", "surprise"),
    ("anxiety", "helplessness"), ("anger", "contempt"), ("fear", "anxiety"), ("sadness", "helplessness"),
    ("anger", "surprise"), ("disgust", "contempt"), ("anger", "sadness"),
)  # fmt: skip
BLENDED_SHARE = 0.2  # of the clips of a layout with blends
FIRST_LEARNER = 110001  # DAiSEE's persons have six digits, with which the names of their clips start
AFFECTS = ("Boredom", "Engagement", "Confusion", "Frustration")
LENGTHS = {12: 0.08, 14: 0.14, 16: 0.5, 18: 0.16, 20: 0.12}  # frames: probability
STILL_FRAMES = 12  # of the clip whose apex becomes a single picture
TEST_FRACTION, SCENE_SIZE = 0.3, (320, 240)
LIST_OF_FOLDERS = "lists hold `path frames label`, labels from 0; a path is a folder of frames below this folder"
FOLDS = ("1", "2", "3", "4", "5")
RATING_NOISE = 0.35  # standard deviation of a symptom score
LIVELY, LOWERED = 1.1, 1.0  # movement and lowering for which a score is 63 % of 10


@dataclass(frozen=True)
class DrawnClip:
    """Facts about a clip besides its pictures."""

    slot: Slot
    moments: tuple[Moment, ...]
    first: dict[str, str]  # what can be seen at its first moment
    apex: dict[str, str]  # and at its most expressive one
    face_box: list[int]  # left, top, right, bottom in whole pixels: the face is inside in every frame
    levels: dict[str, int]  # of the four affects if engagement is the label

    def list_words(self) -> dict[str, str | int]:
        """Return the words for a line of a list; ``below_root`` is the path without its first folder."""
        path, label = self.slot.folder, self.slot.label
        words = {"path": path, "below_root": path.partition("/")[2], "frames": len(self.moments)}
        return words | {"label": label, "label_from_1": label + 1, "levels": " ".join(map(str, self.levels.values()))}


def split_lists(lists: tuple[str, ...], clips: list[DrawnClip]) -> list[tuple[str, str, list[DrawnClip]]]:
    """Return fold, name and clips of every list; without folds the fold is an empty text."""
    if lists != FOLDS:
        return [("", name, [clip for clip in clips if clip.slot.list_name == name]) for name in lists]
    parts = []
    for fold in FOLDS:
        parts.append((fold, "train", [clip for clip in clips if clip.slot.list_name != fold]))
        parts.append((fold, "test", [clip for clip in clips if clip.slot.list_name == fold]))
    return parts


def write_ferv39k_captions(root: Path, settings: SetSettings, clips: list[DrawnClip]) -> None:
    """Write a caption for every clip, keyed ``Scene_Emotion_id``."""
    for _, name, part in split_lists(("train", "test"), clips):
        captions = {}
        for clip in part:
            key = "_".join(clip.slot.folder.split("/")[-3:])
            captions[key] = describe_clip(clip.first, clip.apex, settings.stream(Stream.CAPTION, clip.slot.number))
        write_json(root / "annotation" / f"{name}_descriptions.json", captions, indent=1)


def write_face_boxes(root: Path, settings: SetSettings, clips: list[DrawnClip]) -> None:
    """Write one face box for each clip or picture."""
    write_json(root / "annotation" / "face.json", {clip.slot.folder: clip.face_box for clip in clips})


def write_mafw_lists(root: Path, settings: SetSettings, clips: list[DrawnClip]) -> None:
    """Write folds of single and of compound labels, with and without captions, and ``targets.csv``.

    Blends are only in the compound lists; all other clips are in both kinds.
    """
    columns, rows = {}, ["clip,subject,expressivity,withdrawal"]
    for clip in clips:
        slot = clip.slot
        label = "_".join(EMOTION_NAMES[number] for number in (slot.label, slot.blend) if number is not None)
        caption = describe_clip(clip.first, clip.apex, settings.stream(Stream.CAPTION, slot.number))
        columns[slot.number] = (f"{slot.folder.rpartition('/')[2]}.mp4", label, describe_in_chinese(clip.apex), caption)
        expressivity, withdrawal = rate_symptoms(clip.moments, settings.stream(Stream.RATING, slot.number))
        rows.append(f"{slot.folder},P{slot.person + 1:03d},{expressivity},{withdrawal}")
    write_lines(root / "targets.csv", rows)
    for kind in ("single", "compound"):
        folder = root / "Train_Test_Set" / kind
        selection = [clip for clip in clips if kind == "compound" or clip.slot.blend is None]
        for fold, name, part in split_lists(FOLDS, selection):
            cells, file = [columns[clip.slot.number] for clip in part], Path(f"set_{fold}", f"{name}.txt")
            write_lines(folder / "no_caption_new" / file, [" ".join(line[:2]) for line in cells])
            lines = ["\t".join(line) for line in cells]
            write_lines(folder / "with_caption_new" / file, lines, end="\r\n", encoding="gbk")


def write_daisee_labels(root: Path, settings: SetSettings, clips: list[DrawnClip]) -> None:
    """Write label files as DAiSEE has them: the header ends with a blank, clips are videos, lines end with CRLF."""
    for _, name, part in split_lists(("train", "test"), clips):
        rows = [[f"{clip.slot.folder.rpartition('/')[2]}.avi", *map(str, clip.levels.values())] for clip in part]
        header = f"ClipID,{','.join(AFFECTS)} "
        lines = [header, *map(",".join, rows)]
        write_lines(root / f"DAiSEE/Labels/{name.title()}Labels.csv", lines, end="\r\n")


def write_raf_db_list(root: Path, settings: SetSettings, clips: list[DrawnClip]) -> None:
    """Write the one list of both splits; the names in it are those of the pictures without ``_aligned``."""
    names = [Path(clip.slot.folder).name.replace("_aligned", "") for clip in clips]
    lines = [f"{name} {clip.slot.label + 1}" for name, clip in zip(names, clips, strict=True)]
    write_lines(root / "basic/EmoLabel/list_patition_label.txt", lines)


def write_affectnet_lists(root: Path, settings: SetSettings, clips: list[DrawnClip]) -> None:
    """Write both lists, the second without a header, each with a picture that has no face."""
    for _, name, part in split_lists(("train", "validation"), clips):
        lines = [AFFECT_COLUMNS] if name == "train" else []
        paths = [(clip.slot.folder.partition("/")[2], clip.slot.label) for clip in part]
        lines += [f"{path},4,4,120,120,40.5;60.0;88.5;60.0,{label},0.1,-0.2" for path, label in paths]
        lines.append(f"0/none-{name}.jpg,0,0,0,0,,{NO_FACE},-2,-2")
        write_lines(root / f"Manually_Annotated_file_lists/{'training' if name == 'train' else name}.csv", lines)


def write_fer2013_lists(root: Path, settings: SetSettings, clips: list[DrawnClip]) -> None:
    """Write FER2013's CSV of pixels and the votes of FER+ on the same pictures; both have all splits in one file."""
    pixels, votes = ["emotion,pixels,Usage"], [",".join(("Usage", "Image name", *FER_VOTES))]
    for number, clip in enumerate(clips):
        grey = cv2.imread(str(root / clip.slot.folder), cv2.IMREAD_GRAYSCALE)
        usage, label = USAGES[clip.slot.list_name], clip.slot.label
        pixels.append(f"{label},{' '.join(map(str, grey.ravel()))},{usage}")
        count = int(settings.stream(Stream.RATING, clip.slot.number).integers(7, 11))  # of ten voters
        given = {FER_CLASSES[label]: count, "unknown": 10 - count}
        votes.append(",".join((usage, f"fer{number:07d}.png", *(str(given.get(name, 0)) for name in FER_VOTES))))
    write_lines(root / "fer2013.csv", pixels)
    write_lines(root / "fer2013new.csv", votes)


def write_engagenet_labels(root: Path, settings: SetSettings, clips: list[DrawnClip]) -> None:
    for _, name, part in split_lists(("train", "validation", "test"), clips):
        rows = [f"{Path(clip.slot.folder).name}.mp4,{ENGAGEMENT_CLASSES[clip.slot.label]}" for clip in part]
        write_lines(root / f"{name}_engagement_labels.csv", ["chunk,label", *rows])


def rate_symptoms(moments: tuple[Moment, ...], rng: np.random.Generator) -> tuple[float, float]:
    """Return simulated scores of expressivity and withdrawal, 0 to 10: targets to test regression, no diagnosis.

    Expressivity is the range of brows and mouth over the clip and the opening of the mouth; withdrawal is how far gaze,
    head and body are lowered. Both have the noise of a rating.
    """
    tracks = np.array([(m.brow_raise, m.brow_furrow, m.brow_tilt, m.smile, m.mouth_open) for m in moments])
    movement = float(np.ptp(tracks, axis=0) @ (0.3, 0.3, 0.2, 0.4, 0.5) + 0.5 * tracks[:, 4].mean())
    tracks = np.array([(max(0.0, m.gaze_y), max(0.0, m.pitch) / 12, m.slump) for m in moments])
    lowering = float(tracks.mean(0) @ (0.8, 0.5, 0.5))
    scores = 10 * (1 - np.exp(-np.array([movement / LIVELY, lowering / LOWERED])))
    return tuple(np.clip(scores + rng.normal(0, RATING_NOISE, 2), 0, 10).round(2).tolist())


@dataclass(frozen=True)
class Layout:
    """The files of one published set."""

    classes: tuple[str, ...]  # as its lists and folders name them, in label order
    lists: tuple[str, ...]  # every clip is in one of them; or five folds
    parent: Callable[[Slot], str]  # the folder of a clip
    paths: str  # how to find frames by the paths in its lists, for about.json
    lines: dict[str, str] = field(default_factory=dict)  # path of the lists → line of a clip, of its ``list_words``
    write_more: Callable[[Path, SetSettings, list[DrawnClip]], None] | None = None
    digits: int = 4  # of the number of a clip in that folder
    prefix: Callable[[Slot], str] = lambda slot: ""  # of the name of a clip, before its number
    ending: str = ""  # of the name of a still
    grey_side: int | None = None  # stills are grey and this wide and high
    is_cropped: bool = True  # faces; else whole frames
    is_still: bool = False  # one picture a clip
    has_blends: bool = False
    has_engagement: bool = False  # whether engagement is the label instead of emotions

    @property
    def emotions(self) -> tuple[str, ...]:
        """The classes in the words of ``emotions.py``."""
        return tuple(EMOTION_OF.get(name, name) for name in self.classes)

    @property
    def has_folds(self) -> bool:
        return self.lists == FOLDS

    def single_clips(self, clips: int) -> int:
        """Return how many clips of a list show a single emotion."""
        return clips - round(clips * BLENDED_SHARE) if self.has_blends else clips


def _caer_s_parent(slot: Slot) -> str:
    """Return the folder of a class; as published, that of anger has one name in train and another in test."""
    is_odd = slot.list_name == "train" and CAER_CLASSES[slot.label] == "Anger"
    return f"CAER-S/{slot.list_name}/{'Angry' if is_odd else CAER_CLASSES[slot.label]}"


LAYOUTS = {
    "dfew": Layout(
        classes=SEVEN,
        lists=FOLDS,
        parent=lambda slot: "DFEW_Frame_Face",
        digits=5,
        paths=LIST_OF_FOLDERS,
        lines={"annotation/DFEW_set_{fold}_{name}.txt": "{path} {frames} {label}"},
    ),
    "ferv39k": Layout(
        classes=SEVEN,
        lists=("train", "test"),
        parent=lambda slot: f"2_ClipsforFaceCrop/{slot.room}/{SEVEN_FOLDERS[slot.label]}",
        paths=f"{LIST_OF_FOLDERS}; captions are keyed Scene_Emotion_id",
        lines={"annotation/{name}_image.txt": "{path} {frames} {label}"},
        write_more=write_ferv39k_captions,
    ),
    "mafw": Layout(
        classes=EMOTION_NAMES,
        lists=FOLDS,
        parent=lambda slot: "data/faces",
        digits=5,
        paths="lists name videos; the frames of 00001.mp4 are in data/faces/00001; lists with captions are GBK, with "
        "TAB between columns and CRLF at the end; targets.csv: simulated scores, 0 to 10, of the folders of frames",
        write_more=write_mafw_lists,
        has_blends=True,
    ),
    "afew": Layout(
        classes=SEVEN,
        lists=("train", "validation"),
        parent=lambda slot: f"AFEW_Face/{slot.list_name}/{SEVEN_FOLDERS[slot.label]}",
        digits=9,
        paths="no lists: AFEW_Face/<train or validation>/<Emotion>/<clip> holds the frames of a clip",
    ),
    "caer": Layout(
        classes=CAER_CLASSES,
        lists=("train", "validation", "test"),
        parent=lambda slot: f"CAER/{slot.list_name}/{CAER_CLASSES[slot.label]}",
        paths="lists hold `video frames label`, labels from 0; with this folder as the root the frames of "
        "train/Anger/0001.avi are in CAER/train/Anger/0001, which is also its key in annotation/face.json",
        lines={"annotation/{name}.txt": "{below_root}.avi {frames} {label}"},
        write_more=write_face_boxes,
        is_cropped=False,
    ),
    "caer-s": Layout(
        classes=CAER_CLASSES,
        lists=("train", "test"),
        parent=_caer_s_parent,
        paths="lists hold `picture 1 label`, labels from 1, and in two_columns `picture label`, labels from 0; with "
        "this folder as the root train/Angry/0001.png is CAER-S/train/Angry/0001.png, also its key in "
        "annotation/face.json",
        lines={
            "annotation/{name}.txt": "{below_root} 1 {label_from_1}",
            "annotation/two_columns/{name}.txt": "{below_root} {label}",
        },
        write_more=write_face_boxes,
        is_cropped=False,
        is_still=True,
        ending=".png",
    ),
    "raf-db": Layout(
        classes=RAF_CLASSES,
        lists=("train", "test"),
        parent=lambda slot: "basic/Image/aligned",
        digits=5,
        prefix=lambda slot: f"{slot.list_name}_",
        ending="_aligned.jpg",
        paths="basic/EmoLabel/list_patition_label.txt names the pictures of both splits, labels from 1; "
        "train_00001.jpg is basic/Image/aligned/train_00001_aligned.jpg",
        write_more=write_raf_db_list,
        is_still=True,
    ),
    "affectnet": Layout(
        classes=AFFECT_CLASSES,
        lists=("train", "validation"),
        parent=lambda slot: f"Manually_Annotated_Images/{slot.person + 1}",
        digits=8,
        ending=".jpg",
        paths="Manually_Annotated_file_lists holds CSVs, that of validation without a header; paths in them start at "
        "Manually_Annotated_Images",
        write_more=write_affectnet_lists,
        is_still=True,
    ),
    "fer2013": Layout(
        classes=FER_CLASSES,
        lists=("train", "validation", "test"),
        parent=lambda slot: f"{slot.list_name}/{FER_FOLDERS[slot.label]}",
        digits=5,
        ending=".png",
        grey_side=FER_SIDE,
        paths="fer2013.csv holds the pixels of every picture, fer2013new.csv the votes of FER+ on them; the same "
        "pictures are in <train, validation or test>/<class>",
        write_more=write_fer2013_lists,
        is_still=True,
    ),
    "engagenet": Layout(
        classes=ENGAGEMENT_CLASSES,
        lists=("train", "validation", "test"),
        parent=lambda slot: slot.list_name.title(),
        prefix=lambda slot: f"subject_{slot.person + 1}_vid_0_",
        digits=1,
        paths="<train, validation or test>_engagement_labels.csv hold `chunk,label`: the frames of "
        "subject_1_vid_0_1.mp4 are in <Train, Validation or Test>/subject_1_vid_0_1",
        write_more=write_engagenet_labels,
        is_cropped=False,
        has_engagement=True,
    ),
    "daisee": Layout(
        classes=("Very Low", "Low", "High", "Very High"),
        lists=("train", "test"),
        parent=lambda slot: f"DAiSEE/DataSet/{slot.list_name.title()}/{FIRST_LEARNER + slot.person}",
        prefix=lambda slot: str(FIRST_LEARNER + slot.person),
        paths="DAiSEE/Labels holds the label files as DAiSEE has them: the frames of 1100010001.avi are in "
        "DAiSEE/DataSet/<Train or Test>/110001/1100010001; lists hold `path frames engagement`, engagement from 1, and "
        "in six_columns `path frames boredom engagement confusion frustration`, levels from 0; a path is a folder of "
        "frames below this folder",
        lines={
            "annotation/{name}.txt": "{path} {frames} {label_from_1}",
            "annotation/six_columns/{name}.txt": "{path} {frames} {levels}",
        },
        write_more=write_daisee_labels,
        is_cropped=False,
        has_engagement=True,
    ),
}


@dataclass(frozen=True)
class LayoutSettings(SetSettings):
    """All settings of a set in the layout of a published one.

    None means the default of the layout, and is the only value if the layout does not use a flag.
    """

    title: ClassVar[str] = "other layouts"
    layout: Literal[
        "dfew", "ferv39k", "mafw", "afew", "caer", "caer-s", "daisee", "raf-db", "affectnet", "fer2013", "engagenet"
    ] = "dfew"
    persons: int = option(30, "how many persons")
    clips: int = option(280, "how many clips, all lists together")
    test_fraction: float | None = option(
        None, f"share of the clips in the test list (default: {TEST_FRACTION}), folds are always fifths"
    )
    seed: int = option(42, "same seed, same bytes")
    width: int | None = option(None, f"only of whole frames (default: {SCENE_SIZE[0]}), faces are 128", 64, 1920)
    height: int | None = option(None, f"only of whole frames (default: {SCENE_SIZE[1]}), faces are 128", 48, 1440)
    frames: int | None = option(None, "frames in every clip (default: 12 to 20, mostly 16)", 1, 9999)

    def __post_init__(self) -> None:
        super().__post_init__()
        layout, lists = self.rules, len(self.rules.lists)
        for name, is_meaningless, reason in (
            ("test_fraction", layout.has_folds, "its folds are fifths"),
            ("width", layout.is_cropped, "its faces are 128 pixels wide"),
            ("height", layout.is_cropped, "its faces are 128 pixels high"),
            ("frames", layout.is_still, "it holds single pictures"),
        ):
            if is_meaningless and getattr(self, name) is not None:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} is not used with --layout {self.layout}: {reason}")
        self.require(lists <= self.persons <= 999, "--persons", f"{lists} to 999, one in each list or fold")
        enough = f"enough for one of each of {len(layout.classes)} classes in each list or fold, at most 9999"
        sizes = divide(self.clips, self.list_shares())
        is_enough = min(map(layout.single_clips, sizes.values())) >= len(layout.classes)
        self.require(is_enough and self.clips <= 9999, "--clips", enough)

    @property
    def rules(self) -> Layout:
        """The layout, as fixed by the published set."""
        return LAYOUTS[self.layout]

    def list_shares(self) -> dict[str, float]:
        """Return the share of each list or fold.

        Folds are fifths; a validation list beside a test list is a fifth of the other clips.
        """
        lists = self.rules.lists
        if self.rules.has_folds:
            return dict.fromkeys(lists, 1 / len(lists))
        tested = self.test_fraction or TEST_FRACTION
        shares = (1 - tested, tested) if len(lists) == 2 else (0.8 * (1 - tested), 0.2 * (1 - tested), tested)
        return dict(zip(lists, shares, strict=True))

    def plan(self) -> list[Slot]:
        """Return the clips of all lists, numbered in random order.

        Each person is in one list or fold, and all classes are equally frequent.
        """
        layout, rng = self.rules, self.stream(Stream.PLAN)
        order = rng.permutation(self.persons).tolist()
        persons = divide(self.persons, self.list_shares())
        slots: list[Slot] = []
        for name, clips in divide(self.clips, self.list_shares()).items():
            cast, order = order[: persons[name]], order[persons[name] :]
            for turn, (label, blend) in enumerate(_sample_labels(layout, clips, rng)):
                room = ROOMS[rng.integers(len(ROOMS))]
                slots.append(Slot(0, name, cast[turn % len(cast)], room, label, "", blend))
        counts, numbered = Counter(), []
        for number, i in enumerate(rng.permutation(len(slots))):
            parent = layout.parent(slots[i])
            counts[parent] += 1  # the clips of one folder are counted from 1
            name = f"{layout.prefix(slots[i])}{counts[parent]:0{layout.digits}d}"
            folder = f"{parent}/{name}{layout.ending}"
            numbered.append(replace(slots[i], number=number, folder=folder))
        return numbered

    def draw(self, slot: Slot) -> tuple[DrawnClip, dict[str, bytes]]:
        layout, person = self.rules, self.stream(Stream.PERSON, slot.person)
        identity, temper, rng = Identity(person), Temper(person), self.stream(Stream.BEHAVIOUR, slot.number)
        length = int(rng.choice(list(LENGTHS), p=list(LENGTHS.values())))
        frames, levels = STILL_FRAMES if layout.is_still else self.frames or length, {}
        if layout.has_engagement:
            levels = sample_levels(slot.label, self.stream(Stream.LEVELS, slot.number))
            moments = sample_learner(levels, frames, temper, rng)
        else:
            labels = (slot.label,) if slot.blend is None else (slot.label, slot.blend)
            moments = sample_emotions(tuple(layout.emotions[label] for label in labels), frames, temper, rng)
        if layout.is_still:
            moments = (moments[find_apex(moments)],)
        size = PORTRAIT_SCENE if layout.is_cropped else (self.width or SCENE_SIZE[0], self.height or SCENE_SIZE[1])
        scene = Scene(identity, slot.room, self.stream(Stream.SCENE, slot.number), *size)
        noise = self.stream(Stream.NOISE, slot.number)
        pictures, heads, _ = zip(*(scene.draw(moment, noise) for moment in moments), strict=True)
        face_box = [round(edge) for edge in clip_box(hull([face_of(head) for head in heads]), *size)]
        if layout.is_cropped:
            pictures = crop_portraits(pictures, heads)
        if layout.is_still:
            picture = pictures[0][..., ::-1]
            if layout.grey_side is not None:
                size = (layout.grey_side, layout.grey_side)
                picture = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), size, interpolation=cv2.INTER_AREA)
            files = {slot.folder: cv2.imencode(Path(slot.folder).suffix, picture)[1].tobytes()}
        else:
            encoded = [encode_jpeg(picture, scene.camera.quality) for picture in pictures]
            files = {f"{slot.folder}/{frame_name(number)}": data for number, data in enumerate(encoded, start=1)}
        return DrawnClip(slot, moments, *read_change(scene, moments), face_box, levels), files

    def annotate(self, root: Path, records: list[DrawnClip]) -> None:
        """Write the lists and other files beside the frames; AFEW has labels only in its folders."""
        for fold, name, clips in split_lists(self.rules.lists, records):
            for path, line in self.rules.lines.items():
                rows = [line.format(**clip.list_words()) for clip in clips]
                write_lines(root / path.format(fold=fold, name=name), rows)
        if self.rules.write_more is not None:
            self.rules.write_more(root, self, records)

    def about(self) -> dict:
        return {"note": NOTE, "paths": self.rules.paths, "classes": self.rules.classes}


def _sample_labels(layout: Layout, clips: int, rng: np.random.Generator) -> list[tuple[int, int | None]]:
    """Return label and blend of the clips of one list, in random order."""
    singles, classes = layout.single_clips(clips), rng.permutation(len(layout.classes))
    labels = [(int(classes[turn % len(classes)]), None) for turn in range(singles)]
    pairs = rng.permutation(len(BLENDS))
    for turn in range(clips - singles):
        first, second = (layout.emotions.index(name) for name in BLENDS[pairs[turn % len(pairs)]])
        labels.append((first, second))
    return [labels[i] for i in rng.permutation(clips)]


def divide(total: int, shares: dict[str, float]) -> dict[str, int]:
    """Return ``total`` divided by largest remainder, but at least one for each name."""
    spare = total - len(shares)
    exact = {name: max(0.0, share * total - 1) for name, share in shares.items()}
    scale = spare / (sum(exact.values()) or 1)
    counts = {name: int(value * scale) for name, value in exact.items()}
    by_remainder = sorted(shares, key=lambda name: counts[name] - exact[name] * scale)
    for name in by_remainder[: max(0, spare - sum(counts.values()))]:
        counts[name] += 1
    return {name: count + 1 for name, count in counts.items()}
