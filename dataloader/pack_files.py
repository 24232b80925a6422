"""The files of a pack while it is written: crops are appended, a line of the journal says that a clip is whole.

A clip counts from the moment its line is on the disk, which is after its crops are; whatever a kill leaves behind the
last such line is cut off on going on. ``index.json`` is renamed into place at the end, and takes the journal's part.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.annotation import Clip
from dataloader.packed import FORMAT, INDEX, JOURNAL, changed_frame, read_index
from utils.errors import UserError
from utils.files import acquire_lock

LOCK = "journal.lock"
FILE_BYTES = 2**30  # a clip begins a new file when the one before has this much


class PackFiles:
    """One pack under way; a second process that wants to write it is refused."""

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder, self.header, self.is_complete = folder, header, False
        self.entries: list[dict[str, Any]] = []
        self.sizes: dict[str, int] = {}
        self.journal = self.crops = None
        self.lock = contextlib.nullcontext()

    def __enter__(self) -> "PackFiles":
        return self

    def __exit__(self, *_: Any) -> None:
        for file in (self.crops, self.journal):
            if file is not None:
                os.close(file)
        self.lock.__exit__(None, None, None)

    def resume(self, clips: dict[str, Clip]) -> int:
        """How many clips are packed already, soundly; everything behind them is cut off."""
        if (self.folder / INDEX).exists():
            content = read_index(self.folder)[0]
            self._require_same(content, "holds a pack")
            for entry in content["clips"]:
                self._require_unchanged(clips[entry["key"]], entry)
            for name in (JOURNAL, LOCK):
                (self.folder / name).unlink(missing_ok=True)  # a kill may have come between index and journal
            self.is_complete = True
            return len(clips)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / JOURNAL
        if not path.exists() and any(self.folder.iterdir()):
            raise UserError(f"--out {self.folder}: holds other files; name a new or empty folder")
        self.journal = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.lock = acquire_lock(
            path.with_suffix(".lock"), f"--out {self.folder}: another process is writing this pack"
        )
        lines = self._sound_lines(path)
        if not lines:
            self._begin()
            return 0
        self._require_same(lines[0][0], "holds an unfinished pack")
        end = lines[0][1]
        for entry, line_end in lines[1:]:
            if not self._is_whole(entry, clips):
                break
            self._count(entry)
            end = line_end
        os.ftruncate(self.journal, end)
        os.lseek(self.journal, 0, os.SEEK_END)
        self._cut_off()
        return len(self.entries)

    def append(self, entry: dict[str, Any], payload: np.ndarray) -> None:
        """A clip: its crops first, then its line."""
        name = self._file_name()
        entry = entry | {"file": name, "offset": self.sizes.get(name, 0), "bytes": len(payload)}
        if name not in self.sizes:
            self._open(name)
        _write(self.crops, payload.data)
        os.fsync(self.crops)
        _write(self.journal, (json.dumps(entry) + "\n").encode())
        os.fsync(self.journal)
        self._count(entry)

    def finish(self) -> int:
        """The index takes the journal's place; returns the bytes of all crops."""
        files = [{"name": name, "bytes": size} for name, size in self.sizes.items()]
        content = {"format": FORMAT, **self.header, "files": files, "packed": self.header["clips"]}
        part = self.folder / f"{INDEX}.part"
        with open(part, "w", encoding="utf-8") as file:
            json.dump(content | {"clips": self.entries}, file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self.folder / INDEX)
        (self.folder / JOURNAL).unlink()
        (self.folder / LOCK).unlink(missing_ok=True)
        return sum(self.sizes.values())

    def require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"--out {self.folder}: needs about {needed / 1e6:.0f} MB, the disk has {free / 1e6:.0f} MB left"
            )

    def _begin(self) -> None:
        os.ftruncate(self.journal, 0)
        os.lseek(self.journal, 0, os.SEEK_SET)
        _write(self.journal, (json.dumps({"format": FORMAT, **self.header}) + "\n").encode())
        os.fsync(self.journal)
        self._cut_off()

    def _sound_lines(self, path: Path) -> list[tuple[dict[str, Any], int]]:
        """Every whole line of the journal and where it ends; the first broken one ends the list."""
        found, end = [], 0
        for line in path.read_bytes().splitlines(keepends=True):
            end += len(line)
            try:
                content = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                content = None
            if not isinstance(content, dict):
                break
            found.append((content, end))
        return found

    def _is_whole(self, entry: dict[str, Any], clips: dict[str, Clip]) -> bool:
        """Its crops are there, and its frames are what they were."""
        path = self.folder / entry["file"]
        there = path.is_file() and path.stat().st_size >= entry["offset"] + entry["bytes"]
        return there and changed_frame(clips[entry["key"]], entry) is None

    def _require_same(self, found: dict[str, Any], what: str) -> None:
        """One line on what differs between the pack that is there and the one that is asked for."""
        if found.get("format") != FORMAT:
            raise UserError(f"--out {self.folder}: {what} of another format; name another folder or remove it")
        found = found | {"clips": found.get("packed", found.get("clips"))}
        told = {"lists": "of other lists", "clips": "of other clips", "boxes": "cut by other boxes"}
        for name, value in self.header["settings"].items():
            other = found["settings"].get(name)
            if other != value:
                told_flag = f"--{name.replace('_', '-')} {other}, not {value}"
                raise UserError(f"--out {self.folder}: {what} with {told_flag}; name another folder or remove it")
        for name, words in told.items():
            if found.get(name) != self.header[name]:
                raise UserError(f"--out {self.folder}: {what} {words}; name another folder or remove it")

    def _require_unchanged(self, clip: Clip, entry: dict[str, Any]) -> None:
        changed = changed_frame(clip, entry)
        if changed:
            raise UserError(f"--out {self.folder}: holds a pack, but {changed}; remove it to pack again")

    def _count(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        self.sizes[entry["file"]] = entry["offset"] + entry["bytes"]

    def _cut_off(self) -> None:
        """Nothing lies behind the last whole clip."""
        for path in self.folder.glob("crops-*.bin"):
            if path.name not in self.sizes:
                path.unlink()
            elif path.stat().st_size > self.sizes[path.name]:
                os.truncate(path, self.sizes[path.name])
        (self.folder / f"{INDEX}.part").unlink(missing_ok=True)
        if self.sizes:
            self._open(list(self.sizes)[-1])

    def _file_name(self) -> str:
        names = list(self.sizes)
        if names and self.sizes[names[-1]] < FILE_BYTES:
            return names[-1]
        return f"crops-{len(names):03d}.bin"

    def _open(self, name: str) -> None:
        if self.crops is not None:
            os.close(self.crops)
        self.crops = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def _write(file: int, data: Any) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
