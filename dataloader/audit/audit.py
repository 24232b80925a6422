"""Audit one set of lists: read them completely in spite of faults, count and check them."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dataloader.annotation import Clip, lines_of, name_clip, on_disk, require_same, set_note
from dataloader.audit import checks
from dataloader.audit.checks import KINDS, Counts, Finding, PublishedCount
from dataloader.audit.contents import (
    Contents,
    Coverage,
    Size,
    audit_boxes,
    fault_findings,
    frame_findings,
    same_content,
    size_text,
)
from dataloader.audit.options import AuditOptions, read_classes
from dataloader.classes import Classes
from dataloader.layouts import BadLabel, Line
from dataloader.paths import resolve_path
from utils.errors import UserError

LIST_FAULTS = {
    "list": "cannot be read and is not counted",
    "line": "{line} that cannot be parsed; not counted",
    "label": "{line} with an impossible label; not counted",
    "clip": "{clip} missing on the disk, without frames, or shorter than the list says",
    "same_name": "{clip} with the same name as another clip in another folder",
}


@dataclass(frozen=True)
class AuditedList:
    """One list with its faults; clips that are not on the disk are included, without frames."""

    split: str
    file: Path
    clips: list[Clip] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # the line of each clip
    faults: dict[str, list[UserError]] = field(default_factory=dict)  # by kind
    ignored: list[str] = field(default_factory=list)  # file and number of lines whose label the set ignores

    @property
    def num_unread(self) -> int:
        """Number of lines that are not counted."""
        return sum(len(self.faults.get(kind, ())) for kind in ("list", "line", "label"))

    def add_fault(self, fault: UserError, kind: str | None = None) -> None:
        kind = kind or ("label" if isinstance(fault, BadLabel) else "line")
        self.faults.setdefault(kind, []).append(fault)


@dataclass(frozen=True)
class Audit:
    classes: Classes
    lists: list[AuditedList]
    counts: list[Counts]
    coverages: list[Coverage]
    sizes: dict[str, Counter[Size]]  # frame sizes of each split; empty with --quick
    findings: list[Finding]  # the most severe first
    published: list[PublishedCount]  # empty if no count of the set is known
    note: str | None  # of the about.json of a set that is not the published one, such as a drawn set

    @property
    def summary(self) -> dict[str, int]:
        return {severity: sum(f.severity == severity for f in self.findings) for severity in KINDS}

    def as_dict(self) -> dict[str, Any]:
        splits = {counts.split: counts.as_dict() for counts in self.counts}
        for audited in self.lists:
            splits[audited.split] |= {"list": str(audited.file), "lines_left_out": audited.num_unread}
        for split, sizes in self.sizes.items():
            splits[split]["sizes"] = {size_text(size): number for size, number in sizes.most_common()}
        for coverage in self.coverages:
            splits[coverage.split].setdefault("boxes", {})[coverage.kind] = coverage.as_dict()
        published = [asdict(row) for row in self.published]
        return {
            "splits": splits,
            "published": published,
            "summary": self.summary,
            "findings": [f.as_dict() for f in self.findings],
        }


def audit(options: AuditOptions, contents: Contents) -> Audit:
    """Audit one set of lists; ``contents`` stores what was read from frames for the next fold."""
    files = {f"--{split}-annotation": file for split, file in options.lists.items()}
    files |= {f"--bounding-box-{kind}": file for kind, file in options.boxes.items()}
    for flag, file in files.items():
        if not (path := resolve_path(file, options.root_dir)).exists():
            raise UserError(f"{flag} {path}: no such file or directory; check it and --root-dir")
    classes = read_classes([options])
    lists = [read_list(split, file, options.root_dir, classes) for split, file in options.lists.items()]
    splits = {audited.split: audited.clips for audited in lists}
    clips = [clip for split_clips in splits.values() for clip in split_clips]
    contents.read(clips, options.workers, options.quick)
    counts = [checks.count_clips(split, split_clips, classes) for split, split_clips in splits.items()]
    findings = [f for audited in lists for f in fault_findings(LIST_FAULTS, audited.faults, audited.split)]
    for audited in lists:
        text = f"{audited.split}: {{line}} left out, without a class or with a label that the set ignores"
        findings += checks.findings_of("labels_ignored", text, audited.ignored, audited.split)
    findings += [finding for split in counts if split.clips for finding in checks.class_findings(split)]
    findings += checks.shared_persons(splits) + checks.shared_clips(splits) + checks.two_labels(splits, classes)
    findings += same_content(splits, {clip.key: contents[clip].hash for clip in clips})
    for split, split_clips in splits.items():
        findings += checks.repeated_clips(split, split_clips) + checks.differing_counts(split_clips, split)
        findings += frame_findings(split, split_clips, contents)
    note = set_note(options.root_dir)
    published = [] if note else checks.published_counts(splits, classes)
    findings += checks.published_findings(published)
    coverages: list[Coverage] = []
    for kind, file in options.boxes.items():
        kind_coverages, kind_findings = audit_boxes(kind, file, options.root_dir, splits, classes)
        coverages += kind_coverages
        findings += kind_findings
    sizes: dict[str, Counter[Size]] = {}
    if not options.quick:
        for split, part in splits.items():
            sizes[split] = Counter(size for clip in part for size in contents[clip].sizes.elements())
    findings.sort(key=lambda finding: list(KINDS).index(finding.severity))
    return Audit(classes, lists, counts, coverages, sizes, findings, published, note)


def read_list(split: str, file: str, root: str | None, classes: Classes) -> AuditedList:
    """Return a list with its clips and its faults by kind."""
    audited = AuditedList(split, resolve_path(file, root))
    first: dict[str, Clip] = {}
    try:
        for line in lines_of(audited.file, file, classes.of_split(split), audited.add_fault):
            if not line.labels:
                audited.ignored.append(line.where)
                continue
            try:
                clip = name_clip(line, root, classes)
            except UserError as fault:
                audited.add_fault(fault)
                continue
            try:
                clip = on_disk(clip, root, classes)
            except UserError as fault:
                audited.add_fault(fault, "clip")
            try:
                require_same(clip, first.setdefault(clip.key, clip))
            except UserError as fault:
                audited.add_fault(fault, "same_name")
            audited.clips.append(clip)
            audited.texts.append(line.text or _line_text(line, clip, classes))
    except UserError as fault:
        audited.add_fault(fault, "list")
    if not audited.clips and not audited.faults:
        audited.add_fault(UserError(f"{audited.file}: holds no clip"), "list")
    return audited


def _line_text(line: Line, clip: Clip, classes: Classes) -> str:
    """Return the list line of a clip that was found in a folder, in the layout of the set."""
    if classes.layout == "names":
        return f"{line.path}\t{'_'.join(classes.base_names[label] for label in line.labels)}"
    return f"{line.path} {len(clip.frames)} {list_number(line.labels[0], classes)}"


def list_number(label: int, classes: Classes) -> int:
    """Return the number of a label in the lists of its set, some of which use another order."""
    order = classes.format.order
    return classes.label_base + (label if order is None else order.index(label))
