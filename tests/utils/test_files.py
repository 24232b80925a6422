"""Files written in one step, and locks between processes."""

import subprocess
import sys

import filelock
import pytest

from tests.support.tools import ROOT
from utils.errors import UserError
from utils.files import acquire_lock, atomic_write

LOCK = "import sys, pathlib, utils.files; utils.files.acquire_lock(pathlib.Path(sys.argv[1]), 'busy')"


def lock_in_a_process(path) -> str:
    return subprocess.run([sys.executable, "-c", LOCK, path], cwd=ROOT, capture_output=True, text=True).stderr


def test_a_file_is_replaced_only_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_lock_refuses_others_until_it_is_left(tmp_path):
    path = tmp_path / "deep" / "lock"
    with acquire_lock(path, "busy"):
        assert "UserError: busy" in lock_in_a_process(path)
        with pytest.raises(UserError, match="busy"):
            acquire_lock(path, "busy")
    assert lock_in_a_process(path) == ""
    with acquire_lock(path, "busy"):  # that process has ended, and its lock with it
        pass


@pytest.mark.parametrize("error", [OSError(95, "Operation not supported"), NotImplementedError()])
def test_a_disk_without_locks_does_not_lock(tmp_path, monkeypatch, error):
    def acquire(*_, **__):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with acquire_lock(tmp_path / "lock", "busy"), acquire_lock(tmp_path / "lock", "busy"):
        pass


def test_a_file_with_content_is_not_a_lock(tmp_path):
    (tmp_path / "journal").write_text("data")
    with pytest.raises(AssertionError, match="holds data"):
        acquire_lock(tmp_path / "journal", "busy")


def test_a_folder_that_cannot_be_written_is_an_error_for_the_lock(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        acquire_lock(tmp_path / "file" / "lock", "busy")
