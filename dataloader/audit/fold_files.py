"""Folds as lists on the disk, in the lines that they were read from; and the command that trains on them."""

import json
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloader.annotation import Clip
from dataloader.audit.folds import Fold, make_folds, units_of
from dataloader.audit.looks import Looks, look_of
from dataloader.audit.options import AuditOptions
from dataloader.audit.whole import Audit
from dataloader.classes import Classes
from dataloader.fold_paths import MADE
from dataloader.layouts import header_of
from utils.errors import UserError, reason_of
from utils.words import plural

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Pool:
    """The clips that are divided, each once, with their lines."""

    clips: list[Clip]
    texts: list[str]
    header: str | None  # the first line of a csv
    repeated: int


def write_folds(options: AuditOptions, audit: Audit, looks: Looks) -> list[str]:
    """Writes the folds whole or not at all; what is to be said of them, line by line."""
    out = Path(options.out)
    require_new(out)
    pool = gather(options, audit)
    contents = {clip.key: look_of(clip, looks).content for clip in pool.clips}
    units = units_of(pool.clips, contents)
    known = any(clip.person is not None for clip in pool.clips)
    if options.make_folds > len(units):
        kind = "person" if known else "clip"
        raise UserError(f"--make-folds {options.make_folds}: there are clips of {plural(len(units), kind)} alone")
    labels = [clip.label for clip in pool.clips]
    folds = make_folds(labels, units, options.make_folds, options.val_fraction, len(audit.classes), options.seed)
    _write(out, folds, pool, options)
    said = [] if known else ["PERSONS ARE NOT KNOWN in this set: the same person may be in two lists of a fold"]
    said += describe(folds, pool, audit.classes)
    return [
        *said,
        "",
        f"written to {out}; this trains and scores on every fold (with a recipe: name it before the other flags)",
        command(options),
    ]


def require_new(out: Path) -> None:
    """Asked before the audit as well, which takes longer than a typing mistake should."""
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--out {out}: holds something already; name a new or an empty folder")
        _unfinished(out).mkdir(parents=True)
        _unfinished(out).rmdir()
    except OSError as error:
        raise UserError(f"--out {out}: {reason_of(error)}") from None


def _unfinished(out: Path) -> Path:
    return out.absolute().with_name(f".{out.name}-{os.getpid()}")


def gather(options: AuditOptions, audit: Audit) -> Pool:
    """A clip of two lists is taken once; lines that mean nothing must be mended first."""
    listed = [one for one in audit.listed if options.pool or one.split != "test"]
    for one in listed:
        if one.unread:
            raise UserError(f"--make-folds: {one.file} has {plural(one.unread, 'line')} at fault; mend it first")
        if one.faults.get("same_name"):
            raise UserError(f"--make-folds: {one.faults['same_name'][0]}")
    known: dict[str, Clip] = {}
    texts, total = [], 0
    for one in listed:
        for clip, line in zip(one.clips, one.lines, strict=True):
            first, total = known.setdefault(clip.key, clip), total + 1
            if first is clip:
                texts.append(line.text)
            elif first.label != clip.label:
                raise UserError(f"--make-folds: {clip.where} and {first.where} give {clip.id} two labels; correct one")
    headers = {header_of(one.file, audit.classes) for one in listed if not one.file.is_dir()} or {None}
    if len(headers) > 1:
        raise UserError("--make-folds: some of the lists are csv files and some are not; folds need one kind")
    return Pool(list(known.values()), texts, headers.pop(), total - len(texts))


def _write(out: Path, folds: list[Fold], pool: Pool, options: AuditOptions) -> None:
    unfinished = _unfinished(out)
    try:
        for number, fold in enumerate(folds, 1):
            folder = unfinished / f"fold-{number}"
            folder.mkdir(parents=True)
            for part in PARTS:
                chosen = [pool.texts[index] for index in getattr(fold, part)]
                if chosen:
                    lines = [*([pool.header] if pool.header else []), *chosen]
                    (folder / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        made = {"folds": len(folds), "seed": options.seed, "val_fraction": options.val_fraction, "pool": options.pool}
        made |= {"lists": options.lists, "dataset": options.dataset}
        (unfinished / MADE).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
        os.replace(unfinished, out)
    except OSError as error:
        raise UserError(f"--out {out}: {reason_of(error)}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def describe(folds: list[Fold], pool: Pool, classes: Classes) -> list[str]:
    """How even the folds are, and what is missing in one."""
    labels = np.array([clip.label for clip in pool.clips])
    said = [f"{plural(len(folds), 'fold')} of {plural(len(pool.clips), 'clip')}"]
    if pool.repeated:
        said[0] += f" ({plural(pool.repeated, 'line')} of a clip that was there already left out)"
    said.append(f"{'fold':<6}{'train':>8}{'val':>8}{'test':>8}{'persons':>10}   test clips of each class")
    counts = []
    for number, fold in enumerate(folds, 1):
        counts.append(np.bincount(labels[fold.test], minlength=len(classes)))
        persons = len({pool.clips[index].person for index in fold.test} - {None})
        sizes = "".join(f"{len(getattr(fold, part)):>8,}" for part in PARTS)
        said.append(f"{number:<6}{sizes}{persons or '-':>10}   {' '.join(map(str, counts[-1]))}")
    spread = np.ptp(counts, axis=0)
    even = ", ".join(f"{name} {gap}" for name, gap in zip(classes.names, spread, strict=True))
    said.append(f"most test clips minus fewest, of each class: {even}")
    for number, fold in enumerate(folds, 1):
        for part in PARTS:
            chosen = getattr(fold, part)
            absent = set(range(len(classes))) - set(labels[chosen].tolist()) if chosen else set()
            if absent:
                names = ", ".join(classes.names[label] for label in sorted(absent))
                said.append(f"warning: fold {number}, {part}: no clip of {names}")
    return said


def command(options: AuditOptions) -> str:
    """What trains on the folds."""
    flags = {"--dataset": options.dataset, "--root-dir": options.root_dir, "--class-texts": options.class_texts}
    parts = PARTS if options.val_fraction > 0 else ("train", "test")
    flags |= {f"--{part}-annotation": f"{options.out}/fold-{{fold}}/{part}.txt" for part in parts}
    flags |= {f"--bounding-box-{kind}": file for kind, file in options.boxes.items()}
    flags |= {"--label-type": "compound"} if options.label_type == "compound" else {}
    flags |= {"--fold": "all"} | ({} if "val" in parts else {"--select-on": "last"})
    return "python main.py " + " ".join(f"{flag} {_quoted(value)}" for flag, value in flags.items() if value)


def _quoted(path: str) -> str:
    return path if shlex.quote(path.replace("{fold}", "1")) == path.replace("{fold}", "1") else shlex.quote(path)
