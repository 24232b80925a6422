"""What is known of a drawn clip besides its pictures, and how lists of clips are written."""

from dataclasses import dataclass
from pathlib import Path

from simulate.change import Change
from simulate.engagement import Levels
from simulate.moment import Moment
from simulate.plan import Slot


@dataclass(frozen=True)
class Shown:
    """One drawn clip."""

    slot: Slot
    moments: tuple[Moment, ...]
    change: Change
    face_box: list[int]  # left, top, right, bottom in whole pixels: the face is inside in every frame
    levels: Levels | None  # where engagement is the label

    @property
    def line(self) -> str:
        """``path frames label``, the label from 0."""
        return f"{self.slot.folder} {len(self.moments)} {self.slot.label}"


def in_list(clips: list[Shown], name: str) -> list[Shown]:
    """The clips of one list, or the test clips of one fold."""
    return [clip for clip in clips if clip.slot.list_name == name]


def out_of_list(clips: list[Shown], name: str) -> list[Shown]:
    """The train clips of one fold."""
    return [clip for clip in clips if clip.slot.list_name != name]


def write_lines(path: Path, lines: list[str], end: str = "\n", encoding: str = "utf-8") -> None:
    """One line each, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
