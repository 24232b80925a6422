"""What a data set says of itself, in a sentence of its ``about.json``: that it is drawn, for one."""

import json
from pathlib import Path


def set_note(root: str | None) -> str | None:
    try:
        note = json.loads((Path(root or ".") / "about.json").read_text(encoding="utf-8"))["note"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return note if isinstance(note, str) else None
