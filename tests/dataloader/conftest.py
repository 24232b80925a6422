"""A set that ``python -m dataloader.prepare`` made of four small videos."""

from pathlib import Path

import pytest

from tests.support.preparing import PLAIN, film_classes, run


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return film_classes(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def made(videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "set"
    assert run(videos, "--out", out, *PLAIN, "--test-share", "0.3")[0] == 0
    return out
