"""The lists of CAER and CAER-S, whose paths leave the first folder out, and a face box for each clip or picture."""

from pathlib import Path

from simulate.files import write_json
from simulate.layouts.settings import LayoutSettings
from simulate.layouts.shown import Shown, in_list, write_lines


def annotate_caer(root: Path, settings: LayoutSettings, clips: list[Shown]) -> None:
    """``train/Anger/0001.avi 30 0``: the name of the video, labels from 0."""
    for name in ("train", "validation", "test"):
        lines = [f"{_short(clip)}.avi {len(clip.moments)} {clip.slot.label}" for clip in in_list(clips, name)]
        write_lines(root / "annotation" / f"{name}.txt", lines)
    _write_boxes(root, clips)


def annotate_caer_s(root: Path, settings: LayoutSettings, clips: list[Shown]) -> None:
    """``train/Angry/0001.png 1 1``, labels from 1, and the same in two columns, labels from 0."""
    for name in ("train", "test"):
        pictures = [(_short(clip), clip.slot.label) for clip in in_list(clips, name)]
        write_lines(root / "annotation" / f"{name}.txt", [f"{path} 1 {label + 1}" for path, label in pictures])
        two_columns = [f"{path} {label}" for path, label in pictures]
        write_lines(root / "annotation" / "two_columns" / f"{name}.txt", two_columns)
    _write_boxes(root, clips)


def _short(clip: Shown) -> str:
    return clip.slot.folder.partition("/")[2]


def _write_boxes(root: Path, clips: list[Shown]) -> None:
    write_json(root / "annotation" / "face.json", {clip.slot.folder: clip.face_box for clip in clips})
