"""The clips of ``--model frame-expr``: every frame of a fold that has an expression and a file is a clip by itself."""

from pathlib import Path

from dataloader.affwild import Video, group_of, read_task_sets
from dataloader.annotation import Clip
from dataloader.classes import Classes
from dataloader.frame_labels import EXPRESSIONS
from engine.options import Config
from utils.errors import UserError

CLASSES = Classes(EXPRESSIONS, 0, {}, "the expressions of Aff-Wild2")


def read_frame_clips(config: Config) -> tuple[list[Clip], list[Clip]]:
    """Of the training videos every ``--frame-step``-th, of the validation videos all."""
    train, validation = read_task_sets(Path(config.data.root_dir), ["expr"], int(config.data.fold))
    kept = [clip for video in train for clip in clips_of(video)][:: config.sequence.frame_step]
    held = [clip for video in validation for clip in clips_of(video)]
    for name, clips in (("training", kept), ("validation", held)):
        if not clips:
            raise UserError(f"{config.data.root_dir}: no {name} frame has a valid expression and a file")
    return kept, held


def clips_of(video: Video) -> list[Clip]:
    labels, person = video.labels["expr"], group_of(video.id)
    return [
        Clip(f"{video.id}/{name}", video.folder, (name,), 1, int(label), f"{video.id}/{name}", person, is_image=True)
        for name, label in zip(video.files, labels, strict=True)
        if name is not None and label >= 0
    ]
