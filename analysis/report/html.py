"""A document → one HTML page that needs nothing but itself: drawings inside, pictures as data, no script."""

import base64
import re
import struct
from html import escape
from pathlib import Path
from typing import Any

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
from analysis.report.style import STEPS, sheet

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}
</style>
</head>
<body>
<a class="skip" href="#content">Skip to the results</a>
<header>
<h1>{title}</h1>
{lead}
</header>
<nav aria-label="Sections">
<ul>
{links}
</ul>
</nav>
<main id="content">
{body}
</main>
<footer class="muted">
{footer}
</footer>
</body>
</html>
"""
KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
WIDE = 1500  # pixels
WORDS = 24  # a cell of more letters is text, not a number


class Writer:
    """Parts to HTML; ids of headings are unique."""

    def __init__(self) -> None:
        self.links: list[tuple[str, str]] = []
        self.used: set[str] = set()

    def write(self, part: Any) -> str:
        return getattr(self, type(part).__name__.lower())(part)

    def heading(self, part: Heading) -> str:
        key = base = re.sub(r"[^a-z0-9]+", "-", part.text.lower()).strip("-") or "section"
        number = 1
        while key in self.used:
            number += 1
            key = f"{base}-{number}"
        self.used.add(key)
        if part.level == 2:
            self.links.append((key, part.text))
        return f'<h{part.level} id="{key}">{escape(part.text)}</h{part.level}>'

    def paragraph(self, part: Paragraph) -> str:
        return f"<p{' class=lead' if part.is_lead else ''}>{escape(part.text)}</p>"

    def warnings(self, part: Warnings) -> str:
        items = "".join(f"<li><strong>{escape(what)}:</strong> {escape(text)}</li>" for what, text in part.items)
        return f'<div class="warnings"><ul>{items}</ul></div>'

    def table(self, part: Table) -> str:
        head = "".join(f'<th scope="col"{words_class(name)}>{escape(name)}</th>' for name in part.head)
        rows = "".join(f"<tr>{self.row(row)}</tr>\n" for row in part.rows)
        style = " class=grid" if part.is_grid else " class=texts" if part.is_text else ""
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(part.caption)}">'
            f"<table{style}><caption><span>{escape(part.caption)}</span></caption>\n"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>"
        )

    def row(self, row: list[str | Cell]) -> str:
        first, *rest = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
        return f'<th scope="row">{escape(first.text)}</th>' + "".join(map(cell_html, rest))

    def figure(self, part: Figure) -> str:
        return f"<figure>{caption(part.caption, part.description)}{part.drawing}</figure>"

    def picture(self, part: Picture, kind: str = "plain") -> str:
        picture = f'<img src="{data_address(part.file)}" alt="{escape(part.description)}">'
        told = caption(part.caption, part.details)
        if kind == "plain" and is_wide(part.file):
            kind, name = "plain wide", escape(part.caption)
            picture = f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">{picture}</div>'
        parts = picture + told if kind == "strip" else told + picture
        return f'<figure class="{kind}">{parts}</figure>'

    def beside(self, part: Beside) -> str:
        made = [self.picture(p, "strip") if part.is_gallery else self.write(p) for p in part.parts]
        return f'<div class="{"gallery" if part.is_gallery else "beside"}">{"".join(made)}</div>'

    def folded(self, part: Folded) -> str:
        inside = "\n".join(self.write(p) for p in part.parts)
        return f"<details><summary>{escape(part.summary)}</summary>\n{inside}\n</details>"


def words_class(text: str) -> str:
    return ' class="words"' if text in ("what it is", "selected on") else ""


def cell_html(cell: Cell) -> str:
    """A share gets its shade; ``69.0 % (29)`` shows its count below."""
    kinds = [f"s{round(cell.share * STEPS)}"] if cell.share is not None else []
    kinds += ["best"] if cell.is_best else []
    kinds += ["words"] if len(cell.text) > WORDS or re.match(r"[A-Za-z(/-][^%]*$", cell.text) else []
    told = breakable(cell.text)
    if cell.share is not None and " (" in told:
        told = told.replace(" (", ' <span class="small">(', 1) + "</span>"
    if cell.is_best:
        told += ' <span class="mark" aria-hidden="true">★</span><span class="sr"> best</span>'
    style = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<td{style}>{told}{cell.drawing}</td>"


def caption(title: str, more: str) -> str:
    below = "".join(f'<span class="more">{breakable(line)}</span>' for line in more.splitlines())
    return f"<figcaption>{escape(title)}{below}</figcaption>" if title or more else ""


def breakable(text: str) -> str:
    """A path may go on in the next line after a slash."""
    return re.sub(r"(?<=\w)([/_])(?=\w)", r"\1<wbr>", escape(text))


def data_address(file: Path) -> str:
    return f"data:image/{KINDS[file.suffix.lower()]};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def is_wide(file: Path) -> bool:
    """A PNG whose letters would be too small on a phone: it keeps a width and scrolls in its place."""
    width, height = struct.unpack(">II", file.read_bytes()[16:24])
    return width > WIDE and width > 1.3 * height


def page(document: Document, footer: list[str]) -> str:
    """The whole page."""
    writer = Writer()
    lead = [part for part in document.parts if isinstance(part, Paragraph) and part.is_lead]
    body = [writer.write(part) for part in document.parts if part not in lead]
    return PAGE.format(
        title=escape(document.title),
        style=sheet(),
        lead="\n".join(writer.paragraph(part) for part in lead),
        links="\n".join(f'<li><a href="#{key}">{escape(text)}</a></li>' for key, text in writer.links),
        body="\n".join(body),
        footer="\n".join(f"<p>{escape(text)}</p>" for text in footer),
    )
