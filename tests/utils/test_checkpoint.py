"""Checkpoints are written completely or not at all, and read without running code in them."""

import resource

import pytest
import torch

from utils.checkpoint import halve_where_exact, load_checkpoint, save_checkpoint, save_safetensors, to_full
from utils.errors import UserError

CONTENT = {"model": {"weight": torch.arange(6.0).view(2, 3)}, "epoch": 3, "names": ["a", "b"], "best": {"uar": 1.5}}


def test_saved_content_is_loaded_unchanged(tmp_path):
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


def test_the_previous_file_can_be_kept(tmp_path):
    for epoch in (1, 2, 3):
        save_checkpoint(CONTENT | {"epoch": epoch}, tmp_path / "last.pt", keep_previous=True)
    epochs = {file.name: load_checkpoint(file, ("epoch",))["epoch"] for file in tmp_path.iterdir()}
    assert epochs == {"last.pt": 3, "last.previous.pt": 2}


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


@pytest.mark.parametrize("save", [save_checkpoint, save_safetensors])
def test_a_full_disk_gives_a_one_line_error_and_leaves_the_old_file(tmp_path, save):
    path = tmp_path / "a.file"
    save(CONTENT, path)
    before, (soft, hard) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(
            UserError, match=r"a.file: cannot be written \(file too large\); the file there is unchanged"
        ):
            save({"model": {"weight": torch.zeros(50_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
