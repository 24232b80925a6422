"""The table of an ablation: every variant compared with the base, paired over persons and seeds.

It is written as ``ablation.json``, and from its rows as Markdown, CSV, text and a picture.
"""

import csv
import io
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.intervals import Groups, groups_of
from analysis.metrics import brackets
from analysis.paired import ALPHA, SCORES, Pair, holm, mean_intervals, sd
from engine.options import Config
from sweep.plan import BASE
from sweep.scores import FinishedRun, require_same_clips
from utils.runlog import RunLog
from utils.text import markdown_table, plural, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADER = ("variant", "UAR", "95 %", "difference", "95 %", "p", "p (Holm)", "beyond noise", "WAR", "macro F1")
LONGEST_LINE = 34  # letters of a variant's name in the picture; more are wrapped
COLOURS = {"yes": "tab:blue", "if tried alone": "#8fbfe0", "no": "0.45"}  # by verdict
Row = dict[str, Any]  # of ablation.json


def write_table(log: RunLog, finished: list[FinishedRun], omissions: list[str], config: Config) -> dict[str, Any]:
    """Write ``ablation.json``, ``.md``, ``.csv`` and ``.png``; ``omissions``: variants that are not in it."""
    require_same_clips(finished, ", so they cannot be compared")
    first = finished[0]
    clips = len(first.predictions.ids)
    groups = groups_of(first.predictions.ids, first.predictions.persons, config.results.ci)
    rows = make_rows(finished, groups)
    notes = notes_on(rows, groups, clips)
    ablation = {
        "rows": rows,
        "notes": notes,
        "left_out": omissions,
        "split": first.metrics["split"],
        "selected_on": first.metrics["selected_on"],
        "clips": clips,
        "runs": {
            str(f.folder): {
                "variant": f.run.variant.name,
                "folder": f.run.variant.folder,
                "seed": f.run.flags["seed"],
                "reused": f.reused,
            }
            for f in finished
        },
    }
    log.write_json("ablation.json", ablation)
    log.write_text("ablation.csv", as_csv(rows))
    log.write_text("ablation.md", as_markdown(ablation, config.run.exper_name))
    if len(rows) > 1 and groups is not None:
        from analysis.plots import save

        save(draw_differences(rows, groups.resampled), log.folder / "ablation.png")
    log.say("\n" + "\n".join(text_table([HEADER, *map(cells, rows)])))
    for line in [*notes, *omissions]:
        log.say(line)
    reused = sum(result.reused for result in finished)
    trained = plural(len(finished) - reused, "run")
    log.say(f"{trained} trained, {reused} reused; table: {log.folder / 'ablation.md'}")
    return ablation


def make_rows(finished: list[FinishedRun], groups: Groups | None) -> list[Row]:
    """Return a row for each variant, the base first. Each is compared with the base's runs of the same seeds."""
    names, label = finished[0].predictions.names, finished[0].predictions.label
    variants: dict[str, list[FinishedRun]] = {}
    for result in finished:
        variants.setdefault(result.run.variant.name, []).append(result)
    base = {result.run.flags["seed"]: result.predictions.predicted for result in next(iter(variants.values()))}
    rows = []
    for results in variants.values():
        variant, seeds = results[0].run.variant, [result.run.flags["seed"] for result in results]
        predicted = np.stack([result.predictions.predicted for result in results])  # (S, N)
        scores = {name: [result.metrics[name] for result in results] for name in SCORES}
        row = {
            "variant": variant.name,
            "changed": variant.changed_flags,
            "seeds": seeds,
            **{name: float(np.mean(scores[name])) for name in SCORES},
            **{f"{name}_sd": sd(scores[name]) for name in SCORES},
            "intervals": mean_intervals(label, predicted, groups, len(names)),
            "runs": [str(result.folder) for result in results],
        }
        if variant is not BASE:
            pair = Pair(label, np.stack([base[seed] for seed in seeds]), predicted, groups, len(names))
            row["difference"] = {name: pair.difference(name).as_dict() for name in SCORES}
        rows.append(row)
    tested = [row["difference"]["uar"] for row in rows[1:] if row["difference"]["uar"]["p"] is not None]
    for difference, p in zip(tested, holm([difference["p"] for difference in tested]), strict=True):
        difference["p_holm"] = p
    for row in rows[1:]:
        row["verdict"] = verdict(row)
    return rows


def verdict(row: Row) -> str:
    """Return whether the UAR of a variant differs from the base beyond noise: ``yes``, ``no`` and so on."""
    difference = row["difference"]["uar"]
    if difference["verdict"] == "yes" and difference["p_holm"] > ALPHA:
        return "if tried alone"
    return difference["verdict"]


def notes_on(rows: list[Row], groups: Groups | None, clips: int) -> list[str]:
    """Return notes that a reader needs to judge the table."""
    seeds = min(len(row["seeds"]) for row in rows)
    spread = f", mean ± standard deviation over {seeds} seeds" if seeds > 1 else ""
    notes = [f"Scores on {clips} clips in percent{spread}; differences to the base."]
    if groups is not None:
        pairing = "; for differences also over seeds, each run paired with the base's run of its seed"
        notes.append(f"Intervals: bootstrap over the {groups.count} {groups.resampled}{pairing if seeds > 1 else ''}.")
        notes += [f"warning: {doubt}" for doubt in groups.doubts()]
    if seeds == 1:
        notes.append("warning: one seed: differences cannot be distinguished from the noise of training (--seeds 3)")
    elif len(rows) > 2:
        notes.append(
            f"{len(rows) - 1} variants were tried: by chance one in twenty differs beyond its interval; p (Holm) "
            f"corrects for that."
        )
    return notes


def cells(row: Row) -> list[str]:
    """Return the text of a row, one cell for each column of ``HEADER``."""
    difference = row.get("difference", {}).get("uar")
    if difference is None:
        comparison = [""] * 5
    elif difference["identical"]:
        comparison = ["0", "", "", "", row["verdict"]]
    else:
        p = [f"{difference[name]:.3f}" if difference.get(name) is not None else "" for name in ("p", "p_holm")]
        comparison = [f"{difference['value']:+.1f}", brackets(difference["interval"]), *p, row["verdict"]]
    scores = []
    for name in SCORES:
        deviation = row[f"{name}_sd"]
        scores.append(f"{row[name]:.1f}" if deviation is None else f"{row[name]:.1f} ± {deviation:.1f}")
    return [row["variant"], scores[0], brackets(row["intervals"]["uar"]), *comparison, *scores[1:]]


def as_markdown(ablation: dict[str, Any], title: str) -> str:
    rows, notes = ablation["rows"], [*ablation["notes"], *ablation["left_out"]]
    lines = [
        f"# {title}: ablation",
        "",
        f"Measured on {ablation['split']}, epochs selected on {ablation['selected_on']}.",
        "",
        *markdown_table(HEADER, [cells(row) for row in rows]),
        "",
        *(f"- {note}" for note in notes),
        "",
        *markdown_table(
            ("variant", "what it changes"), [[row["variant"], f"`{row['changed'] or 'nothing'}`"] for row in rows]
        ),
    ]
    return "\n".join(lines) + "\n"


def as_csv(rows: list[Row]) -> str:
    """Return one line per row, with plain numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    scores = [column for name in SCORES for column in (name, f"{name}_sd")]
    bounds = [f"{name}_{end}" for name in SCORES for end in ("low", "high")]
    comparison = ("difference", "difference_low", "difference_high", "p", "p_holm", "beyond_noise", "identical")
    writer.writerow(["variant", "changed", "seeds", *scores, *bounds, *comparison])
    for row in rows:
        ends = [end for name in SCORES for end in row["intervals"][name] or ("", "")]
        values = [""] * len(comparison)
        if difference := row.get("difference", {}).get("uar"):
            values = [difference["value"], *(difference["interval"] or ("", "")), difference["p"]]
            values += [difference.get("p_holm", ""), row["verdict"], difference["identical"]]
        numbers = [row[column] for column in scores]
        writer.writerow([row["variant"], row["changed"], " ".join(map(str, row["seeds"])), *numbers, *ends, *values])
    return file.getvalue()


def draw_differences(rows: list[Row], resampled: str) -> "Figure":
    """Return a picture: for each variant its difference to the base with its 95 % interval, the largest loss on top."""
    import matplotlib.pyplot as plt

    base, variants = rows[0], sorted(rows[1:], key=lambda row: row["difference"]["uar"]["value"], reverse=True)
    names = ["\n".join(textwrap.wrap(row["variant"], LONGEST_LINE)) for row in variants]
    height = max(0.42, 0.16 * max(name.count("\n") + 1 for name in names) + 0.1)  # inches of a row
    figure, axes = plt.subplots(figsize=(8, 1.7 + height * len(variants)), dpi=150, layout="constrained")
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # so that no line crosses a number
    for y, row in enumerate(variants):
        difference, colour = row["difference"]["uar"], COLOURS.get(row["verdict"], "0.6")
        value, text = difference["value"], f"{difference['value']:+.1f}"
        if difference["identical"]:
            text = "identical predictions"
        elif difference["interval"] is not None:
            axes.plot(difference["interval"], [y, y], color=colour, linewidth=2.2, solid_capstyle="round")
        axes.plot(value, y, "o", color=colour, markersize=7, zorder=3)
        axes.annotate(text, (value, y), (0, 8), textcoords="offset points", ha="center", fontsize=8, bbox=box)
    axes.axvline(0, color="0.2", linewidth=1)
    axes.set_yticks(range(len(variants)), names)
    axes.set_ylim(-0.6, len(variants) - 0.2)
    axes.grid(axis="x", alpha=0.3)
    seeds = len(base["seeds"])
    units = f"{resampled} and seeds" if seeds > 1 else resampled
    # Label and title belong to the whole figure: long names leave the axes too narrow for them.
    figure.supxlabel(
        f"difference of UAR to the base ({base['uar']:.1f}), points; 95 % interval over {units}", fontsize=10
    )
    title = f"{seeds} seeds; blue: beyond noise; light: only if tried alone"
    if seeds == 1:
        title = "one seed: no difference can be distinguished from the noise of training"
    figure.suptitle(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
