"""``--fold``: the number that ``{fold}`` in a path stands for; which commands are a series of runs."""

import dataclasses
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.options import Config
from utils.config import flag_of
from utils.errors import UserError

PLACE = "{fold}"
RUN_PATHS = ("eval_checkpoint", "resume", "output_dir")
SPLIT_BY_FOLD = ("sequence", "frame-expr")  # their set is cut by the number itself
SCORED = ("train", "eval", "zero-shot")


def is_series(config: Config) -> bool:
    several = "all" in (config.data.fold, config.data.leave_out) or config.results.seeds is not None
    return config.run.mode in SCORED and several


def stored_series(folder: str | Path | None) -> dict[str, Any] | None:
    """The options of the series or of the ablation that a folder holds; None where it holds none, or a single run."""
    try:
        stored = json.loads(Path(folder or "auto", "config.json").read_text(encoding="utf-8"))
        several = "all" in (stored["data"].get("fold"), stored["data"].get("leave_out"))
        several = several or stored.get("results", {}).get("seeds") is not None or stored["run"]["mode"] == "ablate"
        return stored if several else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def fill_fold(config: Config) -> Config:
    """``{fold}`` in every path replaced by the number, where one is given."""
    fold = config.data.fold
    if fold is None or fold == "all":
        return config
    parts = {}
    for name in ("run", "data", "model"):
        part = getattr(config, name)
        named = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
        filled = {k: v.replace(PLACE, fold) for k, v in named.items() if isinstance(v, str) and PLACE in v}
        parts[name] = dataclasses.replace(part, **filled)
    return dataclasses.replace(config, **parts)


def waiting_paths(config: Config) -> dict[str, str]:
    """Options whose ``{fold}`` is not filled yet."""
    options = asdict(config.data) | asdict(config.model) | {name: getattr(config.run, name) for name in RUN_PATHS}
    return {name: path for name, path in options.items() if isinstance(path, str) and PLACE in path}


def check_fold(config: Config, given: dict[str, Any], stored: dict[str, Any]) -> None:
    """Before it is filled in: a number that no path asks for would change nothing."""
    fold = given.get("fold")
    is_open = config.run.mode == "eval" and not stored  # the checkpoint, not read yet, may be of another family
    if config.model.model in SPLIT_BY_FOLD or is_open:
        return
    if fold not in (None, "all", stored.get("fold")) and not waiting_paths(config):
        raise UserError(f"--fold {fold}: no path of this command holds {{fold}}, so it would change nothing")


def check_series(config: Config) -> None:
    data = config.data
    if data.fold not in (None, "all") and not re.fullmatch("[0-9]{1,3}", data.fold):
        raise UserError(f"--fold {data.fold}: expected a number, or all")
    if data.fold == "all" and config.model.model in SPLIT_BY_FOLD:
        raise UserError(f"--fold all: --model {config.model.model} takes one fold at a time, 0 to 4")
    if data.fold == "all" and data.leave_out == "all":
        raise UserError("--fold all --leave-out all: name one fold, or one class")
    if data.targets is not None and "all" in (data.fold, data.leave_out):
        flag = "--fold all" if data.fold == "all" else "--leave-out all"
        raise UserError(f"{flag}: --targets are scored by themselves, not in a series; name one fold")
    waiting = waiting_paths(config)
    if waiting and data.fold is None and not config.run.dry_run:
        name, path = next(iter(waiting.items()))
        raise UserError(f"{flag_of(name)} {path}: say which with --fold N, or --fold all")
    if data.fold == "all" and not waiting.keys() - {"output_dir"}:
        raise UserError("--fold all: no path of this command holds {fold}, so every fold would be the same")
