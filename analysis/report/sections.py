"""Make the sections about one run: turn its facts into parts of a document."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from analysis.plots import (
    Curve,
    Row,
    draw_svg,
    loss_curves,
    plot_bins,
    plot_curves,
    plot_intervals,
    plot_risk,
    points_of,
    score_curves,
    values_of,
)
from analysis.report.document import Beside, Cell, Figure, Folded, Heading, Paragraph, Part, Picture, Table, Warnings
from analysis.report.runs import Run, interval_of, is_interval
from analysis.report.statements import (
    SCORES,
    best_epoch,
    chance,
    how_to_get,
    list_contents,
    number,
    number_table,
    option_text,
    percent,
    resampling,
    selecting_score,
    span,
    tasks_of,
    video_table,
)
from utils.config import flag_of
from utils.json_files import is_number
from utils.text import plural

LOSS_NOTE = (
    "The validation loss is the plain cross entropy of the logits that are scored. The training loss also has the "
    "weights, adjustments and further terms of the method."
)
VIDEO_SCORES = {"va_ccc": "VA CCC", "expr_f1": "expression F1", "au_f1": "AU F1", "score": "mean"}
TAGS = {"surest": "most confident", "worst": "least likely truth", "class": "top of its class"}  # of mistakes


@dataclass(frozen=True)
class OptionFacts:
    """Facts about options for a report: defaults, and which options change no result."""

    defaults: dict[str, Any]
    unimportant: frozenset[str]
    differing: Callable[[dict[str, Any]], dict[str, Any]]  # returns a run's options that differ from the defaults


def warning_part(items: list[tuple[str, str]], otherwise: str) -> Part:
    return Warnings(items) if items else Paragraph(otherwise)


def run_parts(run: Run, level: int, pictures: int, options: OptionFacts) -> list[Part]:
    """Return all parts about a run except its warnings, with at most ``pictures`` pictures of mistakes."""
    kinds = {"classes": class_parts, "numbers": number_parts, "long videos": video_parts, "other": other_parts}
    parts = kinds[run.kind](run, level)
    if curves := curve_figures(run):
        best, score, note = best_epoch(run), selecting_score(run), []
        if best:
            reason = f", the best by {score}," if score else ""
            note = [Paragraph(f"The weights of epoch {best[0]} of {best[1]}{reason} were kept (dashed line).")]
        losses = {key for row in run.history for key in row} & {"val/loss", "test/loss"}
        note += [Paragraph(LOSS_NOTE)] if losses and run.kind == "classes" else []
        parts += [Heading(level, "Training"), *note, Beside(curves)]
    if run.kind == "classes":
        parts += calibration_parts(run, level) + mistake_parts(run, level, pictures)
    return parts + setting_parts(run, level, options)


# -- scores of classes ----------------------------------------------------------------------------------------------


def class_parts(run: Run, level: int) -> list[Part]:
    rows = [(title, run.metrics[name], interval_of(run, name)) for name, title in SCORES.items() if name in run.metrics]
    caption = f"Scores on {run.split}, in percent"
    parts = [
        Heading(level, "Scores"),
        score_figure(rows, 100.0, caption, resampling(run) or "No intervals", chance(run)),
        score_table(run),
    ]
    if run.members:
        parts.append(member_table(run))
    if "confusion" in run.metrics:  # a series over seeds has none, but each of its runs has
        parts += [Heading(level, "Confusion"), confusion_table(run.metrics, "clips")]
    return [*parts, Heading(level, "Classes"), recall_table(run)]


def score_figure(rows: list[Row], top: float, caption: str, details: str, guess: float | None = None) -> Figure:
    """Return a figure of scores from 0 to ``top`` with their intervals; a screen reader gets the numbers."""
    digits = 1 if top == 100 else 3
    scores = [f"{name} {value:z.{digits}f}" + (f", {span(b, digits)}" if b else "") for name, value, b in rows]
    drawing = draw_svg(f"{caption}: {'; '.join(scores)}", plot_intervals, rows, top, guess)
    return Figure(drawing, caption, details)


def score_table(run: Run) -> Table:
    meaning = {
        "uar": "mean recall of the classes",
        "war": "share of clips classified correctly",
        "macro_f1": "mean F1 of the classes",
    }
    rows = []
    for name, title in SCORES.items():
        rows.append([title, percent(run.metrics.get(name), 2), span(interval_of(run, name), 2), meaning[name]])
    withheld = run.metrics.get("abstain") or {}
    if is_number(withheld.get("coverage")):  # from 0 to 1, as its interval
        bounds = withheld.get("intervals") or {}
        coverage = [100 * bound for bound in bounds.get("coverage") or []]
        uar, uar_bounds = percent(withheld.get("uar"), 2), span(bounds.get("uar"), 2)
        why = f"answers with a confidence of at least {withheld.get('threshold')}"
        rows.append(["answered", percent(100 * withheld["coverage"], 2), span(coverage, 2), why])
        rows.append(["UAR of these", uar, uar_bounds, "without the withheld answers"])
    return Table("Scores of all clips", ["score", "value", "95 % interval", "what it is"], rows)


def member_table(run: Run) -> Table:
    metrics = run.metrics
    rows = [[name, *(number(scores.get(key), 2) for key in SCORES)] for name, scores in run.members.items()]
    if is_number(metrics.get("uar_mean")):
        spread = [f"{number(metrics.get(f'{key}_mean'), 2)} ± {number(metrics.get(f'{key}_sd'), 2)}" for key in SCORES]
        rows.append(["mean ± sd", *spread])
    if ensemble := metrics.get("ensemble"):
        rows.append(["all models together", *(number(ensemble.get(key), 2) for key in SCORES)])
    summary = "means over these runs" if "seeds" in metrics else "predictions of all runs scored together"
    return Table(f"Runs of the series (the scores above are {summary})", ["run", *SCORES.values()], rows)


def confusion_table(metrics: dict[str, Any], unit: str) -> Table:
    """Return the confusion matrix: a cell has the share of its row, which is a true class, and the count."""
    names, rows = metrics["classes"], []
    for name, counts in zip(names, metrics["confusion"], strict=True):
        total = sum(counts)
        cells = [
            Cell(f"{percent(100 * n / total)} ({n})", n / total) if n else Cell("0" if total else "–") for n in counts
        ]
        rows.append([f"{name} ({total})", *cells])
    caption = f"Rows: true class (number of {unit}). Columns: predicted class. Cells: share of the row ({unit})"
    return Table(caption, ["true ↓ predicted →", *names], rows, "grid")


def recall_table(run: Run) -> Table:
    has_f1 = any(is_number(row.get("f1")) for row in run.metrics["per_class"].values())
    head = ["class", "recall", "95 % interval", "0 – 50 – 100 %", *(["F1", "interval of F1"] if has_f1 else [])]
    rows = []
    for name, row in run.metrics["per_class"].items():
        cells: list[Any] = [name, percent(row.get("recall")), span(row.get("interval"))]
        cells.append(bar_cell(row.get("recall"), row.get("interval"), 100))
        if has_f1:
            cells += [percent(row.get("f1")), span(row.get("f1_interval"))]
        worth = f"{100 / row['support'] / run.present:.2f}" if row["support"] else "absent"
        rows.append([*cells, str(row["support"]), worth])
    return Table("Recall of each class", [*head, "clips", "UAR points per clip"], rows)


def bar_cell(value: Any, bounds: Any, top: float) -> Cell:
    """Return a cell that draws a score from 0 to ``top``."""
    if not is_number(value):
        return Cell("")
    return Cell("", bar=(100 * value / top, [100 * b / top for b in bounds] if is_interval(bounds) else None))


# -- scores of numbers, long videos and others ----------------------------------------------------------------------


def number_parts(run: Run, level: int) -> list[Part]:
    parts: list[Part] = [Heading(level, "Scores"), Table("Agreement", *number_table(run, with_mean=True))]
    parts += [Paragraph(f"{resampling(run)}.")] if resampling(run) else []
    if picture := run.picture("agreement.png"):
        scores = [
            f"{name}: Pearson {number(row.get('pearson'), 2)}, CCC {number(row.get('ccc'), 2)}"
            for name, row in run.metrics["targets"].items()
        ]
        description = f"Predicted over true values, one panel per target: {'; '.join(scores)}"
        parts.append(Picture(picture, description, "Predicted over true"))
    return parts


def video_parts(run: Run, level: int) -> list[Part]:
    tasks, rows = tasks_of(run), []
    for task, (title, main) in tasks.items():
        if is_number(value := run.metrics[task].get(main)):
            rows.append((title.split(",")[0], value, interval_of(run, task)))
    parts: list[Part] = [Heading(level, "Scores")]
    if rows and all(value >= 0 for _, value, _ in rows):
        details = resampling(run) or "No intervals"
        parts.append(score_figure(rows, 1.0, "Main number of each task, from 0 to 1", details))
    parts.append(Table("Scores of all labelled frames", *video_table(run)))
    if "va" in tasks:
        pairs = []
        for name in ("valence", "arousal"):
            ccc, bounds = run.metrics["va"].get(f"ccc_{name}"), run.intervals.get(f"va_ccc_{name}")
            pairs.append([name, number(ccc), span(bounds, 3)])
        parts.append(Table("Concordance", ["dimension", "CCC", "95 % interval"], pairs))
    for task, unit in (("expr", "expression"), ("au", "action unit")):
        if task in tasks and run.metrics[task].get("per_class"):
            parts.append(f1_table(run.metrics[task]["per_class"], unit))
    if "expr" in tasks and {"confusion", "classes"} <= run.metrics["expr"].keys():
        parts += [Heading(level, "Confusion of expressions"), confusion_table(run.metrics["expr"], "frames")]
    if picture := run.picture("timeline.png"):
        scores = "; ".join(f"{name} {value:z.3f}" for name, value, _ in rows)
        description = f"Labels and predictions over time of the first validation videos, one panel per task; {scores}"
        parts += [Heading(level, "Videos over time"), Picture(picture, description, "Labels and predictions over time")]
    return parts


def f1_table(per_class: dict[str, dict[str, Any]], unit: str) -> Table:
    rows = []
    for name, row in per_class.items():
        bounds, support = row.get("f1_interval"), str(row.get("support", "–"))
        rows.append([name, number(row.get("f1")), span(bounds, 3), bar_cell(row.get("f1"), bounds, 1.0), support])
    return Table(f"F1 of each {unit}", [unit, "F1", "95 % interval", "0 – 0.5 – 1", "frames"], rows)


def other_parts(run: Run, level: int) -> list[Part]:
    metrics = run.metrics
    if run.members:  # mean and spread over seeds
        names = [name.removesuffix("_mean") for name in metrics if name.endswith("_mean")]
        rows = [[name, number(metrics[f"{name}_mean"]), number(metrics.get(f"{name}_sd"))] for name in names]
        table = Table(f"Scores over {len(run.members)} runs", ["name", "mean", "standard deviation"], rows)
    else:
        rows = [[name, number(value)] for name, value in metrics.items() if is_number(value)]
        table = Table("Numbers in metrics.json", ["name", "value"], rows)
    return [Heading(level, "Scores"), table]


# -- training -------------------------------------------------------------------------------------------------------


def curve_figures(run: Run) -> list[Figure]:
    """Return the curves of losses, and of recalls or the main numbers of long videos; none if nothing was trained."""
    figures = [curve_figure(run, "Loss", loss_curves(run.history), "loss", None)]
    if run.kind == "long videos":
        names = {f"val/{name}": title for name, title in VIDEO_SCORES.items()}
        curves = [Curve(title, points_of(run.history, key), hue) for hue, (key, title) in enumerate(names.items())]
        curves = [curve for curve in curves if curve.points]
        top = 1.0 if min(values_of(curves), default=0) >= 0 else None
        figures.append(curve_figure(run, "Scores", curves, "score", top))
    else:
        figures.append(curve_figure(run, "Recall", score_curves(run.history), "percent", 100.0))
    return [figure for figure in figures if figure is not None]


def curve_figure(run: Run, title: str, curves: list[Curve], unit: str, top: float | None) -> Figure | None:
    """Return the figure of curves, or None without any. Its description has the first and last values."""
    if not curves:
        return None
    changes = "; ".join(f"{c.name} from {c.points[0][1]:.3g} to {c.points[-1][1]:.3g}" for c in curves)
    epochs = len({epoch for curve in curves for epoch, _ in curve.points})
    best = best_epoch(run)
    description = f"{title} over {epochs} epochs: {changes}"
    drawing = draw_svg(description, plot_curves, curves, unit, top, best[0] if best else None, selecting_score(run))
    return Figure(drawing, title, f"{changes}.", run.picture("curves.png") if title == "Loss" else None)


# -- calibration and mistakes ---------------------------------------------------------------------------------------


def calibration_parts(run: Run, level: int) -> list[Part]:
    calibration, curve = run.metrics.get("calibration") or {}, run.metrics.get("risk_coverage") or {}
    if not calibration and not curve:
        return [Heading(level, "Calibration"), Paragraph(f"The run folder has no calibration.{how_to_get(run)}")]
    fitted = f"fitted on {calibration['fitted_on']}" if calibration.get("fitted_on") else "not fitted"
    raw = (calibration.get("raw") or {}).get("ece")
    rows = [
        [
            "expected calibration error",
            percent(calibration.get("ece"), 2),
            "mean gap between confidence and accuracy; lower is better",
        ],
        ["without the temperature", percent(raw, 2), "calibration error of the uncalibrated probabilities"],
        ["negative log-likelihood", number(calibration.get("nll")), "of the true class; lower is better"],
        ["Brier score", number(calibration.get("brier")), "squared error of the probabilities; lower is better"],
        ["temperature", number(calibration.get("temperature", 1.0)), f"divides the logits; {fitted}"],
        ["area under risk–coverage", number(curve.get("aurc")), "mean risk over all coverages; lower is better"],
    ]
    rows = [row for row in rows if row[1] != "–"]
    return [
        Heading(level, "Calibration"),
        Beside([*reliability_figure(calibration.get("bins") or []), *risk_figure(curve)]),
        Table("Calibration", ["measure", "value", "what it is"], rows),
    ]


def reliability_figure(bins: list[dict[str, Any]]) -> list[Figure]:
    filled = [row for row in bins if row["count"] and None not in (row["confidence"], row["accuracy"])]
    if not filled:
        return []
    numbers = "; ".join(
        f"confidence {100 * row['confidence']:.0f} %: {100 * row['accuracy']:.0f} % correct, "
        f"{plural(row['count'], 'clip')}"
        for row in filled
    )
    details = (
        "Bars: accuracy in each bin of confidence, with the number of clips. Dots: mean confidence of the bin. "
        "Dashed: perfect calibration. Below it: overconfident."
    )
    return [Figure(draw_svg(f"Reliability. {numbers}", plot_bins, filled), "Reliability", details)]


def risk_figure(curve: dict[str, Any]) -> list[Figure]:
    coverage, risk = curve.get("coverage") or [], curve.get("risk") or []
    if not coverage or len(coverage) != len(risk):
        return []
    half = min(range(len(coverage)), key=lambda i: abs(coverage[i] - 0.5))
    numbers = f"{100 * risk[-1]:.1f} % wrong of all clips, {100 * risk[half]:.1f} % of the more confident half"
    drawing = draw_svg(f"Risk over coverage: {numbers}", plot_risk, curve)
    return [
        Figure(drawing, "Risk over coverage", f"Error rate if only the most confident answers are given: {numbers}.")
    ]


def mistake_parts(run: Run, level: int, pictures: int) -> list[Part]:
    parts: list[Part] = [Heading(level, "Mistakes")]
    if not run.mistakes:
        confusion = run.metrics.get("confusion")
        all_right = confusion is not None and sum(map(sum, confusion)) == sum(row[i] for i, row in enumerate(confusion))
        missing = f"The run folder has no mistakes/.{how_to_get(run)}"
        return [*parts, Paragraph("All clips were classified correctly." if all_right else missing)]
    if strips := [mistake_picture(mistake) for mistake in run.mistakes if mistake.get("file")][:pictures]:
        text = "Most confident first. Four of the frames that the model saw, face above context."
        return [*parts, Paragraph(text), Beside(strips, is_gallery=True)]
    rows = [
        [row["clip"], row["label"], row["predicted"], percent(100 * row["confidence"]), percent(100 * row["p_true"])]
        for row in run.mistakes
    ]
    head = ["clip", "true", "predicted", "confidence", "probability of the true class"]
    return [*parts, Table("Mistakes, most confident first, without pictures", head, rows)]


def mistake_picture(mistake: dict[str, Any]) -> Picture:
    clip, label = mistake["clip"], mistake["label"]
    name = (mistake.get("person") or "").rpartition("/")[2]  # in some sets a person is the name of a folder
    person = f" of person {name}" if name else ""
    confusion = f"{label} predicted as {mistake['predicted']}"
    confidence = percent(100 * mistake["confidence"], 0)
    description = f"Clip {clip}{person}: {confusion} with {confidence} confidence; frames, face above context"
    tags = " · ".join(TAGS.get(reason, reason) for reason in mistake.get("why", []))
    details = f"confidence {confidence}, {label} {percent(100 * mistake['p_true'])}" + (f"\n{tags}" if tags else "")
    if name in clip.split("/"):
        person = ""  # it is in the name of the clip
    return Picture(mistake["file"], description, confusion, f"{details}\n{clip}{person}")


# -- settings -------------------------------------------------------------------------------------------------------


def setting_parts(run: Run, level: int, options: OptionFacts) -> list[Part]:
    parts: list[Part] = [Heading(level, "Settings and data")]
    if contents := list_contents(run):
        parts.append(Table("Content of the lists", ["list", "contents"], [list(row) for row in contents], "texts"))
    head = ["option", "value"]
    if differing := option_rows(options.differing(run.options)):
        parts.append(Table("Options that differ from the defaults of the method", head, differing, "texts"))
    return [*parts, Folded("Every option", [Table("Every option", head, option_rows(run.options), "texts")])]


def option_rows(options: dict[str, Any]) -> list[list[str]]:
    return [[flag_of(name), option_text(value)] for name, value in options.items()]
