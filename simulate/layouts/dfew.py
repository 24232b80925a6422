"""DFEW's lists: five folds in ``annotation/DFEW_set_K_{train,test}.txt``."""

from pathlib import Path

from simulate.layouts.layout import FOLDS
from simulate.layouts.settings import LayoutSettings
from simulate.layouts.shown import Shown, in_list, out_of_list, write_lines


def annotate_dfew(root: Path, settings: LayoutSettings, clips: list[Shown]) -> None:
    """``path frames label``, labels from 0."""
    for fold in FOLDS:
        for name, chosen in (("train", out_of_list(clips, fold)), ("test", in_list(clips, fold))):
            write_lines(root / "annotation" / f"DFEW_set_{fold}_{name}.txt", [clip.line for clip in chosen])
