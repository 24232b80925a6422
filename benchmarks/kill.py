"""Kills trainings with SIGKILL at random moments, resumes them, and compares each with one that was left alone.

    python -m benchmarks.kill                 # 100 times; about 20 minutes on two cores
    python -m benchmarks.kill --times 12 --seed 7
    python -m benchmarks.kill --times 10 --only sequence

The times are shared among the families of models. Of each family, every third moment lies inside the writing of a file
that is renamed when it is whole, such as a checkpoint, and every third one between the last epoch and the end.

Equal means: the run folders hold the same files, and each has the same content; checkpoints are compared tensor by
tensor, all others byte by byte. Left out is what a clock or a process writes: log.txt, tensorboard/, last.previous.pt
(which save came before the last depends on the time), seconds in metrics.jsonl and in the history of checkpoints, and
the options --resume, --output-dir and --workers.

Writes benchmarks/results/kill.json.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simulate import Settings, write_set
from simulate.affwild2 import VideoSettings
from utils.archive import read_archive

CLIPS = """
--clip-path random --image-size 64 --num-segments 4 --batch-size 3 --epochs 4 --root-dir {clips}
--train-annotation annotation/train.txt --test-annotation annotation/test.txt
--bounding-box-face annotation/face.json
"""
RATES = "--milestones 2 --lr 1e-2 --lr-image-encoder 1e-3"
FRAMES = "--clip-path random --image-size 64 --batch-size 16 --frame-step 8 --epochs 4 --root-dir {videos}"
RECIPES = {
    "clip-caer": f"{CLIPS} {RATES} --accumulate 2 --lr-prompt-learner 1e-2 --slerp-weight 0.5 --iec-text both "
    "--logit-adj --bounding-box-body annotation/body.json",
    "dfer-clip": f"--model dfer-clip {CLIPS} {RATES} --lr-prompt-learner 1e-2 --max-angle 10 --random-crop 0.5",
    "emoclip": f"--model emoclip {CLIPS} --milestones 2 --lr 1e-2 --caption-source class",
    "regression": "--model emoclip --task regression --init-from {emoclip}/best.pt --targets {clips}/targets.csv "
    "--root-dir {clips} --optimizer AdamW --lr 1e-3 --epochs 40 --milestones --batch-size 4 --subject-folds 4",
    "frame-expr": f"--model frame-expr {FRAMES} --lr-image-encoder 1e-3",
    "sequence": "--model sequence --window 20 --stride 12 --batch-size 4 --transformer-layers 1 --tcn-channels 16 8 "
    "--epochs 4 --lr 1e-3 --dropout 0.1 --root-dir {videos} --features {videos}/features",
}
ALL = "--device cpu --deterministic --resume auto"
SAVES = "--save-every-minutes 0.003"  # of all families but regression, which saves nothing on its way
PATIENCE = 300.0  # seconds that one run may take at most
UNEQUAL = ("log.txt", "last.previous.pt", "tensorboard")
OPTIONS = ("resume", "output_dir", "workers")  # that differ between the runs
RESULT = Path(__file__).parent / "results" / "kill.json"


@dataclass(frozen=True)
class Alone:
    """A run that was left alone."""

    contents: dict[str, Any]
    seconds: float


def main() -> int:
    options, started = parse(), time.time()
    families = options.only or list(RECIPES)
    with tempfile.TemporaryDirectory() as folder:
        results = kill_many(Path(folder), families, options.times, options.seed, options.jobs)
    count, moments = sum(not differences for _, _, differences in results), {}
    for family, moment, _ in results:
        moments.setdefault(family, Counter())[moment] += 1
    for family, counter in moments.items():
        print(f"{family}: killed " + ", ".join(f"{number} {moment}" for moment, number in counter.most_common()))
    seconds = time.time() - started
    print(f"{count} of {options.times} run folders equal those that were left alone   ({seconds:.0f} s)")
    if options.times == 100 and not options.only:
        about = {"command": "python -m benchmarks.kill", "torch": torch.__version__, "seed": options.seed}
        RESULT.write_text(json.dumps(about | {"times": 100, "equal": count, "killed": moments}, indent=2) + "\n")
    return 0 if count == options.times else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100, help="how often, all families together (default: 100)")
    parser.add_argument("--only", action="append", choices=list(RECIPES), metavar="FAMILY", help=", ".join(RECIPES))
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    return parser.parse_args()


def kill_many(folder: Path, families: list[str], times: int, seed: int, jobs: int = 1) -> list[tuple[str, str, list]]:
    """Return family, moment and differences of every run that was killed and resumed."""
    write_data(folder)
    alone: dict[str, Alone] = {}
    for family in ["emoclip", *families] if "regression" in families else families:  # which begins with its weights
        if family not in alone:
            seconds = finish(start(folder, family, folder / family, workers=0))
            alone[family] = Alone(contents(folder / family), seconds)

    def kill_one(number: int) -> tuple[str, str, list]:
        family = families[number % len(families)]
        moment, differences = kill_once(folder, family, number, alone[family], seed)
        if differences:
            print(f"NOT EQUAL: time {number}, {family}, killed {moment}: {', '.join(differences[:5])}", flush=True)
        return family, moment, differences

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(kill_one, range(times)))


def write_data(folder: Path) -> None:
    """Write clips with numbers to predict, and videos with features."""
    write_set(folder / "clips", Settings(clips=40, persons=8, frames=6, width=96, height=72))
    rng, rows = np.random.default_rng(0), ["clip,subject,number"]
    for name in ("train", "test"):
        for line in (folder / f"clips/annotation/{name}.txt").read_text().splitlines():
            clip = line.split(" ")[0]
            rows.append(f"{clip},{clip.split('/')[-2]},{rng.normal():.3f}")
    (folder / "clips/targets.csv").write_text("\n".join(rows) + "\n")
    write_set(folder / "videos", VideoSettings(clips=10, frames=60))
    (folder / "videos/features").mkdir()
    for file in sorted((folder / "videos/annotations").glob("*/*/*.txt")):
        shape = (len(file.read_text().splitlines()) - 1, 6)
        np.save(folder / f"videos/features/{file.stem}.npy", rng.normal(size=shape).astype(np.float16))


# -- running ---------------------------------------------------------------------------------------------------------


def kill_once(folder: Path, family: str, number: int, alone: Alone, seed: int) -> tuple[str, list[str]]:
    """Return the moment, and what differs from the run that was left alone."""
    rng, out = np.random.default_rng([seed, number]), folder / f"killed-{number}"
    process = start(folder, family, out, workers=int(rng.integers(3)))
    wait_for(process, out / "log.txt")
    kind = int(rng.integers(3))
    if kind == 0:
        time.sleep(float(rng.uniform(0, 1.1 * alone.seconds)))
    elif kind == 1:
        wait_for_writing(process, out, int(rng.integers(1, 16)))
    else:
        wait_for(process, out / "predictions.csv", out / "predictions")
        time.sleep(float(rng.uniform(0, 2)))
    process.kill()
    process.wait()
    moment = describe(out)
    finish(start(folder, family, out, workers=int(rng.integers(3))))
    differences = differing(contents(out), alone.contents)
    return moment, differences


def start(folder: Path, family: str, out: Path, workers: int) -> subprocess.Popen:
    recipe = f"{RECIPES[family]} {ALL} {'' if family == 'regression' else SAVES} --workers {workers}"
    paths = {name: folder / name for name in ("clips", "videos", "emoclip")}
    words = [word.format(**paths) for word in recipe.split()]
    return subprocess.Popen(
        [sys.executable, "main.py", *words, "--output-dir", str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # sums of floats depend on the number of threads
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
        raise RuntimeError(f"a run failed: {errors[-2000:]}")
    return time.time() - started


def wait_for(process: subprocess.Popen, *files: Path) -> None:
    """Wait until one of the files is there."""
    while process.poll() is None and not any(file.exists() for file in files):
        time.sleep(0.005)


def wait_for_writing(process: subprocess.Popen, out: Path, times: int) -> None:
    """Wait until a file is being written for the ``times``-th time."""
    writes, writing = 0, False
    while process.poll() is None and writes < times:
        now = any(out.glob("*.part"))
        writes += now and not writing
        writing = now


def describe(out: Path) -> str:
    if (out / "metrics.json").exists():
        return "after the end"
    if parts := sorted(out.rglob("*.part")):
        kind = "checkpoint" if parts[0].name.endswith(".pt.part") else "file"
        return f"inside the writing of a {kind}"
    if (out / "predictions.csv").exists() or (out / "predictions").exists():
        return "between the predictions and the end"
    return "between two checkpoints" if (out / "last.pt").exists() else "before the first checkpoint"


# -- comparing -------------------------------------------------------------------------------------------------------


def contents(out: Path) -> dict[str, Any]:
    """Return what is compared of every file in a run folder, by its path; of a checkpoint, by its entries too."""
    values: dict[str, Any] = {}
    for file in sorted(file for file in out.rglob("*") if file.is_file()):
        name = str(file.relative_to(out))
        if name.split("/")[0] in UNEQUAL:
            continue
        if file.suffix == ".pt":
            flatten(without_clock(read_archive(file)), name, values)
        elif name == "metrics.jsonl":
            values[name] = [without_clock(json.loads(line)) for line in file.read_text().splitlines()]
        elif file.suffix == ".json":
            values[name] = without_clock(json.loads(file.read_text()))
        else:
            values[name] = file.read_bytes()
    return values


def without_clock(content: Any) -> Any:
    """Return stored values without seconds and without ``OPTIONS``."""
    if isinstance(content, dict):
        names = [name for name in content if not str(name).startswith("seconds") and name not in OPTIONS]
        return {name: without_clock(content[name]) for name in names}
    if isinstance(content, list):
        return [without_clock(entry) for entry in content]
    return content


def differing(values: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return the names under which two contents differ."""
    return [name for name in sorted({*values, *expected}) if values.get(name, "") != expected.get(name, "")]


def flatten(value: Any, where: str, values: dict[str, Any]) -> None:
    """Put every tensor's bytes and every other value of nested tables into ``values``, under its path."""
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
