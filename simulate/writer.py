"""A whole set on disk: drawn by several processes into a hidden folder that is renamed at the end."""

import json
import os
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from tqdm import tqdm

from simulate.files import write_json
from simulate.makers import AnySettings, maker_of
from simulate.plan import Settings, Slot
from utils.processes import ordered_map

FORMAT = 1


def write_set(out: Path | str, settings: AnySettings, workers: int | None = None) -> bool:
    """Write the set to ``out``; False if it is there already. ValueError if ``out`` cannot be written or holds else."""
    out = Path(out)
    if holds_set(out, settings):
        return False
    maker = maker_of(settings)
    slots = maker.plan(settings)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        hidden = TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent)
    except OSError as error:
        raise ValueError(f"--out {out}: cannot write there ({error.strerror})") from None
    # the workers end before the folder they write into is removed
    processes = min(workers or os.cpu_count() or 1, len(slots))
    with hidden as folder, ordered_map(processes, cv2.setNumThreads, 1, chunk=2) as run:
        root = Path(folder, "set")
        drawn = run(partial(_write_clip, root, settings), slots)
        bar = tqdm(drawn, total=len(slots), unit="clip", disable=not sys.stderr.isatty())
        maker.annotate(root, settings, list(bar))
        write_json(root / "about.json", _about(settings), indent=2)
        root.rename(out)
    return True


def holds_set(out: Path, settings: AnySettings) -> bool:
    """Whether ``out`` holds the set of these settings; ValueError if it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    advice = "choose another --out or remove it first"
    try:
        about = json.loads((out / "about.json").read_text(encoding="utf-8"))
        found = about["settings"] | {"format": about["format"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"--out {out} exists and is no set of this generator: {advice}") from None
    asked = {"layout": settings.layout} | settings.as_dict() | {"format": FORMAT}
    found = {"layout": Settings.layout} | found  # sets in RAER's layout do not name it
    names = ["layout"] if found["layout"] != asked["layout"] else list(asked)
    other = [f"{name} {found.get(name)} instead of {asked[name]}" for name in names if found.get(name) != asked[name]]
    if other:
        raise ValueError(f"--out {out} holds a set with {', '.join(other)}: {advice}")
    return True


def _write_clip(root: Path, settings: AnySettings, slot: Slot) -> object:
    """The record of the clip, its pictures written."""
    clip, files = maker_of(settings).draw(settings, slot)
    for path, data in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return clip


def _about(settings: AnySettings) -> dict:
    """The layout's own words with the format behind the note."""
    words = maker_of(settings).about(settings)
    return {"note": words.pop("note"), "format": FORMAT} | words | {"settings": settings.as_dict()}
