"""Read tensor files from any source as plain data: torch archives, TorchScript archives and safetensors.

A torch archive is a zip: ``data.pkl`` describes the content, ``data/0``, ``data/1`` ... hold the bytes of tensors. No
code in the file is run, no loader that could run it is called, and no option changes this. Time and memory are limited:
the description of the tensors must be short, and its expanded content has a budget (``utils/safe_pickle.py``).
"""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from utils.checksum import CHECKSUM, EMPTY_CHECKSUM, require_intact, seal
from utils.errors import UserError, first_line, reason_of
from utils.safe_pickle import Budget, BudgetError, ScriptModule, UnsafePickleError, unpickle

MAX_PICKLE_BYTES = 4 * 2**20  # of data.pkl, without the tensors; published checkpoints need 0.2 MB
MAX_HEADER_BYTES = 4 * 2**20  # of safetensors; the header holds everything except the tensors
MAX_DIRECTORY_BYTES = 2 * 2**20  # of a zip, whose directory is read first; enough for 20,000 tensors
MAX_NAME_LENGTH = 1000
CHUNK_BYTES = 2**20  # bytes copied at a time, so that no tensor is in memory twice


def open_array(path: Path) -> np.ndarray:
    """Return the array of a ``.npy`` file as a memory map."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file; expected a .npy file of numbers")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception:  # NumPy parses the header as Python, which can raise many types of errors
        array = None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: cannot be read as a .npy file of numbers")
    return array


def read_archive(path: Path) -> Any:
    """Return what ``torch.save`` put into the file, or the ``{name: tensor}`` of a TorchScript archive or safetensors.

    Every error is a one-line UserError.
    """
    try:
        if not path.is_file():  # reading a pipe would wait forever
            raise UserError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}, expected a checkpoint")
        if path.suffix == ".safetensors":
            return read_safetensors(path)[0]
        with _ShortReads(path) as file:
            start = file.read(4)
            if start[:2] != b"PK":
                raise UserError(f"{path}: not a checkpoint: {_kind_of_file(start)}")
            with zipfile.ZipFile(file) as archive:
                return _TorchArchive(path, archive).load()
    except UserError:
        raise
    except UnsafePickleError as error:
        raise UserError(f"{path}: holds {error}, which is not data; the file was refused and nothing was run") from None
    except BudgetError as error:
        raise UserError(f"{path}: expands to {error}; refused (limits are in docs/checkpoints.md)") from None
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None
    except (Exception, MemoryError) as error:  # a damaged file can raise almost any error
        raise UserError(f"{path}: damaged, or not a torch file ({first_line(error)})") from None


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return ``({name: tensor}, metadata)``."""
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise UserError(
                f"{path}: not a valid safetensors file (a header of {length / 1e6:.0f} MB, "
                f"more than the {MAX_HEADER_BYTES / 1e6:.0f} MB allowed)"
            )
        require_intact(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata
    except UserError:
        raise
    except (SafetensorError, ValueError, MemoryError) as error:
        raise UserError(f"{path}: not a valid safetensors file ({first_line(error)})") from None
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None


def write_safetensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors and texts, with a checksum over all bytes of the file."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        save_file(contiguous, path, (metadata or {}) | {CHECKSUM: EMPTY_CHECKSUM})
    except SafetensorError as error:  # its error for a full disk
        raise RuntimeError(first_line(error)) from None
    seal(path)


class _ShortReads(io.BufferedReader):
    """A file that refuses large reads, which ``zipfile`` makes for a directory with millions of entries."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1) -> bytes:
        limited = MAX_DIRECTORY_BYTES + 1 if size is None or size < 0 else size
        data = super().read(limited) if limited <= MAX_DIRECTORY_BYTES + 1 else None
        if data is None or len(data) > MAX_DIRECTORY_BYTES:
            raise ValueError(f"its directory has more than {MAX_DIRECTORY_BYTES / 1e6:.0f} MB")
        return data


class _TorchArchive:
    """One open zip. The records read from it are never larger in total than the file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive, self.bytes_allowed = path, archive, os.path.getsize(path)
        names = [entry.filename for entry in archive.infolist()]
        roots = [name.removesuffix("data.pkl") for name in names if name.split("/")[1:] == ["data.pkl"]]
        if len(roots) != 1:
            raise UserError(f"{path}: not a torch archive: expected one data.pkl, it holds {len(roots)}")
        if len(set(names)) < len(names):
            raise UserError(f"{path}: damaged: two entries of the archive have the same name")
        self.root, self.names = roots[0], set(names)

    def load(self) -> Any:
        torchscript = f"{self.root}constants.pkl" in self.names
        if f"{self.root}byteorder" in self.names and self.read("byteorder") != b"little":
            raise UserError(f"{self.path}: written on a big-endian machine; save it again on a little-endian one")
        data = bytes(self.read("data.pkl", MAX_PICKLE_BYTES))
        budget = Budget(os.path.getsize(self.path))
        loaded = unpickle(data, lambda key: self.read(f"data/{key}"), budget, torchscript=torchscript)
        return _tensors_of(loaded) if torchscript else loaded

    def read(self, name: str, limit: int | None = None) -> bytearray:
        """Return one record. Its sizes are checked before memory is allocated, its checksum at the end."""
        if self.root + name not in self.names:
            raise UserError(f"{self.path}: damaged: {name[:40]} is missing in the archive")
        entry = self.archive.getinfo(self.root + name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise UserError(f"{self.path}: {name[:40]} is compressed, which torch never does; refused")
        self.bytes_allowed -= entry.file_size
        if self.bytes_allowed < 0 or (limit is not None and entry.file_size > limit):
            raise UserError(f"{self.path}: {name[:40]} claims more bytes than the file can hold; refused")
        data, position = bytearray(entry.file_size), 0
        with self.archive.open(entry) as record:  # raises on a wrong checksum when the last chunk is read
            while chunk := record.read(CHUNK_BYTES):
                data[position : position + len(chunk)] = chunk
                position += len(chunk)
        if position != entry.file_size:
            raise UserError(f"{self.path}: damaged: {name[:40]} ends early")
        return data


def _tensors_of(root: Any) -> dict[str, Tensor]:
    """Return the parameters and buffers of a TorchScript module by their dotted names."""
    if not isinstance(root, ScriptModule):
        raise UnsafePickleError("a TorchScript archive without a module")
    tensors: dict[str, Tensor] = {}
    pending = [("", root)]  # the budget has already counted every path to a module
    while pending:
        prefix, module = pending.pop()
        if not isinstance(module.state, dict):
            raise UnsafePickleError("a TorchScript module without attributes")
        for name, value in module.state.items():
            if not isinstance(name, str) or len(prefix) + len(name) > MAX_NAME_LENGTH:
                raise UnsafePickleError("a TorchScript module with endless names")
            if isinstance(value, Tensor):
                tensors[f"{prefix}{name}"] = value
            elif isinstance(value, ScriptModule):
                pending.append((f"{prefix}{name}.", value))
    return tensors


def _kind_of_file(start: bytes) -> str:
    if not start:
        return "the file is empty"
    if start[:1] == b"\x80":
        return "a pickle from before torch 1.6; save it again with a newer torch if you trust it"
    if start[:1] in (b"<", b"v"):
        return "a text, such as a web page saved instead of the file, or a Git LFS pointer"
    return "neither a torch archive nor safetensors"
