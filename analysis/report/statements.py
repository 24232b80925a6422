"""Sentences and formatted cells about the scores of a run, for the report and the model card."""

from typing import Any

from analysis.metrics import SCORES as TITLES
from analysis.report.runs import TASKS, Run, ccc_interval, interval_of, is_interval
from utils.config import written
from utils.json_files import is_number
from utils.text import plural

FEW_CLIPS = 20  # of a class; with fewer, one clip changes UAR visibly
FEW_SUBJECTS = 20
WIDE = 10.0  # points between the ends of an interval of UAR
NBSP = "\N{NO-BREAK SPACE}"  # between a number and its sign
SCORES = {"uar": "UAR", "war": "WAR", "macro_f1": "Macro F1"}
KINDS = {"mae": "MAE", "rmse": "RMSE", "pearson": "Pearson", "ccc": "CCC"}


def percent(value: Any, digits: int = 1) -> str:
    return f"{value:.{digits}f}{NBSP}%" if is_number(value) else "–"


def number(value: Any, digits: int = 3) -> str:
    return f"{value:z.{digits}f}" if is_number(value) else "–"


def option_text(value: Any) -> str:
    """Return an option's value as it is typed."""
    return "(not set)" if value is None else written(tuple(value) if isinstance(value, list) else value)


def span(bounds: Any, digits: int = 1) -> str:
    """Return an interval as ``80.1 – 93.9``."""
    return f"{bounds[0]:z.{digits}f} – {bounds[1]:z.{digits}f}" if is_interval(bounds) else "–"


def with_span(text: str, bounds: Any, digits: int = 1) -> str:
    """Return ``text`` with its interval in parentheses, if there is one."""
    return f"{text} ({span(bounds, digits)})" if is_interval(bounds) else text


def resampling(run: Run) -> str:
    """Return how intervals were computed: ``95 % intervals: bootstrap over the 12 test persons, 2000 samples``."""
    intervals = run.intervals
    if not intervals:
        return ""
    unit = intervals.get("resampled", "groups")
    of_split = f"{run.split} " if run.kind == "classes" else ""
    units = f"the {intervals['groups']} {of_split}{unit}" if "groups" in intervals else unit
    samples = f", {intervals['replicates']} samples" if "replicates" in intervals else ""
    return f"{intervals.get('level', 95):g} % intervals: bootstrap over {units}{samples}"


def chance(run: Run) -> float | None:
    """Return the UAR of guessing; None if a class has no clip."""
    return 100 / run.present if run.present == len(run.metrics["classes"]) else None


def title_of(run: Run) -> str:
    return run.option("exper_name") or run.name


def best_epoch(run: Run) -> tuple[int, int] | None:
    """Return (selected epoch, number of epochs)."""
    best = run.facts.get("best")
    return (best["epoch"], best["epochs"]) if best else None


def verdict(run: Run) -> str:
    """Return the main score, the data it was measured on and how the epoch was selected."""
    metrics = run.metrics
    if run.kind == "classes":
        return class_verdict(run)
    if run.kind == "numbers":
        data = f"{metrics.get('clips', '?')} clips of {metrics.get('subjects', '?')} subjects"
        tested_on = f", {metrics['tested_on']}" if metrics.get("tested_on") else ""
        ccc = number((metrics.get("mean") or {}).get("ccc"))
        return f"The mean CCC of predicted and true values is {ccc}, on {data}{tested_on}."
    if run.kind == "long videos":
        scores = [f"{title} {number(metrics[task].get(main))}" for task, (title, main) in tasks_of(run).items()]
        data = f"{metrics.get('videos', '?')} validation videos ({metrics.get('frames', '?')} frames)"
        return f"{'; '.join(scores)}, on {data}."
    return "This report has no picture for the scores of this run. They are listed below."


def tasks_of(run: Run) -> dict[str, tuple[str, str]]:
    """Return the title and the main number of each task that was scored on long videos."""
    return {task: names for task, names in TASKS.items() if isinstance(run.metrics.get(task), dict)}


def class_verdict(run: Run) -> str:
    bounds, guess = interval_of(run, "uar"), chance(run)
    persons = f" of {run.intervals['groups']} persons" if run.intervals.get("resampled") == "persons" else ""
    interval = f" (95{NBSP}% interval {span(bounds)})" if bounds else ""
    guessing = f" Guessing gives {percent(guess)}." if guess else ""
    pooled = "mean over {} seeds" if "seeds" in run.metrics else "{} runs scored together"
    series = f", {pooled.format(len(run.members))}" if run.members else ""
    uar = f"UAR is {percent(run.metrics['uar'])}{interval}, the mean recall of {run.present} classes"
    return f"{uar}, on {run.clips} {run.split} clips{persons}{series}.{guessing} {selection(run)}"


def selection(run: Run) -> str:
    """Return a sentence on how the weights were selected."""
    selected_on = run.metrics.get("selected_on") or run.option("select_on") or "not known"
    if "zero-shot" in selected_on:
        return "Nothing was trained on these classes."
    if selected_on == "last":
        return "The weights are those of the last epoch. No epoch was selected."
    if is_selected_on_scored_videos(run):
        return "The epoch was selected on the scored videos, so the score is optimistic."
    by_score = f" by {selecting_score(run)}" if selecting_score(run) else ""
    if selected_on == "val":
        same = run.split == "val"
        clips, doubt = ("the scored clips", ", so the score is optimistic") if same else ("validation clips", "")
        return f"The epoch was selected on {clips}{by_score}{doubt}."
    if selected_on.startswith("test"):
        return f"The epoch was selected on the test clips{by_score}, so the score is optimistic."
    return f"The epoch was selected on {selected_on}{by_score}."


def selecting_score(run: Run) -> str:
    """Return the title of the score that chose the epoch; empty where none did, and where the run does not say it."""
    selected_on = run.metrics.get("selected_on") or "last"
    chose = run.kind == "classes" and selected_on != "last" and "zero-shot" not in selected_on
    return TITLES.get(run.option("select_by") or "", "") if chose else ""


def is_selected_on_scored_videos(run: Run) -> bool:
    return run.kind == "long videos" and (run.metrics.get("selected_on") or run.option("select_on")) == "val"


def cautions(run: Run) -> list[tuple[str, str]]:
    """Return (subject, warning) each: those of the run, then those that follow from its scores."""
    warnings = run.facts.get("warnings", [])
    kinds = {warning["kind"] for warning in warnings}
    cautions = [("data", run.note)] if run.note else []
    for warning in warnings:
        split, _, kind = warning["kind"].partition(" ")
        if kind == "few_clips" and (supports := supports_of(run, split)):
            cautions += few_clips(split, supports)
            continue
        is_setting = warning["kind"] == "setting" or "--" in warning["text"]  # a warning that names a flag
        cautions.append(("setting" if is_setting else "data", warning["text"]))
    if run.kind == "classes":
        cautions += class_cautions(run, kinds)
    if is_selected_on_scored_videos(run):
        cautions.append(("setting", "The epoch was selected on the scored videos, so the score is optimistic."))
    subjects = run.metrics.get("subjects")
    if run.kind == "numbers" and subjects and subjects < FEW_SUBJECTS and "few_subjects" not in kinds:
        cautions.append(("data", f"Only {subjects} subjects: these scores say little about other people."))
    lists = [contents for contents in run.facts.get("data", {}).values() if "classes" in contents]
    if lists and not any(contents["persons"] for contents in lists):
        cautions.append(("data", "The persons of this set are not known. The same person may be in train and test."))
    return cautions


def class_cautions(run: Run, kinds: set[str]) -> list[tuple[str, str]]:
    """Return warnings about the scores of classes; ``kinds``: those of the run itself."""
    metrics, split, cautions = run.metrics, run.split, []
    selected_on = str(metrics.get("selected_on"))
    warned_itself = bool(run.facts) and run.option("mode") == "train" and run.option("select_on") == "test"
    if "optimistic" in selected_on and not warned_itself:
        split_name = selected_on.removesuffix(": optimistic")
        cautions.append(("setting", f"The epoch was selected on {split_name}, so the score is optimistic."))
    if f"{split} few_clips" not in kinds:
        cautions += few_clips(split, supports_of(run, split))
    absent = metrics.get("absent_classes", [])
    if absent and f"{split} class_missing" not in kinds:
        text = f"No {split} clip of {', '.join(absent)}. UAR is the mean over the other classes."
        cautions.append(("data", text))
    bounds = interval_of(run, "uar")
    if bounds and bounds[1] - bounds[0] > WIDE:
        wide = f"The 95{NBSP}% interval of UAR is {bounds[1] - bounds[0]:.1f} points wide. Smaller differences to other"
        text = f"{wide} runs can be noise. --mode compare tests two runs on the same clips."
        cautions.append(("reading", text))
    if not run.intervals:
        cautions.append(("reading", "No intervals: the run used --ci off or is of an older version."))
    calibration = metrics.get("calibration") or {}
    error, raw_error = calibration.get("ece"), (calibration.get("raw") or {}).get("ece")
    if is_number(error) and is_number(raw_error) and error > raw_error:
        change = f"The ECE is {percent(error)} with it and {percent(raw_error)} without it."
        cautions.append(("reading", f"The fitted temperature makes calibration worse. {change}"))
    return cautions


def supports_of(run: Run, split: str) -> dict[str, int]:
    """Return the number of clips of each class of a split; empty if the run does not state it."""
    if run.kind == "classes" and split == run.split:
        return {name: row["support"] for name, row in run.metrics["per_class"].items()}
    return run.facts.get("data", {}).get(split, {}).get("classes", {})


def few_clips(split: str, supports: dict[str, int]) -> list[tuple[str, str]]:
    """Return a warning that names the classes with few clips and what one clip of each changes; none without them."""
    present = sum(count > 0 for count in supports.values())
    texts = [
        f"{name} has {count}, so one clip changes UAR by {100 / count / present:.2f} points"
        for name, count in supports.items()
        if 0 < count < FEW_CLIPS
    ]
    return [("data", f"Few {split} clips in some classes: {'; '.join(texts)}.")] if texts else []


def list_contents(run: Run) -> list[tuple[str, str]]:
    """Return (list, content) for each list: clips, persons and classes, boxes, videos, subjects."""
    lines = []
    for name, contents in run.facts.get("data", {}).items():
        if "classes" in contents:
            persons = f" of {contents['persons']} persons" if contents["persons"] else ""
            classes = ", ".join(f"{label} {count}" for label, count in contents["classes"].items())
            lines.append((name, f"{contents['clips']} clips{persons}: {classes}"))
        elif "clips_with_box" in contents:
            units = ["clips"] if contents["kind"] == "body" else ["clips", "frames"]
            shares = [(contents[f"{unit}_with_box"], contents[unit], unit) for unit in units]
            lines.append((name, ", ".join(f"{n} of {total} {unit} ({n / total:.1%})" for n, total, unit in shares)))
        elif "videos" in contents:
            lines += [(name, line) for line in contents["contents"]]
        elif "subjects" in contents:
            subjects, folds = plural(contents["subjects"], "subject"), plural(contents["folds"], "fold")
            targets = ", ".join(contents["targets"])
            lines.append((name, f"{plural(contents['clips'], 'clip')} of {subjects} in {folds}; {targets}"))
    return lines


def number_table(run: Run, with_mean: bool) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the agreement of each target."""
    targets = [*run.metrics["targets"].items()]
    targets += [("mean", run.metrics.get("mean") or {})] if with_mean else []
    rows = [
        [name, *(number(row.get(kind)) for kind in KINDS), span(ccc_interval(run, name), 3), str(row.get("clips", ""))]
        for name, row in targets
    ]
    return ["target", *KINDS.values(), "95 % interval of CCC", "clips"], rows


def video_table(run: Run) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the main number of each task."""
    rows = []
    for task, (title, main) in tasks_of(run).items():
        value, frames = number(run.metrics[task].get(main)), str(run.metrics[task].get("num_frames", "–"))
        rows.append([title, value, span(interval_of(run, task), 3), frames])
    return ["task", "value", "95 % interval", "frames"], rows


def how_to_get(run: Run) -> str:
    return " Run --mode eval on its best.pt to get it." if (run.folder / "best.pt").is_file() else ""
