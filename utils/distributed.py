"""One run in several processes that ``torchrun`` starts. In a single process nothing here has an effect.

Each process reads and encodes its own shard of a step's clips. The features are gathered, and everything after them
(temporal transformers, texts, losses) is computed for all clips in every process. So random numbers, class weights and
losses over the batch equal those of a single process, and only the gradients of the encoder have to be summed.
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

TIMEOUT = timedelta(hours=6)  # the other processes wait while the first one writes a feature cache
BUCKET_BYTES = 25 << 20  # gradients in one message


class Group:
    """The processes of this run: ``rank`` of ``world``."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    @property
    def is_main(self) -> bool:
        """Return whether this process is the one that writes files."""
        return self.rank == 0

    def shard(self, items: list) -> list:
        """Return this process's items: every world-th one, so that none is read twice and none is padded."""
        return items[self.rank :: self.world]

    def shard_size(self, total: int) -> int:
        return len(range(self.rank, total, self.world))

    def gather(self, shard: Tensor, total: int) -> Tensor:
        """Return all ``total`` rows in order; this process holds ``shard`` of them. Gradients flow to the shard."""
        if self.world == 1:
            return shard
        longest = -(-total // self.world)  # all_gather needs the same size from every process
        padded = torch.cat([shard, shard.new_zeros(longest - len(shard), *shard.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded.detach())
        parts[self.rank] = padded  # all_gather passes no gradient, so the own part replaces its copy
        # Rank r holds rows r, r + world, ...: stacking along dim 1 restores their order, and padding comes last.
        return torch.stack(parts, dim=1).flatten(0, 1)[:total]

    def gather_list(self, shard: list, total: int) -> list:
        """Return all ``total`` objects in order; this process holds ``shard`` of them."""
        if self.world == 1:
            return shard
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, shard)
        return [parts[index % self.world][index // self.world] for index in range(total)]

    def sum(self, values: list[float]) -> list[float]:
        """Return each number summed over the processes, with one message between CPUs."""
        if self.world == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def broadcast(self, value: Any) -> Any:
        """Return the first process's value in all processes."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def barrier(self) -> None:
        """Wait for all processes. The message goes between CPUs, because a GPU would be busy while it waits."""
        self.sum([0.0])

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in the first process; the others run it when the first is done."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()


SINGLE_PROCESS = Group()


class Bucket:
    """Gradients that are sent in one message."""

    def __init__(self, parameters: list[nn.Parameter], is_averaged: bool) -> None:
        self.parameters, self.is_averaged = parameters, is_averaged
        self.missing = len(parameters)  # gradients that the backward pass has not reached yet
        self.with_gradient: list[nn.Parameter] = []
        self.flat: Tensor | None = None
        self.work: dist.Work | None = None

    def send(self) -> None:
        """Send the existing gradients. A parameter that the loss does not depend on has none, in every process."""
        self.with_gradient = [p for p in self.parameters if p.grad is not None]
        if self.with_gradient:
            self.flat = torch.cat([p.grad.flatten() for p in self.with_gradient])
            self.work = dist.all_reduce(self.flat, async_op=True)

    def receive(self, world: int) -> None:
        if self.with_gradient:
            self.work.wait()
            flat = self.flat / world if self.is_averaged else self.flat
            for p, gradient in zip(
                self.with_gradient, flat.split([p.numel() for p in self.with_gradient]), strict=True
            ):
                p.grad = gradient.view_as(p)
        self.missing, self.with_gradient, self.flat, self.work = len(self.parameters), [], None, None


class GradientExchange:
    """Sum or average gradients over the processes while the backward pass still computes those of earlier layers.

    Parameters are put into buckets in the order in which a backward pass reaches them, the last layer first. A bucket
    is sent once it is complete and all buckets before it are sent, since all processes must send in the same order.
    The large encoder, whose gradients are summed, comes first: after a bucket with a parameter that no loss depends on,
    it would have to wait for the end of the backward pass.
    """

    def __init__(
        self, group: Group, summed: Iterable[nn.Parameter], averaged: Iterable[nn.Parameter], size: int = BUCKET_BYTES
    ) -> None:
        """``size``: bytes of a bucket. A larger tensor gets a bucket for itself."""
        self.group, self.buckets, self.next = group, [], 0
        self.is_last_pass = False  # whether this is the last backward pass before an update
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
        """Wrap a backward pass. After the last one before an update, gradients are combined over all processes."""
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


def chunks(parameters: list[nn.Parameter], chunk_bytes: int) -> Iterator[list[nn.Parameter]]:
    """Yield the parameters in order, at most ``chunk_bytes`` at a time."""
    chunk, room = [], chunk_bytes
    for p in parameters:
        if chunk and p.nbytes > room:
            yield chunk
            chunk, room = [], chunk_bytes
        chunk.append(p)
        room -= p.nbytes
    if chunk:
        yield chunk


def is_launched() -> bool:
    """Return whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def join(device: torch.device) -> Group:
    """Return the group of all processes. NCCL is used for tensors on GPUs, gloo for those on CPUs, such as counts."""
    if not is_launched():
        return SINGLE_PROCESS
    if not dist.is_initialized():
        if device.type == "cuda":
            dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device, timeout=TIMEOUT)
        else:
            dist.init_process_group("gloo", timeout=TIMEOUT)
    return Group(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
