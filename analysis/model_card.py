"""``model_card.md`` beside ``best.pt``: what the weights are, trained on what, how well, and what they are not for."""

from pathlib import Path
from typing import Any

from analysis.report.document import MARKDOWN
from analysis.report.runs import Run, interval_of, read_run
from analysis.report.statements import (
    SCORES,
    TASKS,
    best_epoch,
    cautions,
    list_contents,
    number,
    number_table,
    percent,
    resampling,
    selection,
    span,
    title_of,
    verdict,
    video_table,
)
from dataloader.set_note import set_note
from utils.runlog import RunLog

METHODS = {
    "clip-caer": "two streams, face and context, through one CLIP image encoder (CLIP-CAER)",
    "dfer-clip": "one stream of faces through CLIP, learnable prompts (DFER-CLIP)",
    "emoclip": "one stream of faces through CLIP, compared with texts (EmoCLIP)",
    "sequence": "a temporal convolution network and a transformer over stored features, an answer for every frame",
    "frame-expr": "CLIP's image encoder on single frames, one expression each",
}
UNKNOWN = "not known to this card"
EVALUATION_FLAGS = {
    "classes": " --root-dir DIR --test-annotation FILE",
    "numbers": " --root-dir DIR --targets FILE.csv",
    "long videos": " --root-dir DIR --features DIR",
}
Table = tuple[list[str], list[list[str]]]  # head, rows


def write_model_card(log: RunLog, root: str | None) -> None:
    """Write the card of a run whose results are written. ``root``: the folder of the data set."""
    log.write_text("model_card.md", model_card(read_run(log.folder), set_note(root)))


def model_card(run: Run, note: str | None) -> str:
    """Return the card of a scored run; ``note`` is what the data set says about itself."""
    intervals = resampling(run)
    text = MARKDOWN.get_template("model_card.md").render(
        title=title_of(run),
        verdict=verdict(run),
        model=model_rows(run),
        data=data_rows(run),
        note=note,
        contents=[f"{name}: {text}" for name, text in list_contents(run)] or [f"Clips and persons: {UNKNOWN}."],
        protocol=protocol(run),
        tables=score_tables(run),
        calibration=calibration_line(run),
        intervals=f"{intervals[0].upper()}{intervals[1:]}." if intervals else "Intervals: not measured.",
        limits=[text for _, text in cautions(run)],
        flags=EVALUATION_FLAGS.get(run.kind, ""),
        unknown=UNKNOWN,
    )
    return text.rstrip() + "\n"


def model_rows(run: Run) -> list[list[str]]:
    method, best = run.option("model"), best_epoch(run)
    answers = run.metrics.get("classes") or run.metrics.get("targets") or [t for t in TASKS if t in run.metrics]
    reads = f"{run.option('num_segments')} frames of {run.option('image_size')} px"
    streams = f", streams: {run.option('streams')}" if method == "clip-caer" else ""
    start = short_path(run.option("init_from") or run.option("clip_path"))
    return [
        ["method", METHODS.get(method or "", UNKNOWN)],
        ["answers", ", ".join(answers) or UNKNOWN],
        ["reads", "features" if method == "sequence" else reads + streams],
        ["begun from", UNKNOWN if method == "sequence" else start],
        ["weights", f"best.pt, epoch {best[0]} of {best[1]}" if best else "best.pt"],
    ]


def data_rows(run: Run) -> list[list[str]]:
    lists = {f"{name} list": run.option(f"{name}_annotation") for name in ("train", "val", "test")}
    lists["targets"] = run.option("targets")
    dataset = run.option("dataset") if run.kind == "classes" else None
    return [["data set", dataset or UNKNOWN], *([name, short_path(file)] for name, file in lists.items() if file)]


def protocol(run: Run) -> str:
    is_held_out = run.kind == "classes" and run.option("select_on") == "val" and not run.option("val_annotation")
    held_out = f" Share of the training clips held out: {run.option('val_fraction')}." if is_held_out else ""
    scored = {"classes": f"Scored on the {run.split} list.", "numbers": f"Scored: {run.metrics.get('tested_on')}."}
    videos = f"Scored on the validation videos of fold {run.metrics.get('fold', UNKNOWN)}."
    return f"{selection(run)}{held_out} {scored.get(run.kind, videos)} Seed {run.option('seed')}; one run."


def score_tables(run: Run) -> list[Table]:
    if run.kind == "numbers":
        return [number_table(run, with_mean=False)]
    if run.kind == "long videos":
        classes = [
            [name, number(row.get("f1")), str(row.get("support", UNKNOWN))]
            for task in ("expr", "au")
            for name, row in ((run.metrics.get(task) or {}).get("per_class") or {}).items()
        ]
        return [video_table(run), *([(["class", "F1", "frames"], classes)] if classes else [])]
    if run.kind != "classes":
        return []
    scores = [
        [title, percent(run.metrics.get(key), 2), span(interval_of(run, key), 2)] for key, title in SCORES.items()
    ]
    classes = [
        [name, percent(row.get("recall"), 1), span(row.get("interval")), str(row.get("support"))]
        for name, row in run.metrics["per_class"].items()
    ]
    return [(["score", "value", "95 % interval"], scores), (["class", "recall", "95 % interval", "clips"], classes)]


def calibration_line(run: Run) -> str:
    calibration: dict[str, Any] = run.metrics.get("calibration") or {}
    if run.kind != "classes":
        return ""
    if not calibration:
        return "Calibration: not measured."
    fitted = f"fitted on {calibration['fitted_on']}" if calibration.get("fitted_on") else "not fitted"
    ece, temperature = percent(calibration.get("ece"), 2), number(calibration.get("temperature"))
    return f"Calibration: expected calibration error {ece}, temperature {temperature}, {fitted}."


def short_path(path: str | None) -> str:
    """Return a path without the folders of the machine that trained."""
    if not path:
        return UNKNOWN
    return Path(path).name if Path(path).is_absolute() else path
