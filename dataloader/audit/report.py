"""An audit as text, readable at 100 columns."""

from textwrap import wrap

from dataloader.audit.boxes import Coverage
from dataloader.audit.counts import Counts
from dataloader.audit.findings import Finding
from dataloader.audit.looks import as_text
from dataloader.audit.whole import Audit
from utils.errors import one_line
from utils.words import plural

WIDTH = 100


def write_report(audit: Audit, title: str) -> str:
    lines = [title, "", *_splits(audit), "", *_classes(audit.counts)]
    if audit.coverages:
        lines += ["", *_boxes(audit.coverages)]
    lines += ["", *_summary(audit)]
    for finding in audit.findings:
        lines += _finding(finding)
    return "\n".join(one_line(line) for line in lines)


def _splits(audit: Audit) -> list[str]:
    lines = [f"{'split':<7}{'clips':>8}{'persons':>9}{'frames':>12}{'median':>8}   frame sizes"]
    for one in audit.counts:
        sizes = audit.sizes.get(one.split, {})
        common = sizes.most_common(3) if sizes else []
        shown = ", ".join(f"{as_text(size)} ({number:,})" for size, number in common)
        more = f", {len(sizes) - 3} more" if len(sizes) > 3 else ""
        persons = f"{one.persons:,}" if one.persons else "?"
        numbers = f"{one.clips:>8,}{persons:>9}{one.frames:>12,}{one.median_frames:>8g}"
        lines.append(f"{one.split:<7}{numbers}   {shown or 'not looked at'}{more}")
    return lines


def _classes(counts: list[Counts]) -> list[str]:
    """Classes as rows, splits as columns; beside test what one of its clips is worth."""
    names = counts[0].names
    width = min(max(map(len, (*names, "class"))), 40) + 2
    test = next((one for one in counts if one.split == "test"), None)
    header = f"{'class':<{width}}" + "".join(f"{one.split:>8} {'':>7}" for one in counts)
    lines = [header + ("   one test clip is worth" if test else "")]
    for place, name in enumerate(names):
        row = f"{name:<{width}}" + "".join(f"{one.classes[place]:>8,} {one.priors[place]:>7.1%}" for one in counts)
        worth = test.worth[place] if test else None
        lines.append(row + (f"{worth:>8.2f} UAR points" if worth is not None else ""))
    return lines


def _boxes(coverages: list[Coverage]) -> list[str]:
    """Splits as rows; the classes with the fewest boxes named."""
    lines = [f"{'boxes':<7}{'split':<7}{'clips with one':>20}{'frames':>9}{'width':>8}   lowest class"]
    for one in coverages:
        clips = f"{one.clips_with_box:,} of {len(one.clips):,}"
        lowest = min(one.by_class.items(), key=lambda pair: pair[1], default=None)
        shown = f"{lowest[0]} {lowest[1]:.1%}" if lowest and lowest[1] < 1 else "-"
        width = "-" if one.width is None else f"{one.width:.0f}"
        lines.append(f"{one.kind:<7}{one.split:<7}{clips:>20}{one.share:>9.1%}{width:>8}   {shown}")
    return lines


def _summary(audit: Audit) -> list[str]:
    counted = [plural(number, severity) for severity, number in audit.summary.items() if number]
    return ["findings: " + (", ".join(counted) or "none")]


def _finding(finding: Finding) -> list[str]:
    lines = wrap(f"{finding.severity:<8} {finding.kind}: {finding.text}", WIDTH, subsequent_indent=" " * 9)
    lines += [f"{'':11}{example}" for example in finding.examples]
    left = finding.count - len(finding.examples)
    return lines + ([f"{'':11}and {left:,} more"] if finding.examples and left > 0 else [])
