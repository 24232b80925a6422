"""DAiSEE's lists: engagement alone, and all four affects."""

from pathlib import Path

from simulate.layouts.settings import LayoutSettings
from simulate.layouts.shown import Shown, in_list, write_lines


def annotate_daisee(root: Path, settings: LayoutSettings, clips: list[Shown]) -> None:
    """``path frames engagement``, engagement from 1; in ``six_columns`` four levels from 0."""
    for name in ("train", "test"):
        chosen = in_list(clips, name)
        lines = [f"{clip.slot.folder} {len(clip.moments)} {clip.slot.label + 1}" for clip in chosen]
        write_lines(root / "annotation" / f"{name}.txt", lines)
        write_lines(root / "annotation" / "six_columns" / f"{name}.txt", [_six_columns(clip) for clip in chosen])


def _six_columns(clip: Shown) -> str:
    """``path frames boredom engagement confusion frustration``."""
    levels = clip.levels
    four = (levels.boredom, levels.engagement, levels.confusion, levels.frustration)
    return " ".join(map(str, (clip.slot.folder, len(clip.moments), *four)))
