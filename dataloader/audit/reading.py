"""A list read to its end, whatever is wrong with it: its clips, and its faults by kind."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dataloader.annotation import Clip, lines_of, name_clip, on_disk, require_same
from dataloader.audit.findings import Finding, found
from dataloader.classes import Classes, with_compounds
from dataloader.layouts import BadLabel, Line
from dataloader.paths import resolve_path
from utils.errors import UserError

TEXTS = {
    "list": "cannot be read: nothing of it is counted",
    "line": "{line} that cannot be understood: counted nowhere",
    "label": "{line} with a label that cannot be: counted nowhere",
    "clip": "{clip} without frames on the disk",
    "same_name": "{clip} with the name of another, lying elsewhere",
}


@dataclass(frozen=True)
class Listed:
    """One list: a clip that is not on the disk is among the others, without frames."""

    split: str
    file: Path
    clips: list[Clip]
    lines: list[Line]  # of each clip
    faults: dict[str, list[UserError]]  # by kind

    @property
    def findings(self) -> list[Finding]:
        return [finding for kind in TEXTS for finding in self._of_kind(kind)]

    @property
    def unread(self) -> int:
        """Lines that are in no count."""
        return sum(len(self.faults.get(kind, ())) for kind in ("list", "line", "label"))

    def _of_kind(self, kind: str) -> list[Finding]:
        faults = self.faults.get(kind, [])
        return found(kind, f"{self.split}: {TEXTS[kind]}", [str(fault) for fault in faults], self.split)


def require_there(file: str, root: str | None, flag: str) -> Path:
    """What a flag names must exist; what is in it may be as broken as it likes."""
    path = resolve_path(file, root)
    if not path.exists():
        raise UserError(f"{flag} {path}: no such file or directory")
    return path


def read_classes(classes: Classes, files: list[str], root: str | None) -> Classes:
    """With every combination of classes that occurs in lists of compound classes."""
    lines = (line for file in files for line in _sound_lines(file, root, classes))
    return with_compounds(classes, {frozenset(line.labels) for line in lines})


def read_listed(split: str, file: str, root: str | None, classes: Classes) -> Listed:
    listed = Listed(split, resolve_path(file, root), [], [], {})
    known: dict[str, Clip] = {}

    def add(fault: UserError, kind: str | None = None) -> None:
        kind = kind or ("label" if isinstance(fault, BadLabel) else "line")
        listed.faults.setdefault(kind, []).append(fault)

    try:
        for line in lines_of(listed.file, file, classes, add):
            try:
                clip = name_clip(line, root, classes)
            except UserError as fault:
                add(fault)
                continue
            try:
                clip = on_disk(clip, line, root, classes)
            except UserError as fault:
                add(fault, "clip")
            try:
                require_same(clip, known.setdefault(clip.key, clip))
            except UserError as fault:
                add(fault, "same_name")
            listed.clips.append(clip)
            listed.lines.append(replace(line, text=line.text or written_line(line, clip, classes)))
    except UserError as fault:
        add(fault, "list")
    if not listed.clips and not listed.faults:
        add(UserError(f"{listed.file}: holds no clip"), "list")
    return listed


def written_line(line: Line, clip: Clip, classes: Classes) -> str:
    """A clip of a folder, which has no list, as a line of one in the set's layout."""
    if classes.layout == "names":
        return f"{line.path}\t{'_'.join(classes.base_names[label] for label in line.labels)}"
    label = line.labels[0]
    number = classes.format.order.index(label) if classes.format.order else label
    return f"{line.path} {len(clip.frames)} {number + classes.label_base}"


def place(clip: Clip) -> str:
    """A clip as an example of a finding."""
    return f"{clip.where}: {clip.id}" if clip.where else clip.id


def _sound_lines(file: str, root: str | None, classes: Classes) -> Iterator[Line]:
    try:
        yield from lines_of(resolve_path(file, root), file, classes, lambda fault: None)
    except UserError:
        return  # said when the list itself is read
