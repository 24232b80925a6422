"""The note of a data set about itself in its ``about.json``: that it is drawn, for one."""

import json
from pathlib import Path


def set_note(root: str | None) -> str | None:
    """Return the note, or None where the set has none."""
    try:
        note = json.loads((Path(root or ".") / "about.json").read_text(encoding="utf-8"))["note"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return note if isinstance(note, str) else None
