"""Jinja2 templates of HTML and of Markdown, and their filters.

HTML is escaped by Jinja2, Markdown by ``plain``: names come from files and may hold anything.
"""

import base64
import os
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from utils.text import markdown_table

STEPS = 10  # shades of a cell in style.css
WORDS = 24  # a cell with more letters holds text, not a number
WIDE = 1500  # pixels
IMAGE_KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}


def cell_class(cell: Any) -> str:
    """Return the classes in style.css of a ``Cell``."""
    classes = [f"s{round(cell.share * STEPS)}"] if cell.share is not None else []
    classes += ["best"] if cell.is_best else []
    classes += ["words"] if len(cell.text) > WORDS or re.match(r"([A-Za-z(/]|--)[^%]*$", cell.text) else []
    return " ".join(classes)


def breakable(text: str) -> Markup:
    """Return ``text`` with allowed line breaks after the slashes of a path."""
    return Markup(re.sub(r"(?<=\w)([/_])(?=\w)", r"\1<wbr>", str(escape(text))))


def data_address(file: Path) -> str:
    return f"data:image/{IMAGE_KINDS[file.suffix.lower()]};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def is_wide(file: Path) -> bool:
    """Return whether a PNG has letters too small for a phone, so that it keeps a width and scrolls."""
    header = file.read_bytes()[:24]
    width, height = struct.unpack(">II", header[16:]) if len(header) == 24 else (0, 0)
    return width > WIDE and width > 1.3 * height


def plain(text: str) -> str:
    """Return ``text`` for Markdown, with every sign escaped that Markdown or HTML would read as markup."""
    return plain_cell(text).replace("|", r"\|")


def plain_cell(text: str) -> str:
    """Return ``text`` for a Markdown table, whose renderer escapes vertical bars itself."""
    return re.sub(r"([\\`*\[\]<>]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def table_text(head: list[str], rows: list[list[str]], align: str = "r") -> str:
    """Return a Markdown table, without columns that hold no text. ``align`` is that of all columns but the first."""
    columns = [column for column in range(len(head)) if any(row[column] for row in rows)]
    lines = [[plain_cell(row[column]) for column in columns] for row in (head, *rows)]
    return "\n".join(markdown_table(lines[0], lines[1:], "l" + align * (len(columns) - 1)))


def link(file: Path, folder: Path) -> str:
    path = Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
    return quote(os.fsencode(path))


def environment(autoescape: bool) -> Environment:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    settings = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    templates = Environment(loader=loader, autoescape=autoescape, **settings)
    filters = (breakable, cell_class, data_address, is_wide, plain, table_text, link)
    templates.filters |= {function.__name__: function for function in filters}
    return templates


TEMPLATES, MARKDOWN = environment(autoescape=True), environment(autoescape=False)
