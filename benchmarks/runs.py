"""Runs main.py in its own process and returns its scores; helpers for the commands that compare many runs."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

FIGURES = ("uar", "war", "macro_f1")


def scored_run(words: list[str], folder: Path, mark: str, threads: int) -> dict[str, Any]:
    """Return ``metrics.json`` of ``main.py <words>`` in ``folder``, with the seconds that the run took.

    ``mark`` describes all that the run depends on. A finished run with the same mark is not repeated.
    """
    finished = folder / "fingerprint.txt"
    if not finished.exists() or finished.read_text(encoding="utf-8") != mark:
        shutil.rmtree(folder, ignore_errors=True)
        started, environment = time.time(), os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "main.py", *words, "--output-dir", str(folder)]
        process = subprocess.run(command, capture_output=True, text=True, env=environment)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(words)}: {process.stderr.strip()[-600:]}")
        (folder / "seconds.txt").write_text(f"{time.time() - started:.1f}\n", encoding="utf-8")
        finished.write_text(mark, encoding="utf-8")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics | {"seconds": float((folder / "seconds.txt").read_text(encoding="utf-8"))}


def summarize_run(name: str, seed: int | None, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the figures, recalls and seconds of a run, and print one line about it to standard error."""
    recalls = {label: values["recall"] for label, values in metrics["per_class"].items()}
    title = name if seed is None else f"{name}, seed {seed}"
    print(f"{title}: UAR {metrics['uar']:.1f} in {metrics['seconds']:.0f} s", file=sys.stderr, flush=True)
    return {"seed": seed, **{f: metrics[f] for f in FIGURES}, "recall": recalls, "seconds": metrics["seconds"]}


def run_folder(out: str, name: str, seed: int | None = None) -> Path:
    """Return the output folder of a run, or of the series over all seeds, named after its table row."""
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    return Path(out, plain if seed is None else f"{plain}-seed{seed}")


def fingerprint(settings: Any, files: list[Path]) -> str:
    """Return a hash of the settings and of the content of the files, on which the result of a run depends."""
    digest = hashlib.sha256(repr(settings).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def write_short_list(root: str, every: int, path: Path) -> int:
    """Write every Nth line of the train list of a simulated set to ``path`` and return the number of lines."""
    lines = Path(root, "annotation/train.txt").read_text(encoding="utf-8").splitlines()[::every]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def spread(values: list[float]) -> str:
    """Return the mean ± standard deviation over seeds as text."""
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
