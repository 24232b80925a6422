"""Where to compute, and how to move a batch there."""

import os
import random
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dataloader.loader import DRAWS
from dataloader.transforms import augment_squares
from models.clip_towers import CLIP_MEAN, CLIP_STD
from utils.errors import UserError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of red, green, blue
OPENAI_STATISTICS: Statistics = (CLIP_MEAN, CLIP_STD)


def choose_device(device: str, gpu: str | None, rank: int | None = None) -> tuple[torch.device, str | None]:
    """Return the device, and a warning where ``--gpu`` does not exist: published commands name a GPU by habit.

    ``rank``: of this process among those that torchrun started on this machine, each of which takes a GPU of its own.
    """
    if rank is not None and (gpu is not None or device.startswith("cuda:")):
        flag = f"--gpu {gpu}" if gpu is not None else f"--device {device}"
        raise UserError(
            f"{flag}: torchrun would put every process on that one; leave it out (or pass --device cuda where a run "
            f"that goes on was started with it), and each process takes a GPU of its own"
        )
    if gpu is not None:
        name = "mps" if gpu == "mps" else f"cuda:{gpu}"
        if _is_there(name):
            return torch.device(name), None
        if torch.cuda.is_available():
            raise UserError(f"--gpu {gpu}: this machine has GPUs 0 to {torch.cuda.device_count() - 1}")
        return torch.device("cpu"), f"--gpu {gpu}: there is no such GPU here, running on the CPU"
    if device == "auto":
        device = next(d for d in ("cuda", "mps", "cpu") if _is_there(d))
    if not _is_there(device):
        raise UserError(f"--device {device}: not available here; --device auto takes what there is")
    if device != "cuda":
        return torch.device(device), None
    if (rank or 0) >= torch.cuda.device_count():
        raise UserError(f"{rank + 1} processes on a machine with {torch.cuda.device_count()} GPUs; start fewer")
    return torch.device("cuda", rank or 0), None


def use_device(device: torch.device, tf32: bool = False) -> str | None:
    """Make ``device`` the one that this process computes on: its random state is saved, and no other GPU is opened.

    ``tf32`` shortens the factors of float32 products; return a warning where it cannot.
    """
    if device.type != "cuda":
        return f"--tf32 is about CUDA GPUs; on {device.type} it changes nothing" if tf32 else None
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
    if deterministic != torch.are_deterministic_algorithms_enabled():  # the call imports torch's compiler: seconds
        torch.use_deterministic_algorithms(deterministic)


def seed_epoch(seed: int, epoch: int, device: torch.device, state: dict[str, Tensor] | None = None) -> None:
    """Seed the dropout of an epoch, independent of what ran before; ``state`` continues inside the epoch."""
    torch.manual_seed(seed * 1_000_003 + epoch)
    if state is None:
        return
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return torch's random state: dropout alone is no pure function of seed, epoch and clip."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


class HostCopy:
    """A small tensor on its way to the CPU.

    Reading it waits for the work that made it, not for what the GPU was given since: ``.item()`` on a fresh result
    would leave the GPU without work until the next step is launched.
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

    Pixels travel as uint8. They are augmented on the device where the batch says how.
    """
    draws = {name: batch[name] for name in DRAWS if name in batch}  # small: they stay, the numbers made of them move
    tensors = {name: value for name, value in batch.items() if name not in draws}
    moved = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in tensors.items()}
    for stream, view in enumerate(("face", "context")):
        if view not in moved:
            continue
        if draws:
            moved[view] = augment(moved[view], draws, stream)
        moved[view] = to_pixels(moved[view], normalize, statistics)
    return moved


def join_batches(batches: list[dict[str, Any]], device: torch.device) -> dict[str, Any]:
    """Return the tensors of several batches as one on the device, pixels still as uint8."""
    moved = [{k: v.to(device, non_blocking=True) for k, v in tensors_of(batch).items()} for batch in batches]
    return moved[0] if len(moved) == 1 else {key: torch.cat([batch[key] for batch in moved]) for key in moved[0]}


def tensors_of(batch: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in batch.items() if isinstance(value, Tensor)}


def augment(squares: Tensor, draws: dict[str, Tensor], stream: int) -> Tensor:
    """Augment (B, T, 3, S, S) uint8 on the device by this stream's column of every random draw (B, streams)."""
    sizes = draws["face_sizes"] if stream == 0 else torch.ones_like(draws["face_sizes"])  # the context is a square
    columns = {name: value[:, stream] for name, value in draws.items() if name != "face_sizes"}
    return augment_squares(squares, sizes, **columns)


def statistics_of(model: nn.Module) -> Statistics:
    """Return the pixel mean and deviation of a model, or of an image tower; OpenAI's where it has none."""
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
    """Return mean and deviation (3, 1, 1) on a device. A copy in every step would wait for the GPU."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in statistics)
    return mean, std


def choose_amp(amp: str, device: torch.device) -> tuple[torch.dtype | None, str | None]:
    """Return the type of mixed precision, None for float32, and a warning where the device does not have it."""
    if amp == "fp16" and device.type != "cuda":
        return None, f"--amp fp16 needs a CUDA GPU; on {device.type} this run computes in float32"
    return {"off": None, "fp16": torch.float16, "bf16": torch.bfloat16}[amp], None
