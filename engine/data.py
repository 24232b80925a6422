"""Turn the clips of a run into batches: match boxes, prepare views, build loaders."""

from collections.abc import Iterator
from dataclasses import asdict, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset

from dataloader.annotation import Clip
from dataloader.boxes import HitRate, check_boxes, every_frame, middle_width, read_body_boxes, read_face_boxes
from dataloader.classes import list_classes
from dataloader.clips import ClipDataset, FeatureDataset, Views
from dataloader.crops import MARGIN
from dataloader.loader import build_loader
from dataloader.sampling import ClipOrder, balancing_weights
from dataloader.sources import open_source
from dataloader.transforms import AugmentationLimits
from engine.methods import method_named
from engine.options import Config, DataOptions
from engine.session import Session
from utils.errors import UserError
from utils.runlog import RunLog

if TYPE_CHECKING:  # a training without --cache-features does not import it
    from engine.feature_cache import FeatureCache

PIXELS_TOGETHER = 2  # clips in one pass of an evaluation on a CPU
DECODED_TOGETHER = 8  # clips that a worker decodes at once in evaluation: 40 MB of shared memory at 224 pixels
OTHER_SIZE = 1.5  # factor to the face width in training from which a warning is printed


def make_views(config: Config, clips: list[Clip], log: RunLog) -> Views:
    """Return how clips are cropped. Print the hit rates of the boxes; a box file that matches no clip is an error."""
    data, streams = config.data, config.model.streams
    face, body = {}, {}
    if data.bounding_box_face and streams != "context":
        classes = list_classes(data.dataset, data.class_texts)
        flat = classes is not None and classes.has_flat_boxes
        face = read_face_boxes(data.bounding_box_face, data.root_dir, flat)
        _report_hits(check_boxes(clips, face, "face"), log)
    elif not method_named(config.model.model).has_context:
        log.say("no --bounding-box-face: the frames are used as face crops")
    elif streams != "context":
        log.warn("no --bounding-box-face: the face stream sees whole frames")
    if data.crop_body and streams != "face":
        body = read_body_boxes(data.bounding_box_body, data.root_dir)
        _report_hits(check_boxes(clips, every_frame(body), "body"), log)
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
        unchecked = open_source(views).check(clips, views)
        note = f", {unchecked} of {len(clips)} clips have no frames here to compare it with" if unchecked else ""
        log.say(f"crops from the pack {data.pack}{note}")
    return views


def augmentation_limits(data: DataOptions) -> AugmentationLimits:
    """Return the ranges of a run's augmentations, each an option of the same name."""
    return AugmentationLimits(**{field.name: getattr(data, field.name) for field in fields(AugmentationLimits)})


def _report_hits(hits: HitRate, log: RunLog) -> None:
    (log.warn if hits.share < 0.9 else log.say)(str(hits))
    log.facts["data"][f"{hits.kind} boxes"] = asdict(hits)


def warn_of_size(training_width: float | None, clips: list[Clip], views: Views, log: RunLog) -> None:
    """Warn if faces are much larger or smaller than in training. The checkpoint says how wide they were there.

    The margin around a face is a fixed number of pixels, as published, so its share of a crop depends on the face.
    """
    width = None if training_width is None else middle_width(clips, views.face_boxes)
    if width is None or max(training_width / width, width / training_width) < OTHER_SIZE:
        return
    amount = "less" if width > training_width else "more"
    log.warn(
        f"faces are around {width:.0f} pixels wide here and {training_width:.0f} in training: {MARGIN} pixels around "
        f"them show {amount} of a head than the model knows; frames of another size (prepare --height) may score higher"
    )


def training_loader(
    config: Config,
    clips: list[Clip],
    views: Views,
    C: int,
    session: Session,
    cache: "FeatureCache | None" = None,
) -> tuple[DataLoader, ClipOrder]:
    """Return the training loader and its order. Under torchrun each rank gets its shard of every batch."""
    data = config.data
    chance = {
        "training": True,
        "shared_augmentation": data.shared_augmentation,
        "seed": config.run.seed,
        # Crops of a pack have their final size: CPU and device give the same pixels, and a GPU is faster.
        "augment": "device" if data.pack and session.device.type != "cpu" else data.augment,
    }
    if cache is None:
        chance["limits"] = augmentation_limits(data)
    dataset = _dataset(clips, views, cache, **chance)
    labels = [clip.label for clip in clips]
    weights = balancing_weights(labels, C) if config.loss.use_weighted_sampler else None
    rank, world, batch = session.group.rank, session.group.world, config.optim.batch_size
    share = (rank, world, batch) if world > 1 else None
    whole_batches = whole_batch_size(config, len(clips), "training clips")
    order = ClipOrder(len(clips), config.run.seed, weights, share=share, whole_batches=whole_batches)
    return _loader(config, dataset, order, session.pin_memory, batch // world), order


def whole_batch_size(config: Config, items: int, kind: str) -> int | None:
    """Return the size of batches with ``--drop-last``, which needs at least one batch; None without it."""
    batch = config.optim.batch_size
    if config.optim.drop_last and items < batch:
        raise UserError(
            f"--drop-last: an epoch has {items} {kind}, fewer than --batch-size {batch}, so no batch is left; lower "
            f"--batch-size"
        )
    return batch if config.optim.drop_last else None


class BatchGroups:
    """A loader of lists of ``count`` batches for one pass through the model; the last list may be shorter."""

    def __init__(self, loader: DataLoader, count: int) -> None:
        self.loader, self.count = loader, count

    def __len__(self) -> int:
        return -(-len(self.loader) // self.count)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        batches = iter(self.loader)
        while group := list(islice(batches, self.count)):
            yield group


def evaluation_loader(
    config: Config, clips: list[Clip], views: Views, session: Session, cache: "FeatureCache | None" = None
) -> BatchGroups:
    """Return the loader of an evaluation. Clip i goes to rank i mod N; ``predict`` gathers the answers.

    Workers decode a few clips at a time; this does not depend on how many clips go through the model together.
    """
    shard, pin = session.group.shard(clips), session.pin_memory
    at_once = config.optim.eval_batch_size
    if at_once is None:
        at_once = config.optim.batch_size
        if pin:  # without gradients many clips fit on a GPU
            at_once = max(64, at_once)
        elif session.device.type == "cpu" and cache is None:  # the pixels of more clips leave the caches of a core
            at_once = min(PIXELS_TOGETHER, at_once)
    decoded = next(size for size in range(min(DECODED_TOGETHER, at_once), 0, -1) if at_once % size == 0)
    order = ClipOrder(len(shard), 0, shuffle=False)
    return BatchGroups(_loader(config, _dataset(shard, views, cache), order, pin, decoded), at_once // decoded)


def _dataset(clips: list[Clip], views: Views, cache: "FeatureCache | None", **chance: Any) -> Dataset:
    if cache is None:
        return ClipDataset(clips, views, open_source(views), **chance)
    chance.pop("augment", None)  # the cached features are of augmented frames
    return FeatureDataset(clips, cache.features, cache.starts, views, **chance)


def _loader(config: Config, dataset: Dataset, order: ClipOrder, pin: bool, batch_size: int) -> DataLoader:
    workers = config.run.workers if isinstance(dataset, ClipDataset) else 0  # features need no decoding
    return build_loader(dataset, order, batch_size=batch_size, workers=workers, pin_memory=pin)
