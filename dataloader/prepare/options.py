"""Flags of ``python -m dataloader.prepare``."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal

from dataloader.audit.options import SetOptions, check_fold
from dataloader.detect import resolve_face_model
from utils.config import ON, option, read_with_recipes
from utils.errors import UserError

# What a command writes, as error messages name it.
FRAMES, PARTS = "frames", "--boxes-only without the lists of a set"
SET, PIXELS = "--boxes-only and the lists of a set", "a CSV of pixels"
frame_option = partial(option, needs={"boxes_only": (False,), "task": (FRAMES,)})
clip_option = partial(option, needs={"task": (FRAMES, PARTS)})
video_option = partial(option, needs={"task": (FRAMES, PARTS, SET)})
set_option = partial(option, needs={"boxes_only": ON, "task": (SET,)})


@dataclass(frozen=True)
class ClipOptions:
    """Options that the clips depend on; they cannot change after a folder was begun."""

    seconds: float = clip_option(4.0, "length of a clip in seconds", minimum=0.2, maximum=600)
    stride: float | None = clip_option(None, "seconds from one clip to the next (default: --seconds)", minimum=0.05)
    fps: float = video_option(10.0, "frames per second that are written", minimum=0.5, maximum=60)
    folder_fps: float = frame_option(25.0, "frames per second of folders of frames", minimum=0.1, maximum=1000)
    height: int = video_option(
        480, "longest allowed shorter side of frames in pixels; larger frames are shrunk", minimum=64, maximum=4320
    )
    quality: int = frame_option(95, "quality of the JPEGs", minimum=1, maximum=100)
    persons: int = clip_option(
        1, "most persons per video, each in separate clips; large, confident faces first", minimum=1, maximum=50
    )
    min_face: float = clip_option(
        0.3, "share of a clip's frames in which the face must be detected", minimum=0, maximum=1
    )
    face_model: str | None = video_option(
        None,
        "face detector: yunet, OpenCV's cascades, or a file of a YuNet (default: yunet if it is installed)",
        metavar="yunet|cascades|FILE",
    )

    boxes_only: bool = option(
        False,
        "write boxes and lists but no frames: clips stay parts of their videos; or, with --train-annotation and so on, "
        "the boxes of an existing set, whose --root-dir is VIDEO",
        needs={"task": (PARTS, SET)},
    )

    @property
    def step(self) -> float:
        return self.seconds if self.stride is None else self.stride

    @property
    def resolved(self) -> dict[str, Any]:
        """The options with dependent defaults filled in, as a folder stores them."""
        values = {field.name: getattr(self, field.name) for field in fields(ClipOptions)}
        return values | {"stride": self.step, "face_model": resolve_face_model(self.face_model)}


@dataclass(frozen=True)
class PrepareOptions(ClipOptions):
    videos: tuple[str, ...] = option(
        (), "video files, folders of frames, or folders of both", metavar="VIDEO", positional=True
    )
    out: str | None = option(None, "folder to write: new, empty, or begun by the same command", metavar="DIR")
    labels: str | None = clip_option(
        None, "a CSV: video,label[,person][,from,to]; default: folder names", metavar="FILE"
    )
    dataset: str = video_option("RAER", "data set whose class names the labels may use")
    class_texts: str | None = video_option(None, "JSON with classes of your own, as for main.py", metavar="FILE")
    own_classes: bool = clip_option(False, "the classes are exactly the labels, even if all are classes of --dataset")
    test_share: float = clip_option(0.2, "share of the clips in test.txt, whole persons", minimum=0, maximum=0.9)
    train_annotation: str | None = set_option(
        None, "for --boxes-only: list of training clips, as for main.py", metavar="FILE"
    )
    val_annotation: str | None = set_option(None, "for --boxes-only: list of validation clips", metavar="FILE")
    test_annotation: str | None = set_option(None, "for --boxes-only: list of test clips", metavar="FILE")
    clip_column: str | None = set_option(
        None, "for --boxes-only: column of a CSV list that names the clip, as for main.py", metavar="NAME"
    )
    label_column: str | None = set_option(
        None, "for --boxes-only: column of a CSV list with the class, as for main.py", metavar="NAME"
    )
    label_type: Literal["single", "compound"] = set_option(
        "single", "for --boxes-only: kind of labels in the lists, as for main.py"
    )
    fold: str | None = set_option(
        None,
        "for --boxes-only: number that replaces {fold} in lists; all: the clips of all folds",
        metavar="N|all",
    )
    workers: int = video_option(1, "number of processes; each cuts one video at a time", minimum=1, maximum=256)
    audit: bool = clip_option(True, "audit the set at the end")

    @property
    def set(self) -> SetOptions:
        """The existing set that the options name; its folder takes the place of the videos."""
        names = [field.name for field in fields(SetOptions) if hasattr(self, field.name)]
        return SetOptions(root_dir=next(iter(self.videos), None), **{name: getattr(self, name) for name in names})

    @property
    def set_lists(self) -> dict[str, str]:
        """{split: file} of the lists of an existing set."""
        return self.set.lists

    @property
    def task(self) -> str:
        if is_pixel_list(self.videos):
            return PIXELS
        return FRAMES if not self.boxes_only else SET if self.set_lists else PARTS


def is_pixel_list(videos: Sequence[str]) -> bool:
    """Return whether the user named a CSV of pixels, as FER2013 is published, instead of videos."""
    return any(word.lower().endswith(".csv") and os.path.isfile(word) for word in videos)


def read_options(arguments: list[str], description: str) -> tuple[PrepareOptions, list[str]]:
    """Return the options, and the flags of recipes that are not read."""
    options, ignored = read_with_recipes(PrepareOptions, arguments, description)
    if not options.videos or not all(options.videos):
        raise UserError("no videos: name files or folders first, as in `python -m dataloader.prepare VIDEOS --out DIR`")
    if options.set_lists:
        if len(options.videos) > 1:
            raise UserError(f"{options.videos[1]}: a set has one folder; name only that")
        check_fold(options.set)
    if not options.out:
        raise UserError("--out DIR is missing: where to write the set")
    return options, ignored
