"""What ``--model sequence`` reads: the videos of a fold, their features, windows of them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataloader.affwild import FRAME_FOLDERS, Video, describe_videos, read_task_sets
from dataloader.loader import Loader, collate
from dataloader.sampling import ClipOrder
from dataloader.sequences import FeatureSource, WindowDataset
from engine.methods.sequence import labels_of, tasks_of
from engine.options import Config
from engine.session import Session
from utils.errors import UserError


@dataclass(frozen=True)
class Sequences:
    """Both sides of a fold, and the features of all of their videos."""

    train: list[Video]
    validation: list[Video]
    source: FeatureSource


def read_sequences(config: Config) -> Sequences:
    """Everything that can be wrong with the data is said here, before any run begins."""
    options, tasks = config.sequence, tasks_of(config.model.task)
    if config.data.root_dir is None:
        raise UserError("--model sequence needs --root-dir DIR, a set in Aff-Wild2's layout")
    if not options.features:
        raise UserError("--model sequence needs --features DIR, a folder with <video>.npy for every video")
    root = Path(config.data.root_dir)
    has_frames = any((root / name).is_dir() for name in FRAME_FOLDERS)
    train, validation = read_task_sets(root, list(tasks), int(config.data.fold), with_frames=has_frames)
    require_labels(train, tasks, "training")
    require_labels(validation, tasks, "validation")
    both = list({video.id: video for video in [*train, *validation]}.values())
    return Sequences(train, validation, FeatureSource(both, [Path(folder) for folder in options.features]))


def require_labels(videos: list[Video], tasks: tuple[str, ...], name: str) -> None:
    for task in tasks:
        if not len(labels_of(videos, task)):
            raise UserError(f"--task {task}: no {name} video has a valid {task} label")


def describe_sequences(sequences: Sequences) -> str:
    lines = []
    for name, videos in (("train", sequences.train), ("validation", sequences.validation)):
        lines += [f"{name}: {line}" for line in describe_videos(videos)]
    return "\n".join([*lines, f"{sequences.source.width} features a frame"])


def sequence_facts(sequences: Sequences) -> dict[str, dict[str, Any]]:
    """Return what each list holds, as data for metrics.json."""
    videos = {"train": sequences.train, "validation": sequences.validation}
    return {name: {"videos": len(part), "contents": describe_videos(part)} for name, part in videos.items()}


def hash_sequences(sequences: Sequences) -> str:
    """Which videos, how long, with which labels, and how wide their features are: what the epochs depend on."""
    digest = hashlib.sha256(json.dumps(sequences.source.widths).encode())
    for side in (sequences.train, sequences.validation):
        for video in side:
            digest.update(json.dumps([video.id, len(video)]).encode())
            digest.update(sequences.source.present[video.id].tobytes())
            for task in sorted(video.labels):
                digest.update(video.labels[task].tobytes())
    return digest.hexdigest()


def training_windows(sequences: Sequences, config: Config, session: Session) -> tuple[Loader, ClipOrder]:
    """Shuffled windows that begin elsewhere in every epoch."""
    options, seed = config.sequence, config.run.seed
    windows = WindowDataset(sequences.train, sequences.source, options.window, options.stride, training=True, seed=seed)
    order = ClipOrder(len(windows), seed)
    return make_loader(windows, order, config.optim.batch_size, config, session), order


def evaluation_windows(videos: list[Video], source: FeatureSource, config: Config, session: Session) -> Loader:
    """All windows of one video, then all of the next."""
    options = config.sequence
    windows = WindowDataset(videos, source, options.window, options.stride, training=False)
    order = ClipOrder(len(windows), 0, shuffle=False)
    return make_loader(windows, order, config.optim.eval_batch_size or config.optim.batch_size, config, session)


def make_loader(windows: WindowDataset, order: ClipOrder, batch: int, config: Config, session: Session) -> Loader:
    workers = min(config.run.workers, len(windows) // batch)
    return Loader(
        windows,
        batch_size=batch,
        sampler=order,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=session.pin_memory,
        persistent_workers=workers > 0,
    )
