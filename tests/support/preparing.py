"""``python -m dataloader.prepare`` on videos of a red square, with a detector that finds it."""

from pathlib import Path

import numpy as np

from dataloader.prepare.__main__ import main
from tests.support.filming import film, find_red, picture

FLAGS = ["--fps", "10", "--seconds", "1", "--no-audit"]


def run(*words: str | Path, detector=None, capsys=None) -> tuple[int, str, str]:
    """Return the exit status, and with ``capsys`` what was printed to stdout and stderr."""
    status = main([str(word) for word in words], make_detector=lambda *_: detector or find_red)
    return (status, *capsys.readouterr()) if capsys else (status, "", "")


def prepare(source: Path, out: Path, *words: str | Path, capsys=None) -> tuple[int, str, str]:
    return run(source, "--out", out, *FLAGS, *words, capsys=capsys)


def refusal(*words: str | Path, capsys) -> str:
    """Return the one line of a call that is refused."""
    status, _, err = run(*words, capsys=capsys)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    return err


def moving_face(count: int, start: int = 10) -> list[np.ndarray]:
    """Return frames with a face that moves to the right by one pixel per frame."""
    return [picture(start + n) for n in range(count)]


def film_face(path: Path, count: int = 20) -> Path:
    """Write a video of a moving face, 20 frames a second."""
    return film(path, moving_face(count))


def read_list(out: Path, *names: str) -> list[list[str]]:
    """Return the lines of lists, split; a list that does not exist has none."""
    files = [out / f"annotation/{name}.txt" for name in names]
    return [line.split() for file in files if file.exists() for line in file.read_text("utf-8").splitlines()]


def clip_folders(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out / "images")) for path in out.glob("images/*/*"))


def file_contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
