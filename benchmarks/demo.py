"""What the method does on simulated students: zero-shot, the published settings, each stream, RAER's class shares.

    python -m benchmarks.demo                        # 3 seeds; about a quarter of an hour on two cores
    python -m benchmarks.demo --seeds 1 --only zero-shot clip-caer

Finished runs stay in outputs/demo and are not repeated. Prints a Markdown table; writes benchmarks/results/demo.json.
"""

import argparse
import hashlib
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.runs import scored_run, spread
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
FIGURES = ("uar", "war", "macro_f1")


def main() -> int:
    options = parse()
    for shares in (UNIFORM, RAER):
        if any(RUNS[name][2] == shares for name in options.only or RUNS):
            write_set(folder_of(options.root, shares), Settings(imbalance=shares))
    jobs = [(name, seed) for name in options.only or RUNS for seed in seeds_of(name, options.seeds)]
    run_one = partial(
        run, root=options.root, out=Path(options.out), threads=max((os.cpu_count() or 1) // options.jobs, 1)
    )
    for shares in (UNIFORM, RAER):  # one run of each alone: it makes the feature cache that the others read
        trained = [job for job in jobs if RUNS[job[0]][0] and RUNS[job[0]][2] == shares]
        for job in trained[:1]:
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
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to N (default: 3)")
    parser.add_argument("--only", nargs="+", choices=RUNS, help="some rows instead of all")
    parser.add_argument("--root", default="data/raer-sim", help="the simulated set; made where it is missing")
    parser.add_argument("--out", default="outputs/demo", help="run folders")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default: 2)")
    return parser.parse_args()


def folder_of(root: str, shares: str) -> Path:
    return Path(root if shares == UNIFORM else f"{root}-{shares}")


def seeds_of(name: str, count: int) -> list[int]:
    return [1] if name == "zero-shot" else list(range(1, count + 1))  # nothing is drawn in zero-shot


def run(job: tuple[str, int], root: str, out: Path, threads: int) -> dict[str, Any]:
    """One run in a process of its own, or what it left behind the last time."""
    name, seed = job
    folder = out / f"{re.sub('[^a-z]+', '-', name.lower()).strip('-')}-seed{seed}"
    recipe, flags, shares = RUNS[name]
    root = folder_of(root, shares)
    recipes = [recipe, "@recipes/simulated.args"] if recipe else ["@recipes/simulated.args"]
    words = [*recipes, "--root-dir", str(root), "--seed", str(seed), "--workers", "1", *flags]
    metrics = scored_run(words, folder, fingerprint(name, root), threads)
    recalls = {label: values["recall"] for label, values in metrics["per_class"].items()}
    result = {"seed": seed, **{f: metrics[f] for f in FIGURES}, "recall": recalls, "seconds": metrics["seconds"]}
    print(f"{name}, seed {seed}: UAR {metrics['uar']:.1f} in {metrics['seconds']:.0f} s", file=sys.stderr, flush=True)
    return result


def fingerprint(name: str, root: Path) -> str:
    """All that a row depends on but the code: weights, class texts, recipes, flags, the set."""
    files = [Path("weights/mini_clip.safetensors"), Path("annotation/RAER/classes.json"), Path(root, "about.json")]
    digest = hashlib.sha256(repr(RUNS[name]).encode())
    for file in [*files, *sorted(Path("recipes").glob("*.args"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def row(name: str, runs: list[dict[str, Any]]) -> str:
    recalls = [[r["recall"][label] for r in runs] for label in ("Neutrality", "Distraction")]
    figures = [[r["uar"] for r in runs], [r["war"] for r in runs], *recalls]
    return f"| {name} | {' | '.join(map(spread, figures))} |"


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    head = (
        "| simulated test persons | UAR | WAR | recall of Neutrality | recall of Distraction |\n|---|---|---|---|---|"
    )
    return "\n".join([head, *(row(name, runs) for name, runs in rows.items())])


if __name__ == "__main__":
    sys.exit(main())
