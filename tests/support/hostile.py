"""Files made to harm whoever reads them: a table of names and builders.

A builder gets the canary, a path that no reader may ever create or touch, and returns the bytes of a hostile file.
Beside the canary lie the helpers that some payloads would run (``write_helpers``).
"""

import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import torch

from tests.support.assemble import (
    PIECE,
    SOUND,
    WEIGHT,
    Builder,
    archive,
    call,
    changed,
    deep,
    dictionary,
    entry,
    given,
    listed,
    named,
    number,
    numbers,
    published,
    safetensors,
    sequence,
    shared,
    sound_zip,
    storage,
    tensor,
    text,
    torchscript,
    zipped,
)
from tests.support.hostile_claims import LAUGHS, META, RECORDS, SURROGATE, WASTEFUL
from tests.support.hostile_code import BUILT, RECORDER, RUNS, touch


def _script(folder: Path) -> bytes:
    """A sound TorchScript archive, with code that stops whoever runs it."""

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.sum() > 1e9, "code of the file has run"
            return x

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Net()), buffer)
    return buffer.getvalue()


def _laughing_modules() -> bytes:
    """Each module holds the one below twice, under two names."""
    body = named("__torch__.Net") + b")\x81}b"
    for level in range(1, 60):
        place = b"q" + bytes([level])
        held = b"}(" + text("a") + b"h" + bytes([level]) + text("b") + b"h" + bytes([level]) + b"u"
        body += place + b"0" + named("__torch__.Net") + b")\x81" + held + b"b"
    return archive(b"", {"data.pkl": b"\x80\x02" + body + b".", "data/0": PIECE, "constants.pkl": b"\x80\x02)."})


def _long_names() -> bytes:
    """Names of 60 MB for each of 1000 tensors, from a file of 1 MB."""
    inside = dictionary({str(number): b"h\x01" for number in range(1000)})
    body = WEIGHT + b"q\x010" + text("n" * 1_000_000) + b"q\x020" + given(named("__torch__.Net") + b")\x81", inside)
    for level in range(3, 60):
        place = b"q" + bytes([level]) + b"0"
        body += place + named("__torch__.Net") + b")\x81}h\x02h" + bytes([level]) + b"sb"
    return archive(b"", {"data.pkl": b"\x80\x02" + body + b".", "data/0": PIECE, "constants.pkl": b"\x80\x02)."})


def _overlapping() -> bytes:
    """Two names of one stored record."""
    both = b"\x80\x02" + sequence(WEIGHT, tensor(numbers(4), numbers(1), of=storage("1"))) + b"."
    data = zipped(("a/data.pkl", both), ("a/data/0", PIECE), ("a/data/1", PIECE))
    first = struct.pack("<I", data.index(b"PK\x03\x04", 1))
    return changed(data, b"PK\x01\x02", 42, first)


def _claiming(size: int) -> bytes:
    """A sound archive but for the size that its directory gives to the tensor."""
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
    """What torch.save wrote before the zip, with a payload in the last of its pickles."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return magic + b"\x80\x02" + call("os.system", touch(canary)) + b"."


def _truncated(share: float) -> bytes:
    whole = archive(dictionary({"weight": WEIGHT}))
    return whole[: int(len(whole) * share)]


def _shadowed() -> bytes:
    """A dict whose own methods are numbers."""
    return given(META, dictionary({name: number(5) for name in ("items", "keys", "values", "get", "pop", "__len__")}))


OURS = ("format", "family", "config", "classes", "label_base", "clip_shape", "model", "epoch", "selected_on")
BOMB = bytes(10_000_000)


def _ours(options: dict[str, bytes]) -> bytes:
    """A checkpoint of ours with every type right, and these groups of options."""
    kinds = {
        "format": number(1),
        "family": text("clip-caer"),
        "config": dictionary(options),
        "selected_on": text("val"),
    }
    kinds |= {"classes": listed(text("a")), "label_base": number(1), "epoch": number(1)}
    return archive(dictionary(kinds | {"model": dictionary({"weight": WEIGHT})}))


HEADER = {"weight": entry(0, 16, [4])}
FILES: dict[str, Builder] = {
    "an empty file": lambda c: b"",
    "a text": lambda c: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "a web page": lambda c: b"<!doctype html>\n<html></html>\n",
    "a dict whose methods are numbers": lambda c: archive(_shadowed()),
    "a state dict whose methods are numbers": lambda c: archive(dictionary({"state_dict": _shadowed()})),
    "an empty stack": lambda c: archive(b"0"),
    "a stack of two": lambda c: archive(b"}}"),
    "a number": lambda c: archive(number(5)),
    "a list": lambda c: archive(listed(WEIGHT)),
    "a recorder": lambda c: archive(RECORDER + b")\x81"),
    "lines and colours in a key": lambda c: archive(dictionary({"all is well\n\x1b[31mdone": WEIGHT})),
    "lines and colours in a key of the state": lambda c: archive(
        dictionary({"state_dict": dictionary({"\n\x1b[2J": WEIGHT, "prompt_learner.ctx": WEIGHT, "\u202e": WEIGHT})})
    ),
    "a lone surrogate as a key": lambda c: archive(b"}" + SURROGATE + WEIGHT + b"s"),
    "a lone surrogate in the state": lambda c: archive(
        dictionary({"state_dict": b"}" + SURROGATE + WEIGHT + b"s" + text("prompt_learner.ctx") + WEIGHT + b"s"})
    ),
    "a key that is a number": lambda c: archive(b"}" + number(5) + WEIGHT + b"s"),
    "a key of 100 000 letters": lambda c: archive(dictionary({"x" * 100_000: WEIGHT})),
    "laughing tuples as a state": lambda c: archive(dictionary({"state_dict": shared(LAUGHS)})),
    "nested tuples as a state": lambda c: archive(dictionary({"state_dict": deep(10_000), "format": deep(10_000)})),
    "a state dict that holds itself": lambda c: archive(b"}q\x01" + text("state_dict") + b"h\x01s"),
    "a CLIP of one tensor": lambda c: archive(dictionary({"visual.conv1.weight": WEIGHT, "visual.proj": WEIGHT})),
    "a CLIP of numbers": lambda c: archive(dictionary({"visual.conv1.weight": number(5)})),
    "a checkpoint of ours, of numbers": lambda c: archive(dictionary({key: number(1) for key in OURS})),
    "a checkpoint of ours, of tensors": lambda c: archive(dictionary({key: WEIGHT for key in OURS})),
    "a checkpoint of ours, of recorders": lambda c: archive(dictionary({key: RECORDER + b")\x81" for key in OURS})),
    "a checkpoint of ours, of laughing tuples": lambda c: archive(dictionary({key: shared(LAUGHS) for key in OURS})),
    "laughing tuples as a stored name": lambda c: _ours({"run": dictionary({"exper_name": shared(LAUGHS)})}),
    "laughing tuples as a stored option": lambda c: _ours(
        {"run": dictionary({"exper_name": text("x")}), "optim": dictionary({"lr": shared(LAUGHS)})}
    ),
    "a tar": lambda c: _tar(),
    "a plain pickle with a payload": lambda c: b"\x80\x02" + call("os.system", touch(c)) + b".",
    "a legacy file with a payload": _legacy,
    "TorchScript with code": lambda c: _script(c.parent),
    "TorchScript of laughing modules": lambda c: _laughing_modules(),
    "TorchScript of long names": lambda c: _long_names(),
    "TorchScript of no module": lambda c: archive(b"", {"data.pkl": SOUND, "data/0": PIECE, "constants.pkl": SOUND}),
    "TorchScript that runs": lambda c: torchscript(call("os.system", touch(c))),
    "TorchScript of a module of the machine": lambda c: torchscript(named("__torch__os.system")),
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
    **{f"cut at {share:.0%}": lambda c, s=share: _truncated(s) for share in (0.05, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99)},
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
    "safetensors: a pickle": lambda c: published(call("os.system", touch(c))),
}


def _inside(body: bytes) -> Builder:
    return lambda _: archive(dictionary({"state_dict": dictionary({"weight": WEIGHT}), "recorder": body}), **RECORDS)


HOSTILE: dict[str, Builder] = {
    **{f"runs {name}": lambda c, b=body: published(b(c)) for name, body in RUNS.items()},
    **{name: _inside(body) for name, body in (BUILT | WASTEFUL).items()},
    **FILES,
    **SAFETENSORS,
}
