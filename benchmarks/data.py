"""How much quicker than the plain loader frames become batches: streaming, packs, augmentation; per core.

    python -m benchmarks.data          # about three minutes on two cores

Draws a few clips of 1920x1080 JPEGs, reads the same clips by every way in turn, several rounds, and compares each round
with the plain loader (benchmarks/plain_data.py) of the same round: the processor's seconds, one process, one thread.
Writes benchmarks/results/data.json. Fails where a ratio or a difference in pixels misses what is promised.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import torch

from benchmarks.plain_data import load_clip
from dataloader import pack
from dataloader.annotation import Clip, read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views, boxes_of
from dataloader.sampling import choose_frames
from dataloader.sources import open_source
from dataloader.transforms import draw_augmentation
from engine.device import augment
from simulate import Settings, write_set

RESULT = Path(__file__).parent / "results" / "data.json"
PROMISED = {  # at least so many times the plain loader
    "exact": 2,
    "scaled, face at full resolution": 2,
    "scaled, half resolution is enough": 4,
    "jpeg pack": 25,
    "raw pack": 100,
}
NEAR = 2.0  # largest mean absolute difference of scaled pixels, of 255
Way = Callable[[int], Any]  # reads the clip of that number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        clips, close = draw(Path(folder))
        far = replace(close, face_boxes=smaller(close.face_boxes))
        packs = make_packs(Path(folder), clips, far)
        rows = measure(clips, {"far": far, "close": close}, packs, rounds)
        differences = compare(clips, {"far": far, "close": close}, packs)
    missed = show(rows, differences)
    content = {"command": "python -m benchmarks.data", "machine": machine(), "rounds": rounds, "clips": len(clips)}
    RESULT.write_text(json.dumps(content | {"ways": rows, "differences": differences}, indent=2) + "\n")
    return 1 if missed else 0


def draw(root: Path) -> tuple[list[Clip], Views]:
    """Clips of 16 frames; faces as they would be close to the camera, so large that half resolution is enough."""
    write_set(root / "set", Settings(clips=10, persons=4, frames=16, width=1920, height=1080), workers=2)
    set_root = str(root / "set")
    classes = load_classes("RAER")
    clips = [c for n in ("train", "test") for c in read_annotation(f"annotation/{n}.txt", set_root, classes)][:6]
    faces = read_face_boxes("annotation/face.json", set_root)
    wide_boxes = {
        key: {name: (700.0, 100.0, 1200.0, 640.0) for name in clip.frames} for clip in clips for key in [clip.key]
    }
    faces = {clip.key: wide_boxes[clip.key] | faces.get(clip.key, {}) for clip in clips}
    close = {key: {name: larger(box, 520) for name, box in boxes.items()} for key, boxes in faces.items()}
    return clips, Views(root=set_root, face_boxes=close, body_boxes=read_body_boxes("annotation/body.json", set_root))


def larger(box: tuple[float, ...], side: float) -> tuple[float, ...]:
    """The box about its middle, inside the frame, ``side`` pixels wide and high."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    left, top = min(max(x - side / 2, 0), 1920 - side), min(max(y - side / 2, 0), 1080 - side)
    return left, top, left + side, top + side


def smaller(boxes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A face of 260 pixels, 300 with its margin: no part of the frame would be enough."""
    return {key: {name: larger(box, 260) for name, box in of.items()} for key, of in boxes.items()}


def make_packs(root: Path, clips: list[Clip], views: Views) -> dict[str, str]:
    (root / "face.json").write_text(json.dumps(views.face_boxes))
    packs = {}
    for kind in ("jpeg", "raw"):
        packs[kind] = str(root / kind)
        flags = f"--out {packs[kind]} --format {kind} --root-dir {views.root} --workers 2"
        flags += " --train-annotation annotation/train.txt --test-annotation annotation/test.txt"
        flags += f" --bounding-box-face {root}/face.json --bounding-box-body annotation/body.json"
        with contextlib.redirect_stdout(io.StringIO()):
            if pack.main(flags.split()):
                raise RuntimeError(f"the {kind} pack was not made")
    return packs


def ways(clips: list[Clip], views: dict[str, Views], packs: dict[str, str]) -> dict[str, tuple[str, Way]]:
    """name → (the plain way that it is compared with, the way)."""
    far, close = views["far"], views["close"]

    def reads(view: Views, **chance: Any) -> Way:
        dataset = ClipDataset(clips, view, open_source(view), **chance)
        return lambda clip: dataset[0, clip, clip]

    training = {"training": True}
    results: dict[str, tuple[str, Way]] = {
        "plain": ("plain", lambda clip: read_plainly(clips[clip], far)),
        "plain, close": ("plain, close", lambda clip: read_plainly(clips[clip], close)),
        "plain, training": ("plain, training", lambda clip: read_plainly(clips[clip], far, clip)),
        "exact": ("plain", reads(far)),
        "exact, training": ("plain, training", reads(far, **training)),
        "exact, training, augmented on the device": ("plain, training", reads(far, **training, augment="device")),
        "scaled, face at full resolution": ("plain", reads(replace(far, decode="scaled"))),
        "scaled, half resolution is enough": ("plain, close", reads(replace(close, decode="scaled"))),
    }
    for kind, folder in packs.items():
        packed = replace(far, pack=folder)
        results[f"{kind} pack"] = ("plain", reads(packed))
        results[f"{kind} pack, training, turned by the worker"] = ("plain, training", reads(packed, **training))
        later = reads(packed, **training, augment="device")
        results[f"{kind} pack, training, augmented on the device"] = ("plain, training", later)
    return results


def read_plainly(clip: Clip, views: Views, position: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """``position``: of a training clip, which has angles and flips."""
    indexes = choose_frames(len(clip.frames), views.segments, 1, "whole", np.random.default_rng(0), False)
    faces, body = boxes_of(clip, views)
    draws = {}
    if position is not None:
        augmentation = draw_augmentation(np.random.default_rng(position))
        draws = {"angles": (augmentation.angle,) * 2, "flips": (augmentation.flip,) * 2}
    return load_clip([clip.frame_path(i) for i in indexes], [faces[i] for i in indexes], body, views.size, **draws)


def measure(clips: list[Clip], views: dict[str, Views], packs: dict[str, str], rounds: int) -> dict[str, Any]:
    """Every way in every round, so that what else the machine does reaches all of them."""
    results = ways(clips, views, packs)
    seconds: dict[str, list[float]] = {name: [] for name in results}
    for number in range(rounds + 1):
        for name, (_, way) in results.items():
            repeats = 1 if name.startswith(("plain", "exact", "scaled")) else 5
            started = time.process_time()
            for clip in list(range(len(clips))) * repeats:
                way(clip)
            if number:  # the first round warms up
                seconds[name].append((time.process_time() - started) / repeats / len(clips))
    rows = {}
    for name, (plain, _) in results.items():
        ratios = [p / s for p, s in zip(seconds[plain], seconds[name], strict=True)]
        rows[name] = {
            "clips a second": round(1 / statistics.median(seconds[name]), 2),
            "ratio": round(statistics.median(ratios), 2),
            "spread": [round(min(ratios), 2), round(max(ratios), 2)],
            "of": plain,
        }
    return rows


def compare(clips: list[Clip], views: dict[str, Views], packs: dict[str, str]) -> dict[str, float]:
    """Mean absolute difference, of 255, to the plain loader's pixels; the worse stream of the worst clip."""
    far, close = views["far"], views["close"]
    cases = {
        "exact": (far, far),
        "scaled, face at full resolution": (replace(far, decode="scaled"), far),
        "scaled, half resolution is enough": (replace(close, decode="scaled"), close),
        "jpeg pack": (replace(far, pack=packs["jpeg"]), far),
        "raw pack": (replace(far, pack=packs["raw"]), far),
    }
    worst = dict.fromkeys([*cases, "turned at 224 pixels: face", "turned at 224 pixels: context"], 0.0)
    for name, (view, plain) in cases.items():
        dataset = ClipDataset(clips, view, open_source(view))
        for number, clip in enumerate(clips):
            item, expected = dataset[0, 0, number], read_plainly(clip, plain)
            for stream, pixels in zip(("face", "context"), expected, strict=True):
                worst[name] = max(worst[name], difference(item[stream].numpy(), pixels))
    worker = ClipDataset(clips, far, training=True)
    device = ClipDataset(clips, far, training=True, augment="device")
    for number in range(len(clips)):
        published, item = worker[0, number, number], device[0, number, number]
        turns = {name: item[name][None] for name in ("angle", "flip", "face_sizes")}
        for view, stream in enumerate(("face", "context")):
            turned = augment(item[stream][None], turns, view)[0]
            name = f"turned at 224 pixels: {stream}"
            worst[name] = max(worst[name], difference(turned.numpy(), published[stream].numpy()))
    return {name: round(value, 3) for name, value in worst.items()}


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def show(rows: dict[str, Any], differences: dict[str, float]) -> list[str]:
    """Prints the table; returns what misses what is promised."""
    missed = []
    print(f"{'':<48} {'clips/s':>8} {'ratio':>7}   spread")
    for name, row in rows.items():
        promise = PROMISED.get(name)
        is_missed = promise is not None and row["ratio"] < promise
        missed += [name] if is_missed else []
        low, high = row["spread"]
        note = f"   promised: {promise}" + ("  MISSED" if is_missed else "") if promise else ""
        print(f"{name:<48} {row['clips a second']:>8.2f} {row['ratio']:>7.2f}   {low:.2f}-{high:.2f}{note}")
    print("\nmean absolute difference to the plain loader, of 255 (the worst clip and stream)")
    for name, value in differences.items():
        wrong = value > (0 if name in ("exact", "raw pack") else NEAR) and name in PROMISED
        missed += [name] if wrong else []
        print(f"{name:<48} {value:>8.3f}{'  MISSED' if wrong else ''}")
    return missed


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    return {
        "platform": platform.platform(),
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "numpy": np.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
