"""What a set is: settings that decide its bytes and are flags of the command, and the clips that follow from them."""

import zlib
from dataclasses import dataclass, field, fields
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from utils.errors import UserError


class Stream(IntEnum):
    """Random streams of a set: each purpose has its own, so that one more caption changes no frame."""

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
    """Return a field of settings that is also a flag: its help, and the bounds of a whole number."""
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class Slot:
    """One clip to be drawn."""

    number: int  # over the whole set
    list_name: str  # train, validation or test; with folds the fold, "1" to "5", whose test list it is in
    person: int  # 0-based
    room: str
    label: int  # 0-based; in RAER's layout what the annotators must agree on
    folder: str  # relative to the set
    blend: int | None = None  # the label of a second emotion that is shown at the same time


@dataclass(frozen=True)
class SetSettings:
    """Settings of one set. Each layout has a subclass, which knows how to plan, draw and annotate the set.

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
        """Return the clips of the set; no drawing here."""
        raise NotImplementedError

    def draw(self, slot: Slot) -> tuple[Any, dict[str, bytes]]:
        """Return the record of a clip, which ``annotate`` reads, and its image files by path.

        A pure function of settings and slot, whatever process runs it.
        """
        raise NotImplementedError

    def annotate(self, root: Path, records: list[Any]) -> None:
        """Write lists and labels beside the frames."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """Return what ``about.json`` says of the layout."""
        raise NotImplementedError

    def require(self, is_valid: bool, flag: str, expected: str) -> None:
        """Raise an error that names the flag, its value and the values that it may have."""
        if not is_valid:
            raise UserError(f"{flag} {getattr(self, flag[2:].replace('-', '_'))}: expected {expected}")

    def stream(self, purpose: Stream, number: int = 0) -> np.random.Generator:
        """Return the chance for one purpose of one person or clip; two layouts of one seed share nobody."""
        return np.random.default_rng((self.seed, zlib.crc32(self.layout.encode()), purpose, number))
