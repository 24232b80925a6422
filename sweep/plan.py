"""The runs of a sweep: one per fold, per class left out, per seed, or per variant and seed of an ablation."""

import hashlib
import itertools
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis.results import require_same_classes
from dataloader.annotation import label_sets
from dataloader.classes import load_classes
from dataloader.paths import count_folds, resolve_path
from engine.checks import check_needs, idle_options, needed_option
from engine.config import make_config
from engine.data import augmentation_limits
from engine.lists import class_named, run_classes
from engine.methods import method_named
from engine.options import GROUPS, Config, defaults, names_with
from engine.series import read_grid, seeds_of, waiting_paths
from utils.config import flag_of, resolve, written
from utils.errors import UserError
from utils.hub import is_folder
from utils.runlog import safe_name

Options = dict[str, Any]  # {name of an option: its value}
MAX_FOLDER_NAME = 100  # characters
SINGLE_TRAINING = {"mode": "train", "grid": (), "drop_one": False, "seeds": None, "resume": None, "files": ()}


@dataclass(frozen=True)
class Variant:
    """One row of an ablation: the options in which its runs differ from the base's."""

    name: str
    changes: Options

    @property
    def folder(self) -> str:
        """Return a folder name that no other variant has."""
        plain = re.sub(r"[^A-Za-z0-9.=_-]+", "-", self.name).strip("-.")
        if len(plain) <= MAX_FOLDER_NAME:
            return plain
        # Two long names may start with the same characters, so a hash of the whole name is added.
        return f"{plain[: MAX_FOLDER_NAME - 9]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    @property
    def changed_flags(self) -> str:
        """Return the changes as flags of a command line."""
        return " ".join(f"{flag_of(name)} {written(value)}" for name, value in self.changes.items())


BASE = Variant("base", {})


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep. ``flags`` override ``series_options``, the stored options that all runs of a series share.

    The runs of an ablation have no such options: all options that the user did not pass are computed again for each
    run, because some, such as a learning rate, may depend on those that a variant changes.
    """

    name: str
    flags: Options
    series_options: dict[str, Options] | None = None
    variant: Variant | None = None  # of an ablation

    @cached_property
    def config(self) -> Config:
        """Return the checked options of the run, without its folder."""
        return make_config(self.flags, self.series_options)

    @property
    def title(self) -> str:
        return self.name if self.variant is None else f"{self.variant.name}, seed {self.flags['seed']}"


def plan_series(config: Config, flags: Options) -> list[PlannedRun]:
    """Return a run for each seed, each fold, or each class that is left out."""
    data = config.data
    if config.results.seeds is not None:
        seeds = seeds_of(config.results.seeds, config.run.seed)
        changes = [(f"seed-{seed}", {"seed": seed, "seeds": None}) for seed in seeds]
    elif data.fold == "all":
        changes = [(f"fold-{fold}", {"fold": str(fold)}) for fold in range(1, number_of_folds(config) + 1)]
    else:
        names = load_classes(data.dataset, data.class_texts).names
        changes = [(f"without-{safe_name(name)}", {"leave_out": name}) for name in names]
    options = asdict(config)
    options["run"] |= {"output_dir": None, "resume": None}
    flags = {name: value for name, value in flags.items() if name != "resume"}
    return [PlannedRun(name, flags | change, options) for name, change in changes]


def number_of_folds(config: Config) -> int:
    data = config.data
    paths = {name: path for name, path in waiting_paths(config).items() if name != "output_dir"}
    count = count_folds(paths.values(), data.root_dir, load_classes(data.dataset, data.class_texts).folds)
    if count < 2:
        raise UserError(
            f"--fold all: {data.dataset} has no folds, and {next(iter(paths.values()))} has {count} on the disk; "
            f"make some with python -m dataloader.audit --make-folds"
        )
    return count


def plan_ablation(config: Config, flags: Options) -> tuple[list[PlannedRun], list[str]]:
    """Return the runs of the base and of every variant with all seeds, and a line for each refused variant."""
    seeds = seeds_of(config.results.seeds or "1", config.run.seed)
    runs, refusals = [], []
    if config.optim.has_lora("image"):  # the tower's own weights stay frozen, also in a variant without LoRA
        flags = flags | {"lr_image_encoder": config.optim.lr_image_encoder}
    for variant in variants_of(config):
        options = variant_options(flags, variant)
        candidates = [
            PlannedRun(f"{variant.folder}/seed-{seed}", options | {"seed": seed}, variant=variant) for seed in seeds
        ]
        try:
            check_needs(candidates[0].config, variant.changes)
            runs += [run for run in candidates if run.config]  # creating the config checks the options
        except UserError as error:
            if variant is BASE:
                raise
            refusals.append(f"left out, {variant.name}: {error}")
    return runs, refusals


def variant_options(flags: Options, variant: Variant) -> Options:
    """Return the options of a variant's runs: what the user typed, without what its changes make meaningless.

    With a change to ``--schedule cosine``, for example, nothing reads the ``--milestones`` of a recipe any more. If
    both options are older than this rule, the value stays, and so do the hashes of stored runs.
    """
    options = flags | variant.changes | SINGLE_TRAINING
    if variant is BASE:
        return options
    method = method_named(options.get("model", defaults()["model"]))
    config = Config(**resolve(GROUPS, method.defaults, options))
    old = set(names_with(in_hash=True, hash_group=None))
    idle = {name for name in idle_options(config, flags) if not {name, needed_option(config, name)} <= old}
    idle -= variant.changes.keys()
    return {name: value for name, value in options.items() if name not in idle}


def variants_of(config: Config) -> list[Variant]:
    """Return the base and the variants of ``--drop-one`` and ``--grid``; equal variants only once."""
    options = {name: value for group in vars(config).values() for name, value in vars(group).items()}
    candidates: list[tuple[str, Options]] = []
    if config.results.drop_one:
        parts = method_named(config.model.model).parts
        candidates += [(f"without {part.name}", part.without) for part in parts if part.is_on(config)]
    for grid in read_grid(config.results.grid):
        candidates += [("", dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]
    variants: dict[tuple, Variant] = {}
    for name, values in candidates:
        changes = {key: value for key, value in values.items() if value != options[key]}
        name = name or " ".join(f"{key}={written(value)}" for key, value in changes.items())
        if changes:  # otherwise it is the base
            variants.setdefault(tuple(sorted(changes.items())), Variant(name, changes))
    return [BASE, *variants.values()]


def can_cache_features(config: Config) -> bool:
    """Return whether the image encoder of a run is frozen and sees the same pixels in every epoch."""
    data, optim = config.data, config.optim
    has_fixed_pixels = not augmentation_limits(data).varied and data.augment == "worker"
    return not optim.learns("image") and has_fixed_pixels and not optim.compile


def check_runs(runs: list[PlannedRun]) -> None:
    """Refuse a sweep, before its first run, that lacks a file or has no clips to score, or whose classes differ."""
    configs = [run.config for run in runs]
    for config in configs:
        data = config.data
        is_scored = data.test_annotation or data.val_annotation or config.optim.select_on == "val"
        if config.run.mode == "train" and method_named(config.model.model).reads_lists(config) and not is_scored:
            raise UserError(
                "--select-on last: no clips to score the runs on; name --test-annotation FILE or --val-annotation FILE"
            )
        lists = [data.test_annotation]
        if config.run.mode == "train":
            lists += [data.train_annotation, data.val_annotation]
        for file in filter(None, lists):
            if not (path := resolve_path(file, data.root_dir)).exists():
                raise UserError(f"annotation list {path}: no such file or directory; check it and --root-dir")
        if data.leave_out is not None and data.test_annotation is not None and config.run.mode != "eval":
            classes = load_classes(data.dataset, data.class_texts)
            label = frozenset({class_named(data.leave_out, classes)})
            if label not in label_sets(data.test_annotation, data.root_dir, classes):
                raise UserError(
                    f"--leave-out {data.leave_out}: --test-annotation {data.test_annotation} has no clip of it"
                )
        checkpoint = config.run.eval_checkpoint
        if checkpoint is not None and not Path(checkpoint).exists() and not is_folder(Path(checkpoint)):
            raise UserError(f"--eval-checkpoint {checkpoint}: no such file or folder")
    if configs[0].run.mode != "eval" and configs[0].data.label_type == "compound":
        require_same_classes([(f"fold {config.data.fold}", run_classes(config).names) for config in configs])
