"""The flags of ``python -m dataloader.audit``: named as main.py's where they mean the same, so that recipes serve."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import Literal

from dataloader.classes import Classes, load_classes
from dataloader.fold_paths import PLACE, count_folds
from utils.config import expand_recipes, flag_of, option, parse, parse_known, resolve
from utils.errors import UserError

LISTS = {"train": "train_annotation", "val": "val_annotation", "test": "test_annotation"}
BOXES = {"face": "bounding_box_face", "body": "bounding_box_body"}


@dataclass(frozen=True)
class AuditOptions:
    dataset: str = option("RAER", "as main.py's")
    root_dir: str | None = option(None, "as main.py's", metavar="DIR")
    class_texts: str | None = option(None, "as main.py's", metavar="FILE")
    train_annotation: str | None = option(None, "a list of clips, as main.py's", metavar="FILE")
    val_annotation: str | None = option(None, "another", metavar="FILE")
    test_annotation: str | None = option(None, "another", metavar="FILE")
    bounding_box_face: str | None = option(None, "as main.py's", metavar="FILE")
    bounding_box_body: str | None = option(None, "as main.py's", metavar="FILE")
    label_type: Literal["single", "compound"] = option("single", "as main.py's")
    fold: str | None = option(None, "what {fold} in a path stands for; all: one report a fold", metavar="N|all")
    quick: bool = option(False, "look at the first bytes of frames only: no hashes, no sizes, nothing decoded")
    strict: bool = option(False, "exit status 1 where there is an error or a warning")
    json: str | None = option(None, "also write everything here", metavar="FILE")
    make_folds: int | None = option(
        None, "write so many folds of the clips of train and val, persons kept whole", minimum=1, maximum=999
    )
    out: str | None = option(None, "where --make-folds writes: a new or empty folder", metavar="DIR")
    pool: bool = option(False, "--make-folds of the test clips as well")
    val_fraction: float = option(
        0.2, "share of each fold's training clips that becomes its validation list; 0: none", minimum=0, maximum=0.9
    )
    seed: int = option(42, "of --make-folds: which of equally good folds", minimum=0, maximum=2**32 - 1)
    workers: int | None = option(
        None,
        "threads that read and decode frames; auto (default): 4, or fewer cores",
        words={"auto": None},
        minimum=0,
        maximum=256,
        metavar="N|auto",
    )

    @property
    def lists(self) -> dict[str, str]:
        """Split → file, of those given."""
        return {split: getattr(self, name) for split, name in LISTS.items() if getattr(self, name)}

    @property
    def boxes(self) -> dict[str, str]:
        return {kind: getattr(self, name) for kind, name in BOXES.items() if getattr(self, name)}


def read_options(arguments: Sequence[str], description: str) -> tuple[AuditOptions, list[str]]:
    """The options, and the flags of recipes that mean nothing to an audit; on the command line they are mistakes."""
    groups, given, idle = {"audit": AuditOptions}, {}, []
    for is_recipe, words in groupby(arguments, lambda word: word.startswith("@")):
        if is_recipe:
            more, unknown = parse_known(groups, expand_recipes(list(words)), description)
            idle += [word.split("=")[0] for word in unknown if word.startswith("--")]
        else:
            more = parse(groups, list(words), description)
        given |= more
    options = resolve(groups, given)["audit"]
    check(options, given)
    return options, sorted(set(idle))


def check(options: AuditOptions, given: dict) -> None:
    for name, value in given.items():
        if value == "":
            raise UserError(f"{flag_of(name)} is empty; is it a shell variable that is not set?")
    if not options.lists:
        raise UserError("no list of clips: name --train-annotation, --val-annotation or --test-annotation")
    waiting = _waiting(options)
    if waiting and options.fold is None:
        name, path = next(iter(waiting.items()))
        raise UserError(f"{flag_of(name)} {path}: say which with --fold N, or --fold all")
    if options.fold is not None and not waiting:
        raise UserError(f"--fold {options.fold}: no path of this command holds {{fold}}, so it would change nothing")
    if options.fold not in (None, "all") and not (options.fold.isdecimal() and len(options.fold) <= 3):
        raise UserError(f"--fold {options.fold}: expected a number, or all")
    _check_making(options)


def _check_making(options: AuditOptions) -> None:
    if options.make_folds is None:
        if options.out is not None or options.pool:
            flag = f"--out {options.out}" if options.out is not None else "--pool"
            raise UserError(f"{flag} belongs to --make-folds K, which is not given")
        return
    if options.out is None:
        raise UserError(f"--make-folds {options.make_folds} needs --out DIR: where to write them")
    if not options.pool and not {"train", "val"} & {*options.lists}:
        raise UserError("--make-folds divides the clips of --train-annotation and --val-annotation; --pool takes test")
    if options.make_folds < 2:
        raise UserError(f"--make-folds {options.make_folds}: two folds at least, one to train on and one to test on")
    if options.fold == "all":
        raise UserError("--fold all --make-folds: name the fold whose clips are to be divided anew")


def each_fold(options: AuditOptions) -> list[AuditOptions]:
    """The options with ``{fold}`` filled in: once, or once for every fold."""
    if options.fold != "all":
        return [_fill(options, options.fold)]
    stated = load_classes(options.dataset, options.class_texts).folds
    number = count_folds(_waiting(options).values(), options.root_dir, stated)
    if not number:
        raise UserError(f"--fold all: no fold is there: {next(iter(_waiting(options).values()))}")
    return [_fill(options, str(fold)) for fold in range(1, number + 1)]


def _waiting(options: AuditOptions) -> dict[str, str]:
    named = {one.name: getattr(options, one.name) for one in fields(options)}
    return {name: path for name, path in named.items() if isinstance(path, str) and PLACE in path and name != "json"}


def _fill(options: AuditOptions, fold: str | None) -> AuditOptions:
    filled = {name: path.replace(PLACE, fold) for name, path in _waiting(options).items()} if fold else {}
    return replace(options, fold=fold, **filled)


def base_classes(options: AuditOptions) -> Classes:
    return load_classes(options.dataset, options.class_texts)
