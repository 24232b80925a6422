"""Pickles that run nothing but claim too much, or are nonsense: by name, for tests/support/hostile.py."""

import struct

from tests.support.assemble import (
    WEIGHT,
    call,
    deep,
    dictionary,
    given,
    listed,
    named,
    number,
    numbers,
    raw,
    sequence,
    shared,
    storage,
    tensor,
    text,
)
from tests.support.hostile_code import RECORDER

SURROGATE = b"X\x03\0\0\0\xed\xa0\x80"
LAUGHS, NESTED = 60, 500_000
NUMPY = "numpy._core.multiarray."
META = call("collections.OrderedDict")


def array(shape: bytes, kind: bytes, data: bytes) -> bytes:
    made = call(NUMPY + "_reconstruct", named("numpy.ndarray"), numbers(0), raw(b"b"))
    return given(made, sequence(number(1), shape, kind, b"\x89", data))


def dtype(code: str, order: str = "<") -> bytes:
    state = sequence(number(3), text(order), b"NNN", number(-1), number(-1), number(0))
    return given(call("numpy.dtype", text(code), b"\x89\x88"), state)


def empty_storage() -> bytes:
    return storage("1", 0)


LONG, LONG_ROW = (  # as a column and a row, that grow to a square where they meet
    tensor(sizes, numbers(1, 1), of=storage("2", 12_000)) for sizes in (numbers(12_000, 1), numbers(1, 12_000))
)
LONG_INDEX, LONG_INDEX_ROW = (
    tensor(sizes, numbers(1, 1), of=storage("3", 12_000, "torch.LongStorage"))
    for sizes in (numbers(12_000, 1), numbers(1, 12_000))
)
WASTEFUL: dict[str, bytes] = {
    "LONG_BINPUT far out": b"Nr" + struct.pack("<I", 2**31),
    "PUT far out": b"Np99999999999999\n",
    "PUT before the first": b"Np-5\n",
    "GET of nothing": b"g7\n",
    "BINBYTES8 of 2**60": b"\x8e" + struct.pack("<Q", 2**60) + b"x",
    "BINUNICODE8 of 2**60": b"\x8d" + struct.pack("<Q", 2**60) + b"x",
    "BINUNICODE8 of 2**63": b"\x8d" + struct.pack("<Q", 2**63) + b"x",
    "BYTEARRAY8 of 2**40": b"\x96" + struct.pack("<Q", 2**40) + b"x",
    "BINSTRING of -1": b"T" + struct.pack("<i", -1) + b"x",
    "LONG4 of -1": b"\x8b" + struct.pack("<i", -1),
    "LONG4 of 2**31 - 1": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "LONG of many digits": b"L" + b"9" * 500_000 + b"L\n",
    "FRAME of 2**63": b"\x95" + struct.pack("<Q", 2**63) + b"N",
    "FRAME of 2**40": b"\x95" + struct.pack("<Q", 2**40) + b"N",
    "NEXT_BUFFER": b"\x97\x98",
    "an unknown opcode": b"\xff",
    "a future protocol": b"\x80\x63N",
    "POP_MARK without a mark": b"N1",
    "text that is not UTF-8": b"X\x02\0\0\0\xff\xfe",
    "lines in a name": text("os\nerror: all is well") + text("a\x1b[31m\rb") + b"\x93",
    "a lone surrogate as a name": text("os") + SURROGATE + b"\x93",
    "a name of 100 000 letters": named("torch." + "x" * 100_000),
    "nested tuples": deep(100_000),
    "nested lists": b"]" * 100_000 + b"a" * 99_999,
    "nested dicts": b"}" + b"X\x01\0\0\0a}" * 100_000 + b"s" * 100_000,
    "nested sets": call("builtins.set", listed(deep(NESTED))),
    "nested tuples as a key": b"}" + deep(NESTED) + b"Ns",
    "nested tuples as a numpy type": call("numpy.dtype", deep(100_000)),
    "nested recorders": b"Nq\x01" + (b"0" + RECORDER + b")\x81h\x01bq\x01") * 30_000,
    "laughing tuples": shared(LAUGHS),
    "laughing lists": listed(shared(LAUGHS, b"2]("[:0] + b"2\x86")),
    "laughing tuples as a key": b"}" + shared(LAUGHS) + b"Ns",
    "laughing tuples in a set": call("builtins.set", listed(shared(LAUGHS))),
    "laughing tuples as a numpy type": call("numpy.dtype", shared(LAUGHS)),
    "laughing tuples as an encoding": call("_codecs.encode", text("x"), shared(LAUGHS)),
    "laughing tuples as a size": call("torch.Size", shared(LAUGHS)),
    "laughing tuples as a device": call("torch.device", shared(LAUGHS)),
    "laughing tuples as a count": sequence(
        text("storage"), named("torch.FloatStorage"), text("0"), text("cpu"), shared(LAUGHS)
    )
    + b"Q",
    "laughing tuples as a storage's name": sequence(
        text("storage"), named("torch.FloatStorage"), shared(LAUGHS), text("cpu"), number(4)
    )
    + b"Q",
    "laughing tuples of sizes": tensor(shared(LAUGHS), shared(LAUGHS)),
    "laughing tuples as a parameter": call("torch._utils._rebuild_parameter", shared(LAUGHS)),
    "a dict as a key": b"}}Ns",
    "a tensor as a key": b"}" + WEIGHT + b"Ns",
    "APPENDS to a tensor": WEIGHT + b"(" + WEIGHT + b"e",
    "SETITEMS of a function": named("torch._utils._rebuild_tensor_v2") + b"(NNu",
    "a class called as a function": call("torch.FloatStorage", text("x")),
    "a dtype called": call("torch.float32", number(4)),
    "the root is a function": named("torch._utils._rebuild_tensor_v2"),
    "the root is a class": named("collections.OrderedDict"),
    "OrderedDict of a number": call("collections.OrderedDict", number(5)),
    "OrderedDict of unhashable keys": call("collections.OrderedDict", listed(sequence(b"]", b"N"))),
    "persistent id: a text": text("storage") + b"Q",
    "persistent id: a number": number(3) + b"Q",
    "persistent id: nothing": b"NQ",
    "persistent id: empty": b")Q",
    "persistent id: too short": sequence(text("storage"), named("torch.FloatStorage")) + b"Q",
    "persistent id: no kind of number": sequence(text("storage"), text("f4"), text("0"), text("cpu"), number(4)) + b"Q",
    "persistent id: the name is a number": sequence(text("storage"), named("torch.FloatStorage"), *[number(0)] * 3)
    + b"Q",
    "persistent id: a path": storage("../../../../../../etc/passwd"),
    "persistent id: an absolute path": storage("/etc/passwd"),
    "persistent id: data.pkl": storage("../data.pkl"),
    "persistent id: another kind of number": storage(kind="torch.LongStorage"),
    "persistent id: quantised": storage(kind="torch.QUInt8Storage"),
    "persistent id: a lying count": storage(count=5),
    "persistent id: a negative count": storage(count=-4),
    "persistent id: a count of 2**62": storage(count=2**62),
    "a tensor beyond its storage": tensor(numbers(5), numbers(1)),
    "a tensor beyond its storage by its offset": tensor(numbers(4), numbers(1), offset=1),
    "a tensor beyond its storage by its stride": tensor(numbers(4), numbers(2)),
    "a negative size": tensor(numbers(-1), numbers(1)),
    "two negative sizes": tensor(numbers(-2, -2), numbers(1, 1)),
    "a negative offset": tensor(numbers(4), numbers(1), offset=-1),
    "an offset of 2**63": tensor(numbers(4), numbers(1), offset=2**63),
    "an offset of 2**62": tensor(numbers(1), numbers(1), offset=2**62),
    "a negative stride": tensor(numbers(4), numbers(-1), offset=3),
    "a stride of 2**61": tensor(numbers(2, 2), numbers(2**61, 1)),
    "strides that overflow to zero": tensor(numbers(5), numbers(2**62)),
    "a size of 2**62 with stride 0": tensor(numbers(2**62), numbers(0)),
    "a size of 2**40 with stride 0": tensor(numbers(2**40), numbers(0)),
    "sizes that overflow to zero": tensor(numbers(2**32, 2**32), numbers(0, 0)),
    "sizes that overflow to one": tensor(numbers(2**63 + 1, 2), numbers(0, 0)),
    "sizes and strides of different lengths": tensor(numbers(2, 2), numbers(1)),
    "100 000 dimensions": tensor(sequence(*[b"K\x01"] * 100_000), sequence(*[b"K\x01"] * 100_000)),
    "sizes that are texts": tensor(sequence(text("4")), numbers(1)),
    "sizes that are a list": tensor(listed(number(4)), listed(number(1))),
    "sizes that are a tensor": tensor(WEIGHT, WEIGHT),
    "a size that is a fraction": tensor(sequence(b"G" + struct.pack(">d", 4.0)), numbers(1)),
    "a size that is NaN": tensor(sequence(b"G" + struct.pack(">d", float("nan"))), numbers(1)),
    "a tensor of no storage": tensor(numbers(4), numbers(1), of=b"N"),
    "a tensor of nothing at all": call("torch._utils._rebuild_tensor_v2"),
    "a parameter of no tensor": call("torch._utils._rebuild_parameter", number(4), b"\x88", META),
    "a storage that is missing": storage("7"),
    "a tensor's state: a storage grown": given(
        WEIGHT, sequence(empty_storage(), number(0), numbers(2**28), numbers(1))
    ),
    "a tensor's state: a size of 2**62": given(WEIGHT, sequence(storage(), number(0), numbers(2**62), numbers(0))),
    "a tensor's state: its hooks": given(WEIGHT, sequence(b"\x88N", dictionary({"0": RECORDER}))),
    "a tensor's state: its data": given(WEIGHT, sequence(number(1), b"NNN\x88")),
    "ADDITEMS to a tensor": LONG + b"(" + LONG_ROW * 3 + b"\x90",
    "SETITEM of a tensor": tensor(numbers(1, 1), numbers(1, 1))
    + sequence(LONG_INDEX, LONG_INDEX_ROW)
    + number(1)
    + b"s",
    "a numpy array of 2**40 elements": array(numbers(2**40), dtype("f8"), raw(b"12345678")),
    "a numpy array of sizes that overflow": array(numbers(2**32, 2**32), dtype("f8"), raw(b"")),
    "a numpy array of negative sizes": array(numbers(-1, -1), dtype("f8"), raw(b"12345678")),
    "a numpy array of objects": array(numbers(1), dtype("O8"), listed(number(1))),
    "a numpy array from a text": array(numbers(1), dtype("f8"), text("12345678")),
    "a numpy array of a state too short": given(call(NUMPY + "_reconstruct"), sequence(number(1))),
    "a numpy array never filled": call(NUMPY + "_reconstruct", named("numpy.ndarray"), numbers(2**40), raw(b"b")),
    "a numpy type of 2**40 bytes": array(numbers(0), dtype(f"V{2**40}"), raw(b"")),
    "a numpy type of fields": dtype("f4,(100000,100000)f8,O"),
    "a numpy type of an expression": dtype("__import__('os').system('true')"),
    "a numpy type of a date": dtype("M8[1000000000000000000000Y]"),
    "a numpy type of a negative width": dtype("U-1"),
    "a numpy type of another order": dtype("f8", "evil"),
    "a numpy type that does not exist": array(numbers(1), dtype("f1"), raw(b"1")),
    "a numpy type's strange state": given(call("numpy.dtype", text("f8")), b"}"),
    "a numpy scalar that is too short": call(NUMPY + "scalar", dtype("f8"), raw(b"123")),
    "a numpy scalar without a type": call(NUMPY + "scalar", b"N", raw(b"123")),
    "a numpy scalar of objects": call(NUMPY + "scalar", dtype("O"), b"N"),
}
RECORDS = {"data/1": b"", "data/2": bytes(48_000), "data/3": bytes(96_000)}
