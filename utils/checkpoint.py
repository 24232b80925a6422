"""Checkpoints: tensors and primitives only, written whole or not at all, read without running code from the file."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from utils.archive import first_line, read_archive, read_safetensors
from utils.errors import UserError
from utils.files import atomic_write

FORMAT = 1
CONTENT = "checkpoint"  # the entry of a safetensors header that holds what is no tensor
PREVIOUS = ".previous"


def save_checkpoint(content: dict[str, Any], path: Path, *, keep_previous: bool = False) -> None:
    """A reader sees the old file or the new one, never half of one; the old one can stay beside it."""
    write_whole(path, lambda temporary: torch.save(content, temporary), keep_previous)


def write_whole(path: Path, write: Callable[[Path], None], keep_previous: bool = False) -> None:
    """Write a file through ``atomic_write``; with ``keep_previous`` the old file is renamed, not replaced."""
    try:
        with atomic_write(path, flush=True, keep_as=previous_of(path) if keep_previous else None) as temporary:
            write(temporary)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{path}: cannot be written ({_reason(error, path)}); what was there before is untouched"
        ) from None


def _reason(error: Exception, path: Path) -> str:
    """What the system says; torch hides it, so the room that is left is said instead."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if not path.parent.is_dir():
        return "its folder is gone"
    return f"{shutil.disk_usage(path.parent).free / 1e6:.0f} MB are free there; {first_line(error)[:60]}"


def previous_of(path: Path) -> Path:
    """Where the checkpoint before ``path`` is kept: last.pt → last.previous.pt."""
    return path.with_name(path.stem + PREVIOUS + path.suffix)


def hash_tensors(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def halve_where_exact(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors that lose nothing in half precision, as released CLIP weights do, in half precision."""

    def smallest(tensor: torch.Tensor) -> torch.Tensor:
        half = tensor.half()
        return half if tensor.dtype == torch.float32 and torch.equal(half.float(), tensor) else tensor

    return {name: smallest(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def to_full(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The table in a checkpoint, ours or another's: a torch file, or our safetensors with the rest in its header."""
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file")
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        if CONTENT not in metadata:
            return tensors
        try:
            content = json.loads(metadata[CONTENT])
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: damaged: its header is not JSON ({first_line(error)})") from None
        content = content if isinstance(content, dict) else {}
        return content | {"model": tensors}
    content = read_archive(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint: it holds a {type(content).__name__}, expected a table")
    return content


def load_checkpoint(path: Path, needed: tuple[str, ...]) -> dict[str, Any]:
    """A checkpoint of ours; anything else ends in one line."""
    content = read_checkpoint(path)
    missing = [key for key in needed if key not in content]
    if missing:
        raise UserError(f"{path}: not a checkpoint of this project (lacks {', '.join(missing)})")
    return content


def save_safetensors(content: dict[str, Any], path: Path) -> None:
    """The same checkpoint as safetensors: no pickle at all; what is no tensor goes into the header as JSON."""
    from safetensors.torch import save_file

    rest = {key: value for key, value in content.items() if key != "model"}
    tensors = {name: tensor.contiguous() for name, tensor in content["model"].items()}
    write_whole(path, lambda temporary: save_file(tensors, temporary, {CONTENT: json.dumps(rest)}))
