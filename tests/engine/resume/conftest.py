"""A small set, a run left alone, and one that was stopped inside an epoch."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.resuming import EPOCH, at_forward, call, read, send, write_small


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    return write_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def alone(flags, tmp_path_factory) -> Callable[..., Path]:
    """The folder of an uninterrupted run with these further flags."""
    done: dict[tuple[str, ...], Path] = {}

    def run(*more: str) -> Path:
        if more not in done:
            done[more] = tmp_path_factory.mktemp("alone") / "run"
            result = call(*flags, *more, "--output-dir", done[more])
            assert result.status == 0, result.err
        return done[more]

    return run


@pytest.fixture(scope="module")
def halted_once(flags, tmp_path_factory) -> Path:
    """Stopped inside epoch 2, with the checkpoint of the end of epoch 1 beside the last one."""
    folder = tmp_path_factory.mktemp("halted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        at_forward(patch, EPOCH + 3, send(signal.SIGTERM))
        assert call(*flags, "--output-dir", folder).status == 143
    assert read(folder / "last.pt")["progress"]["step"] == 2
    return folder


@pytest.fixture
def halted(halted_once, tmp_path) -> Path:
    return Path(shutil.copytree(halted_once, tmp_path / "halted"))
