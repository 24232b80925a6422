"""Reports written and parsed by tests: a page as headings, tables, pictures and text."""

from html.parser import HTMLParser
from pathlib import Path

from main import main

LIMIT = 1_500_000  # bytes of a page
VOID = ("meta", "link", "img", "br", "wbr", "path")


class Page(HTMLParser):
    """The texts of a page by element, and the attributes of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source, self.open, self.elements, self.attributes = text, [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, []))

    def handle_data(self, data):
        for _, words in self.open:
            words.append(data)

    def handle_endtag(self, tag):
        if self.open and self.open[-1][0] == tag:
            name, words = self.open.pop()
            self.elements.append((name, " ".join("".join(words).split())))

    def texts(self, *tags: str) -> list[str]:
        return [text for tag, text in self.elements if tag in tags]


def make(folders, out: Path, *flags: str) -> tuple[Page, str]:
    """Report on run folders; return the page and its Markdown."""
    assert main(["--mode", "report", *map(str, folders), "--output-dir", str(out), *flags]) == 0
    return Page((out / "report.html").read_text(encoding="utf-8")), (out / "report.md").read_text(encoding="utf-8")
