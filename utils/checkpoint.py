"""Write checkpoints of tensors and plain values atomically, and read them without running code from the file."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import torch

from utils.archive import MAX_HEADER_BYTES, read_archive, read_safetensors, write_safetensors
from utils.checksum import CHECKSUM
from utils.errors import UserError, first_line
from utils.files import atomic_write, write_json, write_text
from utils.hub import CARD, CLASSES, CONFIG, WEIGHTS, is_folder, local_folder
from utils.json_files import parse_json, read_bytes

FORMAT = 1
CONTENT = "checkpoint"  # the entry of a safetensors header that holds everything but the tensors
PREVIOUS = ".previous"
AGAIN = "download the folder again, or write it again with --mode convert --format hub"


class NamedClass(TypedDict):
    name: str


class FolderClasses(TypedDict):
    """What a classes.json beside weights needs; its texts are checked by whoever reads them."""

    label_base: int
    classes: list[NamedClass]


class FolderConfig(TypedDict):
    """What a config.json beside weights needs to be told from others; the rest is checked as in every checkpoint."""

    format: int
    family: str
    config: dict[str, Any]
    classes: list[str]
    label_base: int
    weights_checksum: str


def save_checkpoint(content: dict[str, Any], path: Path, *, keep_previous: bool = False) -> None:
    """Write a torch file atomically; ``keep_previous`` renames the old file to ``previous_of(path)``."""
    write_whole(path, lambda temporary: torch.save(content, temporary), keep_previous)


def save_safetensors(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint as safetensors, which has no pickle: everything except tensors is JSON in the header."""
    rest = {key: value for key, value in content.items() if key != "model"}
    write_whole(path, lambda temporary: write_safetensors(content["model"], temporary, {CONTENT: json.dumps(rest)}))


def save_folder(content: dict[str, Any], classes: dict[str, Any], card: str, folder: Path) -> None:
    """Write the same checkpoint as a folder for the Hugging Face hub.

    All but the tensors is in config.json, which is written last: without it the folder cannot be read.
    """
    weights = folder / WEIGHTS
    write_whole(weights, lambda temporary: write_safetensors(content["model"], temporary, {"format": "pt"}))
    rest = {key: value for key, value in content.items() if key != "model"}
    write_json(folder / CLASSES, classes)
    write_text(folder / CARD, card)
    write_json(folder / CONFIG, rest | {"weights_checksum": read_safetensors(weights)[1][CHECKSUM]})


def write_whole(path: Path, write: Callable[[Path], None], keep_previous: bool = False) -> None:
    """Write ``path`` atomically by ``write(temporary)``; a failure raises a UserError and keeps the old file."""
    try:
        with atomic_write(path, flush=True, keep_as=previous_of(path) if keep_previous else None) as temporary:
            try:
                write(temporary)
            except RuntimeError:
                write_more(temporary)
                raise
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written ({_reason(error, path)}); the file there is unchanged") from None


def write_more(path: Path) -> None:
    """Append to a file that torch could not write, so that the system raises its error for a full disk."""
    with open(path, "ab") as file:
        file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())


def _reason(error: Exception, path: Path) -> str:
    """Return the message of the system, or, without one, the free space and the message of torch."""
    if not path.parent.is_dir():
        return "its folder no longer exists"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{shutil.disk_usage(path.parent).free / 1e6:.0f} MB are free there; {first_line(error)[:60]}"


def previous_of(path: Path) -> Path:
    """Return the path of the checkpoint before ``path``: last.pt → last.previous.pt."""
    return path.with_name(path.stem + PREVIOUS + path.suffix)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the table in a checkpoint of any origin: a torch file, safetensors with the rest in its header, a folder
    of ``save_folder``, or the name of one on the Hugging Face hub."""
    if is_folder(path):
        return read_folder(local_folder(path))
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file")
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        if CONTENT not in metadata:
            return tensors
        return parse_json(metadata[CONTENT], dict[str, Any], str(path)) | {"model": tensors}
    content = read_archive(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint: it holds a {type(content).__name__}, expected a table")
    return content


def read_folder(folder: Path) -> dict[str, Any]:
    """Return the table in a folder of ``save_folder``, whose files must belong together."""
    if (folder / "best.pt").is_file() and not (folder / WEIGHTS).exists():
        raise UserError(f"{folder}: a run folder; name the checkpoint in it, {folder / 'best.pt'}")
    with advice_on_folder(folder):
        for name in (CONFIG, CLASSES, WEIGHTS):
            if not (folder / name).is_file():
                raise UserError(f"{folder / name}: no such file, so the folder holds no whole checkpoint")
        content = read_small_json(folder / CONFIG, FolderConfig)
        classes = read_small_json(folder / CLASSES, FolderClasses)
        names = [entry["name"] for entry in classes["classes"]]
        if names != content["classes"] or classes["label_base"] != content["label_base"]:
            raise UserError(f"{folder / CLASSES}: its names and label_base are not those in {CONFIG}")
        tensors, metadata = read_safetensors(folder / WEIGHTS)
        if metadata.get(CHECKSUM) != content.pop("weights_checksum"):
            raise UserError(f"{folder / WEIGHTS}: not the weights that {CONFIG} was written for (weights_checksum)")
    data = content["config"].get("data")
    if isinstance(data, dict) and data.get("class_texts"):  # a file of whoever trained the model
        content["config"]["data"] = data | {"class_texts": str(folder / CLASSES)}
    return content | {"model": tensors}


def read_small_json(path: Path, kind: Any) -> Any:
    """Return the content of a JSON file that somebody else wrote, as large as a header of safetensors at most."""
    return parse_json(read_bytes(path, MAX_HEADER_BYTES), kind, str(path))


@contextmanager
def advice_on_folder(path: Path) -> Iterator[None]:
    """Say what to do where a folder of ``save_folder`` is damaged; about files nothing is added."""
    try:
        yield
    except UserError as error:
        raise (UserError(f"{error}; {AGAIN}") if is_folder(path) else error) from None


def is_checkpoint_folder(folder: Path) -> bool:
    """Return whether a folder is one of ``save_folder``, whole or not, or a run's; any other may be a CLIP."""
    if (folder / CLASSES).is_file() or (folder / "best.pt").is_file():
        return True
    return (folder / CONFIG).is_file() and "family" in read_small_json(folder / CONFIG, dict[str, Any])


def load_checkpoint(path: Path, needed: tuple[str, ...]) -> dict[str, Any]:
    """Return the content of a checkpoint of this project; raise a UserError if it lacks an entry in ``needed``."""
    content = read_checkpoint(path)
    missing = [key for key in needed if key not in content]
    if missing:
        raise UserError(f"{path}: not a checkpoint of this project (lacks {', '.join(missing)})")
    return content


def hash_tensors(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def halve_where_exact(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state with every float32 tensor in half precision if that loses no bits, as for CLIP's weights."""
    halved = dict(state)
    for name, tensor in state.items():
        if tensor.dtype == torch.float32 and torch.equal(tensor.half().float(), tensor):
            halved[name] = tensor.half()
    return halved


def to_full(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state with all floating-point tensors in float32."""
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
