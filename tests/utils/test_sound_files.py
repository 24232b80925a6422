"""Files of torch.save and torch.jit.save are read as by torch; damaged ones are refused."""

import collections
import io
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support.assemble import PIECE, archive, changed, sound_zip
from utils.archive import read_archive, read_safetensors, write_safetensors
from utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def same(a: object, b: object) -> bool:
    """Equal in kind, layout and every bit."""
    if isinstance(b, torch.Tensor):
        alike = isinstance(a, torch.Tensor) and (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
        return alike and torch.equal(a.detach(), b.detach())
    if isinstance(b, (np.ndarray, np.generic)):
        native = b.dtype.newbyteorder("=")  # numpy itself changes the byte order when it reads an array
        return isinstance(a, (np.ndarray, np.generic)) and np.array_equal(a, b) and a.dtype == native
    if isinstance(b, dict):
        return isinstance(a, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in b)
    if isinstance(b, (list, tuple)):
        return isinstance(a, type(b)) | isinstance(b, torch.Size) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def _network() -> torch.nn.Module:
    class Inner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(3)
            self.register_buffer("mean", torch.rand(2, 3).half())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x) + self.mean.float().sum()

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 3), Inner(), torch.nn.Sequential(torch.nn.PReLU(), Inner()))


def _optimiser(kind: type) -> dict:
    net = _network()
    optimiser = kind(net.parameters(), lr=0.1)
    net(torch.rand(4, 3)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


BASE = torch.arange(24.0).view(4, 6)
SOUND = {
    "a state dict": _network().state_dict(),
    "containers": {"a": [1, (2.5, None), {"b": {True, 3}}], "c": collections.OrderedDict(x=1, y=[]), "d": (), 7: "ü"},
    "numbers": [2**70, -1, 1e300, float("inf"), True, b"bytes", "x" * 300],
    "kinds of number": [
        torch.arange(5).to(kind)
        for kind in (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16)
    ]
    + [torch.tensor([True, False]), torch.arange(5, dtype=torch.uint8), torch.arange(5, dtype=torch.int8)],
    "views": {"whole": BASE, "row": BASE[1], "column": BASE[:, 2], "turned": BASE.t(), "steps": BASE[::2, 1::2]},
    "shapes": [torch.tensor(3.5), torch.empty(0), torch.empty(0, 4), torch.zeros(1, 1, 1), BASE.t().contiguous().t()],
    "parameters": {"weight": torch.nn.Parameter(torch.rand(3)), "frozen": torch.nn.Parameter(BASE, False)},
    "numpy": {"best": np.float64(71.5), "one": np.float32(2), "count": np.int64(3), "curve": np.random.rand(5, 2)},
    "numpy arrays": [np.arange(6, dtype=kind).reshape(2, 3) for kind in ("f4", "i4", "u1", "i8", ">f8", "f2")]
    + [np.asfortranarray(np.eye(3)), np.array(5.0), np.empty((0, 3)), np.array([True, False])],
    "a size": {"shape": torch.Size([2, 3]), "kind": torch.float16},
    "SGD": _optimiser(torch.optim.SGD),
    "AdamW": _optimiser(torch.optim.AdamW),
}


def save(content: object, path: Path, *renamed: tuple[bytes, bytes]) -> Path:
    """Write a file with torch.save and replace words in its pickle."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    if not renamed:
        path.write_bytes(buffer.getvalue())
        return path
    with zipfile.ZipFile(buffer) as file:
        records = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    records = {n: d for n, d in records.items() if n == "data.pkl" or n.startswith("data/")}
    for old, new in renamed:
        assert old in records["data.pkl"]
        records["data.pkl"] = records["data.pkl"].replace(old, new)
    path.write_bytes(archive(b"", records))
    return path


@pytest.mark.parametrize("name", SOUND)
def test_files_of_torch_are_read_as_by_torch(tmp_path, name):
    save(SOUND[name], tmp_path / "sound.pt")
    assert same(read_archive(tmp_path / "sound.pt"), torch.load(tmp_path / "sound.pt", weights_only=False))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_any_pickle_protocol_is_read(tmp_path, protocol):
    torch.save(SOUND["containers"] | {"t": BASE}, tmp_path / "sound.pt", pickle_protocol=protocol)
    assert same(read_archive(tmp_path / "sound.pt"), SOUND["containers"] | {"t": BASE})


def test_shared_storages_stay_shared(tmp_path):
    back = read_archive(save(SOUND["views"], tmp_path / "sound.pt"))
    assert len({tensor.untyped_storage().data_ptr() for tensor in back.values()}) == 1
    back["whole"][1, 2] = -1
    assert back["row"][2] == back["column"][1] == back["turned"][2, 1] == -1


@pytest.mark.parametrize("name", ["numpy", "numpy arrays"])
def test_both_spellings_of_numpy_are_read(tmp_path, name):
    file = save(SOUND[name], tmp_path / "old.pt", (b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert same(read_archive(file), SOUND[name])


class RecorderMeter:
    """The training curve that published checkpoints hold; its class has another name on every machine."""

    def __init__(self) -> None:
        self.total_epoch, self.epoch_losses = 3, np.zeros((3, 2), dtype=np.float32)


@pytest.mark.parametrize("module", ["__main__", "utils.utils"])
def test_a_published_container_is_read_without_its_recorder(tmp_path, module):
    state = SOUND["a state dict"]
    content = {"epoch": 4, "state_dict": state, "best_acc": np.float64(64.5), "recorder": RecorderMeter()}
    content |= {"optimizer": SOUND["SGD"]}
    back = read_archive(save(content, tmp_path / "model.pth", (__name__.encode(), module.encode())))
    for key in ("epoch", "state_dict", "best_acc", "optimizer"):
        assert same(back[key], content[key]), key
    assert type(back["recorder"]).__module__.split(".")[0] == "utils" and not callable(back["recorder"])


@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.rand(4, 3))])
def test_the_tensors_of_a_torchscript_archive(tmp_path, monkeypatch, make):
    net = _network().eval()
    torch.jit.save(make(net), tmp_path / "net.pt")
    monkeypatch.setattr(torch.jit, "load", None)
    monkeypatch.setattr(torch, "load", None)
    back = read_archive(tmp_path / "net.pt")
    state = net.state_dict()
    assert set(back) == set(state) and all(same(back[key], state[key]) for key in state)


# --- damage


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[bytes, object]:
    content = {"state_dict": {"weight": BASE, "bias": torch.arange(5)}, "epoch": 3, "names": ["a", "b"]}
    return save(content, tmp_path_factory.mktemp("small") / "small.pt").read_bytes(), content


def test_a_flipped_bit_is_detected_or_changes_nothing(small, tmp_path):
    data, content = small
    rng, refusals = random.Random(0), 0
    for _ in range(200):
        position, bit = rng.randrange(len(data)), rng.randrange(8)
        try:
            assert same(read_archive(with_flipped_bit(data, position, bit, tmp_path)), content), (bit, position)
        except UserError as error:
            assert str(tmp_path / "hurt.pt") in str(error) and str(error).isprintable()
            refusals += 1
    assert refusals > 50


def test_a_flipped_bit_of_a_tensor_is_always_detected(small, tmp_path):
    data, _ = small
    start = data.index(BASE.numpy().tobytes())
    for position in range(start, start + BASE.numel() * 4):
        with pytest.raises(UserError, match="hurt.pt"):
            read_archive(with_flipped_bit(data, position, 4, tmp_path))


def with_flipped_bit(data: bytes, position: int, bit: int, folder: Path) -> Path:
    damaged = bytearray(data)
    damaged[position] ^= 1 << bit
    (folder / "hurt.pt").write_bytes(damaged)
    return folder / "hurt.pt"


def test_a_file_truncated_anywhere_is_refused(small, tmp_path):
    data, _ = small
    for length in range(0, len(data), 23):
        (tmp_path / "cut.pt").write_bytes(data[:length])
        with pytest.raises(UserError, match="cut.pt"):
            read_archive(tmp_path / "cut.pt")


def test_the_hand_made_archives_are_valid_except_for_the_planted_fault(tmp_path):
    """Otherwise the tests above could pass because of an error in the archives."""
    (tmp_path / "sound.pt").write_bytes(sound_zip())
    weight = read_archive(tmp_path / "sound.pt")["weight"]
    assert weight.tolist() == [1, 2, 3, 4] and weight.numpy().tobytes() == PIECE
    (tmp_path / "sound.pt").write_bytes(changed(sound_zip(), b"PK\x05\x06", 0, b"PK\x05\x06"))
    assert same(read_archive(tmp_path / "sound.pt"), {"weight": weight})


# --- safetensors

TENSORS = {"weight": BASE, "bias": torch.arange(3000), "half": torch.rand(5).half(), "none": torch.empty(0, 4)}


@pytest.fixture
def sealed(tmp_path) -> Path:
    write_safetensors(TENSORS, tmp_path / "sealed.safetensors", {"checkpoint": json.dumps({"classes": ["a"]})})
    return tmp_path / "sealed.safetensors"


def test_safetensors_are_read_as_they_were_written(sealed):
    tensors, metadata = read_safetensors(sealed)
    assert same({name: tensors[name] for name in TENSORS}, TENSORS) and metadata["checkpoint"] == '{"classes": ["a"]}'


def test_a_flipped_bit_of_safetensors_is_detected_or_changes_nothing(sealed):
    data, rng, refusals = sealed.read_bytes(), random.Random(0), 0
    content = read_safetensors(sealed)[0]
    for case in range(400):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data) if case % 2 else 600)] ^= 1 << rng.randrange(8)
        sealed.write_bytes(damaged)
        try:
            assert same(read_safetensors(sealed)[0], content), case
        except UserError as error:
            assert str(sealed) in str(error)
            refusals += 1
    assert refusals > 380  # all bits except those in the name of the checksum


def test_exchanged_pages_of_safetensors_are_detected(sealed):
    data = sealed.read_bytes()
    first, second = data[4096:8192], data[8192:12288]
    sealed.write_bytes(data[:4096] + second + first + data[12288:])
    with pytest.raises(UserError, match="checksum"):
        read_safetensors(sealed)


def test_safetensors_without_a_checksum_are_read(tmp_path):
    save_file(TENSORS, tmp_path / "old.safetensors")
    assert same(read_archive(tmp_path / "old.safetensors")["weight"], BASE)
