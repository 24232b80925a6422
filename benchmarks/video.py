"""Measures prediction on videos: share of segments classified correctly, speed, and memory over an hour.

    python -m benchmarks.video --root-dir data/raer-sim                  # all parts; about half an hour
    python -m benchmarks.video --root-dir data/raer-sim --seconds 0      # without the long video
    python -m benchmarks.video --root-dir data/raer-sim --seconds 120 --segments 0 --pairs 0 --cuts 0
    python -m benchmarks.video --segments 0 --pairs 0 --seconds 0        # only cuts; a few minutes
    python -m benchmarks.video --segments 0 --pairs 0 --seconds 0 --cuts 0 --speed 3     # only speed; a few minutes

Segments: clips of one person and one emotion of the simulated test list, 8 s each, joined to one video of 640 x 480,
twice the size of training. A segment is classified correctly if most of its windows are. Boxes come from the cascades,
from YuNet if it is installed (both on the H.264 file), and from the simulation (true boxes), also with the margin of 20
pixels used in training. Pairs: two persons side by side, with --max-persons 2. Cuts: persons and empty rooms alternate,
6 s each; the measure is how long predictions continue for a person who is not visible any more. Speed and memory: a
minute of video at 25 frames per second whose packets are repeated, with overlay and the default face detector. With
--speed: processor time of one person at 640 x 360, with and without overlay, and with bodies searched as often as
faces; the variants take turns. Writes benchmarks/results/video.json.
"""

import argparse
import functools
import itertools
import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from apps.predict import windows
from apps.predict.run import Predictor
from apps.predict.timeline import Row
from benchmarks.machine import describe_machine
from benchmarks.timing import compare
from benchmarks.video_pairs import detectors, measure_cuts, measure_pairs
from benchmarks.video_render import repeat_video, write_video
from benchmarks.video_segments import FPS, Segment, VideoFrame, find_segments, majority_class, play
from dataloader.detect import Detection, Detections, resolve_face_model
from dataloader.track import Tracker
from utils.lazy import Lazy

torch = Lazy("torch")  # imported after engine/, which chooses how its threads wait, as in a command
RESULTS = Path("benchmarks/results/video.json")
SCALE = 2.0  # relative to the 320 x 240 of the simulation
CORES = 2


class TrueBoxes:
    """The segments as a video in memory, and a detector that returns the boxes of the simulation."""

    name, duration, damaged, fps, end = "segments", None, None, FPS, 0.0

    def __init__(self, segments: list[Segment], root: Path) -> None:
        self.segments, self.root = segments, root
        self.frame: VideoFrame | None = None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        for frame in play(self.segments, self.root, SCALE):
            self.frame = frame
            yield frame.seconds, frame.frame

    def detect(self, frame: np.ndarray) -> Detections:
        face, body = self.frame.face, self.frame.body
        return Detections([Detection(*face, 1.0)] if face else [], [Detection(*body, 1.0)] if body else [])


def rows_by_true_boxes(predictor: Predictor, segments: list[Segment], root: Path) -> list[Row]:
    video = TrueBoxes(segments, root)
    with patch.object(predictor, "open_tracking", lambda *_: (video.detect, Tracker(1, in_all=True))):
        return [row for step in predictor.follow(video) for rows in step.rows for row in rows]


def judge(rows: list[Row], segments: list[Segment], names: tuple[str, ...]) -> dict[str, Any]:
    """Return how many segments are classified correctly, and in how many samples a face was detected."""
    predictions = [majority_class(rows, s.start, s.stop) for s in segments]
    correct = sum(name == names[s.label] for name, s in zip(predictions, segments, strict=True))
    faces, samples = sum(row.faces for row in rows), sum(row.samples for row in rows)
    return {
        "segments": len(segments),
        "right": correct,
        "percent": round(100 * correct / len(segments), 1),
        "chance": round(100 * max(Counter(s.label for s in segments).values()) / len(segments), 1),
        "windows_seen_by": dict(Counter(row.seen for row in rows)),
        "faces_found_percent": round(100 * faces / max(samples, 1), 1),
    }


def measure_segments(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the results on the segments with true boxes and with each detector."""
    segments = find_segments(args.root_dir, args.list, most=args.segments)
    predictor = Predictor(args.checkpoint)
    about, names, results = predictor.info, predictor.info.names, {}
    for name, face_width in (("true boxes", about.face_width), ("true boxes, 20 pixels around them", None)):
        predictor.info = replace(about, face_width=face_width)
        results[name] = judge(rows_by_true_boxes(predictor, segments, args.root_dir), segments, names)
        print(f"{name}:", results[name], flush=True)
    frames = ((s.seconds, s.frame) for s in play(segments, args.root_dir, SCALE))
    path = write_video(folder / "segments.mp4", frames, FPS)
    for name in detectors():
        timeline = Predictor(args.checkpoint, face_model=name)(path)
        results[name] = judge(timeline.rows, segments, names) | {
            "persons": len(timeline.summary.predicted),
            "video_seconds_per_second": round(timeline.speed, 2),
        }
        print(f"{name}:", results[name], flush=True)
    return results


def measure_long(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the speed with overlay on two cores, and the memory of the process after each tenth of the video."""
    minute = min(60, args.seconds)
    segments = find_segments(args.root_dir, args.list, most=max(round(minute / 8), 1))
    frames = ((s.seconds, s.frame) for s in play(segments, args.root_dir, SCALE))
    short = write_video(folder / "minute.mp4", frames, FPS)
    long = repeat_video(short, folder / "long.mp4", max(round(args.seconds / (8 * len(segments))), 1))
    predictor, sizes = Predictor(args.checkpoint), []
    follow, interval = Predictor.follow, max(args.seconds / 10, 1)

    def follow_and_measure(self: Predictor, *arguments: Any, **options: Any) -> Iterator[Any]:
        for step in follow(self, *arguments, **options):
            if step.seconds >= interval * (len(sizes) + 1):
                sizes.append(memory_in_use())
                print(f"{step.seconds:.0f} s of video: {sizes[-1]} MiB", flush=True)
            yield step

    wall_start, cpu_start = time.perf_counter(), time.process_time()
    with patch.object(Predictor, "follow", follow_and_measure):
        timeline = predictor.record(long, folder / "long")
    wall_seconds, cpu_seconds = time.perf_counter() - wall_start, time.process_time() - cpu_start
    return {
        "faces_by": resolve_face_model(None),
        "video_seconds": round(timeline.seconds, 1),
        "took": round(wall_seconds, 1),
        "video_seconds_per_second": round(timeline.seconds / wall_seconds, 2),
        "processor_seconds_per_video_second": round(cpu_seconds / timeline.seconds, 3),
        "memory_mib_by_tenth": sizes,
        "memory_mib_peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "overlay_mib": round((folder / "long/overlay.mp4").stat().st_size / 2**20, 1),
    }


def measure_speed(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the processor time of a second of video of one person, with bodies searched each time and less often."""
    segments = find_segments(args.root_dir, args.list, most=2)
    frames = ((s.seconds, s.frame[60:420]) for s in play(segments, args.root_dir, SCALE))
    path = write_video(folder / "speed.mp4", frames, FPS)
    predictor, rows = Predictor(args.checkpoint), {}

    def predict(number: Iterator[int], overlay: bool, body_seconds: float) -> None:
        with patch.object(windows, "BODY_SECONDS", body_seconds):
            timeline = predictor.record(path, folder / f"speed-{next(number)}", overlay=overlay, keep_rows=True)
        rows[body_seconds] = timeline.rows

    results: dict[str, Any] = {
        "faces_by": resolve_face_model(None),
        "video_seconds": len(segments) * 8,
        "size": "640 x 360",
    }
    number = itertools.count()
    for name, overlay in (("without overlay", False), ("with overlay", True)):
        slow, fast = (functools.partial(predict, number, overlay, seconds) for seconds in (0.0, windows.BODY_SECONDS))
        ratio = compare(slow, fast, args.speed)
        per_second = {key: round(ratio[key] / results["video_seconds"], 3) for key in ("slow_seconds", "fast_seconds")}
        results[name] = {
            "speed-up by bodies once a second": ratio["ratio"],
            "processor_seconds_before": per_second["slow_seconds"],
            "processor_seconds": per_second["fast_seconds"],
        }
    before, after = rows[0.0], rows[windows.BODY_SECONDS]
    results["other_predictions"] = sum(a.predicted != b.predicted for a, b in zip(before, after, strict=True))
    results["windows"] = len(after)
    return results


def memory_in_use() -> int:
    """Return the resident memory of this process in MiB, from Linux's /proc."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * resource.getpagesize() / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root-dir", type=Path, default=Path("data/raer-sim"), help="folder of the simulated set")
    parser.add_argument("--list", default="annotation/test.txt", help="list of clips (default: %(default)s)")
    parser.add_argument("--checkpoint", default="weights/demo_best.pt", help="checkpoint (default: %(default)s)")
    parser.add_argument("--segments", type=int, default=50, help="segments at most; 0 skips them (default: 50)")
    parser.add_argument("--pairs", type=int, default=6, help="videos of two persons; 0 skips them (default: 6)")
    parser.add_argument("--cuts", type=int, default=6, help="persons of the video with cuts; 0 skips it (default: 6)")
    parser.add_argument("--seconds", type=float, default=3600, help="length of long video; 0 skips it (default: 3600)")
    parser.add_argument(
        "--speed", type=int, default=0, help="rounds of the speed of one person; 0 skips it (default: 0)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="result file (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(CORES)
    cv2.setNumThreads(CORES)
    results = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name, amount, measure in (
            ("segments", args.segments, measure_segments),
            ("pairs", args.pairs, measure_pairs),
            ("cuts", args.cuts, measure_cuts),
            ("long", args.seconds, measure_long),
            ("speed", args.speed, measure_speed),
        ):
            if amount:
                results[name] = measure(args, Path(folder)) | {"machine": describe_machine()}
                args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
