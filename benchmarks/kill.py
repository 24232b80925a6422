"""Kills a training with SIGKILL at random moments, resumes it, and compares the result with an uninterrupted run.

    python -m benchmarks.kill                 # 100 times; about 20 minutes on two cores
    python -m benchmarks.kill --times 10 --seed 7

Every second time the moment lies inside the writing of a checkpoint. Equal means: every tensor of best.pt and last.pt,
the optimiser's too, bit for bit, and predictions.csv byte for byte. Writes benchmarks/results/kill.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simulate import Settings, write_set
from utils.archive import read_archive

RECIPE = """
--clip-path random --image-size 64 --num-segments 4 --batch-size 3 --accumulate 2 --epochs 4 --milestones 2
--lr-image-encoder 1e-3 --lr 1e-2 --lr-prompt-learner 1e-2 --slerp-weight 0.5 --iec-text both --logit-adj
--train-annotation annotation/train.txt --test-annotation annotation/test.txt
--bounding-box-face annotation/face.json --bounding-box-body annotation/body.json
--device cpu --deterministic --save-every-minutes 0.003 --resume auto
""".split()
PATIENCE = 300.0  # seconds that one run may take at most
RESULT = Path(__file__).parent / "results" / "kill.json"


def main() -> int:
    options, started = parse(), time.time()
    with tempfile.TemporaryDirectory() as folder:
        count, moments = kill_many(Path(folder), options.times, options.seed, options.jobs)
    print(
        f"{count} of {options.times} equal the run that was left alone, bit for bit   ({time.time() - started:.0f} s)"
    )
    print("killed: " + ", ".join(f"{number} {moment}" for moment, number in moments.most_common()))
    if options.times == 100:
        about = {"command": "python -m benchmarks.kill", "torch": torch.__version__, "seed": options.seed}
        RESULT.write_text(json.dumps(about | {"times": 100, "equal": count, "killed": dict(moments)}, indent=2) + "\n")
    return 0 if count == options.times else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100, help="how often (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    return parser.parse_args()


def kill_many(folder: Path, times: int, seed: int, jobs: int = 1) -> tuple[int, Counter]:
    """Return how many of ``times`` killed and resumed runs ended equal, and when they were killed."""
    write_set(folder / "set", Settings(clips=40, persons=8, frames=6, width=96, height=72))
    uninterrupted = folder / "alone"
    seconds = finish(start(folder, uninterrupted, workers=0))
    expected = outcome(uninterrupted)
    kill_one = partial(kill_once, folder, expected=expected, seconds=seconds, seed=seed)
    with ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(kill_one, range(times)))
    for number, (equal, moment) in enumerate(results):
        if not equal:
            print(f"NOT EQUAL: time {number}, killed {moment}")
    return sum(equal for equal, _ in results), Counter(moment for _, moment in results)


def kill_once(folder: Path, number: int, expected: dict[str, Any], seconds: float, seed: int) -> tuple[bool, str]:
    rng, out = np.random.default_rng([seed, number]), folder / f"killed-{number}"
    process = start(folder, out, workers=int(rng.integers(3)))
    wait_for(process, out / "log.txt")
    if number % 2:
        wait_for_writing(process, out, int(rng.integers(1, 12)))
    else:
        time.sleep(float(rng.uniform(0, 1.1 * seconds)))
    process.kill()
    process.wait()
    moment = describe(out)
    finish(start(folder, out, workers=int(rng.integers(3))))
    return outcome(out) == expected, moment


def start(folder: Path, out: Path, workers: int) -> subprocess.Popen:
    command = [sys.executable, "main.py", *RECIPE, "--root-dir", str(folder / "set"), "--output-dir", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # sums of floats depend on the number of threads
    return subprocess.Popen(
        [*command, "--workers", str(workers)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
        text=True,
    )


def finish(process: subprocess.Popen) -> float:
    """Wait until the process ends, which must be with status 0; return the seconds it took."""
    started = time.time()
    _, errors = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise RuntimeError(f"a resumed run failed: {errors[-2000:]}")
    return time.time() - started


def wait_for(process: subprocess.Popen, file: Path) -> None:
    while process.poll() is None and not file.exists():
        time.sleep(0.005)


def wait_for_writing(process: subprocess.Popen, out: Path, times: int) -> None:
    """Wait until a checkpoint is being written for the ``times``-th time."""
    writes, writing = 0, False
    while process.poll() is None and writes < times:
        now = any(out.glob("*.part"))
        writes += now and not writing
        writing = now


def describe(out: Path) -> str:
    if (out / "metrics.json").exists():
        return "after the end"
    if list(out.glob("*.part")):
        return "inside the writing of a checkpoint"
    return "between two checkpoints" if (out / "last.pt").exists() else "before the first checkpoint"


def outcome(out: Path) -> dict[str, Any]:
    """Return the bytes of every tensor in a run's checkpoints, and of its predictions."""
    values: dict[str, Any] = {"predictions": (out / "predictions.csv").read_bytes()}
    for name in ("best.pt", "last.pt"):
        content = read_archive(out / name)
        for key in ("model", "learning", "best", "epoch"):
            flatten(content.get(key), f"{name}/{key}", values)
    return values


def flatten(value: Any, where: str, values: dict[str, Any]) -> None:
    if isinstance(value, torch.Tensor):
        values[where] = (str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for key, inner in value.items():
            flatten(inner, f"{where}/{key}", values)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            flatten(inner, f"{where}/{index}", values)
    else:
        values[where] = value


if __name__ == "__main__":
    sys.exit(main())
