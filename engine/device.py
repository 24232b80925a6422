"""Choose the device, set its random state, and move batches to it."""

import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dataloader.loader import AUGMENTATION_KEYS
from dataloader.transforms import augment_squares
from models.clip_towers import CLIP_MEAN, CLIP_STD
from utils.errors import UserError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of red, green, blue
OPENAI_STATISTICS: Statistics = (CLIP_MEAN, CLIP_STD)
MOST_AT_ONCE = 8  # items that the cores of a CPU compute at once: each needs up to a gigabyte


def choose_device(device: str, gpu: str | None, rank: int | None = None) -> tuple[torch.device, str | None]:
    """Return the device, and a warning if ``--gpu`` does not exist, since published commands often name a GPU.

    ``rank``: number of this process among those that torchrun started on this machine. Each takes its own GPU.
    """
    if rank is not None and (gpu is not None or device.startswith("cuda:")):
        flag = f"--gpu {gpu}" if gpu is not None else f"--device {device}"
        raise UserError(
            f"{flag}: under torchrun every process would use that GPU; leave it out, or pass --device cuda to resume "
            f"a run that was started with it; each process then takes its own GPU"
        )
    if gpu is not None:
        name = "mps" if gpu == "mps" else f"cuda:{gpu}"
        if _is_there(name):
            return torch.device(name), None
        if torch.cuda.is_available():
            raise UserError(f"--gpu {gpu}: this machine has GPUs 0 to {torch.cuda.device_count() - 1}")
        return torch.device("cpu"), f"--gpu {gpu}: there is no such GPU here; running on the CPU"
    if device == "auto":
        device = next(d for d in ("cuda", "mps", "cpu") if _is_there(d))
    if not _is_there(device):
        raise UserError(f"--device {device}: not available here; --device auto chooses an available one")
    if device != "cuda":
        return torch.device(device), None
    if (rank or 0) >= torch.cuda.device_count():
        raise UserError(f"{rank + 1} processes on a machine with {torch.cuda.device_count()} GPUs; start fewer")
    return torch.device("cuda", rank or 0), None


def use_device(device: torch.device, tf32: bool = False) -> str | None:
    """Make ``device`` the current one of this process, so that no other GPU is opened.

    ``tf32`` rounds the factors of float32 products on a CUDA GPU. Return a warning if it has no effect.
    """
    if device.type != "cuda":
        return f"--tf32 has no effect on {device.type}, only on CUDA GPUs" if tf32 else None
    torch.cuda.set_device(device)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    return None


def _is_there(device: str) -> bool:
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        return torch.cuda.is_available() and index < torch.cuda.device_count()
    return device == "cpu" or torch.backends.mps.is_available()


def seed_everything(seed: int, deterministic: bool) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if deterministic != torch.are_deterministic_algorithms_enabled():  # the call takes seconds
        torch.use_deterministic_algorithms(deterministic)


def seed_epoch(seed: int, epoch: int, device: torch.device, state: dict[str, Tensor] | None = None) -> None:
    """Seed the dropout of an epoch, whatever ran before it; ``state`` restores the random state inside the epoch."""
    torch.manual_seed(seed * 1_000_003 + epoch)
    if state is None:
        return
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return torch's random state, which only dropout needs: all else is computed from seed, epoch and clip."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


class HostCopy:
    """A small tensor that is being copied to the CPU.

    ``read`` waits only for the work that computed the tensor, not for work that was queued later. ``.item()`` on a new
    result would wait for all of it, and the GPU would be idle until the next step is launched.
    """

    def __init__(self, value: Tensor) -> None:
        self._value = value.detach().to("cpu", non_blocking=value.is_cuda, copy=True)  # from a GPU: pinned memory
        self._copied = None
        if value.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self) -> Tensor:
        if self._copied is not None:
            self._copied.synchronize()
        return self._value


def to_device(
    batch: dict[str, Any], device: torch.device, normalize: str, statistics: Statistics = OPENAI_STATISTICS
) -> dict[str, Any]:
    """Return a batch on the device, its pixels as floats in [0, 1] or normalised by the CLIP's ``statistics``.

    Pixels are moved as uint8. They are augmented on the device if the batch holds the random numbers for it.
    """
    numbers = {name: batch[name] for name in AUGMENTATION_KEYS if name in batch}  # small; these stay on the CPU
    tensors = {name: value for name, value in batch.items() if name not in numbers}
    moved = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in tensors.items()}
    for stream, view in enumerate(("face", "context")):
        if view not in moved:
            continue
        if numbers:
            moved[view] = augment(moved[view], numbers, stream)
        moved[view] = to_pixels(moved[view], normalize, statistics)
    return moved


def map_on_cores(function: Callable[[Any], Any], items: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Yield ``function`` of every item in order. On a CPU several items are computed at once, each on its own cores.

    If all threads shared the work of every operation instead, each would wait for the slowest one after each of them,
    and the decoding processes, which use the same cores, always make one of them slow.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1:
        yield from map(function, items)
        return
    at_once = min(threads, MOST_AT_ONCE)
    torch.set_num_threads(threads // at_once)
    pool = ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(threads // at_once,))
    try:
        pending: deque[Future] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > at_once:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def join_batches(batches: list[dict[str, Any]], device: torch.device) -> dict[str, Any]:
    """Return the tensors of several batches as one on the device, pixels still as uint8."""
    moved = [{k: v.to(device, non_blocking=True) for k, v in tensors_of(batch).items()} for batch in batches]
    return moved[0] if len(moved) == 1 else {key: torch.cat([batch[key] for batch in moved]) for key in moved[0]}


def tensors_of(batch: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in batch.items() if isinstance(value, Tensor)}


def augment(squares: Tensor, numbers: dict[str, Tensor], stream: int) -> Tensor:
    """Return crops (B, T, 3, S, S) uint8 augmented on the device.

    ``numbers``: sampled angles, flips and so on, a column for each stream (B, streams); ``stream`` selects one.
    """
    sizes = numbers["face_sizes"] if stream == 0 else torch.ones_like(numbers["face_sizes"])  # the context is a square
    columns = {name: value[:, stream] for name, value in numbers.items() if name != "face_sizes"}
    return augment_squares(squares, sizes, **columns)


def statistics_of(model: nn.Module) -> Statistics:
    """Return the pixel mean and standard deviation that a model or an image tower expects; OpenAI's by default."""
    return getattr(getattr(model, "image_encoder", model), "statistics", OPENAI_STATISTICS)


def to_pixels(image: Tensor, normalize: str, statistics: Statistics = OPENAI_STATISTICS) -> Tensor:
    """Return (..., 3, H, W) uint8 as float, in [0, 1] or normalised by the CLIP's ``statistics``."""
    pixels = image.float() / 255
    if normalize == "none":
        return pixels
    mean, std = clip_statistics(image.device, statistics)
    return (pixels - mean) / std


@lru_cache(maxsize=16)
def clip_statistics(device: torch.device, statistics: Statistics = OPENAI_STATISTICS) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, (3, 1, 1) each, on a device. They are cached: a copy in each step is slow."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in statistics)
    return mean, std


def choose_amp(amp: str, device: torch.device) -> tuple[torch.dtype | None, str | None]:
    """Return the type of mixed precision, None for float32, and a warning if the device does not support it."""
    if amp == "fp16" and device.type != "cuda":
        return None, f"--amp fp16 needs a CUDA GPU; on {device.type} this run computes in float32"
    return {"off": None, "fp16": torch.float16, "bf16": torch.bfloat16}[amp], None
