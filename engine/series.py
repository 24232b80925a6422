"""Options that make several runs of one command: ``--fold``, ``--leave-out``, ``--seeds``, ``--grid``, ``--drop-one``.

Pure functions of options: which commands are a series, how ``{fold}`` is filled in, which seeds and grid values a flag
names, and which combinations are refused. The package ``sweep`` does the runs.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict, get_origin

from engine.methods import method_named
from engine.options import GROUPS, Config
from utils.config import flag_of, parse, written
from utils.errors import UserError, closest
from utils.json_files import read_json

PLACEHOLDER = "{fold}"
PATH_GROUPS = ("data", "model", "run", "sequence")  # groups of options that name paths
SERIES_MODES = ("train", "eval", "zero-shot")
MAX_SEEDS, HIGHEST_SEED = 1000, 2**32 - 1
GRID_GROUPS = ("data", "model", "optim", "loss")


class StoredGroups(TypedDict):
    """Groups of options in the config.json of any version."""

    run: dict[str, Any]
    data: dict[str, Any]
    results: NotRequired[dict[str, Any]]


def is_series(config: Config) -> bool:
    """Return whether a command trains or scores several runs: all folds, all classes left out, or several seeds."""
    several = "all" in (config.data.fold, config.data.leave_out) or config.results.seeds is not None
    return config.run.mode in SERIES_MODES and several


def stored_series(folder: str | Path | None) -> dict[str, Any] | None:
    """Return the stored options of the series or ablation in a folder; None for a single run and for other folders."""
    if folder is None:
        return None
    try:
        options = read_json(Path(folder, "config.json"), StoredGroups)
    except UserError:
        return None
    several = "all" in (options["data"].get("fold"), options["data"].get("leave_out"))
    several = several or options.get("results", {}).get("seeds") is not None or options["run"].get("mode") == "ablate"
    return options if several else None


def fill_fold(config: Config) -> Config:
    """Return ``config`` with ``{fold}`` in every path replaced by the number of ``--fold``, where one is set."""
    fold = config.data.fold
    if fold is None or fold == "all":
        return config
    groups = {}
    for name in PATH_GROUPS:
        values = vars(getattr(config, name)).items()
        paths = {key: _filled(value, fold) for key, value in values if _holds_placeholder(value)}
        groups[name] = dataclasses.replace(getattr(config, name), **paths)
    return dataclasses.replace(config, **groups)


def _holds_placeholder(value: Any) -> bool:
    """Return whether the value of an option, a text or several, is a path with ``{fold}``."""
    texts = value if isinstance(value, tuple) else (value,)
    return any(isinstance(text, str) and PLACEHOLDER in text for text in texts)


def _filled(value: str | tuple[str, ...], fold: str) -> str | tuple[str, ...]:
    if isinstance(value, tuple):
        return tuple(text.replace(PLACEHOLDER, fold) for text in value)
    return value.replace(PLACEHOLDER, fold)


def waiting_paths(config: Config) -> dict[str, str]:
    """Return the options whose ``{fold}`` is not filled in yet: {name: path}."""
    options = {name: value for group in PATH_GROUPS for name, value in vars(getattr(config, group)).items()}
    return {n: written(v) for n, v in options.items() if n != "exper_name" and _holds_placeholder(v)}


def check_fold(config: Config, flags: dict[str, Any], stored_options: dict[str, Any]) -> None:
    """Refuse a ``--fold`` that no path contains, because it would have no effect. Call it before ``fill_fold``.

    ``flags`` are the options of the command, ``stored_options`` those of its checkpoint (empty without one).
    """
    fold = flags.get("fold")
    method_is_unknown = config.run.mode == "eval" and not stored_options  # until the checkpoint has been read
    if fold in (None, "all", stored_options.get("fold")) or waiting_paths(config) or method_is_unknown:
        return
    if not method_named(config.model.model).splits_by_fold(config):
        raise UserError(f"--fold {fold}: no path of this command holds {{fold}}, so it would change nothing")


def check_series(config: Config) -> None:
    """Refuse invalid values and combinations of ``--fold`` and ``--leave-out``."""
    data = config.data
    if data.fold not in (None, "all") and not re.fullmatch("[0-9]{1,3}", data.fold):
        raise UserError(f"--fold {data.fold}: expected a number, or all")
    if data.fold == "all" and method_named(config.model.model).splits_by_fold(config):
        raise UserError(f"--fold all: --model {config.model.model} takes one fold at a time, 0 to 4")
    if data.fold == "all" and data.leave_out == "all":
        raise UserError("--fold all --leave-out all: name one fold, or one class")
    if data.targets is not None and "all" in (data.fold, data.leave_out):
        flag = "--fold all" if data.fold == "all" else "--leave-out all"
        raise UserError(f"{flag}: --targets cannot be scored in a series; name one fold")
    waiting = waiting_paths(config)
    if waiting and data.fold is None and not config.run.dry_run:
        name, path = next(iter(waiting.items()))
        raise UserError(f"{flag_of(name)} {path}: select a fold with --fold N, or --fold all")
    if data.fold == "all" and not waiting.keys() - {"output_dir"}:
        raise UserError("--fold all: no path of this command holds {fold}, so every fold would be the same")


def seeds_of(text: str, first: int) -> list[int]:
    """Return the seeds of ``--seeds``: ``5`` means five seeds from ``first`` on, ``1,2,3`` lists them."""
    if not re.fullmatch(r"[0-9]+(,[0-9]+)*", text):
        raise UserError(f"--seeds {text}: expected a number of seeds, such as 5, or a list, such as 1,2,3")
    numbers = [int(number) for number in text.split(",")]
    if len(numbers) == 1 and not 1 <= numbers[0] <= MAX_SEEDS:
        raise UserError(
            f"--seeds {text}: expected 1 to {MAX_SEEDS} seeds; for a single run with this seed pass --seed {text}"
        )
    seeds = list(range(first, first + numbers[0])) if len(numbers) == 1 else numbers
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text}: a seed is listed twice; remove one")
    if max(seeds) > HIGHEST_SEED:
        raise UserError(f"--seeds {text}: {max(seeds)} is above {HIGHEST_SEED}, the highest seed")
    return seeds


def check_seeds(config: Config) -> None:
    """Refuse ``--seeds`` that cannot be read, and options that it cannot be combined with."""
    seeds, mode, data = config.results.seeds, config.run.mode, config.data
    if seeds is None:
        return
    count = len(seeds_of(seeds, config.run.seed))
    if "all" in (data.fold, data.leave_out):
        flag = "--fold" if data.fold == "all" else "--leave-out"
        raise UserError(f"--seeds {seeds} {flag} all: one series at a time; pass one value of {flag}, or one --seed")
    if mode == "train" and count == 1:
        raise UserError(f"--seeds {seeds}: one run has no spread; pass two or more, or leave it out")
    if mode == "train" and config.model.task == "regression":
        raise UserError(f"--seeds {seeds}: --task regression is already a series over subjects; pass one --seed")


def check_ablation(config: Config) -> None:
    """Refuse options that make no ablation, and a grid that cannot be read."""
    results, mode, model = config.results, config.run.mode, config.model
    if mode != "ablate":
        return
    if not read_grid(results.grid) and not results.drop_one and config.run.resume is None:
        raise UserError('--mode ablate needs --grid "NAME=A,B ..." or --drop-one')
    if not method_named(model.model).reads_lists(config) or model.task != "classification":
        raise UserError(
            f"--mode ablate compares predictions clip by clip: it needs a method with one class per clip, not "
            f"--model {model.model} with --task {model.task}"
        )
    for flag, value in (("--fold", config.data.fold), ("--leave-out", config.data.leave_out)):
        if value == "all":
            raise UserError(f"{flag} all: an ablation uses one split; pass one value")


def read_grid(texts: Sequence[str]) -> list[dict[str, list[Any]]]:
    """Return the values of each option in grids such as ``slerp_weight=0,0.5 | ema=0.99``, checked like their flags.

    ``|`` ends a grid: the options of one grid vary together, and those of different grids one at a time.
    """
    grids: list[dict[str, list[Any]]] = []
    for part in " ".join(texts).split("|"):
        grid: dict[str, list[Any]] = {}
        for text in part.split():
            name, equals, values = text.partition("=")
            if not equals or not name or "" in values.split(","):
                raise UserError(f"--grid {text}: expected NAME=VALUE,VALUE such as slerp_weight=0,0.5")
            field = _grid_option(name, text)
            if field.name in grid:
                raise UserError(f"--grid {text}: {field.name} is named twice; write all its values behind one NAME=")
            grid[field.name] = [_grid_value(field, value) for value in values.split(",")]
        grids.append(grid)
    return [grid for grid in grids if grid]


def _grid_option(word: str, text: str) -> dataclasses.Field:
    """Return the option that a word of a grid names: by its name, its flag or an alias."""
    name = word.lstrip("-").replace("-", "_")
    fields = {field.name: field for group in GRID_GROUPS for field in dataclasses.fields(GROUPS[group])}
    aliases = {a.lstrip("-").replace("-", "_"): key for key, f in fields.items() for a in f.metadata["aliases"]}
    name = aliases.get(name, name)
    if name == "seed":
        raise UserError(f"--grid {text}: pass seeds with --seeds; each variant is run with all of them")
    if name in fields and not fields[name].metadata["in_grid"]:
        raise UserError(f"--grid {text}: {name} changes the test or has no effect, so variants cannot differ in it")
    if name not in fields:
        raise UserError(
            f"--grid {text}: no option of data, model, optim or loss is called {word}{closest(name, [*fields])}"
        )
    return fields[name]


def _grid_value(field: dataclasses.Field, text: str) -> Any:
    """Return one value of a grid, read like its flag; ``10+15`` is one value of an option with several numbers."""
    flag = flag_of(field.name)
    is_tuple = get_origin(field.type) is tuple
    arguments = [flag, *text.split("+")] if is_tuple else [f"{flag}={text}"]
    try:
        return parse(GROUPS, arguments, "")[field.name]
    except UserError as error:
        raise UserError(f"--grid {field.name}={text}: {str(error).rpartition(f'{flag}: ')[2]}") from None
