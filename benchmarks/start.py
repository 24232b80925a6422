"""Measures the time until --help is printed and until the first batch of an evaluation is predicted."""

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.subject import make_subject
from models.clip_towers import ClipShape
from utils.checkpoint import FORMAT, halve_where_exact, save_checkpoint

CLIPS, FRAMES = 8, 30
FIRST_BATCH = """
import sys, time, engine.clip_predict as e
from main import main
forward = e.passes
def forward_with_time(*arguments):
    logits = forward(*arguments)
    print("first batch at", time.time(), time.process_time(), flush=True)
    return logits
e.passes = forward_with_time
sys.exit(main(sys.argv[1:]))
"""


def measure(shape: ClipShape) -> dict[str, Any]:
    """Return the seconds from the start of the process, imports included, and the size of the checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, root = Path(folder, "best.pt"), Path(folder, "set")
        write_checkpoint(checkpoint, shape)
        write_clips(root)
        batches = [first_batch_seconds(checkpoint, root) for _ in range(3)]
        return {
            "help_seconds": round(median(help_seconds() for _ in range(5)), 2),
            "first_batch_seconds": round(median(wall for wall, _ in batches), 1),
            "first_batch_computed_seconds": round(median(computed for _, computed in batches), 1),
            "checkpoint_megabytes": round(checkpoint.stat().st_size / 1e6),
        }


def help_seconds() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "main.py", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def first_batch_seconds(checkpoint: Path, root: Path) -> tuple[float, float]:
    """Return wall and CPU seconds from the start of the command to the logits of its first clip."""
    words = ["--mode", "eval", "--eval-checkpoint", str(checkpoint), "--test-annotation", str(root / "test.txt")]
    words += ["--root-dir", str(root), "--output-dir", str(root / f"run{time.time()}"), "--batch-size", "1"]
    started = time.time()
    process = subprocess.run([sys.executable, "-c", FIRST_BATCH, *words], capture_output=True, text=True)
    match = re.search(r"first batch at ([0-9.]+) ([0-9.]+)", process.stdout)
    if match is None:
        raise SystemExit(f"the evaluation ended without a batch: {process.stderr[-400:]}")
    return float(match[1]) - started, float(match[2])


def write_checkpoint(path: Path, shape: ClipShape) -> None:
    """Write a checkpoint with random weights."""
    subject = make_subject(shape, "clip_caer", [])
    content = {
        "format": FORMAT,
        "family": "clip-caer",
        "config": asdict(subject.config),
        "classes": list(subject.task.names),
        "label_base": 1,
        "clip_shape": shape.as_dict(),
        "selected_on": "last",
        "epoch": 1,
        "best": {"uar": -1.0, "epoch": 1},
        "model": halve_where_exact(subject.start),
    }
    save_checkpoint(content, path)


def write_clips(root: Path) -> None:
    """Write clips of noise, 640 x 480, and their list."""
    rng, lines = np.random.default_rng(0), []
    for clip in range(CLIPS):
        folder = root / f"RAER/P{clip:03d}/001"
        folder.mkdir(parents=True)
        for number in range(FRAMES):
            pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((640, 480)).save(folder / f"{number:05d}.jpg")
        lines.append(f"RAER/P{clip:03d}/001 {FRAMES} {clip % 5 + 1}")
    (root / "test.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
