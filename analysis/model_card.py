"""``model_card.md`` beside ``best.pt``: the model, its training data, its scores, its limits and its use."""

from pathlib import Path
from typing import Protocol

from analysis.report import statements
from analysis.report.markup import MARKDOWN
from analysis.report.runs import Run, interval_of, read_run
from dataloader.annotation import set_note
from utils.runlog import RunLog

UNKNOWN = "unknown"


class DescribedMethod(Protocol):
    """The facts about a method that a card shows."""

    summary: str

    @property
    def has_context(self) -> bool: ...

    @property
    def reads_features(self) -> bool: ...


def write_model_card(log: RunLog, root: str | None, method: DescribedMethod) -> None:
    """Write the card of a run before its metrics.json. ``root``: the folder of the data set."""
    log.write_text("model_card.md", model_card(read_run(log.folder, metrics=log.metrics), set_note(root), method))


def model_card(run: Run, note: str | None, method: DescribedMethod) -> str:
    """Return the card of a scored run; ``note`` is the note of the data set."""
    template = MARKDOWN.get_template("model_card.md")
    helpers = {"method": method, "unknown": UNKNOWN, "short_path": short_path, "interval_of": interval_of}
    text = template.render(vars(statements) | helpers, run=run, note=note)
    return text.rstrip() + "\n"


def short_path(path: str | None) -> str:
    """Return a path without the folders of the machine that trained."""
    if not path:
        return UNKNOWN
    return Path(path).name if Path(path).is_absolute() else path
