"""Compare two run folders on the same clips, and test whether their difference is noise.

Each may be a run, a series, or a variant of an ablation. The score of several seeds is their mean; the predictions of
folds are pooled.
"""

import csv
import io
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.intervals import ROUNDING, Groups, groups_of
from analysis.metrics import SCORES, brackets
from analysis.paired import Difference, Pair, mcnemar
from analysis.report.statements import option_text
from analysis.results import (
    Metrics,
    Predictions,
    ablation_runs,
    read_metrics,
    read_options,
    read_predictions,
    require_run_folder,
    temperature_of,
)
from utils.config import flag_of
from utils.errors import UserError
from utils.runlog import RunLog
from utils.text import markdown_table, plural, text_table

LEAST_SHARED = 0.5  # share of the clips of either run
LISTED = 20  # flipped clips on the screen and in the Markdown; all are in flips.csv
FLIP_COLUMNS = ("clip", "label", "a", "b", "flip")


@dataclass(frozen=True)
class ScoredRun:
    """The content of a folder. ``predicted`` is (S, N), one row per seed; S is 1 if there are not several seeds."""

    folder: Path
    predictions: Predictions  # of the first seed
    predicted: np.ndarray
    seeds: tuple[str, ...]  # names of the runs of several seeds, such as seed-42
    metrics: Metrics
    is_calibrated: bool
    options: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Content of comparison.json: run B against run A."""

    clips: int
    resampled: str | None
    groups: int | None
    scores: dict[str, dict[str, Any]]
    per_class: dict[str, dict[str, Any]]
    verdict: str
    identical: bool
    mcnemar: dict[str, Any] | None  # None for series over seeds, where a clip has several predictions
    flips: list[dict[str, str]]
    runs: list[str]
    seeds: list[tuple[str, ...]]
    options: dict[str, list[str]]
    warnings: list[str]


def compare_folders(folders: tuple[str, ...], ci: str, unimportant: Collection[str]) -> Comparison:
    """Return the comparison of two run folders. ``unimportant``: options that change no result."""
    a, b = (read_run(Path(folder)) for folder in folders)
    if a.folder.resolve() == b.folder.resolve():
        raise UserError(f"{a.folder}: is named twice; name two different runs")
    require_same_classes(a, b)
    rows_a, rows_b, omissions = match_clips(a, b)
    names, label = a.predictions.names, a.predictions.label[rows_a]
    ids = [a.predictions.ids[i] for i in rows_a]
    persons = [a.predictions.persons[i] or b.predictions.persons[j] for i, j in zip(rows_a, rows_b, strict=True)]
    groups = groups_of(ids, persons, ci)
    pair = Pair(label, a.predicted[:, rows_a], b.predicted[:, rows_b], groups, len(names), a.seeds == b.seeds)
    scores = {}
    for name in SCORES:
        scores[name] = dict(zip("ab", pair.scores(name), strict=True)) | pair.difference(name).as_dict()
    per_class = {}
    for c, name in enumerate(names):
        rows = label == c
        recalls = [100 * float((model[:, rows] == c).mean()) if rows.any() else None for model in (pair.a, pair.b)]
        per_class[name] = {"support": int(rows.sum()), "a": recalls[0], "b": recalls[1]}
        per_class[name] |= pair.difference("recall", c).as_dict()
    is_single = len(pair.a) == len(pair.b) == 1
    test, flips = flips_of(names, ids, label, pair.a[0], pair.b[0]) if is_single else (None, [])
    return Comparison(
        clips=len(ids),
        resampled=None if groups is None else groups.resampled,
        groups=None if groups is None else groups.count,
        scores=scores,
        per_class=per_class,
        verdict=verdict(pair.difference("uar"), groups, one_seed_of(a, b)),
        identical=pair.is_identical,
        mcnemar=test,
        flips=flips,
        runs=[str(a.folder), str(b.folder)],
        seeds=[a.seeds, b.seeds],
        options=different_options(a, b, unimportant),
        warnings=[*omissions, *doubts(a, b), *(groups.doubts() if groups is not None else [])],
    )


def read_run(folder: Path) -> ScoredRun:
    """Return a run, a series of runs, or the runs of a variant of an ablation."""
    if variant := ablation_runs(folder):
        first, metrics = next(iter(variant.values())), read_metrics(next(iter(variant.values())))
        seeds, folders = tuple(variant), [*variant.values()]
    else:
        require_run_folder(folder)
        first, metrics = folder, read_metrics(folder)
        seeds = tuple(metrics.get("runs") or ()) if "seeds" in metrics else ()
        folders = [folder / name for name in seeds or [""]]
    if "uar" not in metrics:
        raise UserError(f"{folder}: has no predictions of classes of clips; compare runs that have a predictions.csv")
    predictions = [read_predictions([run / "predictions.csv"]) for run in folders]
    for run, answers in zip(folders, predictions, strict=True):
        if (answers.names, answers.ids) != (predictions[0].names, predictions[0].ids):
            raise UserError(f"{run}: scored on other clips or classes than {folders[0]}")
    return ScoredRun(
        folder=folder,
        predictions=predictions[0],
        predicted=np.stack([answers.predicted for answers in predictions]),
        seeds=seeds,
        metrics=metrics,
        is_calibrated=all(temperature_of(read_metrics(run)) != 1.0 for run in folders),
        options=read_options(first) if (first / "config.json").exists() else {},
    )


def require_same_classes(a: ScoredRun, b: ScoredRun) -> None:
    names_a, names_b = a.predictions.names, b.predictions.names
    if set(names_a) != set(names_b):
        differing = ", ".join(sorted(set(names_a) ^ set(names_b)))
        raise UserError(f"{a.folder} and {b.folder} have different classes ({differing}) and cannot be compared")
    if names_a != names_b:
        raise UserError(f"{a.folder} and {b.folder} have their classes in different orders; evaluate both again")


def match_clips(a: ScoredRun, b: ScoredRun) -> tuple[list[int], list[int], list[str]]:
    """Return the rows of the clips that both runs have, in the order of ``a``, and a warning about clips left out."""
    index_a, index_b = rows_by_clip(a.predictions.ids), rows_by_clip(b.predictions.ids)
    shared = [key for key in index_a if key in index_b]
    if len(shared) < LEAST_SHARED * max(len(index_a), len(index_b)):
        raise UserError(
            f"{a.folder} and {b.folder} share {len(shared)} of {len(index_a)} and {len(index_b)} clips: evaluate "
            f"both on the same list (--mode eval --eval-checkpoint RUN/best.pt --test-annotation FILE)"
        )
    rows_a, rows_b = [index_a[key] for key in shared], [index_b[key] for key in shared]
    differing = np.flatnonzero(a.predictions.label[rows_a] != b.predictions.label[rows_b])
    if len(differing):
        raise UserError(
            f"{len(differing)} shared clips have another label in {b.folder} than in {a.folder}, "
            f"such as {a.predictions.ids[rows_a[differing[0]]]}; their lists are not the same"
        )
    missing = [len(index_a) - len(shared), len(index_b) - len(shared)]
    omitted = f"{plural(len(shared), 'clip')} in both runs; left out: {missing[0]} of A, {missing[1]} of B"
    return rows_a, rows_b, [omitted] if any(missing) else []


def rows_by_clip(ids: list[str]) -> dict[tuple[str, int], int]:
    """Return {(clip, number of its occurrence): row}, since a list may name a clip twice."""
    counts: Counter[str] = Counter()
    rows = {}
    for row, name in enumerate(ids):
        counts[name] += 1
        rows[name, counts[name]] = row
    return rows


def doubts(a: ScoredRun, b: ScoredRun) -> list[str]:
    """Return warnings on what makes the comparison unfair, or weaker than it looks."""
    runs, warnings = {"A": a, "B": b}, []
    for letter, run in runs.items():
        if "optimistic" in str(run.metrics.get("selected_on")):
            warnings.append(f"{letter} ({run.folder}) was selected on {run.metrics['selected_on']}")
    splits = [run.metrics.get("split") for run in runs.values()]
    if splits[0] != splits[1]:
        warnings.append(f"A is scored on {splits[0]} clips, B on {splits[1]} clips")
    calibrated = [letter for letter, run in runs.items() if run.is_calibrated]
    if len(calibrated) == 1:
        warnings.append(f"only {calibrated[0]} is calibrated: predicted classes can be compared, probabilities cannot")
    if single := one_seed_of(a, b):
        warnings.append(f"one seed of {single}: the interval does not include the noise of training (--seeds 3)")
    return warnings


def one_seed_of(a: ScoredRun, b: ScoredRun) -> str:
    """Return which of the two is a single training: ``each``, ``A``, ``B``, or an empty text."""
    single = [letter for letter, run in zip("AB", (a, b), strict=True) if len(run.predicted) == 1]
    return "each" if len(single) == 2 else "".join(single)


def different_options(a: ScoredRun, b: ScoredRun, unimportant: Collection[str]) -> dict[str, list[str]]:
    """Return {flag: its value in each run} of the options that differ and may change a result."""
    differing = {}
    for name in sorted({*a.options, *b.options} - {*unimportant}):
        values = [run.options.get(name) for run in (a, b)]
        if values[0] != values[1]:
            differing[flag_of(name)] = [option_text(value) for value in values]
    return differing


def verdict(uar: Difference, groups: Groups | None, single: str = "") -> str:
    """Return one sentence on the difference of UAR; ``single`` is from ``one_seed_of``."""
    if uar.verdict == "identical predictions":
        return "The two give identical predictions for all clips."
    if uar.verdict == "no interval":
        why = "--ci off" if groups is None else f"two {groups.resampled} or more are needed"
        return f"UAR differs by {uar.value:+z.1f}; without an interval ({why}) it is unknown whether that is noise."
    if max(map(abs, uar.interval)) < ROUNDING:
        return "UAR is the same in every bootstrap sample, although predictions differ."
    difference, bounds = f"The difference of {uar.value:+z.1f} UAR", brackets(uar.interval)
    if uar.verdict == "yes":
        return f"{difference} is beyond noise at 95 % {bounds}."
    if uar.verdict == "one seed":
        return (
            f"{difference} holds for these two trained models on other {groups.resampled}, 95 % {bounds}. With one "
            f"seed of {single} it cannot be distinguished from the noise of training: train both with --seeds 3."
        )
    if uar.verdict == "no":
        return f"{difference} is within noise: its 95 % interval {bounds} contains 0."
    too_few = f"the two differ for {uar.differing} of {groups.count} {groups.resampled}, too few (p {uar.p:.2f})"
    return f"{difference} cannot be distinguished from noise: {too_few}."


def flips_of(
    names: tuple[str, ...], ids: list[str], label: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return McNemar's test of (N,) predictions, and every clip whose prediction changed, new mistakes first."""
    flips: list[dict[str, str]] = []
    for flip, rows in {
        "right to wrong": (a == label) & (b != label),
        "wrong to right": (a != label) & (b == label),
        "wrong to wrong": (a != label) & (b != label) & (a != b),
    }.items():
        for i in np.flatnonzero(rows):
            values = (ids[i], names[label[i]], names[a[i]], names[b[i]], flip)
            flips.append(dict(zip(FLIP_COLUMNS, values, strict=True)))
    kinds = Counter(flip["flip"] for flip in flips)
    only_a, only_b = kinds["right to wrong"], kinds["wrong to right"]
    return {"a_alone_right": only_a, "b_alone_right": only_b, "p": mcnemar(only_a, only_b)}, flips


# -- what is written ------------------------------------------------------------------------------------------------


def write_comparison(log: RunLog, comparison: Comparison) -> dict[str, Any]:
    """Write ``comparison.json``, ``comparison.md`` and ``flips.csv``, and print the same."""
    content = asdict(comparison)
    log.write_json("comparison.json", content)
    log.write_text("comparison.md", as_markdown(comparison))
    if comparison.mcnemar is not None:
        file = io.StringIO()
        writer = csv.DictWriter(file, FLIP_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(comparison.flips)
        log.write_text("flips.csv", file.getvalue())
    log.say(as_text(comparison))
    log.say(f"folder: {log.folder}")
    return content


def as_text(comparison: Comparison) -> str:
    lines = [f"A: {comparison.runs[0]}", f"B: {comparison.runs[1]}", f"{comparison.clips} clips", ""]
    lines += [f"warning: {line}" for line in comparison.warnings]
    lines += [*text_table(score_rows(comparison)), "", *notes(comparison)]
    if comparison.flips:
        lines += ["", *text_table(flip_rows(comparison)), unlisted_flips(comparison)]
    if comparison.options:
        options = [[flag, *values] for flag, values in comparison.options.items()]
        lines += ["", *text_table([["what differs", "A", "B"], *options])]
    return "\n".join([*lines, "", comparison.verdict])


def as_markdown(comparison: Comparison) -> str:
    lines = ["# Two runs compared", "", f"**{comparison.verdict}**", ""]
    lines += [f"- A: `{comparison.runs[0]}`", f"- B: `{comparison.runs[1]}`", f"- {comparison.clips} clips", ""]
    lines += [f"> {line}\n" for line in comparison.warnings]
    head, *rows = score_rows(comparison)
    lines += [*markdown_table(head, rows), "", *(f"- {line}" for line in notes(comparison))]
    if comparison.options:
        options = [[f"`{flag}`", *values] for flag, values in comparison.options.items()]
        lines += ["", "## What differs in the options", "", *markdown_table(["option", "A", "B"], options)]
    if comparison.flips:
        head, *rows = flip_rows(comparison)
        lines += ["", "## Clips that flipped", "", *markdown_table(head, rows), "", unlisted_flips(comparison)]
    return "\n".join(lines).rstrip() + "\n"


def score_rows(comparison: Comparison) -> list[list[str]]:
    rows = [["", "A", "B", "B - A", "95 %", "p"]]
    rows += [[title, *number_cells(comparison.scores[name])] for name, title in SCORES.items()]
    for name, values in comparison.per_class.items():
        rows.append([f"recall of {name} ({values['support']})", *number_cells(values)])
    return rows


def number_cells(values: dict[str, Any]) -> list[str]:
    if values["value"] is None:
        return ["absent", "absent", "", "", ""]
    p = "" if values["p"] is None else f"{values['p']:.3f}"
    return [f"{values['a']:z.2f}", f"{values['b']:z.2f}", f"{values['value']:+z.2f}", brackets(values["interval"]), p]


def flip_rows(comparison: Comparison) -> list[list[str]]:
    return [["clip", "label", "A says", "B says", ""], *([*flip.values()] for flip in comparison.flips[:LISTED])]


def unlisted_flips(comparison: Comparison) -> str:
    return f"and {len(comparison.flips) - LISTED} more in flips.csv" if len(comparison.flips) > LISTED else ""


def notes(comparison: Comparison) -> list[str]:
    """Return notes on the intervals, McNemar's test, and the number of changed predictions."""
    lines = []
    if comparison.groups:
        seeds = " and over seeds" if any(len(names) > 1 for names in comparison.seeds) else ""
        unpaired = seeds and comparison.seeds[0] != comparison.seeds[1]
        separately = ", but different seeds" if unpaired else ""
        lines.append(
            f"95 % intervals of the differences: bootstrap over the {comparison.groups} {comparison.resampled}{seeds}, "
            f"the same samples for both{separately}"
        )
    test = comparison.mcnemar
    if test is None:
        return [*lines, "McNemar's test and flipped clips need single runs: compare the folders of two seeds for them"]
    only_a, only_b, changed = test["a_alone_right"], test["b_alone_right"], len(comparison.flips)
    return [
        *lines,
        f"McNemar, exact: only A has {only_a} clips right, only B {only_b}, p {test['p']:.3g} (it assumes "
        f"independent clips, and clips of one person are not)",
        f"{changed} answers changed: {only_a} right to wrong, {only_b} wrong to right, {changed - only_a - only_b} "
        f"wrong to wrong",
    ]
