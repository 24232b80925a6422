"""Start and end of every mode that computes: device, precision, seed, run folder, warnings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dataloader.loader import lacks_shared_memory, shared_memory_is_full
from engine.config import warnings_of
from engine.device import choose_amp, choose_device, seed_everything, use_device
from engine.options import Config
from utils.distributed import SINGLE_PROCESS, Group, is_launched, join, leave, local_rank
from utils.errors import UserError, first_line
from utils.runlog import QuietLog, RunLog, open_run, reopen_run

if TYPE_CHECKING:
    from engine.run_checkpoints import Start


@dataclass(frozen=True)
class Session:
    device: torch.device
    amp: torch.dtype | None  # None computes in float32
    log: RunLog
    group: Group = SINGLE_PROCESS  # the processes of this run

    @property
    def pin_memory(self) -> bool:
        return self.device.type == "cuda"


@contextmanager
def open_session(config: Config, start: "Start | None" = None) -> Iterator[Session]:
    """Open a run on its device. If an error comes before any result, the empty run folder is removed.

    ``start``: what a training starts with; it may continue in an existing folder. The run is complete when the block
    ends without an error.
    """
    device, device_warning = choose_device(config.run.device, config.run.gpu, local_rank() if is_launched() else None)
    tf32_warning = use_device(device, config.optim.tf32)
    group = join(device)
    amp, amp_warning = choose_amp(config.optim.amp, device)
    seed_everything(config.run.seed, config.run.deterministic)
    if config.run.mode == "train" and config.optim.batch_size % group.world:
        raise UserError(
            f"--batch-size {config.optim.batch_size}: {group.world} processes share it, so it must be a multiple of "
            f"{group.world}"
        )
    log = open_log(config, start, group)
    try:
        for warning in filter(None, (device_warning, amp_warning, tf32_warning, *warnings_of(config))):
            log.warn(warning, "setting")
        for message in () if start is None else start.messages:
            log.say(f"warning: {message}")  # not stored, because the results do not depend on it
        if group.world > 1:
            log.say(f"{group.world} processes; --batch-size {config.optim.batch_size} is the total of all")
        with plain_words(config):
            yield Session(device, amp, log, group)
        log.complete()
    except UserError:
        log.discard_if_empty()
        raise
    except OSError:
        if not log.folder.is_dir():
            state = "there is a file of this name" if log.folder.exists() else "it no longer exists"
            raise UserError(f"run folder {log.folder}: {state}; nothing more is written") from None
        log.discard_if_empty()
        raise
    finally:
        log.close()
    leave()  # only without an error: otherwise NCCL would wait forever for the other processes


def open_log(config: Config, start: "Start | None", group: Group) -> RunLog:
    """Return the log of the run folder, which the first process creates; the other processes print nothing."""
    log = None
    if group.is_main:
        if start is None or start.folder is None:
            log = open_run(config.run.output_dir, config.run.exper_name, asdict(config))
        else:
            log = reopen_run(start.folder)
            if not start.is_current():
                log.close()
                raise UserError(f"{start.folder}: another process has just worked on this run; run the command again")
            if start.resume_point is None:  # it ended before it saved anything; its options may differ now
                log.write_json("config.json", asdict(config))
    name = group.broadcast(str(log.folder) if log else None)
    return log or QuietLog(Path(name))


@contextmanager
def plain_words(config: Config) -> Iterator[None]:
    """Turn long error texts of torch into one line."""
    try:
        yield
    except RuntimeError as error:
        if "out of memory" in str(error).lower():
            raise UserError(out_of_memory(config)) from None
        if type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
            raise UserError(
                f"--compile: torch cannot compile here ({first_line(error)[:160]}); leave it out or repair that"
            ) from None
        if lacks_shared_memory(str(error)):
            raise UserError(shared_memory_is_full(config.run.workers)) from None
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"a decoding process died (out of memory?): lower --workers, now {config.run.workers} ({first_line(error)})"
        ) from None


def out_of_memory(config: Config) -> str:
    """Return an error message with a smaller batch and the accumulation that makes the same update."""
    size, together = config.optim.batch_size, config.optim.accumulate
    if config.run.mode != "train":
        return "out of GPU memory with one clip at a time: try --amp bf16, --device cpu, or a smaller CLIP"
    if size == 1:
        return "out of GPU memory at --batch-size 1: try --amp bf16, --lr-image-encoder 0, or fewer --num-segments"
    smaller = next(part for part in range(size // 2, 0, -1) if size % part == 0)
    return (
        f"out of GPU memory at --batch-size {size}: try --batch-size {smaller} "
        f"--accumulate {together * size // smaller}, the same {size * together} clips an update"
    )
