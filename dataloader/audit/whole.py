"""The whole audit of one set of lists: everything counted and looked for, nothing printed."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from dataloader.audit import boxes, duplicates, frames, looks, overlap
from dataloader.audit.counts import Counts, count, doubts
from dataloader.audit.findings import SEVERITIES, Finding, by_severity
from dataloader.audit.looks import Looks, Size, as_text, sizes_of
from dataloader.audit.options import BOXES, LISTS, AuditOptions, base_classes
from dataloader.audit.reading import Listed, read_classes, read_listed, require_there
from dataloader.classes import Classes
from utils.config import flag_of


@dataclass(frozen=True)
class Audit:
    classes: Classes
    listed: list[Listed]
    counts: list[Counts]
    coverages: list[boxes.Coverage]
    sizes: dict[str, Counter[Size]]  # of each split; empty after a quick look
    findings: list[Finding]  # the gravest first

    @property
    def summary(self) -> dict[str, int]:
        return {severity: sum(one.severity == severity for one in self.findings) for severity in SEVERITIES}

    def as_dict(self) -> dict[str, Any]:
        splits = {one.split: one.as_dict() for one in self.counts}
        for one in self.listed:
            splits[one.split] |= {"list": str(one.file), "lines_left_out": one.unread}
        for split, sizes in self.sizes.items():
            splits[split]["sizes"] = {as_text(size): number for size, number in sizes.most_common()}
        for one in self.coverages:
            splits[one.split].setdefault("boxes", {})[one.kind] = one.as_dict()
        return {"splits": splits, "summary": self.summary, "findings": [one.as_dict() for one in self.findings]}


def audit(options: AuditOptions, known: Looks) -> Audit:
    """``known``: what was read of frames before, which grows."""
    classes = _require_all(options)
    listed = [read_listed(split, file, options.root_dir, classes) for split, file in options.lists.items()]
    splits = {one.split: one.clips for one in listed}
    looks.look_at_all((clip for clips in splits.values() for clip in clips), known, options.workers, options.quick)
    counts = [count(split, clips, classes) for split, clips in splits.items()]
    said = [finding for one in listed for finding in one.findings]
    said += [finding for one in counts if one.clips for finding in doubts(one)]
    said += overlap.shared_persons(splits) + overlap.shared_clips(splits) + duplicates.two_labels(splits, classes)
    contents = {clip.key: looks.look_of(clip, known).content for clips in splits.values() for clip in clips}
    said += duplicates.same_content(splits, contents)
    for split, clips in splits.items():
        said += duplicates.repeated_clips(split, clips) + frames.differing_counts(clips, split)
        said += looks.doubts(split, clips, known) + frames.text_order(clips, split) + frames.number_gaps(clips, split)
    coverages = []
    for kind, file in options.boxes.items():
        with_box, faults = boxes.read_boxes(kind, file, options.root_dir, classes)
        covered = boxes.cover_all(kind, splits, with_box or {}, classes)
        said += faults
        said += [] if with_box is None else boxes.doubts(file, covered)
        coverages += covered
    sizes = {} if options.quick else {split: sizes_of(clips, known) for split, clips in splits.items()}
    return Audit(classes, listed, counts, coverages, sizes, by_severity(said))


def _require_all(options: AuditOptions) -> Classes:
    """Every file that a flag names is there; the classes of the lists."""
    named = LISTS | BOXES
    for part, file in (options.lists | options.boxes).items():
        require_there(file, options.root_dir, flag_of(named[part]))
    classes = base_classes(options)
    if options.label_type == "single":
        return classes
    return read_classes(classes, list(options.lists.values()), options.root_dir)
