"""A tiny data set in RAER's layout, drawn with rectangles: some classes differ in the face, others in the hands."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("Neutrality", "Enjoyment", "Confusion", "Fatigue", "Distraction")
FACE = (60, 20, 100, 60)
BODY = (30.0, 10.0, 130.0, 110.0)
FACE_COLOURS = ((180, 150, 120), (230, 220, 40), (60, 60, 200), (40, 40, 40), (180, 150, 120))


def draw_frame(label: int, rng: np.random.Generator) -> Image.Image:
    """Return 160 × 120 pixels. Neutrality and Distraction have the same face; only Distraction holds something red."""
    pixels = rng.integers(80, 120, size=(120, 160, 3), dtype=np.uint8)
    x0, y0, x1, y1 = FACE
    pixels[y0:y1, x0:x1] = FACE_COLOURS[label]
    pixels[70:110, 40:120] = (90, 120, 90)
    if label == 4:
        pixels[75:105, 60:100] = (250, 20, 20)
    return Image.fromarray(pixels)


def write_clip(folder: Path, label: int, frames: int, rng: np.random.Generator, suffix: str = ".png") -> None:
    folder.mkdir(parents=True)
    for number in range(1, frames + 1):
        draw_frame(label, rng).save(folder / f"{number:05d}{suffix}", compress_level=0)  # noise does not get smaller


def write_set(root: Path, *, clips: int = 30, persons: int = 6, frames: int = 20, seed: int = 0) -> dict[str, str]:
    """Write a data set below ``root`` and return the flags that name its files."""
    rng = np.random.default_rng(seed)
    lines: dict[str, list[str]] = {"train": [], "test": []}
    faces, bodies = {}, {}
    for clip in range(clips):
        label, person = clip % 5, clip // 5 % persons
        split = "test" if person >= persons - 2 else "train"
        name = f"RAER/images/SelfStudy/Library/P{person:03d}/{clip:03d}"
        write_clip(root / name, label, frames, rng)
        lines[split].append(f"{name} {frames} {label + 1}")
        faces[name] = {f"{n:05d}.png": list(FACE) for n in range(1, frames + 1)}
        bodies[name] = list(BODY)
    (root / "annotation").mkdir()
    for split, rows in lines.items():
        (root / f"annotation/{split}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "annotation/face.json").write_text(json.dumps(faces), encoding="utf-8")
    (root / "annotation/body.json").write_text(json.dumps(bodies), encoding="utf-8")
    return {
        "--root-dir": str(root),
        "--train-annotation": "annotation/train.txt",
        "--test-annotation": "annotation/test.txt",
        "--bounding-box-face": "annotation/face.json",
        "--bounding-box-body": "annotation/body.json",
    }


def as_arguments(flags: dict[str, str]) -> list[str]:
    return [word for pair in flags.items() for word in pair]
