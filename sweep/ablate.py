"""``--mode ablate``: the base and its variants, each with every seed, and a table of what differs beyond noise.

A run that is done already, here or below outputs/, is not repeated: its hash says that nothing it depends on differs.
"""

import json
import shlex
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.config import make_config
from engine.options import Config
from engine.resume import different_options
from engine.run_hash import finished_runs, run_hash, stored_hash
from engine.shared import sharing
from engine.train import train
from sweep.folds import stored_series
from sweep.grid import BASE, Variant, variants_of
from sweep.run import look_ahead, run_member
from sweep.seeds import seeds_of
from sweep.table import Done, write_table
from utils.distributed import is_launched
from utils.errors import Interrupted, UserError
from utils.runlog import RunLog, open_run, reopen_run, safe_name

GIVEN = "given.json"  # what was typed: the options that others follow from
OF_ABLATION = {"mode": "train", "grid": (), "drop_one": False, "seeds": None, "resume": None, "files": ()}


@dataclass(frozen=True)
class Planned:
    """A run that the table needs."""

    variant: Variant
    seed: int
    given: dict[str, Any]

    @property
    def place(self) -> Path:
        """Below the ablation's folder."""
        return Path(self.variant.folder, f"seed-{self.seed}")

    @property
    def config(self) -> Config:
        return make_config(self.given)


def ablate(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Every run that is not done yet, then the table of all."""
    if is_launched():
        raise UserError("--mode ablate: one process alone; it runs one variant after the other")
    folder = folder_to_go_on_in(config)
    config, given = whole_command(folder, config, given)
    if len(variants_of(config)) == 1:
        raise UserError(nothing_to_compare(config))
    said, given = cached(config, given)
    planned, refused = plan(config, given)
    look_ahead([one.config for one in planned])
    log = (
        open_run(config.run.output_dir, config.run.exper_name, asdict(config)) if folder is None else reopen_run(folder)
    )
    try:
        log.write_json(GIVEN, {name: value for name, value in given.items() if name not in ("output_dir", "resume")})
        for line in [*said, *refused]:
            log.say(line)
        with sharing():
            done, failed = run_all(planned, log)
        return write_table(log, done, [*refused, *failed], config)
    except (Interrupted, KeyboardInterrupt) as stopped:
        number = stopped.number if isinstance(stopped, Interrupted) else signal.SIGINT
        again = f"python main.py --resume {shlex.quote(str(log.folder))}"
        raise Interrupted(number, f"stopped; go on with: {again}") from None
    finally:
        log.close()


def nothing_to_compare(config: Config) -> str:
    results = config.results
    if results.grid:
        return f"--grid {' '.join(results.grid)}: every value is the base's own; name another one"
    if results.drop_one:
        return "--drop-one: no part of this method is on that could be left out; try --grid"
    return f"--resume {config.run.resume}: no ablation to go on with; begin one with --grid or --drop-one"


def folder_to_go_on_in(config: Config) -> Path | None:
    """What ``--resume`` names, or ``--output-dir`` where an ablation is in it; None where a new one is made."""
    run = config.run
    if run.resume not in (None, "auto"):
        folders = [Path(run.resume)]
    elif run.output_dir is not None:
        folders = [Path(run.output_dir)] if (Path(run.output_dir) / GIVEN).exists() else []
    elif run.resume == "auto":
        named = Path("outputs").glob(f"{safe_name(run.exper_name)}-*/{GIVEN}")
        folders = [file.parent for file in sorted(named, key=lambda file: file.stat().st_mtime)][-1:]
    else:
        folders = []
    for folder in folders:
        if (stored_series(folder) or {}).get("run", {}).get("mode") != "ablate" or not (folder / GIVEN).exists():
            raise UserError(f"--resume {folder}: no ablation there; name the folder that holds its variants")
    return folders[0] if folders else None


def whole_command(folder: Path | None, config: Config, given: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """With what was typed when the ablation in ``folder`` began; more variants and seeds may come, nothing else."""
    if folder is None:
        return config, given
    before = read_given(folder / GIVEN)
    now = before | {name: value for name, value in given.items() if name != "resume"}
    began, config = make_config(before), make_config(now)
    if differing := different_options(asdict(began), config):
        raise UserError(f"{folder} holds another ablation ({differing[0]}); an ablation goes on as it began")
    return config, now


def read_given(file: Path) -> dict[str, Any]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    except (OSError, ValueError, AttributeError):
        raise UserError(
            f"{file}: damaged; begin the ablation anew in another --output-dir (runs below outputs/ are used again)"
        ) from None


def cached(config: Config, given: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Features of a frozen encoder are stored, in all variants or in none, unless the user said which."""
    if "cache_features" in given:
        return [], given
    planned, _ = plan(config, given)
    if not all(can_cache(one.config) for one in planned):
        return [], given
    said = (
        "--cache-features is on: the image encoder is frozen, so all variants read its features (--no-cache-features)"
    )
    return [said], given | {"cache_features": True}


def can_cache(config: Config) -> bool:
    data, optim = config.data, config.optim
    fixed = data.random_crop == 1 and data.brightness == 0 and data.augment == "worker"
    return optim.lr_image_encoder == 0 and fixed and not optim.compile


def plan(config: Config, given: dict[str, Any]) -> tuple[list[Planned], list[str]]:
    """Every run, the base's first, and what is left out because the options refuse it."""
    seeds = seeds_of(config.results.seeds or "1", config.run.seed)
    planned, refused = [], []
    for variant in variants_of(config):
        runs = [Planned(variant, seed, given | variant.changes | OF_ABLATION | {"seed": seed}) for seed in seeds]
        try:
            planned += [run for run in runs if run.config]
        except UserError as error:
            if variant is BASE:
                raise
            refused.append(f"left out, {variant.name}: {error}")
    return planned, refused


def run_all(planned: list[Planned], log: RunLog) -> tuple[list[Done], list[str]]:
    """A variant that fails is left out of the table and named; without the base there is no table."""
    known, done, failed = finished_runs(Path("outputs")), [], []
    started, trained = time.time(), 0
    for number, one in enumerate(planned, 1):
        log.say(f"\n[{number} of {len(planned)}] {one.variant.name}, seed {one.seed}")
        try:
            found = find_or_run(one, known, log)
        except UserError as error:
            if one.variant is BASE:
                raise
            failed.append(f"left out, {one.variant.name}, seed {one.seed}: {error}")
            log.warn(failed[-1])
            continue
        done.append(found)
        trained += not found.reused
        if trained and number < len(planned):
            minutes = (time.time() - started) / trained * (len(planned) - number) / 60
            log.say(f"about {minutes:.0f} min left")
    return done, failed


def find_or_run(one: Planned, known: dict[str, Path], log: RunLog) -> Done:
    config, folder = one.config, log.folder / one.place
    wanted = run_hash(config)
    if stored_hash(folder) == wanted:
        log.say(f"done already: {folder}")
        return Done(one.variant, one.seed, folder, True)
    if wanted in known:
        log.say(f"the same run is done already: {known[wanted]}")
        return Done(one.variant, one.seed, known[wanted], True)
    run_member(folder, one.given, None, train)
    if stored_hash(folder) != wanted:
        raise UserError(
            f"{folder}: was trained on other lists, boxes or weights than are there now; remove it to train it again, "
            f"or name another --output-dir"
        )
    known[wanted] = folder
    return Done(one.variant, one.seed, folder, False)
