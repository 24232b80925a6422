"""The pieces that a report is made of, before they become HTML or Markdown. Texts are plain; writers escape them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str
    is_lead: bool = False


@dataclass(frozen=True)
class Warnings:
    """(what it is about, the warning) each."""

    items: list[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """``share`` from 0 to 1 shades it; ``drawing`` shows again what the text beside it says."""

    text: str
    share: float | None = None
    is_best: bool = False
    drawing: str = ""


@dataclass(frozen=True)
class Table:
    """The first cell of a row is its heading."""

    caption: str
    head: list[str]
    rows: list[list[str | Cell]]
    is_grid: bool = False  # of equal cells, as a confusion matrix
    is_text: bool = False  # not of numbers


@dataclass(frozen=True)
class Figure:
    """``picture`` shows the same as the drawing, for writers that take no drawings."""

    drawing: str
    caption: str
    description: str
    picture: Path | None = None


@dataclass(frozen=True)
class Picture:
    file: Path
    description: str
    caption: str = ""
    details: str = ""


@dataclass(frozen=True)
class Beside:
    """Figures or pictures next to each other where there is room."""

    parts: list[Any]
    is_gallery: bool = False


@dataclass(frozen=True)
class Folded:
    """Shown when asked for."""

    summary: str
    parts: list[Any]


@dataclass
class Document:
    title: str
    parts: list[Any] = field(default_factory=list)
    shows_people: bool = False
