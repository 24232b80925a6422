"""A tiny set in Aff-Wild2's layout without pictures: smooth labels, and features from which they can be learnt."""

from pathlib import Path

import numpy as np
from PIL import Image

from dataloader.frame_labels import TASKS

VIDEOS = {"train": {"a": 90, "b_left": 70, "b_right": 70, "c": 25, "f": 80}, "validation": {"d": 75, "e": 18}}
SETS = {"train": "Train_Set", "validation": "Validation_Set"}
WIDTH = 6


def write_set(root: Path, seed: int = 0, width: int = WIDTH) -> list[str]:
    """Write labels below ``root`` and features to ``root/features``; return the flags that name both."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(5, width))
    (root / "features").mkdir(parents=True)
    for split, videos in VIDEOS.items():
        for id, frames in videos.items():
            course = draw_course(frames, rng)
            for task, rows in labels_of(course, rng).items():
                write_labels(root, task, split, id, rows)
            features = np.concatenate([course, course[:, :1] * course[:, 1:]], axis=1) @ mix
            np.save(root / f"features/{id}.npy", (features + 0.05 * rng.normal(size=features.shape)).astype(np.float16))
    return ["--root-dir", str(root), "--features", str(root / "features")]


def write_frames(root: Path, seed: int = 0) -> None:
    """Write frames of 24 pixels whose colour is the expression; one in eight is missing, and every frame of ``c``."""
    rng = np.random.default_rng(seed)
    for split, videos in VIDEOS.items():
        for id in videos:
            folder = root / "cropped_aligned" / id
            folder.mkdir(parents=True)
            lines = label_file(root, "expr", split, id).read_text(encoding="utf-8").splitlines()[1:]
            for number, line in enumerate(lines, 1):
                if id != "c" and rng.random() > 1 / 8:
                    pixels = rng.integers(0, 60, (24, 24, 3)) + 24 * (max(int(line), 0) + np.arange(3))
                    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:05d}.png")


def draw_course(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return slow waves (frames, 3); the last one decides the expression."""
    time = np.arange(frames)[:, None]
    return np.sin(time / rng.uniform(8, 20, 3) + rng.uniform(0, 7, 3))


def labels_of(course: np.ndarray, rng: np.random.Generator) -> dict[str, list[str]]:
    expression = np.clip(((course[:, 2] + 1) * 4).astype(int), 0, 7)
    active = (course[:, np.arange(12) % 3] > np.linspace(-0.5, 0.5, 12)).astype(int)
    is_unlabelled = rng.random(len(course)) < 0.1
    return {
        "va": [
            "-5,-5" if out else f"{v:.3f},{a:.3f}" for (v, a), out in zip(course[:, :2], is_unlabelled, strict=True)
        ],
        "expr": [str(-1 if out else e) for e, out in zip(expression, is_unlabelled, strict=True)],
        "au": [",".join(map(str, [-1] * 12 if out else row)) for row, out in zip(active, is_unlabelled, strict=True)],
    }


def write_labels(root: Path, task: str, split: str, id: str, rows: list[str]) -> None:
    path = label_file(root, task, split, id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(TASKS[task].names), *rows]) + "\n", encoding="utf-8")


def label_file(root: Path, task: str, split: str, id: str) -> Path:
    return root / "annotations" / TASKS[task].folders[0] / SETS[split] / f"{id}.txt"
