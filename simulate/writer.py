"""A whole set on disk: drawn by several processes into a hidden folder that is renamed at the end."""

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
from tqdm import tqdm

from simulate.settings import SetSettings, Slot
from utils.errors import UserError
from utils.processes import ordered_map

FORMAT = 1


def write_set(out: Path | str, settings: SetSettings, workers: int | None = None) -> bool:
    """Write the set to ``out`` and return whether it is new.

    UserError if ``out`` cannot be written or holds something else.
    """
    out = Path(out)
    if holds_set(out, settings):
        return False
    slots = settings.plan()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        hidden = TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent)
    except OSError as error:
        raise UserError(f"--out {out}: cannot write there ({error.strerror})") from None
    # The order matters: the workers end before the folder that they write into is removed.
    processes = min(workers or os.cpu_count() or 1, len(slots))
    with hidden as folder, ordered_map(processes, cv2.setNumThreads, 1, chunk=2) as run:
        root = Path(folder, "set")
        results = run(partial(_write_clip, root, settings), slots)
        settings.annotate(root, list(tqdm(results, total=len(slots), unit="clip", disable=not sys.stderr.isatty())))
        about = settings.about()
        about = {"note": about.pop("note"), "format": FORMAT, **about, "settings": asdict(settings)}
        write_json(root / "about.json", about, indent=2)
        root.rename(out)
    return True


def _write_clip(root: Path, settings: SetSettings, slot: Slot) -> Any:
    record, files = settings.draw(slot)
    for path, data in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return record


def holds_set(out: Path, settings: SetSettings) -> bool:
    """Return whether ``out`` holds the set of these settings; UserError if it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    advice = "choose another --out or remove it first"
    try:
        about = json.loads((out / "about.json").read_text(encoding="utf-8"))
        # Sets in RAER's layout do not name it.
        existing = {"layout": "raer"} | about["settings"] | {"format": about["format"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"--out {out} exists and is no set of this generator: {advice}") from None
    expected = {"layout": settings.layout} | asdict(settings) | {"format": FORMAT}
    names = ["layout"] if existing["layout"] != expected["layout"] else list(expected)
    changes = [f"{n} {existing.get(n)} instead of {expected[n]}" for n in names if existing.get(n) != expected[n]]
    if changes:
        raise UserError(f"--out {out} holds a set with {', '.join(changes)}: {advice}")
    return True


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write ASCII JSON with a line end, in a folder that is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")


def write_lines(path: Path, lines: list[str], end: str = "\n", encoding: str = "utf-8") -> None:
    """Write one line each, in a folder that is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
