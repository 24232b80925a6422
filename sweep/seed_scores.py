"""Runs of the same clips that differ by their seed alone, summed up: mean, spread, interval of the mean."""

from pathlib import Path
from typing import Any

import numpy as np

from analysis.calibration import softmax
from analysis.intervals import groups_of
from analysis.metrics import brackets, score
from analysis.paired import mean_intervals, sd
from analysis.results import read_metrics, read_predictions, temperature_of
from engine.options import Config
from sweep.pooled import AVERAGED, mean_and_sd, say_runs
from sweep.seeds import seeds_of
from utils.errors import UserError
from utils.runlog import RunLog

TITLES = {"uar": "UAR", "war": "WAR", "macro_f1": "macro F1"}


def write_seeds(log: RunLog, folders: list[Path], config: Config) -> dict[str, Any]:
    """``metrics.json`` of runs of the same clips that differ by their seed alone."""
    scored = {folder.name: read_metrics(folder) for folder in folders}
    seeds = {"seeds": seeds_of(config.results.seeds, config.run.seed)}
    summed = sum_classifiers(folders, scored, config) if all("uar" in one for one in scored.values()) else None
    if summed is None:
        metrics = seeds | sum_numbers(log, scored)
    else:
        metrics = seeds | summed
        say_classifiers(log, metrics)
    log.write_metrics(metrics)
    log.say(f"folder of the {len(folders)} runs: {log.folder}")
    return metrics


def sum_classifiers(folders: list[Path], scored: dict[str, dict[str, Any]], config: Config) -> dict[str, Any]:
    """A clip that S models answered is one clip: means of scores, never scores of S times as many clips."""
    answers = [read_predictions([folder / "predictions.csv"]) for folder in folders]
    first, about = answers[0], next(iter(scored.values()))
    for folder, one in zip(folders, answers, strict=True):
        if (one.names, one.ids) != (first.names, first.ids) or (one.label != first.label).any():
            raise UserError(
                f"{folder}: scored on other clips than {folders[0]}: their list has changed in between; remove the "
                f"metrics.json of every run there, and --resume {folder.parent} scores them all again"
            )
    groups = groups_of(first.ids, first.persons, config.results.ci)
    predicted = np.stack([one.predicted for one in answers])
    bounds = mean_intervals(first.label, predicted, groups, len(first.names))
    runs = {name: {k: one[k] for k in AVERAGED} for name, one in scored.items()}
    together = np.mean(
        [softmax(one.logits, temperature_of(scored[f.name])) for f, one in zip(folders, answers, strict=True)], axis=0
    ).argmax(axis=-1)
    ensemble = score(first.label, together, first.names)
    found = mean_and_sd(list(runs.values()))
    return {
        **{name: found[f"{name}_mean"] for name in AVERAGED},
        **found,
        **({"intervals": groups.about() | bounds} if groups is not None else {}),
        "runs": runs,
        "per_class": {name: _class_over_seeds(name, scored) for name in first.names},
        "ensemble": {name: ensemble[name] for name in AVERAGED},
        "classes": list(first.names),
        "num_clips": len(first.ids),
        "split": about["split"],
        "selected_on": about["selected_on"],
    }


def _class_over_seeds(name: str, scored: dict[str, dict[str, Any]]) -> dict[str, Any]:
    rows = [one["per_class"][name] for one in scored.values()]
    recalls = [row["recall"] for row in rows]
    known = None not in recalls
    return {
        "recall": float(np.mean(recalls)) if known else None,
        "recall_sd": sd(recalls) if known else None,
        "support": rows[0]["support"],
    }


def say_classifiers(log: RunLog, metrics: dict[str, Any]) -> None:
    log.say("")
    say_runs(log, metrics["runs"], metrics)
    drawn = metrics.get("intervals", {})
    bounds = [f"{title} {brackets(drawn[name])}" for name, title in TITLES.items() if drawn.get(name)]
    if bounds:
        log.say(
            f"95 % intervals of the mean: {', '.join(bounds)}   ({drawn['groups']} {drawn['resampled']} drawn again; "
            f"± is what the seed does, the interval what other {drawn['resampled']} would)"
        )
    for name, row in metrics["per_class"].items():
        if row["recall"] is not None:
            log.say(f"  {name:<22} recall {row['recall']:6.2f} ± {row['recall_sd']:.2f}   {row['support']} clips")
    together = metrics["ensemble"]
    log.say(
        f"all {len(metrics['runs'])} models together, their probabilities averaged: UAR {together['uar']:.2f}, "
        f"WAR {together['war']:.2f} (another model than any of them)"
    )


def sum_numbers(log: RunLog, scored: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Runs with other scores, long videos': mean and spread of every number that all of them have."""
    runs = {name: dict(_numbers(one)) for name, one in scored.items()}
    shared = [key for key in next(iter(runs.values())) if all(key in run for run in runs.values())]
    if not shared:
        raise UserError("--seeds: the runs hold no scores; was there anything to score them on?")
    runs = {name: {key: run[key] for key in shared} for name, run in runs.items()}
    found = mean_and_sd(list(runs.values()))
    for key in shared:
        log.say(f"{key:<34} {found[f'{key}_mean']:9.4f} ± {found[f'{key}_sd']:.4f}")
    log.say(f"mean ± standard deviation over {len(runs)} seeds; what other videos would change stands in each run")
    return found | {"runs": runs}


def _numbers(metrics: dict[str, Any], before: str = "") -> list[tuple[str, float]]:
    """(va/ccc, 0.4) and so on: scores are no whole numbers, counts are."""
    found = []
    for key, value in metrics.items():
        if isinstance(value, dict) and key not in ("intervals", "calibration", "risk_coverage"):
            found += _numbers(value, f"{before}{key}/")
        elif isinstance(value, float):
            found.append((before + key, value))
    return found
