"""The mistakes of a run with their frames."""

from typing import Any

from analysis.report.collect import Run
from analysis.report.document import Beside, Heading, Paragraph, Picture, Table
from analysis.report.words import how_to_get, percent

WHY = {
    "surest": "among the surest mistakes",
    "worst": "the truth was thought least likely",
    "class": "among the surest of its class",
}


def mistake_parts(run: Run, level: int, pictures: int) -> list[Any]:
    parts: list[Any] = [Heading(level, "Mistakes")]
    if not run.mistakes:
        wrong = clips_of_wrong(run)
        missing = f"The run folder holds no mistakes/.{how_to_get(run)}"
        return [*parts, Paragraph("Every clip was right." if wrong == 0 else missing)]
    shown = [one for one in run.mistakes if one.get("file")][:pictures]
    if shown:
        said = "Surest first; four frames from first to last of those that the model saw, face above context."
        return [*parts, Paragraph(said), Beside([mistake_picture(one) for one in shown], is_gallery=True)]
    rows = [
        [one["clip"], one["label"], one["predicted"], percent(100 * one["confidence"]), percent(100 * one["p_true"])]
        for one in run.mistakes
    ]
    head = ["clip", "true", "taken for", "confidence", "of the true class"]
    return [*parts, Table("Mistakes, surest first, without pictures", head, rows)]


def clips_of_wrong(run: Run) -> int:
    return sum(n for i, row in enumerate(run.metrics.get("confusion", [[0, 1]])) for j, n in enumerate(row) if i != j)


def mistake_picture(one: dict[str, Any]) -> Picture:
    name = (one.get("person") or "").rpartition("/")[2]  # a person is the folder of their clips in some sets
    person = f" of person {name}" if name else ""
    untold = "" if name and name in one["clip"].split("/") else person
    taken = f"{one['label']} taken for {one['predicted']}"
    sure = percent(100 * one["confidence"], 0)
    description = f"Clip {one['clip']}{person}: {taken} with {sure} confidence; frames, face above context"
    why = "; ".join(WHY.get(reason, reason) for reason in one.get("why", []))
    details = f"{sure} sure, {one['label']} {percent(100 * one['p_true'])}" + (f"; {why}" if why else "")
    return Picture(one["file"], description, taken, f"{details}\n{one['clip']}{untold}")
