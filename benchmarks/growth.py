"""Measures how processor time and peak memory grow with clips, length of lists and videos, and persons.

    python -m benchmarks.growth                   # under 5 minutes on two cores
    python -m benchmarks.growth --hour --only "predict a video"    # also an hour of video; other rows are kept

Every figure is of a process of its own: processor time of the work without imports and preparation, peak memory, and by
how much the work raised it. A slope is log(ratio of the figures) / log(ratio of the sizes) from the row before: 1 is
proportional, 2 quadratic. Clips are folders of one small picture with boxes. Videos show simulated students, 320 x 240
pixels for each person, at 10 frames per second. Writes benchmarks/results/growth.json and docs/growth.png.
"""

import argparse
import contextlib
import io
import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise, takewhile
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import matplotlib.pyplot as plt
import numpy as np

from apps.predict.predictor import Predictor
from benchmarks.machine import describe_machine
from benchmarks.video_render import repeat_video, write_video
from benchmarks.video_segments import in_time, play, segments_by_person
from dataloader.annotation import read_annotation
from dataloader.audit.__main__ import main as audit
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views
from dataloader.loader import build_loader
from dataloader.sampling import ClipOrder, balancing_weights
from engine.train import Trainer
from main import main as main_command

FPS = 10.0
LISTS = ["--train-annotation", "{size}.txt", "--bounding-box-face", "{size}-face.json"]
START = "--clip-path random --image-size 64 --num-segments 2 --batch-size 8 --workers 0 --device cpu --select-on last"
Work = Callable[[], Any]


class Started(BaseException):
    """Raised in place of the first epoch; not an Exception, so that no handler of the run reports it."""


def write_clips(folder: Path, count: int) -> None:
    """Write ``count`` clips of 5 classes with one picture each, and lists and boxes of the first 10^n of them."""
    picture = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))[1].tobytes()
    names = [f"RAER/{n // 100:04d}/P{n // 50:05d}/{n:06d}" for n in range(count)]
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        (folder / name / "00001.jpg").write_bytes(picture + str(number).encode())  # no two files are equal
    for size in (10**n for n in range(2, round(math.log10(count)) + 1)):
        lines = [f"{name} 1 {n % 5 + 1}" for n, name in enumerate(names[:size])]
        (folder / f"{size}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        face = {name: {"00001.jpg": [8, 8, 24, 24]} for name in names[:size]}
        (folder / f"{size}-face.json").write_text(json.dumps(face), encoding="utf-8")
        body = {name: [4, 4, 28, 32] for name in names[:size]}
        (folder / f"{size}-body.json").write_text(json.dumps(body), encoding="utf-8")


def write_minutes(folder: Path, root: Path, minutes: list[int]) -> None:
    """Write a video of one minute and longer ones that repeat it."""
    segments = in_time([segment for person in segments_by_person(root, "annotation/test.txt") for segment in person])
    frames = takewhile(lambda frame: frame[0] < 60, ((s.seconds, s.frame) for s in play(segments, root, 1.0, FPS)))
    short = write_video(folder / "minute.mp4", frames, FPS)
    for count in minutes:
        repeat_video(short, folder / f"{count}.mp4", count)


def write_persons(folder: Path, root: Path, counts: list[int]) -> None:
    """Write videos of 16 s with this many persons in a grid of 4 x 2; the other fields are grey."""
    persons = [in_time(segments[:2]) for segments in segments_by_person(root, "annotation/test.txt")[: max(counts)]]
    films = [[step.frame for step in play(segments, root, 1.0, FPS)] for segments in persons]
    for count in counts:
        grey = [np.full_like(films[0][0], 128)] * (8 - count)
        pictures = ([film[n] for film in films[:count]] + grey for n in range(len(films[0])))
        grids = (np.vstack([np.hstack(row[:4]), np.hstack(row[4:])]) for row in pictures)
        write_video(folder / f"{count}.mp4", ((n / FPS, grid) for n, grid in enumerate(grids)), FPS)


def clips_of(folder: Path, size: int) -> list:
    return read_annotation(f"{size}.txt", str(folder), load_classes("RAER"))


def read_list(folder: Path, size: int) -> Work:
    return partial(clips_of, folder, size)


def read_boxes(folder: Path, size: int) -> Work:
    return lambda: [
        read_face_boxes(f"{size}-face.json", str(folder)),
        read_body_boxes(f"{size}-body.json", str(folder)),
    ]


def plan_epoch(folder: Path, size: int) -> Work:
    weights = balancing_weights([clip.label for clip in clips_of(folder, size)], 5)
    return lambda: list(ClipOrder(size, 1, weights))


def make_loader(folder: Path, size: int) -> Work:
    clips, views = clips_of(folder, size), Views(root=str(folder))
    dataset, order = partial(ClipDataset, clips, views, training=True), partial(ClipOrder, size, 1)
    return lambda: iter(build_loader(dataset(), order(), batch_size=8, workers=0))


def audit_list(folder: Path, size: int) -> Work:
    words = [word.format(size=size) for word in LISTS]
    return lambda: audit(["--root-dir", str(folder), *words])


def start_training(folder: Path, size: int) -> Work:
    """From the flags to the first epoch, with all checks of the lists, and the smallest model."""
    words = [word.format(size=size) for word in [*LISTS, "--bounding-box-body", "{size}-body.json"]]
    words += [*START.split(), "--root-dir", str(folder), "--output-dir", str(folder / f"run-{size}")]

    def start() -> None:
        with patch.object(Trainer, "run_epoch", side_effect=Started), contextlib.suppress(Started):
            raise RuntimeError(f"the training ended with status {main_command(words)} before its first epoch")

    return start


def predict(folder: Path, size: int, **options: Any) -> Work:
    predictor = Predictor("weights/demo_best.pt", device="cpu", **options)

    def run() -> dict[str, int]:
        timeline = predictor.record(folder / f"{size}.mp4", folder / f"out-{size}")
        return {"persons found": len(timeline.summary.predicted)}

    return run


MANY = 10**5
ROWS: dict[str, tuple[str, Callable[..., Work], list[int]]] = {  # row → what the size counts, work, sizes
    "read a list": ("clips", read_list, [10**2, 10**3, 10**4]),
    "read boxes of faces and bodies": ("clips", read_boxes, [10**2, 10**3, 10**4]),
    "plan an epoch": ("clips", plan_epoch, [10**2, 10**3, 10**4]),
    "make the loader": ("clips", make_loader, [10**2, 10**3, 10**4]),
    "audit": ("lines", audit_list, [10**4, MANY]),
    "start a training": ("lines", start_training, [10**4, MANY]),
    "predict a video": ("minutes", predict, [1, 10]),
    "predict 16 s of a video": ("persons", partial(predict, max_persons=8), [1, 2, 4, 8]),
}


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function that runs in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(make: Callable[..., Work], folder: Path, size: int) -> dict[str, Any]:
    """Return the processor time and the memory of one work; call it in a process of its own."""
    with contextlib.redirect_stdout(io.StringIO()):
        work = make(folder, size)
        before, started = peak_mb(), time.process_time()
        facts = work()
        seconds = time.process_time() - started
    row = {"size": size, "seconds": round(seconds, 4), "peak_mb": round(peak_mb()), "growth_mb": peak_mb() - before}
    return row | (facts if isinstance(facts, dict) else {})


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def slope(rows: list[dict[str, Any]], figure: str) -> list[float | None]:
    """Return the slope in log-log from each row to the next; None where a figure is too small to tell."""
    least = {"seconds": 0.001, "growth_mb": 1.0}[figure]
    return [
        round(math.log(b[figure] / a[figure]) / math.log(b["size"] / a["size"]), 2) if a[figure] >= least else None
        for a, b in pairwise(rows)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root-dir", type=Path, default=Path("data/raer-sim"), help="folder of the simulated set")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure (default: all)")
    parser.add_argument("--hour", action="store_true", help="also predict an hour of video")
    parser.add_argument("--most", type=int, default=MANY, help="largest size (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/growth.json"), help="result file")
    parser.add_argument("--plot", type=Path, default=Path("docs/growth.png"), help="picture (default: %(default)s)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that measure
    old = json.loads(options.out.read_text(encoding="utf-8"))["rows"] if options.out.exists() else {}
    rows: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.only:
            counts, make, sizes = ROWS[name]
            sizes = [size for size in sizes + [60] * (options.hour and counts == "minutes") if size <= options.most]
            folder = Path(scratch, counts)
            if not folder.exists():
                folder.mkdir()
                write = {"minutes": write_minutes, "persons": write_persons}.get(counts)
                alone(*((write, folder, options.root_dir, sizes) if write else (write_clips, folder, max(sizes))))
            rows[name] = [alone(measure, make, folder, size) for size in sizes]
            print(name, rows[name], file=sys.stderr, flush=True)
    result = {"machine": describe_machine(), "rows": {name: (old | rows)[name] for name in ROWS if name in old | rows}}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(result["rows"], options.plot)
    print(table(result))
    return 0


def table(result: dict[str, Any]) -> str:
    """Return the results as a Markdown table; each row has the slopes from the row before."""
    lines = ["| work | size | processor seconds | slope | peak memory, MB | of it for the work | slope |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, rows in result["rows"].items():
        slopes = [[None, *slope(rows, figure)] for figure in ("seconds", "growth_mb")]
        for row, *pair in zip(rows, *slopes, strict=True):
            time_slope, memory_slope = ("" if value is None else f"{value:.2f}" for value in pair)
            cells = [name, f"{row['size']:,} {ROWS[name][0]}", f"{row['seconds']:.3g}", time_slope]
            cells += [f"{row['peak_mb']}", f"{row['growth_mb']:.0f}", memory_slope]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(measured: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw both figures of every work against the size, relative to its smallest size."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, value, label in zip(axes, ("seconds", "growth_mb"), ("processor time", "memory"), strict=True):
        for name, rows in measured.items():
            points = [(row["size"] / rows[0]["size"], row[value] / max(rows[0][value], 1e-3)) for row in rows]
            axis.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=name)
        axis.loglog([1, 100], [1, 100], color="0.7", linestyle="--", zorder=0, label="proportional")
        axis.set(xlabel="size, relative to the smallest", ylabel=f"{label}, relative")
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    sys.exit(main())
