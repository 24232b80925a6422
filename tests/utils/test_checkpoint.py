"""Checkpoints are written whole or not at all, and read without running what is in them."""

import pickle

import pytest
import torch

from utils.checkpoint import halve_where_exact, load_checkpoint, save_checkpoint, to_full
from utils.errors import UserError

CONTENT = {"model": {"weight": torch.arange(6.0).view(2, 3)}, "epoch": 3, "names": ["a", "b"], "best": {"uar": 1.5}}


def test_what_is_saved_comes_back(tmp_path):
    save_checkpoint(CONTENT, tmp_path / "a.pt")
    back = load_checkpoint(tmp_path / "a.pt", ("model", "epoch"))
    assert torch.equal(back["model"]["weight"], CONTENT["model"]["weight"])
    assert {k: v for k, v in back.items() if k != "model"} == {k: v for k, v in CONTENT.items() if k != "model"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError(28, "No space left on device"), UserError),
        (RuntimeError("file write failed"), UserError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path, monkeypatch, failure, raised):
    path = tmp_path / "a.pt"
    save_checkpoint(CONTENT, path)
    before = path.read_bytes()

    def write_half(content, file):
        file.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(raised, match="a.pt" if raised is UserError else None):
        save_checkpoint({"epoch": 4}, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_the_file_before_can_be_kept(tmp_path):
    for epoch in (1, 2, 3):
        save_checkpoint(CONTENT | {"epoch": epoch}, tmp_path / "last.pt", keep_previous=True)
    epochs = {file.name: load_checkpoint(file, ("epoch",))["epoch"] for file in tmp_path.iterdir()}
    assert epochs == {"last.pt": 3, "last.previous.pt": 2}


class Runs:
    """Unpickling this would run code."""

    def __reduce__(self):
        return (print, ("code from a checkpoint has run",))


def test_code_in_a_file_is_never_run(tmp_path, capsys):
    torch.save({"model": Runs(), "epoch": 1}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="evil.pt"):
        load_checkpoint(tmp_path / "evil.pt", ("model",))
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(UserError, match="evil.pkl"):
        load_checkpoint(tmp_path / "evil.pkl", ("model",))
    assert "has run" not in capsys.readouterr().out


FOREIGN = {
    "empty": b"",
    "text": b"not a checkpoint\n",
    "json": b'{"model": 1}',
    "zeros": bytes(100),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "zip": b"PK\x05\x06" + bytes(18),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(range(256)),
    "number": pickle.dumps(5),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_ends_in_one_line(tmp_path, kind):
    (tmp_path / "file.pt").write_bytes(FOREIGN[kind])
    with pytest.raises(UserError, match="file.pt") as caught:
        load_checkpoint(tmp_path / "file.pt", ("model",))
    assert "\n" not in str(caught.value)


def test_a_truncated_checkpoint_ends_in_one_line(tmp_path):
    save_checkpoint(CONTENT, tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="a.pt"):
        load_checkpoint(tmp_path / "a.pt", ("model",))


def test_missing_entries_are_named(tmp_path):
    save_checkpoint({"model": {}}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="classes, epoch"):
        load_checkpoint(tmp_path / "a.pt", ("model", "classes", "epoch"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="gone.pt"):
        load_checkpoint(tmp_path / "gone.pt", ("model",))
    with pytest.raises(UserError):
        load_checkpoint(tmp_path, ("model",))


def test_only_tensors_that_lose_nothing_are_halved():
    exact, inexact = torch.tensor([0.5, -2.0, 65504.0]), torch.tensor([0.1, 1.0])
    state = {"exact": exact, "inexact": inexact, "huge": torch.tensor([1e6]), "index": torch.tensor([3])}
    halved = halve_where_exact(state)
    assert [halved[name].dtype for name in state] == [torch.float16, torch.float32, torch.float32, torch.int64]
    assert all(torch.equal(value, state[name]) for name, value in to_full(halved).items())
