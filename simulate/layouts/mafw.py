"""MAFW's lists: five folds of single and of compound labels, with and without captions; and targets.csv."""

from pathlib import Path

from simulate.actions import EMOTION_NAMES
from simulate.clip_captions import describe_clip
from simulate.layouts.chinese import describe_in_chinese
from simulate.layouts.layout import FOLDS
from simulate.layouts.settings import LayoutSettings
from simulate.layouts.shown import Shown, in_list, out_of_list, write_lines
from simulate.layouts.streams import CAPTION, RATING, stream
from simulate.symptoms import rate


def annotate_mafw(root: Path, settings: LayoutSettings, clips: list[Shown]) -> None:
    """Blends are in the compound lists alone, everything else is in both kinds."""
    captions = {clip.slot.number: _describe(settings, clip) for clip in clips}
    for kind in ("single", "compound"):
        kept = [clip for clip in clips if kind == "compound" or clip.slot.blend is None]
        for fold in FOLDS:
            for name, chosen in (("train", out_of_list(kept, fold)), ("test", in_list(kept, fold))):
                folder, file = root / "Train_Test_Set" / kind, Path(f"set_{fold}", f"{name}.txt")
                plain = [f"{_video(clip)} {_label(clip)}" for clip in chosen]
                write_lines(folder / "no_caption_new" / file, plain)
                worded = ["\t".join((_video(clip), _label(clip), *captions[clip.slot.number])) for clip in chosen]
                write_lines(folder / "with_caption_new" / file, worded, end="\r\n", encoding="gbk")
    _write_targets(root / "targets.csv", settings, clips)


def _describe(settings: LayoutSettings, clip: Shown) -> tuple[str, str]:
    """The Chinese sentence and the English caption."""
    rng = stream(settings, CAPTION, clip.slot.number)
    return describe_in_chinese(clip.change.apex), describe_clip(clip.change, rng)


def _video(clip: Shown) -> str:
    return f"{clip.slot.folder.rpartition('/')[2]}.mp4"


def _label(clip: Shown) -> str:
    labels = (clip.slot.label,) if clip.slot.blend is None else (clip.slot.label, clip.slot.blend)
    return "_".join(EMOTION_NAMES[label] for label in labels)


def _write_targets(path: Path, settings: LayoutSettings, clips: list[Shown]) -> None:
    """Two simulated symptom scores for each clip; persons are named, so that they can be kept apart."""
    rows = ["clip,subject,expressivity,withdrawal"]
    for clip in clips:
        scores = rate(clip.moments, stream(settings, RATING, clip.slot.number))
        rows.append(f"{clip.slot.folder},P{clip.slot.person + 1:03d},{scores.expressivity},{scores.withdrawal}")
    write_lines(path, rows)
