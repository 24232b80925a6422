"""The parts of a report, and how Jinja2 templates write them as one HTML page and as Markdown.

The texts of parts are plain: HTML is escaped by Jinja2, Markdown by ``plain``. Names come from files and may hold
anything.
"""

import base64
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count
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


class Part:
    @property
    def kind(self) -> str:
        """The name that templates know it by."""
        return type(self).__name__.lower()


@dataclass
class Heading(Part):
    level: int
    text: str
    key: str = ""  # its id in the page


@dataclass(frozen=True)
class Paragraph(Part):
    text: str
    is_lead: bool = False


@dataclass(frozen=True)
class Warnings(Part):
    items: list[tuple[str, str]]  # (what it is about, the warning)


@dataclass(frozen=True)
class Cell:
    """``share`` from 0 to 1 shades the cell; ``bar``, a score and its interval in percent of the width, is drawn."""

    text: str
    share: float | None = None
    is_best: bool = False
    bar: tuple[float, list[float] | None] | None = None


@dataclass(frozen=True)
class Table(Part):
    """The first cell of a row is its heading. ``style``: ``grid`` for equal cells, ``texts`` for texts."""

    caption: str
    head: list[str]
    rows: list[list[Any]]  # str or Cell
    style: str = ""

    @property
    def cells(self) -> list[list[Cell]]:
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Figure(Part):
    """``picture`` shows the same as the SVG, for Markdown."""

    svg: str
    caption: str
    details: str
    picture: Path | None = None


@dataclass(frozen=True)
class Picture(Part):
    file: Path
    description: str
    caption: str = ""
    details: str = ""


@dataclass(frozen=True)
class Beside(Part):
    """Figures next to each other where there is room; a gallery holds many small pictures."""

    parts: list[Part]
    is_gallery: bool = False


@dataclass(frozen=True)
class Folded(Part):
    """Parts that are shown on a click."""

    summary: str
    parts: list[Part]


@dataclass(frozen=True)
class Document:
    title: str
    parts: list[Part]

    @property
    def shows_people(self) -> bool:
        return any(isinstance(p, Picture) and p.file.parent.name == "mistakes" for p in all_parts(self.parts))


def all_parts(parts: list[Part]) -> Iterator[Part]:
    """Yield parts and the parts inside them."""
    for part in parts:
        yield part
        yield from all_parts(getattr(part, "parts", []))


def html_page(document: Document, footer: list[str]) -> str:
    """Return the whole page; it needs no other file and no script."""
    set_keys([part for part in all_parts(document.parts) if isinstance(part, Heading)])
    return TEMPLATES.get_template("report.html").render(document=document, footer=footer)


def markdown_text(document: Document, footer: list[str], folder: Path) -> str:
    """Return the same as Markdown, with links to pictures from ``folder``, where the file will be."""
    blocks = [markdown_block(part, folder) for part in document.parts]
    blocks = [f"# {plain(document.title)}", *filter(None, blocks), "---", *map(plain, footer)]
    return "\n\n".join(blocks) + "\n"


def markdown_block(part: Part, folder: Path) -> str:
    template = MARKDOWN.get_template("part.md")
    inside = [markdown_block(inner, folder) for inner in getattr(part, "parts", [])]
    return template.render(part=part, inside=inside, folder=folder).strip()


def set_keys(headings: list[Heading]) -> None:
    """Give each heading an id that is unique in the page."""
    keys: set[str] = set()
    for heading in headings:
        base = re.sub(r"[^a-z0-9]+", "-", heading.text.lower()).strip("-") or "section"
        names = chain([base], (f"{base}-{number}" for number in count(2)))
        heading.key = next(name for name in names if name not in keys)
        keys.add(heading.key)


# -- filters of the templates ---------------------------------------------------------------------------------------


def cell_class(cell: Cell) -> str:
    classes = [f"s{round(cell.share * STEPS)}"] if cell.share is not None else []
    classes += ["best"] if cell.is_best else []
    classes += ["words"] if len(cell.text) > WORDS or re.match(r"([A-Za-z(/]|--)[^%]*$", cell.text) else []
    return " ".join(classes)


def breakable(text: str) -> Markup:
    """Return ``text`` so that a path may go on in the next line after a slash."""
    return Markup(re.sub(r"(?<=\w)([/_])(?=\w)", r"\1<wbr>", str(escape(text))))


def data_address(file: Path) -> str:
    return f"data:image/{IMAGE_KINDS[file.suffix.lower()]};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def is_wide(file: Path) -> bool:
    """Return whether a PNG has letters too small for a phone, so that it keeps a width and scrolls."""
    width, height = struct.unpack(">II", file.read_bytes()[16:24])
    return width > WIDE and width > 1.3 * height


def plain(text: str) -> str:
    """Return ``text`` for Markdown, with every sign escaped that Markdown or HTML would read as markup."""
    return plain_cell(text).replace("|", r"\|")


def plain_cell(text: str) -> str:
    """Return ``text`` for a Markdown table, whose renderer escapes vertical bars itself."""
    return re.sub(r"([\\`*\[\]<>]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def table_text(head: list[str], rows: list[list[Any]], align: str = "r") -> str:
    """Return a Markdown table, without columns that hold no text. ``align`` is that of all columns but the first."""
    cells = [[f"{cell.text} ★" if cell.is_best else cell.text for cell in row] for row in Table("", head, rows).cells]
    columns = [column for column in range(len(head)) if any(row[column] for row in cells)]
    lines = [[plain_cell(row[column]) for column in columns] for row in (head, *cells)]
    return "\n".join(markdown_table(lines[0], lines[1:], "l" + align * (len(columns) - 1)))


def link(file: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix())


def environment(autoescape: bool) -> Environment:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    settings = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    templates = Environment(loader=loader, autoescape=autoescape, **settings)
    filters = (breakable, cell_class, data_address, is_wide, plain, table_text, link)
    templates.filters |= {function.__name__: function for function in filters}
    return templates


TEMPLATES, MARKDOWN = environment(autoescape=True), environment(autoescape=False)
