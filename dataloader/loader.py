"""Batches: their content, how items are collated, and the DataLoader."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, default_convert, get_worker_info

from dataloader.sampling import ClipOrder
from dataloader.transforms import Augmentation
from utils.errors import UserError


class Batch(TypedDict, total=False):
    """B clips of T frames, or B windows of T frames of long videos. An item of a dataset is the same without B.

    With ``--augment device`` the pixels are not augmented, and a batch holds the sampled augmentation of each clip and
    stream (face, context); ``AUGMENTATION_KEYS`` names these entries.
    """

    id: list[str]  # B names of clips or videos
    label: Tensor  # (B,) int64 from 0
    face: Tensor  # (B, T, 3, S, S) uint8; float on the computing device
    context: Tensor  # as face
    face_features: Tensor  # (B, T, D) float32, in place of pixels
    context_features: Tensor
    partner: Tensor  # (B,) int64, the row of the clip that each is mixed with; only with --mixup, in all steps
    share: float  # of the clip itself in the mixture
    replaced_frames: int  # unreadable frames of all clips, replaced by neighbours

    angle: Tensor  # (B, 2) float64, degrees
    flip: Tensor  # (B, 2) bool
    part: Tensor  # (B, 2, 4) float64, shares of width and height; this and the next ones only where they are sampled
    brightness: Tensor  # (B, 2) float32
    contrast: Tensor  # (B, 2) float32
    saturation: Tensor  # (B, 2) float32
    hue: Tensor  # (B, 2) float32, share of the colour circle
    grayscale: Tensor  # (B, 2) bool
    erased: Tensor  # (B, 2, 4) float64, shares of width and height
    face_sizes: Tensor  # (B, T, 2) int64, width and height of the face crops before they became squares

    features: Tensor  # (B, T, D) float32 of a window
    missing: Tensor  # (B, T) bool, True where a frame has no file and the features of another frame
    padding: Tensor  # (B, T) bool, True where there is no frame
    va: Tensor  # (B, T, 2) float32, NaN where not labelled
    expr: Tensor  # (B, T) int64, -1 where not labelled
    au: Tensor  # (B, T, 12) float32, NaN where not labelled
    start: Tensor  # (B,) int64, the first frame of each window


AUGMENTATION_KEYS = (*(field.name for field in fields(Augmentation)), "face_sizes")


def collate(items: list[Batch]) -> Batch:
    """Return clips or windows as one batch."""
    batch: Batch = {"id": [item["id"] for item in items]}
    for name, value in items[0].items():
        if isinstance(value, Tensor):
            batch[name] = torch.stack([item[name] for item in items])
    for name in ("label", "start"):
        if name in items[0]:
            batch[name] = torch.tensor([item[name] for item in items], dtype=torch.int64)
    if "replaced_frames" in items[0]:
        batch["replaced_frames"] = sum(item["replaced_frames"] for item in items)
    return batch


class Loader(DataLoader):
    """A DataLoader with its own random stream and one-line errors."""

    def __init__(self, dataset: Dataset, *, batch_size: int | None, collate_fn: Any = None, **settings: Any) -> None:
        # here, not in the workers: a forked process that inherits OpenCV's threads would wait for them forever
        cv2.setNumThreads(1)
        collate_fn = collate_fn or (default_convert if batch_size is None else default_collate)
        super().__init__(
            dataset,
            batch_size=batch_size,
            collate_fn=partial(collate_into_shared_memory, collate_fn),
            # each pass samples a seed for its workers; with torch's global stream that would change the dropout
            generator=torch.Generator(),
            worker_init_fn=start_worker,
            **settings,
        )

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from super().__iter__()
        except RuntimeError as error:
            if lacks_shared_memory(str(error)):
                raise UserError(shared_memory_is_full(self.num_workers)) from None
            raise
        except UserError as error:  # that of a worker is its traceback in one line, which ends with the message
            kind = type(error)
            raise kind(str(error).rpartition(f"{kind.__name__}: ")[2].removesuffix("\\n")) from None


def build_loader(
    dataset: Dataset, order: ClipOrder, *, batch_size: int, workers: int, pin_memory: bool = False
) -> Loader:
    """Return batches of ``dataset`` in ``order``; set ``order.epoch`` before each pass."""
    return Loader(
        dataset,
        batch_size=batch_size,
        sampler=order,
        num_workers=min(workers, max(len(dataset) // batch_size, 1) if workers else 0),
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
    )


def start_worker(worker: int) -> None:
    """Prepare a decoding process: one thread, since workers share the cores with the model, and signals are ignored.

    Only the main process reacts to Ctrl-C and SIGTERM. If a worker died, the current step could not be finished.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def collate_into_shared_memory(collate_fn: Callable[[Any], Any], items: Any) -> Any:
    """Return a batch whose tensors, in a worker, are in memory shared with the main process.

    torch moves them there anyway, but in a thread of the worker whose errors are only printed. If the shared memory is
    too small, the main process would then wait for the batch forever.
    """
    batch = collate_fn(items)
    if get_worker_info() is not None:
        for tensor in _tensors_in(batch):
            tensor.share_memory_()
    return batch


def _tensors_in(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, (dict, list, tuple)):
        for entry in batch.values() if isinstance(batch, dict) else batch:
            yield from _tensors_in(entry)


def lacks_shared_memory(message: str) -> bool:
    """Return whether an error message of torch means that shared memory was too small for a batch."""
    signs = ("Bus error", "shared memory", "unable to write to file </torch_", "unable to mmap")
    return any(sign in message for sign in signs)


def shared_memory_is_full(workers: int) -> str:
    """Return the error for shared memory that is too small; containers have 64 MB of it by default."""
    folder = Path("/dev/shm")
    size = f", {shutil.disk_usage(folder).total / 1e6:.0f} MB" if folder.is_dir() else ""
    return (
        f"the shared memory ({folder}{size}) is too small for the batches of {workers} decoding processes: give the "
        f"container more (docker run --shm-size 8g), or lower --workers; --workers 0 needs none"
    )
