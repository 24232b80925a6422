"""Pickles that try to run something, and one that would change what is run: by name, for tests/support/hostile.py."""

import marshal
import pickle
import struct
from pathlib import Path

import numpy as np

from tests.support.assemble import (
    EXTENSION,
    Builder,
    attribute,
    call,
    called,
    dictionary,
    given,
    listed,
    named,
    number,
    numbers,
    published,
    raw,
    sequence,
    text,
)


def _function(canary: Path) -> bytes:
    code = marshal.dumps(compile(f"open({str(canary)!r}, 'w')", "x", "exec"))
    globals_ = dictionary({"__builtins__": named("builtins.__dict__")})
    return called(call("types.FunctionType", call("marshal.loads", raw(code)), globals_))


def touch(canary: Path) -> bytes:
    return text(f"touch {canary}")


def _path(canary: Path) -> bytes:
    return call("pathlib.Path", text(canary))


def _beside(canary: Path, name: str) -> bytes:
    return text(canary.with_name(name))


def _command(canary: Path) -> bytes:
    return listed(text("touch"), text(canary))


RUNS: dict[str, Builder] = {
    "os.system": lambda c: call("os.system", touch(c)),
    "posix.system": lambda c: call("posix.system", touch(c)),
    "os.system of protocol 0": lambda c: f"cos\nsystem\n(Vtouch {c}\ntR".encode(),
    "os.system by STACK_GLOBAL": lambda c: called(text("os") + text("system") + b"\x93", touch(c)),
    "a dotted name": lambda c: called(text("torch") + text("serialization.os.system") + b"\x93", touch(c)),
    "a dotted name of a known module": lambda c: called(text("torch._utils") + text("sys.modules") + b"\x93", touch(c)),
    "a dotted name below a known name": lambda c: called(
        text("collections") + text("OrderedDict.__class__.__base__") + b"\x93"
    ),
    "a dotted name in GLOBAL": lambda c: called(b"ctorch\nserialization.os.system\n", touch(c)),
    "a known name among its attributes": lambda c: called(
        text("torch._utils") + text("_rebuild_tensor_v2.__globals__") + b"\x93"
    ),
    "INST": lambda c: b"(" + text(f"touch {c}") + b"ios\nsystem\n",
    "OBJ": lambda c: b"(" + named("subprocess.Popen") + _command(c) + b"o",
    "NEWOBJ": lambda c: named("subprocess.Popen") + sequence(_command(c)) + b"\x81",
    "NEWOBJ_EX": lambda c: named("subprocess.Popen") + sequence(_command(c)) + b"}\x92",
    "EXT1": lambda c: called(b"\x82" + bytes([EXTENSION]), touch(c)),
    "EXT4": lambda c: called(b"\x84" + struct.pack("<i", EXTENSION), touch(c)),
    "builtins.open": lambda c: call("builtins.open", text(c), text("w")),
    "__builtin__.open": lambda c: call("__builtin__.open", text(c), text("w")),
    "io.FileIO": lambda c: call("io.FileIO", text(c), text("w")),
    "eval": lambda c: call("builtins.eval", text(f"open({str(c)!r}, 'w')")),
    "exec": lambda c: call("builtins.exec", text(f"open({str(c)!r}, 'w')")),
    "__import__": lambda c: called(attribute(call("builtins.__import__", text("os")), "system"), touch(c)),
    "import_module": lambda c: called(attribute(call("importlib.import_module", text("os")), "system"), touch(c)),
    "subprocess.call": lambda c: call("subprocess.call", _command(c)),
    "Path.touch": lambda c: called(attribute(_path(c), "touch")),
    "partial": lambda c: called(call("functools.partial", named("os.system"), touch(c))),
    "methodcaller": lambda c: called(call("operator.methodcaller", text("touch")), _path(c)),
    "attrgetter": lambda c: called(called(call("operator.attrgetter", text("touch")), _path(c))),
    "map": lambda c: call("builtins.list", call("builtins.map", named("os.system"), listed(touch(c)))),
    "copyreg": lambda c: call("copyreg._reconstructor", named("subprocess.Popen"), named("builtins.object"), b"N"),
    "FunctionType": _function,
    "CodeType": lambda c: call("types.CodeType", *[number(0)] * 6, raw(b""), b")", b")", b")", text("f"), text("n")),
    "pickle.loads": lambda c: call("pickle.loads", raw(b"\x80\x02" + call("os.system", touch(c)) + b".")),
    "torch.load": lambda c: call("torch.load", _beside(c, "inner.pkl"), b"NN\x89"),
    "torch.serialization.load": lambda c: call("torch.serialization.load", _beside(c, "inner.pt"), b"NN\x89"),
    "torch.save": lambda c: call("torch.save", number(1), text(c)),
    "_load_from_bytes": lambda c: call("torch.storage._load_from_bytes", raw(published(call("os.system", touch(c))))),
    "_rebuild_from_type_v2": lambda c: call(
        "torch._tensor._rebuild_from_type_v2", named("os.system"), b"N", sequence(touch(c)), b"N"
    ),
    "torch.hub": lambda c: call("torch.hub.load", text(c.parent), text("entry"), text("local")),
    "torch.jit.save": lambda c: call("torch.jit.save", call("torch.jit.script", b"N"), text(c)),
    "torch.jit.load": lambda c: call("torch.jit.load", _beside(c, "inner.pt")),
    "numpy.load": lambda c: call("numpy.load", _beside(c, "inner.npy"), b"N\x88"),
    "numpy.save": lambda c: call("numpy.lib.npyio.savetxt", text(c), listed(number(1))),
    "numpy.memmap": lambda c: call("numpy.memmap", text(c), text("u1"), text("w+"), number(0), number(9)),
    "runstring": lambda c: call("numpy.testing._private.utils.runstring", text(f"open({str(c)!r}, 'w')"), b"}"),
    "runpy": lambda c: call("runpy.run_path", _beside(c, "inner.py")),
    "pydoc.locate": lambda c: called(call("pydoc.locate", text("os.system")), touch(c)),
    "pkgutil.resolve_name": lambda c: called(call("pkgutil.resolve_name", text("os:system")), touch(c)),
    "webbrowser": lambda c: called(
        attribute(call("webbrowser.GenericBrowser", listed(text("touch"), text("%s"))), "open"), text(c)
    ),
    "ctypes": lambda c: called(attribute(call("ctypes.CDLL", b"N"), "system"), raw(f"touch {c}".encode())),
    "FileHandler": lambda c: call("logging.FileHandler", text(c)),
    "dictConfig": lambda c: call(
        "logging.config.dictConfig",
        dictionary(
            {
                "version": number(1),
                "handlers": dictionary({"h": dictionary({"class": text("logging.FileHandler"), "filename": text(c)})}),
            }
        ),
    ),
    "tempfile": lambda c: call("tempfile.mkdtemp", b"NN", text(c.parent)),
    "rmtree": lambda c: call("shutil.rmtree", text(c.parent)),
    "copyfile": lambda c: call("shutil.copyfile", _beside(c, "inner.py"), text(c)),
    "a codec that is imported": lambda c: call("_codecs.encode", text("x"), text("inner")),
    "_codecs.decode": lambda c: call("_codecs.decode", raw(b"x"), text("zlib")),
    "an object array": lambda c: given(
        call("numpy._core.multiarray._reconstruct", named("numpy.ndarray"), numbers(0), raw(b"b")),
        sequence(number(1), numbers(1), call("numpy.dtype", text("O8")), b"\x89", listed(call("os.system", touch(c)))),
    ),
    "an object scalar": lambda c: call(
        "numpy.core.multiarray.scalar", call("numpy.dtype", text("O")), raw(pickle.dumps(np.array([c], dtype=object)))
    ),
    "another class of array": lambda c: call(
        "numpy.core.multiarray._reconstruct", named("numpy.memmap"), text(c), text("w+")
    ),
    "a storage class of the file": lambda c: (
        sequence(text("storage"), named("os.system"), touch(c), text("cpu"), number(4)) + b"Q"
    ),
    "persistent ids of protocol 0": lambda c: f"Pos.system touch {c}\n".encode(),
    "a module with its source": lambda c: (
        sequence(text("module"), named("torch.nn.Linear"), _beside(c, "inner.py"), text("x")) + b"Q"
    ),
    "a RecorderMeter's state": lambda c: given(
        named("__main__.RecorderMeter") + b")\x81",
        dictionary({"__class__": named("subprocess.Popen"), "total_epoch": call("os.system", touch(c))}),
    ),
    "a RecorderMeter's slots": lambda c: given(
        named("utils.utils.RecorderMeter") + b")\x81", b"N" + dictionary({"__setstate__": named("os.system")}) + b"\x86"
    ),
    "attributes of a RecorderMeter": lambda c: called(
        text("__main__") + text("RecorderMeter.__init__.__globals__") + b"\x93", touch(c)
    ),
}
RECORDER = named("__main__.RecorderMeter")
BUILT: dict[str, bytes] = {  # a state for what is not made to have one
    f"{key} of {thing}": given(body, b"N" + dictionary({key: RECORDER}) + b"\x86")
    for thing, body in {
        "a function": named("torch._utils._rebuild_tensor_v2"),
        "a class": RECORDER,
        "a set": call("builtins.set"),
        "an OrderedDict's class": named("collections.OrderedDict"),
        "a storage class": named("torch.FloatStorage"),
    }.items()
    for key in ("__setstate__", "__call__", "__class__", "__code__", "_function")
}
