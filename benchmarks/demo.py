"""What the method does on simulated students: zero-shot, the published settings, the advanced ones, each part alone.

    python -m benchmarks.demo                        # 3 seeds; about half an hour on two cores
    python -m benchmarks.demo --seeds 1 --only zero-shot clip-caer

Finished runs stay in outputs/demo and are not repeated. Prints a Markdown table; writes benchmarks/results/demo.json.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import main as program
from dataloader.synthetic import Settings, write_set

CAER, ADVANCED = "@recipes/clip_caer.args", "@recipes/advanced.args"
RUNS = {  # row → (recipe, flags after it)
    "zero-shot": (None, ["--mode", "zero-shot"]),
    "clip-caer": (CAER, []),
    "clip-caer, face only": (CAER, ["--streams", "face"]),
    "clip-caer, context only": (CAER, ["--streams", "context"]),
    "advanced": (ADVANCED, []),
    "advanced, no adapter (EAA)": (ADVANCED, ["--adapter", "none"]),
    "advanced, no IEC": (ADVANCED, ["--slerp-weight", "0"]),
    "advanced, no MI": (ADVANCED, ["--mi-loss-weight", "0"]),
    "advanced, no DC": (ADVANCED, ["--dc-loss-weight", "0"]),
    "advanced, no logit adjustment": (ADVANCED, ["--no-logit-adj"]),
    "advanced, with weighted sampler": (ADVANCED, ["--use-weighted-sampler"]),
}
FIGURES = ("uar", "war", "macro_f1")


def main() -> int:
    options = parse()
    write_set(Path(options.root), Settings())
    rows, started = {}, time.time()
    for name in options.only or RUNS:
        seeds = [42] if name == "zero-shot" else range(1, options.seeds + 1)  # nothing is drawn in zero-shot
        rows[name] = [run(name, seed, options.root, Path(options.out)) for seed in seeds]
        print(row(name, rows[name]), file=sys.stderr, flush=True)
    print(table(rows))
    result = {
        "simulated": True,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "seconds": round(time.time() - started),
        "runs": rows,
    }
    if not options.only:
        Path("benchmarks/results/demo.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to N (default: 3)")
    parser.add_argument("--only", nargs="+", choices=RUNS, help="some rows instead of all")
    parser.add_argument("--root", default="data/raer-sim", help="the simulated set; made where it is missing")
    parser.add_argument("--out", default="outputs/demo", help="run folders")
    return parser.parse_args()


def run(name: str, seed: int, root: str, out: Path) -> dict[str, Any]:
    """One run, or what it left behind the last time."""
    folder = out / f"{name.replace(' ', '-').replace(',', '').replace('(', '').replace(')', '')}-seed{seed}"
    if not (folder / "metrics.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        recipe, flags = RUNS[name]
        recipes = [recipe, "@recipes/simulated.args"] if recipe else zero_shot_flags()
        started = time.time()
        arguments = [*recipes, "--root-dir", root, "--seed", str(seed), "--output-dir", str(folder), *flags]
        if program.main(arguments) != 0:
            raise SystemExit(f"{name}, seed {seed}: the run failed; see {folder}")
        (folder / "seconds.txt").write_text(f"{time.time() - started:.1f}\n", encoding="utf-8")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    recalls = {name: values["recall"] for name, values in metrics["per_class"].items()}
    seconds = float((folder / "seconds.txt").read_text(encoding="utf-8"))
    return {"seed": seed, **{f: metrics[f] for f in FIGURES}, "recall": recalls, "seconds": seconds}


def zero_shot_flags() -> list[str]:
    """The simulated recipe without what trains."""
    return ["@recipes/simulated.args", "--no-cache-features"]


def row(name: str, runs: list[dict[str, Any]]) -> str:
    figures = [[r["uar"] for r in runs], [r["war"] for r in runs], [r["recall"]["Distraction"] for r in runs]]
    seconds = mean(r["seconds"] for r in runs)
    return f"| {name} | {' | '.join(map(spread, figures))} | {seconds:.0f} s |"


def spread(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    head = "| simulated test persons | UAR | WAR | recall of Distraction | time |\n|---|---|---|---|---|"
    return "\n".join([head, *(row(name, runs) for name, runs in rows.items())])


if __name__ == "__main__":
    sys.exit(main())
