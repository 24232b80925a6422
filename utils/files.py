"""Atomic writing of files, and locks between processes."""

import errno
import glob
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

from utils.errors import UserError

PART = ".part"  # suffix of a file that is being written
IN_USE = ".in-use"  # the lock of a temporary folder


@contextmanager
def atomic_write(path: Path, *, flush: bool = False, keep_as: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which becomes ``path`` when the block ends without an error.

    A reader sees the old file or the new one, never a part. After an error or Ctrl-C the old file is unchanged and no
    temporary file remains. An error of the disk names ``path``. With ``flush`` the file is on the disk before it gets
    its name, so that it also survives a loss of power. ``keep_as``: new name of the old file, which is otherwise
    replaced.
    """
    temporary = path.with_name(path.name + PART)
    try:
        with naming(path, temporary):
            yield temporary
            if flush:
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
            if keep_as is not None and path.exists():
                os.replace(path, keep_as)
            os.replace(temporary, path)
            if flush:
                sync_folder(path.parent)
    finally:
        with suppress(NotADirectoryError):  # a file has replaced the folder, so nothing remains to be removed
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Put ``path`` into an ``OSError`` of the block that names no file, as after a write, or the temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.filename in (str(temporary), temporary):
            error.filename = str(path)
        raise


def remove_parts(folder: Path) -> None:
    """Remove the temporary files that killed commands left in a run folder, but not those of other runs below it."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink() and not (entry / "config.json").exists():
            remove_parts(entry)
        elif entry.name.endswith(PART) and entry.is_file():
            entry.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically; file names in it that are not UTF-8 are escaped as on the screen."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` to ``path`` as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def sync_folder(folder: Path) -> None:
    """Flush a rename inside ``folder`` to the disk, if the file system supports it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def acquire_lock(path: Path, refusal: str) -> AbstractContextManager:
    """Lock the empty file ``path`` for this process, until the returned context is left or the process ends.

    ``refusal``: text of the UserError if another process holds the lock. The lock protects against starting a command
    twice by mistake, so on a disk without locks, such as some network disks, nothing is locked.
    """
    from filelock import FileLock, Timeout  # imported here, because most commands lock nothing

    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()  # raises here if the folder cannot be written, which is not the same as no locks
    assert not path.stat().st_size, f"{path} holds data, which some versions of filelock truncate: lock another file"
    try:
        return FileLock(path).acquire(timeout=0)
    except Timeout:
        raise UserError(refusal) from None
    except (OSError, NotImplementedError):
        return nullcontext()


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Return a file opened for reading bytes. A pipe or a device, which may never end, raises an ``OSError``."""
    return open(path, "rb", buffering, opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # otherwise opening a pipe waits for a writer
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "not a regular file", path)


@contextmanager
def temporary_folder(parent: Path, prefix: str, suffix: str = "") -> Iterator[Path]:
    """Yield a new folder in ``parent`` and remove it afterwards, as well as folders that killed processes left there.

    A process locks its folder. Folders that are locked, belong to another user, or have no lock file are not removed.
    """
    for name in glob.glob(f"{glob.escape(prefix)}*{glob.escape(suffix)}", root_dir=parent, include_hidden=True):
        _remove_leftover(parent / name)
    while True:
        folder = Path(tempfile.mkdtemp(suffix, prefix, parent))
        try:
            lock = acquire_lock(folder / IN_USE, f"{folder}: in use")
        except (UserError, FileNotFoundError):
            continue  # another process removed the new folder before it was locked
        if (folder / IN_USE).exists():
            break
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftover(folder: Path) -> None:
    lock = folder / IN_USE
    try:
        is_ours = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
        if not is_ours or folder.is_symlink() or not lock.is_file() or lock.stat().st_size:
            return
        with acquire_lock(lock, f"{folder}: in use") as lock_file:
            if lock_file is not None:  # None: no locks on this disk, so the process may still run
                shutil.rmtree(folder, ignore_errors=True)
    except (UserError, OSError):
        return
