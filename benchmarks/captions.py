"""Measures training on captions: scores on held-out persons, on left-out classes and on another set, over seeds.

    python -m benchmarks.captions                   # 3 seeds, 65 runs; about 40 minutes on two cores
    python -m benchmarks.captions --only "plain CLIP, zero-shot" "captions"

The runs use two simulated sets, which are written if they are missing: data/mafw-sim (1400 clips of 11 classes, one
caption for each clip) and data/dfew-sim. Finished runs stay in outputs/captions and are not repeated. The command
prints a Markdown table and writes benchmarks/results/captions.json.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.runs import FIGURES, fingerprint, run_folder, scored_run, spread, summarize_run
from simulate import LayoutSettings, write_set

SETS = {
    "mafw": LayoutSettings(layout="mafw", clips=1400, persons=60),
    "dfew": LayoutSettings(layout="dfew", clips=700, persons=40, seed=43),  # a different seed gives different persons
}
EMOCLIP, ZERO_SHOT = "@recipes/emoclip_demo.args", ["--mode", "zero-shot", "--no-cache-features"]
DFEW = ["@recipes/data/dfew.args", "--fold", "1"]
RUNS = {  # row → (set, flags)
    "plain CLIP, zero-shot": ("mafw", [EMOCLIP, *ZERO_SHOT]),
    "captions": ("mafw", [EMOCLIP]),
    "captions, each class left out in turn": ("mafw", [EMOCLIP, "--leave-out", "all"]),
    "captions, equal ones apart (published)": ("mafw", [EMOCLIP, "--no-merge-positives"]),
    "captions, published heads": ("mafw", [EMOCLIP, "--swapped-heads"]),
    "class texts as captions": ("mafw", [EMOCLIP, "--caption-source", "class"]),
    "plain CLIP, zero-shot on 7 classes": ("dfew", [EMOCLIP, *ZERO_SHOT, *DFEW]),
    "captions of the other set, zero-shot on 7 classes": ("dfew", [*ZERO_SHOT, *DFEW]),
    "DFER-CLIP, five folds": ("dfew", ["@recipes/dfer_clip_demo.args"]),
}


def main() -> int:
    options, started = parse(), time.time()
    names = options.only or list(RUNS)
    for layout in sorted({RUNS[name][0] for name in names}):
        write_set(Path(options.data, f"{layout}-sim"), SETS[layout])
    if "captions of the other set, zero-shot on 7 classes" in names and "captions" not in names:
        names = ["captions", *names]  # its models are evaluated on the other set
    jobs = [(name, seed) for name in names for seed in seeds_of(name, options.seeds)]
    run_one = partial(run, options=options, threads=max((os.cpu_count() or 1) // options.jobs, 1))
    # The first runs go one after another: they fill the feature cache that all later runs read.
    outcomes = {job: run_one(job) for job in jobs if job[0].startswith("captions") and job[1] == 1}
    outcomes |= {job: run_one(job) for job in jobs if job[0] == "captions"}
    with ThreadPoolExecutor(options.jobs) as pool:
        missing = [job for job in jobs if job not in outcomes]
        outcomes |= dict(zip(missing, pool.map(run_one, missing), strict=True))
    rows = {name: [outcomes[name, seed] for seed in seeds_of(name, options.seeds)] for name in names}
    print(table(rows))
    if not options.only:
        result = {
            "simulated": True,
            "machine": describe_machine(),
            "seconds": round(time.time() - started),
            "runs": rows,
        }
        Path("benchmarks/results/captions.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds; they start at 1 (default: 3)")
    parser.add_argument("--only", nargs="+", choices=RUNS, help="rows to measure (default: all)")
    parser.add_argument("--data", default="data", help="folder of the simulated sets (default: %(default)s)")
    parser.add_argument("--out", default="outputs/captions", help="folder of the runs (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="number of runs at the same time (default: 2)")
    return parser.parse_args()


def seeds_of(name: str, count: int) -> list[int]:
    """Return the seeds of a row. Plain CLIP is not trained, so its scores do not depend on the seed."""
    return [1] if name.startswith("plain CLIP") else list(range(1, count + 1))


def run(job: tuple[str, int], options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Run one row with one seed in a separate process, unless it is finished, and return its figures."""
    name, seed = job
    layout, flags = RUNS[name]
    root = Path(options.data, f"{layout}-sim")
    words = [*flags, "--root-dir", str(root), "--seed", str(seed), "--workers", "1"]
    if name.startswith("captions of the other set"):
        words += ["--eval-checkpoint", str(run_folder(options.out, "captions", seed) / "best.pt")]
    files = [Path("weights/mini_clip.safetensors"), root / "about.json", *sorted(Path("recipes").rglob("*.args"))]
    files += sorted(Path("annotation").glob("*/classes.json"))
    metrics = scored_run(words, run_folder(options.out, name, seed), fingerprint(words, files), threads)
    return summarize_run(name, seed, metrics)


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| simulated test persons | UAR | WAR | macro F1 | seconds a run |", "|---|---|---|---|---|"]
    for name, runs in rows.items():
        figures = [spread([run[f] for run in runs]) for f in FIGURES]
        seconds = sorted(run["seconds"] for run in runs)[len(runs) // 2]
        lines.append(f"| {name} | {' | '.join(figures)} | {seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
