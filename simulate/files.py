"""JSON files of a set."""

import json
from pathlib import Path


def write_json(path: Path, content: dict, indent: int | None = None) -> None:
    """ASCII, with a line end."""
    path.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")
