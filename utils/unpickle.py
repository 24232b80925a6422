"""A pickle reader that runs nothing from the file: every name a file may use stands for a function of ours.

Ordinary unpickling imports what the file names and calls it. Here a name is looked up in a table and nothing is ever
imported, so that a file can at most build tensors, numpy values and plain Python containers out of its own bytes.
"""

import io
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

RECORDERS = {"RecorderMeter", "RecorderMeter1"}  # the training curve that published checkpoints carry along
REFUSED_OPCODES = {"EXT1", "EXT2", "EXT4", "INST", "OBJ", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER", "BYTEARRAY8"}
MEMO_OPCODES = {"PUT", "BINPUT", "LONG_BINPUT"}
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
DTYPES = {str(kind).removeprefix("torch."): kind for kind in STORAGES.values()}


class Refused(Exception):
    """What a file asks for that is not data."""


class Inert:
    """Stands for an object of a class that is not ours: holds its state, does nothing."""

    __slots__ = ("state",)

    def __new__(cls, *arguments: Any) -> "Inert":
        made = super().__new__(cls)
        made.state = None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class InertModule(Inert):
    """A module of a TorchScript archive: its attributes without its code."""

    __slots__ = ()


class NumpyType:
    """A dtype: a kind, a width and a byte order, nothing more."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch("[fiub][1248]", code):
            raise Refused(f"a numpy type {str(code)[:20]!r}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def real(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class NumpyArray(np.ndarray):
    """An array whose bytes must be there before anything of its size is made."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        if not isinstance(kind, NumpyType) or not isinstance(raw, bytes):
            raise Refused("a numpy array of objects")
        sizes = _sizes(shape)
        if prod(sizes) * kind.real().itemsize != len(raw):
            raise Refused(f"a numpy array of {sizes} from {len(raw)} bytes")
        super().__setstate__((1, sizes, kind.real(), bool(fortran), raw))


def unpickle(data: bytes, read_storage: Callable[[str], bytearray], *, torchscript: bool = False) -> Any:
    """The object in ``data``; the bytes of tensors come from ``read_storage(key)``."""
    check_opcodes(data)
    return _Reader(data, read_storage, torchscript).load()


def check_opcodes(data: bytes) -> None:
    """Refuse what no saved tensor needs, and memo places so far out that the table alone would fill the memory."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in REFUSED_OPCODES:
            raise Refused(f"the pickle instruction {opcode.name}")
        if opcode.name in MEMO_OPCODES and argument > len(data):
            raise Refused(f"memo place {argument} in a pickle of {len(data)} bytes")


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, read_storage: Callable[[str], bytearray], torchscript: bool) -> None:
        super().__init__(io.BytesIO(data))
        self.read_storage, self.torchscript = read_storage, torchscript
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Never an import: a name of the table, or an error that says it."""
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        if name in RECORDERS:
            return Inert
        if self.torchscript and module.split(".")[0] == "__torch__":
            return InertModule
        raise Refused(f"{module}.{name}"[:120])

    def persistent_load(self, claim: Any) -> Tensor:
        """The storage that a tensor views, read once however many tensors share it."""
        kind, dtype, key, _, count = claim
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise Refused("a reference that is no tensor storage")
        if key not in self.storages:
            raw = self.read_storage(key)
            self.storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        stored = self.storages[key]
        if stored.dtype != dtype or stored.numel() != count:
            raise Refused(f"storage {key[:20]} as {count} of {dtype}, but it holds {stored.numel()} of {stored.dtype}")
        return stored


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view that stays inside its storage and is no larger than it."""
    sizes, steps = _sizes(size), _sizes(stride)
    if not isinstance(storage, Tensor) or len(sizes) != len(steps) or not isinstance(offset, int) or offset < 0:
        raise Refused("a tensor without a storage or with sizes that do not fit")
    last = offset + sum((length - 1) * step for length, step in zip(sizes, steps, strict=True))
    if prod(sizes) > storage.numel() or (prod(sizes) > 0 and last >= storage.numel()):
        raise Refused(f"a tensor of {sizes} from a storage of {storage.numel()}")
    return torch.as_strided(storage, sizes, steps, offset if prod(sizes) else 0)


def _rebuild_parameter(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise Refused("a parameter without a tensor")
    return tensor


def _sizes(values: Any) -> tuple[int, ...]:
    good = isinstance(values, tuple) and len(values) <= 64 and all(type(v) is int and 0 <= v < 2**62 for v in values)
    if not good:
        raise Refused("sizes that are not a few whole numbers")
    return values


def _scalar(kind: Any, raw: Any = b"") -> Any:
    if not isinstance(kind, NumpyType) or not isinstance(raw, bytes) or len(raw) != kind.real().itemsize:
        raise Refused("a numpy scalar that is no number")
    return np.frombuffer(raw, kind.real())[0]


def _reconstruct(*_: Any) -> NumpyArray:
    return NumpyArray((0,))


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How old pickles write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused(f"text in the encoding {str(encoding)[:20]!r}")
    return text.encode("latin1")


def _set(values: Any = ()) -> set:
    if not isinstance(values, (list, tuple)):
        raise Refused("a set that is not made from a list")
    return set(values)


def _size(values: Any = ()) -> tuple[int, ...]:
    return _sizes(tuple(values) if isinstance(values, list) else values)


def _device(*parts: Any) -> str:
    return ":".join(str(part) for part in parts if isinstance(part, (str, int)))


def _listed(values: Any = (), *_: Any) -> Any:
    """TorchScript's typed lists, and values that it tags with their type."""
    return values


class _Builder:
    """A function of ours that a file can call and cannot change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise Refused(f"a change of {name}")

    def __setstate__(self, state: Any) -> None:
        raise Refused("a state for a function")


_FUNCTIONS = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("numpy", "dtype"): NumpyType,
    ("_codecs", "encode"): _encode,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
} | {
    (f"numpy.{core}.multiarray", name): function
    for core in ("core", "_core")
    for name, function in (("scalar", _scalar), ("_reconstruct", _reconstruct))
} | {
    ("torch.jit._pickle", name): _listed
    for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
}  # fmt: skip
KNOWN: dict[tuple[str, str], Any] = {
    **{key: _Builder(function) for key, function in _FUNCTIONS.items()},
    **{("torch", name): dtype for name, dtype in (STORAGES | DTYPES).items()},
    ("numpy", "ndarray"): None,  # named only as an argument of _reconstruct, which does not look at it
    ("collections", "OrderedDict"): OrderedDict,
}
