"""What every mode that computes begins and ends with: device, precision, seed, run folder, warnings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from engine.device import choose_amp, choose_device, seed_everything
from engine.options import Config
from engine.settings import warnings_of
from utils.archive import first_line
from utils.errors import UserError
from utils.runlog import RunLog, open_run, reopen_run


@dataclass(frozen=True)
class Session:
    device: torch.device
    amp: torch.dtype | None  # None computes in float32
    log: RunLog

    @property
    def pin_memory(self) -> bool:
        return self.device.type == "cuda"


@contextmanager
def open_session(config: Config, folder: Path | None = None) -> Iterator[Session]:
    """A mistake found before there is any result takes its empty run folder away again.

    ``folder``: of a run that goes on.
    """
    device, device_warning = choose_device(config.run.device, config.run.gpu)
    amp, amp_warning = choose_amp(config.optim.amp, device)
    seed_everything(config.run.seed, config.run.deterministic)
    if folder is not None:
        log = reopen_run(folder, asdict(config))
    else:
        log = open_run(config.run.output_dir, config.run.exper_name, asdict(config))
    try:
        for warning in filter(None, (device_warning, amp_warning, *warnings_of(config))):
            log.warn(warning)
        yield Session(device, amp, log)
    except UserError:
        log.discard_if_empty()
        raise
    except RuntimeError as error:
        if "out of memory" in str(error).lower():
            raise UserError(out_of_memory(config)) from None
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"a decoding process died (out of memory?): lower --workers, now {config.run.workers} ({first_line(error)})"
        ) from None
    finally:
        log.close()


def out_of_memory(config: Config) -> str:
    """A smaller batch that makes the same step: what is lost in size is won back by accumulation."""
    size, together = config.optim.batch_size, config.optim.accumulate
    if config.run.mode != "train":
        return "out of GPU memory with one clip in a pass: try --amp bf16, --device cpu, or a smaller CLIP"
    if size == 1:
        return "out of GPU memory at --batch-size 1: try --amp bf16, --lr-image-encoder 0, or fewer --num-segments"
    smaller = next(part for part in range(size // 2, 0, -1) if size % part == 0)
    return (
        f"out of GPU memory at --batch-size {size}: try --batch-size {smaller} "
        f"--accumulate {together * size // smaller}, the same {size * together} clips an update"
    )
