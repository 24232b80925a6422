"""Lists of clips → clips found on disk, whatever the layout of the list; a folder may stand in place of a list."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataloader.classes import Classes
from dataloader.frames import list_frames
from dataloader.layouts import BadLabel, Line, read_lines
from dataloader.paths import VIDEOS, clip_key, find_clip_folder, find_file, resolve_path
from dataloader.scan import scan_folder
from utils.errors import OnFault, UserError, raise_error

Packed = dict[str, tuple[str, ...]]  # the frames of clips in a pack, by key
EXAMPLES = {"list": "path frames label", "names": "video class", "images": "image label"}


@dataclass(frozen=True)
class Clip:
    """One line of a list, found on disk."""

    id: str  # the path as the list writes it
    folder: Path
    frames: tuple[str, ...]  # file names in time order
    listed_frames: int | None  # None: the list does not say
    label: int  # 0-based
    key: str  # the path without root, prefix and suffix: the same however a list spells it
    person: str | None = None  # None: the set does not say who is in a clip
    caption: str | None = None
    is_image: bool = False  # one file among others of its folder
    where: str | None = field(default=None, compare=False)  # the file and line that name it

    def frame_path(self, index: int) -> Path:
        return self.folder / self.frames[index]


def read_annotation(
    file: str,
    root: str | None,
    classes: Classes,
    packed: Packed | None = None,
    captions: dict[str, str] | None = None,
) -> list[Clip]:
    """Every clip of a list; the first line at fault ends in an error that names it.

    ``packed``: clips whose folders may be missing. ``captions``: of ``read_captions``, before those of the list itself.
    """
    path, clips, known = resolve_path(file, root), [], {}
    for line in lines_of(path, file, classes):
        clip = on_disk(name_clip(line, root, classes, captions or {}), line, root, classes, packed or {})
        require_same(clip, known.setdefault(clip.key, clip))
        clips.append(clip)
    if not clips:
        expected = "folders named like the classes" if path.is_dir() else f"lines of `{EXAMPLES[classes.layout]}`"
        raise UserError(f"annotation list {path}: holds no clip; expected {expected}")
    if captions is not None and not any(_caption_of(clip.key, captions) for clip in clips):
        raise UserError(
            f"annotation list {path}: none of its clips ({clips[0].key}, ...) is in the captions file; "
            f"do its keys name the same clips?"
        )
    return clips


def label_sets(file: str, root: str | None, classes: Classes) -> set[frozenset[int]]:
    """The combinations of base classes that occur in a list, for ``with_compounds``."""
    return {frozenset(line.labels) for line in lines_of(resolve_path(file, root), file, classes)}


def lines_of(path: Path, file: str, classes: Classes, on_fault: OnFault = raise_error) -> Iterator[Line]:
    """What a list, or the folder in its place, says of its clips; ``file`` is how the user names it."""
    listed = classes.listed or classes
    return scan_folder(path, file, listed, on_fault) if path.is_dir() else read_lines(path, listed, on_fault)


def name_clip(line: Line, root: str | None, classes: Classes, captions: dict[str, str] | None = None) -> Clip:
    """A clip as its line has it, without frames: nothing is looked for."""
    label, key = _label_of(line, classes), clip_key(line.path, root)
    person = key.rpartition("/")[0] if classes.has_persons else None
    caption, is_image = _caption_of(key, captions or {}) or line.caption, classes.layout == "images"
    tried = Path(root or ".") / line.path
    return Clip(line.path, tried, (), line.frames, label, key, person, caption, is_image, line.where)


def on_disk(clip: Clip, line: Line, root: str | None, classes: Classes, packed: Packed | None = None) -> Clip:
    """The clip with its folder and its frames; an error where they are not there."""
    find = _find_image if clip.is_image else _find_frames
    folder, names = find(line, root, classes, (packed or {}).get(clip.key))
    return replace(clip, folder=folder, frames=names)


def _label_of(line: Line, classes: Classes) -> int:
    listed = classes.listed or classes
    if listed.parts is None and len(line.labels) > 1:
        names = "_".join(listed.names[label] for label in line.labels)
        raise BadLabel(f"{line.where}: {names} is a compound class; read the list with --label-type compound")
    if listed.parts is not None and line.labels not in listed.parts:
        raise BadLabel(f"{line.where}: a combination of classes that is none of {', '.join(listed.names)}")
    label = line.labels[0] if listed.parts is None else listed.parts.index(line.labels)
    if listed is classes:
        return label
    if listed.names[label] not in classes.names:
        raise BadLabel(f"{line.where}: {listed.names[label]} is none of the model's {', '.join(classes.names)}")
    return classes.names.index(listed.names[label])


def _find_frames(
    line: Line, root: str | None, classes: Classes, packed: tuple[str, ...] | None
) -> tuple[Path, tuple[str, ...]]:
    """A clip is a folder of frames; its list may name the video that they were taken from."""
    below, tried = classes.format.clip_folders, Path(root or ".") / line.path
    folder = find_clip_folder(line.path, root, below) or (tried if packed else None)
    if folder is None:
        video = find_file(line.path, root, below) if line.path.lower().endswith(VIDEOS) else None
        if video is not None:
            raise UserError(f"{line.where}: {video} is a video; extract its frames to {video.with_suffix('')}/ first")
        raise UserError(f"{line.where}: no folder {tried}; check the list and --root-dir")
    names = packed or list_frames(folder)
    if not names:
        raise UserError(f"{line.where}: {folder} holds no image; restore its frames or leave the clip out")
    return folder, names


def _find_image(
    line: Line, root: str | None, classes: Classes, packed: tuple[str, ...] | None
) -> tuple[Path, tuple[str, ...]]:
    """A clip is one image file."""
    tried = Path(root or ".") / line.path
    file = find_file(line.path, root, classes.format.clip_folders) or (tried if packed else None)
    if file is None:
        raise UserError(f"{line.where}: no image {tried}; check the list and --root-dir")
    return file.parent, packed or (file.name,)


def require_same(clip: Clip, first: Clip) -> None:
    """One key for two clips would mix up their boxes, features and crops."""
    if clip is first:
        return
    places = {(one.folder.resolve(), one.frames) for one in (clip, first) if one.folder.is_dir()}
    if len(places) > 1:
        raise UserError(f"{clip.where}: {clip.id} and {first.id} are two clips of one name, {clip.key}; rename one")


def _caption_of(key: str, captions: dict[str, str]) -> str | None:
    return captions.get(key) or captions.get(key.replace("/", "_"))
