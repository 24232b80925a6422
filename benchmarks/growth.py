"""Measures how processor time and peak memory grow with clips, length of lists and videos, and persons.

    python -m benchmarks.growth
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

from dataloader.annotation import Clip, read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.sampling import ClipOrder, balancing_weights
from utils.files import write_json
from utils.lazy import Lazy

# Loaded only by the processes that need them, so that imports do not hide the memory of small works.
render, segments, machine = map(Lazy, ("benchmarks.video_render", "benchmarks.video_segments", "benchmarks.machine"))
cv2, np, plt = Lazy("cv2"), Lazy("numpy"), Lazy("matplotlib.pyplot")

OUT, FPS = Path("benchmarks/results/growth.json"), 10.0
START = "--clip-path random --image-size 64 --num-segments 2 --batch-size 8 --workers 0 --device cpu --select-on last"
LEAST = {"seconds": 0.001, "raised_mb": 1.0}  # below it a slope is noise
Work = Callable[[], Any]


def write_clips(folder: Path, sizes: list[int], root: Path) -> None:
    """Write clips of 5 classes with one picture each, and for each size the list and the boxes of the first clips."""
    picture = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))[1].tobytes()
    names = [f"RAER/{n // 100:04d}/P{n // 50:05d}/{n:06d}" for n in range(max(sizes))]
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        (folder / name / "00001.jpg").write_bytes(picture + str(number).encode())  # no two files are equal
    for size in sizes:
        lines = [f"{name} 1 {n % 5 + 1}\n" for n, name in enumerate(names[:size])]
        (folder / f"{size}.txt").write_text("".join(lines), encoding="utf-8")
        for kind, box in {"face": {"00001.jpg": [8, 8, 24, 24]}, "body": [4, 4, 28, 32]}.items():
            (folder / f"{kind}{size}.json").write_text(json.dumps(dict.fromkeys(names[:size], box)), encoding="utf-8")


def write_minutes(folder: Path, sizes: list[int], root: Path) -> None:
    """Write a video of one minute and longer ones that repeat it."""
    steps = segments.play(segments.find_segments(root, "annotation/test.txt"), root, 1.0, FPS)
    frames = ((step.seconds, step.frame) for step in takewhile(lambda step: step.seconds < 60, steps))
    short = render.write_video(folder / "minute.mp4", frames, FPS)
    for size in sizes:
        render.repeat_video(short, folder / f"{size}.mp4", size)


def write_persons(folder: Path, sizes: list[int], root: Path) -> None:
    """Write videos of 16 s with this many persons in a grid of 4 x 2; the other fields are grey.

    A clip of each person plays forwards and backwards by turns. If clips followed one another, half of the picture
    could change at once, which counts as a cut, and after a cut the persons get new numbers.
    """
    persons = segments.segments_by_person(root, "annotation/test.txt")[: max(sizes)]
    clips = [[segment._replace(clips=segment.clips[:1]) for segment in parts[:1]] for parts in persons]
    films = [[step.frame for step in segments.play(clip, root, 1.0, FPS)] for clip in clips]
    films = [2 * (film + film[::-1]) for film in films]
    for size in sizes:
        grey = [np.full_like(films[0][0], 128)] * (8 - size)
        pictures = ([*(film[n] for film in films[:size]), *grey] for n in range(len(films[0])))
        grids = (np.vstack([np.hstack(row[:4]), np.hstack(row[4:])]) for row in pictures)
        render.write_video(folder / f"{size}.mp4", ((n / FPS, grid) for n, grid in enumerate(grids)), FPS)


def clips_of(folder: Path, size: int) -> list[Clip]:
    return read_annotation(f"{size}.txt", str(folder), load_classes("RAER"))


def boxes_of(folder: Path, size: int) -> tuple[Any, Any]:
    return read_face_boxes(f"face{size}.json", str(folder)), read_body_boxes(f"body{size}.json", str(folder))


def plan_epoch(folder: Path, size: int) -> Work:
    weights = balancing_weights([clip.label for clip in clips_of(folder, size)], 5)
    return lambda: list(ClipOrder(size, 1, weights))


def make_loader(folder: Path, size: int) -> Work:
    from dataloader.clips import ClipDataset, Views
    from dataloader.loader import build_loader

    clips, views = clips_of(folder, size), Views(root=str(folder))
    dataset = partial(ClipDataset, clips, views, training=True)
    return lambda: iter(build_loader(dataset(), ClipOrder(size, 1), batch_size=8, workers=0))


def words_of(folder: Path, size: int) -> list[str]:
    lists = f"--train-annotation {size}.txt --bounding-box-face face{size}.json --bounding-box-body body{size}.json"
    return [*lists.split(), "--root-dir", str(folder)]


def audit(folder: Path, size: int) -> Work:
    from dataloader.audit.__main__ import main

    return lambda: main(words_of(folder, size))


def start_training(folder: Path, size: int) -> Work:
    """From the flags through all checks of the lists up to the first epoch of the smallest model."""
    from engine.train import Trainer
    from main import main

    words = [*words_of(folder, size), *START.split(), "--output-dir", str(folder / f"run-{size}")]

    def start() -> None:
        # raised in place of the first epoch; it is not an Exception, so no handler of the run reports it
        with patch.object(Trainer, "run_epoch", side_effect=GeneratorExit), contextlib.suppress(GeneratorExit):
            raise RuntimeError(f"the training ended with status {main(words)} before its first epoch")

    return start


def predict(folder: Path, size: int, **options: Any) -> Work:
    from apps.predict.predictor import Predictor

    predictor = Predictor("weights/demo_best.pt", device="cpu", **options)
    record = partial(predictor.record, folder / f"{size}.mp4", folder / f"out-{size}")
    return lambda: {"persons found": len(record().summary.predicted)}


FEW, MANY = [10**2, 10**3, 10**4], [10**4, 10**5]
ROWS = {  # row → what the size counts, function that prepares the work, sizes, function that writes the files
    "read a list": ("clips", partial(partial, clips_of), FEW, write_clips),
    "read boxes of faces and bodies": ("clips", partial(partial, boxes_of), FEW, write_clips),
    "plan an epoch": ("clips", plan_epoch, FEW, write_clips),
    "make the loader": ("clips", make_loader, FEW, write_clips),
    "audit": ("lines", audit, MANY, write_clips),
    "start a training": ("lines", start_training, MANY, write_clips),
    "predict a video": ("minutes", predict, [1, 10], write_minutes),
    "predict 16 s of a video": ("persons", partial(predict, max_persons=8), [1, 2, 4, 8], write_persons),
}


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function that runs in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(name: str, folder: Path, size: int) -> dict[str, Any]:
    """Return the processor time and the memory of one work; to be called in a new process."""
    with contextlib.redirect_stdout(io.StringIO()):
        work = ROWS[name][1](folder, size)
        before, started = peak_mb(), time.process_time()
        facts = work()
        seconds, peak = time.process_time() - started, peak_mb()
    row = {"size": size, "seconds": round(seconds, 4), "peak_mb": peak, "raised_mb": round(peak - before, 1)}
    return row | facts if isinstance(facts, dict) else row


def peak_mb() -> float:
    """Return the peak memory from Linux's /proc. That of getrusage begins with the memory of the parent process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024, 1)


def slopes(rows: list[dict[str, Any]], figure: str) -> list[str]:
    """Return the slope from each row to the next; empty for the first row and where a figure is too small to tell."""
    pairs = ((math.log(b["size"] / a["size"]), a[figure], b[figure]) for a, b in pairwise(rows))
    return ["", *(f"{math.log(b / a) / ratio:.2f}" if min(a, b) >= LEAST[figure] else "" for ratio, a, b in pairs)]


def table(result: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| work | size | processor seconds | slope | peak memory, MB | raised by the work, MB | slope |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, rows in result["rows"].items():
        for row, of_time, of_memory in zip(rows, slopes(rows, "seconds"), slopes(rows, "raised_mb"), strict=True):
            cells = [name, f"{row['size']:,} {ROWS[name][0]}", f"{row['seconds']:.3g}", of_time]
            lines.append(f"| {' | '.join(cells)} | {row['peak_mb']:.0f} | {row['raised_mb']:.0f} | {of_memory} |")
    return "\n".join(lines)


def plot(measured: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw the processor time of every work against its size, both relative to the smallest size."""
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, rows in measured.items():
        points = [(row["size"] / rows[0]["size"], row["seconds"] / rows[0]["seconds"]) for row in rows]
        axis.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=f"{name} ({ROWS[name][0]})")
    axis.loglog([1, 100], [1, 100], color="0.7", linestyle="--", zorder=0, label="proportional")
    axis.set(xlabel="size, relative to the smallest", ylabel="processor time, relative")
    axis.legend(fontsize=7)
    figure.savefig(path, dpi=80)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root-dir", type=Path, default=Path("data/raer-sim"), help="folder of the simulated set")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure (default: all)")
    parser.add_argument("--hour", action="store_true", help="also predict an hour of video")
    parser.add_argument("--out", type=Path, default=OUT, help="result file")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that measure
    rows = json.loads(options.out.read_text(encoding="utf-8"))["rows"] if options.out.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.only:
            counts, _, sizes, write = ROWS[name]
            sizes = sizes + [60] * (options.hour and counts == "minutes")
            folder = Path(scratch, counts)
            if not folder.exists():
                folder.mkdir()
                alone(write, folder, sizes, options.root_dir)
            rows[name] = [alone(measure, name, folder, size) for size in sizes]
            print(name, rows[name], file=sys.stderr, flush=True)
            write_json(options.out, {"rows": rows})
    result = {"machine": machine.describe_machine(), "rows": {name: rows[name] for name in ROWS if name in rows}}
    write_json(options.out, result)
    plot(rows, Path("docs/growth.png") if options.out == OUT else options.out.with_suffix(".png"))
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
