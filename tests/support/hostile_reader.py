"""What a child process does with hostile files: it reads them one after another and prints a line of JSON for each."""

import copyreg
import json
import resource
import signal
import time
from pathlib import Path

import numpy as np
import torch

from tests.support.assemble import EXTENSION
from utils.archive import read_archive
from utils.errors import UserError


def strange(loaded: object) -> str:
    """Return the first part of a loaded file that is not a plain value, small tensor or placeholder, if any."""
    visited: set[int] = set()
    pending = [loaded]
    while pending:
        value = pending.pop()
        if id(value) in visited:
            continue
        visited.add(id(value))
        if isinstance(value, torch.Tensor):
            if value.requires_grad or value._backward_hooks or value.numel() > 1_000_000:
                return f"a tensor of {tuple(value.shape)}, {value.requires_grad}, {value._backward_hooks}"
        elif isinstance(value, dict):
            pending += [*dict.keys(value), *dict.values(value)]
        elif isinstance(value, (list, tuple, set)):
            pending += value
        elif callable(value) and not isinstance(value, torch.dtype):
            return f"something to call: {value!r:.80}"
        elif not isinstance(value, (str, bytes, int, float, bool, type(None), np.ndarray, np.generic, torch.dtype)):
            pending += [getattr(value, "state", None)]
    return ""


def read(path: Path) -> dict[str, object]:
    before, start, message = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), ""
    try:
        outcome, message = "read", strange(read_archive(path))
    except UserError as error:
        outcome, message = "refused", str(error)
    except BaseException as error:
        outcome, message = "crash", f"{type(error).__name__}: {error}"[:300]
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return {"outcome": outcome, "message": message, "seconds": time.process_time() - start, "megabytes": megabytes}


def main(files: list[str]) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    copyreg.add_extension("os", "system", EXTENSION)
    for file in files:
        signal.alarm(600)  # ends the process even if it hangs or waits in C code
        print(json.dumps(read(Path(file))), flush=True)
    return 0
