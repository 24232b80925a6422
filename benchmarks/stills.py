"""Measures whether a start from single images of faces helps a video model, with few and with many training clips.

    python -m benchmarks.stills                   # 3 seeds; about 6 minutes on two cores
    python -m benchmarks.stills --seeds 2 --epochs 2 --stills 70 --clips 140 --data D --runs R --out FILE  # a quick try

Draws single images in RAF-DB's layout and clips of other persons in FERV39k's layout. A frame-expr model learns from
all images. DFER-CLIP then trains on a tenth of the training clips of each class, or on all, from the small CLIP and
from the tower of the images (--init-from). All models are tested on the same clips. FERV39k names no persons, so the
intervals are over clips. Finished runs stay in outputs/stills and are not repeated. The command prints a Markdown
table and writes benchmarks/results/stills.json.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from analysis.compare import compare_folders
from analysis.metrics import brackets
from benchmarks.machine import describe_machine
from benchmarks.runs import fingerprint, run_folder, scored_run, spread, summarize_run
from simulate import LayoutSettings, write_set

CLIP = "--clip-path weights/mini_clip.safetensors --image-size 112 --normalize clip --amp off"
# The rate is the best of 1e-3, 1e-4 and 3e-5 on validation images. At 1e-3 the start from stills lowers all scores.
STILLS = f"@recipes/frame_expr.args @recipes/data/raf_db.args {CLIP} --batch-size 32 --lr-image-encoder 1e-4"
VIDEO = f"@recipes/dfer_clip.args @recipes/data/ferv39k.args @recipes/simulated_faces.args {CLIP}"
VIDEO += " --select-on last --sampling whole --num-segments 8 --batch-size 8"
TENTH, ALL = "a tenth of the clips", "all clips"
LISTS = {TENTH: "annotation/tenth.txt", ALL: "annotation/train_image.txt"}
TOWERS = {"frozen": "", "tuned": "--no-cache-features --lr-image-encoder 1e-5 --num-segments 4"}
ROWS = ((TENTH, "frozen"), (ALL, "frozen"), (TENTH, "tuned"))
STARTS = ("small CLIP", "stills")


def main() -> int:
    options = parse()
    stills, clips = Path(options.data, "raf-db-sim"), Path(options.data, "ferv39k-sim")
    drawn = {  # another seed gives other persons
        stills: LayoutSettings(layout="raf-db", clips=options.stills, persons=60),
        clips: LayoutSettings(layout="ferv39k", clips=options.clips, persons=60, frames=8, test_fraction=0.45, seed=43),
    }
    for root, settings in drawn.items():
        write_set(root, settings)
    lines = (clips / LISTS[ALL]).read_text(encoding="utf-8").splitlines()
    tenth = sorted(lines, key=lambda line: line.split()[-1])[::10]  # a tenth of each class
    (clips / LISTS[TENTH]).write_text("\n".join(tenth) + "\n", encoding="utf-8")
    num_clips = {TENTH: len(tenth), ALL: len(lines)}
    first = train_on_stills(stills, options)
    jobs = [(clips_used, tower, start) for clips_used, tower in ROWS for start in STARTS]
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = dict(zip(jobs, pool.map(partial(train_on_clips, root=clips, options=options), jobs), strict=True))
    rows = []
    for clips_used, tower in ROWS:
        folders = tuple(str(folder_of((clips_used, tower, start), options)) for start in STARTS)
        row = {"clips": clips_used, "train_clips": num_clips[clips_used], "tower": tower}
        row["runs"] = {start: runs[clips_used, tower, start] for start in STARTS}
        rows.append(row | {"stills minus small CLIP": compare_folders(folders, "clips", ()).scores["uar"]})
    result = {
        "simulated": True, "machine": describe_machine(), "sets": [asdict(settings) for settings in drawn.values()],
        "epochs": options.epochs, "stills": first, "rows": rows,
    }  # fmt: skip
    Path(options.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of training seeds; they start at 1 (default: 3)")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of the video models (default: %(default)s)")
    parser.add_argument("--stills", type=int, default=1400, help="number of single images (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=630, help="number of clips (default: %(default)s)")
    parser.add_argument("--data", default="data", help="folder of the simulated sets (default: %(default)s)")
    parser.add_argument("--runs", default="outputs/stills", help="folder of the runs (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="number of runs at the same time (default: 2)")
    parser.add_argument("--out", default="benchmarks/results/stills.json", help="result file (default: %(default)s)")
    return parser.parse_args()


def folder_of(job: tuple[str, ...], options: argparse.Namespace) -> Path:
    return run_folder(options.runs, " ".join(job))


def mark_of(words: list[str], root: Path, *files: Path) -> str:
    """Return the fingerprint of a run on the set ``root``."""
    fixed = [Path("weights/mini_clip.safetensors"), root / "about.json", *sorted(Path("recipes").rglob("*.args"))]
    return fingerprint(words, [*fixed, *files])


def train_on_stills(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train the model of single images, unless that is finished, and return its figures on the test images."""
    words = [*STILLS.split(), "--epochs", str(min(options.epochs, 10)), "--milestones", "--root-dir", str(root)]
    words += ["--seed", "1", "--workers", "1"]
    metrics = scored_run(words, folder_of(("stills",), options), mark_of(words, root), os.cpu_count() or 1)
    return summarize_run("stills", 1, metrics)


def train_on_clips(job: tuple[str, str, str], root: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train a video model with every seed, unless that is finished, and return the figures of each seed."""
    clips_used, tower, start = job
    words = [*VIDEO.split(), *TOWERS[tower].split(), "--root-dir", str(root), "--train-annotation", LISTS[clips_used]]
    words += ["--epochs", str(options.epochs), "--milestones", str(options.epochs // 2)]
    words += ["--seeds", str(options.seeds), "--seed", "1", "--workers", "1"]
    stills = folder_of(("stills",), options)
    words += ["--init-from", str(stills / "best.pt")] if start == "stills" else []
    folder, mark = folder_of(job, options), mark_of(words, root, stills / "fingerprint.txt", root / LISTS[clips_used])
    seconds = scored_run(words, folder, mark, max((os.cpu_count() or 1) // options.jobs, 1))["seconds"]
    seeds = range(1, options.seeds + 1)
    runs = [json.loads((folder / f"seed-{seed}/metrics.json").read_text(encoding="utf-8")) for seed in seeds]
    runs = [run | {"seconds": seconds / options.seeds} for run in runs]
    return [summarize_run(", ".join(job), seed, run) for seed, run in zip(seeds, runs, strict=True)]


def table(result: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| DFER-CLIP trained on | tower | UAR | UAR, from stills | difference, 95 % interval | beyond noise |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in result["rows"]:
        uar = [spread([run["uar"] for run in row["runs"][start]]) for start in STARTS]
        cells = [f"{row['clips']} ({row['train_clips']})", row["tower"], *uar]
        gain = row["stills minus small CLIP"]
        cells += [f"{gain['value']:+z.1f} {brackets(gain['interval'])}", gain["verdict"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
