"""Fixtures for all tests: a tiny set on disk, and one run trained on it through the command line."""

import gc
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # also for the processes that tests start

# a shell ignores both in what it runs behind "&", and processes inherit that
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)

import torch  # noqa: E402

torch.set_num_threads(1)  # the models are tiny, so more threads only wait for each other

import pytest  # noqa: E402
from filelock import FileLock  # noqa: E402

from tests.support.drawn import draw, flags  # noqa: E402
from tests.support.pictures import real_pictures  # noqa: E402
from tests.support.quick import quick_runs  # noqa: E402
from tests.support.resuming import write_small  # noqa: E402
from tests.support.tiny import as_arguments, write_set  # noqa: E402
from tests.support.tools import FAST, Run, run_main  # noqa: E402
from tests.support.watched import KnownFaces, know_faces  # noqa: E402


def pytest_collection_finish() -> None:
    """What is imported stays until the end, so the garbage collector need not go through it in every collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    if "tests.support.forked" in sys.modules:  # a test needs it
        sys.modules["tests.support.forked"].start_server()


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    with quick_runs():
        yield


@pytest.fixture(scope="session", autouse=True)
def one_core() -> Iterator[None]:
    """Small sets are drawn in this process: each other process would import for seconds to draw for a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], Any]], Any]:
    """Return a function that builds something in a new folder, once for all processes that run the tests.

    The others wait and get a copy of what ``build(folder)`` returned. Nothing may be written to the folder later.
    """
    base = tmp_path_factory.getbasetemp()
    parent = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def built(name: str, build: Callable[[Path], Any]) -> Any:
        folder = parent / f"shared-{name}"
        result = folder / "result.pickle"
        with FileLock(folder.with_suffix(".lock")):
            if not result.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed to build it
                folder.mkdir()
                result.write_bytes(pickle.dumps(build(folder)))
        return pickle.loads(result.read_bytes())

    return built


@pytest.fixture(scope="session")
def tiny_flags(shared) -> dict[str, str]:
    """60 clips of 8 frames and 6 persons, two of them in the test list; read only."""
    return shared("tiny", lambda folder: write_set(folder / "set", clips=60, frames=8))


@pytest.fixture(scope="session")
def tiny_arguments(tiny_flags) -> list[str]:
    """Arguments of a quick run: the tiny set, the random CLIP, few frames, no workers."""
    return [*FAST, *as_arguments(tiny_flags)]


@pytest.fixture(scope="session")
def small_flags(shared) -> list[str]:
    """A set of 25 short clips and a quick training on it: tests/support/resuming.py; read only."""
    return shared("small", lambda folder: write_small(folder / "set"))


@pytest.fixture(scope="session")
def trained(shared, tiny_arguments) -> Run:
    """A run with every part on (adapter, IEC, MI, DC) that has learnt the tiny set; its figures are not replaced."""
    settings = "--exper-name tiny --optimizer AdamW --lr 1e-3 --lr-image-encoder 1e-3 --lr-prompt-learner 3e-3"
    settings += " --temperature 0.02 --normalize clip --epochs 14 --milestones 11"
    with real_pictures():
        return shared("trained", lambda folder: run_main([*tiny_arguments, *settings.split()], folder / "run"))


@pytest.fixture(scope="session")
def drawn(shared) -> Callable[[str], Path]:
    """Return the root of a small simulated set in a published layout, written at the first call; read only."""
    return cache(lambda layout: shared(layout, lambda folder: draw(layout, folder / layout)))


@pytest.fixture(scope="session")
def captioned(drawn, shared) -> Run:
    """A short emoclip run on the captions of the simulated MAFW, fold 4; its image encoder is trained too."""
    learn = "--optimizer AdamW --lr 1e-3 --lr-image-encoder 1e-3 --epochs 5".split()
    words = ["@recipes/emoclip.args", *flags("mafw_captions", drawn("mafw")), *learn]
    return shared("captioned", lambda folder: run_main(words, folder / "run"))


@pytest.fixture
def real_figures() -> Iterator[None]:
    """Figures of results are drawn: tests/support/pictures.py."""
    with real_pictures():
        yield


@pytest.fixture
def eyes(monkeypatch) -> KnownFaces:
    """A detector of the faces of tests/support/watched.py, tracked from the first detection on."""
    return know_faces(monkeypatch)
