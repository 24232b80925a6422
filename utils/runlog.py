"""The run folder: config, log, metrics of every epoch, TensorBoard. Later commands read only these files."""

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

FLAGS_FILE = "given.json"  # the options that the user passed; all others follow from them
LOCK = "run.lock"  # an empty file that exists while a process works on the run
BEGINNING = {"config.json", "log.txt", FLAGS_FILE, LOCK}  # files of a run without results
LINE_SECONDS = 30.0  # between two lines on the progress if there is no terminal


class RunLog:
    """Writes to the run folder and to the screen."""

    _metrics: dict[str, Any] | None = None  # None until the run has scores
    _board: "EventFile | None" = None
    _first_epoch: int | None = None  # of a resumed run; TensorBoard hides this epoch and later ones of before

    def __init__(self, folder: Path, busy: str = "") -> None:
        """Open the log of a run folder and lock it until ``close`` or the end of this process.

        ``busy``: the error message if another process has locked it.
        """
        self.folder = folder
        self.started = time.time()
        self._lock = ExitStack()
        busy = busy or f"{folder}: another process is working on this run"
        self._lock.enter_context(acquire_lock(folder / LOCK, busy))
        self._log = open(folder / "log.txt", "a", encoding="utf-8", buffering=1)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Facts of the run besides its scores: ``warnings``; ``data``, the content of each list; ``best``, the selected
        epoch. They are stored in metrics.json."""
        return {"warnings": [], "data": {}}

    def say(self, text: str) -> None:
        """Print a line and log it."""
        text = text.encode("utf-8", "backslashreplace").decode()
        try:
            print(text, flush=True)
        except BrokenPipeError:  # the reader of the output, such as tee, has ended; the log continues
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self.note(text)

    def note(self, text: str) -> None:
        """Log a line that is too long to print."""
        with naming(self.folder / "log.txt"):
            self._log.write(text + "\n")

    def warn(self, text: str, kind: str = "") -> None:
        """Print a warning and store it as a fact. ``kind`` identifies its subject for programs."""
        self.say(f"warning: {text}")
        warning = {"kind": kind, "text": text.encode("utf-8", "backslashreplace").decode()}
        if warning not in self.facts["warnings"]:
            self.facts["warnings"].append(warning)

    def restore_warnings(self, warnings: list[dict[str, str]]) -> None:
        """Insert the stored warnings of a resumed run before its new ones."""
        since = [warning for warning in self.facts["warnings"] if warning not in warnings]
        self.facts["warnings"][:] = [*warnings, *since]

    def keep_metrics(self, metrics: dict[str, Any]) -> None:
        """Store the scores, which ``complete`` writes."""
        self._metrics = metrics

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json: the scores, and the facts of the run so far."""
        return json.loads(json.dumps((self._metrics or {}) | {"facts": self.facts}))

    def complete(self) -> None:
        """Write metrics.json if the run has scores. The file marks a complete run, so it is written last.

        The code that opens a run calls this at the end of its block.
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
        """Remove the logged epochs after the checkpoint of a resumed run, because they are trained again."""
        self.write_text("metrics.jsonl", "".join(json.dumps(values) + "\n" for values in history))
        self._first_epoch = len(history) + 1

    def history(self) -> list[dict[str, Any]]:
        """Return the metrics of every logged epoch."""
        file = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []

    def write_json(self, name: str, content: Any) -> None:
        self.write_text(name, json.dumps(content, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        write_text(self.folder / name, text)

    @property
    def board(self) -> "EventFile":
        """The TensorBoard file of the run."""
        if self._board is None:
            self._board = EventFile(self.folder / "tensorboard", self._first_epoch)
            config = self.folder / "config.json"
            if config.exists():
                self._board.add_text("config", as_code(config.read_text(encoding="utf-8")))
        return self._board

    def discard_if_empty(self) -> None:
        """Remove the folder if it holds only the options and the log of this run."""
        if self.folder.is_dir() and {file.name for file in self.folder.iterdir()} <= BEGINNING:
            for file in list(self.folder.iterdir()):
                file.unlink()
            self.folder.rmdir()

    def close(self) -> None:
        """Close all files and release the lock. Every line has already been written."""
        for file in filter(None, (self._log, self._board)):
            with suppress(OSError):  # closing tries again to write what did not fit on a full disk
                file.close()
        with suppress(OSError):  # removed before the lock is released, so that no other process can lock the old file
            (self.folder / LOCK).unlink(missing_ok=True)
        self._lock.close()


class EventFile:
    """A file that TensorBoard reads. Every entry is written immediately, in the calling thread.

    The library's writer uses a separate thread, which on a full disk prints a traceback and blocks the run.
    """

    _count = itertools.count()

    def __init__(self, folder: Path, purge_step: int | None) -> None:
        """``purge_step``: TensorBoard hides this step and later ones of existing files."""
        # imported with the first number, because it takes a second or two
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
    """The log of all processes except the first. It writes and prints nothing."""

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
            if (folder / LOCK).exists():  # exists while a process works on the run, or after it was killed
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
    """Open the folder of a run that is resumed, and remove incomplete files of killed commands."""
    try:
        log = RunLog(folder)
        remove_parts(folder)
        return log
    except OSError as error:
        raise UserError(f"run folder {folder}: {reason_of(error)}; choose another with --output-dir") from None


def require_new(folder: Path, files: list[Path]) -> None:
    """Create ``folder`` and raise a UserError if one of the ``files`` to be written exists."""
    for file in files:
        if file.exists():
            raise UserError(f"{file} already exists; remove it or name another folder with --output-dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output-dir {folder}: {reason_of(error)}") from None


def as_code(text: str) -> str:
    """Return ``text`` as a code block of Markdown, which TensorBoard renders."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def safe_name(name: str) -> str:
    """Return an experiment's name with only characters that are allowed in folder names."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "run")[:80]


def fresh_folder(name: str) -> Path:
    """Create and return ``outputs/<name>-<time>``, with a number at the end if that exists."""
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
    """Return an iterator over ``iterable`` that shows its progress on stderr.

    On a terminal it is a tqdm bar, elsewhere a line every ``LINE_SECONDS``; only the first process shows anything.
    ``position(item)``: seconds of a video, of ``total``, that are done after an item; without it items are counted.
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
    begin, last_line = None, time.monotonic()
    for number, item in enumerate(iterable, first + 1):
        yield item
        now, amount = time.monotonic(), number if position is None else position(item)
        if begin is None:  # the first item is not timed, because processes start and kernels are compiled
            begin, first = now, amount
        if now - last_line >= LINE_SECONDS:
            last_line = now
            line = progress_line(amount, total, now - begin, first, of_video=position is not None)
            print(one_line(f"{label}: {line}"), file=sys.stderr, flush=True)


def progress_line(amount: float, total: float | None, seconds: float, first: int = 0, *, of_video: bool = False) -> str:
    """Return ``12 of 60 min, about 4 min left``, or ``1,200 of 5,000, about 40 s left``.

    ``seconds``: time since the work began, when ``first`` items were already done.
    """
    scale, unit = (60, " min") if of_video and max(total or 0, amount) > 120 else (1, " s" if of_video else "")
    amounts = [f"{value / scale:,.0f}" for value in (amount, total) if value is not None]
    text = " of ".join(amounts) + unit
    if total is None or amount <= first:
        return text
    return f"{text}, {time_left(seconds * max(total - amount, 0) / (amount - first))}"


def time_left(seconds: float) -> str:
    """Return ``about 40 s left``, ``about 4 min left`` or ``about 2.5 h left``."""
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"
