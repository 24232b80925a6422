"""What is noted of each video of a prepared set: a file a video, below ``.prepared/videos``."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataloader.prepare.videos import NOTES

IMAGES = "images"
FOLDER = re.compile(rf"{IMAGES}/[^/.][^/]*/[^/.][^/]*")  # of a clip
NUMBER = (int, float)
CLIP = {"folder": str, "person": str, "frames": int, "part": int, "from": NUMBER, "to": NUMBER, "faces": dict}


@dataclass(frozen=True, eq=False)
class Stored:
    """The note of one video: its clips, where it lies, what they depend on; nothing but a name where it is damaged."""

    name: str
    made: dict[str, Any] | None

    @property
    def is_damaged(self) -> bool:
        return self.made is None

    @property
    def place(self) -> str | None:
        return self.made and self.made["path"]

    @property
    def basis(self) -> dict[str, Any] | None:
        return self.made and self.made["source"]

    @property
    def stamp(self) -> str | None:
        return self.basis and self.basis["stamp"]


def note_of(out: Path, name: str) -> Path:
    return out / NOTES / "videos" / f"{name}.json"


def read_notes(out: Path) -> list[Stored]:
    return [read_note(path) for path in sorted(note_of(out, "x").parent.glob("*.json"))]


def read_note(path: Path) -> Stored:
    made = read_json(path)
    return Stored(path.stem, made if _is_sound(made) else None)


def _is_sound(made: Any) -> bool:
    """As it was written; anybody may have edited it since."""
    try:
        clips, rows = made["clips"], made["dropped"]
        return (
            isinstance(made["path"], str)
            and isinstance(made["source"]["stamp"], str)
            and isinstance(made["damaged"], str | None)
            and all(isinstance(row, dict) and {*row} == {"from", "to", "reason"} for row in rows)
            and all(isinstance(clip[key], kind) for clip in clips for key, kind in CLIP.items())
            and all(isinstance(clip["body"], list | None) for clip in clips)
            and all(map(FOLDER.fullmatch, made["before"] + [clip["folder"] for clip in clips]))
            and all(0 <= clip["part"] < len(made["source"]["spans"]) for clip in clips if "spans" in made["source"])
        )
    except (KeyError, TypeError):
        return False


def read_json(path: Path) -> Any:
    """None where nobody can."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content) + "\n")


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
