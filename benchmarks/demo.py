"""Compares the recipes of CLIP-CAER, zero-shot and single streams on simulated students with RAER's class shares.

    python -m benchmarks.demo                        # 5 seeds; about an hour and a half on two cores
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

import numpy as np

from analysis.intervals import groups_of
from analysis.metrics import brackets
from analysis.paired import Pair
from analysis.results import read_predictions
from benchmarks.machine import describe_machine
from benchmarks.runs import fingerprint, run_folder, scored_run, spread, summarize_run
from simulate import Settings, write_set

BEST = "best"
ROWS = {  # row → words of the command before @recipes/simulated.args, and flags after it
    "zero-shot": ([], ["--mode", "zero-shot"]),
    "clip_caer": (["@recipes/clip_caer.args"], []),
    "advanced": (["@recipes/advanced.args"], []),
    "rapt": (["@recipes/rapt.args"], ["--select-on", "val"]),
    BEST: (["@recipes/best.args"], []),
    "best, face only": (["@recipes/best.args"], ["--streams", "face"]),
    "best, context only": (["@recipes/best.args"], ["--streams", "context"]),
}


def main() -> int:
    options = parse()
    root, names = Path(f"{options.root}-{options.set_seed}"), list(options.only or ROWS)
    write_set(root, Settings(clips=2400, persons=160, imbalance="raer", test_fraction=0.4, seed=options.set_seed))
    jobs = [(name, seed) for seed in range(1, options.seeds + 1) for name in names if name != "zero-shot" or seed == 1]
    threads = max((os.cpu_count() or 1) // options.jobs, 1)
    run_one = partial(run, root=root, out=options.out, threads=threads)
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = dict(zip(jobs, pool.map(run_one, jobs), strict=True))
    rows = {name: [outcome for job, outcome in outcomes.items() if job[0] == name] for name in names}
    result = {
        "simulated": True,
        "machine": describe_machine(),
        "set": json.loads((root / "about.json").read_text(encoding="utf-8")),
        "runs": rows,
        "best minus": {name: difference(name, rows, options.out) for name in names if BEST in names and name != BEST},
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


def run(job: tuple[str, int], root: Path, out: str, threads: int) -> dict[str, Any]:
    """Run one row with one seed in a separate process, unless it is finished, and return its figures."""
    name, seed = job
    before, after = ROWS[name]
    words = [*before, "@recipes/simulated.args", "--root-dir", str(root), "--seed", str(seed), "--workers", "1", *after]
    files = [Path("weights/mini_clip.safetensors"), Path("annotation/RAER/simulated.json"), root / "about.json"]
    mark = fingerprint(ROWS[name], [*files, *sorted(Path("recipes").glob("*.args"))])
    metrics = scored_run(words, run_folder(out, name, seed), mark, threads)
    return summarize_run(name, seed, metrics)


def difference(name: str, rows: dict[str, list[dict[str, Any]]], out: str) -> dict[str, Any]:
    """Return the UAR of the best recipe minus that of a row, with its interval over persons and seeds."""
    runs = [
        [read_predictions([run_folder(out, row, run["seed"]) / "predictions.csv"]) for run in rows[row]]
        for row in (name, BEST)
    ]
    first = runs[0][0]
    if any((run.ids, run.names) != (first.ids, first.names) for model in runs for run in model):
        raise SystemExit(f"{name}: was scored on other clips than {BEST}; remove {out}")
    predicted = [np.stack([run.predicted for run in model]) for model in runs]
    groups = groups_of(first.ids, first.persons, "persons")
    pair = Pair(first.label, *predicted, groups, len(first.names), len(runs[0]) == len(runs[1]))
    return pair.difference("uar").as_dict()


def table(result: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    classes = result["set"]["classes"]
    lines = [
        f"| simulated test persons | UAR | WAR | lowest recall | {BEST} minus this, 95 % interval | beyond noise |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    for name, runs in result["runs"].items():
        recalls = {label: mean(run["recall"][label] for run in runs) for label in classes}
        lowest = min(recalls, key=recalls.get)
        cells = [spread([run[score] for run in runs]) for score in ("uar", "war")]
        cells += [f"{recalls[lowest]:.0f} ({lowest})", *difference_cells(result["best minus"].get(name))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def difference_cells(values: dict[str, Any] | None) -> list[str]:
    if values is None:
        return ["", ""]
    return [f"{values['value']:+.1f} {brackets(values['interval'])}".strip(), values["verdict"]]


if __name__ == "__main__":
    sys.exit(main())
