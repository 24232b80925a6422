"""Captions of clips, one sentence each, from a JSON file: {clip: sentence, or list of sentences}."""

from typing import Any

from dataloader.classes import read_json
from dataloader.paths import clip_key, resolve_path
from utils.errors import UserError


def read_captions(file: str, root: str | None) -> dict[str, str]:
    """{clip key, or the key with ``_`` for ``/``: sentence}; of several sentences the first."""
    path = resolve_path(file, root)
    stored = read_json(path)
    if not isinstance(stored, dict) or not stored:
        raise UserError(f"{path}: expected captions by clip, {{clip: sentence}}")
    captions: dict[str, str] = {}
    for written, value in stored.items():
        key, caption = clip_key(written, root), _sentence(value, f"{path}: {written!r}")
        if captions.setdefault(key, caption) != caption:
            raise UserError(f"{path}: two different captions for the clip {key!r}; keep one")
    return captions


def _sentence(value: Any, where: str) -> str:
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, str) or not first.strip():
        raise UserError(f"{where}: expected a sentence or a list of sentences, got {value!r}")
    return first.strip()
