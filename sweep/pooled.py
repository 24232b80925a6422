"""Predictions of several runs over different clips, scored as one."""

from pathlib import Path
from typing import Any

import numpy as np

from analysis.calibration import Calibration
from analysis.metrics import score
from analysis.paired import sd
from analysis.results import read_metrics, read_predictions, read_rows, temperature_of, write_results
from engine.options import Config
from utils.runlog import RunLog

AVERAGED = ("uar", "war", "macro_f1")


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
        ci=config.results.ci,
        abstain=config.results.abstain,
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
