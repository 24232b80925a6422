"""What a file of tensors may name, and what each name stands for here: functions of ours that build plain values."""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

KEYS = (str, int, float, bool, bytes, type(None))  # of tables and sets: anything else may hash without end
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
            raise Refused(f"the numpy type {shown(code)}")
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


def plain_keys(values: list) -> list:
    """Keys that hash at once."""
    if not all(type(value) in KEYS for value in values):
        raise Refused("a key that is no text or number")
    return values


def shown(value: Any) -> str:
    """A few letters of it: a structure that refers to itself many times would never end."""
    return repr(value[:40]) if isinstance(value, str) else str(value)[:40] if type(value) in KEYS else kind_of(value)


def kind_of(value: Any) -> str:
    return f"a {type(value).__name__.strip('_')}"


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
        raise Refused(f"text in the encoding {shown(encoding)}")
    return text.encode("latin1")


def _set(values: Any = ()) -> set:
    if not isinstance(values, (list, tuple)):
        raise Refused("a set that is not made from a list")
    return set(plain_keys(values))


def _table(pairs: Any = ()) -> OrderedDict:
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
        raise Refused("a table that is not made from pairs")
    return OrderedDict(zip(plain_keys([key for key, _ in pairs]), [value for _, value in pairs], strict=True))


def _bytes(*values: Any) -> bytes:
    """How protocol 2 writes the bytes of an empty array."""
    if values:
        raise Refused("bytes made from something else")
    return b""


def _size(values: Any = ()) -> tuple[int, ...]:
    return _sizes(tuple(values) if isinstance(values, list) else values)


def _device(*parts: Any) -> str:
    return ":".join(str(part) for part in parts if isinstance(part, (str, int)))


def _listed(values: Any = (), *_: Any) -> Any:
    """TorchScript's typed lists, and values that it tags with their type."""
    return values


@dataclass(frozen=True)
class Builder:
    """A function of ours that a file can call: the one kind of thing that it can."""

    function: Callable[..., Any]


_FUNCTIONS = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("numpy", "dtype"): NumpyType,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _table,
} | {
    (module, name): function
    for module in ("builtins", "__builtin__")
    for name, function in (("set", _set), ("bytes", _bytes))
} | {
    (f"numpy.{core}.multiarray", name): function
    for core in ("core", "_core")
    for name, function in (("scalar", _scalar), ("_reconstruct", _reconstruct))
} | {
    ("torch.jit._pickle", name): _listed
    for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
}  # fmt: skip
KNOWN: dict[tuple[str, str], Any] = {
    **{key: Builder(function) for key, function in _FUNCTIONS.items()},
    **{("torch", name): dtype for name, dtype in (STORAGES | DTYPES).items()},
    ("numpy", "ndarray"): None,  # named only as an argument of _reconstruct, which does not look at it
}
