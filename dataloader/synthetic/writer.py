"""A whole set on disk in RAER's layout: drawn by several processes into a hidden folder that is renamed at the end."""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from tqdm import tqdm

from .behaviour import EMOTIONS
from .boxes import frame_name
from .clip import Clip, draw_clip
from .plan import Settings, Slot, plan_set

FORMAT = 1
NOTE = "Drawings of simulated students, labelled by simulated annotators; they support no claim about RAER or people."


def write_set(out: Path | str, settings: Settings, workers: int | None = None) -> bool:
    """Write the set to ``out``; False if it is there already. ValueError if ``out`` cannot be written or holds else."""
    out = Path(out)
    if holds_set(out, settings):
        return False
    slots = plan_set(settings)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        hidden = TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent)
    except OSError as error:
        raise ValueError(f"--out {out}: cannot write there ({error.strerror})") from None
    # the workers end before the folder they write into is removed
    with hidden as folder, _workers(min(workers or os.cpu_count() or 1, len(slots))) as run:
        root = Path(folder, "set")
        drawn = run(partial(_write_clip, root, settings), slots)
        bar = tqdm(drawn, total=len(slots), unit="clip", disable=not sys.stderr.isatty())
        _write_annotation(root / "annotation", list(bar))
        _write_json(root / "about.json", _about(settings), indent=2)
        root.rename(out)
    return True


def holds_set(out: Path, settings: Settings) -> bool:
    """Whether ``out`` holds the set of these settings; ValueError if it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    advice = "choose another --out or remove it first"
    try:
        about = json.loads((out / "about.json").read_text(encoding="utf-8"))
        found = about["settings"] | {"format": about["format"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"--out {out} exists and is no set of this generator: {advice}") from None
    asked = settings.as_dict() | {"format": FORMAT}
    other = [f"{name} {found.get(name)} instead of {asked[name]}" for name in asked if found.get(name) != asked[name]]
    if other:
        raise ValueError(f"--out {out} holds a set with {', '.join(other)}: {advice}")
    return True


@contextmanager
def _workers(count: int) -> Iterator[Callable]:
    """A ``map`` over ``count`` processes that keeps the order; one process needs no pool."""
    if count == 1:
        yield map
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by the workers: only this process hears Ctrl-C
    try:
        pool = multiprocessing.get_context("spawn").Pool(count, cv2.setNumThreads, (1,))
    finally:
        signal.signal(signal.SIGINT, handler)
    with pool:  # leaving it, in whatever way, ends the workers
        yield partial(pool.imap, chunksize=2)


def _write_clip(root: Path, settings: Settings, slot: Slot) -> Clip:
    clip, pictures = draw_clip(settings, slot)
    folder = root / slot.folder
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures, start=1):
        (folder / frame_name(number)).write_bytes(picture)
    return clip


def _write_annotation(folder: Path, clips: list[Clip]) -> None:
    """Both lists, both box files and the votes."""
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        lines = [
            f"{clip.slot.folder} {clip.frames} {clip.slot.label + 1}\n" for clip in clips if clip.slot.list_name == name
        ]
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    _write_json(folder / "face.json", {clip.slot.folder: clip.face_boxes for clip in clips if clip.face_boxes})
    _write_json(folder / "body.json", {clip.slot.folder: clip.body_box for clip in clips if clip.body_box})
    rows = [",".join(("clip", "label", *EMOTIONS))]
    rows += [",".join(map(str, (clip.slot.folder, clip.slot.label + 1, *clip.votes))) for clip in clips]
    (folder / "votes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _about(settings: Settings) -> dict:
    return {"note": NOTE, "format": FORMAT, "classes": EMOTIONS, "settings": settings.as_dict()}


def _write_json(path: Path, content: dict, indent: int | None = None) -> None:
    path.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")
