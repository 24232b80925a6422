"""A document → Markdown: the same words and tables, with links to the pictures of the run folders."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from analysis.report.document import (
    Beside,
    Cell,
    Document,
    Figure,
    Folded,
    Heading,
    Paragraph,
    Picture,
    Table,
    Warnings,
)


def markdown(document: Document, footer: list[str], folder: Path) -> str:
    """``folder``: where the file will lie, which links start from."""
    parts = [f"# {plain(document.title)}", *(write(part, folder) for part in document.parts), "---"]
    parts += [plain(text) for text in footer]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(part: Any, folder: Path) -> str:
    if isinstance(part, Heading):
        return f"{'#' * part.level} {plain(part.text)}"
    if isinstance(part, Paragraph):
        return plain(part.text)
    if isinstance(part, Warnings):
        return "\n".join(f"- **{plain(what)}:** {plain(text)}" for what, text in part.items)
    if isinstance(part, Table):
        return table(part.head, [[cell_text(cell) for cell in row] for row in part.rows], part.caption, part.is_text)
    if isinstance(part, Figure):
        shown = f"\n\n{link(part.picture, part.description, folder)}" if part.picture else ""
        return f"**{plain(part.caption)}.** {plain(part.description)}{shown}"
    if isinstance(part, Picture):
        told = f"**{plain(part.caption)}**" + (f" {plain(part.details)}" if part.details else "")
        return f"{link(part.file, part.description, folder)}\n\n{told}"
    if isinstance(part, Beside):
        return "\n\n".join(write(one, folder) for one in part.parts)
    inside = "\n\n".join(write(one, folder) for one in part.parts)
    return (
        f"<details><summary>{plain(part.summary)}</summary>\n\n{inside}\n\n</details>"
        if isinstance(part, Folded)
        else ""
    )


def table(head: list[str], rows: list[list[str]], caption: str = "", is_text: bool = False) -> str:
    """Columns without a word in them, those of drawings, are left out."""
    kept = [place for place in range(len(head)) if any(row[place] for row in rows)]
    lines = [[head[place] for place in kept], ["---"] + ["---" if is_text else "---:"] * (len(kept) - 1)]
    lines += [[row[place] for place in kept] for row in rows]
    cells = [[word if number == 1 else plain(word) for word in line] for number, line in enumerate(lines)]
    drawn = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    return f"{plain(caption)}:\n\n{drawn}" if caption else drawn


def cell_text(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell.text} ★" if cell.is_best else cell.text


def link(file: Path, description: str, folder: Path) -> str:
    address = Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
    return f"![{plain(description)}]({quote(address)})"


def plain(text: str) -> str:
    """Names come from files: what Markdown or HTML would read as a sign is written as itself."""
    return re.sub(r"([\\`*\[\]<>|]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
