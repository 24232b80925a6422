"""What every mode that computes begins and ends with: device, precision, seed, run folder, warnings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch

from engine.device import choose_amp, choose_device, seed_everything
from engine.options import Config
from engine.settings import warnings_of
from utils.errors import UserError
from utils.runlog import RunLog, open_run


@dataclass(frozen=True)
class Session:
    device: torch.device
    amp: torch.dtype | None  # None computes in float32
    log: RunLog

    @property
    def pin_memory(self) -> bool:
        return self.device.type == "cuda"


@contextmanager
def open_session(config: Config) -> Iterator[Session]:
    """A mistake found before there is any result takes its empty run folder away again."""
    device, device_warning = choose_device(config.run.device, config.run.gpu)
    amp, amp_warning = choose_amp(config.optim.amp, device)
    seed_everything(config.run.seed, config.run.deterministic)
    log = open_run(config.run.output_dir, config.run.exper_name, asdict(config))
    try:
        for warning in filter(None, (device_warning, amp_warning, *warnings_of(config))):
            log.warn(warning)
        yield Session(device, amp, log)
    except UserError:
        log.discard_if_empty()
        raise
    finally:
        log.close()
