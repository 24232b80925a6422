"""Checkpoints: tensors and primitives only, written whole or not at all, read without running code from the file."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from utils.errors import UserError


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """To a temporary file, flushed, then renamed: a reader sees the old file or the new one, never half of one."""
    temporary = path.with_name(path.name + ".part")
    try:
        with open(temporary, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written ({error}); the previous checkpoint, if any, is untouched") from None
    finally:
        temporary.unlink(missing_ok=True)  # renamed away unless something went wrong, Ctrl-C included


def halve_where_exact(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors that lose nothing in half precision, as released CLIP weights do, in half precision."""

    def smallest(tensor: torch.Tensor) -> torch.Tensor:
        half = tensor.half()
        return half if tensor.dtype == torch.float32 and torch.equal(half.float(), tensor) else tensor

    return {name: smallest(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def to_full(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def load_checkpoint(path: Path, needed: tuple[str, ...]) -> dict[str, Any]:
    """A checkpoint of ours; anything else ends in one line."""
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: not a checkpoint that can be read safely ({first[:120]})") from None
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{path}: not a checkpoint of this project (lacks {', '.join(missing)})")
    return content
