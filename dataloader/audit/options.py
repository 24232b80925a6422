"""The flags of ``python -m dataloader.audit``, and those that name a set, which other commands share.

Those of main.py have the same names, so recipes can be used.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, TypeVar

from dataloader.annotation import label_sets
from dataloader.classes import Classes, load_classes, with_compounds
from dataloader.paths import FOLD, count_folds
from utils.command import python_name
from utils.config import ON, flag_of, option, read_with_recipes
from utils.errors import UserError


@dataclass(frozen=True)
class SetOptions:
    """The lists and boxes of a data set, as the flags of main.py name them."""

    dataset: str = option("RAER", "name of the data set, as for main.py")
    root_dir: str | None = option(None, "folder of the data set, as for main.py", metavar="DIR")
    class_texts: str | None = option(None, "JSON with classes of your own, as for main.py", metavar="FILE")
    clip_column: str | None = option(None, "column of a CSV list that names the clip, as for main.py", metavar="NAME")
    label_column: str | None = option(None, "column of a CSV list with the class, as for main.py", metavar="NAME")
    train_annotation: str | None = option(None, "list of training clips", metavar="FILE")
    val_annotation: str | None = option(None, "list of validation clips", metavar="FILE")
    test_annotation: str | None = option(None, "list of test clips", metavar="FILE")
    bounding_box_face: str | None = option(None, "JSON with one face box per frame", metavar="FILE")
    bounding_box_body: str | None = option(None, "JSON with one body box per clip", metavar="FILE")
    label_type: Literal["single", "compound"] = option("single", "kind of labels, as for main.py")
    fold: str | None = option(None, "number that replaces {fold} in paths, or all", metavar="N|all")

    @property
    def lists(self) -> dict[str, str]:
        """{split: file} of the given lists."""
        files = {"train": self.train_annotation, "val": self.val_annotation, "test": self.test_annotation}
        return {split: file for split, file in files.items() if file}

    @property
    def boxes(self) -> dict[str, str]:
        """{kind: file} of the given boxes."""
        files = {"face": self.bounding_box_face, "body": self.bounding_box_body}
        return {kind: file for kind, file in files.items() if file}

    @property
    def fold_paths(self) -> dict[str, str]:
        """{option: path} of every path that holds ``{fold}``, except the name of an audit's report."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "json"}
        return {name: path for name, path in values.items() if isinstance(path, str) and FOLD in path}

    @property
    def words(self) -> list[str]:
        """The flags of main.py that name the set."""
        values = {field: getattr(self, field.name) for field in fields(SetOptions)}
        return [word for field, v in values.items() if v != field.default for word in (flag_of(field.name), v)]


AnySet = TypeVar("AnySet", bound=SetOptions)
RECIPE = "recipes/advanced.args"
SMALL_CLIP = "weights/mini_clip.safetensors"  # part of the project
SMALL_CLIP_FLAGS = f"--clip-path {SMALL_CLIP} --image-size 112 --normalize clip --lr-image-encoder 0 --cache-features"
OPENAI_FILE = ".cache/clip/ViT-B-32.pt"  # in the home folder, after the download


def training_advice(flags: str, image_size: int | None = None) -> list[str]:
    """Return lines with the commands that train on the set of ``flags``.

    The first command needs no network. ``image_size``: size of stored crops, None without stored crops.
    """
    command = f"  {python_name()} main.py @{RECIPE}"
    lines = []
    has_openai = (Path.home() / OPENAI_FILE).is_file()
    needs_small = image_size == 112 or (image_size is None and not has_openai)
    if Path(SMALL_CLIP).is_file() and needs_small:
        lines += ["to try it without a download, with a small CLIP that was trained only on simulated people:"]
        lines += [f"{command} {SMALL_CLIP_FLAGS} {flags}"]
    if image_size in (None, 224):
        note = "" if has_openai else ", which is downloaded once"
        lines += [f"to train with OpenAI's CLIP{note}:", f"{command} {flags}"]
    return lines


@dataclass(frozen=True)
class AuditOptions(SetOptions):
    quick: bool = option(False, "read only the first bytes of frames: no hashes, no sizes, no decoding")
    strict: bool = option(False, "exit status 1 if there is an error or a warning")
    json: str | None = option(None, "also write the whole report to this file", metavar="FILE")
    make_folds: int | None = option(
        None, "number of folds to make from the clips of train and val, with whole persons", minimum=1, maximum=999
    )
    out: str | None = option(None, "folder for --make-folds, new or empty", needs={"make_folds": ON}, metavar="DIR")
    pool: bool = option(False, "also divide the test clips", needs={"make_folds": ON})
    val_fraction: float = option(
        0.2,
        "share of each fold's training clips that becomes its validation list; 0: none",
        needs={"make_folds": ON},
        minimum=0,
        maximum=0.9,
    )
    seed: int = option(
        42,
        "random seed for the choice among equally good folds",
        needs={"make_folds": ON},
        minimum=0,
        maximum=2**32 - 1,
    )
    workers: int | None = option(
        None,
        "threads that read and decode frames; auto (default): 4, or fewer cores",
        words={"auto": None},
        minimum=0,
        maximum=256,
        metavar="N|auto",
    )


def read_options(arguments: Sequence[str], description: str) -> tuple[AuditOptions, list[str]]:
    """Return the options, and the flags of recipes that an audit does not read."""
    options, ignored = read_with_recipes(AuditOptions, arguments, description)
    for field in fields(options):
        if getattr(options, field.name) == "":
            raise UserError(f"{flag_of(field.name)} is empty; is it a shell variable that is not set?")
    _check(options)
    return options, ignored


def ignored_text(reader: str, ignored: list[str]) -> str:
    return f"flags of the recipe that {reader} does not read: {' '.join(ignored)}"


def _check(options: AuditOptions) -> None:
    if not options.lists:
        raise UserError("no list of clips: name --train-annotation, --val-annotation or --test-annotation")
    check_fold(options)
    if options.make_folds is None:
        return
    if options.out is None:
        raise UserError(f"--make-folds {options.make_folds} needs --out DIR: where to write them")
    if not options.pool and not {"train", "val"} & {*options.lists}:
        raise UserError("--make-folds divides the clips of --train-annotation and --val-annotation; --pool adds test")
    if options.make_folds < 2:
        raise UserError(f"--make-folds {options.make_folds}: at least two are needed, one to train on, one to test on")
    if options.fold == "all":
        raise UserError("--fold all --make-folds: name the fold whose clips should be divided again")


def check_fold(options: SetOptions) -> None:
    fold_paths = options.fold_paths
    if fold_paths and options.fold is None:
        name, path = next(iter(fold_paths.items()))
        raise UserError(f"{flag_of(name)} {path}: select a fold with --fold N, or --fold all")
    if options.fold is not None and not fold_paths:
        raise UserError(f"--fold {options.fold}: no path of this command holds {{fold}}, so it would change nothing")
    if options.fold not in (None, "all") and not (options.fold.isdecimal() and len(options.fold) <= 3):
        raise UserError(f"--fold {options.fold}: expected a number, or all")


def each_fold(options: AnySet) -> list[AnySet]:
    """Return the options with ``{fold}`` filled in, for one fold or for every fold."""
    if options.fold is None:
        return [options]
    paths, folds = options.fold_paths, [options.fold]
    if options.fold == "all":
        stated = load_classes(options.dataset, options.class_texts).folds
        folds = [str(fold) for fold in range(1, count_folds(paths.values(), options.root_dir, stated) + 1)]
        if not folds:
            raise UserError(f"--fold all: no fold exists: {next(iter(paths.values()))}")
    return [
        replace(options, fold=fold, **{name: path.replace(FOLD, fold) for name, path in paths.items()})
        for fold in folds
    ]


def read_classes(folds: Sequence[SetOptions]) -> Classes:
    """Return the classes of the set, with every combination that occurs in lists of compound classes."""
    options = folds[0]
    classes = load_classes(options.dataset, options.class_texts, options.clip_column, options.label_column)
    if options.label_type == "single":
        return classes
    combinations: set[frozenset[int]] = set()
    for file in {file for fold in folds for file in fold.lists.values()}:
        with suppress(UserError):  # reported where the list itself is read
            combinations |= label_sets(file, options.root_dir, classes, lambda fault: None)
    return with_compounds(classes, combinations)
