"""Fixtures shared by the tests of apps/."""

import threading
from types import SimpleNamespace

import pytest

from apps.serve.jobs import Jobs
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


@pytest.fixture
def checking(monkeypatch):
    """The check of a file that has arrived: ``begun`` is set when it begins, and it waits for ``go_on``."""
    events, submit = SimpleNamespace(begun=threading.Event(), go_on=threading.Event()), Jobs.submit

    def submit_later(jobs, job):
        events.begun.set()
        assert events.go_on.wait(300)
        submit(jobs, job)

    monkeypatch.setattr(Jobs, "submit", submit_later)
    return events
