"""Files of tensors that somebody else wrote: torch archives, TorchScript archives and safetensors, read as data alone.

A torch archive is a zip: ``data.pkl`` describes the content, ``data/0``, ``data/1`` ... hold the bytes of tensors. No
code of the file is run, and no loader that would run it is called. There is no switch for that. What a file may cost is
limited: the description of its tensors is short, and what it unfolds to has a budget (``utils/safe_pickle.py``).
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

MAX_PICKLE_BYTES = 4 * 2**20  # data.pkl alone, without the tensors: published checkpoints need 0.2 MB
MAX_HEADER_BYTES = 4 * 2**20  # of safetensors, whose header holds all but the tensors
MAX_DIRECTORY_BYTES = 2 * 2**20  # of a zip, whose directory is read before anything else: 20,000 tensors
MAX_NAME_LENGTH = 1000
CHUNK_BYTES = 2**20  # copied at a time, so that no tensor is in memory twice


def open_array(path: Path) -> np.ndarray:
    """Return the numbers of a ``.npy`` file by memory map."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: no regular file; expected a .npy file of numbers")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception:  # NumPy evaluates the header, which may raise whatever Python's tokenizer does
        array = None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: cannot be read as a .npy file of numbers")
    return array


def read_archive(path: Path) -> Any:
    """Return what ``torch.save`` put into the file, or the ``{name: tensor}`` of a TorchScript archive or safetensors.

    Whatever is wrong with the file, the error is one line.
    """
    try:
        if not path.is_file():  # reading a pipe would wait for ever
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
        raise UserError(f"{path}: holds {error}, which is not data; refused, and nothing of it was run") from None
    except BudgetError as error:
        raise UserError(f"{path}: unfolds to {error}; refused (docs/checkpoints.md has the limits)") from None
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None
    except (Exception, MemoryError) as error:  # a damaged file fails in as many ways as there are formats
        raise UserError(f"{path}: damaged, or not a torch file ({first_line(error)})") from None


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return ``({name: tensor}, metadata)``."""
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise UserError(
                f"{path}: not a sound safetensors file (a header of {length / 1e6:.0f} MB, "
                f"more than the {MAX_HEADER_BYTES / 1e6:.0f} MB allowed)"
            )
        require_intact(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata
    except UserError:
        raise
    except (SafetensorError, ValueError, MemoryError) as error:
        raise UserError(f"{path}: not a sound safetensors file ({first_line(error)})") from None
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None


def write_safetensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors and texts, with a checksum over all bytes of the file."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        save_file(contiguous, path, (metadata or {}) | {CHECKSUM: EMPTY_CHECKSUM})
    except SafetensorError as error:  # what it makes of a full disk
        raise RuntimeError(first_line(error)) from None
    seal(path)


class _ShortReads(io.BufferedReader):
    """A file that refuses to read much at once, as ``zipfile`` does with a directory of millions of entries."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1) -> bytes:
        limited = MAX_DIRECTORY_BYTES + 1 if size is None or size < 0 else size
        data = super().read(limited) if limited <= MAX_DIRECTORY_BYTES + 1 else None
        if data is None or len(data) > MAX_DIRECTORY_BYTES:
            raise ValueError(f"its directory has more than {MAX_DIRECTORY_BYTES / 1e6:.0f} MB")
        return data


class _TorchArchive:
    """One open zip. All records read from it never add up to more bytes than the file has."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive, self.bytes_allowed = path, archive, os.path.getsize(path)
        names = [entry.filename for entry in archive.infolist()]
        roots = [name.removesuffix("data.pkl") for name in names if name.split("/")[1:] == ["data.pkl"]]
        if len(roots) != 1:
            raise UserError(f"{path}: not a torch archive: expected one data.pkl in it, found {len(roots)}")
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
        """Return one record. Its sizes are checked before any memory is taken, its checksum at the end."""
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
    pending = [("", root)]  # the budget has counted every path to a module already
    while pending:
        prefix, module = pending.pop()
        if not isinstance(module.state, dict):
            raise UnsafePickleError("a TorchScript module without attributes")
        for name, value in module.state.items():
            if not isinstance(name, str) or len(prefix) + len(name) > MAX_NAME_LENGTH:
                raise UnsafePickleError("a TorchScript module with names without end")
            if isinstance(value, Tensor):
                tensors[f"{prefix}{name}"] = value
            elif isinstance(value, ScriptModule):
                pending.append((f"{prefix}{name}.", value))
    return tensors


def _kind_of_file(start: bytes) -> str:
    if not start:
        return "the file is empty"
    if start[:1] == b"\x80":
        return "a pickle from before torch 1.6; save it again with a newer torch, where you trust it"
    if start[:1] in (b"<", b"v"):
        return "a text, such as a web page saved instead of the file, or a Git LFS pointer"
    return "neither a torch archive nor safetensors"
