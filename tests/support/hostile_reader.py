"""A child that reads hostile files: `python -m tests.support.hostile_reader FILE...` prints a line of JSON each."""

import copyreg
import json
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tests.support.assemble import EXTENSION


def strange(loaded: object) -> str:
    """What in a read file is neither a plain value, nor a tensor as small as the file, nor inert; else nothing."""
    seen: set[int] = set()
    left = [loaded]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if value.requires_grad or value._backward_hooks or value.numel() > 1_000_000:
                return f"a tensor of {tuple(value.shape)}, {value.requires_grad}, {value._backward_hooks}"
        elif isinstance(value, dict):
            left += [*dict.keys(value), *dict.values(value)]
        elif isinstance(value, (list, tuple, set)):
            left += value
        elif callable(value) and not isinstance(value, torch.dtype):
            return f"something to call: {value!r:.80}"
        elif not isinstance(value, (str, bytes, int, float, bool, type(None), np.ndarray, np.generic, torch.dtype)):
            left += [getattr(value, "state", None)]
    return ""


def read_one(path: Path) -> dict[str, object]:
    from utils.archive import read_archive
    from utils.errors import UserError

    before, started, told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), ""
    try:
        outcome, told = "read", strange(read_archive(path))
    except UserError as error:
        outcome, told = "refused", str(error)
    except BaseException as error:
        outcome, told = "crash", f"{type(error).__name__}: {error}"[:300]
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return {"outcome": outcome, "told": told, "seconds": time.process_time() - started, "megabytes": megabytes}


def main(files: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    copyreg.add_extension("os", "system", EXTENSION)
    for file in files:
        signal.alarm(20)  # ends the process, whatever C code it hangs in, or waits for
        print(json.dumps(read_one(Path(file))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
