"""A pickle reader that runs nothing from the file: every name a file may use stands for a function of ours.

Ordinary unpickling imports what the file names and calls it. Here a name is looked up in a table and nothing is ever
imported, and an instruction changes nothing but plain containers, so that a file can at most build tensors, numpy
values and such containers out of its own bytes.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from utils.inert import KNOWN, Builder, Inert, InertModule, NumpyArray, NumpyType, Refused, plain_keys, shown

RECORDER = "RecorderMeter"  # the training curve that published checkpoints carry along
REFUSED_OPCODES = (
    "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER", "BYTEARRAY8",
    "FROZENSET",
)  # fmt: skip


def unpickle(data: bytes, read_storage: Callable[[str], bytearray], *, torchscript: bool = False) -> Any:
    """The object in ``data``; the bytes of tensors come from ``read_storage(key)``."""
    loaded = _Reader(data, read_storage, torchscript).load()
    require_data(loaded)
    return loaded


def require_data(loaded: Any) -> None:
    """No function of ours and no class is left in it; a structure that refers to itself is walked once."""
    seen, left = set(), [loaded]
    while left:
        value = left.pop()
        if isinstance(value, (Builder, type)):
            raise Refused(f"{shown(value)} in the place of data")
        if isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, dict) else value


class _Reader(pickle._Unpickler):
    """The interpreter of the standard library, with its instructions that call or change things replaced."""

    def __init__(self, data: bytes, read_storage: Callable[[str], bytearray], torchscript: bool) -> None:
        super().__init__(io.BytesIO(data))
        self.read_storage, self.torchscript = read_storage, torchscript
        self.storages: dict[str, Tensor] = {}

    def refuse(self) -> None:
        raise Refused("a pickle instruction that no saved tensor needs")

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Builder) or not isinstance(arguments, tuple):
            raise Refused(f"a call of {shown(function)}")
        self.append(function.function(*arguments))

    def new_object(self) -> None:
        arguments, made = self.stack.pop(), self.stack.pop()
        if made not in (Inert, InertModule) or not isinstance(arguments, tuple):
            raise Refused(f"a new {shown(made)}")
        self.append(made())

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, (Inert, NumpyType, NumpyArray)):
            target.__setstate__(state)
        elif type(target) is not OrderedDict:  # whose only state is torch's note of versions, not needed here
            raise Refused(f"a state for {shown(target)}")

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def set_items(self) -> None:
        items = self.pop_mark()
        self._fill(self.stack[-1], items)

    def _fill(self, table: Any, items: list) -> None:
        if type(table) not in (dict, OrderedDict) or len(items) % 2:
            raise Refused(f"entries for {shown(table)}")
        table.update(zip(plain_keys(items[::2]), items[1::2], strict=True))

    def new_table(self) -> None:
        items, table = self.pop_mark(), {}
        self._fill(table, items)
        self.append(table)

    def add_one(self) -> None:
        value = self.stack.pop()
        self._extend(self.stack[-1], [value])

    def add_many(self) -> None:
        values = self.pop_mark()
        self._extend(self.stack[-1], values)

    def _extend(self, target: Any, values: list) -> None:
        if type(target) is not list:
            raise Refused(f"items for {shown(target)}")
        target.extend(values)

    def add_to_set(self) -> None:
        values = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise Refused(f"items for {shown(self.stack[-1])}")
        self.stack[-1].update(plain_keys(values))

    dispatch = pickle._Unpickler.dispatch | {
        pickle.REDUCE[0]: reduce,
        pickle.NEWOBJ[0]: new_object,
        pickle.BUILD[0]: build,
        pickle.SETITEM[0]: set_item,
        pickle.SETITEMS[0]: set_items,
        pickle.DICT[0]: new_table,
        pickle.APPEND[0]: add_one,
        pickle.APPENDS[0]: add_many,
        pickle.ADDITEMS[0]: add_to_set,
        **dict.fromkeys((getattr(pickle, name)[0] for name in REFUSED_OPCODES), refuse),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Never an import: a name of the table, or an error that says it."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("a name that is no text")
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        if name == RECORDER:
            return Inert
        if self.torchscript and module.split(".")[0] == "__torch__":
            return InertModule
        raise Refused(f"{module[:60]}.{name[:60]}")

    def persistent_load(self, claim: Any) -> Tensor:
        """The storage that a tensor views, read once however many tensors share it."""
        if not isinstance(claim, tuple) or len(claim) != 5:
            raise Refused("a reference that is no tensor storage")
        kind, dtype, key, _, count = claim
        typed = isinstance(dtype, torch.dtype) and isinstance(key, str) and type(count) is int
        if kind != "storage" or not typed:
            raise Refused("a reference that is no tensor storage")
        if key not in self.storages:
            raw = self.read_storage(key)
            self.storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        stored = self.storages[key]
        if stored.dtype != dtype or stored.numel() != count:
            raise Refused(f"storage {shown(key)} as {shown(count)} of {dtype}, but it holds {stored.numel()}")
        return stored
