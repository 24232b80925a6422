"""Flags of ``python -m dataloader.prepare``."""

from dataclasses import dataclass, fields
from typing import Any

from dataloader.detect import resolve_face_model
from utils.config import option, parse, resolve
from utils.errors import UserError


@dataclass(frozen=True)
class ClipOptions:
    """Options that the clips depend on; they cannot change after a folder was begun."""

    seconds: float = option(4.0, "length of a clip in seconds", minimum=0.2, maximum=600)
    stride: float | None = option(None, "seconds from one clip to the next (default: --seconds)", minimum=0.05)
    fps: float = option(10.0, "frames per second that are written", minimum=0.5, maximum=60)
    folder_fps: float = option(25.0, "frames per second of folders of frames", minimum=0.1, maximum=1000)
    height: int = option(
        480, "longest allowed shorter side of frames in pixels; larger frames are shrunk", minimum=64, maximum=4320
    )
    quality: int = option(95, "quality of the JPEGs", minimum=1, maximum=100)
    persons: int = option(
        1, "most persons per video, each in separate clips; large, confident faces first", minimum=1, maximum=50
    )
    min_face: float = option(0.3, "share of a clip's frames in which the face must be detected", minimum=0, maximum=1)
    face_model: str | None = option(
        None,
        "face detector: yunet, OpenCV's cascades, or a file of a YuNet (default: yunet if it is installed)",
        metavar="yunet|cascades|FILE",
    )

    boxes_only: bool = option(
        False,
        "write boxes and lists but no frames: clips stay parts of their videos; or, with --train-annotation and so on, "
        "the boxes of an existing set, whose --root-dir is VIDEO",
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
    labels: str | None = option(None, "a CSV: video,label[,person][,from,to]; default: folder names", metavar="FILE")
    dataset: str = option("RAER", "data set whose class names the labels may use")
    class_texts: str | None = option(None, "JSON with classes of your own, as for main.py", metavar="FILE")
    own_classes: bool = option(False, "the classes are exactly the labels, even if all are classes of --dataset")
    test_share: float = option(0.2, "share of the clips in test.txt, whole persons", minimum=0, maximum=0.9)
    train_annotation: str | None = option(
        None, "for --boxes-only: list of training clips, as for main.py", metavar="FILE"
    )
    val_annotation: str | None = option(None, "for --boxes-only: list of validation clips", metavar="FILE")
    test_annotation: str | None = option(None, "for --boxes-only: list of test clips", metavar="FILE")
    clip_column: str | None = option(
        None, "for --boxes-only: column of a CSV list that names the clip, as for main.py", metavar="NAME"
    )
    label_column: str | None = option(
        None, "for --boxes-only: column of a CSV list with the class, as for main.py", metavar="NAME"
    )
    workers: int = option(1, "number of processes; each cuts one video at a time", minimum=1, maximum=256)
    audit: bool = option(True, "audit the set at the end")

    @property
    def set_lists(self) -> dict[str, str]:
        """{split: file} of the lists of an existing set."""
        files = {"train": self.train_annotation, "val": self.val_annotation, "test": self.test_annotation}
        return {split: file for split, file in files.items() if file}


def read_options(arguments: list[str], description: str) -> PrepareOptions:
    groups = {"prepare": PrepareOptions}
    options = resolve(groups, parse(groups, arguments, description))["prepare"]
    if not options.videos or not all(options.videos):
        raise UserError("no videos: name files or folders first, as in `python -m dataloader.prepare VIDEOS --out DIR`")
    if not options.set_lists and (options.clip_column or options.label_column):
        raise UserError("--clip-column and --label-column are for the lists of a set: name --train-annotation FILE")
    if options.set_lists:
        flag = f"--{next(iter(options.set_lists))}-annotation"
        if not options.boxes_only:
            raise UserError(f"{flag} belongs to --boxes-only: videos get their labels from folders or --labels")
        if len(options.videos) > 1 or options.persons > 1 or options.labels:
            raise UserError(
                f"{flag}: a set has one folder, one person per clip and labels in its lists; name only these"
            )
    if not options.out:
        raise UserError("--out DIR is missing: where to write the set")
    return options
