"""A set in RAER's layout: students, both lists, both box files, the votes of simulated annotators, where things lie."""

from pathlib import Path

from simulate.behaviour import EMOTIONS
from simulate.boxes import frame_name
from simulate.clip import Clip, draw_clip
from simulate.files import write_json
from simulate.plan import Settings, Slot

NOTE = "Drawings of simulated students, labelled by simulated annotators; they support no claim about RAER or people."


def draw_files(settings: Settings, slot: Slot) -> tuple[Clip, dict[str, bytes]]:
    """The record of a clip and its frames by path."""
    clip, pictures = draw_clip(settings, slot)
    return clip, {f"{slot.folder}/{frame_name(number)}": data for number, data in enumerate(pictures, start=1)}


def write_annotation(root: Path, settings: Settings, clips: list[Clip]) -> None:
    """Both lists, both box files, the boxes of things and the votes."""
    folder = root / "annotation"
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        lines = [
            f"{clip.slot.folder} {clip.frames} {clip.slot.label + 1}\n" for clip in clips if clip.slot.list_name == name
        ]
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    write_json(folder / "face.json", {clip.slot.folder: clip.face_boxes for clip in clips if clip.face_boxes})
    write_json(folder / "body.json", {clip.slot.folder: clip.body_box for clip in clips if clip.body_box})
    write_json(folder / "objects.json", {clip.slot.folder: clip.objects for clip in clips})
    rows = [",".join(("clip", "label", *EMOTIONS))]
    rows += [",".join(map(str, (clip.slot.folder, clip.slot.label + 1, *clip.votes))) for clip in clips]
    (folder / "votes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def tell_about(settings: Settings) -> dict:
    """For ``about.json``."""
    return {"note": NOTE, "classes": EMOTIONS}
