"""Combine the scores of several runs.

Predictions of different clips, as of folds, are pooled and scored as one set. Scores of runs on the same clips with
different seeds are averaged: a clip with S predictions counts as one clip.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.calibration import Calibration, softmax
from analysis.intervals import groups_of
from analysis.metrics import brackets, score
from analysis.paired import SCORES, mean_intervals, sd
from analysis.results import Predictions, read_metrics, read_predictions, temperature_of, write_results
from engine.options import Config
from engine.series import seeds_of
from sweep.plan import PlannedRun
from utils.errors import UserError
from utils.runlog import RunLog

Metrics = dict[str, Any]  # the content of metrics.json
TITLES = {"uar": "UAR", "war": "WAR", "macro_f1": "macro F1"}


@dataclass(frozen=True)
class FinishedRun:
    """A run that has its scores; ``reused`` if it was already complete."""

    run: PlannedRun
    folder: Path
    reused: bool = False

    @cached_property
    def metrics(self) -> Metrics:
        return read_metrics(self.folder)

    @cached_property
    def predictions(self) -> Predictions:
        return read_predictions([self.folder / "predictions.csv"])


def mean_and_sd(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return ``uar_mean``, ``uar_sd`` and so on for every number that the runs have."""
    spread = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        spread |= {f"{name}_mean": float(np.mean(values)), f"{name}_sd": sd(values)}
    return spread


def scores_of_runs(finished: list[FinishedRun]) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Return the scores of every run by the name of its folder, and their mean and standard deviation."""
    runs = {run.folder.name: {name: run.metrics[name] for name in SCORES} for run in finished}
    return runs, mean_and_sd(list(runs.values()))


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


# -- different clips, as of folds -----------------------------------------------------------------------------------


def write_pooled(log: RunLog, finished: list[FinishedRun], config: Config) -> Metrics:
    """Write ``metrics.json`` of a series: all scores of the pooled predictions, mean and deviation over its runs."""
    predictions = read_predictions([run.folder / "predictions.csv" for run in finished])
    runs, spread = scores_of_runs(finished)
    results = write_results(
        log,
        predictions,
        score(predictions.label, predictions.predicted, predictions.names) | {"runs": runs} | spread,
        split=finished[0].metrics["split"],
        selected_on=finished[0].metrics["selected_on"],
        title=f"{config.run.exper_name}, {len(finished)} runs pooled",
        ci=config.results.ci,
        abstain=config.results.abstain,
        calibrated=calibration_of(finished),
    )
    print_runs(log, runs, spread)
    log.say("the scores of all predictions together are above")
    return results


def calibration_of(finished: list[FinishedRun]) -> Calibration:
    """Return a calibration in which every row of the pooled predictions has the temperature of its run."""
    temperatures = [temperature_of(run.metrics) for run in finished]
    splits = {(run.metrics.get("calibration") or {}).get("fitted_on") for run in finished} - {None}
    counts = [len(run.predictions.ids) for run in finished]
    return Calibration(np.repeat(temperatures, counts), splits.pop() if splits else None)


# -- the same clips, of other seeds ---------------------------------------------------------------------------------


def write_seeds(log: RunLog, finished: list[FinishedRun], config: Config) -> Metrics:
    """Write ``metrics.json`` of a series over seeds."""
    metrics: Metrics = {"seeds": seeds_of(config.results.seeds, config.run.seed)}
    if all("uar" in run.metrics for run in finished):
        metrics |= classifier_metrics(finished, config.results.ci)
        print_classifiers(log, metrics)
    else:
        metrics |= number_metrics(log, {run.folder.name: run.metrics for run in finished})
    log.keep_metrics(metrics)
    log.say(f"folder of the {len(finished)} runs: {log.folder}")
    return metrics


def classifier_metrics(finished: list[FinishedRun], ci: str) -> Metrics:
    """Return the mean scores over the seeds, and the scores of an ensemble with averaged probabilities."""
    first = finished[0]
    advice = f"remove the metrics.json of every run there; --resume {first.folder.parent} then scores them all again"
    require_same_clips(finished, f": their list has changed meanwhile; {advice}")
    names, label = first.predictions.names, first.predictions.label
    groups = groups_of(first.predictions.ids, first.predictions.persons, ci)
    bounds = mean_intervals(label, np.stack([run.predictions.predicted for run in finished]), groups, len(names))
    probabilities = [softmax(run.predictions.logits, temperature_of(run.metrics)) for run in finished]
    ensemble = score(label, np.mean(probabilities, axis=0).argmax(axis=-1), names)
    runs, spread = scores_of_runs(finished)
    return {
        **{name: spread[f"{name}_mean"] for name in SCORES},
        **spread,
        **({"intervals": groups.about() | bounds} if groups is not None else {}),
        "runs": runs,
        "per_class": {name: class_over_seeds([run.metrics["per_class"][name] for run in finished]) for name in names},
        "ensemble": {name: ensemble[name] for name in SCORES},
        "classes": list(names),
        "num_clips": len(label),
        "split": first.metrics["split"],
        "selected_on": first.metrics["selected_on"],
    }


def class_over_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation of the recall of a class, given its scores in each run; None if it has no clips."""
    recalls = [row["recall"] for row in rows]
    is_absent = None in recalls
    return {
        "recall": None if is_absent else float(np.mean(recalls)),
        "recall_sd": None if is_absent else sd(recalls),
        "support": rows[0]["support"],
    }


def print_classifiers(log: RunLog, metrics: Metrics) -> None:
    log.say("")
    print_runs(log, metrics["runs"], metrics)
    intervals = metrics.get("intervals", {})
    bounds = [f"{title} {brackets(intervals[name])}" for name, title in TITLES.items() if intervals.get(name)]
    if bounds:
        resampled = intervals["resampled"]
        log.say(
            f"95 % intervals of the mean: {', '.join(bounds)}   (bootstrap over the {intervals['groups']} {resampled}; "
            f"± is the spread over seeds, the interval the spread over {resampled})"
        )
    for name, row in metrics["per_class"].items():
        if row["recall"] is not None:
            log.say(f"  {name:<22} recall {row['recall']:6.2f} ± {row['recall_sd']:.2f}   {row['support']} clips")
    ensemble = metrics["ensemble"]
    log.say(
        f"all {len(metrics['runs'])} models together, with averaged probabilities: UAR {ensemble['uar']:.2f}, "
        f"WAR {ensemble['war']:.2f} (this is an ensemble, not one of the models)"
    )


def number_metrics(log: RunLog, runs: dict[str, Metrics]) -> Metrics:
    """Return mean and standard deviation of every number that all runs have; used for long videos."""
    numbers = {name: scores_in(metrics) for name, metrics in runs.items()}
    names = [key for key in next(iter(numbers.values())) if all(key in run for run in numbers.values())]
    if not names:
        raise UserError("--seeds: the runs have no scores; name a test or validation list")
    numbers = {name: {key: run[key] for key in names} for name, run in numbers.items()}
    spread = mean_and_sd(list(numbers.values()))
    for key in names:
        log.say(f"{key:<34} {spread[f'{key}_mean']:9.4f} ± {spread[f'{key}_sd']:.4f}")
    log.say(f"mean ± standard deviation over {len(runs)} seeds; intervals over videos are in each run")
    return spread | {"runs": numbers}


def scores_in(metrics: Metrics, prefix: str = "") -> dict[str, float]:
    """Return nested scores as {"va/ccc": 0.4}. Scores are floats; whole numbers are counts and are left out."""
    scores = {}
    for key, value in metrics.items():
        if isinstance(value, dict) and key not in ("intervals", "calibration", "risk_coverage"):
            scores |= scores_in(value, f"{prefix}{key}/")
        elif isinstance(value, float):
            scores[prefix + key] = value
    return scores
