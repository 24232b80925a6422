"""Data for a run: lists read and checked, validation held out, boxes matched, loaders built."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from dataloader.annotation import Clip, read_annotation
from dataloader.boxes import HitRate, body_hits, face_hits, read_body_boxes, read_face_boxes
from dataloader.build import build_loader
from dataloader.classes import Classes
from dataloader.clips import ClipDataset, Views
from dataloader.features import FeatureDataset
from dataloader.frames import find_unreadable
from dataloader.packed import open_pack, open_source
from dataloader.sampling import ClipOrder, balancing_weights
from dataloader.splits import hold_out
from dataloader.transforms import AugmentationLimits
from engine.features import FeatureCache
from engine.options import Config
from engine.session import Session
from utils.errors import UserError
from utils.runlog import RunLog

FEW_CLIPS = 20  # below this one clip moves UAR so much that epochs cannot be told apart


@dataclass(frozen=True)
class Splits:
    train: list[Clip]
    val: list[Clip]
    test: list[Clip]


def require_lists(config: Config) -> None:
    """Before anything is loaded or downloaded."""
    if config.run.mode == "train" and config.data.train_annotation is None:
        raise UserError("--mode train needs --train-annotation FILE (bash train.sh makes a set and names it)")
    if config.run.mode != "train" and config.data.test_annotation is None:
        raise UserError(f"--mode {config.run.mode} needs --test-annotation FILE")


def read_splits(config: Config, classes: Classes, log: RunLog) -> Splits:
    """The lists that this mode needs, with validation held out of train where no list of its own is given."""
    data, C = config.data, len(classes)

    packed = open_pack(data.pack).frames if data.pack else None

    def read(file: str | None) -> list[Clip]:
        return read_annotation(file, data.root_dir, classes, packed) if file else []

    if config.run.mode != "train":
        splits = Splits([], [], read(data.test_annotation))
    else:
        train, val, test = read(data.train_annotation), read(data.val_annotation), read(data.test_annotation)
        if not val and config.optim.select_on == "val":
            train, val, split = hold_out(train, data.val_fraction, C, config.run.seed)
            for label in split:
                log.warn(f"validation: persons of {classes.names[label]} could not be kept whole")
            if not val or not train:
                raise UserError(
                    f"--val-fraction {data.val_fraction}: too few clips to hold any out; use --select-on last"
                )
        splits = Splits(train, val, test)
    _describe(splits, classes, log)
    _check_frames(splits, config, log)
    return splits


def _describe(splits: Splits, classes: Classes, log: RunLog) -> None:
    """Counts of every split, and what about them makes a score doubtful."""
    for name, clips in vars(splits).items():
        if clips:
            _describe_split(name, clips, classes, log)
    persons = {name: _persons_of(clips) for name, clips in vars(splits).items()}
    if not any(persons.values()):
        log.say("persons are not known in this set: they may be in more than one of the lists")
    for name in ("val", "test"):
        shared = persons["train"] & persons[name]
        if shared:
            log.warn(
                f"{len(shared)} of {len(persons[name])} {name} persons are in train: the score is not of new persons"
            )
    for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
        shared = {clip.key for clip in getattr(splits, one)} & {clip.key for clip in getattr(splits, other)}
        if shared:
            log.warn(f"{len(shared)} {other} clips are also in {one} ({min(shared)}): scores on them are optimistic")


def _describe_split(name: str, clips: list[Clip], classes: Classes, log: RunLog) -> None:
    counts = np.bincount([clip.label for clip in clips], minlength=len(classes))
    listed = ", ".join(f"{c} {n}" for c, n in zip(classes.names, counts, strict=True))
    persons = _persons_of(clips)
    log.say(f"{name:<5} {len(clips):>5} clips{f' of {len(persons)} persons' if persons else ''}: {listed}")
    for label in np.flatnonzero(counts == 0):
        log.warn(f"{name} has no clip of {classes.names[label]}")
    few = np.flatnonzero((counts > 0) & (counts < FEW_CLIPS))
    if name != "train" and len(few):
        present = np.count_nonzero(counts)
        worth = ", ".join(f"{classes.names[c]} {counts[c]} ({100 / counts[c] / present:.2f})" for c in few)
        log.warn(f"{name}: few clips make a class, and one clip many UAR points: {worth}")


def _persons_of(clips: list[Clip]) -> set[str]:
    return {clip.person for clip in clips if clip.person is not None}


def _check_frames(splits: Splits, config: Config, log: RunLog) -> None:
    """Before the first step: frame counts against the lists, and the first bytes of every frame."""
    clips = [*splits.train, *splits.val, *splits.test]
    differing = [clip for clip in clips if clip.listed_frames not in (None, len(clip.frames))]
    if differing:
        one = differing[0]
        log.warn(
            f"{len(differing)} of {len(clips)} clips do not have the listed number of frames "
            f"({one.id}: {one.listed_frames} listed, {len(one.frames)} there); those there are used"
        )
    if config.data.pack:
        return  # what is read was decoded when the pack was made
    bad = find_unreadable([clip.frame_path(i) for clip in clips for i in range(len(clip.frames))])
    if bad and config.data.on_bad_frame == "error":
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}: not an image{more}; replace the file or pass --on-bad-frame skip")
    if bad:
        log.warn(f"{len(bad)} frames are no images, {bad[0]} for one: the nearest frame of the clip takes their place")


def make_views(config: Config, clips: list[Clip], log: RunLog) -> Views:
    """How clips are cut; the boxes' hit rates are printed, and a file that matches nothing is an error."""
    data, streams = config.data, config.model.streams
    face, body = {}, {}
    if data.bounding_box_face and streams != "context":
        face = read_face_boxes(data.bounding_box_face, data.root_dir)
        _report_hits(face_hits(clips, face, data.root_dir), "--bounding-box-face", log)
    elif streams != "context":
        log.warn("no --bounding-box-face: the face stream sees whole frames")
    if data.crop_body and streams != "face":
        body = read_body_boxes(data.bounding_box_body, data.root_dir)
        _report_hits(body_hits(clips, body, data.root_dir), "--bounding-box-body", log)
    views = Views(
        segments=data.num_segments,
        duration=data.duration,
        sampling=data.sampling,
        downsample=data.downsample,
        size=data.image_size,
        streams=streams,
        missing_face=data.missing_face,
        on_bad_frame=data.on_bad_frame,
        decode=data.decode,
        root=data.root_dir,
        face_boxes=face,
        body_boxes=body,
        pack=data.pack,
    )
    if data.pack:
        unseen = open_pack(data.pack).check(clips, views)
        compared = f", {unseen} of {len(clips)} clips without frames here to compare it with" if unseen else ""
        log.say(f"crops from the pack {data.pack}{compared}")
    return views


def _report_hits(hits: HitRate, flag: str, log: RunLog) -> None:
    if hits.clips_with_box == 0:
        raise UserError(f"{flag}: no clip of the lists has a box in it; do its keys name the same folders?")
    if hits.frames_with_box == 0:
        raise UserError(f"{flag}: its clips match, but no frame does; do its keys name the frame files?")
    (log.warn if hits.share < 0.9 else log.say)(str(hits))


def training_loader(
    config: Config,
    clips: list[Clip],
    views: Views,
    C: int,
    session: Session,
    cache: FeatureCache | None = None,
) -> tuple[DataLoader, ClipOrder]:
    """One process's share of every batch; alone, the whole."""
    data = config.data
    chance = {
        "training": True,
        "shared_augmentation": data.shared_augmentation,
        "seed": config.run.seed,
        "augment": data.augment,
    }
    if cache is None:
        chance["limits"] = AugmentationLimits(data.max_angle, data.flip, data.random_crop, data.brightness)
    dataset = _dataset(clips, views, cache, **chance)
    labels = [clip.label for clip in clips]
    weights = balancing_weights(labels, C) if config.loss.use_weighted_sampler else None
    rank, world, batch = session.group.rank, session.group.world, config.optim.batch_size
    order = ClipOrder(len(clips), config.run.seed, weights, share=(rank, world, batch) if world > 1 else None)
    return _loader(config, dataset, order, session.pin_memory, batch // world), order


def evaluation_loader(
    config: Config, clips: list[Clip], views: Views, session: Session, cache: FeatureCache | None = None
) -> DataLoader:
    """Clip i goes to process i mod N; ``predict`` puts the answers together again."""
    own, pin = session.group.own(clips), session.pin_memory
    order = ClipOrder(len(own), 0, shuffle=False)
    return _loader(config, _dataset(own, views, cache), order, pin, evaluation_batch(config, on_gpu=pin))


def evaluation_batch(config: Config, on_gpu: bool) -> int:
    """Clips in one pass without gradients: many on a GPU; on a CPU more than a step's would only cost memory."""
    return config.optim.eval_batch_size or max(64 if on_gpu else 1, config.optim.batch_size)


def _dataset(clips: list[Clip], views: Views, cache: FeatureCache | None, **chance: Any) -> Dataset:
    if cache is None:
        return ClipDataset(clips, views, open_source(views), **chance)
    chance.pop("augment", None)  # the cache holds what was augmented
    return FeatureDataset(clips, cache.features, cache.starts, views, **chance)


def _loader(config: Config, dataset: Dataset, order: ClipOrder, pin: bool, batch_size: int) -> DataLoader:
    workers = config.run.workers if isinstance(dataset, ClipDataset) else 0  # features need no decoding
    return build_loader(dataset, order, batch_size=batch_size, workers=workers, pin_memory=pin)
