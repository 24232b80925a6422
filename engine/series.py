"""Several runs as one: ``--fold all`` and ``--leave-out all``. One folder a run below the series' own, then the scores
together: the mean over runs, and the pooled predictions scored once."""

import csv
import json
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.classes import load_classes
from engine.checkpoints import stored_config
from engine.metrics import score
from engine.options import Config
from engine.results import write_results
from engine.resume import different_options
from engine.settings import make_config
from utils.distributed import is_launched
from utils.errors import Interrupted, UserError
from utils.runlog import RunLog, open_run, reopen_run, safe_name

AVERAGED = ("uar", "war", "macro_f1")


def members_of(config: Config) -> list[tuple[str, dict[str, Any]]]:
    """(name of the run, what it is given besides) of each run of a series; none where it is a single run."""
    data = config.data
    if data.fold == "all":
        known = load_classes(data.dataset, data.class_texts).folds
        if not known:
            raise UserError(f"--fold all: {data.dataset} has no folds; leave out --fold")
        return [(f"fold-{fold}", {"fold": str(fold)}) for fold in range(1, known + 1)]
    if data.leave_out == "all":
        names = load_classes(data.dataset, data.class_texts).names
        return [(f"without-{safe_name(name)}", {"leave_out": name}) for name in names]
    return []


def run_series(config: Config, given: dict[str, Any], run: Callable[..., Any]) -> dict[str, Any]:
    """Every run in a folder of its own; one that is complete already is not repeated."""
    if is_launched():
        raise UserError("--fold all and --leave-out all run in one process; torchrun takes one fold, or one class")
    members = members_of(config)
    log = open_series(config)
    stored = asdict(config)
    stored["run"] |= {"output_dir": None, "resume": None}
    try:
        for name, more in members:
            folder = log.folder / name
            if (folder / "metrics.json").exists():
                continue
            log.say(f"\n{name}: {folder}")
            own = {k: v for k, v in given.items() if k != "resume"} | more | {"output_dir": str(folder)}
            if config.run.mode == "train" and (folder / "config.json").exists():
                own["resume"] = "auto"
            run(make_config(own, stored), own)
        return write_series(log, [log.folder / name for name, _ in members], config)
    except Interrupted as signal:
        again = f"stopped; go on with: python main.py --resume {shlex.quote(str(log.folder))}"
        raise Interrupted(signal.number, again) from None
    finally:
        log.close()


def open_series(config: Config) -> RunLog:
    """A new folder, or with ``--resume FOLDER`` the one that a series was stopped in."""
    if config.run.resume is None:
        return open_run(config.run.output_dir, config.run.exper_name, asdict(config))
    folder = Path(config.run.resume)
    if not (folder / "config.json").exists():
        raise UserError(f"--resume {folder}: no series of runs there; name the folder that holds its runs")
    began = stored_config({"config": json.loads((folder / "config.json").read_text(encoding="utf-8"))})
    differing = different_options(asdict(began), config)
    if config.optim.epochs != began.optim.epochs:
        differing.append(f"--epochs {config.optim.epochs}, but its runs have {began.optim.epochs}")
    if differing:
        raise UserError(f"--resume {folder}: {'; '.join(differing)}; a series goes on as it began")
    return reopen_run(folder)


def write_series(log: RunLog, folders: list[Path], config: Config) -> dict[str, Any]:
    """``metrics.json`` of the series: every score of the pooled predictions, and mean and spread over its runs."""
    scored = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in folders]
    names, ids, label, logits = read_predictions([folder / "predictions.csv" for folder in folders])
    runs = {folder.name: {k: one[k] for k in AVERAGED} for folder, one in zip(folders, scored, strict=True)}
    spread = {
        f"{k}_{what}": float(value)
        for k in AVERAGED
        for what, value in (
            ("mean", np.mean([one[k] for one in scored])),
            ("sd", np.std([one[k] for one in scored], ddof=1)),
        )
    }
    pooled = score(label, logits.argmax(axis=-1), names) | {"runs": runs} | spread
    written = write_results(
        log,
        names=names,
        ids=ids,
        label=label,
        logits=logits,
        metrics=pooled,
        split=scored[0]["split"],
        selected_on=scored[0]["selected_on"],
        title=f"{config.run.exper_name}, {len(folders)} runs pooled",
    )
    for name, one in runs.items():
        log.say(f"{name:<24} UAR {one['uar']:6.2f}   WAR {one['war']:6.2f}")
    log.say(
        f"mean of {len(folders)} runs     UAR {spread['uar_mean']:6.2f} ± {spread['uar_sd']:.2f}   "
        f"WAR {spread['war_mean']:6.2f} ± {spread['war_sd']:.2f}   (pooled above)"
    )
    return written


def read_predictions(files: list[Path]) -> tuple[tuple[str, ...], list[str], np.ndarray, np.ndarray]:
    """``(class names, clip ids, labels, logits)`` of several ``predictions.csv`` one after the other."""
    rows: list[dict[str, str]] = []
    names: tuple[str, ...] = ()
    for file in files:
        with open(file, newline="", encoding="utf-8") as stream:
            table = csv.DictReader(stream)
            found = tuple(c.removeprefix("logit_") for c in table.fieldnames or () if c.startswith("logit_"))
            if found != (names or found):
                raise UserError(
                    f"{file}: scores of {len(found)} classes, {files[0].parent.name} has {len(names)}, or others: they "
                    f"cannot be pooled (of compound classes, name --train-annotation too: both lists together hold all)"
                )
            names, rows = found, [*rows, *table]
    label = np.array([names.index(row["label"]) for row in rows])
    logits = np.array([[float(row[f"logit_{name}"]) for name in names] for row in rows])
    return names, [row["clip"] for row in rows], label, logits
