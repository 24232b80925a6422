"""Predictions of finished runs read again, and those of several runs over different clips scored as one."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.calibration import Calibration
from analysis.comparing.paired import sd
from analysis.metrics import score
from analysis.write import write_results
from engine.options import Config
from utils.errors import UserError
from utils.runlog import RunLog

AVERAGED = ("uar", "war", "macro_f1")


@dataclass(frozen=True)
class Answers:
    """The rows of one or more ``predictions.csv``."""

    names: tuple[str, ...]  # of the classes
    ids: list[str]
    persons: list[str | None]  # None where that was not known
    label: np.ndarray  # (N,)
    logits: np.ndarray  # (N, C)

    @property
    def predicted(self) -> np.ndarray:
        return self.logits.argmax(axis=-1)


def write_pooled(log: RunLog, folders: list[Path], config: Config) -> dict[str, Any]:
    """``metrics.json`` of the series: every score of the pooled predictions, and mean and spread over its runs."""
    scored = [read_metrics(folder) for folder in folders]
    found = read_predictions([folder / "predictions.csv" for folder in folders])
    runs = {folder.name: {k: one[k] for k in AVERAGED} for folder, one in zip(folders, scored, strict=True)}
    spread = mean_and_sd(list(runs.values()))
    written = write_results(
        log,
        names=found.names,
        ids=found.ids,
        label=found.label,
        logits=found.logits,
        metrics=score(found.label, found.predicted, found.names) | {"runs": runs} | spread,
        split=scored[0]["split"],
        selected_on=scored[0]["selected_on"],
        title=f"{config.run.exper_name}, {len(folders)} runs pooled",
        persons=found.persons,
        options=config.results,
        calibrated=calibration_of(folders, scored),
    )
    say_runs(log, runs, spread)
    log.say("the scores of all predictions together stand above")
    return written


def calibration_of(folders: list[Path], scored: list[dict[str, Any]]) -> Calibration:
    """The temperature of its run for every row of ``read_predictions``."""
    counts = [len(read_rows(folder / "predictions.csv")[1]) for folder in folders]
    fitted = {(one.get("calibration") or {}).get("fitted_on") for one in scored} - {None}
    return Calibration(np.repeat([temperature_of(one) for one in scored], counts), fitted.pop() if fitted else None)


def temperature_of(metrics: dict[str, Any]) -> float:
    return (metrics.get("calibration") or {}).get("temperature", 1.0)


def mean_and_sd(runs: list[dict[str, float]]) -> dict[str, float]:
    """``uar_mean``, ``uar_sd`` and so on of every number that the runs have."""
    found = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        found |= {f"{name}_mean": float(np.mean(values)), f"{name}_sd": sd(values)}
    return found


def say_runs(log: RunLog, runs: dict[str, dict[str, float]], spread: dict[str, float]) -> None:
    for name, one in runs.items():
        log.say(f"{name:<24} UAR {one['uar']:6.2f}   WAR {one['war']:6.2f}")
    log.say(
        f"mean of {len(runs)} runs     UAR {spread['uar_mean']:6.2f} ± {spread['uar_sd']:.2f}   "
        f"WAR {spread['war_mean']:6.2f} ± {spread['war_sd']:.2f}   (± standard deviation)"
    )


def read_metrics(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: holds no scores (metrics.json); name the folder of a run that is complete"
        ) from None


def read_predictions(files: list[Path]) -> Answers:
    """Several files one after the other; all are of the same classes."""
    rows: list[dict[str, str]] = []
    found = []
    for file in files:
        columns, own = read_rows(file)
        found.append((str(file), columns))
        rows += own
    require_same_classes(found)
    names = found[0][1]
    try:
        label = np.array([names.index(row["label"]) for row in rows])
        logits = np.array([[float(row[f"logit_{name}"]) for name in names] for row in rows])
        return Answers(names, [row["clip"] for row in rows], [row.get("person") or None for row in rows], label, logits)
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{files[0]}: not predictions as a run writes them ({error})") from None


def read_rows(file: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """The class names, and a row a clip."""
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            columns = [name for name in reader.fieldnames or () if name.startswith("logit_")]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error):
        raise UserError(f"{file}: no predictions there; name the folder of a run that is complete") from None
    if not columns or not rows:
        raise UserError(f"{file}: no answers with classes in it; single frames and numbers are not compared by clips")
    return tuple(name.removeprefix("logit_") for name in columns), rows


def require_same_classes(found: list[tuple[str, tuple[str, ...]]]) -> None:
    for where, names in found[1:]:
        if names != found[0][1]:
            differing = sorted(set(names) ^ set(found[0][1])) or names
            raise UserError(
                f"{found[0][0]} and {where} have other classes ({', '.join(differing)}), so that they cannot be scored "
                f"together; with --label-type compound name --train-annotation too, whose combinations count as well"
            )
