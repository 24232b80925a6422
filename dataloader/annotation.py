"""Read lists of clips in any layout, and captions, and find the clips on disk.

A folder may stand in place of a list: ``<class>/<clip>/<frames>``, or ``<class>/<image>`` where a clip is one image.
"""

import math
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TypedDict

from dataloader.classes import Classes
from dataloader.frames import SUFFIXES, list_frames, numeric_key
from dataloader.layouts import BadLabel, Line, labels_named, read_lines
from dataloader.paths import (
    FOLDS_FILE,
    SPAN,
    VIDEO_SUFFIXES,
    clip_key,
    clip_keys,
    find_clip_folder,
    find_file,
    resolve_path,
    slashes,
    without_suffix,
)
from utils.errors import OnFault, UserError, about, quote, raise_error, reason_of, shorten
from utils.json_files import read_json
from utils.lazy import Lazy
from utils.text import plural

videos = Lazy("dataloader.video")  # most lists name folders of frames
PackedFrames = dict[str, tuple[str, ...]]  # the frames of clips in a pack, by key
EXAMPLES = {"list": "path frames label", "names": "video class", "images": "image label"}


class About(TypedDict):
    """Content of the about.json beside a set."""

    note: str


@dataclass(frozen=True)
class Clip:
    """One line of a list, found on disk."""

    id: str  # the path as the list writes it
    folder: Path
    frames: tuple[str, ...]  # file names in time order
    listed_frames: int | None  # None: the list does not state it
    label: int  # 0-based
    key: str  # the path without root, prefix and suffix, equal for all spellings of a path
    person: str | None = None  # None: the set does not state who is in a clip
    caption: str | None = None
    is_image: bool = False  # the clip is one image file
    is_video: bool = False  # ``folder`` is a video file; its frames are named as if they were extracted
    span: tuple[float, float] | None = None  # seconds of the video that are the clip
    where: str | None = field(default=None, compare=False)  # list file and line

    def frame_path(self, index: int) -> Path:
        return self.folder / self.frames[index]

    @property
    def paths(self) -> list[Path]:
        """The file of every frame, or the one video file of all frames."""
        return [self.folder] if self.is_video else [self.folder / name for name in self.frames]


def read_annotation(
    file: str,
    root: str | None,
    classes: Classes,
    packed: PackedFrames | None = None,
    captions: dict[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Clip]:
    """Return every clip of a list; raise a UserError for the first faulty line.

    The folders of ``packed`` clips may be missing. ``captions`` (from ``read_captions``) replace those of the list.
    ``say`` is called with the number of lines that the set ignores.
    """
    path, clips, by_key, num_ignored = resolve_path(file, root), [], {}, 0
    for line in lines_of(path, file, classes):
        if not line.labels:
            num_ignored += 1
            continue
        clip = on_disk(name_clip(line, root, classes, captions), root, classes, packed)
        require_same(clip, by_key.setdefault(clip.key, clip))
        clips.append(clip)
    if num_ignored:
        say(f"{path}: {plural(num_ignored, 'line')} left out, without a class or with a label that the set ignores")
    if not clips:
        split = classes.format.split
        if classes.format.splits and split and not path.is_dir():
            marks = " or ".join(classes.format.splits.get(split, ())) or "nothing"
            raise UserError(
                f"annotation list {path}: holds no clip of {split}, none of its lines is marked by {marks}; "
                f"check the list and --dataset"
            )
        expected = "folders named like the classes" if path.is_dir() else f"lines of `{EXAMPLES[classes.layout]}`"
        raise UserError(f"annotation list {path}: holds no clip; expected {expected}")
    if captions is not None and not any(_caption_of(clip.key, captions) for clip in clips):
        raise UserError(
            f"annotation list {path}: none of its clips ({clips[0].key}, ...) is in the captions file; "
            f"do its keys name the same clips?"
        )
    return clips


def label_sets(file: str, root: str | None, classes: Classes, on_fault: OnFault = raise_error) -> set[frozenset[int]]:
    """Return the combinations of base classes that occur in a list, for ``with_compounds``."""
    return {frozenset(line.labels) for line in lines_of(resolve_path(file, root), file, classes, on_fault)}


def lines_of(path: Path, file: str, classes: Classes, on_fault: OnFault = raise_error) -> Iterator[Line]:
    """Yield the lines of a list, or of the folder in its place; ``file`` is the name that the user gave."""
    listed = classes.listed or classes
    if (path.parent.parent / FOLDS_FILE).is_file():  # its lists are of one split, whatever their lines were before
        listed = listed.of_split(None)
    return scan_folder(path, file, listed, on_fault) if path.is_dir() else read_lines(path, listed, on_fault)


def name_clip(line: Line, root: str | None, classes: Classes, captions: dict[str, str] | None = None) -> Clip:
    """Return the clip of a line, without frames; the disk is not read."""
    key = clip_key(line.path, root)
    return Clip(
        id=line.path,
        folder=Path(root or ".") / line.path,
        frames=(),
        listed_frames=line.frames,
        label=_label_of(line, classes),
        key=key,
        person=_person_of(key, classes, line.names_person),
        caption=_caption_of(key, captions or {}) or line.caption,
        is_image=classes.layout == "images",
        where=line.where,
    )


def _person_of(key: str, classes: Classes, may_be_folder: bool) -> str | None:
    if classes.has_persons and may_be_folder:
        return key.rpartition("/")[0]
    pattern = classes.format.person_pattern
    match = re.search(pattern, key.rpartition("/")[2]) if pattern else None
    return match[0] if match else None


def on_disk(clip: Clip, root: str | None, classes: Classes, packed: PackedFrames | None = None) -> Clip:
    """Return the clip with its folder and frames; raise a UserError if they are missing and not packed."""
    below, names = classes.format.clip_folders, (packed or {}).get(clip.key)
    if clip.is_image:
        stem, suffix = posixpath.splitext(clip.id)
        paths = (f"{stem}{ending}{suffix}" for ending in classes.format.file_endings)
        file = next((file for path in paths if (file := find_file(path, root, below))), clip.folder if names else None)
        if file is None:
            raise UserError(f"{clip.where}: no image {shorten(str(clip.folder))}; check the list and --root-dir")
        return replace(clip, folder=file.parent, frames=names or (file.name,))
    path, span = split_span(clip)
    folder = None if span else find_clip_folder(path, root, below)
    if folder is not None:
        # One look at the first packed frame is enough here: the pack compares all of them later.
        frames = names if names and (folder / names[0]).exists() else list_frames(folder)
        if frames:
            return replace(clip, folder=folder, frames=names or frames)
    video = find_video(path, folder, root, below)
    if video is not None and names:
        return replace(clip, folder=video, frames=names, is_video=True, span=span)
    if video is not None:
        return of_video(clip, video, span)
    if names:
        return replace(clip, folder=folder or clip.folder, frames=names)
    if folder is not None:
        raise UserError(f"{clip.where}: {folder} holds no image and no video; restore them or leave the clip out")
    raise UserError(f"{clip.where}: no folder or video {shorten(str(clip.folder))}; check the list and --root-dir")


def split_span(clip: Clip) -> tuple[str, tuple[float, float] | None]:
    """Return the path of a clip without ``#t=FROM,TO``, and these seconds of the video."""
    path, mark, text = clip.id.partition(SPAN)
    if not mark:
        return clip.id, None
    try:
        start, stop = map(float, text.split(","))
    except ValueError:
        start, stop = math.nan, math.nan
    if not 0 <= start < stop < math.inf:
        raise UserError(f"{clip.where}: expected `video{SPAN}FROM,TO` in seconds, got {quote(clip.id)}")
    return path, (start, stop)


def find_video(path: str, folder: Path | None, root: str | None, below: tuple[str, ...]) -> Path | None:
    """Return the video that a list names, or one in the folder of a clip or beside it with the clip's name."""
    if path.lower().endswith(VIDEO_SUFFIXES):
        video = find_file(path, root, below)
        if video is not None:
            return video
    stems = [folder / folder.name, folder] if folder else []
    suffixes = [spelling for suffix in VIDEO_SUFFIXES for spelling in (suffix, suffix.upper())]
    candidates = (Path(f"{stem}{suffix}") for stem in stems for suffix in suffixes)
    if folder is not None:
        return next((video for video in candidates if video.is_file()), None)
    return next((video for suffix in suffixes if (video := find_file(path + suffix, root, below))), None)


def of_video(clip: Clip, video: Path, span: tuple[float, float] | None) -> Clip:
    """Return a clip with the frames of a video, or of a part of it."""
    with about(str(clip.where)):
        file = videos.open_clip(video)
        count = file.count(span)
    part = f" from {span[0]:g} to {span[1]:g} s" if span else ""
    if not count:
        raise UserError(
            f"{clip.where}: {video} has no frame{part or ' at all'}; correct the list or leave the clip out"
        )
    listed = clip.listed_frames or 0
    if listed - count > videos.MAX_LACK * file.fps:
        raise UserError(
            f"{clip.where}: {video} has {plural(count, 'frame')}{part}, the list says {listed}; replace the video, or "
            f"correct the number (0: unknown)"
        )
    return replace(clip, folder=video, frames=frame_names(count), is_video=True, span=span)


@lru_cache(maxsize=4096)
def frame_names(count: int) -> tuple[str, ...]:
    """Return the names that extracted frames of a video would have, from 00001.jpg on."""
    return tuple(f"{number:05d}.jpg" for number in range(1, count + 1))


def _label_of(line: Line, classes: Classes) -> int:
    listed = classes.listed or classes
    if listed.parts is None:
        if len(line.labels) > 1:
            names = "_".join(listed.names[label] for label in line.labels)
            raise BadLabel(f"{line.where}: {names} is a compound class; read the list with --label-type compound")
        label = line.labels[0]
    else:
        if line.labels not in listed.parts:
            raise BadLabel(f"{line.where}: a combination of classes that is not among {', '.join(listed.names)}")
        label = listed.parts.index(line.labels)
    if listed is classes:
        return label
    if listed.names[label] not in classes.names:
        raise BadLabel(f"{line.where}: {listed.names[label]} is not a class of the model ({', '.join(classes.names)})")
    return classes.names.index(listed.names[label])


def require_same(clip: Clip, first: Clip) -> None:
    """Raise a UserError for two different clips with one key: their boxes, features and crops would be mixed up."""
    if clip is first:
        return
    locations = {(each.folder.resolve(), each.frames, each.span) for each in (clip, first) if each.folder.exists()}
    if len(locations) > 1:
        raise UserError(f"{clip.where}: {clip.id} and {first.id} are two clips named {clip.key}; rename one")


def read_captions(file: str, root: str | None) -> dict[str, str]:
    """Return {clip key, or the key with ``_`` for ``/``: sentence} of a JSON file; the first of several sentences."""
    path = resolve_path(file, root)
    content = read_json(path, dict[str, str | list[str]])
    if not content:
        raise UserError(f"{path}: expected captions by clip, {{clip: sentence}}")
    captions: dict[str, str] = {}
    for key, (name, value) in zip(clip_keys(content, root), content.items(), strict=True):
        sentence = (value if isinstance(value, str) else next(iter(value), "")).strip()
        if not sentence:
            raise UserError(f"{path}: {quote(name)}: expected a sentence or a list of sentences, got {quote(value)}")
        if captions.setdefault(key, sentence) != sentence:
            raise UserError(f"{path}: two different captions for the clip {quote(key)}; keep one")
    return captions


def _caption_of(key: str, captions: dict[str, str]) -> str | None:
    return captions.get(key) or captions.get(key.replace("/", "_"))


def scan_folder(folder: Path, prefix: str, classes: Classes, on_fault: OnFault = raise_error) -> Iterator[Line]:
    """Yield every clip, class by class; paths begin with ``prefix``, the folder as the user named it."""
    for name in _subfolders(folder, _visible(folder), "expected folders named like the classes", on_fault):
        try:
            labels, names = labels_named(name, f"folder {folder}", classes), _visible(folder / name)
        except UserError as error:
            on_fault(error)
            continue
        if classes.layout == "images":
            clips = (file for file in names if file.lower().endswith(SUFFIXES))
        else:
            # A video whose frames were extracted to a folder of the same name is not a second clip.
            videos_alone = [n for n in names if n.lower().endswith(VIDEO_SUFFIXES) and without_suffix(n) not in names]
            folders = [n for n in names if n not in videos_alone]
            expected = "expected a video or a folder of frames for each clip"
            clips = chain(_subfolders(folder / name, folders, expected, on_fault), videos_alone)
        for clip in clips:
            path = posixpath.normpath(f"{slashes(prefix)}/{name}/{clip}")
            yield Line(str(folder / name / clip), path, labels, names_person=False)


def _subfolders(folder: Path, names: list[str], expected: str, on_fault: OnFault) -> Iterator[str]:
    """Yield the names of folders; an image among them is an error, because it means another layout."""
    for name in names:
        path = folder / name
        if path.is_dir():
            yield name
        elif name.lower().endswith(SUFFIXES):
            on_fault(UserError(f"{path}: is an image, {expected}"))


def _visible(folder: Path) -> list[str]:
    try:
        return sorted((p.name for p in folder.iterdir() if not p.name.startswith(".")), key=numeric_key)
    except OSError as error:
        raise UserError(f"folder {folder}: {reason_of(error)}") from None


def set_note(root: str | None) -> str | None:
    """Return the note in the about.json of a set, or None."""
    try:
        return read_json(Path(root or ".") / "about.json", About)["note"]
    except UserError:
        return None
