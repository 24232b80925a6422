"""Measures clips that are read from videos, relative to the same clips as JPEGs: loading, packing, disk space.

    python -m benchmarks.clips_from_videos                     # about three minutes on one core
    python -m benchmarks.clips_from_videos --rounds 1 --frames 20 --size 64x48 --out FILE     # a quick try

Draws people, writes them as H.264 videos, and makes two sets of the same clips: frames (python -m dataloader.prepare)
and parts of the videos (the same with --boxes-only). Seconds are processor time of one process with one thread; the
median over the rounds counts. A detector that costs nothing stands in for the search for faces, which
both sets need. Writes benchmarks/results/clips_from_videos.json and prints a Markdown table.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from apps.drawing import VideoWriter
from benchmarks.data import difference
from benchmarks.machine import describe_machine
from dataloader import pack
from dataloader.annotation import Clip, read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views
from dataloader.detect import Detection, Detections, Detector
from dataloader.frames import decode_frame
from dataloader.prepare.__main__ import main as prepare
from dataloader.sources import open_source
from simulate import Settings, write_set

RESULT = Path(__file__).parent / "results" / "clips_from_videos.json"
FPS, SEGMENTS, PERSONS = 25, 16, 2
NEAR = 6.0  # largest mean difference of pixels, of 255, between a video and JPEGs of it; other frames differ by more
SOURCES = ("videos", "JPEGs", "pack")


@dataclass(frozen=True)
class Case:
    """A set of videos: clips of one person are one file, or each clip is a file."""

    name: str
    size: tuple[int, int]
    frames: int  # of a clip
    is_whole: bool
    clips: int  # at most 10


def main() -> int:
    options = parse()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows = []
    for case in cases(options):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(case, Path(folder), options.rounds))
        print(table({"rows": rows[-1:]}), flush=True)
    result = {"simulated": True, "machine": describe_machine(), "rounds": options.rounds, "rows": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (default: 3)")
    parser.add_argument("--frames", type=int, help="frames of every clip (default: 250, or 100 for parts)")
    parser.add_argument("--size", help="size of all videos, as in 320x240 (default: those of the table)")
    parser.add_argument("--out", type=Path, default=RESULT, help="result file (default: %(default)s)")
    return parser.parse_args()


def cases(options: argparse.Namespace) -> list[Case]:
    sizes = [(320, 240), (640, 360)]
    if options.size:
        sizes = [tuple(map(int, options.size.split("x")))] * 2
    whole, part = options.frames or 250, options.frames or 100
    return [Case("whole files", sizes[0], whole, True, 5), Case("parts of longer videos", sizes[1], part, False, 10)]


def measure(case: Case, root: Path, rounds: int) -> dict[str, Any]:
    """Return the figures of one set of videos."""
    draw(case, root)
    seconds: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any], clean: str | None = None) -> None:
        if clean:
            shutil.rmtree(root / clean, ignore_errors=True)
        started = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            status = work()
        seconds.setdefault(name, []).append(time.process_time() - started)
        if status not in (0, None):
            raise RuntimeError(f"{case.name}: {name} failed")

    for _ in range(rounds):
        timed("extract", lambda: make_set(case, root, "frames"), "frames")
        timed("pack JPEGs", lambda: make_pack(root, "frames"), "frames-pack")
        timed("boxes", lambda: make_set(case, root, "parts"), "parts")
        timed("pack videos", lambda: make_pack(root, "parts"), "parts-pack")
    datasets = {name: open_set(root, name) for name in SOURCES}
    require_equal(datasets)
    clips = datasets["videos"].clips
    for number in range(rounds + 1):
        for name, dataset in datasets.items():
            repeats = 5 if name == "pack" else 1

            def read(dataset: ClipDataset = dataset, number: int = number, repeats: int = repeats) -> None:
                for position in range(repeats * len(clips)):
                    dataset[number, position, position % len(clips)]

            if number:  # the first round is a warm-up
                timed(name, read)
                seconds[name][-1] /= repeats
            else:
                read()
    medians = {name: statistics.median(values) / len(clips) for name, values in seconds.items()}
    ratios = [jpeg / video for jpeg, video in zip(seconds["JPEGs"], seconds["videos"], strict=True)]
    return {
        "case": case.name,
        "size": "{} x {}".format(*case.size),
        "clips": len(clips),
        "videos": len({clip.folder for clip in clips}),
        "frames of a clip": len(clips[0].frames),
        "clips per second": {name: round(1 / medians[name], 1) for name in SOURCES},
        "videos to JPEGs": [round(value, 2) for value in (statistics.median(ratios), min(ratios), max(ratios))],
        "seconds per clip": {name: round(medians[name], 3) for name in medians if name not in SOURCES},
        "megabytes per clip": {
            name: round(sum(map(os.path.getsize, files)) / len(clips) / 1e6, 3)
            for name, files in {
                "videos": (root / "videos").glob("*.mp4"),
                "JPEGs": (root / "frames/images").rglob("*.jpg"),
                "pack": (root / "parts-pack").glob("*.bin"),
            }.items()
        },
    }


def draw(case: Case, root: Path) -> None:
    """Write videos, a CSV with the label and the seconds of every clip, and for whole files a list of them."""
    width, height = case.size
    settings = Settings(clips=10, persons=PERSONS, frames=case.frames, width=width, height=height)
    write_set(root / "drawn", settings, workers=1)
    classes, rows, lines = load_classes("RAER"), ["video,label,person,from,to"], []
    lists = [read_annotation(f"annotation/{name}.txt", str(root / "drawn"), classes) for name in ("train", "test")]
    clips = sorted((clip for clips in lists for clip in clips), key=lambda clip: (clip.person, clip.key))
    clips = clips[: case.clips]
    seconds = case.frames / FPS
    (root / "videos").mkdir()
    groups = {clip.key if case.is_whole else clip.person: [] for clip in clips}
    for clip in clips:
        groups[clip.key if case.is_whole else clip.person].append(clip)
    for number, group in enumerate(groups.values(), 1):
        file = root / f"videos/{number:02d}.mp4"
        with VideoWriter(file, FPS, case.size) as writer:
            pictures = (decode_frame(path)[0] for clip in group for path in clip.paths)
            for index, picture in enumerate(pictures):
                writer.add(index / FPS, picture)
        for index, clip in enumerate(group):
            label = classes.names[clip.label]
            rows.append(f"{file.name},{label},P{number},{index * seconds:g},{(index + 1) * seconds:g}")
            lines.append(f"{file.name} {case.frames} {clip.label + 1}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    if case.is_whole:
        (root / "videos/list.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.rmtree(root / "drawn")


def make_set(case: Case, root: Path, kind: str) -> int:
    """Write frames or only boxes of the clips; return the exit status."""
    words = ["--out", str(root / kind), "--height", "4320"]
    if kind == "frames":
        words += ["--fps", str(FPS)]
    if kind == "parts" and case.is_whole:
        words += ["--boxes-only", "--train-annotation", "list.txt"]
    else:
        words += ["--labels", str(root / "labels.csv"), "--test-share", "0"]
        words += ["--seconds", f"{case.frames / FPS:g}", "--no-audit"]
        words += ["--boxes-only"] if kind == "parts" else []
    return prepare([str(root / "videos"), *words], find_nothing_new)


def find_nothing_new(*_: object) -> Detector:
    """Return a detector that costs nothing: a face and a body at the same place of every frame."""

    def detect(frame: np.ndarray) -> Detections:
        height, width = frame.shape[:2]
        face = Detection(0.4 * width, 0.2 * height, 0.6 * width, 0.6 * height, 1.0)
        return Detections([face], [Detection(0.2 * width, 0.1 * height, 0.8 * width, 1.0 * height, 1.0)])

    return detect


def list_of(root: Path, kind: str) -> tuple[str, str]:
    """Return the root and the list of a set."""
    if kind == "parts" and (root / "videos/list.txt").exists():
        return str(root / "videos"), "list.txt"
    return str(root / kind), "annotation/train.txt"


def make_pack(root: Path, kind: str) -> int:
    folder, file = list_of(root, kind)
    words = ["--out", str(root / f"{kind}-pack"), "--root-dir", folder, "--train-annotation", file, "--workers", "0"]
    for box in ("face", "body"):
        words += [f"--bounding-box-{box}", str((root / kind / f"annotation/{box}.json").absolute())]
    return pack.main(words)


def open_set(root: Path, name: str) -> ClipDataset:
    """Return the training clips as the loader reads them."""
    kind = "frames" if name == "JPEGs" else "parts"
    folder, file = list_of(root, kind)
    clips: list[Clip] = read_annotation(file, folder, load_classes("RAER"))
    views = Views(
        segments=SEGMENTS,
        root=folder,
        face_boxes=read_face_boxes(str((root / kind / "annotation/face.json").absolute()), folder),
        body_boxes=read_body_boxes(str((root / kind / "annotation/body.json").absolute()), folder),
        pack=str(root / "parts-pack") if name == "pack" else None,
    )
    return ClipDataset(clips, views, open_source(views), training=True)


def require_equal(datasets: dict[str, ClipDataset]) -> None:
    """Raise an error unless both sets have the same clips, frames, labels and, up to JPEG compression, pixels."""
    videos, frames = datasets["videos"], datasets["JPEGs"]
    shapes = [[(len(clip.frames), clip.label) for clip in dataset.clips] for dataset in (videos, frames)]
    if shapes[0] != shapes[1]:
        raise RuntimeError(f"the sets have other clips: {shapes}")
    for number in range(len(videos.clips)):
        items = [dataset[0, number, number] for dataset in (videos, frames)]
        apart = max(difference(items[0][stream].numpy(), items[1][stream].numpy()) for stream in ("face", "context"))
        if apart > NEAR:
            raise RuntimeError(f"clip {number} of the sets differs by {apart:.1f} of 255: are its frames the same?")


def table(result: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| | " + " | ".join(f"{row['case']}, {row['size']}" for row in result["rows"]) + " |"]
    lines.append("|---" * (1 + len(result["rows"])) + "|")

    def add(name: str, cell: Callable[[dict[str, Any]], object]) -> None:
        lines.append(f"| {name} | " + " | ".join(str(cell(row)) for row in result["rows"]) + " |")

    add("clips, videos, frames of a clip", lambda row: f"{row['clips']}, {row['videos']}, {row['frames of a clip']}")
    for name in SOURCES:
        words = "a pack" if name == "pack" else name
        add(f"training loader, from {words}: clips per second", lambda row, name=name: row["clips per second"][name])
    add("speed from videos, JPEGs = 1", lambda row: "{} ({} to {})".format(*row["videos to JPEGs"]))
    for name, words in (
        ("extract", "extracting JPEGs (`prepare`)"), ("pack JPEGs", "packing the JPEGs"),
        ("boxes", "only boxes (`prepare --boxes-only`)"), ("pack videos", "packing the videos"),
    ):  # fmt: skip
        add(f"{words}: seconds per clip", lambda row, name=name: row["seconds per clip"][name])
    for name in SOURCES:
        add(f"{name}: MB per clip", lambda row, name=name: row["megabytes per clip"][name])
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
