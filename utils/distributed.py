"""Many processes, one run: what ``torchrun`` started side by side talks through here. Alone, everything is a no-op.

Each process reads and encodes its own share of a step's clips; the features are put together again, and everything
behind them (temporal transformers, texts, losses) is computed for the whole step by all. So chance, class weights and
losses over the batch are those of one process, and only the encoder's gradients have to be summed.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(hours=6)  # the others wait while the first one makes a feature cache
BUCKET = 25 << 20  # bytes of gradients in one message


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

    def sums(self, values: list[float]) -> list[float]:
        """Each number added up over the processes, by one message between CPUs."""
        if self.world == 1:
            return values
        summed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(summed)
        return summed.tolist()

    def same(self, value: Any) -> Any:
        """The first process's value, in all."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Until all processes are here; a message between CPUs, so that no GPU spins for as long."""
        self.sums([0.0])

    @contextmanager
    def first(self) -> Iterator[None]:
        """The first process goes ahead; the others follow when it is done."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


ALONE = Group()


class Bucket:
    """Gradients that travel together."""

    def __init__(self, parameters: list[nn.Parameter], averaged: bool) -> None:
        self.parameters, self.averaged = parameters, averaged
        self.missing = len(parameters)  # gradients that the backward pass has not reached yet
        self.sent: list[nn.Parameter] = []
        self.flat: Tensor | None = None
        self.work: dist.Work | None = None

    def send(self) -> None:
        """A parameter that the loss does not reach has no gradient, in this process as in all."""
        self.sent = [p for p in self.parameters if p.grad is not None]
        if self.sent:
            self.flat = torch.cat([p.grad.flatten() for p in self.sent])
            self.work = dist.all_reduce(self.flat, async_op=True)

    def receive(self, world: int) -> None:
        if self.sent:
            self.work.wait()
            flat = self.flat / world if self.averaged else self.flat
            for p, gradient in zip(self.sent, flat.split([p.numel() for p in self.sent]), strict=True):
                p.grad = gradient.view_as(p)
        self.missing, self.sent, self.flat, self.work = len(self.parameters), [], None, None


class GradientExchange:
    """Sums or averages gradients over the processes while the backward pass still computes those of earlier layers.

    Parameters are put into buckets in the order in which a backward pass reaches them, the last layer first. A bucket
    is sent as soon as it is whole and those before it are sent: all processes send in one order. The large encoder,
    whose gradients are summed, comes first: a parameter elsewhere that no loss reaches would hold it up to the end.
    """

    def __init__(
        self, group: Group, summed: Iterable[nn.Parameter], averaged: Iterable[nn.Parameter], size: int = BUCKET
    ) -> None:
        """``size``: bytes of a bucket; a larger tensor has one of its own."""
        self.group, self.buckets, self.next = group, [], 0
        self.is_last_pass = False  # of those whose gradients make one update
        if group.world == 1:
            return
        for parameters, is_averaged in ((summed, False), (averaged, True)):
            for chunk in chunks(list(parameters)[::-1], size):
                self.buckets.append(Bucket(chunk, is_averaged))
        for bucket in self.buckets:
            for p in bucket.parameters:
                p.register_post_accumulate_grad_hook(partial(self._reached, bucket))

    @contextmanager
    def during_backward(self, is_last_pass: bool) -> Iterator[None]:
        """Around a backward pass; behind the last one of an update every gradient is that of all processes."""
        self.is_last_pass = is_last_pass
        yield
        self.is_last_pass = False
        if not is_last_pass:
            return
        for bucket in self.buckets[self.next :]:
            bucket.send()
        for bucket in self.buckets:
            bucket.receive(self.group.world)
        self.next = 0

    def _reached(self, bucket: Bucket, _: nn.Parameter) -> None:
        if not self.is_last_pass:
            return
        bucket.missing -= 1
        while self.next < len(self.buckets) and self.buckets[self.next].missing == 0:
            self.buckets[self.next].send()
            self.next += 1


def chunks(parameters: list[nn.Parameter], size: int) -> Iterator[list[nn.Parameter]]:
    """The parameters in order, at most ``size`` bytes at a time."""
    chunk, room = [], size
    for p in parameters:
        if chunk and p.nbytes > room:
            yield chunk
            chunk, room = [], size
        chunk.append(p)
        room -= p.nbytes
    if chunk:
        yield chunk


def is_launched() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def join(device: torch.device) -> Group:
    """Meet the other processes: NCCL carries what is on GPUs, gloo what is on CPUs, as counts and names are."""
    if not is_launched():
        return ALONE
    if not dist.is_initialized():
        if device.type == "cuda":
            dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device, timeout=PATIENCE)
        else:
            dist.init_process_group("gloo", timeout=PATIENCE)
    return Group(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
