"""Text for users: counts and lists in a sentence, tables as plain text and as Markdown."""

from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def text_table(rows: Rows, align: str = "") -> list[str]:
    """Return one line per row, with columns padded to equal width and two spaces between them.

    ``align`` has one letter per column, ``l`` or ``r``; columns beyond its end are left-aligned.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    is_right = [column < len(align) and align[column] == "r" for column in range(len(widths))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_right, strict=True)
        ).rstrip()
        for row in rows
    ]


def markdown_table(header: Sequence[str], rows: Rows, align: str = "") -> list[str]:
    """Return the lines of a Markdown table; vertical bars inside cells are escaped."""
    rules = ["---:" if column < len(align) and align[column] == "r" else "---" for column in range(len(header))]
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    return [f"| {' | '.join(row)} |" for row in (lines[0], rules, *lines[1:])]


def is_utf8(name: str) -> bool:
    """Return whether a file's name is text; Python keeps the bytes of any other name as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def plural(count: int, word: str) -> str:
    """Return ``1 clip``, ``1,200 clips``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def some(names: Sequence[object], most: int = 5) -> str:
    """Return the first ``most`` names: ``a, b, ...``."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")
