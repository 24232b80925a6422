"""Scores of several runs together: predictions of different clips, as of folds, are pooled and scored as one set."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.calibration import Calibration
from analysis.metrics import score
from analysis.paired import SCORES, sd
from analysis.results import Predictions, read_metrics, read_predictions, read_rows, temperature_of, write_results
from engine.options import Config
from sweep.plan import PlannedRun
from utils.errors import UserError
from utils.runlog import RunLog

Metrics = dict[str, Any]  # the content of metrics.json


@dataclass(frozen=True)
class FinishedRun:
    """A run that has its scores; ``reused`` if it was complete before the sweep came to it."""

    run: PlannedRun
    folder: Path
    reused: bool = False

    @cached_property
    def metrics(self) -> Metrics:
        return read_metrics(self.folder)

    @cached_property
    def predictions(self) -> Predictions:
        return read_predictions([self.folder / "predictions.csv"])


def write_pooled(log: RunLog, finished: list[FinishedRun], config: Config) -> Metrics:
    """Write ``metrics.json`` of a series: all scores of the pooled predictions, mean and deviation over its runs."""
    folders, metrics = [run.folder for run in finished], [run.metrics for run in finished]
    predictions = read_predictions([folder / "predictions.csv" for folder in folders])
    runs = {folder.name: {name: row[name] for name in SCORES} for folder, row in zip(folders, metrics, strict=True)}
    spread = mean_and_sd(list(runs.values()))
    results = write_results(
        log,
        predictions,
        score(predictions.label, predictions.predicted, predictions.names) | {"runs": runs} | spread,
        split=metrics[0]["split"],
        selected_on=metrics[0]["selected_on"],
        title=f"{config.run.exper_name}, {len(folders)} runs pooled",
        ci=config.results.ci,
        abstain=config.results.abstain,
        calibrated=calibration_of(folders, metrics),
    )
    print_runs(log, runs, spread)
    log.say("the scores of all predictions together stand above")
    return results


def calibration_of(folders: list[Path], metrics: list[Metrics]) -> Calibration:
    """Return a calibration in which every row of the pooled predictions has the temperature of its run."""
    counts = [len(read_rows(folder / "predictions.csv")[1]) for folder in folders]
    splits = {(row.get("calibration") or {}).get("fitted_on") for row in metrics} - {None}
    return Calibration(np.repeat([temperature_of(row) for row in metrics], counts), splits.pop() if splits else None)


def mean_and_sd(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return ``uar_mean``, ``uar_sd`` and so on of every number that the runs have."""
    spread = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        spread |= {f"{name}_mean": float(np.mean(values)), f"{name}_sd": sd(values)}
    return spread


def print_runs(log: RunLog, runs: dict[str, dict[str, float]], spread: dict[str, float]) -> None:
    for name, scores in runs.items():
        log.say(f"{name:<24} UAR {scores['uar']:6.2f}   WAR {scores['war']:6.2f}")
    log.say(
        f"mean of {len(runs)} runs     UAR {spread['uar_mean']:6.2f} ± {spread['uar_sd']:.2f}   "
        f"WAR {spread['war_mean']:6.2f} ± {spread['war_sd']:.2f}   (± standard deviation)"
    )


def require_same_clips(finished: list[FinishedRun], advice: str) -> None:
    """Refuse runs whose clips, labels or classes are not those of the first; ``advice`` ends the message."""
    first = finished[0]
    for run in finished:
        a, b = run.predictions, first.predictions
        if (a.names, a.ids) != (b.names, b.ids) or (a.label != b.label).any():
            raise UserError(f"{run.folder}: scored on other clips than {first.folder}{advice}")
