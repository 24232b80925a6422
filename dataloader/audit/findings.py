"""One finding of an audit: what kind, how grave, how often, and the first few examples."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from utils.words import plural

SEVERITIES = ("error", "warning", "note")
SEVERITY = {  # every kind of finding
    "list": "error",  # a whole list that cannot be read
    "line": "error",
    "label": "error",
    "clip": "error",
    "same_name": "error",
    "two_labels": "error",
    "clip_shared": "error",
    "content_shared": "error",
    "unreadable": "error",
    "box_file": "error",
    "box_entry": "error",
    "person_shared": "warning",
    "class_missing": "warning",
    "few_clips": "warning",
    "frame_count": "warning",
    "clip_repeated": "warning",
    "content_repeated": "warning",
    "box_coverage": "warning",
    "tiny_frames": "warning",
    "frame_order": "note",
    "frame_gaps": "note",
    "sizes_change": "note",
    "persons_unknown": "note",
}
SHOWN = 3  # examples of each


@dataclass(frozen=True)
class Finding:
    kind: str
    text: str  # one line
    split: str | None = None
    count: int = 1
    examples: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        return SEVERITY[self.kind]

    @property
    def short(self) -> str:
        """In one line, with one example."""
        return f"{self.text} ({self.examples[0]})" if self.examples else self.text

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "severity": self.severity,
            "split": self.split,
            "count": self.count,
            "text": self.text,
            "examples": list(self.examples),
        }


def found(kind: str, text: str, where: Collection[str], split: str | None = None) -> list[Finding]:
    """A finding of everything in ``where``, or none where that is empty; ``{clip}`` in the text is how many clips."""
    if not where:
        return []
    said = re.sub(r"\{([a-z ]+)\}", lambda word: plural(len(where), word[1]), text)
    return [Finding(kind, said, split, len(where), tuple(where)[:SHOWN])]


def by_severity(findings: list[Finding]) -> list[Finding]:
    """Errors first; otherwise as they were found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
