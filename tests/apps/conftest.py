"""Fixtures shared by the tests of apps/."""

import pytest

from tests.support import affect
from tests.support.serving import serving
from tests.support.tools import RANDOM_CLIP, run_main


@pytest.fixture(scope="session")
def best(trained):
    return trained.folder / "best.pt"


@pytest.fixture(scope="session")
def frame_model(tmp_path_factory):
    """A checkpoint of frame-expr; its training set is in the folder "set" beside its run."""
    folder = tmp_path_factory.mktemp("frames")
    affect.write_set(folder / "set")
    affect.write_frames(folder / "set")
    words = f"--model frame-expr --root-dir {folder}/set --epochs 1 --device cpu --workers 0 --frame-step 8".split()
    return run_main([*words, *RANDOM_CLIP], folder / "run").ok().folder / "best.pt"


@pytest.fixture
def served(tmp_path):
    """A running server of --mode serve."""
    with serving(tmp_path) as served:
        yield served
