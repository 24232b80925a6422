"""How far a classifier's confidence can be believed: reliability, risk over coverage."""

from typing import Any

from analysis.report.collect import Run
from analysis.report.document import Beside, Figure, Heading, Paragraph, Table
from analysis.report.drawings import reliability_bars, risk_over_coverage
from analysis.report.words import how_to_get, number, percent
from utils.words import plural


def calibration_parts(run: Run, level: int) -> list[Any]:
    stored, curve = run.metrics.get("calibration") or {}, run.metrics.get("risk_coverage") or {}
    if not stored and not curve:
        return [Heading(level, "Calibration"), Paragraph(f"This run folder holds no calibration.{how_to_get(run)}")]
    figures = [*reliability_figure(stored), *risk_figure(curve)]
    temperature = stored.get("temperature", 1.0)
    fitted = f"fitted on {stored['fitted_on']}" if stored.get("fitted_on") else "not fitted"
    values = [
        ("expected calibration error", percent(stored.get("ece"), 2), "how far confidence and accuracy lie apart"),
        ("negative log-likelihood", number(stored.get("nll")), "of the true class; lower is better"),
        ("Brier score", number(stored.get("brier")), "squared error of the probabilities; lower is better"),
        ("temperature", number(temperature), f"divides the logits; {fitted}"),
        ("area under risk–coverage", number(curve.get("aurc")), "mean risk over all coverages; lower is better"),
    ]
    raw = (stored.get("raw") or {}).get("ece")
    values.insert(1, ("error before the temperature", percent(raw, 2), "the same of the raw probabilities"))
    rows = [list(row) for row in values if row[1] != "–"]
    return [
        Heading(level, "Calibration"),
        Beside(figures),
        Table("Calibration", ["measure", "value", "what it is"], rows),
    ]


def reliability_figure(stored: dict[str, Any]) -> list[Figure]:
    bins = [
        [b.get(k) or 0 for k in ("low", "high", "count", "confidence", "accuracy")] for b in stored.get("bins") or []
    ]
    if not bins:
        return []
    scale = 100 if max(row[1] for row in bins) > 1 else 1
    shares = [(low / scale, high / scale, int(n), sure / scale, right / scale) for low, high, n, sure, right in bins]
    told = "; ".join(
        f"confidence {100 * sure:.0f} %: {100 * right:.0f} % correct, {plural(n, 'clip')}"
        for *_, n, sure, right in shares
        if n
    )
    more = "Bars: how many were right, of so many clips. On the dashed line confidence is honest; below it, too sure."
    return [Figure(reliability_bars(shares, f"Reliability. {told}"), "Reliability", more)]


def risk_figure(curve: dict[str, Any]) -> list[Figure]:
    coverage, risk = curve.get("coverage") or [], curve.get("risk") or []
    if not coverage or len(coverage) != len(risk):
        return []
    scale = 100 if max(coverage) > 1 else 1
    coverage, risk = [c / scale for c in coverage], [r / scale for r in risk]
    half = min(range(len(coverage)), key=lambda i: abs(coverage[i] - 0.5))
    told = f"{100 * risk[-1]:.1f} % wrong when all are answered, {100 * risk[half]:.1f} % of the surer half"
    more = f"Answers less sure than a threshold are withheld: {told}."
    return [Figure(risk_over_coverage(coverage, risk, f"Risk over coverage: {told}"), "Risk over coverage", more)]
