"""One video from its slot, and the label files of all videos."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloader.frame_labels import TASKS
from simulate.affwild2.closeup import Closeup
from simulate.affwild2.course import draw_course
from simulate.affwild2.labels import FACELESS_SHARE, draw_runs, lose_labels, read_video_labels, write_rows
from simulate.affwild2.plan import SETS, choose_labelled, id_of, video_number
from simulate.affwild2.settings import VideoSettings
from simulate.affwild2.show import show_course
from simulate.basic import draw_temper
from simulate.boxes import frame_name
from simulate.identity import draw_identity
from simulate.layouts.shown import write_lines
from simulate.layouts.streams import BEHAVIOUR, NOISE, PERSON, SCENE, stream
from simulate.plan import Slot
from simulate.scene import encode_jpeg

LENGTH, LOSSES = 20, 21  # streams beside those of the other layouts
LENGTHS = (400, 901)
NOTE = (
    "Drawings of simulated people whose faces follow a simulated course of valence and arousal; "
    "they support no claim about the published set or people."
)
PATHS = (
    "cropped_aligned/<video>/00001.jpg and on, without the frames in which no face was found; "
    "annotations/<challenge>/<Train_Set or Validation_Set>/<video>.txt, line i below the header for frame i; "
    "-5 and -1 stand for no valid label"
)


@dataclass(frozen=True)
class Filmed:
    """What is known of a drawn video besides its pictures."""

    slot: Slot
    labels: dict[str, np.ndarray]  # by task


def draw_video(settings: VideoSettings, slot: Slot) -> tuple[Filmed, dict[str, bytes]]:
    """A pure function of its arguments: the labels of a video, and its frames by path."""
    person, behaviour, losses = (stream(settings, of, slot.number) for of in (PERSON, BEHAVIOUR, LOSSES))
    identity, temper = draw_identity(person), draw_temper(person)
    course = draw_course(length_of(settings, slot), behaviour)
    face = show_course(course, temper, behaviour)
    labels = lose_labels(read_video_labels(course, face.meant, losses), losses)
    lost = draw_runs(len(course), FACELESS_SHARE, losses)
    closeup = Closeup(identity, slot.place, stream(settings, SCENE, slot.number))
    noise, files = stream(settings, NOISE, slot.number), {}
    for number, moment in enumerate(face.live, 1):
        if not lost[number - 1]:
            data = encode_jpeg(closeup.draw(moment, noise), closeup.camera.quality)
            files[f"{slot.folder}/{frame_name(number)}"] = data
    return Filmed(slot, labels), files


def annotate_videos(root: Path, settings: VideoSettings, videos: list[Filmed]) -> None:
    """One file a video and task."""
    labelled = choose_labelled(settings, [video.slot for video in videos])
    for task, kind in TASKS.items():
        for video in videos:
            if video.slot in labelled[task]:
                path = root / "annotations" / kind.folders[0] / SETS[video.slot.list_name] / f"{id_of(video.slot)}.txt"
                write_lines(path, write_rows(task, video.labels[task]))


def tell_about_videos(settings: VideoSettings) -> dict:
    """For ``about.json``."""
    return {"note": NOTE, "paths": PATHS}


def length_of(settings: VideoSettings, slot: Slot) -> int:
    return settings.frames or int(stream(settings, LENGTH, video_number(slot)).integers(*LENGTHS))
