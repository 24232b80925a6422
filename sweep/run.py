"""Several runs as one: ``--fold all``, ``--leave-out all``, ``--seeds``. One folder a run below the series' own, then
the scores together: the mean over runs, and, where their clips are others, the pooled predictions scored once."""

import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis.results import require_same_classes
from dataloader.annotation import label_sets
from dataloader.classes import load_classes
from dataloader.fold_paths import count_folds
from dataloader.paths import resolve_path
from engine.lists import class_named, run_classes
from engine.options import Config
from engine.resume import different_options
from engine.settings import make_config
from engine.shared import sharing
from sweep.folds import stored_series, waiting_paths
from sweep.pooled import write_pooled
from sweep.seed_scores import write_seeds
from sweep.seeds import members_by_seed
from utils.distributed import is_launched
from utils.errors import Interrupted, UserError
from utils.runlog import RunLog, open_run, reopen_run, safe_name


def members_of(config: Config) -> list[tuple[str, dict[str, Any]]]:
    """(name of the run, what it is given besides) of each run of a series; none where it is a single run."""
    data = config.data
    if config.results.seeds is not None:
        return members_by_seed(config)
    if data.fold == "all":
        waiting = {name: path for name, path in waiting_paths(config).items() if name != "output_dir"}
        stated = load_classes(data.dataset, data.class_texts).folds
        known = count_folds(waiting.values(), data.root_dir, stated)
        if known < 2:
            raise UserError(
                f"--fold all: {data.dataset} has no folds, and on the disk {next(iter(waiting.values()))} has {known}; "
                f"python -m dataloader.audit --make-folds makes some"
            )
        return [(f"fold-{fold}", {"fold": str(fold)}) for fold in range(1, known + 1)]
    if data.leave_out == "all":
        names = load_classes(data.dataset, data.class_texts).names
        return [(f"without-{safe_name(name)}", {"leave_out": name}) for name in names]
    return []


def run_series(config: Config, given: dict[str, Any], run: Callable[..., Any]) -> dict[str, Any]:
    """Every run in a folder of its own; one that is complete already is not repeated."""
    if is_launched():
        raise UserError(
            "--fold all, --leave-out all, --seeds: one process alone; under torchrun: --fold N, --leave-out CLASS, "
            "--seed N"
        )
    members = members_of(config)
    stored = asdict(config)
    stored["run"] |= {"output_dir": None, "resume": None}
    given = {k: v for k, v in given.items() if k != "resume"}
    look_ahead([make_config(given | more, stored) for _, more in members])
    log = open_series(config)
    try:
        with sharing():
            for name, more in members:
                log.say(f"\n{name}: {log.folder / name}")
                run_member(log.folder / name, given | more, stored, run)
        write = write_pooled if config.results.seeds is None else write_seeds
        return write(log, [log.folder / name for name, _ in members], config)
    except Interrupted as signal:
        again = f"stopped; go on with: python main.py --resume {shlex.quote(str(log.folder))}"
        raise Interrupted(signal.number, again) from None
    finally:
        log.close()


def run_member(folder: Path, given: dict[str, Any], stored: dict[str, Any], run: Callable[..., Any]) -> None:
    """A run in a folder that it may have begun in before."""
    own = given | {"output_dir": str(folder)}
    if (folder / "config.json").exists():
        own["resume"] = "auto"  # a complete run says so and ends; more epochs are for every run
    run(make_config(own, stored), own)


def look_ahead(configs: list[Config]) -> None:
    """What a later run lacks is named before the first one is trained, and so are classes that cannot be pooled."""
    for config in configs:
        data = config.data
        lists = [data.test_annotation]
        if config.run.mode == "train":
            lists += [data.train_annotation, data.val_annotation]
        for file in filter(None, lists):
            if not (path := resolve_path(file, data.root_dir)).exists():
                raise UserError(f"annotation list {path}: no such file or directory")
        if data.leave_out is not None and data.test_annotation is not None and config.run.mode != "eval":
            require_tested(config)
        checkpoint = config.run.eval_checkpoint
        if checkpoint is not None and not Path(checkpoint).exists():
            raise UserError(f"--eval-checkpoint {checkpoint}: no such file")
    if configs[0].run.mode != "eval" and configs[0].data.label_type == "compound":
        require_same_classes([(f"fold {config.data.fold}", run_classes(config).names) for config in configs])


def require_tested(config: Config) -> None:
    """The test list has a clip of the class that is left out."""
    data = config.data
    classes = load_classes(data.dataset, data.class_texts)
    if frozenset({class_named(data.leave_out, classes)}) not in label_sets(
        data.test_annotation, data.root_dir, classes
    ):
        raise UserError(f"--leave-out {data.leave_out}: --test-annotation {data.test_annotation} has no clip of it")


def open_series(config: Config) -> RunLog:
    """A new folder, or with ``--resume`` the one that a series was stopped in, whose options are the same."""
    folder = series_folder(config)
    if folder is None:
        return open_run(config.run.output_dir, config.run.exper_name, asdict(config))
    log = reopen_run(folder)
    log.write_json("config.json", asdict(config))  # more epochs hold from now on
    return log


def series_folder(config: Config) -> Path | None:
    """What ``--resume`` names, as for a single run; None where a new folder is to be made."""
    run = config.run
    if run.resume is None:
        return None
    if run.resume != "auto":
        named = [Path(run.resume)]
    elif run.output_dir:
        named = [folder for folder in [Path(run.output_dir)] if stored_series(folder)]
    else:
        found = Path("outputs").glob(f"{safe_name(run.exper_name)}-*")
        return next((f for f in sorted(found, key=_moment, reverse=True) if not differing_options(f, config)), None)
    for folder in named:
        if differing := differing_options(folder, config):
            raise UserError(f"--resume {folder}: {'; '.join(differing)}")
    return named[0] if named else None


def differing_options(folder: Path, config: Config) -> list[str]:
    stored = stored_series(folder)
    if stored is None:
        return ["no series of runs there; name the folder that holds its runs"]
    differing = different_options(asdict(make_config({}, stored)), config)
    return [*differing, "a series goes on as it began"] if differing else []


def _moment(folder: Path) -> float:
    file = folder / "config.json"
    return file.stat().st_mtime if file.exists() else 0.0
