"""The exception for a user's mistake, which is printed as one line with exit status 2, and helpers for its text."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn


class UserError(ValueError):
    """One line: what is wrong, where, and how to fix it."""

    def __init__(self, message: str) -> None:
        super().__init__(shorten(one_line(shorten(message, LONGEST_ERROR)), LONGEST_ERROR))


LONGEST_QUOTE, LONGEST_ERROR = 200, 2000  # letters

OnFault = Callable[[UserError], None]


def raise_error(error: UserError) -> NoReturn:
    """Raise ``error``: the default ``OnFault`` of readers, which stops at the first fault."""
    raise error


def one_line(text: str) -> str:
    """Return ``text`` with every unprintable character escaped.

    Names come from files: a line break, a colour code or a lone surrogate must not reach the terminal.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(value: Any) -> str:
    """Return a value of a file as a short quote for an error, so that no damaged file is printed completely."""
    return shorten(repr(shorten(value) if isinstance(value, str) else value))


def shorten(text: str, limit: int = LONGEST_QUOTE) -> str:
    """Return ``text``, or its two ends with dots between them if it is longer than ``limit``."""
    return text if len(text) <= limit else f"{text[: limit - limit // 3 - 3]}...{text[-(limit // 3) :]}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, 160 letters at most, or its type if it has no message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def reason_of(error: OSError) -> str:
    """Return the message of the system, such as "no such file or directory"."""
    return (error.strerror or str(error) or type(error).__name__).lower()


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Put the file's name before every ``UserError`` raised inside that does not name it."""
    try:
        yield
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path}: {error}") from None


def closest(word: str, candidates: list[str]) -> str:
    """Return ``"; did you mean --lr?"``, or an empty text if no candidate is similar."""
    from difflib import get_close_matches

    matches = get_close_matches(word, candidates, n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""


class Interrupted(Exception):
    """Raised after a signal, when everything that is needed to continue has been saved."""

    def __init__(self, number: int, message: str = "stopped") -> None:
        super().__init__(message)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status that a shell gives to a process ended by this signal."""
        return 128 + self.number
