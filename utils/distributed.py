"""Many processes, one run: what ``torchrun`` started side by side talks through here. Alone, everything is a no-op.

Each process reads and encodes its own share of a step's clips; the features are put together again, and everything
behind them (temporal transformers, texts, losses) is computed for the whole step by all. So chance, class weights and
losses over the batch are those of one process, and only the encoder's gradients have to be summed.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(hours=6)  # the others wait while the first one makes a feature cache


class Group:
    """The processes of this run: ``rank`` of ``world``."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def own(self, items: list) -> list:
        """Every world-th item: nothing twice, nothing padded."""
        return items[self.rank :: self.world]

    def own_count(self, total: int) -> int:
        return len(range(self.rank, total, self.world))

    def together(self, own: Tensor, total: int) -> Tensor:
        """Rows that the processes hold in turn → all ``total`` rows in order; gradients flow to the own ones."""
        if self.world == 1:
            return own
        most = -(-total // self.world)
        padded = torch.cat([own, own.new_zeros(most - len(own), *own.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded.detach())
        parts[self.rank] = padded
        return torch.stack(parts, dim=1).flatten(0, 1)[:total]

    def together_list(self, own: list, total: int) -> list:
        """The same for a list of anything."""
        if self.world == 1:
            return own
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, own)
        return [parts[index % self.world][index // self.world] for index in range(total)]

    @torch.no_grad()
    def add_gradients(self, parameters: Iterable[torch.nn.Parameter], *, mean: bool) -> None:
        """Sum, or average, over the processes, in one message."""
        learning = [] if self.world == 1 else [p for p in parameters if p.requires_grad]
        if not learning:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat = flat / self.world if mean else flat
        for p, gradient in zip(learning, flat.split([p.numel() for p in learning]), strict=True):
            p.grad = gradient.view_as(p)

    def any(self, value: bool) -> bool:
        """Whether it holds in any process."""
        if self.world == 1:
            return value
        return bool(self.total(float(value)))

    def total(self, value: float) -> float:
        if self.world == 1:
            return value
        device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else "cpu"
        summed = torch.tensor([value], dtype=torch.float64, device=device)
        dist.all_reduce(summed)
        return summed.item()

    def same(self, value: Any) -> Any:
        """The first process's value, in all."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()

    @contextmanager
    def first(self) -> Iterator[None]:
        """The first process goes ahead; the others follow when it is done."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


ALONE = Group()


def is_launched() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def join(device: torch.device) -> Group:
    """Meet the other processes; NCCL between GPUs, gloo between CPUs."""
    if not is_launched():
        return ALONE
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return Group(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
