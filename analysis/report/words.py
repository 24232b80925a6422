"""What a run's numbers mean, in sentences: shared by the report, its Markdown twin and the model card."""

import re
from typing import Any

from analysis.report.collect import Run, is_number

FEW_CLIPS = 20  # of a class; below it one clip moves UAR visibly
THIN = "\N{NO-BREAK SPACE}"  # between a number and its sign
WIDE = 10.0  # points between the ends of an interval of UAR
SCORES = {"uar": "UAR", "war": "WAR", "macro_f1": "Macro F1"}
TASKS = {
    "va": ("Valence and arousal, CCC", "ccc"),
    "expr": ("Expression, macro F1", "f1"),
    "au": ("Action units, mean F1", "f1"),
}
KINDS = {"mae": "MAE", "rmse": "RMSE", "pearson": "Pearson", "ccc": "CCC"}


def percent(value: Any, digits: int = 1) -> str:
    return f"{value:.{digits}f}{THIN}%" if is_number(value) else "–"


def number(value: Any, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if is_number(value) else "–"


def span(bounds: Any, digits: int = 1) -> str:
    """An interval as ``80.1 – 93.9``."""
    return f"{bounds[0]:.{digits}f} – {bounds[1]:.{digits}f}" if is_interval(bounds) else "–"


def is_interval(bounds: Any) -> bool:
    return isinstance(bounds, (list, tuple)) and len(bounds) == 2 and all(map(is_number, bounds))


def interval_of(run: Run, name: str) -> list[float] | None:
    """Of a score of all clips, or of the main number of a task of long videos."""
    stored = run.metrics.get("intervals") or {}
    task = run.metrics.get(name) if name in TASKS else None
    main = TASKS[name][1] if name in TASKS else ""
    inside = stored.get(name)
    found = [inside, stored.get(f"{name}_{main}"), inside.get(main) if isinstance(inside, dict) else None]
    found += [task.get("interval"), task.get(f"{main}_interval")] if isinstance(task, dict) else []
    return next((list(bounds) for bounds in found if is_interval(bounds)), None)


def ccc_interval(run: Run, target: str) -> list[float] | None:
    """Of a predicted number, or of the mean over all of them."""
    stored = run.metrics.get("intervals") or {}
    found = stored.get("mean") if target == "mean" else (stored.get("targets") or {}).get(target)
    bounds = found.get("ccc") if isinstance(found, dict) else None
    return bounds if is_interval(bounds) else None


def drawn_again(run: Run) -> str:
    """What the intervals are of: ``95 % intervals, 12 persons drawn again 2000 times``."""
    stored = run.metrics.get("intervals") or {}
    if not stored:
        return ""
    groups = f"{stored['groups']} {stored.get('resampled', 'groups')}" if "groups" in stored else "groups"
    times = f" {stored['replicates']} times" if "replicates" in stored else ""
    return f"{stored.get('level', 95):g} % intervals, {groups} drawn again{times}"


def chance(run: Run) -> float | None:
    """UAR of guessing."""
    present = len(run.metrics["classes"]) - len(run.metrics.get("absent_classes", []))
    return 100 / len(run.metrics["classes"]) if present == len(run.metrics["classes"]) else None


def clips_of(run: Run) -> int:
    return sum(row.get("support", 0) for row in run.metrics["per_class"].values())


def split_of(run: Run) -> str:
    return run.metrics.get("split", "test")


def verdict(run: Run) -> str:
    """One sentence on what was measured on what."""
    if run.kind == "classes":
        return verdict_on_classes(run)
    metrics = run.metrics
    if run.kind == "numbers":
        mean = metrics.get("mean", {})
        known = f"{metrics.get('clips', '?')} clips of {metrics.get('subjects', '?')} subjects"
        tested = f", {metrics['tested_on']}" if metrics.get("tested_on") else ""
        return f"On {known}{tested}, predicted and true numbers agree with a mean CCC of {number(mean.get('ccc'))}."
    if run.kind == "long videos":
        parts = [
            f"{title} {number(metrics[task].get(main))}"
            for task, (title, main) in TASKS.items()
            if isinstance(metrics.get(task), dict)
        ]
        known = f"{metrics.get('videos', '?')} validation videos ({metrics.get('frames', '?')} frames)"
        return f"On {known}: {'; '.join(parts)}."
    return "This run measured something that this report has no picture for; its numbers are listed."


def verdict_on_classes(run: Run) -> str:
    bounds, by_chance = interval_of(run, "uar"), chance(run)
    groups = run.metrics.get("intervals") or {}
    persons = f" of {groups['groups']} persons" if groups.get("resampled") == "persons" else ""
    sure = f" (95{THIN}% interval {span(bounds)})" if bounds else ""
    guessing = f" Guessing reaches {percent(by_chance)}." if by_chance else ""
    present = len(run.metrics["classes"]) - len(run.metrics.get("absent_classes", []))
    joined = "the mean of {} seeds" if "seeds" in run.metrics else "the {} runs of the series together"
    series = f", {joined.format(len(run.members))}" if run.members else ""
    told = f"UAR is {percent(run.metrics['uar'])}{sure}: the mean recall of {present} classes.{guessing}"
    return f"On {clips_of(run)} {split_of(run)} clips{persons}{series}, {told} {selection(run)}"


def selection(run: Run) -> str:
    """How the weights were chosen."""
    said = run.metrics.get("selected_on") or run.option("select_on") or "not known"
    if "zero-shot" in said:
        return "Nothing was trained on these classes."
    if said == "last":
        return "The weights are those of the last epoch: nothing was selected."
    if said == "val" and run.kind == "long videos":
        return "The epoch was selected on the videos that are scored here: optimistic."
    if said == "val":
        same = "the clips that are scored here: optimistic." if split_of(run) == "val" else "validation clips."
        return f"The epoch was selected on {same}"
    if said.startswith("test"):
        return "The epoch was selected on the test clips themselves: the score is optimistic."
    return f"Selected on {said}."


def cautions(run: Run) -> list[tuple[str, str]]:
    """(what it is about, the warning): those of the log, then what the scores themselves give reason for."""
    found = [(subject(text), text) for text in run.warned]
    said = "\n".join(run.warned)
    if run.note:
        found.insert(0, ("data", run.note))
    if run.kind == "classes":
        found += of_classes(run, said)
    if "selected on the videos" in selection(run):
        found.append(("setting", "the epoch was selected on the videos that are scored: optimistic"))
    if run.kind == "numbers" and (run.metrics.get("subjects") or 99) < FEW_CLIPS and "subjects:" not in said:
        found.append(
            ("data", f"{run.metrics['subjects']} subjects: what is measured on so few says little about others")
        )
    if any(line.startswith("persons are not known") for line in run.log):
        found.append(("data", "persons are not known in this set: they may be in train and in test"))
    return found


def of_classes(run: Run, said: str) -> list[tuple[str, str]]:
    metrics, split, found = run.metrics, split_of(run), []
    if "optimistic" in str(metrics.get("selected_on")) and "selected on test" not in said:
        found.append(("setting", f"the epoch was selected on {metrics['selected_on']}"))
    present = len(metrics["classes"]) - len(metrics.get("absent_classes", []))
    few = {name: row["support"] for name, row in metrics["per_class"].items() if 0 < row["support"] < FEW_CLIPS}
    if few and f"{split}: few clips" not in said:
        worth = ", ".join(f"{name} {count} ({100 / count / present:.2f})" for name, count in few.items())
        found.append(("data", f"{split}: few clips make a class, and one clip many UAR points: {worth}"))
    absent = metrics.get("absent_classes", [])
    if absent and not re.search(f"(no {split} clip of|{split} has no clip of)", said):
        found.append(("data", f"no {split} clip of {', '.join(absent)}: UAR is the mean over the other classes"))
    bounds = interval_of(run, "uar")
    if bounds and bounds[1] - bounds[0] > WIDE:
        wide = f"the interval of UAR spans {bounds[1] - bounds[0]:.1f} points: smaller differences between runs can be"
        found.append(("reading", f"{wide} noise; --mode compare tests two runs on the same clips"))
    if not run.metrics.get("intervals"):
        found.append(("reading", "no intervals are stored with these scores (--ci off, or an older run)"))
    return found


def subject(warning: str) -> str:
    """A setting, or the data."""
    return "setting" if "--" in warning or "selected on" in warning else "data"


def best_epoch(run: Run) -> tuple[int, int] | None:
    """(the epoch that was kept, of how many)."""
    for line in reversed(run.log):
        if match := re.match(r"best epoch: (\d+) of (\d+)", line):
            return int(match[1]), int(match[2])
    return None


def data_lines(run: Run) -> list[str]:
    """What the log counted: clips, persons and classes of each list, boxes found."""
    wanted = re.compile(
        r"(train|val|test)\s+\d+ clips|(train|validation): |(face|body) boxes: |\d+ clips of \d+ subjects"
    )
    found = [" ".join(line.split()) for line in run.log if wanted.match(line)]
    return list(dict.fromkeys(found))


def how_to_get(run: Run) -> str:
    return " --mode eval on its best.pt writes it." if (run.folder / "best.pt").is_file() else ""


def title_of(run: Run) -> str:
    return run.option("exper_name") or run.name
