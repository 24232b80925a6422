"""From clips to batches: the DataLoader, with the order of clips as its sampler."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from dataloader.clips import collate
from dataloader.frames import BadFrame
from dataloader.sampling import ClipOrder


class Loader(DataLoader):
    """A DataLoader with a random stream of its own, and errors of one line."""

    def __init__(self, dataset: Dataset, **settings: Any) -> None:
        # here, not in the workers: a forked process that inherits OpenCV's threads waits for them without end
        cv2.setNumThreads(1)
        # each pass draws a seed for its workers: from torch's global stream it would shift the dropout of the run
        super().__init__(dataset, generator=torch.Generator(), **settings)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            yield from super().__iter__()
        except BadFrame as error:  # a worker's error arrives wrapped in its traceback
            raise BadFrame(str(error).rpartition("BadFrame: ")[2].strip()) from None


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
