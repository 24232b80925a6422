"""Plan and write a set from its settings, which are the flags of the command and determine all its bytes.

Several processes draw it into a hidden folder, which is renamed at the end.
"""

import json
import os
import zlib
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import cv2
import numpy as np

from utils.errors import UserError
from utils.files import temporary_folder
from utils.json_files import read_json
from utils.processes import ordered_map
from utils.runlog import progress_bar

FORMAT = 1


class Stream(IntEnum):
    """Random streams of a set, one for each purpose, so that one more caption does not change a frame."""

    PLAN = 0
    PERSON = 1
    BEHAVIOUR = 2
    SCENE = 3
    NOISE = 4
    LEVELS = 5
    CAPTION = 6
    RATING = 7
    LENGTH = 20
    LOSSES = 21


def option(default: Any, text: str, low: int = 0, high: int | None = None) -> Any:
    """Return a field of settings that is also a flag, with its help and the bounds of a whole number."""
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class Slot:
    """One clip to draw."""

    number: int  # over the whole set
    list_name: str  # train, validation or test; with folds, the fold "1" to "5" in whose test list it is
    person: int  # 0-based
    room: str
    label: int  # 0-based; in RAER's layout the result of the vote
    folder: str  # relative to the set
    blend: int | None = None  # label of a second emotion that is shown at the same time


@dataclass(frozen=True)
class SetSettings:
    """Settings of one set. Each layout has a subclass that plans, draws and annotates the set.

    Every subclass has ``layout``, ``persons``, ``clips`` and ``seed``. Its fields are flags of ``python -m simulate``.
    """

    title: ClassVar[str]  # of the layouts with these settings, in help texts

    def __post_init__(self) -> None:
        for item in fields(self):
            value, flag = getattr(self, item.name), f"--{item.name.replace('_', '-')}"
            if item.name == "test_fraction":
                self.require(value is None or 0 < value < 1, flag, "a share between 0 and 1")
            elif isinstance(value, int):
                low, high = item.metadata["low"], item.metadata["high"]
                expected = f"{low} or more" if high is None else f"{low} to {high}"
                self.require(value >= low and (high is None or value <= high), flag, expected)

    def plan(self) -> list[Slot]:
        """Return the clips of the set, without drawing them."""
        raise NotImplementedError

    def draw(self, slot: Slot) -> tuple[Any, dict[str, bytes]]:
        """Return the record of a clip, which ``annotate`` reads, and its image files by path.

        It is a pure function of settings and slot, in any process.
        """
        raise NotImplementedError

    def annotate(self, root: Path, records: list[Any]) -> None:
        """Write lists and labels beside the frames."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """Return the part of ``about.json`` about the layout."""
        raise NotImplementedError

    def require(self, is_valid: bool, flag: str, expected: str) -> None:
        """Raise a UserError with the flag, its value and the allowed values, unless ``is_valid``."""
        if not is_valid:
            raise UserError(f"{flag} {getattr(self, flag[2:].replace('-', '_'))}: expected {expected}")

    def stream(self, purpose: Stream, number: int = 0) -> np.random.Generator:
        """Return the random stream for one purpose of a person or clip; layouts with one seed share no person."""
        return np.random.default_rng((self.seed, zlib.crc32(self.layout.encode()), purpose, number))


def write_set(out: Path | str, settings: SetSettings, workers: int | None = None) -> bool:
    """Write the set to ``out`` and return whether it is new.

    Raise a UserError if ``out`` cannot be written or holds something else.
    """
    out = Path(out)
    if holds_set(out, settings):
        return False
    slots = settings.plan()
    processes = min(workers or os.cpu_count() or 1, len(slots))
    with ExitStack() as files:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            folder = files.enter_context(temporary_folder(out.parent, f".{out.name}.", ".partial"))
        except OSError as error:
            raise UserError(f"--out {out}: cannot write there ({error.strerror})") from None
        # Entered last, so that the workers end before the folder that they write to is removed.
        run = files.enter_context(ordered_map(processes, cv2.setNumThreads, 1, chunk=2))
        root = folder / "set"
        results = run(partial(_write_clip, root, settings), slots)
        settings.annotate(root, list(progress_bar(results, len(slots), "clips")))
        about = settings.about()
        about = {"note": about.pop("note"), "format": FORMAT, **about, "settings": asdict(settings)}
        write_json(root / "about.json", about, indent=2)
        root.rename(out)
    return True


def _write_clip(root: Path, settings: SetSettings, slot: Slot) -> Any:
    record, files = settings.draw(slot)
    for folder in {os.path.dirname(path) for path in files}:
        os.makedirs(root / folder, exist_ok=True)
    for path, data in files.items():
        with open(f"{root}/{path}", "wb", buffering=0) as file:
            file.write(data)
    return record


class AboutSet(TypedDict):
    """The part of about.json about how the set was made."""

    settings: dict[str, Any]
    format: int


def holds_set(out: Path, settings: SetSettings) -> bool:
    """Return whether ``out`` holds the set of these settings; raise a UserError if it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    advice = "choose another --out or remove it first"
    try:
        about = read_json(out / "about.json", AboutSet)
    except UserError:
        raise UserError(f"--out {out} exists and is not a set of this generator; {advice}") from None
    # Sets in RAER's layout do not name their layout.
    existing = {"layout": "raer"} | about["settings"] | {"format": about["format"]}
    expected = {"layout": settings.layout} | asdict(settings) | {"format": FORMAT}
    names = ["layout"] if existing["layout"] != expected["layout"] else list(expected)
    changes = [f"{n} {existing.get(n)} instead of {expected[n]}" for n in names if existing.get(n) != expected[n]]
    if changes:
        raise UserError(f"--out {out} holds a set with {', '.join(changes)}; {advice}")
    return True


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write ASCII JSON with a line end, in a folder that is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")


def write_lines(path: Path, lines: list[str], end: str = "\n", encoding: str = "utf-8") -> None:
    """Write one line each, in a folder that is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
