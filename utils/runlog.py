"""A run is a folder: config, log, metrics by epoch, TensorBoard. Everything later reads these files only."""

import json
import math
import re
import sys
import time
from pathlib import Path
from typing import Any

from utils.errors import UserError


class RunLog:
    """Writes to the run folder and to the screen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = time.time()
        self._log = open(folder / "log.txt", "a", encoding="utf-8", buffering=1)
        self._board: Any = None
        self._first_epoch: int | None = None  # TensorBoard forgets this epoch and later ones of an interrupted run

    def say(self, text: str) -> None:
        print(text, flush=True)
        self._log.write(text + "\n")

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    def epoch(self, values: dict[str, Any]) -> None:
        """One line of metrics.jsonl, and every number of it to TensorBoard."""
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        for name, value in values.items():
            if isinstance(value, (int, float)) and name != "epoch" and math.isfinite(value):
                self.board.add_scalar(name, value, values["epoch"])

    def restore(self, history: list[dict[str, Any]]) -> None:
        """The epochs of a run that goes on: what was logged after its last checkpoint comes again."""
        lines = "".join(json.dumps(values) + "\n" for values in history)
        (self.folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
        self._first_epoch = len(history) + 1

    def history(self) -> list[dict[str, Any]]:
        file = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []

    def write_json(self, name: str, content: Any) -> None:
        (self.folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @property
    def board(self) -> Any:
        """TensorBoard, imported when the first number comes: the import takes a second or two."""
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self._first_epoch)
        return self._board

    def discard_if_empty(self) -> None:
        """Remove a folder that holds nothing but this run's config and log."""
        if {file.name for file in self.folder.iterdir()} <= {"config.json", "log.txt"}:
            self._log.close()
            for file in list(self.folder.iterdir()):
                file.unlink()
            self.folder.rmdir()

    def close(self) -> None:
        self._log.close()
        if self._board is not None:
            self._board.close()


def open_run(output_dir: str | None, name: str, config: dict[str, Any]) -> RunLog:
    """A new run folder with its config; a folder that already holds a run is never written over."""
    folder = Path(output_dir or "outputs")
    try:
        folder = folder if output_dir else _fresh_folder(name)
        if (folder / "config.json").exists():
            raise UserError(f"--output-dir {folder} already holds a run; choose another folder or remove it")
        folder.mkdir(parents=True, exist_ok=True)
        log = RunLog(folder)
    except OSError as error:
        reason = (error.strerror or "cannot be made").lower()
        raise UserError(f"run folder {folder}: {reason}; choose another with --output-dir") from None
    log.write_json("config.json", config)
    return log


def reopen_run(folder: Path, config: dict[str, Any]) -> RunLog:
    """The folder of a run that goes on."""
    try:
        log = RunLog(folder)
        log.write_json("config.json", config)
    except OSError as error:
        reason = (error.strerror or "cannot be written").lower()
        raise UserError(f"run folder {folder}: {reason}; go on elsewhere with --output-dir") from None
    return log


def safe_name(name: str) -> str:
    """An experiment's name as the beginning of a folder's."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "run")[:80]


def _fresh_folder(name: str) -> Path:
    base = Path("outputs") / f"{safe_name(name)}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = base, 1
    while True:
        try:
            folder.mkdir(parents=True)  # whoever makes it has it, also of two runs in one second
            return folder
        except FileExistsError:
            number += 1
            folder = base.with_name(f"{base.name}-{number}")


def progress_bar(iterable: Any, total: int, label: str, first: int = 0) -> Any:
    """A tqdm bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    shown = {"leave": False, "dynamic_ncols": True, "disable": not sys.stderr.isatty()}
    return tqdm(iterable, total=total, desc=label, initial=first, **shown)
