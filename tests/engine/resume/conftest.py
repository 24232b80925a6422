"""A small set, an uninterrupted run on it, and one that was stopped inside an epoch."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.resuming import EPOCH, call, interrupt, read


@pytest.fixture(scope="session")
def flags(small_flags) -> list[str]:
    return small_flags


@pytest.fixture(scope="session")
def uninterrupted_with(flags, tmp_path_factory) -> Callable[..., Path]:
    """The folder of an uninterrupted run with further flags."""
    folders: dict[tuple[str, ...], Path] = {}

    def run(*extra: str) -> Path:
        if extra not in folders:
            folders[extra] = tmp_path_factory.mktemp("uninterrupted") / "run"
            call(*flags, *extra, "--output-dir", folders[extra]).ok()
        return folders[extra]

    return run


@pytest.fixture(scope="session")
def uninterrupted(uninterrupted_with) -> Path:
    return uninterrupted_with()


@pytest.fixture(scope="session")
def stopped_once(flags, tmp_path_factory) -> Path:
    """Stopped inside epoch 2, with the checkpoint of the end of epoch 1 beside the last one; read only."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    assert interrupt(flags, folder, signal.SIGTERM, EPOCH + 3).status == 143
    assert read(folder / "last.pt")["progress"]["step"] == 2
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path) -> Path:
    return Path(shutil.copytree(stopped_once, tmp_path / "stopped"))
