"""What is in the lists of a set, and what is wrong with it; folds that share no person.

    python -m dataloader.audit --root-dir data/raer-sim --train-annotation annotation/train.txt \
        --test-annotation annotation/test.txt --bounding-box-face annotation/face.json

``@recipes/data/<set>.args`` names the lists of a published set. ``--strict``: exit status 1 where anything is wrong.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from textwrap import fill
from typing import Any

from dataloader.audit.fold_files import require_new, write_folds
from dataloader.audit.looks import Looks
from dataloader.audit.options import AuditOptions, each_fold, read_options
from dataloader.audit.report import write_report
from dataloader.audit.whole import audit
from utils.command import run_command
from utils.errors import UserError, reason_of


def run(options: AuditOptions, idle: list[str]) -> int:
    """Reports on every fold; 1 where ``--strict`` is given and there is more than a note."""
    if options.json:
        write_json(options.json, {})  # a place that cannot be written to is found before the work
    if options.out:
        require_new(Path(options.out))
    if idle:
        print(fill(f"flags of the recipe that an audit does not read: {' '.join(idle)}", 100, break_on_hyphens=False))
        print()
    stored: dict[str, Any] = {"dataset": options.dataset, "root_dir": options.root_dir}
    folds, looks, grave = {}, Looks(), 0
    for one in each_fold(options):
        done = audit(one, looks)
        grave += done.summary["error"] + done.summary["warning"]
        print(write_report(done, title_of(one, done.classes.source)), flush=True)
        if one.make_folds:
            print("", *write_folds(one, done, looks), sep="\n")
        if options.fold == "all":
            print()
            folds[one.fold] = done.as_dict()
        else:
            stored |= done.as_dict()
    if options.json:
        write_json(options.json, stored | ({"folds": folds} if folds else {}))
    return 1 if options.strict and grave else 0


def title_of(options: AuditOptions, source: str) -> str:
    fold = f", fold {options.fold}" if options.fold else ""
    inside = os.path.relpath(source)
    classes = source if inside.startswith("..") else inside
    return f"{options.dataset}{fold}, below {options.root_dir or '.'}; classes of {classes}"


def write_json(file: str, content: dict[str, Any]) -> None:
    path = Path(file)
    if path.is_dir():
        raise UserError(f"--json {file}: is a folder; name a file")
    unfinished = path.with_name(path.name + ".part")
    try:
        if not content:
            unfinished.touch()
            return
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        raise UserError(f"--json {file}: {reason_of(error)}") from None
    finally:
        with contextlib.suppress(OSError):  # of a place that is none
            unfinished.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    def run_given() -> int:
        description = (__doc__ or "").partition("\n")[0]
        return run(*read_options(sys.argv[1:] if arguments is None else arguments, description))

    return run_command(run_given, "stopped by Ctrl-C: nothing was written")


if __name__ == "__main__":
    sys.exit(main())
