"""Predicting on videos: how often the known emotion is told, how fast, and how much memory an hour takes.

    python -m benchmarks.video --root-dir data/raer-sim                  # the segments, then an hour: about half of one
    python -m benchmarks.video --root-dir data/raer-sim --seconds 0      # without the hour
    python -m benchmarks.video --root-dir data/raer-sim --seconds 120 --segments 0 --pairs 0

Segments: clips of one person and one emotion of the simulated test list, 8 s each, joined to one video of 640 x 480,
twice the size of training; told right where most of its windows are. Boxes by the cascades and by YuNet, where it is
installed (from the H.264 file, as a user has it), and the true ones in their place, also with the margin of 20 pixels
that training has. Pairs: two persons side by side, with --max-persons 2. Speed and memory: a minute of it at 25 frames
a second, its packets repeated; with overlay and whatever finds faces unasked. Writes benchmarks/results/video.json.
"""

import argparse
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
import torch

from apps.predict.run import Predictor
from apps.predict.timeline import Row
from benchmarks.machine import describe_machine
from benchmarks.video_pairs import detectors, measure_pairs
from benchmarks.video_render import repeat_video, write_video
from benchmarks.video_segments import FPS, Segment, Shown, find_segments, majority_class, play
from dataloader.detect import Detection, Detections, resolve_face_model
from dataloader.track import Tracker

RESULTS = Path("benchmarks/results/video.json")
SCALE = 2.0  # of the simulation's 320 x 240
CORES = 2


class TrueBoxes:
    """The segments as a video in memory, and a detector that knows what the simulation drew."""

    name, duration, damaged, fps, end = "segments", None, None, FPS, 0.0

    def __init__(self, segments: list[Segment], root: Path) -> None:
        self.segments, self.root = segments, root
        self.shown: Shown | None = None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        for shown in play(self.segments, self.root, SCALE):
            self.shown = shown
            yield shown.seconds, shown.frame

    def detect(self, frame: np.ndarray) -> Detections:
        face, body = self.shown.face, self.shown.body
        return Detections([Detection(*face, 1.0)] if face else [], [Detection(*body, 1.0)] if body else [])


def rows_by_true_boxes(predictor: Predictor, segments: list[Segment], root: Path) -> list[Row]:
    video = TrueBoxes(segments, root)
    with patch.object(predictor, "open_tracking", lambda *_: (video.detect, Tracker(1, in_all=True))):
        return [row for step in predictor.follow(video) for rows in step.rows for row in rows]


def judge(rows: list[Row], segments: list[Segment], names: tuple[str, ...]) -> dict[str, Any]:
    told = [majority_class(rows, s.start, s.stop) for s in segments]
    right = sum(name == names[s.label] for name, s in zip(told, segments, strict=True))
    faces, samples = sum(row.faces for row in rows), sum(row.samples for row in rows)
    return {
        "segments": len(segments),
        "right": right,
        "percent": round(100 * right / len(segments), 1),
        "chance": round(100 * max(Counter(s.label for s in segments).values()) / len(segments), 1),
        "windows_seen_by": dict(Counter(row.seen for row in rows)),
        "faces_found_percent": round(100 * faces / max(samples, 1), 1),
    }


def measure_segments(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
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
    """Speed with overlay on two cores, and the memory of the process after each tenth."""
    minute = min(60, args.seconds)
    segments = find_segments(args.root_dir, args.list, most=max(round(minute / 8), 1))
    frames = ((s.seconds, s.frame) for s in play(segments, args.root_dir, SCALE))
    short = write_video(folder / "minute.mp4", frames, FPS)
    long = repeat_video(short, folder / "long.mp4", max(round(args.seconds / (8 * len(segments))), 1))
    predictor, sizes = Predictor(args.checkpoint), []
    follow, every = Predictor.follow, max(args.seconds / 10, 1)

    def watched(self: Predictor, *words: Any, **named: Any) -> Iterator[Any]:
        for step in follow(self, *words, **named):
            if step.seconds >= every * (len(sizes) + 1):
                sizes.append(memory_in_use())
                print(f"{step.seconds:.0f} s of video: {sizes[-1]} MiB", flush=True)
            yield step

    begun, used = time.perf_counter(), time.process_time()
    with patch.object(Predictor, "follow", watched):
        timeline = predictor.record(long, folder / "long")
    took, used = time.perf_counter() - begun, time.process_time() - used
    return {
        "faces_by": resolve_face_model(None),
        "video_seconds": round(timeline.seconds, 1),
        "took": round(took, 1),
        "video_seconds_per_second": round(timeline.seconds / took, 2),
        "processor_seconds_per_video_second": round(used / timeline.seconds, 3),
        "memory_mib_by_tenth": sizes,
        "memory_mib_peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "overlay_mib": round((folder / "long/overlay.mp4").stat().st_size / 2**20, 1),
    }


def memory_in_use() -> int:
    """MiB of this process, as Linux tells."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * resource.getpagesize() / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root-dir", type=Path, default=Path("data/raer-sim"))
    parser.add_argument("--list", default="annotation/test.txt")
    parser.add_argument("--checkpoint", default="weights/demo_best.pt")
    parser.add_argument("--segments", type=int, default=50, help="at most so many; 0 leaves them out")
    parser.add_argument("--pairs", type=int, default=6, help="videos of two persons; 0 leaves them out")
    parser.add_argument("--seconds", type=float, default=3600, help="of the long video; 0 leaves it out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(CORES)
    cv2.setNumThreads(CORES)
    results = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name, wanted, measure in (
            ("segments", args.segments, measure_segments),
            ("pairs", args.pairs, measure_pairs),
            ("long", args.seconds, measure_long),
        ):
            if wanted:
                results[name] = measure(args, Path(folder)) | {"machine": describe_machine()}
                args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
