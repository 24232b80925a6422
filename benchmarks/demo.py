"""Compares the recipes of CLIP-CAER, zero-shot and single streams on simulated students with RAER's class shares.

    python -m benchmarks.demo                        # 5 seeds; about an hour on two cores
    python -m benchmarks.demo --seeds 1 --only zero-shot best

Draws 2,400 clips of 160 students: 64 students with 192 clips of each class are in the test list only. The set of
``--set-seed 101`` was never looked at before the recipes were final; options were chosen on the sets 7 and 42. Finished
runs stay in outputs/demo and are not repeated. The command prints a Markdown table and writes
benchmarks/results/demo.json.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from analysis.compare import compare_folders
from analysis.metrics import brackets
from benchmarks.machine import describe_machine
from benchmarks.runs import fingerprint, run_folder, scored_run, spread, summarize_run
from simulate import Settings, write_set

SET = {"clips": 2400, "persons": 160, "imbalance": "raer", "test_fraction": 0.4}
BEST = "best"
ROWS = {  # row → words of the command before @recipes/simulated.args, and flags after it
    "zero-shot": ([], ["--mode", "zero-shot"]),
    "clip_caer": (["@recipes/clip_caer.args"], []),
    "advanced": (["@recipes/advanced.args"], []),
    "rapt": (["@recipes/rapt.args"], ["--select-on", "val"]),
    BEST: (["@recipes/best.args"], []),
    "best, no logit adjustment": (["@recipes/best.args"], ["--no-logit-adj"]),
    "best, face only": (["@recipes/best.args"], ["--streams", "face"]),
    "best, context only": (["@recipes/best.args"], ["--streams", "context"]),
}


def main() -> int:
    options = parse()
    root, names = Path(f"{options.root}-{options.set_seed}"), list(options.only or ROWS)
    write_set(root, Settings(**SET, seed=options.set_seed))
    cores = os.cpu_count() or 1
    run_one = partial(run, root=root, out=options.out, seeds=options.seeds)
    rows = dict.fromkeys(names, [])
    if BEST in names:  # first and alone, because it fills the cache that other rows read
        rows[BEST] = run_one(BEST, threads=cores)
    others = [name for name in names if name != BEST]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(partial(run_one, threads=max(cores // options.jobs, 1)), others)
        rows |= dict(zip(others, results, strict=True))
    result = {
        "simulated": True,
        "machine": describe_machine(),
        "set": json.loads((root / "about.json").read_text(encoding="utf-8")),
        "runs": rows,
        "best minus": {name: difference(name, options.out) for name in names if BEST in names and name != BEST},
    }
    print(table(result))
    if not options.only:
        Path("benchmarks/results").mkdir(parents=True, exist_ok=True)
        Path("benchmarks/results/demo.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of training seeds; they start at 1 (default: 5)")
    parser.add_argument("--set-seed", type=int, default=101, help="seed of the simulated set (default: 101)")
    parser.add_argument("--only", nargs="+", choices=ROWS, help="rows to measure (default: all)")
    parser.add_argument(
        "--root", default="data/raer-study", help="folder of the simulated set, before its seed (default: %(default)s)"
    )
    parser.add_argument("--out", default="outputs/demo", help="folder of the runs (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="number of runs at the same time (default: 2)")
    return parser.parse_args()


def run(name: str, root: Path, out: str, seeds: int, threads: int) -> list[dict[str, Any]]:
    """Train one row with every seed in a separate process, unless that is finished; return the figures of each run."""
    before, after = ROWS[name]
    words = [*before, "@recipes/simulated.args", "--root-dir", str(root), "--workers", "1", *after]
    numbers = range(1, seeds + 1) if before else [None]
    words += ["--seeds", ",".join(map(str, numbers))] if before else []
    files = [Path("weights/mini_clip.safetensors"), Path("annotation/RAER/simulated.json"), root / "about.json"]
    mark = fingerprint((ROWS[name], seeds), [*files, *sorted(Path("recipes").glob("*.args"))])
    folder = run_folder(out, name)
    seconds = scored_run(words, folder, mark, threads)["seconds"]
    folders = {seed: folder / f"seed-{seed}" if before else folder for seed in numbers}
    metrics = {seed: json.loads((run / "metrics.json").read_text(encoding="utf-8")) for seed, run in folders.items()}
    return [summarize_run(name, seed, values | {"seconds": seconds / len(folders)}) for seed, values in metrics.items()]


def difference(name: str, out: str) -> dict[str, Any]:
    """Return the UAR of the best recipe minus that of a row, with its interval over persons and seeds."""
    folders = (str(run_folder(out, name)), str(run_folder(out, BEST)))
    return compare_folders(folders, "persons", ()).scores["uar"]


def table(result: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    classes = result["set"]["classes"]
    lines = [f"| simulated test persons | UAR | lowest recall | {BEST} minus this, 95 % |", "|---|---|---|---|"]
    for name, runs in result["runs"].items():
        recalls = {label: mean(run["recall"][label] for run in runs) for label in classes}
        lowest = min(recalls, key=recalls.get)
        gain = result["best minus"].get(name)
        cells = [spread([run["uar"] for run in runs]), f"{recalls[lowest]:.0f} ({lowest})"]
        cells.append("" if gain is None else f"{gain['value']:+z.1f} {brackets(gain['interval'])}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
