"""Report the content and the faults of the lists of a data set, and make folds that share no person.

    python -m dataloader.audit --root-dir data/raer-sim --train-annotation annotation/train.txt \
        --test-annotation annotation/test.txt --bounding-box-face annotation/face.json

``@recipes/data/<set>.args`` names the lists of a published set. ``--strict``: exit status 1 for an error or a warning.
"""

import os
import sys
from pathlib import Path
from textwrap import fill, wrap
from typing import Any

from dataloader.audit.audit import Audit, audit
from dataloader.audit.checks import Counts, Finding, PublishedCount
from dataloader.audit.contents import Contents, Coverage, size_text
from dataloader.audit.folds import require_new, write_folds
from dataloader.audit.options import AuditOptions, each_fold, ignored_text, read_options
from utils.command import run_command, writing_to
from utils.errors import UserError, one_line
from utils.files import write_json
from utils.text import plural, text_table

WIDTH = 100  # columns of the report


def run(options: AuditOptions, ignored: list[str]) -> int:
    """Print a report on every fold; return 1 if ``--strict`` is given and there is an error or a warning."""
    if options.json:
        require_writable(options.json)
    if options.out:
        require_new(Path(options.out))
    if ignored:
        print(fill(ignored_text("an audit", ignored), WIDTH, break_on_hyphens=False) + "\n")
    report: dict[str, Any] = {"dataset": options.dataset, "root_dir": options.root_dir}
    folds, contents, num_problems = {}, Contents(), 0
    for fold_options in each_fold(options):
        result = audit(fold_options, contents)
        num_problems += result.summary["error"] + result.summary["warning"]
        print(report_text(result, report_title(fold_options, result.classes.source)), flush=True)
        if fold_options.make_folds:
            print("", *write_folds(fold_options, result, contents), sep="\n")
        if options.fold == "all":
            print()
            folds[fold_options.fold] = result.as_dict()
        else:
            report |= result.as_dict()
    if options.json:
        with writing_to("--json", options.json):
            write_json(Path(options.json), report | ({"folds": folds} if folds else {}))
    return 1 if options.strict and num_problems else 0


def require_writable(file: str) -> None:
    """Raise a UserError if the report cannot be written; called before the work starts."""
    path = Path(file)
    if path.is_dir():
        raise UserError(f"--json {file}: is a folder; name a file")
    with writing_to("--json", file):
        part = path.with_name(path.name + ".part")
        part.touch()
        part.unlink()


def report_title(options: AuditOptions, source: str) -> str:
    fold = f", fold {options.fold}" if options.fold else ""
    relative = os.path.relpath(source)
    classes = source if relative.startswith("..") else relative
    return f"{options.dataset}{fold}, below {options.root_dir or '.'}; classes of {classes}"


def report_text(result: Audit, title: str) -> str:
    """Return an audit as text, readable at 100 columns."""
    lines = [title, "", *split_table(result), "", *class_table(result.counts)]
    if result.published:
        lines += ["", f"published by {result.classes.published['source']}:", *published_table(result.published)]
    elif result.note and result.classes.published:
        lines += ["", f"published counts: not compared, since about.json says: {result.note}"]
    lines += ["", *(box_table(result.coverages) if result.coverages else ["boxes: not checked, no file was given"])]
    numbers = [plural(number, severity) for severity, number in result.summary.items() if number]
    lines += ["", f"findings: {', '.join(numbers) or 'none'}"]
    for finding in result.findings:
        lines += finding_lines(finding)
    return "\n".join(one_line(line) for line in lines)


def split_table(result: Audit) -> list[str]:
    rows = [("split", "clips", "persons", "frames", "median", " frame sizes")]
    for counts in result.counts:
        sizes = result.sizes.get(counts.split, {})
        text = ", ".join(f"{size_text(size)} ({number:,})" for size, number in (sizes.most_common(3) if sizes else []))
        text += f", {len(sizes) - 3} more" if len(sizes) > 3 else ""
        persons = f"{counts.persons:,}" if counts.persons else "?"
        numbers = f"{counts.clips:,}", persons, f"{counts.frames:,}", f"{counts.median_frames:g}"
        rows.append((counts.split, *numbers, f" {text or 'not checked'}"))
    return text_table(rows, "lrrrr")


def class_table(splits: list[Counts]) -> list[str]:
    """Return a table of classes by splits; the last column is the UAR of one test clip of each class."""
    test = next((counts for counts in splits if counts.split == "test"), None)
    header = ["class", *(cell for counts in splits for cell in (counts.split, ""))]
    rows = [[*header, "one test clip is worth" if test else ""]]
    for name in splits[0].classes:
        cells = [cell for c in splits for cell in (f"{c.classes[name]:,}", f"{c.prior(name):.1%}")]
        worth = test.worth(name) if test else None
        rows.append([name, *cells, "" if worth is None else f"{worth:.2f} UAR points"])
    return text_table(rows, "l" + "rr" * len(splits))


def published_table(counts: list[PublishedCount]) -> list[str]:
    """Return a table of published counts, with the number of clips or persons that are missing or too many."""
    rows = [("part", "of", "published", "here", "")]
    for row in counts:
        lack = row.published - row.here
        text = "" if lack == 0 else f" {lack:,} missing" if lack > 0 else f" {-lack:,} too many"
        rows.append((row.part, row.subject, f"{row.published:,}", f"{row.here:,}", text))
    return text_table(rows, "llrrl")


def box_table(coverages: list[Coverage]) -> list[str]:
    rows = [("boxes", "split", "clips with one", "frames", "width", " lowest class")]
    for coverage in coverages:
        lowest = min(coverage.classes.items(), key=lambda pair: pair[1], default=None)
        lowest_text = f"{lowest[0]} {lowest[1]:.1%}" if lowest and lowest[1] < 1 else "-"
        width = "-" if coverage.width is None else f"{coverage.width:.0f}"
        clips = f"{coverage.clips_with_box:,} of {coverage.clips:,}"
        rows.append((coverage.kind, coverage.split, clips, f"{coverage.share:.1%}", width, f" {lowest_text}"))
    return text_table(rows, "llrrr")


def finding_lines(finding: Finding) -> list[str]:
    text = f"{finding.severity:<8} {finding.kind}: {finding.text}"
    lines = wrap(text, WIDTH, subsequent_indent=" " * 9)
    lines += [f"{'':11}{example}" for example in finding.examples]
    num_hidden = finding.count - len(finding.examples)
    return lines + ([f"{'':11}and {num_hidden:,} more"] if finding.examples and num_hidden > 0 else [])


def main(arguments: list[str] | None = None) -> int:
    def run_arguments() -> int:
        description = (__doc__ or "").partition("\n")[0]
        return run(*read_options(sys.argv[1:] if arguments is None else arguments, description))

    return run_command(run_arguments, "stopped by Ctrl-C; nothing was written")


if __name__ == "__main__":
    sys.exit(main())
