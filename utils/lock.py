"""One process at a time: a file that a process holds for as long as it lives, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


@contextmanager
def held_alone(path: Path, refusal: str) -> Iterator[None]:
    """``refusal`` is raised where another process holds ``path``; disks that know no locks let everybody in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        try:
            lock(file.fileno())
        except (BlockingIOError, PermissionError):
            raise UserError(refusal) from None
        except OSError:  # a network's disk may have none
            pass
        yield


def lock(descriptor: int) -> None:
    """Of an open file, until it is closed; an OSError where another process holds it or its disk knows no locks."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
