"""Files of tensors that somebody else wrote: torch archives, TorchScript archives and safetensors, read as data alone.

A torch archive is a zip: ``data.pkl`` describes, ``data/0``, ``data/1`` ... hold the bytes. All of it is read here; no
code of the file, and no loader that would run it, is ever involved. There is no switch for that.
"""

import os
import zipfile
from pathlib import Path
from typing import Any

from torch import Tensor

from utils.errors import UserError, reason_of
from utils.inert import InertModule, Refused
from utils.unpickle import unpickle

LARGEST_PICKLE = 4 * 2**20  # the description alone, without the tensors: published checkpoints need 0.2 MB
LONGEST_NAME = 1000
DEEPEST_MODULE = 64
PART = 2**20  # bytes copied at a time, so that no tensor is held twice


def read_archive(path: Path) -> Any:
    """What ``torch.save`` put into the file, or a TorchScript archive's ``{name: tensor}``; one line where it cannot be
    had."""
    try:
        if not path.is_file():  # a pipe would wait for ever
            raise UserError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}, expected a checkpoint")
        if path.suffix == ".safetensors":
            return read_safetensors(path)[0]
        with open(path, "rb") as file:
            start = file.read(4)
        if start[:2] != b"PK":
            raise UserError(f"{path}: not a checkpoint: {_described(start)}")
        with zipfile.ZipFile(path) as archive:
            return _Archive(path, archive).load()
    except UserError:
        raise
    except Refused as error:
        raise UserError(f"{path}: holds {error}, which is not data; refused, and nothing of it was run") from None
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None
    except (Exception, MemoryError) as error:  # a damaged file fails in as many ways as there are formats
        raise UserError(f"{path}: damaged, or not a torch file ({first_line(error)})") from None


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """``({name: tensor}, metadata)``."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, ValueError, MemoryError) as error:
        raise UserError(f"{path}: not a sound safetensors file ({first_line(error)})") from None
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None


class _Archive:
    """One open zip; what is read from it never adds up to more than the file itself."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive, self.left = path, archive, os.path.getsize(path)
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
        data = bytes(self.read("data.pkl", LARGEST_PICKLE))
        loaded = unpickle(data, lambda key: self.read(f"data/{key}"), torchscript=torchscript)
        return _tensors_of(loaded) if torchscript else loaded

    def read(self, name: str, largest: int | None = None) -> bytearray:
        """One stored record, checked by its sum."""
        if self.root + name not in self.names:
            raise UserError(f"{self.path}: damaged: {name[:40]} is missing in the archive")
        entry = self.archive.getinfo(self.root + name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise UserError(f"{self.path}: {name[:40]} is compressed, which torch never does; refused")
        self.left -= entry.file_size
        if self.left < 0 or (largest is not None and entry.file_size > largest):
            raise UserError(f"{self.path}: {name[:40]} claims more bytes than the file can hold; refused")
        whole, at = bytearray(entry.file_size), 0
        with self.archive.open(entry) as record:  # the last part checks the sum
            while part := record.read(PART):
                whole[at : at + len(part)] = part
                at += len(part)
        if at != entry.file_size:
            raise UserError(f"{self.path}: damaged: {name[:40]} ends early")
        return whole


def _tensors_of(module: Any) -> dict[str, Tensor]:
    """The parameters and buffers of a TorchScript module, by their dotted names."""
    if not isinstance(module, InertModule):
        raise Refused("a TorchScript archive without a module")
    found: dict[str, Tensor] = {}
    open_modules, seen = [("", module, 0)], 0
    while open_modules:
        prefix, current, depth = open_modules.pop()
        seen += 1
        if (
            not isinstance(current.state, dict)
            or depth > DEEPEST_MODULE
            or seen > 100_000
            or len(prefix) > LONGEST_NAME
        ):
            raise Refused("a TorchScript module nested without end")
        for name, value in current.state.items():
            if not isinstance(name, str) or len(name) > LONGEST_NAME:
                raise Refused("a TorchScript module with names without end")
            if isinstance(value, Tensor):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, InertModule):
                open_modules.append((f"{prefix}{name}.", value, depth + 1))
    return found


def _described(start: bytes) -> str:
    if not start:
        return "the file is empty"
    if start[:1] == b"\x80":
        return "a pickle from before torch 1.6; save it again with a newer torch, where you trust it"
    if start[:1] in (b"<", b"v"):
        return "a text, such as a web page saved instead of the file, or a Git LFS pointer"
    return "neither a torch archive nor safetensors"


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
