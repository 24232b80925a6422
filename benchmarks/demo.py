"""Scores the methods on simulated students: zero-shot, the published settings, single streams, RAER's class shares.

    python -m benchmarks.demo                        # 3 seeds; about a quarter of an hour on two cores
    python -m benchmarks.demo --seeds 1 --only zero-shot clip-caer

Finished runs stay in outputs/demo and are not repeated. The command prints a Markdown table and writes
benchmarks/results/demo.json.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.runs import fingerprint, run_folder, scored_run, spread, summarize_run
from simulate import Settings, write_set

CAER, ADVANCED = "@recipes/clip_caer.args", "@recipes/advanced.args"
UNIFORM, RAER = "uniform", "raer"  # class shares of the train list
RUNS = {  # row → (recipe, flags after it, class shares)
    "zero-shot": (None, ["--mode", "zero-shot"], UNIFORM),
    "clip-caer": (CAER, [], UNIFORM),
    "clip-caer, face only": (CAER, ["--streams", "face"], UNIFORM),
    "clip-caer, context only": (CAER, ["--streams", "context"], UNIFORM),
    "advanced": (ADVANCED, [], UNIFORM),
    "advanced, IEC of both texts": (ADVANCED, ["--iec-text", "both"], UNIFORM),
    "RAER's class shares: clip-caer": (CAER, [], RAER),
    "RAER's class shares: clip-caer, face only": (CAER, ["--streams", "face"], RAER),
    "RAER's class shares: advanced": (ADVANCED, [], RAER),
    "RAER's class shares: advanced, no logit adjustment": (ADVANCED, ["--no-logit-adj"], RAER),
    "RAER's class shares: advanced, with weighted sampler": (ADVANCED, ["--use-weighted-sampler"], RAER),
    "RAER's class shares: advanced, weighted sampler alone": (
        ADVANCED,
        ["--use-weighted-sampler", "--no-logit-adj"],
        RAER,
    ),
}


def main() -> int:
    options = parse()
    for shares in (UNIFORM, RAER):
        if any(RUNS[name][2] == shares for name in options.only or RUNS):
            write_set(set_folder(options.root, shares), Settings(imbalance=shares))
    jobs = [(name, seed) for name in options.only or RUNS for seed in seeds_of(name, options.seeds)]
    threads = max((os.cpu_count() or 1) // options.jobs, 1)
    run_one = partial(run, root=options.root, out=options.out, threads=threads)
    # The first training on each set runs alone, because it fills the cache that the other runs read.
    for shares in (UNIFORM, RAER):
        trainings = [job for job in jobs if RUNS[job[0]][0] and RUNS[job[0]][2] == shares]
        for job in trainings[:1]:
            run_one(job)
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = dict(zip(jobs, pool.map(run_one, jobs), strict=True))
    rows = {name: [outcomes[name, seed] for seed in seeds_of(name, options.seeds)] for name in options.only or RUNS}
    print(table(rows))
    result = {
        "simulated": True,
        "machine": describe_machine(),
        "runs": rows,
    }
    if not options.only:
        Path("benchmarks/results").mkdir(parents=True, exist_ok=True)
        Path("benchmarks/results/demo.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds; they start at 1 (default: 3)")
    parser.add_argument("--only", nargs="+", choices=RUNS, help="rows to measure (default: all)")
    parser.add_argument(
        "--root", default="data/raer-sim", help="folder of the simulated set, written if missing (default: %(default)s)"
    )
    parser.add_argument("--out", default="outputs/demo", help="folder of the runs (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="number of runs at the same time (default: 2)")
    return parser.parse_args()


def set_folder(root: str, shares: str) -> Path:
    """Return the folder of the simulated set with these class shares."""
    return Path(root if shares == UNIFORM else f"{root}-{shares}")


def seeds_of(name: str, count: int) -> list[int]:
    """Return the seeds of a row. Zero-shot scores do not depend on the seed."""
    return [1] if name == "zero-shot" else list(range(1, count + 1))


def run(job: tuple[str, int], root: str, out: str, threads: int) -> dict[str, Any]:
    """Run one row with one seed in a separate process, unless it is finished, and return its figures."""
    name, seed = job
    recipe, flags, shares = RUNS[name]
    root = set_folder(root, shares)
    recipes = [recipe, "@recipes/simulated.args"] if recipe else ["@recipes/simulated.args"]
    words = [*recipes, "--root-dir", str(root), "--seed", str(seed), "--workers", "1", *flags]
    files = [Path("weights/mini_clip.safetensors"), Path("annotation/RAER/simulated.json"), Path(root, "about.json")]
    mark = fingerprint(RUNS[name], [*files, *sorted(Path("recipes").glob("*.args"))])
    metrics = scored_run(words, run_folder(out, name, seed), mark, threads)
    return summarize_run(name, seed, metrics)


def row(name: str, runs: list[dict[str, Any]]) -> str:
    """Return one row of the table."""
    recalls = [[r["recall"][label] for r in runs] for label in ("Neutrality", "Distraction")]
    figures = [[r["uar"] for r in runs], [r["war"] for r in runs], *recalls]
    return f"| {name} | {' | '.join(map(spread, figures))} |"


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Return the results as a Markdown table."""
    head = (
        "| simulated test persons | UAR | WAR | recall of Neutrality | recall of Distraction |\n|---|---|---|---|---|"
    )
    return "\n".join([head, *(row(name, runs) for name, runs in rows.items())])


if __name__ == "__main__":
    sys.exit(main())
