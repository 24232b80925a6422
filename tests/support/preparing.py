"""``python -m dataloader.prepare`` on videos of a red square, with a detector that finds it."""

from pathlib import Path

import numpy as np

from dataloader.prepare.__main__ import main
from tests.support.filming import film, picture, red_detector

PLAIN = ["--fps", "10", "--seconds", "1", "--no-audit"]


def run(*words: str | Path, capsys=None) -> tuple[int, str, str]:
    status = main([str(word) for word in words], make_detector=red_detector)
    return (status, *capsys.readouterr()) if capsys else (status, "", "")


def move(count: int, start: int = 10) -> list[np.ndarray]:
    """A face that goes to the right, a pixel a frame."""
    return [picture(start + n) for n in range(count)]


def listed(out: Path, name: str) -> list[list[str]]:
    return [line.split() for line in (out / f"annotation/{name}.txt").read_text(encoding="utf-8").splitlines()]


def film_classes(root: Path) -> Path:
    """Two classes of own names with two persons each, 2.5 seconds a video."""
    for name in ("Bored/anna", "Bored/ben", "Keen/anna", "Keen/cleo"):
        film(root / f"{name}/one.mp4", move(50, start=len(name)))
    return root


def clips(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out / "images")) for path in out.glob("images/*/*"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
