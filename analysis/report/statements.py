"""What a run's numbers mean, in sentences and formatted cells: shared by the report and the model card."""

from typing import Any

from analysis.report.runs import TASKS, Run, ccc_interval, interval_of, is_interval
from utils.config import written
from utils.json_files import is_number
from utils.text import plural

FEW_CLIPS = 20  # of a class; below it one clip moves UAR visibly
FEW_SUBJECTS = 20
WIDE = 10.0  # points between the ends of an interval of UAR
NBSP = "\N{NO-BREAK SPACE}"  # between a number and its sign
SCORES = {"uar": "UAR", "war": "WAR", "macro_f1": "Macro F1"}
KINDS = {"mae": "MAE", "rmse": "RMSE", "pearson": "Pearson", "ccc": "CCC"}


def percent(value: Any, digits: int = 1) -> str:
    return f"{value:.{digits}f}{NBSP}%" if is_number(value) else "–"


def number(value: Any, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if is_number(value) else "–"


def option_text(value: Any) -> str:
    """Return an option's value as it would be typed."""
    return "(not set)" if value is None else written(tuple(value) if isinstance(value, list) else value)


def span(bounds: Any, digits: int = 1) -> str:
    """Return an interval as ``80.1 – 93.9``."""
    return f"{bounds[0]:.{digits}f} – {bounds[1]:.{digits}f}" if is_interval(bounds) else "–"


def with_span(text: str, bounds: Any, digits: int = 1) -> str:
    """Return ``text`` with its interval in parentheses, if there is one."""
    return f"{text} ({span(bounds, digits)})" if is_interval(bounds) else text


def resampling(run: Run) -> str:
    """Return how intervals were made: ``95 % intervals, 12 persons drawn again 2000 times``."""
    intervals = run.intervals
    if not intervals:
        return ""
    groups = f"{intervals['groups']} {intervals.get('resampled', 'groups')}" if "groups" in intervals else "groups"
    times = f" {intervals['replicates']} times" if "replicates" in intervals else ""
    return f"{intervals.get('level', 95):g} % intervals, {groups} drawn again{times}"


def chance(run: Run) -> float | None:
    """Return the UAR of guessing; None where a class has no clip."""
    return 100 / run.present if run.present == len(run.metrics["classes"]) else None


def title_of(run: Run) -> str:
    return run.option("exper_name") or run.name


def best_epoch(run: Run) -> tuple[int, int] | None:
    """Return (the epoch that was kept, the number of epochs)."""
    best = run.facts.get("best")
    return (best["epoch"], best["epochs"]) if best else None


def verdict(run: Run) -> str:
    """Return one sentence on what was measured on what."""
    metrics = run.metrics
    if run.kind == "classes":
        return class_verdict(run)
    if run.kind == "numbers":
        data = f"{metrics.get('clips', '?')} clips of {metrics.get('subjects', '?')} subjects"
        tested_on = f", {metrics['tested_on']}" if metrics.get("tested_on") else ""
        ccc = number((metrics.get("mean") or {}).get("ccc"))
        return f"On {data}{tested_on}, predicted and true numbers agree with a mean CCC of {ccc}."
    if run.kind == "long videos":
        scores = [f"{title} {number(metrics[task].get(main))}" for task, (title, main) in tasks_of(run).items()]
        data = f"{metrics.get('videos', '?')} validation videos ({metrics.get('frames', '?')} frames)"
        return f"On {data}: {'; '.join(scores)}."
    return "This run measured something that this report has no picture for; its numbers are listed."


def tasks_of(run: Run) -> dict[str, tuple[str, str]]:
    """Return the title and the main number of each task that was scored on long videos."""
    return {task: names for task, names in TASKS.items() if isinstance(run.metrics.get(task), dict)}


def class_verdict(run: Run) -> str:
    bounds, guess = interval_of(run, "uar"), chance(run)
    persons = f" of {run.intervals['groups']} persons" if run.intervals.get("resampled") == "persons" else ""
    interval = f" (95{NBSP}% interval {span(bounds)})" if bounds else ""
    guessing = f" Guessing reaches {percent(guess)}." if guess else ""
    pooled = "the mean of {} seeds" if "seeds" in run.metrics else "the {} runs of the series together"
    series = f", {pooled.format(len(run.members))}" if run.members else ""
    uar = f"UAR is {percent(run.metrics['uar'])}{interval}: the mean recall of {run.present} classes."
    return f"On {run.clips} {run.split} clips{persons}{series}, {uar}{guessing} {selection(run)}"


def selection(run: Run) -> str:
    """Return how the weights were chosen."""
    selected_on = run.metrics.get("selected_on") or run.option("select_on") or "not known"
    if "zero-shot" in selected_on:
        return "Nothing was trained on these classes."
    if selected_on == "last":
        return "The weights are those of the last epoch: nothing was selected."
    if is_selected_on_scored_videos(run):
        return "The epoch was selected on the videos that are scored here: optimistic."
    if selected_on == "val":
        same = "the clips that are scored here: optimistic." if run.split == "val" else "validation clips."
        return f"The epoch was selected on {same}"
    if selected_on.startswith("test"):
        return "The epoch was selected on the test clips themselves: the score is optimistic."
    return f"Selected on {selected_on}."


def is_selected_on_scored_videos(run: Run) -> bool:
    return run.kind == "long videos" and (run.metrics.get("selected_on") or run.option("select_on")) == "val"


def cautions(run: Run) -> list[tuple[str, str]]:
    """Return (subject, warning) each: those of the run, then what its scores give reason for."""
    warnings = run.facts.get("warnings", [])
    kinds = {warning["kind"] for warning in warnings}
    cautions = [("data", run.note)] if run.note else []
    for warning in warnings:
        is_setting = warning["kind"] == "setting" or "--" in warning["text"]  # a warning that names a flag
        cautions.append(("setting" if is_setting else "data", warning["text"]))
    if run.kind == "classes":
        cautions += class_cautions(run, kinds)
    if is_selected_on_scored_videos(run):
        cautions.append(("setting", "the epoch was selected on the videos that are scored: optimistic"))
    subjects = run.metrics.get("subjects")
    if run.kind == "numbers" and subjects and subjects < FEW_SUBJECTS and "few_subjects" not in kinds:
        cautions.append(("data", f"{subjects} subjects: what is measured on so few says little about others"))
    lists = [contents for contents in run.facts.get("data", {}).values() if "classes" in contents]
    if lists and not any(contents["persons"] for contents in lists):
        cautions.append(("data", "persons are not known in this set: they may be in train and in test"))
    return cautions


def class_cautions(run: Run, kinds: set[str]) -> list[tuple[str, str]]:
    """Return warnings about the scores of classes; ``kinds`` are those that the run gave itself."""
    metrics, split, cautions = run.metrics, run.split, []
    selected_on = str(metrics.get("selected_on"))
    warned_itself = bool(run.facts) and run.option("mode") == "train" and run.option("select_on") == "test"
    if "optimistic" in selected_on and not warned_itself:
        cautions.append(("setting", f"the epoch was selected on {selected_on}"))
    supports = {name: row["support"] for name, row in metrics["per_class"].items() if 0 < row["support"] < FEW_CLIPS}
    if supports and f"{split} few_clips" not in kinds:
        worth = ", ".join(f"{name} {count} ({100 / count / run.present:.2f})" for name, count in supports.items())
        cautions.append(("data", f"{split}: few clips make a class, and one clip many UAR points: {worth}"))
    absent = metrics.get("absent_classes", [])
    if absent and f"{split} class_missing" not in kinds:
        cautions.append(("data", f"no {split} clip of {', '.join(absent)}: UAR is the mean over the other classes"))
    bounds = interval_of(run, "uar")
    if bounds and bounds[1] - bounds[0] > WIDE:
        wide = f"the interval of UAR spans {bounds[1] - bounds[0]:.1f} points: smaller differences between runs can be"
        cautions.append(("reading", f"{wide} noise; --mode compare tests two runs on the same clips"))
    if not run.intervals:
        cautions.append(("reading", "no intervals are stored with these scores (--ci off, or an older run)"))
    return cautions


def list_contents(run: Run) -> list[tuple[str, str]]:
    """Return (list, what it holds) each: clips, persons and classes, boxes, videos, subjects."""
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
    return " --mode eval on its best.pt writes it." if (run.folder / "best.pt").is_file() else ""
