"""Measures the speed of reading clips, relative to the plain loader: streaming, packs and augmentation.

    python -m benchmarks.data          # about three minutes on two cores

Simulates a few clips of 1920x1080 JPEGs and reads them with every loader in turn, for several rounds. Each round is
compared with the plain loader (benchmarks/plain_data.py) of the same round: CPU seconds of one process with one thread.
Writes benchmarks/results/data.json. The exit status is 1 if a ratio or a difference in pixels misses its promise.
"""

import argparse
import contextlib
import io
import json
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

from apps.drawing import VideoWriter
from benchmarks.machine import describe_machine
from benchmarks.plain_data import load_clip
from dataloader import pack
from dataloader.annotation import Clip, frame_names, read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views, boxes_of
from dataloader.frames import decode_frame
from dataloader.sampling import choose_frames
from dataloader.sources import open_source
from dataloader.transforms import sample_augmentation
from engine.device import augment
from simulate import Settings, write_set

RESULT = Path(__file__).parent / "results" / "data.json"
PROMISED = {  # smallest ratio to the speed of the plain loader
    "exact": 2,
    "scaled, face at full resolution": 2,
    "scaled, half resolution is enough": 3,
    "jpeg pack": 15,
    "jpeg pack, training, rotated by the worker": 10,
    "jpeg pack, training, augmented on the device": 15,
    "raw pack": 150,
    "raw pack, training, rotated by the worker": 20,
    "raw pack, training, augmented on the device": 150,
}
NEAR = 2.0  # largest allowed mean absolute difference of scaled pixels, of 255
Reader = Callable[[int], Any]  # reads the clip with this number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: 5)")
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        clips, close = simulate_clips(Path(folder))
        far = replace(close, face_boxes=small_faces(close.face_boxes))
        packs, videos = make_packs(Path(folder), clips, far), make_videos(Path(folder), clips)
        rows = measure(clips, {"far": far, "close": close}, packs, videos, rounds)
        sizes = {
            "JPEG frames": sum(path.stat().st_size for clip in clips for path in clip.paths),
            "videos": sum(clip.folder.stat().st_size for clip in videos),
            **{f"{kind} pack": sum(f.stat().st_size for f in Path(pack).glob("*.bin")) for kind, pack in packs.items()},
        }
        differences = compare(clips, {"far": far, "close": close}, packs)
        packing = measure_packing(clips, far)
    missed = show(rows, differences)
    print("\npacking on one core: " + ", ".join(f"{name} {value}" for name, value in packing.items()))
    machine = describe_machine() | {"opencv": cv2.__version__, "pillow": PIL.__version__, "numpy": np.__version__}
    content = {"command": "python -m benchmarks.data", "machine": machine, "rounds": rounds, "clips": len(clips)}
    megabytes = {name: round(size / len(clips) / 1e6, 2) for name, size in sizes.items()}
    content["megabytes per clip"] = megabytes
    print("\nmegabytes per clip: " + ", ".join(f"{name} {size}" for name, size in megabytes.items()))
    content |= {"packing": packing, "ways": rows, "differences": differences}
    RESULT.write_text(json.dumps(content, indent=2) + "\n")
    return 1 if missed else 0


def simulate_clips(root: Path) -> tuple[list[Clip], Views]:
    """Write clips of 16 frames; return them with views whose face boxes are so large that half resolution is enough."""
    write_set(root / "set", Settings(clips=10, persons=4, frames=16, width=1920, height=1080), workers=2)
    set_root = str(root / "set")
    classes = load_classes("RAER")
    clips = [c for name in ("train", "test") for c in read_annotation(f"annotation/{name}.txt", set_root, classes)][:6]
    faces = read_face_boxes("annotation/face.json", set_root)
    wide_boxes = {
        key: {name: (700.0, 100.0, 1200.0, 640.0) for name in clip.frames} for clip in clips for key in [clip.key]
    }
    faces = {clip.key: wide_boxes[clip.key] | faces.get(clip.key, {}) for clip in clips}
    close = {key: {name: square_around(box, 520) for name, box in boxes.items()} for key, boxes in faces.items()}
    return clips, Views(root=set_root, face_boxes=close, body_boxes=read_body_boxes("annotation/body.json", set_root))


def square_around(box: tuple[float, ...], size: float) -> tuple[float, ...]:
    """Return a square of ``size`` pixels around the middle of the box, moved inside the frame where necessary."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    x1, y1 = min(max(x - size / 2, 0), 1920 - size), min(max(y - size / 2, 0), 1080 - size)
    return x1, y1, x1 + size, y1 + size


def small_faces(boxes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return faces of 260 pixels, 300 with their margin, which need the full resolution of the frame."""
    return {key: {name: square_around(box, 260) for name, box in faces.items()} for key, faces in boxes.items()}


def make_packs(root: Path, clips: list[Clip], views: Views) -> dict[str, str]:
    """Write a JPEG and a raw pack of the clips; return their folders by format."""
    (root / "face.json").write_text(json.dumps(views.face_boxes))
    packs = {}
    for kind in ("jpeg", "raw"):
        packs[kind] = str(root / kind)
        flags = f"--out {packs[kind]} --format {kind} --root-dir {views.root} --workers 2"
        flags += " --train-annotation annotation/train.txt --test-annotation annotation/test.txt"
        flags += f" --bounding-box-face {root}/face.json --bounding-box-body annotation/body.json"
        with contextlib.redirect_stdout(io.StringIO()):
            if pack.main(flags.split()):
                raise RuntimeError(f"the {kind} pack was not written")
    return packs


def measure_packing(clips: list[Clip], views: Views, repeats: int = 3) -> dict[str, float]:
    """Return how fast one core makes the JPEGs of a pack, and the share of that time that decodes the frames.

    The rest resizes the crops, encodes them, and hashes the files.
    """
    dataset, seconds = pack.ClipCrops(clips, views, pack.PackOptions()), {"pack": [], "decode": []}
    for _ in range(repeats):
        for number, clip in enumerate(clips):
            started = time.process_time()
            dataset[number]
            seconds["pack"].append(time.process_time() - started)
            started = time.process_time()
            for path in clip.paths:
                decode_frame(path)
            seconds["decode"].append(time.process_time() - started)
    total, decoding = sum(seconds["pack"]), sum(seconds["decode"])
    return {
        "clips per second": round(len(seconds["pack"]) / total, 2),
        "frames per second": round(repeats * sum(len(clip.frames) for clip in clips) / total, 1),
        "share of decoding": round(decoding / total, 2),
    }


def make_videos(root: Path, clips: list[Clip]) -> list[Clip]:
    """Write each clip as an H.264 video of its frames, and return the same clips as videos."""
    videos = []
    for number, clip in enumerate(clips):
        file = root / f"{number}.mp4"
        with VideoWriter(file, 25, (1920, 1080)) as writer:
            for index, path in enumerate(clip.paths):
                writer.add(index / 25, decode_frame(path)[0])
        videos.append(replace(clip, folder=file, frames=frame_names(len(clip.frames)), is_video=True))
    return videos


def make_readers(
    clips: list[Clip], views: dict[str, Views], packs: dict[str, str], videos: list[Clip]
) -> dict[str, tuple[str, Reader]]:
    """Return each reader by its name, with the name of the plain reader that it is compared with."""
    far, close = views["far"], views["close"]

    def reader(view: Views, clips: list[Clip] = clips, **options: Any) -> Reader:
        dataset = ClipDataset(clips, view, open_source(view), **options)
        return lambda clip: dataset[0, clip, clip]

    training = {"training": True}
    readers: dict[str, tuple[str, Reader]] = {
        "plain": ("plain", lambda clip: read_plainly(clips[clip], far)),
        "plain, close": ("plain, close", lambda clip: read_plainly(clips[clip], close)),
        "plain, training": ("plain, training", lambda clip: read_plainly(clips[clip], far, clip)),
        "exact": ("plain", reader(far)),
        "exact, training": ("plain, training", reader(far, **training)),
        "exact, training, augmented on the device": ("plain, training", reader(far, **training, augment="device")),
        "exact, from a video of the frames": ("plain", reader(far, clips=videos)),
        "scaled, face at full resolution": ("plain", reader(replace(far, decode="scaled"))),
        "scaled, half resolution is enough": ("plain, close", reader(replace(close, decode="scaled"))),
    }
    for kind, folder in packs.items():
        packed = replace(far, pack=folder)
        readers[f"{kind} pack"] = ("plain", reader(packed))
        readers[f"{kind} pack, training, rotated by the worker"] = ("plain, training", reader(packed, **training))
        on_device = reader(packed, **training, augment="device")
        readers[f"{kind} pack, training, augmented on the device"] = ("plain, training", on_device)
    return readers


def read_plainly(clip: Clip, views: Views, position: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip as the plain loader reads it; with ``position``, a training clip that is rotated and mirrored."""
    indexes = choose_frames(len(clip.frames), views.segments, 1, "whole", np.random.default_rng(0), False)
    faces, body = boxes_of(clip, views)
    changes = {}
    if position is not None:
        augmentation = sample_augmentation(np.random.default_rng(position))
        changes = {"angles": (augmentation.angle,) * 2, "flips": (augmentation.flip,) * 2}
    return load_clip([clip.frame_path(i) for i in indexes], [faces[i] for i in indexes], body, views.size, **changes)


def measure(
    clips: list[Clip], views: dict[str, Views], packs: dict[str, str], videos: list[Clip], rounds: int
) -> dict[str, Any]:
    """Return the speed of every reader. Readers take turns, so that other load on the machine affects all of them."""
    readers = make_readers(clips, views, packs, videos)
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(rounds + 1):
        for name, (_, read) in readers.items():
            repeats = 1 if name.startswith(("plain", "exact", "scaled")) else 5
            started = time.process_time()
            for clip in list(range(len(clips))) * repeats:
                read(clip)
            if number:  # the first round is a warm-up
                seconds[name].append((time.process_time() - started) / repeats / len(clips))
    rows = {}
    for name, (plain, _) in readers.items():
        ratios = [slow / fast for slow, fast in zip(seconds[plain], seconds[name], strict=True)]
        rows[name] = {
            "clips per second": round(1 / statistics.median(seconds[name]), 2),
            "ratio": round(statistics.median(ratios), 2),
            "spread": [round(min(ratios), 2), round(max(ratios), 2)],
            "of": plain,
        }
    return rows


def compare(clips: list[Clip], views: dict[str, Views], packs: dict[str, str]) -> dict[str, float]:
    """Return the mean absolute differences, of 255, to the plain loader's pixels, for the worst clip and stream."""
    far, close = views["far"], views["close"]
    cases = {
        "exact": (far, far),
        "scaled, face at full resolution": (replace(far, decode="scaled"), far),
        "scaled, half resolution is enough": (replace(close, decode="scaled"), close),
        "jpeg pack": (replace(far, pack=packs["jpeg"]), far),
        "raw pack": (replace(far, pack=packs["raw"]), far),
    }
    worst = dict.fromkeys([*cases, "rotated at 224 pixels: face", "rotated at 224 pixels: context"], 0.0)
    for name, (view, plain) in cases.items():
        dataset = ClipDataset(clips, view, open_source(view))
        for number, clip in enumerate(clips):
            item, expected = dataset[0, 0, number], read_plainly(clip, plain)
            for stream, pixels in zip(("face", "context"), expected, strict=True):
                worst[name] = max(worst[name], difference(item[stream].numpy(), pixels))
    worker = ClipDataset(clips, far, training=True)
    device = ClipDataset(clips, far, training=True, augment="device")
    for number in range(len(clips)):
        expected, item = worker[0, number, number], device[0, number, number]
        angles = {name: item[name][None] for name in ("angle", "flip", "face_sizes")}
        for view, stream in enumerate(("face", "context")):
            rotated = augment(item[stream][None], angles, view)[0]
            name = f"rotated at 224 pixels: {stream}"
            worst[name] = max(worst[name], difference(rotated.numpy(), expected[stream].numpy()))
    return {name: round(value, 3) for name, value in worst.items()}


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def show(rows: dict[str, Any], differences: dict[str, float]) -> list[str]:
    """Print the table; return the names of the rows that miss their promise."""
    missed = []
    print(f"{'':<48} {'clips/s':>8} {'ratio':>7}   spread")
    for name, row in rows.items():
        promise = PROMISED.get(name)
        is_missed = promise is not None and row["ratio"] < promise
        missed += [name] if is_missed else []
        low, high = row["spread"]
        note = f"   promised: {promise}" + ("  MISSED" if is_missed else "") if promise else ""
        print(f"{name:<48} {row['clips per second']:>8.2f} {row['ratio']:>7.2f}   {low:.2f}-{high:.2f}{note}")
    print("\nmean absolute difference to the plain loader, of 255 (the worst clip and stream)")
    for name, value in differences.items():
        is_missed = value > (0 if name in ("exact", "raw pack") else NEAR) and name in PROMISED
        missed += [name] if is_missed else []
        print(f"{name:<48} {value:>8.3f}{'  MISSED' if is_missed else ''}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
