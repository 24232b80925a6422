"""Kills trainings with SIGKILL at random moments, resumes them, and compares each with an uninterrupted training.

    python -m benchmarks.kill                 # 100 kills; about 20 minutes on two cores
    python -m benchmarks.kill --times 12 --seed 7
    python -m benchmarks.kill --times 10 --only sequence

The kills are divided among the families of models. In each family, a third of the kills is at any moment, a third while
a file such as a checkpoint is being written, and a third between the last epoch and the end.

Two run folders are equal if they hold the same files with the same content. Checkpoints are compared tensor by tensor,
all other files byte by byte. What depends on a clock or on the process is not compared: log.txt, tensorboard/,
last.previous.pt (which save came before the last depends on the time), seconds in metrics.jsonl and in the history of
checkpoints, and the options --resume, --output-dir and --workers.

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
SAVES = "--save-every-minutes 0.003"  # of all families except regression, which saves no state while it runs
TIMEOUT = 300.0  # seconds of one run
UNEQUAL = ("log.txt", "last.previous.pt", "tensorboard")
OPTIONS = ("resume", "output_dir", "workers")  # these differ between the runs
RESULT = Path(__file__).parent / "results" / "kill.json"


@dataclass(frozen=True)
class Uninterrupted:
    """The files and the duration of an uninterrupted run."""

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
    print(f"{count} of {options.times} run folders equal those of uninterrupted runs   ({seconds:.0f} s)")
    if options.times == 100 and not options.only:
        about = {"command": "python -m benchmarks.kill", "torch": torch.__version__, "seed": options.seed}
        RESULT.write_text(json.dumps(about | {"times": 100, "equal": count, "killed": moments}, indent=2) + "\n")
    return 0 if count == options.times else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100, help="number of kills, over all families (default: 100)")
    parser.add_argument("--only", action="append", choices=list(RECIPES), metavar="FAMILY", help=", ".join(RECIPES))
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments (default: 0)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="number of runs at the same time (default: one per core)"
    )
    return parser.parse_args()


def kill_many(folder: Path, families: list[str], times: int, seed: int, jobs: int = 1) -> list[tuple[str, str, list]]:
    """Return the family, the moment and the differences of every run that was killed and resumed."""
    write_data(folder)
    uninterrupted: dict[str, Uninterrupted] = {}
    # A regression starts from the weights of emoclip.
    for family in ["emoclip", *families] if "regression" in families else families:
        if family not in uninterrupted:
            seconds = finish(start(folder, family, folder / family, workers=0))
            uninterrupted[family] = Uninterrupted(contents(folder / family), seconds)

    def kill_one(number: int) -> tuple[str, str, list]:
        family = families[number % len(families)]
        moment, differences = kill_once(folder, family, number, uninterrupted[family], seed)
        if differences:
            print(f"NOT EQUAL: kill {number}, {family}, {moment}: {', '.join(differences[:5])}", flush=True)
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


def kill_once(folder: Path, family: str, number: int, uninterrupted: Uninterrupted, seed: int) -> tuple[str, list[str]]:
    """Kill and resume one run. Return the moment of the kill and the differences to the uninterrupted run."""
    rng, out = np.random.default_rng([seed, number]), folder / f"killed-{number}"
    process = start(folder, family, out, workers=int(rng.integers(3)))
    wait_for(process, out / "log.txt")
    kind = int(rng.integers(3))
    if kind == 0:
        time.sleep(float(rng.uniform(0, 1.1 * uninterrupted.seconds)))
    elif kind == 1:
        wait_for_writing(process, out, int(rng.integers(1, 16)))
    else:
        wait_for(process, out / "predictions.csv", out / "predictions")
        time.sleep(float(rng.uniform(0, 2)))
    process.kill()
    process.wait()
    moment = describe(out)
    finish(start(folder, family, out, workers=int(rng.integers(3))))
    differences = differing(contents(out), uninterrupted.contents)
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
    """Wait until the process ends with status 0, and return the seconds it took."""
    started = time.time()
    _, errors = process.communicate(timeout=TIMEOUT)
    if process.returncode:
        raise RuntimeError(f"a run failed: {errors[-2000:]}")
    return time.time() - started


def wait_for(process: subprocess.Popen, *files: Path) -> None:
    """Wait until one of the files exists."""
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
        return f"while a {kind} was being written"
    if (out / "predictions.csv").exists() or (out / "predictions").exists():
        return "between the predictions and the end"
    return "between two checkpoints" if (out / "last.pt").exists() else "before the first checkpoint"


# -- comparing -------------------------------------------------------------------------------------------------------


def contents(out: Path) -> dict[str, Any]:
    """Return the compared content of every file in a run folder, by path; for a checkpoint, by path and entry."""
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
    """Return the names of the values that differ."""
    return [name for name in sorted({*values, *expected}) if values.get(name, "") != expected.get(name, "")]


def flatten(value: Any, where: str, values: dict[str, Any]) -> None:
    """Add the bytes of every tensor and every other value in nested containers to ``values``, under its path."""
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
