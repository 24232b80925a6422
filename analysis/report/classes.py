"""Scores, confusion and recalls of a classifier, as tables and drawings."""

from typing import Any

from analysis.report.collect import Run, is_number
from analysis.report.document import Cell, Figure, Heading, Table
from analysis.report.drawings import cell_bar, whiskers
from analysis.report.words import SCORES, chance, drawn_again, interval_of, is_interval, number, percent, span, split_of


def class_parts(run: Run, level: int) -> list[Any]:
    parts = [Heading(level, "Scores"), score_figure(run), score_table(run)]
    if run.members:
        parts.append(member_table(run))
    if "confusion" in run.metrics:  # not of several seeds: their runs have one each
        parts += [Heading(level, "Confusion"), confusion_table(run.metrics, "clips")]
    return [*parts, Heading(level, "Classes"), recall_table(run)]


def score_figure(run: Run) -> Figure:
    rows = [(title, run.metrics[name], interval_of(run, name)) for name, title in SCORES.items() if name in run.metrics]
    said = "; ".join(f"{title} {value:.1f}" + (f", {span(bounds)}" if bounds else "") for title, value, bounds in rows)
    caption = f"Scores on {split_of(run)}, in percent"
    drawing = whiskers(rows, 100.0, chance(run), f"{caption}: {said}")
    return Figure(drawing, caption, drawn_again(run) or "No intervals are stored with these scores")


def score_table(run: Run) -> Table:
    meaning = {
        "uar": "mean of the classes' recalls",
        "war": "share of all clips that is right",
        "macro_f1": "mean of the classes' F1",
    }
    rows: list[list[Any]] = [
        [title, percent(run.metrics.get(name), 2), span(interval_of(run, name), 2), meaning[name]]
        for name, title in SCORES.items()
    ]
    rows += withheld_rows(run.metrics.get("abstain") or {})
    return Table("Scores of all clips", ["score", "value", "95 % interval", "what it is"], rows)


def withheld_rows(stored: dict[str, Any]) -> list[list[str]]:
    """Of ``--abstain``; the coverage is stored from 0 to 1."""
    if not is_number(stored.get("coverage")):
        return []
    bounds, why = stored.get("intervals") or {}, f"answers with a confidence of at least {stored.get('threshold')}"
    drawn = bounds.get("coverage")
    return [
        ["answered", percent(100 * stored["coverage"], 2), span(drawn and [100 * b for b in drawn], 2), why],
        ["UAR of these", percent(stored.get("uar"), 2), span(bounds.get("uar"), 2), "the unsure answers withheld"],
    ]


def member_table(run: Run) -> Table:
    rows = [[name, *(number(one.get(key), 2) for key in SCORES)] for name, one in run.members.items()]
    if is_number(run.metrics.get("uar_mean")):
        spread = [
            f"{number(run.metrics.get(f'{k}_mean'), 2)} ± {number(run.metrics.get(f'{k}_sd'), 2)}" for k in SCORES
        ]
        rows.append(["mean ± sd", *spread])
    together = run.metrics.get("ensemble")
    if together:
        rows.append(["all models together", *(number(together.get(key), 2) for key in SCORES)])
    above = "their means" if "seeds" in run.metrics else "their predictions scored together"
    return Table(f"The runs of the series; above, {above}", ["run", *SCORES.values()], rows)


def confusion_table(metrics: dict[str, Any], unit: str) -> Table:
    """Rows are true classes; a cell tells the share of its row and the count."""
    names, rows = metrics["classes"], []
    for name, counts in zip(names, metrics["confusion"], strict=True):
        total = sum(counts)
        cells = [
            Cell(f"{100 * n / total:.1f} % ({n})", n / total) if n else Cell("0" if total else "–") for n in counts
        ]
        rows.append([f"{name} ({total})", *cells])
    caption = f"Of each true class (a row, with its {unit}): the share and number taken for each class"
    return Table(caption, ["true ↓  taken for →", *names], rows, is_grid=True)


def recall_table(run: Run) -> Table:
    present = len(run.metrics["classes"]) - len(run.metrics.get("absent_classes", []))
    has_f1 = any(is_number(row.get("f1")) for row in run.metrics["per_class"].values())
    head = ["class", "recall", "95 % interval", "0 – 50 – 100 %", *(["F1", "interval of F1"] if has_f1 else [])]
    rows = []
    for name, row in run.metrics["per_class"].items():
        cells: list[Any] = [name, percent(row.get("recall")), span(row.get("interval")), bar_cell(row)]
        if has_f1:
            cells += [percent(row.get("f1")), span(row.get("f1_interval"))]
        worth = f"{100 / row['support'] / present:.2f}" if row["support"] else "absent"
        rows.append([*cells, str(row["support"]), worth])
    return Table("Recall of each class", [*head, "clips", "one clip = UAR points"], rows)


def bar_cell(row: dict[str, Any]) -> Cell:
    if not is_number(row.get("recall")):
        return Cell("")
    bounds = row.get("interval")
    return Cell("", drawing=cell_bar(row["recall"], bounds if is_interval(bounds) else None))
