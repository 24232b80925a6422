"""Folds: divide clips so that no person is in two parts and classes are balanced, and write them as lists."""

import os
import shlex
import shutil
from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloader.annotation import Clip
from dataloader.audit.audit import Audit
from dataloader.audit.contents import Contents
from dataloader.audit.options import AuditOptions, training_advice
from dataloader.classes import Classes
from dataloader.layouts import header_of
from dataloader.paths import FOLDS_FILE
from utils.errors import UserError, reason_of
from utils.files import write_json
from utils.text import plural, text_table

PARTS = ("train", "val", "test")
Fold = dict[str, list[int]]  # indexes of the clips of each part
MANY_UNITS = 2000  # with more, units are mostly single clips, which are balanced without exchanges
PASSES = 20
ROUNDING = 1e-12  # a smaller gain is a rounding error


@dataclass(frozen=True)
class Pool:
    """The clips to divide, each once, with their lines."""

    clips: list[Clip]
    texts: list[str]
    header: str | None  # the first line of a csv
    num_repeated: int

    @property
    def suffix(self) -> str:
        return ".csv" if self.header else ".txt"


def write_folds(options: AuditOptions, audit: Audit, contents: Contents) -> list[str]:
    """Write all folds, or none after an error; return the lines that describe them."""
    out = Path(options.out)
    pool = gather_clips(options, audit)
    ties = [(("person", clip.person), ("content", contents[clip].hash)) for clip in pool.clips]
    units = linked_groups([{tie for tie in clip_ties if tie[1] is not None} for clip_ties in ties])
    knows_persons = any(clip.person is not None for clip in pool.clips)
    if options.make_folds > len(units):
        unit = "person" if knows_persons else "clip"
        raise UserError(f"--make-folds {options.make_folds}: there are clips of only {plural(len(units), unit)}")
    labels = [clip.label for clip in pool.clips]
    folds = make_folds(labels, units, options.make_folds, options.val_fraction, len(audit.classes), options.seed)
    _write_files(out, folds, pool, options)
    warning = "PERSONS ARE NOT KNOWN in this set: the same person may be in two lists of a fold"
    return [
        *([] if knows_persons else [warning]),
        *_describe(folds, pool, audit.classes),
        "",
        f"written to {out}; this command trains and scores on every fold (put a recipe before the other flags)",
        *training_advice(_flags(options, pool.suffix)),
    ]


def require_new(out: Path) -> None:
    """Raise a UserError if folds cannot be written to ``out``; called before the audit, which takes long."""
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--out {out}: is not empty; name a new or an empty folder")
        _unfinished(out).mkdir(parents=True)
        _unfinished(out).rmdir()
    except OSError as error:
        raise UserError(f"--out {out}: {reason_of(error)}") from None


def _unfinished(out: Path) -> Path:
    return out.absolute().with_name(f".{out.name}-{os.getpid()}")


def gather_clips(options: AuditOptions, audit: Audit) -> Pool:
    """Return the clips to divide. A clip in two lists is used once; lists with faults are refused."""
    lists = [audited for audited in audit.lists if options.pool or audited.split != "test"]
    for audited in lists:
        if audited.num_unread:
            lines = plural(audited.num_unread, "line")
            raise UserError(f"--make-folds: {audited.file} has {lines} with faults; correct it first")
        if audited.faults.get("same_name"):
            raise UserError(f"--make-folds: {audited.faults['same_name'][0]}")
    first: dict[str, Clip] = {}
    texts, total = [], 0
    for clip, text in (pair for audited in lists for pair in zip(audited.clips, audited.texts, strict=True)):
        before, total = first.setdefault(clip.key, clip), total + 1
        if before is clip:
            texts.append(text)
        elif before.label != clip.label:
            raise UserError(f"--make-folds: {clip.where} and {before.where} give {clip.id} two labels; correct one")
    headers = {header_of(audited.file, audit.classes) for audited in lists if not audited.file.is_dir()} or {None}
    if len(headers) > 1:
        columns = " and ".join(f"`{header}`" if header else "none" for header in sorted(headers, key=str))
        raise UserError(f"--make-folds: the lists have different columns ({columns}); use lists of one kind")
    return Pool(list(first.values()), texts, headers.pop(), total - len(texts))


def _write_files(out: Path, folds: list[Fold], pool: Pool, options: AuditOptions) -> None:
    unfinished = _unfinished(out)
    try:
        for number, fold in enumerate(folds, 1):
            folder = unfinished / f"fold-{number}"
            folder.mkdir(parents=True)
            for part in PARTS:
                lines = [pool.texts[index] for index in fold[part]]
                if lines:
                    lines = [pool.header, *lines] if pool.header else lines
                    (folder / f"{part}{pool.suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")
        about = {"folds": len(folds), "seed": options.seed, "val_fraction": options.val_fraction, "pool": options.pool}
        write_json(unfinished / FOLDS_FILE, about | {"lists": options.lists, "dataset": options.dataset})
        os.replace(unfinished, out)
    except OSError as error:
        raise UserError(f"--out {out}: {reason_of(error)}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _describe(folds: list[Fold], pool: Pool, classes: Classes) -> list[str]:
    """Return lines on the balance of the folds, and on classes that a list lacks."""
    labels = np.array([clip.label for clip in pool.clips])
    repeated = plural(pool.num_repeated, "line")
    note = f" ({repeated} of a repeated clip left out)" if pool.num_repeated else ""
    rows, counts, warnings = [("fold", *PARTS, "persons", " test clips of each class")], [], []
    for number, fold in enumerate(folds, 1):
        counts.append(np.bincount(labels[fold["test"]], minlength=len(classes)))
        persons = len({pool.clips[index].person for index in fold["test"]} - {None})
        sizes = [f"{len(fold[part]):,}" for part in PARTS]
        rows.append((str(number), *sizes, str(persons or "-"), f" {' '.join(map(str, counts[-1]))}"))
        for part in PARTS:
            clips = fold[part]
            absent = set(range(len(classes))) - set(labels[clips].tolist()) if clips else set()
            if absent:
                names = ", ".join(classes.names[label] for label in sorted(absent))
                warnings.append(f"warning: fold {number}, {part}: no clip of {names}")
    spread = zip(classes.names, np.ptp(counts, axis=0), strict=True)
    return [
        f"{plural(len(folds), 'fold')} of {plural(len(pool.clips), 'clip')}{note}",
        *text_table(rows, "lrrrr"),
        "most test clips minus fewest, of each class: " + ", ".join(f"{name} {gap}" for name, gap in spread),
        *warnings,
    ]


def _flags(options: AuditOptions, suffix: str) -> str:
    """Return the flags of main.py that name the folds, whose lists have this suffix."""
    flags = {"--dataset": options.dataset, "--root-dir": options.root_dir, "--class-texts": options.class_texts}
    parts = PARTS if options.val_fraction > 0 else ("train", "test")
    flags |= {f"--{part}-annotation": f"{options.out}/fold-{{fold}}/{part}{suffix}" for part in parts}
    flags |= {"--clip-column": options.clip_column, "--label-column": options.label_column}
    flags |= {f"--bounding-box-{kind}": file for kind, file in options.boxes.items()}
    flags |= {"--label-type": "compound"} if options.label_type == "compound" else {}
    flags |= {"--fold": "all"} | ({} if "val" in parts else {"--select-on": "last"})
    return " ".join(f"{flag} {_quoted(value)}" for flag, value in flags.items() if value)


def _quoted(path: str) -> str:
    filled = path.replace("{fold}", "1")  # the braces of {fold} need no quotes
    return path if shlex.quote(filled) == filled else shlex.quote(path)


def linked_groups(items: Sequence[Collection[Hashable]]) -> list[list[int]]:
    """Return groups of item indexes; items with a common element, directly or through other items, are in one group."""
    parent = list(range(len(items)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    first: dict[Hashable, int] = {}
    for index, ties in enumerate(items):
        for tie in ties:
            parent[root(index)] = root(first.setdefault(tie, index))
    groups = defaultdict(list)
    for index in range(len(items)):
        groups[root(index)].append(index)
    return list(groups.values())


def make_folds(
    labels: Sequence[int], units: list[list[int]], number: int, val_fraction: float, num_classes: int, seed: int
) -> list[Fold]:
    """Return folds: every clip is in one test list, and no unit is in two lists of a fold."""
    vectors = np.array([np.bincount([labels[i] for i in unit], minlength=num_classes) for unit in units])
    targets = np.tile(vectors.sum(axis=0) / number, (number, 1))
    parts = divide(vectors, targets, np.random.default_rng([seed, 3]))
    folds = []
    for fold in range(number):
        rest = np.flatnonzero(parts != fold)
        is_val = np.zeros(len(rest), dtype=int)
        if val_fraction > 0:
            if len(rest) < 2:
                raise UserError(
                    f"--make-folds {number}: fold {fold + 1} has only one person to train on, and none for validation; "
                    f"pass --val-fraction 0"
                )
            total = vectors[rest].sum(axis=0)
            val = np.where(total > 1, np.maximum(val_fraction * total, 1), val_fraction * total)
            targets_of_rest = np.stack([total - val, val])  # at least one in val of a class with two clips or more
            is_val = divide(vectors[rest], targets_of_rest, np.random.default_rng([seed, 4, fold]))
        lists = zip(PARTS, (rest[is_val == 0], rest[is_val == 1], np.flatnonzero(parts == fold)), strict=True)
        folds.append({part: sorted(i for unit in indexes for i in units[unit]) for part, indexes in lists})
    return folds


def divide(vectors: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the part of each unit, (U,), so that the parts are close to ``targets`` and none is empty.

    ``vectors`` (U, C): clips of each class in each unit; ``targets`` (parts, C). Large units are assigned first, each
    to the part that lacks most clips; then units are moved and exchanged while that reduces the error.
    """
    order = rng.permutation(len(vectors))
    order = order[np.argsort(-vectors[order].sum(axis=1), kind="stable")]
    weight = 1 / np.maximum(vectors.sum(axis=0), 1) ** 2  # a rare class counts as much as a common one
    sums, parts = np.zeros_like(targets), np.zeros(len(vectors), dtype=int)
    sizes = np.zeros(len(targets), dtype=int)
    for position, unit in enumerate(order):
        lacking = ((targets - sums) * weight) @ vectors[unit]
        spare = (targets - sums).sum(axis=1)
        must_fill = len(order) - position <= (sizes == 0).sum()
        allowed = sizes == 0 if must_fill else np.ones(len(targets), dtype=bool)
        best = allowed & (lacking >= lacking[allowed].max() - ROUNDING)
        part = max(np.flatnonzero(best), key=lambda p: spare[p])
        parts[unit], sizes[part] = part, sizes[part] + 1
        sums[part] += vectors[unit]
    if len(vectors) <= MANY_UNITS:
        improve(vectors, parts, targets, weight)
    return parts


def improve(vectors: np.ndarray, parts: np.ndarray, targets: np.ndarray, weight: np.ndarray) -> None:
    """Move and exchange units while the sum of squared differences to ``targets`` falls; changes ``parts``."""
    over = -targets  # surplus of each part
    np.add.at(over, parts, vectors)
    for _ in range(PASSES):
        has_moved = False
        for unit, vector in enumerate(vectors):
            source = parts[unit]
            if (parts == source).sum() > 1:
                # half of the decrease of the squares: |a|² + |b|² - |a - v|² - |b + v|²
                gain = ((over[source] - over) * weight) @ vector - (vector**2 * weight).sum()
                gain[source] = 0
                target = int(gain.argmax())
                if gain[target] > ROUNDING:
                    over[source] -= vector
                    over[target] += vector
                    parts[unit], has_moved = target, True
                    continue
            step = vector - vectors  # (U, C): change of the source part by each exchange
            gain = ((over[source] - over[parts]) * step * weight).sum(axis=1) - (step**2 * weight).sum(axis=1)
            gain[parts == source] = 0
            partner = int(gain.argmax())
            if gain[partner] > ROUNDING:
                target = parts[partner]
                over[source] -= step[partner]
                over[target] += step[partner]
                parts[unit], parts[partner], has_moved = target, source, True
        if not has_moved:
            return
