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

from dataloader.annotation import label_sets
from dataloader.classes import load_classes
from dataloader.paths import resolve_path
from engine.calibration import Calibration
from engine.folds import stored_series
from engine.lists import class_named, run_classes
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
        raise UserError("--fold all, --leave-out all: one process alone; under torchrun: --fold N, --leave-out CLASS")
    members = members_of(config)
    stored = asdict(config)
    stored["run"] |= {"output_dir": None, "resume": None}
    given = {k: v for k, v in given.items() if k != "resume"}
    look_ahead([make_config(given | more, stored) for _, more in members])
    log = open_series(config)
    try:
        for name, more in members:
            folder = log.folder / name
            log.say(f"\n{name}: {folder}")
            own = given | more | {"output_dir": str(folder)}
            if (folder / "config.json").exists():
                own["resume"] = "auto"  # a complete run says so and ends; more epochs are for every run
            run(make_config(own, stored), own)
        return write_series(log, [log.folder / name for name, _ in members], config)
    except Interrupted as signal:
        again = f"stopped; go on with: python main.py --resume {shlex.quote(str(log.folder))}"
        raise Interrupted(signal.number, again) from None
    finally:
        log.close()


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


def require_same_classes(found: list[tuple[str, tuple[str, ...]]]) -> None:
    for where, names in found[1:]:
        if names != found[0][1]:
            differing = sorted(set(names) ^ set(found[0][1])) or names
            raise UserError(
                f"{found[0][0]} and {where} have other classes ({', '.join(differing)}), so that they cannot be scored "
                f"together; with --label-type compound name --train-annotation too, whose combinations count as well"
            )


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
    persons, calibrated = read_companions(folders, scored)
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
        persons=persons,
        options=config.results,
        calibrated=calibrated,
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
    found = []
    for file in files:
        with open(file, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            columns = [name for name in reader.fieldnames or () if name.startswith("logit_")]
            found.append((str(file), tuple(name.removeprefix("logit_") for name in columns)))
            rows += reader
    require_same_classes(found)
    names = found[0][1]
    label = np.array([names.index(row["label"]) for row in rows])
    logits = np.array([[float(row[f"logit_{name}"]) for name in names] for row in rows])
    return names, [row["clip"] for row in rows], label, logits


def read_companions(folders: list[Path], scored: list[dict[str, Any]]) -> tuple[list[str | None], Calibration]:
    """What belongs to the rows of ``read_predictions``: who is in each clip, and the temperature of its run."""
    persons: list[str | None] = []
    temperatures = []
    for folder, one in zip(folders, scored, strict=True):
        with open(folder / "predictions.csv", newline="", encoding="utf-8") as stream:
            found = [row.get("person") or None for row in csv.DictReader(stream)]
        persons += found
        temperatures += [one.get("calibration", {}).get("temperature", 1.0)] * len(found)
    fitted = {one.get("calibration", {}).get("fitted_on") for one in scored} - {None}
    return persons, Calibration(np.array(temperatures), fitted.pop() if fitted else None)
