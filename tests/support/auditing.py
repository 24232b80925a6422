"""A small set without errors, with 2 classes and 6 persons, and its audit."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from dataloader.audit.__main__ import main

NAMES = ("1.png", "2.png", "3.png")


class SmallSet:
    """8 training clips of P1 and P2, 40 test clips of P3 to P6: 20 of each class, enough for no warning."""

    def __init__(self, root: Path) -> None:
        self.root, self.rng = root, np.random.default_rng(0)
        self.clips: dict[str, list[str]] = {"train": [], "test": []}
        for number in range(48):
            split, person = ("train", 1 + number // 4) if number < 8 else ("test", 3 + (number - 8) // 10)
            self.add(split, f"RAER/P{person}/{number:03d}", number % 2)
        self.classes = {"label_base": 0, "classes": [{"name": "calm"}, {"name": "glad"}]}
        self.flags: list[str] = []

    def add(self, split: str, clip: str, label: int) -> None:
        self.draw(self.root / clip)
        self.clips[split].append(f"{clip} 3 {label}")

    def draw(self, folder: Path, names=NAMES, size=24) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            pixels = self.rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)

    def folder(self, split: str, number: int) -> Path:
        return self.root / self.clips[split][number].split()[0]

    def boxes(self, kind: str, change=lambda boxes: boxes) -> None:
        clips = [line.split()[0] for lines in self.clips.values() for line in lines]
        box = {"face": {name: [1, 1, 9, 9] for name in NAMES}, "body": [0, 0, 20, 20]}[kind]
        (self.root / f"{kind}.json").write_text(json.dumps(change({clip: box for clip in clips})))
        self.flags += [f"--bounding-box-{kind}", f"{kind}.json"]

    def arguments(self) -> list[str]:
        for split, lines in self.clips.items():
            if not (self.root / f"{split}.txt").exists():
                (self.root / f"{split}.txt").write_text("\n".join(lines) + "\n")
        (self.root / "classes.json").write_text(json.dumps(self.classes))
        lists = [word for split in self.clips for word in (f"--{split}-annotation", f"{split}.txt")]
        return ["--root-dir", str(self.root), "--class-texts", str(self.root / "classes.json"), *lists, *self.flags]

    def audit(self, *more: str) -> dict:
        return audit_report([*self.arguments(), *more], self.root / "audit.json")


def audit_report(arguments: list[str], file: Path) -> dict:
    """Return what an audit that must end with status 0 writes to ``--json``."""
    assert main([*arguments, "--json", str(file)]) == 0
    return json.loads(file.read_text())


def counts_of(report: dict) -> dict[str, int]:
    """Return {kind: count} of the findings; each kind may occur once."""
    counts = {finding["kind"]: finding["count"] for finding in report["findings"]}
    assert len(counts) == len(report["findings"]), report["findings"]
    return counts
