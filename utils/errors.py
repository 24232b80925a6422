"""The one exception that a user's mistake raises: shown as one line, without a traceback, exit status 2."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


class UserError(ValueError):
    """What was found, where, and what to do about it, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


OnFault = Callable[[UserError], None]


def raise_error(error: UserError) -> NoReturn:
    """What a reader does with a fault unless it is told to go on."""
    raise error


def one_line(text: str) -> str:
    """Names come from files: what would break the line, colour the terminal or fail to print is spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def reason_of(error: OSError) -> str:
    """What the system says: "no such file or directory"."""
    return (error.strerror or str(error) or type(error).__name__).lower()


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Every mistake inside names the file."""
    try:
        yield
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path}: {error}") from None


def closest(word: str, known: list[str]) -> str:
    """``"; did you mean --lr?"``, or nothing where no known word is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


class Interrupted(Exception):
    """A signal asked the run to end, and what had to be saved is saved."""

    def __init__(self, number: int, message: str = "stopped") -> None:
        super().__init__(message)
        self.number = number

    @property
    def status(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + self.number
