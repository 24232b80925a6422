"""The table of an ablation: every variant beside the base, paired over persons and seeds; Markdown, CSV, a picture."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.intervals import Groups, groups_of
from analysis.metrics import brackets
from analysis.paired import ALPHA, SCORES, Pair, holm, mean_intervals, sd
from analysis.results import Predictions, read_metrics, read_predictions
from engine.options import Config
from sweep.grid import BASE, Variant
from utils.errors import UserError
from utils.runlog import RunLog
from utils.words import plural

ONE_SEED = "one seed: differences cannot be told from the noise of training (--seeds 3)"
HEADS = ("variant", "UAR", "95 %", "difference", "95 %", "p", "p (Holm)", "beyond noise", "WAR", "macro F1")


@dataclass(frozen=True)
class Done:
    """A finished run of the table; ``reused``: from before."""

    variant: Variant
    seed: int
    folder: Path
    reused: bool


@dataclass(frozen=True)
class Measured:
    """One variant: (S, N) predictions of the same clips."""

    variant: Variant
    seeds: list[int]
    folders: list[Path]
    predicted: np.ndarray
    scores: dict[str, list[float]]  # by seed


def write_table(log: RunLog, done: list[Done], left_out: list[str], config: Config) -> dict[str, Any]:
    """``ablation.json``, ``.md``, ``.csv`` and ``.png`` in the ablation's folder."""
    first, variants = read_variants(done)
    groups = groups_of(first.ids, first.persons, config.results.ci)
    rows = make_rows(first, variants, groups)
    counts = [len(one.seeds) for one in variants]
    notes = notes_of(rows, groups, min(counts), len(first.ids))
    found = {
        "rows": rows,
        "notes": notes,
        "left_out": left_out,
        "split": read_metrics(done[0].folder)["split"],
        "selected_on": read_metrics(done[0].folder)["selected_on"],
        "clips": len(first.ids),
        "runs": {
            str(one.folder): {"variant": one.variant.name, "seed": one.seed, "reused": one.reused} for one in done
        },
    }
    log.write_json("ablation.json", found)
    log.write_text("ablation.csv", as_csv(rows))
    log.write_text("ablation.md", as_markdown(found, config.run.exper_name))
    if len(rows) > 1 and rows[1:] and groups is not None:
        from analysis.plots import save
        from sweep.plot import draw_differences

        save(draw_differences(rows, groups.resampled), log.folder / "ablation.png")
    log.say("\n" + as_text(rows))
    for line in [*notes, *left_out]:
        log.say(line)
    reused = sum(one.reused for one in done)
    log.say(f"{plural(len(done) - reused, 'run')} trained, {reused} done before; table: {log.folder / 'ablation.md'}")
    return found


def read_variants(done: list[Done]) -> tuple[Predictions, list[Measured]]:
    """Every variant with the runs that it has; all of the same clips."""
    answers = {one.folder: read_predictions([one.folder / "predictions.csv"]) for one in done}
    first = answers[done[0].folder]
    for folder, one in answers.items():
        if (one.names, one.ids) != (first.names, first.ids) or (one.label != first.label).any():
            raise UserError(f"{folder}: scored on other clips than {done[0].folder}, so they cannot be compared")
    found = []
    for variant in dict.fromkeys(one.variant.name for one in done):
        runs = [one for one in done if one.variant.name == variant]
        metrics = [read_metrics(one.folder) for one in runs]
        found.append(
            Measured(
                runs[0].variant,
                [one.seed for one in runs],
                [one.folder for one in runs],
                np.stack([answers[one.folder].predicted for one in runs]),
                {name: [one[name] for one in metrics] for name in SCORES},
            )
        )
    return first, found


def make_rows(first: Predictions, variants: list[Measured], groups: Groups | None) -> list[dict[str, Any]]:
    """The base first; each variant beside those of its runs that share a seed with the base."""
    C, base = len(first.names), variants[0]
    rows = []
    for one in variants:
        row = {
            "variant": one.variant.name,
            "changed": one.variant.changed,
            "seeds": one.seeds,
            **{name: float(np.mean(one.scores[name])) for name in SCORES},
            **{f"{name}_sd": sd(one.scores[name]) for name in SCORES},
            "intervals": mean_intervals(first.label, one.predicted, groups, C),
            "runs": [str(folder) for folder in one.folders],
        }
        if one.variant is not BASE:
            shared = [base.seeds.index(seed) for seed in one.seeds]
            pair = Pair(first.label, base.predicted[shared], one.predicted, groups, C)
            row["difference"] = {name: pair.difference(name).as_dict() for name in SCORES}
        rows.append(row)
    told = [row["difference"]["uar"] for row in rows[1:] if row["difference"]["uar"]["p"] is not None]
    for found, adjusted in zip(told, holm([one["p"] for one in told]), strict=True):
        found["p_holm"] = adjusted
    for row in rows[1:]:
        row["verdict"] = verdict(row)
    return rows


def verdict(row: dict[str, Any]) -> str:
    found = row["difference"]["uar"]
    if found["identical"]:
        return "identical predictions"
    if found["interval"] is None:
        return "no interval"
    if len(row["seeds"]) == 1:
        return "one seed"
    if found["beyond_noise"]:
        return "yes" if found["p_holm"] <= ALPHA else "if tried alone"
    return "no" if found["interval"][0] <= 0 <= found["interval"][1] else "too few differ"


def notes_of(rows: list[dict[str, Any]], groups: Groups | None, seeds: int, clips: int) -> list[str]:
    """What a reader must know to believe the table, and no more than that."""
    spread = f", mean ± standard deviation over {seeds} seeds" if seeds > 1 else ""
    notes = [f"Scores on {clips} clips in percent{spread}; differences to the base."]
    if groups is not None:
        again = "; those of differences draw the seeds again too, pairing each run with the base's of its seed"
        notes.append(f"Intervals: {groups.count} {groups.resampled} drawn again{again if seeds > 1 else ''}.")
        notes += [f"warning: {doubt}" for doubt in groups.doubts()]
    if seeds == 1:
        notes.append(f"warning: {ONE_SEED}")
    elif len(rows) > 2:
        notes.append(
            f"{len(rows) - 1} variants were tried: by chance alone one in twenty differs beyond its interval; p (Holm) "
            f"counts that in."
        )
    return notes


def cells(row: dict[str, Any]) -> list[str]:
    """One a column of HEADS."""
    middle = ["", "", "", "", ""]
    if "difference" in row:
        found = row["difference"]["uar"]
        p = [f"{found[name]:.3f}" if found.get(name) is not None else "" for name in ("p", "p_holm")]
        middle = [f"{found['value']:+.1f}", brackets(found["interval"]), *p, row["verdict"]]
        if found["identical"]:
            middle = ["0", "", "", "", row["verdict"]]
    scores = [with_sd(row[name], row[f"{name}_sd"]) for name in SCORES]
    return [row["variant"], scores[0], brackets(row["intervals"]["uar"]), *middle, *scores[1:]]


def with_sd(mean: float, deviation: float | None) -> str:
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def as_text(rows: list[dict[str, Any]]) -> str:
    lines = [list(HEADS), *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def as_markdown(found: dict[str, Any], title: str) -> str:
    lines = [
        f"# {title}: ablation",
        "",
        f"Measured on {found['split']}, epochs selected on {found['selected_on']}.",
        "",
    ]
    lines += [f"| {' | '.join(HEADS)} |", "|" + "---|" * len(HEADS)]
    lines += [f"| {' | '.join(cells(row))} |" for row in found["rows"]]
    lines += ["", *(f"- {note}" for note in [*found["notes"], *found["left_out"]])]
    lines += ["", "| variant | what it changes |", "|---|---|"]
    lines += [f"| {row['variant']} | `{row['changed'] or 'nothing'}` |" for row in found["rows"]]
    return "\n".join(lines) + "\n"


def as_csv(rows: list[dict[str, Any]]) -> str:
    """One row a variant, plain numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    bounds = [f"{name}_{end}" for name in SCORES for end in ("low", "high")]
    of_difference = ("difference", "difference_low", "difference_high", "p", "p_holm", "beyond_noise", "identical")
    scores = [column for name in SCORES for column in (name, f"{name}_sd")]
    writer.writerow(["variant", "changed", "seeds", *scores, *bounds, *of_difference])
    for row in rows:
        ends = [end for name in SCORES for end in row["intervals"][name] or ("", "")]
        found = row.get("difference", {}).get("uar")
        if found is None:
            told = [""] * len(of_difference)
        else:
            told = [found["value"], *(found["interval"] or ("", "")), found["p"], found.get("p_holm", "")]
            told += [row["verdict"], found["identical"]]
        numbers = [row[column] for column in scores]
        writer.writerow([row["variant"], row["changed"], " ".join(map(str, row["seeds"])), *numbers, *ends, *told])
    return file.getvalue()
