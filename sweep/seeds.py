"""Scores of runs on the same clips that differ in their seed alone: mean, deviation, and interval of the mean.

A clip that S models answered counts as one clip: scores are averaged, answers are not pooled.
"""

from typing import Any

import numpy as np

from analysis.calibration import softmax
from analysis.intervals import groups_of
from analysis.metrics import brackets, score
from analysis.paired import SCORES, mean_intervals, sd
from analysis.results import temperature_of
from engine.options import Config
from engine.series import seeds_of
from sweep.pooled import FinishedRun, Metrics, mean_and_sd, print_runs, require_same_clips
from utils.errors import UserError
from utils.runlog import RunLog

TITLES = {"uar": "UAR", "war": "WAR", "macro_f1": "macro F1"}


def write_seeds(log: RunLog, finished: list[FinishedRun], config: Config) -> Metrics:
    """Write ``metrics.json`` of a series over seeds."""
    metrics: Metrics = {"seeds": seeds_of(config.results.seeds, config.run.seed)}
    if all("uar" in run.metrics for run in finished):
        metrics |= classifier_metrics(finished, config.results.ci)
        print_classifiers(log, metrics)
    else:
        metrics |= number_metrics(log, {run.folder.name: run.metrics for run in finished})
    log.write_metrics(metrics)
    log.say(f"folder of the {len(finished)} runs: {log.folder}")
    return metrics


def classifier_metrics(finished: list[FinishedRun], ci: str) -> Metrics:
    """Return the mean scores over the seeds, and the scores of all models together, their probabilities averaged."""
    first = finished[0]
    advice = f"remove the metrics.json of every run there, and --resume {first.folder.parent} scores them all again"
    require_same_clips(finished, f": their list has changed in between; {advice}")
    names, label = first.predictions.names, first.predictions.label
    groups = groups_of(first.predictions.ids, first.predictions.persons, ci)
    bounds = mean_intervals(label, np.stack([run.predictions.predicted for run in finished]), groups, len(names))
    probabilities = [softmax(run.predictions.logits, temperature_of(run.metrics)) for run in finished]
    ensemble = score(label, np.mean(probabilities, axis=0).argmax(axis=-1), names)
    scores = {run.folder.name: {name: run.metrics[name] for name in SCORES} for run in finished}
    spread = mean_and_sd(list(scores.values()))
    return {
        **{name: spread[f"{name}_mean"] for name in SCORES},
        **spread,
        **({"intervals": groups.about() | bounds} if groups is not None else {}),
        "runs": scores,
        "per_class": {name: class_over_seeds([run.metrics["per_class"][name] for run in finished]) for name in names},
        "ensemble": {name: ensemble[name] for name in SCORES},
        "classes": list(names),
        "num_clips": len(label),
        "split": first.metrics["split"],
        "selected_on": first.metrics["selected_on"],
    }


def class_over_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation of the recall of a class, given its scores in each run; None where it has no clips."""
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
            f"95 % intervals of the mean: {', '.join(bounds)}   ({intervals['groups']} {resampled} drawn again; "
            f"± is what the seed does, the interval what other {resampled} would)"
        )
    for name, row in metrics["per_class"].items():
        if row["recall"] is not None:
            log.say(f"  {name:<22} recall {row['recall']:6.2f} ± {row['recall_sd']:.2f}   {row['support']} clips")
    ensemble = metrics["ensemble"]
    log.say(
        f"all {len(metrics['runs'])} models together, their probabilities averaged: UAR {ensemble['uar']:.2f}, "
        f"WAR {ensemble['war']:.2f} (another model than any of them)"
    )


def number_metrics(log: RunLog, runs: dict[str, Metrics]) -> Metrics:
    """Return mean and deviation of every number that all runs have; for long videos, whose scores have other names."""
    numbers = {name: scores_in(metrics) for name, metrics in runs.items()}
    names = [key for key in next(iter(numbers.values())) if all(key in run for run in numbers.values())]
    if not names:
        raise UserError("--seeds: the runs hold no scores; was there anything to score them on?")
    numbers = {name: {key: run[key] for key in names} for name, run in numbers.items()}
    spread = mean_and_sd(list(numbers.values()))
    for key in names:
        log.say(f"{key:<34} {spread[f'{key}_mean']:9.4f} ± {spread[f'{key}_sd']:.4f}")
    log.say(f"mean ± standard deviation over {len(runs)} seeds; what other videos would change stands in each run")
    return spread | {"runs": numbers}


def scores_in(metrics: Metrics, prefix: str = "") -> dict[str, float]:
    """Return nested scores as ``va/ccc: 0.4``. Scores are floats; whole numbers are counts and are left out."""
    scores = {}
    for key, value in metrics.items():
        if isinstance(value, dict) and key not in ("intervals", "calibration", "risk_coverage"):
            scores |= scores_in(value, f"{prefix}{key}/")
        elif isinstance(value, float):
            scores[prefix + key] = value
    return scores
