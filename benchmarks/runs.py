"""One run of main.py in a process of its own, and what it scored; a finished one is not repeated."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any


def scored_run(words: list[str], folder: Path, mark: str, threads: int) -> dict[str, Any]:
    """``metrics.json`` of ``main.py <words>`` in ``folder``, and its seconds.

    ``mark``: all that the run depends on; another one than the finished run's makes it run again.
    """
    finished = folder / "fingerprint.txt"
    if not finished.exists() or finished.read_text(encoding="utf-8") != mark:
        shutil.rmtree(folder, ignore_errors=True)
        started, environment = time.time(), os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "main.py", *words, "--output-dir", str(folder)]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment)
        if ended.returncode != 0:
            raise SystemExit(f"{' '.join(words)}: {ended.stderr.strip()[-600:]}")
        (folder / "seconds.txt").write_text(f"{time.time() - started:.1f}\n", encoding="utf-8")
        finished.write_text(mark, encoding="utf-8")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics | {"seconds": float((folder / "seconds.txt").read_text(encoding="utf-8"))}


def spread(values: list[float]) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
