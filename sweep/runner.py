"""Run all kinds of sweeps: start, resume or reuse each planned run, then combine the scores.

A sweep is a folder with one folder per run. After an interruption ``--resume FOLDER`` continues it: complete runs are
not repeated, and the interrupted run continues from its last checkpoint.
"""

import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.config import make_config
from engine.options import Config
from engine.resume import different_options, read_flags, require_unchanged, write_flags
from engine.run_hash import finished_runs, run_hash, stored_hash
from engine.series import stored_series
from engine.shared import shared_seconds, sharing
from engine.train import train
from engine.waiting import seconds_left
from sweep.plan import (
    BASE,
    Options,
    PlannedRun,
    can_cache_features,
    check_runs,
    plan_ablation,
    plan_series,
    variants_of,
)
from sweep.scores import FinishedRun, write_pooled, write_seeds
from sweep.table import write_table
from utils.command import python_name
from utils.distributed import is_launched
from utils.errors import Interrupted, UserError, about
from utils.runlog import FLAGS_FILE, RunLog, open_run, reopen_run, safe_name, time_left

Mode = Callable[[Config, Options], Any]  # the function that main.py calls for a mode, such as engine.train.train


def run_series(config: Config, flags: Options, mode: Mode) -> dict[str, Any]:
    """Do ``--fold all``, ``--leave-out all`` or ``--seeds``: run ``mode`` once for each, return their joint metrics."""
    if is_launched():
        raise UserError(
            "--fold all, --leave-out all, --seeds: only in one process; under torchrun: --fold N, --leave-out CLASS, "
            "--seed N"
        )
    runs = plan_series(config, flags)
    check_runs(runs)
    folder = folder_to_resume(config)
    for run in runs if folder is not None else ():
        require_unchanged(folder / run.name, run.config)
    with open_sweep(config, folder) as log:
        if folder is not None:
            log.write_json("config.json", asdict(config))  # a resumed series may have more epochs or seeds
        finished, _ = run_all(runs, log, mode)
        write = write_pooled if config.results.seeds is None else write_seeds
        return write(log, finished, config)


def ablate(config: Config, flags: Options) -> dict[str, Any]:
    """Do ``--mode ablate``: train the base and its variants with every seed, return the table of their differences.

    A complete run in this ablation or below ``outputs/`` is reused if its hash is equal, which means that its options
    and the contents of its files are the same.
    """
    if is_launched():
        raise UserError("--mode ablate: runs one variant after the other in one process; start it without torchrun")
    folder = folder_to_resume(config)
    if folder is not None:
        config, flags = resumed_ablation(folder, flags)
    if len(variants_of(config)) == 1:
        raise UserError(nothing_to_compare(config))
    runs, refusals = plan_ablation(config, flags)
    caches = "cache_features" not in flags and all(can_cache_features(run.config) for run in runs)
    if caches:
        flags = flags | {"cache_features": True}
        runs, refusals = plan_ablation(config, flags)
    check_runs(runs)
    with open_sweep(config, folder) as log:
        write_flags(log, flags)
        if caches:
            because = "the image encoder is frozen, so all variants use the same features"
            log.say(f"--cache-features is on: {because} (--no-cache-features)")
        for refusal in refusals:
            log.say(refusal)
        finished, failures = run_all(runs, log, train, reusable=finished_runs(Path("outputs")))
        return write_table(log, finished, [*refusals, *failures], config)


def run_all(
    runs: list[PlannedRun], log: RunLog, mode: Mode, reusable: dict[str, Path] | None = None
) -> tuple[list[FinishedRun], list[str]]:
    """Run, resume or reuse one run after the other; return the finished ones, and a line for each that failed.

    ``reusable`` {run hash: folder} holds complete runs in other folders; only ablations use it. A variant that fails is
    left out; any other failure ends the sweep.
    """
    finished: list[FinishedRun] = []
    failures: list[str] = []
    durations: list[float] = []  # of the runs that were started here
    once = 0.0  # seconds of work in the first one that later runs do not repeat
    for number, run in enumerate(runs, 1):
        folder = log.folder / run.name
        log.say(f"\n{run.title}: {folder}" if run.variant is None else f"\n[{number} of {len(runs)}] {run.title}")
        was_there, started, shared = (folder / "config.json").exists(), time.time(), shared_seconds()
        try:
            result = run_or_reuse(run, folder, log, mode, reusable)
        except UserError as error:
            if run.variant in (None, BASE):
                raise
            failures.append(f"left out, {run.title}: {error}")
            log.warn(failures[-1])
            continue
        finished.append(result)
        if not result.reused and not was_there:  # otherwise its time is not that of a complete run
            once = once if durations else shared_seconds() - shared
            durations.append(time.time() - started)
        remaining = sum(not (log.folder / later.name / "metrics.json").exists() for later in runs[number:])
        if durations and remaining:
            log.say(time_left(seconds_left(durations, remaining, once)))
    return finished, failures


def run_or_reuse(
    run: PlannedRun, folder: Path, log: RunLog, mode: Mode, reusable: dict[str, Path] | None
) -> FinishedRun:
    """Start a run in its folder or resume the one there, unless an equal run is complete; return the finished run."""
    expected_hash = None if reusable is None else run_hash(run.config)
    if reusable is not None:
        if stored_hash(folder) == expected_hash:
            log.say(f"already done: {folder}")
            return FinishedRun(run, folder, reused=True)
        if expected_hash in reusable:
            log.say(f"the same run is already done: {reusable[expected_hash]}")
            return FinishedRun(run, reusable[expected_hash], reused=True)
    flags = run.flags | {"output_dir": str(folder)}
    if (folder / "config.json").exists():
        flags["resume"] = "auto"  # a complete run ends at once unless it should have more epochs
    mode(make_config(flags, run.series_options), flags)
    if reusable is not None:
        if stored_hash(folder) != expected_hash:
            raise UserError(
                f"{folder}: was trained on lists, boxes or weights that have changed since; remove it to train it "
                f"again, or name another --output-dir"
            )
        reusable[expected_hash] = folder
    return FinishedRun(run, folder)


@contextmanager
def open_sweep(config: Config, folder: Path | None) -> Iterator[RunLog]:
    """Yield the log of a new sweep, or of the one in ``folder``; an interrupted one prints how to resume it."""
    if folder is None:
        log = open_run(config.run.output_dir, config.run.exper_name, asdict(config))
    else:
        log = reopen_run(folder)
    try:
        with sharing():
            yield log
        log.complete()
    except (Interrupted, KeyboardInterrupt) as interruption:
        if config.run.mode not in ("train", "ablate"):
            raise
        number = interruption.number if isinstance(interruption, Interrupted) else signal.SIGINT
        command = f"{python_name()} main.py --resume {shlex.quote(str(log.folder))}"
        raise Interrupted(number, f"stopped; continue with: {command}") from None
    finally:
        log.close()


def folder_to_resume(config: Config) -> Path | None:
    """Return the folder of the sweep to continue, or None to make a new one.

    ``--resume`` names it; with ``auto`` it is ``--output-dir``, or the newest one of this experiment name. An ablation
    also continues in ``--output-dir`` without ``--resume``.
    """
    run, is_ablation, folder = config.run, config.run.mode == "ablate", None
    if run.resume not in (None, "auto"):
        folder = Path(run.resume)
    elif run.output_dir:
        folder = Path(run.output_dir)
        if not ((folder / FLAGS_FILE).exists() if is_ablation else run.resume and stored_series(folder)):
            return None
    elif run.resume == "auto":
        file_name = FLAGS_FILE if is_ablation else "config.json"
        files = Path("outputs").glob(f"{safe_name(run.exper_name)}-*/{file_name}")
        newest_first = [file.parent for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)]
        folder = next((f for f in newest_first if is_ablation or not reasons_against_resuming(f, config)), None)
    if folder is not None and (reasons := reasons_against_resuming(folder, config)):
        raise UserError(f"--resume {folder}: {'; '.join(reasons)}")
    return folder


def reasons_against_resuming(folder: Path, config: Config) -> list[str]:
    """Return the reasons why this command cannot continue the sweep in a folder; an empty list if it can."""
    options = stored_series(folder)
    if config.run.mode == "ablate":
        is_ablation = (options or {}).get("run", {}).get("mode") == "ablate" and (folder / FLAGS_FILE).exists()
        return [] if is_ablation else ["no ablation there; name the folder that holds its variants"]
    if options is None:
        return ["no series of runs there; name the folder that holds its runs"]
    differences = different_options(make_config({}, options), config)
    return [*differences, "a series keeps its options"] if differences else []


def resumed_ablation(folder: Path, flags: Options) -> tuple[Config, Options]:
    """Return config and flags of an ablation, with those of this command added, such as variants and seeds."""
    try:
        first_flags = read_flags(folder)
        with about(folder / FLAGS_FILE):
            first_config = make_config(first_flags)
    except UserError as error:
        advice = "start the ablation again in another --output-dir (runs below outputs/ are reused)"
        raise UserError(f"{error}; {advice}") from None
    flags = first_flags | {name: value for name, value in flags.items() if name != "resume"}
    config = make_config(flags)
    if differences := different_options(first_config, config):
        raise UserError(f"{folder} holds another ablation ({differences[0]}); an ablation keeps its options")
    return config, flags


def nothing_to_compare(config: Config) -> str:
    """Return the message for an ablation whose only variant is the base."""
    results = config.results
    if results.grid:
        return f"--grid {' '.join(results.grid)}: every value is that of the base; name another one"
    if results.drop_one:
        return "--drop-one: this method has no part that is on and can be left out; try --grid"
    return f"--resume {config.run.resume}: no ablation to continue; start one with --grid or --drop-one"
