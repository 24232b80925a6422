"""The run folder: config, log, metrics of every epoch, TensorBoard. Everything later reads these files alone."""

import itertools
import json
import math
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from utils.errors import UserError, one_line, reason_of
from utils.files import acquire_lock, naming, remove_parts, write_text

FLAGS_FILE = "given.json"  # the options that were typed; all others follow from them
LOCK = "run.lock"  # is there while a process works on the run, and empty
BEGINNING = {"config.json", "log.txt", FLAGS_FILE, LOCK}  # files of a run that has not computed anything
LINE_SECONDS = 30.0  # between two lines about the progress, where there is no terminal


class RunLog:
    """Writes to the run folder and to the screen."""

    _metrics: dict[str, Any] | None = None  # of a run that has its scores
    _board: "EventFile | None" = None
    _first_epoch: int | None = None  # of a resumed run: TensorBoard forgets this epoch and later ones

    def __init__(self, folder: Path, busy: str = "") -> None:
        """Open the log of a run folder, which no other process can open until ``close`` or the end of this process.

        ``busy``: the message where another process has it open.
        """
        self.folder = folder
        self.started = time.time()
        self._lock = ExitStack()
        busy = busy or f"{folder}: another process is working on this run"
        self._lock.enter_context(acquire_lock(folder / LOCK, busy))
        self._log = open(folder / "log.txt", "a", encoding="utf-8", buffering=1)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a report says about the run besides its scores: ``warnings``; ``data``, what each list holds; ``best``,
        which epoch was kept. They are stored in metrics.json."""
        return {"warnings": [], "data": {}}

    def say(self, text: str) -> None:
        """Print a line and log it."""
        text = text.encode("utf-8", "backslashreplace").decode()
        try:
            print(text, flush=True)
        except BrokenPipeError:  # the reader of the screen, tee for one, is gone; the log goes on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self.note(text)

    def note(self, text: str) -> None:
        """Log a line that is too long to print."""
        with naming(self.folder / "log.txt"):
            self._log.write(text + "\n")

    def warn(self, text: str, kind: str = "") -> None:
        """Print a warning and keep it as a fact. ``kind`` is for readers that must know what it is about."""
        self.say(f"warning: {text}")
        warning = {"kind": kind, "text": text.encode("utf-8", "backslashreplace").decode()}
        if warning not in self.facts["warnings"]:
            self.facts["warnings"].append(warning)

    def restore_warnings(self, warnings: list[dict[str, str]]) -> None:
        """Put the warnings that a resumed run said before it was stopped before those that it has said since."""
        since = [warning for warning in self.facts["warnings"] if warning not in warnings]
        self.facts["warnings"][:] = [*warnings, *since]

    def keep_metrics(self, metrics: dict[str, Any]) -> None:
        """Keep the scores for ``complete``."""
        self._metrics = metrics

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json, as it is read again: the scores, and the facts of the run so far."""
        return json.loads(json.dumps((self._metrics or {}) | {"facts": self.facts}))

    def complete(self) -> None:
        """Write metrics.json of a run that has scores. It says that the run is complete, so every other file is there.

        Whoever opens a run says when: at the end of its block, after which nothing is written any more.
        """
        if self._metrics is not None:
            self.write_json("metrics.json", self.metrics)

    def epoch(self, values: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl, and send every number of it to TensorBoard."""
        with naming(self.folder / "metrics.jsonl"), open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        for name, value in values.items():
            if isinstance(value, (int, float)) and name != "epoch" and math.isfinite(value):
                self.board.add_scalar(name, value, values["epoch"])

    def restore(self, history: list[dict[str, Any]]) -> None:
        """Set a resumed run back to its last checkpoint: epochs that were logged after it come again."""
        self.write_text("metrics.jsonl", "".join(json.dumps(values) + "\n" for values in history))
        self._first_epoch = len(history) + 1

    def history(self) -> list[dict[str, Any]]:
        """Return the metrics of every epoch that was logged."""
        file = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []

    def write_json(self, name: str, content: Any) -> None:
        self.write_text(name, json.dumps(content, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        write_text(self.folder / name, text)

    @property
    def board(self) -> "EventFile":
        """What TensorBoard shows of the run."""
        if self._board is None:
            self._board = EventFile(self.folder / "tensorboard", self._first_epoch)
            config = self.folder / "config.json"
            if config.exists():
                self._board.add_text("config", as_code(config.read_text(encoding="utf-8")))
        return self._board

    def discard_if_empty(self) -> None:
        """Remove a folder that holds nothing but this run's options and log."""
        if self.folder.is_dir() and {file.name for file in self.folder.iterdir()} <= BEGINNING:
            for file in list(self.folder.iterdir()):
                file.unlink()
            self.folder.rmdir()

    def close(self) -> None:
        """Close all files and let other processes in. Nothing is lost: every line was written when it came."""
        for file in filter(None, (self._log, self._board)):
            with suppress(OSError):  # closing tries once more to write what did not fit on a full disk
                file.close()
        with suppress(OSError):  # before the lock is released: who opened the file in between does not get the lock
            (self.folder / LOCK).unlink(missing_ok=True)
        self._lock.close()


class EventFile:
    """A file that TensorBoard reads. Every entry is written at once, by the thread that computes.

    The writer of the library has a thread of its own, which on a full disk prints a traceback and lets the run wait.
    """

    _count = itertools.count()

    def __init__(self, folder: Path, purge_step: int | None) -> None:
        """``purge_step``: TensorBoard hides this step and later ones of the files that are there already."""
        # here, with the first number, because the import takes a second or two
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        self._event, self._summary = Event, summary
        folder.mkdir(exist_ok=True)
        name = f"{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(self._count)}"
        self.path = folder / f"events.out.tfevents.{name}"
        self._records = RecordWriter(open(self.path, "wb"))
        self._write(Event(file_version="brain.Event:2"))
        if purge_step is not None:
            self._write(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._write(self._event(step=step, summary=self._summary.scalar(name, value)))

    def add_text(self, name: str, text: str) -> None:
        self._write(self._event(summary=self._summary.text(name, text)))

    def add_image(self, name: str, pixels: Any) -> None:
        """``pixels``: (H, W, 3)"""
        self._write(self._event(summary=self._summary.image(name, pixels, dataformats="HWC")))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        with naming(self.path):
            self._records.write(event.SerializeToString())
            self._records.flush()

    def close(self) -> None:
        self._records.close()


class QuietLog(RunLog):
    """The log of every process but the first, which alone writes and prints."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, time.time()

    def _ignore(self, *_: Any) -> None:
        pass

    say = note = epoch = restore = write_text = discard_if_empty = close = _ignore


def open_run(output_dir: str | None, name: str, config: dict[str, Any]) -> RunLog:
    """Create a run folder with its config. A folder that already holds a run is refused."""
    folder = Path(output_dir or "outputs")
    try:
        folder = folder if output_dir else fresh_folder(name)
        busy = f"--output-dir {folder}: another process is working on a run there; name another folder"
        if (folder / "config.json").exists():
            if (folder / LOCK).exists():  # there while a process works on the run, or after it was killed
                acquire_lock(folder / LOCK, busy).__exit__(None, None, None)
            raise UserError(
                f"--output-dir {folder} already holds a run; name another folder, or continue it with --resume {folder}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        log = RunLog(folder, busy)
    except OSError as error:
        raise UserError(f"run folder {folder}: {reason_of(error)}; choose another with --output-dir") from None
    log.write_json("config.json", config)
    return log


def reopen_run(folder: Path) -> RunLog:
    """Open the folder of a run that is resumed, without what killed commands left half-written."""
    try:
        log = RunLog(folder)
        remove_parts(folder)
        return log
    except OSError as error:
        raise UserError(f"run folder {folder}: {reason_of(error)}; go on elsewhere with --output-dir") from None


def require_new(folder: Path, files: list[Path]) -> None:
    """Create ``folder`` and check that none of the ``files`` to be written in it exists."""
    for file in files:
        if file.exists():
            raise UserError(f"{file} exists already; remove it or name another folder with --output-dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output-dir {folder}: {reason_of(error)}") from None


def as_code(text: str) -> str:
    """Return ``text`` as a code block of Markdown, which TensorBoard renders."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def safe_name(name: str) -> str:
    """Return an experiment's name as the beginning of a folder name that every file system takes."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "run")[:80]


def fresh_folder(name: str) -> Path:
    """Create and return ``outputs/<name>-<time>``, with a number behind it where another one has that name."""
    base = Path("outputs") / f"{safe_name(name)}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = base, 1
    while True:
        try:
            folder.mkdir(parents=True)  # not exist_ok: of two runs in the same second only one creates it
            return folder
        except FileExistsError:
            number += 1
            folder = base.with_name(f"{base.name}-{number}")


def progress_bar(
    iterable: Any, total: float | None, label: str, first: int = 0, position: Callable[[Any], float] | None = None
) -> Any:
    """Return an iterator over ``iterable`` that shows how far it is, on stderr.

    It is a tqdm bar on a terminal, a line every ``LINE_SECONDS`` elsewhere, and silent in other processes than the
    first. ``position``: how many seconds of a video, of ``total``, are done with an item; else items are counted.
    """
    from tqdm import tqdm

    is_main, is_terminal = os.environ.get("RANK", "0") == "0", sys.stderr.isatty()
    if is_main and not is_terminal:
        iterable = _with_lines(iterable, total, label, first, position)
    settings = {"desc": label, "initial": first, "leave": False, "dynamic_ncols": True}
    settings["disable"] = not (is_main and is_terminal)
    if position is None or settings["disable"]:
        return tqdm(iterable, total=total, **settings)
    return _at_positions(iterable, tqdm(total=total and math.ceil(total), unit="s", **settings), position)


def _at_positions(iterable: Any, bar: Any, position: Callable[[Any], float]) -> Iterator[Any]:
    with bar:
        for item in iterable:
            yield item
            bar.update(int(position(item)) - bar.n)


def _with_lines(
    iterable: Any, total: float | None, label: str, first: int, position: Callable[[Any], float] | None
) -> Iterator[Any]:
    begin, said = None, time.monotonic()
    for number, item in enumerate(iterable, first + 1):
        yield item
        now, done = time.monotonic(), number if position is None else position(item)
        if begin is None:  # the time of the first item is left out: processes start, kernels are compiled
            begin, first = now, done
        if now - said >= LINE_SECONDS:
            said = now
            line = progress_line(done, total, now - begin, first, of_video=position is not None)
            print(one_line(f"{label}: {line}"), file=sys.stderr, flush=True)


def progress_line(done: float, total: float | None, took: float, first: int = 0, *, of_video: bool = False) -> str:
    """Return ``12 of 60 min, about 4 min left``, or ``1,200 of 5,000, about 40 s left``.

    ``took``: the seconds since the work began, with ``first`` items done already.
    """
    scale, unit = (60, " min") if of_video and max(total or 0, done) > 120 else (1, " s" if of_video else "")
    amounts = [f"{amount / scale:,.0f}" for amount in (done, total) if amount is not None]
    text = " of ".join(amounts) + unit
    if total is None or done <= first:
        return text
    return f"{text}, {time_left(took * max(total - done, 0) / (done - first))}"


def time_left(seconds: float) -> str:
    """Return ``about 40 s left``, ``about 4 min left`` or ``about 2.5 h left``."""
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"
