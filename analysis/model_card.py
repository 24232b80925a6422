"""``model_card.md`` beside ``best.pt``: what the weights are, learnt from what, how well, and what they are not for."""

from pathlib import Path
from typing import Any

from analysis.report.collect import Run, read_run
from analysis.report.markdown import plain, table
from analysis.report.words import (
    KINDS,
    SCORES,
    TASKS,
    best_epoch,
    cautions,
    ccc_interval,
    data_lines,
    drawn_again,
    interval_of,
    number,
    percent,
    selection,
    span,
    split_of,
    verdict,
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
NOT_FOR = """- For research on recognising shown expressions and states in video, on data like those named above.
- Not for judging single students, employees or patients, nor for grading, hiring, surveillance or diagnosis: what a
  face shows is not what a person feels, and the scores above are means over clips, not promises about a person.
- Only on recordings of people who consented to it, or as the licence of the data allows. In the European Union, rules
  on emotion recognition at work and in education apply (Regulation (EU) 2024/1689).
- Not tested on other cameras, ages, cultures or lighting than those of the test list."""
LICENCES = """- The code is under the MIT licence.
- OpenAI's CLIP weights, and what was trained from them, come with OpenAI's own terms.
- Data sets of this field (RAER, DFEW, MAFW, FERV39k, AFEW, Aff-Wild2 and others) are gated and mostly for
  non-commercial research; whether weights trained on one may be passed on is said in its agreement, not here."""


def write_model_card(log: RunLog, root: str | None) -> None:
    """After the results are written; the first process alone writes."""
    log.write_text("model_card.md", model_card(read_run(log.folder), set_note(root)))


def model_card(run: Run, note: str | None) -> str:
    """The card of a scored run; ``note``: of the data set about itself."""
    sections = {
        "What it is": about_model(run),
        "Data": about_data(run, note),
        "Protocol": about_protocol(run),
        "Scores": about_scores(run),
        "Known limits": "\n".join(f"- {plain(text)}" for _, text in cautions(run)) or "- The log holds no warning.",
        "Use": NOT_FOR,
        "Licences": LICENCES,
        "How to run it": how_to_run(run),
    }
    title = f"# Model card: {plain(run.option('exper_name') or run.name)}"
    return "\n\n".join([title, plain(verdict(run)), *(f"## {k}\n\n{v}" for k, v in sections.items())]) + "\n"


def about_model(run: Run) -> str:
    family, epoch = run.option("model"), best_epoch(run)
    seen = (
        "features" if family == "sequence" else f"{run.option('num_segments')} frames of {run.option('image_size')} px"
    )
    names = run.metrics.get("classes") or list(run.metrics.get("targets", {})) or [t for t in TASKS if t in run.metrics]
    rows = [
        ["method", METHODS.get(family or "", UNKNOWN)],
        ["answers", ", ".join(names) or UNKNOWN],
        ["reads", seen + (f", streams: {run.option('streams')}" if family == "clip-caer" else "")],
        [
            "begun from",
            UNKNOWN if family == "sequence" else short_path(run.option("init_from") or run.option("clip_path")),
        ],
        ["weights", f"best.pt, epoch {epoch[0]} of {epoch[1]}" if epoch else "best.pt"],
    ]
    return table(["", ""], rows, is_text=True)


def about_data(run: Run, note: str | None) -> str:
    lists = [(name, run.option(f"{name}_annotation")) for name in ("train", "val", "test")]
    rows = [["data set", run.option("dataset") or UNKNOWN] if run.kind == "classes" else ["data set", UNKNOWN]]
    rows += [[f"{name} list", short_path(file)] for name, file in lists if file]
    rows += [["targets", short_path(run.option("targets"))]] if run.option("targets") else []
    counted = "\n".join(f"- {plain(line)}" for line in data_lines(run)) or f"- Clips and persons: {UNKNOWN}."
    said = f"**The data set says of itself: {plain(note)}**\n\n" if note else ""
    return f"{said}{table(['', ''], rows, is_text=True)}\n\n{counted}"


def about_protocol(run: Run) -> str:
    held = (
        "" if run.option("val_annotation") else f" Share of the training clips held out: {run.option('val_fraction')}."
    )
    validated = held if run.option("select_on") == "val" and run.kind == "classes" else ""
    scored = {"classes": f"Scored on the {split_of(run)} list.", "numbers": f"Scored: {run.metrics.get('tested_on')}."}
    told = scored.get(run.kind, f"Scored on the validation videos of fold {run.metrics.get('fold', UNKNOWN)}.")
    return plain(f"{selection(run)}{validated} {told} Seed {run.option('seed')}; one run.")


def about_scores(run: Run) -> str:
    made = {"classes": class_scores, "numbers": number_scores, "long videos": video_scores}
    parts = made[run.kind](run) if run.kind in made else [f"Scores: {UNKNOWN}."]
    again = drawn_again(run)
    intervals = f"{again[0].upper()}{again[1:]}." if again else "Intervals: not measured."
    return "\n\n".join([*parts, plain(intervals)])


def class_scores(run: Run) -> list[str]:
    rows = [
        [title, percent(run.metrics.get(name), 2), span(interval_of(run, name), 2)] for name, title in SCORES.items()
    ]
    classes = [
        [name, percent(row.get("recall"), 1), span(row.get("interval")), str(row.get("support"))]
        for name, row in run.metrics["per_class"].items()
    ]
    stored: dict[str, Any] = run.metrics.get("calibration") or {}
    fitted = f", fitted on {stored['fitted_on']}" if stored.get("fitted_on") else ", not fitted"
    told = (
        f"expected calibration error {percent(stored.get('ece'), 2)}, temperature {number(stored.get('temperature'))}"
    )
    calibration = f"Calibration: {told}{fitted}." if stored else "Calibration: not measured."
    heads = ["score", "value", "95 % interval"], ["class", "recall", "95 % interval", "clips"]
    return [table(heads[0], rows), table(heads[1], classes), plain(calibration)]


def number_scores(run: Run) -> list[str]:
    rows = [
        [name, *(number(row.get(kind)) for kind in KINDS), span(ccc_interval(run, name), 3), str(row.get("clips"))]
        for name, row in run.metrics["targets"].items()
    ]
    return [table(["target", *KINDS.values(), "95 % interval of CCC", "clips"], rows)]


def video_scores(run: Run) -> list[str]:
    found = {task: run.metrics[task] for task in TASKS if isinstance(run.metrics.get(task), dict)}
    rows = [
        [TASKS[task][0], number(row.get(TASKS[task][1])), span(interval_of(run, task), 3), str(row.get("num_frames"))]
        for task, row in found.items()
    ]
    classes = [
        [name, number(row.get("f1")), str(row.get("support", UNKNOWN))]
        for task in ("expr", "au")
        for name, row in (found.get(task, {}).get("per_class") or {}).items()
    ]
    parts = [table(["task", "value", "95 % interval", "frames"], rows)]
    return parts + ([table(["class", "F1", "frames"], classes)] if classes else [])


def how_to_run(run: Run) -> str:
    asked = {
        "classes": "--root-dir DIR --test-annotation FILE",
        "numbers": "--root-dir DIR --targets FILE.csv",
        "long videos": "--root-dir DIR --features DIR",
    }.get(run.kind, "")
    return f"```bash\npython main.py --mode eval --eval-checkpoint best.pt {asked}".rstrip() + "\n```"


def short_path(path: str | None) -> str:
    """Folders of the machine that trained say nothing to others."""
    if not path:
        return UNKNOWN
    return Path(path).name if Path(path).is_absolute() else path
