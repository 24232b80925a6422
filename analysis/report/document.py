"""The parts of a report, as data whose texts are plain; templates write them as one HTML page and as Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from analysis.report.markup import MARKDOWN, TEMPLATES, plain


class Part:
    @property
    def kind(self) -> str:
        """The name of this part in templates."""
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
    items: list[tuple[str, str]]  # (subject, warning)


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

    @property
    def texts(self) -> list[list[str]]:
        return [[f"{cell.text} ★" if cell.is_best else cell.text for cell in row] for row in self.cells]


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


def all_parts(parts: list[Part]) -> Iterator[Part]:
    """Yield parts and the parts inside them."""
    for part in parts:
        yield part
        yield from all_parts(getattr(part, "parts", []))


def shows_people(parts: list[Part]) -> bool:
    return any(isinstance(part, Picture) and part.file.parent.name == "mistakes" for part in all_parts(parts))


def html_page(title: str, parts: list[Part], footer: list[str]) -> str:
    """Return the whole page; it needs no other file and no script."""
    set_keys([part for part in all_parts(parts) if isinstance(part, Heading)])
    return TEMPLATES.get_template("report.html").render(title=title, parts=parts, footer=footer)


def markdown_text(title: str, parts: list[Part], footer: list[str], folder: Path) -> str:
    """Return the same as Markdown, with links to pictures from ``folder``, where the file will be."""
    blocks = [markdown_block(part, folder) for part in parts]
    blocks = [f"# {plain(title)}", *filter(None, blocks), "---", *map(plain, footer)]
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
