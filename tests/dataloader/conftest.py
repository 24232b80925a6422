"""A small set without errors, and one that ``python -m dataloader.prepare`` wrote from four small videos."""

from pathlib import Path

import pytest

from tests.support.auditing import SmallSet
from tests.support.filming import film
from tests.support.preparing import moving_face, prepare


@pytest.fixture
def clean(tmp_path) -> SmallSet:
    return SmallSet(tmp_path / "set")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two classes of the user with two persons each, 2.5 seconds per video."""
    root = tmp_path_factory.mktemp("videos")
    for name in ("Bored/anna", "Bored/ben", "Keen/anna", "Keen/cleo"):
        film(root / f"{name}/one.mp4", moving_face(50, start=len(name)))
    return root


@pytest.fixture(scope="module")
def prepared(videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "set"
    assert prepare(videos, out, "--test-share", "0.3")[0] == 0
    return out
