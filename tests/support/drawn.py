"""Small simulated sets in the layouts of published ones, their flags, and the true classes of their clips."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.train import Trainer
from simulate import LayoutSettings, write_set
from tests.support.resuming import at, on_call
from tests.support.tools import RANDOM_CLIP

QUICK = [*RANDOM_CLIP, *"--workers 0 --num-segments 2 --batch-size 8 --device cpu --epochs 1 --milestones".split()]
SMALL = {
    "dfew": LayoutSettings(layout="dfew", clips=40, persons=12, frames=3),
    "ferv39k": LayoutSettings(layout="ferv39k", clips=30, persons=6, frames=3),
    "mafw": LayoutSettings(layout="mafw", clips=75, persons=12, frames=3),
    "afew": LayoutSettings(layout="afew", clips=30, persons=6, frames=3),
    "caer": LayoutSettings(layout="caer", clips=60, persons=6, frames=2, width=160, height=120),
    "caer-s": LayoutSettings(layout="caer-s", clips=30, persons=6, width=160, height=120),
    "daisee": LayoutSettings(layout="daisee", clips=24, persons=6, frames=2, width=160, height=120),
    "engagenet": LayoutSettings(layout="engagenet", clips=30, persons=6, frames=2, width=160, height=120),
    "raf-db": LayoutSettings(layout="raf-db", clips=40, persons=6),
    "affectnet": LayoutSettings(layout="affectnet", clips=40, persons=6),
    "fer2013": LayoutSettings(layout="fer2013", clips=60, persons=6),
}
SEVEN = "happiness sadness neutral anger surprise disgust fear".split()
ELEVEN = "anger disgust fear happiness neutral sadness surprise contempt anxiety helplessness disappointment".split()
LEVELS = ["Very Low", "Low", "High", "Very High"]
ENGAGEMENT = ["Not Engaged", "Barely Engaged", "Engaged", "Highly Engaged"]
RAF_DB = "surprise fear disgust happiness sadness anger neutral".split()
AFFECTNET = "neutral happiness sadness surprise fear disgust anger contempt".split()
FOLDERS = {
    "Happy": "happiness", "Sad": "sadness", "Neutral": "neutral", "Angry": "anger", "Anger": "anger",
    "Surprise": "surprise", "Disgust": "disgust", "Fear": "fear",
}  # fmt: skip
COLOURS = ((230, 220, 40), (60, 60, 200), (128, 128, 128), (220, 30, 30), (240, 240, 240), (30, 160, 60), (20, 20, 20))
# the recipe of each way to read a set, the set, and the flags beside the recipe's
READERS = {
    "dfew": ("dfew", ["--fold", "2"]),
    "ferv39k": ("ferv39k", []),
    "mafw": ("mafw", ["--fold", "5"]),
    "mafw_captions": ("mafw", ["--fold", "4"]),
    "mafw_compound": ("mafw", ["--fold", "1"]),
    "afew": ("afew", []),
    "caer": ("caer", []),
    "caer_s": ("caer-s", ["--num-segments", "1"]),
    "daisee": ("daisee", []),
    "engagenet": ("engagenet", []),
    "raf_db": ("raf-db", ["--num-segments", "1"]),
    "affectnet": ("affectnet", ["--num-segments", "1"]),
}


def draw(name: str, root: Path) -> Path:
    """Write the small set of a layout to ``root``."""
    assert write_set(root, SMALL[name], workers=1)
    return root


def write_colours(root: Path, clips: int = 38) -> Path:
    """Write a set in DFEW's layout whose clips have one colour per class, which is learnt in a few steps."""
    rng, lines = np.random.default_rng(0), []
    for clip in range(clips):
        name = f"DFEW_Frame_Face/{clip + 1:05d}"
        (root / name).mkdir(parents=True)
        for frame in ("00001.png", "00002.png"):
            pixels = rng.normal(COLOURS[clip % 7], 30, size=(48, 48, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / frame)
        lines.append(f"{name} 2 {clip % 7}")
    (root / "annotation").mkdir()
    for fold in range(5):
        parts: dict[str, list[str]] = {"train": [], "test": []}
        for number, line in enumerate(lines):
            parts["test" if number // 7 % 5 == fold else "train"].append(line + "\n")
        for part, rows in parts.items():
            (root / f"annotation/DFEW_set_{fold + 1}_{part}.txt").write_text("".join(rows))
    return root


def flags(reader: str, root: Path) -> list[str]:
    """Flags of a quick run of a set's recipe on the simulated set."""
    return [f"@recipes/data/{reader}.args", "--root-dir", str(root), *QUICK, *READERS[reader][1]]


def files_of(root: Path) -> dict[str, bytes]:
    """The bytes of every file of a set, by path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rows_of(path: Path) -> list[list[str]]:
    """The cells of a list."""
    return [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]


def truth(reader: str, root: Path, fold: int = 0) -> dict[str, str]:
    """{clip: class} of the test list, read without the project's readers."""
    fold = fold or int((READERS[reader][1] or ["", "0"])[1])
    mafw = root / "Train_Test_Set/{}/no_caption_new" / f"set_{fold}/test.txt"
    if reader == "dfew":
        rows = rows_of(root / f"annotation/DFEW_set_{fold}_test.txt")
        return {path: SEVEN[int(label)] for path, _, label in rows}
    if reader.startswith("mafw"):
        return dict(rows_of(Path(str(mafw).format("compound" if "compound" in reader else "single"))))
    if reader == "afew":
        folders = (root / "AFEW_Face/validation").glob("*/*")
        return {folder.relative_to(root).as_posix(): FOLDERS[folder.parent.name] for folder in folders}
    if reader == "daisee":
        lines = (root / "DAiSEE/Labels/TestLabels.csv").read_text().splitlines()[1:]
        rows = [line.split(",") for line in lines]
        return {f"{clip[:6]}/{clip.removesuffix('.avi')}": LEVELS[int(level)] for clip, _, level, *_ in rows}
    if reader == "engagenet":
        lines = (root / "validation_engagement_labels.csv").read_text().splitlines()[1:]
        rows = [line.split(",") for line in lines]
        return {clip.removesuffix(".mp4"): label.replace("-", " ").title() for clip, label in rows}
    if reader == "raf_db":
        rows = rows_of(root / "basic/EmoLabel/list_patition_label.txt")
        return {name: RAF_DB[int(label) - 1] for name, label in rows if name.startswith("test")}
    if reader == "affectnet":
        lines = (root / "Manually_Annotated_file_lists/validation.csv").read_text().splitlines()
        rows = [line.split(",") for line in lines]
        return {row[0]: AFFECTNET[int(row[6])] for row in rows if row[6] != "10"}  # 10: no face
    rows = rows_of(root / "annotation" / ("test_image.txt" if reader == "ferv39k" else "test.txt"))
    return {row[0]: FOLDERS[row[0].split("/")[-2]] for row in rows}


def classes_in_columns(predictions: Path) -> list[str]:
    with open(predictions, newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    return [name.removeprefix("logit_") for name in header if name.startswith("logit_")]


def stop_at_step(patch: pytest.MonkeyPatch, number: int, act: Callable[[], Any]) -> None:
    """Act in the ``number``-th training step, counted from 1 over every run of a series."""
    on_call(patch, Trainer, "whole_step", before=at(number, act))
