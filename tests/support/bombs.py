"""Small files that would need gigabytes or minutes to read without limits: names and builders."""

import json
import struct

from tests.support.assemble import (
    PIECE,
    Builder,
    archive,
    call,
    dictionary,
    entry,
    list_of,
    lookup,
    number,
    numbers,
    raw,
    safetensors,
    storage,
    tensor,
    text,
    torchscript,
    tuple_of,
    with_state,
)  # fmt: skip

NUMPY = "numpy._core.multiarray."
MODULE = lookup("__torch__.Net") + b")\x81"
BIG_TYPE = with_state(
    call("numpy.dtype", text("i8")), tuple_of(number(3), text(">"), b"NNN", number(-1), number(-1), number(0))
)
MANY, LONG = 50_000, 1_000_000  # how often an object is used again, and its length
PUT, GET, OTHER_PUT, OTHER_GET = b"q\x01", b"h\x01", b"q\x02", b"h\x02"  # two entries of the memo table


def again(value: bytes, use: bytes, count: int = MANY) -> bytes:
    """Keep a value in the memo table, and use it again and again in a list; ``use`` reads it by ``GET``."""
    return value + PUT + b"0](" + use * count + b"e"


def doubled(value: bytes, join: bytes, levels: int = 40) -> bytes:
    """Join a value with itself, the result with itself, and so on; ``join`` reads it twice by ``GET``."""
    return value + PUT + (b"0" + join + PUT) * levels


PICKLES: dict[str, bytes] = {
    "joined devices": doubled(text("a" * 1000), call("torch.device", GET, GET)),
    "shared arrays of another byte order": again(
        raw(bytes(LONG)),
        with_state(
            call(NUMPY + "_reconstruct", lookup("numpy.ndarray"), numbers(0), raw(b"b")),
            tuple_of(number(1), numbers(LONG // 8), BIG_TYPE, b"\x89", GET),
        ),
        5000,
    ),
    "shared text that is encoded": again(text("x" * LONG), call("_codecs.encode", GET, text("latin1"))),
    "pairs that are read again": again(
        list_of(*[tuple_of(text(n), b"N") for n in range(20_000)]), call("collections.OrderedDict", GET)
    ),
    "keys of one hash": b"}(" + b"".join(number(n * (2**61 - 1)) + b"N" for n in range(1, MANY)) + b"u",
    "a set of one hash": call("builtins.set", list_of(*[number(n * (2**61 - 1)) for n in range(1, MANY)])),
    "long numbers as keys": b"\x8b"
    + struct.pack("<i", LONG)
    + b"\x01" * LONG
    + PUT
    + b"0}("
    + (GET + b"N") * MANY
    + b"u",
    "long texts as keys": b"".join([text("x" * LONG), PUT, b"0", text("x" * LONG), OTHER_PUT, b"0}"])
    + (GET + b"Ns" + OTHER_GET + b"Ns") * MANY,
    "a class of a long module": again(text("m" * LONG), GET + text("RecorderMeter") + b"\x93"),
    "one tensor, often": again(tensor(numbers(12_000), numbers(1), of=storage("2", 12_000)), GET),
    "many views of one storage": again(
        storage("2", 12_000),
        tensor(numbers(12_000), numbers(1), of=GET),
        10_000,
    ),
    "empty sets": b"](" + b"\x8f" * 4_000_000 + b"e",
    "one long text, often": again(text("x" * LONG), GET),
    "a history that doubles": dictionary({"progress": dictionary({"history": doubled(b"]", b"](" + GET * 2 + b"e")})}),
    "tables that double": doubled(b"}", b"}(" + text("a") + GET + text("b") + GET + b"u"),
    "a list that holds itself": b"]" + PUT + GET + b"a",
}  # fmt: skip


def _shared_names() -> bytes:
    """50,000 modules, each with the same 50,000 names."""
    names = dictionary({f"{n:x}": b"N" for n in range(MANY)}) + PUT + b"0"
    root = MODULE + b"}(" + b"".join(text(f"{n:x}") + MODULE + GET + b"b" for n in range(MANY)) + b"ub"
    return torchscript(root=names + root)


def _zip_of_entries(count: int) -> bytes:
    """An archive whose directory has ``count`` entries of files that do not exist."""
    directory = (b"PK\x01\x02" + bytes(24) + b"\x01\0" + bytes(16) + b"a") * count
    end = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(directory), 4)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 4 + len(directory), 1)
    last = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return b"PK\x03\x04" + directory + end + locator + last


def _long_header() -> bytes:
    """Names of 10 MB for tensors without numbers."""
    names = {f"{n:060d}": entry(16, 16, [0]) for n in range(80_000)}
    return safetensors(json.dumps({"weight": entry(0, 16, [4])} | names).encode(), PIECE)


FILES: dict[str, Builder] = {
    "TorchScript of shared names": lambda _: _shared_names(),
    "a directory of 500 000 entries": lambda _: _zip_of_entries(500_000),
    "a plain directory that is read": lambda _: _zip_of_entries(10),
    "safetensors: a header of 10 MB": lambda _: _long_header(),
}
BOMBS: dict[str, Builder] = {
    **{name: lambda _, b=body: archive(b, **{"data/2": bytes(48_000)}) for name, body in PICKLES.items()},
    **FILES,
}
