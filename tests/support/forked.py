"""Separate processes for ``main`` that start after the imports: in a tenth of a second instead of five.

They come from one server per test process, a copy of it from the moment when it had imported all tests and computed
nothing. Each is a real process, which can be killed or limited. What a process imports, or how it starts, is tested
with a fresh one.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import resource
import socket
import sys
from collections.abc import Callable
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path

import pytest

from tests.support.quick import quick_runs
from tests.support.tools import ROOT

SERVER = multiprocessing.get_context("forkserver")
PRELOADED = ["tests.support.preloaded"]
SERVER.set_forkserver_preload(PRELOADED)


def start_server() -> None:
    """Start the server as a fork of this process, which must not have computed with torch: its threads are not copied.

    ``multiprocessing`` would start a new Python, which imports for seconds.
    """

    def fork(_: object, __: object, kept: list[int]) -> int:
        if pid := os.fork():
            return pid
        try:
            serve(*kept)
        finally:
            os._exit(0)

    resource_tracker.ensure_running()  # another process, which is a new Python
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(util, "spawnv_passfds", fork)
        forkserver.ensure_running()


def serve(listener: int, alive: int) -> None:
    """Run the server of ``multiprocessing`` without the files and the captured screen of pytest."""
    faulthandler.disable()  # it writes to a file of pytest
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in map(int, os.listdir("/dev/fd")):
        # not only closed: what logs to a file of pytest would write to the next file that gets its number
        if number not in (0, 1, 2, nothing, listener, alive):
            os.dup2(nothing, number, inheritable=False)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    forkserver.main(listener, alive, PRELOADED)


def enter(
    main: Callable[[list[str]], int],
    arguments: list[str],
    files: tuple[Path, Path],
    environment: dict[str, str],
    file_bytes: int | None,
) -> None:
    """Set up screen, folder and limits in the new process, and run the command."""
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    multiprocessing.set_start_method("fork", force=True)  # of the processes that decode, as in a fresh process
    os.environ.update(environment)
    os.chdir(ROOT)
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    with quick_runs():
        sys.exit(main(arguments))


class Forked:
    """``main(arguments)`` in a separate process, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(
        self,
        main: Callable[[list[str]], int],
        arguments: list[str],
        screen: Path,
        *,
        environment: dict[str, str] | None = None,
        file_bytes: int | None = None,
    ) -> None:
        """``screen``: path of the files for stdout and stderr, without suffix; ``file_bytes``: largest file."""
        self.files = screen.with_suffix(".out"), screen.with_suffix(".err")
        values = (main, [str(word) for word in arguments], self.files, environment or {}, file_bytes)
        self.process = SERVER.Process(target=enter, args=values)
        with contextlib.chdir(ROOT):  # the folder from which the server imports
            self.process.start()

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.process.kill()

    def wait(self, timeout: float | None = None) -> int | None:
        self.process.join(timeout)
        return self.returncode

    def communicate(self, timeout: float = 1200) -> tuple[str, str]:
        if self.wait(timeout) is None:
            self.kill()
            raise TimeoutError(f"no end after {timeout} s: {self.files[0]}")
        out, errors = (file.read_text(encoding="utf-8") for file in self.files)
        return out, errors


def run_pair(main: Callable[[list[str]], int], arguments: list[str | Path], screen: Path) -> list[str]:
    """Run one command in two processes that meet as those of torchrun do; return what each of them printed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    pair = []
    for rank in "01":
        environment = meeting | {"RANK": rank, "LOCAL_RANK": rank}
        pair.append(Forked(main, arguments, screen.with_name(f"{screen.name}-{rank}"), environment=environment))
    outputs = [process.communicate() for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    return [out for out, _ in outputs]
