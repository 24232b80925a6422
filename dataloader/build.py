"""From clips to batches: the DataLoader, with the order of clips as its sampler."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, default_convert, get_worker_info

from dataloader.clips import collate
from dataloader.frames import BadFrame
from dataloader.sampling import ClipOrder
from utils.errors import UserError


class Loader(DataLoader):
    """A DataLoader with a random stream of its own, and errors of one line."""

    def __init__(self, dataset: Dataset, *, batch_size: int | None, collate_fn: Any = None, **settings: Any) -> None:
        # here, not in the workers: a forked process that inherits OpenCV's threads waits for them without end
        cv2.setNumThreads(1)
        # each pass draws a seed for its workers: from torch's global stream it would shift the dropout of the run
        make = collate_fn or (default_convert if batch_size is None else default_collate)
        super().__init__(
            dataset,
            batch_size=batch_size,
            collate_fn=partial(in_shared_memory, make),
            generator=torch.Generator(),
            **settings,
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            yield from super().__iter__()
        except RuntimeError as error:
            if lacks_shared_memory(str(error)):
                raise UserError(shared_memory_is_full(self.num_workers)) from None
            raise
        except BadFrame as error:  # a worker's error arrives wrapped in its traceback
            raise BadFrame(str(error).rpartition("BadFrame: ")[2].strip()) from None


def in_shared_memory(make: Callable[[Any], Any], items: Any) -> Any:
    """What ``make`` does with items, in a worker moved into the memory that it shares with the main process.

    It goes there anyway, but then by a thread of the worker, whose error is printed and lost: where that memory is too
    small, the main process would wait for the batch without end.
    """
    batch = make(items)
    if get_worker_info() is not None:
        for tensor in tensors_in(batch):
            tensor.share_memory_()
    return batch


def tensors_in(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, (dict, list, tuple)):
        for part in batch.values() if isinstance(batch, dict) else batch:
            yield from tensors_in(part)


def lacks_shared_memory(message: str) -> bool:
    """Whether torch says in one of its ways that a worker could not hand its batch over."""
    signs = ("Bus error", "shared memory", "unable to write to file </torch_", "unable to mmap")
    return any(sign in message for sign in signs)


def shared_memory_is_full(workers: int) -> str:
    """Through it the decoding processes hand their batches over; containers have 64 MB of it unless told otherwise."""
    folder = Path("/dev/shm")
    size = f", {shutil.disk_usage(folder).total / 1e6:.0f} MB" if folder.is_dir() else ""
    return (
        f"the shared memory ({folder}{size}) is too small for the batches of {workers} decoding processes: give the "
        f"container more (docker run --shm-size 8g), or lower --workers; --workers 0 needs none"
    )


def build_loader(
    dataset: Dataset, order: ClipOrder, *, batch_size: int, workers: int, pin_memory: bool = False
) -> Loader:
    """Batches of ``dataset`` in ``order``; set ``order.epoch`` before each pass."""
    return Loader(
        dataset,
        batch_size=batch_size,
        sampler=order,
        num_workers=min(workers, max(len(dataset) // batch_size, 1) if workers else 0),
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=start_worker,
    )


def start_worker(worker: int) -> None:
    """Workers share the cores with the model: one thread each. Ctrl-C and SIGTERM are the main process's to answer:
    a worker that dies of them would break the step that is being finished."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
