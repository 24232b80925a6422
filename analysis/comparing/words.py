"""Two models on the same clips in numbers and in words: difference, McNemar, classes, the clips that flipped."""

import csv
import io
from typing import Any

import numpy as np

from analysis.bootstrap import SAME
from analysis.comparing.paired import SCORES, Difference, Pair, mcnemar
from analysis.intervals import Groups
from analysis.metrics import shown
from utils.runlog import RunLog

TITLES = {"uar": "UAR", "war": "WAR", "macro_f1": "macro F1"}
LISTED = 20  # flipped clips on the screen and in the Markdown; all are in flips.csv
Flip = dict[str, str]


def compare_models(
    names: tuple[str, ...],
    ids: list[str],
    label: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    groups: Groups | None,
    same_seeds: bool,
) -> dict[str, Any]:
    """``one``, ``other``: (S, N) predictions, a row a seed."""
    pair = Pair(label, one, other, groups, len(names), same_seeds)
    scores = {name: {"a": pair.scores(name)[0], "b": pair.scores(name)[1]} for name in SCORES}
    for name in SCORES:
        scores[name] |= pair.difference(name).as_dict()
    per_class = {}
    for c, name in enumerate(names):
        here = label == c
        recalls = [100 * float((model[:, here] == c).mean()) if here.any() else None for model in (one, other)]
        per_class[name] = {"support": int(here.sum()), "a": recalls[0], "b": recalls[1]}
        per_class[name] |= pair.recall_difference(c).as_dict()
    found = {
        "clips": len(ids),
        "resampled": None if groups is None else groups.resampled,
        "groups": None if groups is None else groups.count,
        "scores": scores,
        "per_class": per_class,
        "verdict": verdict(pair.difference("uar"), groups),
        "identical": pair.is_identical,
        "mcnemar": None,
        "flips": [],
    }
    if len(one) == len(other) == 1:  # which of several seeds' answers is a clip's?
        found |= flips_of(names, ids, label, one[0], other[0])
    return found


def verdict(uar: Difference, groups: Groups | None) -> str:
    """One plain sentence."""
    if uar.identical:
        return "The two give identical predictions: not one clip differs."
    if uar.interval is None:
        why = "--ci off" if groups is None else f"two {groups.resampled} or more are needed"
        return f"UAR differs by {uar.value:+.1f}; without an interval ({why}) nobody can say whether that is noise."
    if max(map(abs, uar.interval)) < SAME:
        return "UAR is the same whoever is drawn: nothing tells the two apart, though answers differ."
    if uar.is_beyond_noise:
        return f"The difference of {uar.value:+.1f} UAR is beyond noise at 95 % {shown(uar.interval)}."
    if uar.interval[0] <= 0 <= uar.interval[1]:
        return (
            f"The difference of {uar.value:+.1f} UAR is within noise: its 95 % interval {shown(uar.interval)} holds 0."
        )
    few = f"the two differ for {uar.differing} of {groups.count} {groups.resampled}, too few (p {uar.p:.2f})"
    return f"The difference of {uar.value:+.1f} UAR cannot be told from noise: {few}."


def flips_of(
    names: tuple[str, ...], ids: list[str], label: np.ndarray, one: np.ndarray, other: np.ndarray
) -> dict[str, Any]:
    """McNemar's test on the clips that one alone has right, and every clip whose answer changed."""
    right, right_now = one == label, other == label
    lost, won = int((right & ~right_now).sum()), int((~right & right_now).sum())
    kinds = {(True, False): "right to wrong", (False, True): "wrong to right", (False, False): "wrong to wrong"}
    flips = [
        {
            "clip": ids[row],
            "label": names[label[row]],
            "a": names[one[row]],
            "b": names[other[row]],
            "flip": kinds[bool(right[row]), bool(right_now[row])],
        }
        for row in np.flatnonzero(one != other)
    ]
    order = {kind: place for place, kind in enumerate(kinds.values())}
    return {
        "mcnemar": {"a_alone_right": lost, "b_alone_right": won, "p": mcnemar(lost, won)},
        "flips": sorted(flips, key=lambda flip: order[flip["flip"]]),
    }


def write_comparison(log: RunLog, found: dict[str, Any]) -> dict[str, Any]:
    """``comparison.json``, ``comparison.md``, ``flips.csv``, and the same on the screen."""
    log.write_json("comparison.json", found)
    log.write_text("comparison.md", as_markdown(found))
    if found["mcnemar"] is not None:
        log.write_text("flips.csv", as_csv(found["flips"]))
    log.say(as_text(found))
    log.say(f"folder: {log.folder}")
    return found


def score_rows(found: dict[str, Any]) -> list[list[str]]:
    rows = [["", "A", "B", "B - A", "95 %", "p"]]
    for name, title in TITLES.items():
        rows.append([title, *_numbers(found["scores"][name])])
    for name, values in found["per_class"].items():
        rows.append([f"recall of {name} ({values['support']})", *_numbers(values)])
    return rows


def _numbers(values: dict[str, Any]) -> list[str]:
    if values["value"] is None:
        return ["absent", "absent", "", "", ""]
    p = "" if values["p"] is None else f"{values['p']:.3f}"
    return [f"{values['a']:.2f}", f"{values['b']:.2f}", f"{values['value']:+.2f}", shown(values["interval"]), p]


def flip_rows(found: dict[str, Any]) -> list[list[str]]:
    listed = [[flip[name] for name in ("clip", "label", "a", "b", "flip")] for flip in found["flips"][:LISTED]]
    return [["clip", "label", "A says", "B says", ""], *listed]


def told(found: dict[str, Any]) -> list[str]:
    """What the tables do not say."""
    lines = []
    if found["groups"]:
        seeds = " and seeds" if any(found["seeds"]) else ""
        apart = ", the seeds of each by themselves" if seeds and found["seeds"][0] != found["seeds"][1] else ""
        lines.append(f"95 % intervals of the differences: {found['groups']} {found['resampled']}{seeds} drawn again, "
                     f"the same for both{apart}")  # fmt: skip
    test = found["mcnemar"]
    if test is None:
        lines.append("McNemar and flipped clips are of single runs: compare two seeds' folders for them")
    else:
        lines.append(
            f"McNemar, exact: A alone has {test['a_alone_right']} clips right, B alone {test['b_alone_right']}, "
            f"p {test['p']:.3g} (takes clips as independent; clips of one person are not)"
        )
        wrong = len(found["flips"]) - test["a_alone_right"] - test["b_alone_right"]
        lines.append(
            f"{len(found['flips'])} answers changed: {test['a_alone_right']} right to wrong, "
            f"{test['b_alone_right']} wrong to right, {wrong} wrong to wrong"
        )
    return lines


def more_flips(found: dict[str, Any]) -> str:
    return f"and {len(found['flips']) - LISTED} more in flips.csv" if len(found["flips"]) > LISTED else ""


def as_text(found: dict[str, Any]) -> str:
    lines = [f"A: {found['runs'][0]}", f"B: {found['runs'][1]}", f"{found['clips']} clips", ""]
    lines += [f"warning: {line}" for line in found["warnings"]]
    lines += aligned(score_rows(found)) + ["", *told(found)]
    if found["flips"]:
        lines += ["", *aligned(flip_rows(found)), more_flips(found)]
    if found["options"]:
        options = [[flag, *values] for flag, values in found["options"].items()]
        lines += ["", *aligned([["what differs", "A", "B"], *options])]
    return "\n".join([*lines, "", found["verdict"]])


def aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def as_markdown(found: dict[str, Any]) -> str:
    lines = ["# Two runs compared", "", f"**{found['verdict']}**", ""]
    lines += [f"- A: `{found['runs'][0]}`", f"- B: `{found['runs'][1]}`", f"- {found['clips']} clips", ""]
    lines += [f"> {line}\n" for line in found["warnings"]]
    lines += [*table(score_rows(found)), "", *(f"- {line}" for line in told(found))]
    if found["options"]:
        options = [[f"`{flag}`", *values] for flag, values in found["options"].items()]
        lines += ["", "## What differs in the options", "", *table([["option", "A", "B"], *options])]
    if found["flips"]:
        lines += ["", "## Clips that flipped", "", *table(flip_rows(found)), "", more_flips(found)]
    return "\n".join(lines).rstrip() + "\n"


def table(rows: list[list[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [
        f"| {' | '.join(cells[0])} |",
        "|" + "---|" * len(rows[0]),
        *(f"| {' | '.join(row)} |" for row in cells[1:]),
    ]


def as_csv(flips: list[Flip]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["clip", "label", "a", "b", "flip"])
    writer.writerows([flip[name] for name in ("clip", "label", "a", "b", "flip")] for flip in flips)
    return file.getvalue()
