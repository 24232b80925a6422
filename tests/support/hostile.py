"""Files that are made to harm their reader: a table of names and builders.

A builder gets the canary, a path that no reader may ever create or touch, and returns the bytes of a hostile file.
"""

import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch

from tests.support.assemble import (
    EXTENSION,
    PIECE,
    SOUND,
    WEIGHT,
    Builder,
    archive,
    call,
    changed,
    dictionary,
    entry,
    in_recorder,
    laughs,
    list_of,
    lookup,
    nested,
    number,
    numbers,
    raw,
    reduce,
    safetensors,
    sound_zip,
    stack_global,
    storage,
    tensor,
    text,
    torchscript,
    tuple_of,
    with_state,
    zipped,
)  # fmt: skip
from tests.support.bombs import BOMBS

RECORDER = lookup("__main__.RecorderMeter")
NEW_MODULE = lookup("__torch__.Net") + b")\x81"

# --- pickles that try to run something, or to change what is run


def touch(canary: Path) -> bytes:
    return text(f"touch {canary}")


CALLED = (  # functions and classes that a file may name to call them
    "os.system", "posix.system", "subprocess.call", "subprocess.Popen", "builtins.open", "__builtin__.open",
    "io.FileIO", "pathlib.Path", "builtins.eval", "builtins.exec", "builtins.__import__", "builtins.getattr",
    "builtins.map", "importlib.import_module", "functools.partial", "operator.methodcaller", "operator.attrgetter",
    "copyreg._reconstructor", "types.FunctionType", "types.CodeType", "marshal.loads", "pickle.loads", "torch.load",
    "torch.serialization.load", "torch.save", "torch.storage._load_from_bytes", "torch._tensor._rebuild_from_type_v2",
    "torch.hub.load", "torch.jit.script", "torch.jit.save", "torch.jit.load", "numpy.load",
    "numpy.lib.npyio.savetxt", "numpy.memmap", "numpy.testing._private.utils.runstring", "runpy.run_path",
    "pydoc.locate", "pkgutil.resolve_name", "webbrowser.GenericBrowser", "ctypes.CDLL", "logging.FileHandler",
    "logging.config.dictConfig", "tempfile.mkdtemp", "shutil.rmtree", "shutil.copyfile", "_codecs.decode",
)  # fmt: skip
RUNS: dict[str, Builder] = {
    **{name: lambda c, name=name: call(name, touch(c)) for name in CALLED},
    "os.system of protocol 0": lambda c: f"cos\nsystem\n(Vtouch {c}\ntR".encode(),
    "os.system by STACK_GLOBAL": lambda c: reduce(stack_global("os", "system"), touch(c)),
    "a dotted name": lambda c: reduce(stack_global("torch", "serialization.os.system"), touch(c)),
    "a dotted name of a known module": lambda c: reduce(stack_global("torch._utils", "sys.modules"), touch(c)),
    "a dotted name below a known name": lambda c: reduce(stack_global("collections", "OrderedDict.__class__.__base__")),
    "a dotted name in GLOBAL": lambda c: reduce(b"ctorch\nserialization.os.system\n", touch(c)),
    "a known name among its attributes": lambda c: reduce(
        stack_global("torch._utils", "_rebuild_tensor_v2.__globals__")
    ),
    "INST": lambda c: b"(" + touch(c) + b"ios\nsystem\n",
    "OBJ": lambda c: b"(" + lookup("subprocess.Popen") + list_of(text("touch"), text(c)) + b"o",
    "NEWOBJ": lambda c: lookup("subprocess.Popen") + tuple_of(list_of(text("touch"), text(c))) + b"\x81",
    "NEWOBJ_EX": lambda c: lookup("subprocess.Popen") + tuple_of(list_of(text("touch"), text(c))) + b"}\x92",
    "EXT1": lambda c: reduce(b"\x82" + bytes([EXTENSION]), touch(c)),
    "EXT4": lambda c: reduce(b"\x84" + struct.pack("<i", EXTENSION), touch(c)),
    "a codec that is imported": lambda c: call("_codecs.encode", text("x"), text("inner")),
    "an object array": lambda c: with_state(
        call("numpy._core.multiarray._reconstruct", lookup("numpy.ndarray"), numbers(0), raw(b"b")),
        tuple_of(number(1), numbers(1), call("numpy.dtype", text("O8")), b"\x89", list_of(call("os.system", touch(c)))),
    ),
    "an object scalar": lambda c: call(
        "numpy.core.multiarray.scalar", call("numpy.dtype", text("O")), raw(pickle.dumps(np.array([c], dtype=object)))
    ),
    "another class of array": lambda c: call(
        "numpy.core.multiarray._reconstruct", lookup("numpy.memmap"), text(c), text("w+")
    ),
    "a storage class of the file": lambda c: storage(touch(c), kind="os.system"),
    "persistent ids of protocol 0": lambda c: f"Pos.system touch {c}\n".encode(),
    "a module with its source": lambda c: (
        tuple_of(text("module"), lookup("torch.nn.Linear"), text(c), text("x")) + b"Q"
    ),
    "a RecorderMeter's state": lambda c: with_state(
        lookup("__main__.RecorderMeter") + b")\x81",
        dictionary({"__class__": lookup("subprocess.Popen"), "total_epoch": call("os.system", touch(c))}),
    ),
    "a RecorderMeter's slots": lambda c: with_state(
        lookup("utils.utils.RecorderMeter") + b")\x81",
        b"N" + dictionary({"__setstate__": lookup("os.system")}) + b"\x86",
    ),
    "attributes of a RecorderMeter": lambda c: reduce(
        stack_global("__main__", "RecorderMeter.__init__.__globals__"), touch(c)
    ),
}
BUILT: dict[str, bytes] = {  # a state for an object that does not support one
    f"{key} of {target}": with_state(body, b"N" + dictionary({key: RECORDER}) + b"\x86")
    for target, body in {
        "a function": lookup("torch._utils._rebuild_tensor_v2"),
        "a class": RECORDER,
        "a set": call("builtins.set"),
        "an OrderedDict's class": lookup("collections.OrderedDict"),
        "a storage class": lookup("torch.FloatStorage"),
    }.items()
    for key in ("__setstate__", "__call__", "__class__", "__code__", "_function")
}

# --- pickles that run nothing but claim too much, or are nonsense

SURROGATE = b"X\x03\0\0\0\xed\xa0\x80"
LAUGHS, NESTED = 60, 500_000
NUMPY = "numpy._core.multiarray."
EMPTY_TABLE = call("collections.OrderedDict")


def array(shape: bytes, kind: bytes, data: bytes) -> bytes:
    target = call(NUMPY + "_reconstruct", lookup("numpy.ndarray"), numbers(0), raw(b"b"))
    return with_state(target, tuple_of(number(1), shape, kind, b"\x89", data))


def dtype(code: str, order: str = "<") -> bytes:
    state = tuple_of(number(3), text(order), b"NNN", number(-1), number(-1), number(0))
    return with_state(call("numpy.dtype", text(code), b"\x89\x88"), state)


LONG, LONG_ROW = (  # a column and a row that broadcast to a square
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
    "lines in a name": stack_global("os\nerror: all is well", "a\x1b[31m\rb"),
    "a lone surrogate as a name": text("os") + SURROGATE + b"\x93",
    "a name of 100 000 letters": lookup("torch." + "x" * 100_000),
    "nested tuples": nested(100_000),
    "nested lists": b"]" * 100_000 + b"a" * 99_999,
    "nested dicts": b"}" + b"X\x01\0\0\0a}" * 100_000 + b"s" * 100_000,
    "nested sets": call("builtins.set", list_of(nested(NESTED))),
    "nested tuples as a key": b"}" + nested(NESTED) + b"Ns",
    "nested tuples as a numpy type": call("numpy.dtype", nested(100_000)),
    "nested recorders": b"Nq\x01" + (b"0" + RECORDER + b")\x81h\x01bq\x01") * 30_000,
    "laughing tuples": laughs(LAUGHS),
    "laughing lists": list_of(laughs(LAUGHS)),
    "laughing tuples as a key": b"}" + laughs(LAUGHS) + b"Ns",
    "laughing tuples in a set": call("builtins.set", list_of(laughs(LAUGHS))),
    "laughing tuples as a numpy type": call("numpy.dtype", laughs(LAUGHS)),
    "laughing tuples as an encoding": call("_codecs.encode", text("x"), laughs(LAUGHS)),
    "laughing tuples as a size": call("torch.Size", laughs(LAUGHS)),
    "laughing tuples as a device": call("torch.device", laughs(LAUGHS)),
    "laughing tuples as a count": storage(count=laughs(LAUGHS)),
    "laughing tuples as a storage's name": storage(laughs(LAUGHS)),
    "laughing tuples of sizes": tensor(laughs(LAUGHS), laughs(LAUGHS)),
    "laughing tuples as a parameter": call("torch._utils._rebuild_parameter", laughs(LAUGHS)),
    "a dict as a key": b"}}Ns",
    "a tensor as a key": b"}" + WEIGHT + b"Ns",
    "APPENDS to a tensor": WEIGHT + b"(" + WEIGHT + b"e",
    "SETITEMS of a function": lookup("torch._utils._rebuild_tensor_v2") + b"(NNu",
    "a class called as a function": call("torch.FloatStorage", text("x")),
    "a dtype called": call("torch.float32", number(4)),
    "the root is a function": lookup("torch._utils._rebuild_tensor_v2"),
    "the root is a class": lookup("collections.OrderedDict"),
    "OrderedDict of a number": call("collections.OrderedDict", number(5)),
    "OrderedDict of unhashable keys": call("collections.OrderedDict", list_of(tuple_of(b"]", b"N"))),
    "persistent id: a text": text("storage") + b"Q",
    "persistent id: a number": number(3) + b"Q",
    "persistent id: nothing": b"NQ",
    "persistent id: empty": b")Q",
    "persistent id: too short": tuple_of(text("storage"), lookup("torch.FloatStorage")) + b"Q",
    "persistent id: no kind of number": storage(kind=text("f4")),
    "persistent id: the name is a number": storage(number(0), 0),
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
    "100 000 dimensions": tensor(tuple_of(*[b"K\x01"] * 100_000), tuple_of(*[b"K\x01"] * 100_000)),
    "sizes that are texts": tensor(tuple_of(text("4")), numbers(1)),
    "sizes that are a list": tensor(list_of(number(4)), list_of(number(1))),
    "sizes that are a tensor": tensor(WEIGHT, WEIGHT),
    "a size that is a fraction": tensor(tuple_of(b"G" + struct.pack(">d", 4.0)), numbers(1)),
    "a size that is NaN": tensor(tuple_of(b"G" + struct.pack(">d", float("nan"))), numbers(1)),
    "a tensor of no storage": tensor(numbers(4), numbers(1), of=b"N"),
    "a tensor of nothing at all": call("torch._utils._rebuild_tensor_v2"),
    "a parameter of no tensor": call("torch._utils._rebuild_parameter", number(4), b"\x88", EMPTY_TABLE),
    "a storage that is missing": storage("7"),
    "a tensor's state: a storage grown": with_state(
        WEIGHT, tuple_of(storage("1", 0), number(0), numbers(2**28), numbers(1))
    ),
    "a tensor's state: a size of 2**62": with_state(WEIGHT, tuple_of(storage(), number(0), numbers(2**62), numbers(0))),
    "a tensor's state: its hooks": with_state(WEIGHT, tuple_of(b"\x88N", dictionary({"0": RECORDER}))),
    "a tensor's state: its data": with_state(WEIGHT, tuple_of(number(1), b"NNN\x88")),
    "ADDITEMS to a tensor": LONG + b"(" + LONG_ROW * 3 + b"\x90",
    "SETITEM of a tensor": b"".join(
        [tensor(numbers(1, 1), numbers(1, 1)), tuple_of(LONG_INDEX, LONG_INDEX_ROW), number(1), b"s"]
    ),
    "a numpy array of 2**40 elements": array(numbers(2**40), dtype("f8"), raw(b"12345678")),
    "a numpy array of sizes that overflow": array(numbers(2**32, 2**32), dtype("f8"), raw(b"")),
    "a numpy array of negative sizes": array(numbers(-1, -1), dtype("f8"), raw(b"12345678")),
    "a numpy array of objects": array(numbers(1), dtype("O8"), list_of(number(1))),
    "a numpy array from a text": array(numbers(1), dtype("f8"), text("12345678")),
    "a numpy array of a state too short": with_state(call(NUMPY + "_reconstruct"), tuple_of(number(1))),
    "a numpy array never filled": call(NUMPY + "_reconstruct", lookup("numpy.ndarray"), numbers(2**40), raw(b"b")),
    "a numpy type of 2**40 bytes": array(numbers(0), dtype(f"V{2**40}"), raw(b"")),
    "a numpy type of fields": dtype("f4,(100000,100000)f8,O"),
    "a numpy type of an expression": dtype("__import__('os').system('true')"),
    "a numpy type of a date": dtype("M8[1000000000000000000000Y]"),
    "a numpy type of a negative width": dtype("U-1"),
    "a numpy type of another order": dtype("f8", "evil"),
    "a numpy type that does not exist": array(numbers(1), dtype("f1"), raw(b"1")),
    "a numpy type's strange state": with_state(call("numpy.dtype", text("f8")), b"}"),
    "a numpy scalar that is too short": call(NUMPY + "scalar", dtype("f8"), raw(b"123")),
    "a numpy scalar without a type": call(NUMPY + "scalar", b"N", raw(b"123")),
    "a numpy scalar of objects": call(NUMPY + "scalar", dtype("O"), b"N"),
}
RECORDS = {"data/1": b"", "data/2": bytes(48_000), "data/3": bytes(96_000)}

# --- whole files


def _script(folder: Path) -> bytes:
    """A valid TorchScript archive with code that stops the process that runs it."""

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.sum() > 1e9, "code of the file has run"
            return x

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Net()), buffer)
    return buffer.getvalue()


def _laughing_modules() -> bytes:
    """Each module holds the one below twice, under two names."""
    body = NEW_MODULE + b"}b"
    for level in range(1, 60):
        store, get = b"q" + bytes([level]), b"h" + bytes([level])
        body += store + b"0" + NEW_MODULE + b"}(" + text("a") + get + text("b") + get + b"ub"
    return torchscript(root=body)


def _long_names() -> bytes:
    """Names of 60 MB for each of 1000 tensors, from a file of 1 MB."""
    inside = dictionary({str(number): b"h\x01" for number in range(1000)})
    body = WEIGHT + b"q\x010" + text("n" * 1_000_000) + b"q\x020" + with_state(NEW_MODULE, inside)
    for level in range(3, 60):
        store, get = b"q" + bytes([level]) + b"0", b"h" + bytes([level])
        body += store + NEW_MODULE + b"}h\x02" + get + b"sb"
    return torchscript(root=body)


def _overlapping() -> bytes:
    """Two names of one stored record."""
    pair = b"\x80\x02" + tuple_of(WEIGHT, tensor(numbers(4), numbers(1), of=storage("1"))) + b"."
    data = zipped(("a/data.pkl", pair), ("a/data/0", PIECE), ("a/data/1", PIECE))
    first = struct.pack("<I", data.index(b"PK\x03\x04", 1))
    return changed(data, b"PK\x01\x02", 42, first)


def _claiming(size: int) -> bytes:
    """An archive that is valid except for the size of the tensor in its directory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a/data.pkl", SOUND)
        file.writestr("a/data/0", PIECE)
        info = file.getinfo("a/data/0")
        info.file_size = info.compress_size = size
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        info = tarfile.TarInfo("../data.pkl")
        info.size = len(SOUND)
        file.addfile(info, io.BytesIO(SOUND))
    return buffer.getvalue()


def _legacy(canary: Path) -> bytes:
    """A file of torch.save from before the zip format, with a payload in its last pickle."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return magic + b"\x80\x02" + call("os.system", touch(canary)) + b"."


def _shadowed() -> bytes:
    """A dict whose own methods are numbers."""
    return with_state(
        EMPTY_TABLE, dictionary({name: number(5) for name in ("items", "keys", "values", "get", "pop", "__len__")})
    )


CONTENT = ("format", "family", "config", "classes", "label_base", "clip_shape", "model", "epoch", "selected_on")
BOMB = bytes(10_000_000)


def _checkpoint(options: dict[str, bytes]) -> bytes:
    """A checkpoint of ours with every type right, and these groups of options."""
    content = {"format": number(1), "family": text("clip-caer"), "config": dictionary(options)}
    content |= {"selected_on": text("val"), "classes": list_of(text("a")), "label_base": number(1), "epoch": number(1)}
    return archive(dictionary(content | {"model": dictionary({"weight": WEIGHT})}))


HEADER = {"weight": entry(0, 16, [4])}
ARCHIVES: dict[str, bytes] = {  # pickles in a sound archive
    "a dict whose methods are numbers": _shadowed(),
    "a state dict whose methods are numbers": dictionary({"state_dict": _shadowed()}),
    "an empty stack": b"0",
    "a stack of two": b"}}",
    "a number": number(5),
    "a list": list_of(WEIGHT),
    "a recorder": RECORDER + b")\x81",
    "lines and colours in a key": dictionary({"all is well\n\x1b[31mdone": WEIGHT}),
    "lines and colours in a key of the state": dictionary(
        {"state_dict": dictionary({"\n\x1b[2J": WEIGHT, "prompt_learner.ctx": WEIGHT, "\u202e": WEIGHT})}
    ),
    "a lone surrogate as a key": b"}" + SURROGATE + WEIGHT + b"s",
    "a lone surrogate in the state": dictionary(
        {"state_dict": b"}" + SURROGATE + WEIGHT + b"s" + text("prompt_learner.ctx") + WEIGHT + b"s"}
    ),
    "a key that is a number": b"}" + number(5) + WEIGHT + b"s",
    "a key of 100 000 letters": dictionary({"x" * 100_000: WEIGHT}),
    "laughing tuples as a state": dictionary({"state_dict": laughs(LAUGHS)}),
    "nested tuples as a state": dictionary({"state_dict": nested(10_000), "format": nested(10_000)}),
    "a state dict that holds itself": b"}q\x01" + text("state_dict") + b"h\x01s",
    "a CLIP of one tensor": dictionary({"visual.conv1.weight": WEIGHT, "visual.proj": WEIGHT}),
    "a CLIP of numbers": dictionary({"visual.conv1.weight": number(5)}),
    "a checkpoint of ours, of numbers": dictionary({key: number(1) for key in CONTENT}),
    "a checkpoint of ours, of tensors": dictionary({key: WEIGHT for key in CONTENT}),
    "a checkpoint of ours, of recorders": dictionary({key: RECORDER + b")\x81" for key in CONTENT}),
    "a checkpoint of ours, of laughing tuples": dictionary({key: laughs(LAUGHS) for key in CONTENT}),
}
FILES: dict[str, Builder] = {
    **{name: lambda c, b=body: archive(b) for name, body in ARCHIVES.items()},
    "an empty file": lambda c: b"",
    "a text": lambda c: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "zeros": lambda c: bytes(100),
    "JSON": lambda c: b'{"model": 1}',
    "a PNG": lambda c: b"\x89PNG\r\n\x1a\n" + bytes(40),
    "a JPEG": lambda c: b"\xff\xd8\xff\xe0" + bytes(range(256)),
    "a web page": lambda c: b"<!doctype html>\n<html></html>\n",
    "laughing tuples as a stored name": lambda c: _checkpoint({"run": dictionary({"exper_name": laughs(LAUGHS)})}),
    "laughing tuples as a stored option": lambda c: _checkpoint(
        {"run": dictionary({"exper_name": text("x")}), "optim": dictionary({"lr": laughs(LAUGHS)})}
    ),
    "a tar": lambda c: _tar(),
    "a plain pickle with a payload": lambda c: b"\x80\x02" + call("os.system", touch(c)) + b".",
    "a legacy file with a payload": _legacy,
    "TorchScript with code": lambda c: _script(c.parent),
    "TorchScript of laughing modules": lambda c: _laughing_modules(),
    "TorchScript of long names": lambda c: _long_names(),
    "TorchScript of no module": lambda c: archive(b"", {"data.pkl": SOUND, "data/0": PIECE, "constants.pkl": SOUND}),
    "TorchScript that runs": lambda c: torchscript(call("os.system", touch(c))),
    "TorchScript of a module of the machine": lambda c: torchscript(lookup("__torch__os.system")),
    "TorchScript whose state is a number": lambda c: torchscript(number(4)),
    "TorchScript of strange names": lambda c: torchscript(b"}" + b"N" + WEIGHT + b"s"),
    "deflated zeros as a tensor": lambda c: zipped(
        ("a/data.pkl", SOUND), ("a/data/0", BOMB), method=zipfile.ZIP_DEFLATED
    ),
    "a deflated pickle": lambda c: zipped(("a/data.pkl", b"\x80\x02" + b"]" * 10_000_000), method=zipfile.ZIP_DEFLATED),
    "an entry that claims 2**32 bytes": lambda c: changed(sound_zip(), b"PK\x01\x02", 20, b"\xfe\xff\xff\xff" * 2),
    "an entry that claims 2**40 bytes": lambda c: _claiming(2**40),
    "an entry that claims 2**63 bytes": lambda c: _claiming(2**63),
    "an entry that lies beyond the file": lambda c: changed(sound_zip(), b"PK\x01\x02", 42, b"\xff\xff\xff\x7f"),
    "an encrypted entry": lambda c: changed(sound_zip(), b"PK\x01\x02", 8, b"\x01\0"),
    "an unknown compression": lambda c: changed(sound_zip(), b"PK\x01\x02", 10, b"\x63\0"),
    "a directory of entries beyond the file": lambda c: changed(sound_zip(), b"PK\x05\x06", 16, b"\xff\xff\xff\x7f"),
    "a directory that claims 4 GB": lambda c: changed(sound_zip(), b"PK\x05\x06", 12, b"\xfe\xff\xff\xff"),
    "a wrong sum": lambda c: changed(sound_zip(), b"PK\x01\x02", 16, b"\0\0\0\0"),
    "one record under two names": lambda c: _overlapping(),
    "a name with ..": lambda c: zipped(("../data.pkl", SOUND), ("../data/0", PIECE)),
    "an entry beside the root": lambda c: zipped(("a/data.pkl", SOUND), ("a/../data/0", PIECE)),
    "two data.pkl": lambda c: sound_zip(("b/data.pkl", SOUND)),
    "the same name twice": lambda c: sound_zip(("a/data.pkl", SOUND)),
    "no data.pkl": lambda c: zipped(("a/data/0", PIECE)),
    "a data.pkl that is a folder": lambda c: zipped(("a/data.pkl/", b""), ("a/data/0", PIECE)),
    "an empty data.pkl": lambda c: zipped(("a/data.pkl", b"")),
    "a data.pkl without an end": lambda c: zipped(("a/data.pkl", SOUND[:-1]), ("a/data/0", PIECE)),
    "a data.pkl that is a text": lambda c: zipped(("a/data.pkl", b"hello\n")),
    "an empty zip": lambda c: b"PK\x05\x06" + bytes(18),
    "a missing record": lambda c: zipped(("a/data.pkl", SOUND)),
    "a record that is too short": lambda c: zipped(("a/data.pkl", SOUND), ("a/data/0", PIECE[:8])),
    "a record of a broken number": lambda c: zipped(("a/data.pkl", SOUND), ("a/data/0", PIECE[:15])),
    "a record that is too long": lambda c: zipped(("a/data.pkl", SOUND), ("a/data/0", PIECE * 2)),
    "another byte order": lambda c: sound_zip(("a/byteorder", b"big")),
    "a byte order of 10 MB": lambda c: sound_zip(("a/byteorder", BOMB)),
}
SAFETENSORS: dict[str, Builder] = {
    "safetensors: an empty file": lambda c: b"",
    "safetensors: a header of 2**60 bytes": lambda c: safetensors(HEADER, length=2**60),
    "safetensors: a header of 90 MB": lambda c: safetensors(HEADER, length=90_000_000),
    "safetensors: a header of no bytes": lambda c: safetensors(b""),
    "safetensors: a header that is cut": lambda c: safetensors(HEADER)[:20],
    "safetensors: broken JSON": lambda c: safetensors(b'{"weight": '),
    "safetensors: nested JSON": lambda c: safetensors(b"[" * 100_000),
    "safetensors: a list": lambda c: safetensors([1, 2]),
    "safetensors: not UTF-8": lambda c: safetensors(b'{"\xff": 1}'),
    "safetensors: no data": lambda c: safetensors(HEADER, b""),
    "safetensors: more data": lambda c: safetensors(HEADER, PIECE * 2),
    "safetensors: outside": lambda c: safetensors({"weight": entry(16, 32, [4])}),
    "safetensors: overlapping": lambda c: safetensors({"a": entry(0, 16, [4]), "b": entry(8, 16, [2])}),
    "safetensors: a gap": lambda c: safetensors({"a": entry(0, 4, [1]), "b": entry(8, 16, [2])}),
    "safetensors: negative": lambda c: safetensors({"weight": entry(-16, 0, [4])}),
    "safetensors: backwards": lambda c: safetensors({"weight": entry(16, 0, [4])}),
    "safetensors: another size": lambda c: safetensors({"weight": entry(0, 16, [5])}),
    "safetensors: sizes that overflow": lambda c: safetensors({"weight": entry(0, 16, [2**32, 2**32])}),
    "safetensors: a negative size": lambda c: safetensors({"weight": entry(0, 16, [-4])}),
    "safetensors: an unknown number": lambda c: safetensors({"weight": entry(0, 16, [4], "F31")}),
    "safetensors: a number torch lacks": lambda c: safetensors({"weight": entry(0, 2, [4], "F4")}, b"12"),
    "safetensors: a pickle": lambda c: in_recorder(call("os.system", touch(c))),
}


def _inside(body: bytes) -> Builder:
    return lambda _: archive(dictionary({"state_dict": dictionary({"weight": WEIGHT}), "recorder": body}), **RECORDS)


HOSTILE: dict[str, Builder] = {
    **{f"runs {name}": lambda c, b=body: in_recorder(b(c)) for name, body in RUNS.items()},
    **{name: _inside(body) for name, body in (BUILT | WASTEFUL).items()},
    **FILES,
    **SAFETENSORS,
    **BOMBS,
}
