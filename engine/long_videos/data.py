"""Data of long videos: the training and validation videos of a fold, their stored features, and loaders of windows."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataloader.affwild import FRAME_FOLDERS, Video, describe_videos, read_task_sets
from dataloader.frames import hash_files
from dataloader.loader import Loader, build_loader
from dataloader.sampling import ClipOrder
from dataloader.sequences import FeatureSource, WindowDataset
from engine.data import whole_batch_size
from engine.methods.sequence import labels_of, tasks_of
from engine.options import Config
from engine.session import Session
from models.sequence import SequenceModel
from utils.errors import UserError


@dataclass(frozen=True)
class VideoSets:
    """The training and the validation videos of a fold, and the features of all of them."""

    train: list[Video]
    validation: list[Video]
    features: FeatureSource


def read_video_sets(config: Config) -> VideoSets:
    """Read the labels of a fold and check its features. Every mistake in the data is reported here."""
    folders, tasks = config.sequence.features, tasks_of(config.model.task)
    if config.data.root_dir is None:
        raise UserError("--model sequence needs --root-dir DIR, a set in Aff-Wild2's layout")
    if not folders:
        raise UserError("--model sequence needs --features DIR, a folder with <video>.npy for every video")
    root = Path(config.data.root_dir)
    has_frames = any((root / name).is_dir() for name in FRAME_FOLDERS)
    train, validation = read_task_sets(root, list(tasks), int(config.data.fold), with_frames=has_frames)
    for name, videos in (("training", train), ("validation", validation)):
        for task in tasks:
            if not len(labels_of(videos, task)):
                raise UserError(f"--task {task}: no {name} video has a valid {task} label")
    videos = list({video.id: video for video in [*train, *validation]}.values())
    return VideoSets(train, validation, FeatureSource(videos, [Path(folder) for folder in folders]))


def require_width(features: FeatureSource, model: SequenceModel, path: Path, config: Config) -> None:
    if features.width != model.features:
        folders = " ".join(config.sequence.features)
        raise UserError(f"--features {folders}: {features.width} numbers a frame, but {path} reads {model.features}")


def describe_video_sets(sets: VideoSets) -> str:
    lines = [f"train: {line}" for line in describe_videos(sets.train)]
    lines += [f"validation: {line}" for line in describe_videos(sets.validation)]
    return "\n".join([*lines, f"{sets.features.width} features a frame"])


def video_set_facts(sets: VideoSets) -> dict[str, dict[str, Any]]:
    """Return what each list holds, as data for metrics.json."""
    videos = {"train": sets.train, "validation": sets.validation}
    return {name: {"videos": len(part), "contents": describe_videos(part)} for name, part in videos.items()}


def hash_video_sets(sets: VideoSets) -> str:
    """Return a hash of what training depends on: the videos, their lengths and labels, the width of features."""
    digest = hashlib.sha256(json.dumps(sets.features.widths).encode())
    for video in [*sets.train, *sets.validation]:
        digest.update(json.dumps([video.id, len(video)]).encode())
        digest.update(sets.features.present[video.id].tobytes())
        for task in sorted(video.labels):
            digest.update(video.labels[task].tobytes())
    return digest.hexdigest()


def hash_features(sets: VideoSets) -> str:
    """Return a hash of samples of the features of all videos."""
    ids = dict.fromkeys(video.id for video in [*sets.train, *sets.validation])
    return hash_files([folder / f"{id}.npy" for folder in sets.features.folders for id in ids])


def training_windows(sets: VideoSets, config: Config, session: Session) -> tuple[Loader, ClipOrder]:
    """Return a loader of shuffled training windows, which start at other frames in every epoch, and their order."""
    options, seed = config.sequence, config.run.seed
    windows = WindowDataset(sets.train, sets.features, options.window, options.stride, training=True, seed=seed)
    order = ClipOrder(len(windows), seed, whole_batches=whole_batch_size(config, len(windows), "windows"))
    size, workers = config.optim.batch_size, config.run.workers
    return build_loader(windows, order, batch_size=size, workers=workers, pin_memory=session.pin_memory), order


def evaluation_windows(videos: list[Video], features: FeatureSource, config: Config, session: Session) -> Loader:
    """Return a loader of all windows, video by video."""
    windows = WindowDataset(videos, features, config.sequence.window, config.sequence.stride, training=False)
    order, size = ClipOrder(len(windows), 0, shuffle=False), config.optim.eval_batch_size or config.optim.batch_size
    return build_loader(windows, order, batch_size=size, workers=config.run.workers, pin_memory=session.pin_memory)
