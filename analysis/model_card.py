"""``model_card.md`` beside ``best.pt``: the model, its training data, its scores, its limits and its use.

With a header in YAML it is the README.md of a folder for the Hugging Face hub.
"""

import json
import re
from pathlib import Path
from typing import Any, Protocol

from analysis.report import statements
from analysis.report.markup import MARKDOWN
from analysis.report.runs import Run, ccc_interval, interval_of, read_run
from dataloader.annotation import set_note
from utils.errors import one_line
from utils.json_files import is_number
from utils.runlog import RunLog

UNKNOWN = "unknown"
SCORE_TYPES = {"uar": "recall", "war": "accuracy", "macro_f1": "f1"}  # the hub's names of our scores
SCORE_NAMES = {"uar": "UAR (mean recall of the classes)", "war": "WAR (accuracy)", "macro_f1": "Macro F1"}
TASK = {"type": "video-classification", "name": "Emotion recognition from video"}


class DescribedMethod(Protocol):
    """The facts about a method that a card shows."""

    name: str
    summary: str

    @property
    def has_context(self) -> bool: ...

    @property
    def reads_features(self) -> bool: ...


def write_model_card(log: RunLog, root: str | None, method: DescribedMethod) -> None:
    """Write the card of a run before its metrics.json. ``root``: the folder of the data set."""
    log.write_text("model_card.md", model_card(read_run(log.folder, metrics=log.metrics), set_note(root), method))


def model_card(
    run: Run,
    note: str | None,
    method: DescribedMethod,
    *,
    weights: str = "best.pt",
    checkpoint: str = "best.pt",
    licence: str | None = None,
) -> str:
    """Return the card of a run; ``note`` is the note of the data set.

    ``weights``: the file that the card is about; ``checkpoint``: what --eval-checkpoint takes; ``licence``: of the
    weights, where the card states it.
    """
    template = MARKDOWN.get_template("model_card.md")
    helpers = {"method": method, "unknown": UNKNOWN, "short_path": short_path, "interval_of": interval_of}
    helpers |= {"weights": weights, "checkpoint": checkpoint, "licence": licence, "dataset": dataset_name(run, note)}
    text = template.render(vars(statements) | helpers, run=run, note=note)
    return text.rstrip() + "\n"


def hub_card(run: Run, note: str | None, method: DescribedMethod, licence: str, weights: str) -> str:
    """Return the card with the header that the Hugging Face hub reads. A run without scores has no results in it."""
    card = model_card(run, note, method, weights=weights, checkpoint="hf-hub:ORG/NAME", licence=licence)
    return "\n".join(["---", *yaml_lines(hub_header(run, note, method, licence)), "---", "", card])


def hub_header(run: Run, note: str | None, method: DescribedMethod, licence: str) -> dict[str, Any]:
    """Return what the hub wants to know of a model, under its own words."""
    dataset, metrics = dataset_name(run, note), hub_metrics(run)
    tags = ["emotion-recognition", "facial-expression-recognition", method.name]
    header: dict[str, Any] = {
        "license": licence,
        "pipeline_tag": TASK["type"],
        "tags": [*tags, "simulated-data"] if is_simulated(note) else tags,
    }
    if dataset != UNKNOWN:
        header["datasets"] = [slug(dataset)]
    if not metrics:
        return header
    header["metrics"] = list(dict.fromkeys(metric["type"] for metric in metrics))
    split = {"classes": run.split, "numbers": "cross-validation"}.get(run.kind, "validation")
    data = {"type": slug(dataset), "name": dataset, "split": split}
    result = {"task": TASK, "dataset": data, "metrics": metrics}
    return header | {"model-index": [{"name": statements.title_of(run), "results": [result]}]}


def hub_metrics(run: Run) -> list[dict[str, Any]]:
    """Return type, name and value of every score of a run. The interval stands in the name, for want of a field."""
    if run.kind == "classes":
        rows = [
            (SCORE_TYPES[key], f"{name} in percent", run.metrics.get(key), interval_of(run, key), 2)
            for key, name in SCORE_NAMES.items()
        ]
    elif run.kind == "numbers":
        rows = [
            ("ccc", f"CCC of {name}", row.get("ccc"), ccc_interval(run, name), 3)
            for name, row in run.metrics["targets"].items()
        ]
    else:
        rows = [
            (main, title, run.metrics[task].get(main), interval_of(run, task), 3)
            for task, (title, main) in statements.tasks_of(run).items()
        ]
    level = f"{run.intervals.get('level', 95):g} % interval"
    doubt = ", optimistic: the epoch was selected on the same data" if "optimistic" in statements.selection(run) else ""
    return [
        {
            "type": kind,
            "name": (name if bounds is None else f"{name}, {level} {statements.span(bounds, digits)}") + doubt,
            "value": round(value, digits) + 0.0,
        }
        for kind, name, value, bounds, digits in rows
        if is_number(value)
    ]


def dataset_name(run: Run, note: str | None) -> str:
    """Return the name of the data set of a run. What only has the form of a published set does not get its name."""
    layout = run.option("dataset") if run.kind in ("classes", "other") else None
    if is_simulated(note):
        return "simulated people" + (f" in the layout of {layout}" if layout else "")
    if layout and run.option("class_texts"):  # may be of any set: the option says how lists are read
        return f"own class texts, lists as of {layout}"
    return layout or UNKNOWN


def is_simulated(note: str | None) -> bool:
    return "simulated" in (note or "").lower()


def slug(name: str) -> str:
    """Return a name as the hub writes the id of a data set."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or UNKNOWN


def yaml_lines(value: dict[str, Any] | list[Any]) -> list[str]:
    """Return the lines of YAML for a table or a list. Texts are quoted as in JSON, which YAML reads the same way."""
    lines = []
    for key, item in value.items() if isinstance(value, dict) else ((None, item) for item in value):
        if isinstance(item, (dict, list)):
            inner = yaml_lines(item)
        else:
            inner = [json.dumps(one_line(item) if isinstance(item, str) else item, ensure_ascii=False)]
        if key is None:
            lines += [f"- {inner[0]}", *(f"  {line}" for line in inner[1:])]
        elif isinstance(item, (dict, list)):
            lines += [f"{key}:", *(f"  {line}" for line in inner)]
        else:
            lines.append(f"{key}: {inner[0]}")
    return lines


def short_path(path: str | None) -> str:
    """Return a path without the folders of the machine that trained."""
    if not path:
        return UNKNOWN
    return Path(path).name if Path(path).is_absolute() else path
