"""Pickles, torch archives, zips and safetensors put together by hand, for the tests of hostile files."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

Builder = Callable[[Path], bytes]
EXTENSION = 0x70  # the copyreg code that the tests register for os.system


# --- a pickle assembler: every function returns instructions that leave one object on the stack


def text(value: object) -> bytes:
    data = str(value).encode()
    return b"X" + struct.pack("<I", len(data)) + data


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def numbers(*values: int) -> bytes:
    return tuple_of(*map(number, values))


def list_of(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def dictionary(pairs: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in pairs.items()) + b"u"


def lookup(path: str) -> bytes:
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def stack_global(module: str, name: str) -> bytes:
    """Opcodes of a global lookup, which may have a dotted name."""
    return text(module) + text(name) + b"\x93"


def reduce(function: bytes, *arguments: bytes) -> bytes:
    return function + tuple_of(*arguments) + b"R"


def call(path: str, *arguments: bytes) -> bytes:
    return reduce(lookup(path), *arguments)


def with_state(target: bytes, state: bytes) -> bytes:
    return target + state + b"b"


def laughs(levels: int) -> bytes:
    """A billion laughs: each level holds the one below twice."""
    return b"N" + b"2\x86" * levels


def nested(levels: int) -> bytes:
    return b"N" + b"\x85" * levels


def storage(key: str | bytes = "0", count: int | bytes = 4, kind: str | bytes = "torch.FloatStorage") -> bytes:
    """Opcodes of a persistent id; opcodes may replace a value."""
    kind, key = (value if isinstance(value, bytes) else build(value) for value, build in ((kind, lookup), (key, text)))
    return (
        tuple_of(text("storage"), kind, key, text("cpu"), count if isinstance(count, bytes) else number(count)) + b"Q"
    )


def tensor(sizes: bytes, strides: bytes, offset: int = 0, of: bytes | None = None) -> bytes:
    of = storage() if of is None else of
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", of, number(offset), sizes, strides, b"\x89", hooks)


WEIGHT = tensor(numbers(4), numbers(1))
PIECE = struct.pack("<4f", 1, 2, 3, 4)


# --- containers


def archive(body: bytes, records: dict[str, bytes] | None = None, **extra: bytes) -> bytes:
    """An archive as torch.save writes it, with a given pickle."""
    records = {"data.pkl": b"\x80\x04" + body + b".", "data/0": PIECE} if records is None else records
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, data in (records | extra).items():
        writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return buffer.getvalue()


def in_recorder(payload: bytes) -> bytes:
    """The payload in the place of the training curve of a published checkpoint."""
    return archive(dictionary({"state_dict": dictionary({"weight": WEIGHT}), "recorder": payload}))


def torchscript(state: bytes = b"", root: bytes | None = None) -> bytes:
    """A TorchScript archive of one module with this state, or of another root."""
    root = with_state(lookup("__torch__.Net") + b")\x81", state) if root is None else root
    return archive(b"", {"data.pkl": b"\x80\x02" + root + b".", "data/0": PIECE, "constants.pkl": b"\x80\x02)."})


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in entries:
            file.writestr(name, data)
    return buffer.getvalue()


SOUND = b"\x80\x02" + dictionary({"weight": WEIGHT}) + b"."


def sound_zip(*extra: tuple[str, bytes]) -> bytes:
    return zipped(("a/data.pkl", SOUND), ("a/data/0", PIECE), *extra)


def changed(data: bytes, signature: bytes, offset: int, new: bytes) -> bytes:
    """Return the data with ``new`` at ``offset`` after the last ``signature``, of the zip's directory or its end."""
    start = data.rindex(signature) + offset
    return data[:start] + new + data[start + len(new) :]


def safetensors(header: object, data: bytes = PIECE, length: int | None = None) -> bytes:
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(body) if length is None else length) + body + data


def entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
