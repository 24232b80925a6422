"""FERV39k's lists: one of train and one of test clips, and a caption for every clip."""

from pathlib import Path

from simulate.clip_captions import describe_clip
from simulate.files import write_json
from simulate.layouts.settings import LayoutSettings
from simulate.layouts.shown import Shown, in_list, write_lines
from simulate.layouts.streams import CAPTION, stream


def annotate_ferv39k(root: Path, settings: LayoutSettings, clips: list[Shown]) -> None:
    """``annotation/{train,test}_image.txt`` and ``_descriptions.json``."""
    for name in ("train", "test"):
        chosen = in_list(clips, name)
        write_lines(root / "annotation" / f"{name}_image.txt", [clip.line for clip in chosen])
        captions = {
            _key(clip): describe_clip(clip.change, stream(settings, CAPTION, clip.slot.number)) for clip in chosen
        }
        write_json(root / "annotation" / f"{name}_descriptions.json", captions, indent=1)


def _key(clip: Shown) -> str:
    """``Scene_Emotion_id``: the last three parts of the path."""
    return "_".join(clip.slot.folder.split("/")[-3:])
