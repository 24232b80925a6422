"""A pickle reader that runs nothing from the file it reads.

Ordinary unpickling imports and calls functions that a file names. Here a name is looked up in ``ALLOWED``, whose
entries are functions of this module, and instructions can change only plain containers. So a file can only build
tensors, numpy values and containers from its own bytes, and only as many as its ``Budget`` allows. Content that expands
to more when references are followed (tables that refer to one another twice, a thousand views of one tensor) is
refused, so that no reader needs its own limit.

``torch.load(weights_only=True)`` with an allow-list (torch 2.13) is not sufficient for untrusted files. With the files
of tests/support/hostile.py, it hangs on "a name of 100 000 letters", ends the process on "nested sets" and "nested
tuples as a key", and returns "the root is a function", "the root is a class" and "a size of 2**62 with stride 0" as
data. It also does not detect flipped bits in tensors, and refuses TorchScript archives and newer pickle protocols.
"""

import io
import pickle
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_OBJECTS = 500_000  # to which a file may expand; published checkpoints need 10,000
MAX_DEPTH = 150  # of nested containers; a TorchScript module needs two levels
MAX_NAME_LENGTH = 1000  # of keys, classes and modules
MAX_BITS = 4096  # of a whole number; Python cannot print more than 4300 digits
SECONDS = 20.0  # for all calls of a file
KEY_TYPES = (str, int, float, bool, bytes, type(None))  # hashing others, such as nested tuples, may take forever
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
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORAGES.values()}
RECORDER = "RecorderMeter"  # the training curve in published checkpoints; its module differs between them
REFUSED_OPCODES = (
    "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER", "BYTEARRAY8",
    "FROZENSET",
)  # fmt: skip


class UnsafePickleError(Exception):
    """A request of a file that is not data."""


class BudgetError(Exception):
    """Content that expands to more than the ``Budget`` of its file."""


class Budget:
    """Limits for one file: objects, bytes of texts, arrays and tensors, and seconds.

    Bytes are counted in float32, to which tensors are converted. A published checkpoint with two copies of everything
    in half precision needs four times its file size; the limit is eight times.
    """

    def __init__(self, file_bytes: int) -> None:
        self.max_bytes = 8 * file_bytes + 16 * 2**20
        self.objects, self.bytes = MAX_OBJECTS, self.max_bytes
        self.deadline = time.monotonic() + SECONDS

    def spend(self, objects: int, size: int) -> None:
        """Subtract the cost of a new object; raise a BudgetError if it is too much."""
        self.objects, self.bytes = self.objects - objects, self.bytes - size
        if self.objects < 0:
            raise BudgetError(f"more than {MAX_OBJECTS} objects")
        if self.bytes < 0:
            raise BudgetError(f"more than {self.max_bytes / 1e6:.0f} MB of its bytes")
        if time.monotonic() > self.deadline:
            raise BudgetError(f"calls that take more than {SECONDS:.0f} s")


def unpickle(
    data: bytes, read_storage: Callable[[str], bytearray], budget: Budget, *, torchscript: bool = False
) -> Any:
    """Return the object in ``data``. ``read_storage(key)`` returns the bytes of a tensor.

    With ``torchscript`` classes of the archive's own code are read as ``ScriptModule``, with only their attributes.
    """
    loaded = _Unpickler(data, read_storage, budget, torchscript).load()
    objects, size, _ = _expand(loaded, 0, {}, budget)
    budget.spend(objects, size)
    return loaded


def describe(value: Any) -> str:
    """Return a short text for a message; containers are never written out."""
    if isinstance(value, str):
        return repr(value[:40])
    return str(value)[:40] if type(value) in KEY_TYPES else f"a {type(value).__name__.strip('_')}"


Expansion = tuple[int, int, int]  # objects, bytes and levels of a value if all references are followed


def _expand(value: Any, depth: int, sizes: dict[int, Expansion | None], budget: Budget) -> Expansion:
    """Return the expansion of a result, ``depth`` levels below the root; each container is visited once.

    A result that still holds one of our functions or a class, or that holds itself, is refused.
    """
    if isinstance(value, Tensor):
        return 1, value.numel() * max(value.element_size(), 4), 0
    if not isinstance(value, (dict, list, tuple, set, OpaqueObject)):
        if callable(value):
            raise UnsafePickleError(f"{describe(value)} in the place of data")
        if type(value) is int and value.bit_length() > MAX_BITS:
            raise UnsafePickleError("a number of too many digits")
        return 1, _bytes_of(value), 0
    if id(value) in sizes:
        if (expansion := sizes[id(value)]) is None:
            raise UnsafePickleError(f"{describe(value)} that holds itself")
        return expansion
    sizes[id(value)] = None  # until it has been visited
    objects, size, levels = 1, 0, 0
    items = [value.state] if isinstance(value, OpaqueObject) else value
    if isinstance(value, dict):
        objects, size, items = 1 + len(value), sum(map(_bytes_of, value)), dict.values(value)
    for item in items:
        part = _expand(item, depth + 1, sizes, budget) if depth < MAX_DEPTH else (0, 0, MAX_DEPTH)
        objects, size, levels = objects + part[0], size + part[1], max(levels, part[2] + 1)
        if levels > MAX_DEPTH:
            raise UnsafePickleError("containers that are nested too deeply")
        if objects > budget.objects or size > budget.bytes:
            budget.spend(objects, size)
    sizes[id(value)] = objects, size, levels
    return objects, size, levels


def _bytes_of(value: Any) -> int:
    """Return the bytes of a text or an array, 0 for a number."""
    return len(value) if isinstance(value, (str, bytes)) else value.nbytes if isinstance(value, np.ndarray) else 0


# --- what names in a file mean


class OpaqueObject:
    """An object of an unknown class. It holds its state and does nothing."""

    __slots__ = ("state",)

    def __new__(cls, *arguments: Any) -> "OpaqueObject":
        instance = super().__new__(cls)
        instance.state = None
        return instance

    def __setstate__(self, state: Any) -> None:
        self.state = state


class ScriptModule(OpaqueObject):
    """A module of a TorchScript archive: its attributes without its code."""

    __slots__ = ()


class NumpyType:
    """A numpy dtype of plain numbers: kind, width and byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch("[fiub][1248]", code):
            raise UnsafePickleError(f"the numpy type {describe(code)}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class NumpyArray(np.ndarray):
    """An array whose sizes can be set only together with all of its bytes."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        if not isinstance(kind, NumpyType) or not isinstance(raw, bytes):
            raise UnsafePickleError("a numpy array of objects")
        sizes = _sizes(shape)
        if prod(sizes) * kind.dtype().itemsize != len(raw):
            raise UnsafePickleError(f"a numpy array of {sizes} from {len(raw)} bytes")
        super().__setstate__((1, sizes, kind.dtype(), bool(fortran), raw))


def _sizes(values: Any) -> tuple[int, ...]:
    # below 2**62, so that no sum or product overflows in torch
    if not isinstance(values, tuple) or len(values) > 64 or not all(type(v) is int and 0 <= v < 2**62 for v in values):
        raise UnsafePickleError("sizes that are not a few whole numbers")
    return values


def _plain_keys(values: list) -> list:
    """Return the keys; raise for keys that are slow to compare or could have equal hashes on purpose."""
    for value in values:
        kind = type(value)
        if kind not in KEY_TYPES:
            raise UnsafePickleError("a key that is not a text or number")
        if kind in (str, bytes) and len(value) > MAX_NAME_LENGTH:
            raise UnsafePickleError(f"a key of {len(value)} letters")
        if kind is int and not -(2**60) < value < 2**60:  # Python's hash of a number is its remainder modulo 2**61 - 1
            raise UnsafePickleError("a key that is a number of too many digits")
    return values


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """Return a view inside its storage, with at most as many elements; strides of 0 could make more."""
    sizes, strides = _sizes(size), _sizes(stride)
    if not isinstance(storage, Tensor) or len(sizes) != len(strides) or not isinstance(offset, int) or offset < 0:
        raise UnsafePickleError("a tensor without a storage or with sizes that do not fit")
    last = offset + sum((length - 1) * step for length, step in zip(sizes, strides, strict=True))
    if prod(sizes) > storage.numel() or (prod(sizes) > 0 and last >= storage.numel()):
        raise UnsafePickleError(f"a tensor of {sizes} from a storage of {storage.numel()}")
    return torch.as_strided(storage, sizes, strides, offset if prod(sizes) else 0)


def _rebuild_parameter(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise UnsafePickleError("a parameter without a tensor")
    return tensor


def _numpy_scalar(kind: Any, raw: Any = b"") -> Any:
    if not isinstance(kind, NumpyType) or not isinstance(raw, bytes) or len(raw) != kind.dtype().itemsize:
        raise UnsafePickleError("a numpy scalar that is not a number")
    return np.frombuffer(raw, kind.dtype())[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Return bytes, which pickles of protocol 2 write as text."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError(f"text in the encoding {describe(encoding)}")
    return text.encode("latin1")


def _device(kind: Any, index: Any = None) -> str:
    """Return the name of the device that a tensor was on, without its number."""
    if not isinstance(kind, str) or len(kind) > 20 or not isinstance(index, int | None):
        raise UnsafePickleError("a device that is not a name and a number")
    return kind


def _empty_bytes(*values: Any) -> bytes:
    """Return ``b""``, which protocol 2 writes as a call of ``bytes`` without arguments."""
    if values:
        raise UnsafePickleError("bytes made from something else")
    return b""


def _set(values: Any = ()) -> set:
    if not isinstance(values, (list, tuple)):
        raise UnsafePickleError("a set that is not made from a list")
    return set(_plain_keys(values))


def _ordered_dict(pairs: Any = ()) -> OrderedDict:
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
        raise UnsafePickleError("a table that is not made from pairs")
    return OrderedDict(zip(_plain_keys([key for key, _ in pairs]), [value for _, value in pairs], strict=True))


# the functions above are all that a file can call
CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": lambda values=(): _sizes(tuple(values) if isinstance(values, list) else values),
    "torch.device": _device,
    "numpy.dtype": NumpyType,
    "_codecs.encode": _encode,
    "collections.OrderedDict": _ordered_dict,
}
for _module in ("builtins", "__builtin__"):
    CONSTRUCTORS |= {f"{_module}.set": _set, f"{_module}.bytes": _empty_bytes}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # numpy 2 renamed it
    CONSTRUCTORS |= {f"{_module}.scalar": _numpy_scalar, f"{_module}._reconstruct": lambda *_: NumpyArray((0,))}
for _name in ("intlist", "doublelist", "boollist", "tensorlist"):  # TorchScript's typed lists
    CONSTRUCTORS[f"torch.jit._pickle.build_{_name}"] = lambda values=(), *_: values
CONSTRUCTORS["torch.jit._pickle.restore_type_tag"] = lambda values=(), *_: values
CALLABLE = frozenset(map(id, CONSTRUCTORS.values()))
ALLOWED: dict[str, Any] = {
    **CONSTRUCTORS,
    **{f"torch.{name}": dtype for name, dtype in (STORAGES | DTYPES).items()},
    "numpy.ndarray": None,  # named only as an argument of _reconstruct, which ignores it
}


# --- reading


class _Unpickler(pickle._Unpickler):
    """The standard library's interpreter, in which every instruction that calls or changes something is replaced."""

    def __init__(
        self, data: bytes, read_storage: Callable[[str], bytearray], budget: Budget, torchscript: bool
    ) -> None:
        super().__init__(io.BytesIO(data))
        self.read_storage, self.budget, self.torchscript = read_storage, budget, torchscript
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name means. Nothing is imported."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnsafePickleError("a name that is not a text")
        if len(module) + len(name) > MAX_NAME_LENGTH:
            raise UnsafePickleError(f"{module[:60]}.{name[:60]}")
        if "." not in name and f"{module}.{name}" in ALLOWED:
            return ALLOWED[f"{module}.{name}"]
        if name == RECORDER:
            return OpaqueObject
        if self.torchscript and module.split(".")[0] == "__torch__":
            return ScriptModule
        raise UnsafePickleError(f"{module[:60]}.{name[:60]}")

    def persistent_load(self, claim: Any) -> Tensor:
        """Return the storage that a tensor views, as one flat tensor. Tensors that share a storage share it here."""
        if not isinstance(claim, tuple) or len(claim) != 5:
            raise UnsafePickleError("a reference that is not a tensor storage")
        kind, dtype, key, _, count = claim
        has_types = isinstance(dtype, torch.dtype) and isinstance(key, str) and type(count) is int
        if kind != "storage" or not has_types:
            raise UnsafePickleError("a reference that is not a tensor storage")
        if key not in self.storages:
            raw = self.read_storage(key)
            self.storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        storage = self.storages[key]
        if storage.dtype != dtype or storage.numel() != count:
            raise UnsafePickleError(
                f"storage {describe(key)} as {describe(count)} of {dtype}, but it holds {storage.numel()}"
            )
        return storage

    def refuse(self) -> None:
        raise UnsafePickleError("a pickle instruction that no saved tensor needs")

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if id(function) not in CALLABLE or not isinstance(arguments, tuple):
            raise UnsafePickleError(f"a call of {describe(function)}")
        value = function(*arguments)
        self.budget.spend(len(value) + 2 if isinstance(value, (dict, list, set)) else 2, _bytes_of(value))
        self.append(value)

    def new_set(self) -> None:
        self.budget.spend(2, 0)  # an empty set is four times as large as other containers
        self.append(set())

    def new_object(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if kind not in (OpaqueObject, ScriptModule) or not isinstance(arguments, tuple):
            raise UnsafePickleError(f"a new {describe(kind)}")
        self.append(kind())

    def set_state(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, (OpaqueObject, NumpyType, NumpyArray)):
            target.__setstate__(state)
            self.budget.spend(2, _bytes_of(target))
        elif type(target) is not OrderedDict:  # the state of a state dict is only version metadata of torch
            raise UnsafePickleError(f"a state for {describe(target)}")

    def fill(self, values: list, *kinds: type) -> None:
        """Add ``values`` to the container on top of the stack, which must be of one of the kinds."""
        target, is_table = self.stack[-1], dict in kinds
        if type(target) not in kinds or (is_table and len(values) % 2):
            raise UnsafePickleError(f"{'entries' if is_table else 'items'} for {describe(target)}")
        if is_table:
            target.update(zip(_plain_keys(values[::2]), values[1::2], strict=True))
        elif type(target) is list:
            target.extend(values)
        else:
            target.update(_plain_keys(values))

    def new_dict(self) -> None:
        items = self.pop_mark()  # first, because it changes the current stack
        self.append({})
        self.fill(items, dict)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.fill([key, value], dict, OrderedDict)

    dispatch = pickle._Unpickler.dispatch | {
        pickle.REDUCE[0]: reduce,
        pickle.EMPTY_SET[0]: new_set,
        pickle.NEWOBJ[0]: new_object,
        pickle.BUILD[0]: set_state,
        pickle.DICT[0]: new_dict,
        pickle.SETITEM[0]: set_item,
        pickle.SETITEMS[0]: lambda self: self.fill(self.pop_mark(), dict, OrderedDict),
        pickle.APPEND[0]: lambda self: self.fill([self.stack.pop()], list),
        pickle.APPENDS[0]: lambda self: self.fill(self.pop_mark(), list),
        pickle.ADDITEMS[0]: lambda self: self.fill(self.pop_mark(), set),
        **dict.fromkeys((getattr(pickle, name)[0] for name in REFUSED_OPCODES), refuse),
    }
