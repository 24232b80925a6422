"""``--mode compare RUN_A RUN_B``: what the second does better or worse on the same clips, and whether that is noise.

Either may be a run or a series: over seeds, whose mean counts, or over folds, whose predictions are put together.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.comparing.words import compare_models, write_comparison
from analysis.intervals import groups_of
from analysis.results import Predictions, read_metrics, read_predictions, temperature_of
from engine.options import Config
from utils.config import flag_of, written
from utils.errors import UserError
from utils.runlog import open_run, safe_name
from utils.words import plural

LEAST_SHARED = 0.5  # of the clips of either run
OF_THE_RUN = (  # no answer depends on them
    "output_dir", "resume", "exper_name", "files", "workers", "print_freq", "dry_run", "save_every_minutes", "ci",
    "abstain", "mistake_frames",
)  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """What is in a folder: (S, N) predictions, a row a seed; S is 1 where it is not a series over seeds."""

    folder: Path
    answers: Predictions  # of the first seed
    predicted: np.ndarray
    seeds: tuple[str, ...]  # names of the runs; none where it is a single one
    about: dict[str, Any]  # split, selected_on, and the temperature of its probabilities
    options: dict[str, Any]

    def rows(self, indexes: list[int]) -> np.ndarray:
        return self.predicted[:, indexes]


def compare(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Read both, refuse what cannot be compared, write and print the comparison."""
    one, other = (read_scored(Path(name)) for name in config.run.files)
    if one.folder.resolve() == other.folder.resolve():
        raise UserError(f"{one.folder}: compared with itself; name two runs")
    require_same_classes(one, other)
    first, second, said = match_clips(one, other)
    ids = [one.answers.ids[i] for i in first]
    persons = [one.answers.persons[i] or other.answers.persons[j] for i, j in zip(first, second, strict=True)]
    groups = groups_of(ids, persons, config.results.ci)
    label = one.answers.label[first]
    found = compare_models(
        one.answers.names, ids, label, one.rows(first), other.rows(second), groups, one.seeds == other.seeds
    )
    found |= {
        "runs": [str(one.folder), str(other.folder)],
        "seeds": [list(one.seeds), list(other.seeds)],
        "options": different_options(one, other),
        "warnings": [*said, *doubts(one, other), *(groups.doubts() if groups is not None else [])],
    }
    stamped = given.get("exper_name", "compare")
    log = open_run(config.run.output_dir, safe_name(stamped), asdict(config))
    try:
        return write_comparison(log, found)
    finally:
        log.close()


def read_scored(folder: Path) -> Scored:
    """A run, or a series of runs."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --mode compare takes the folders of two runs")
    metrics = read_metrics(folder)
    if "uar" not in metrics:
        raise UserError(f"{folder}: its scores are not of classes of clips; compare runs that have a predictions.csv")
    seeds = tuple(metrics["runs"]) if "seeds" in metrics else ()
    answers = [read_predictions([folder / name / "predictions.csv"]) for name in seeds or [""]]
    members = [read_metrics(folder / name) for name in seeds or [""]]
    calibrated = {temperature_of(m) != 1.0 for m in members}
    about = {
        "split": metrics.get("split"),
        "selected_on": metrics.get("selected_on"),
        "calibrated": calibrated == {True},
    }
    predicted = np.stack([one.predicted for one in answers])
    return Scored(folder, answers[0], predicted, seeds, about, read_options(folder))


def read_options(folder: Path) -> dict[str, Any]:
    """Every option of the run in one table; none where its config.json is lost."""
    try:
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return {name: value for group in stored.values() for name, value in group.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def require_same_classes(one: Scored, other: Scored) -> None:
    mine, theirs = set(one.answers.names), set(other.answers.names)
    if mine != theirs:
        listed = ", ".join(sorted(mine ^ theirs))
        raise UserError(f"{one.folder} and {other.folder} have other classes ({listed}): nothing to compare")
    if one.answers.names != other.answers.names:
        raise UserError(f"{one.folder} and {other.folder} have their classes in another order; evaluate both again")


def match_clips(one: Scored, other: Scored) -> tuple[list[int], list[int], list[str]]:
    """The rows of the clips that both have, in the order of the first; what is to be said of the others."""
    mine, theirs = places(one.answers.ids), places(other.answers.ids)
    shared = [key for key in mine if key in theirs]
    most = max(len(mine), len(theirs))
    if len(shared) < LEAST_SHARED * most:
        raise UserError(
            f"{one.folder} and {other.folder} share {len(shared)} of {len(mine)} and {len(theirs)} clips: evaluate "
            f"both on the same list (--mode eval --eval-checkpoint RUN/best.pt --test-annotation FILE)"
        )
    first, second = [mine[key] for key in shared], [theirs[key] for key in shared]
    differing = np.flatnonzero(one.answers.label[first] != other.answers.label[second])
    if len(differing):
        raise UserError(
            f"{len(differing)} shared clips have another label in {other.folder} than in {one.folder}, "
            f"{one.answers.ids[first[differing[0]]]} for one: their lists are not the same"
        )
    left = [len(mine) - len(shared), len(theirs) - len(shared)]
    said = (
        [f"{plural(len(shared), 'clip')} in both runs; left out: {left[0]} of A, {left[1]} of B"] if any(left) else []
    )
    return first, second, said


def places(ids: list[str]) -> dict[tuple[str, int], int]:
    """(clip, how many times it came before) → row: a list may name a clip twice."""
    seen: dict[str, int] = {}
    found = {}
    for row, name in enumerate(ids):
        seen[name] = seen.get(name, 0) + 1
        found[name, seen[name]] = row
    return found


def doubts(one: Scored, other: Scored) -> list[str]:
    """What makes the comparison unfair, or less than it seems."""
    said = []
    for letter, run in (("A", one), ("B", other)):
        if "optimistic" in str(run.about["selected_on"]):
            said.append(f"{letter} ({run.folder}) was selected on {run.about['selected_on']}")
    if one.about["split"] != other.about["split"]:
        said.append(f"A is scored on {one.about['split']} clips, B on {other.about['split']} clips")
    if one.about["calibrated"] != other.about["calibrated"]:
        letter = "A" if one.about["calibrated"] else "B"
        said.append(
            f"{letter} alone is calibrated: its probabilities are not the other's; which class wins is not moved"
        )
    single = [letter for letter, run in (("A", one), ("B", other)) if not run.seeds]
    if single:
        of = "each" if len(single) == 2 else single[0]
        said.append(f"one training of {of}: what another seed would do with it is not in the interval (--seeds)")
    return said


def different_options(one: Scored, other: Scored) -> dict[str, list[str]]:
    """Flag → how each run has it, where they differ and it may matter."""
    found = {}
    for name in sorted({*one.options, *other.options} - {*OF_THE_RUN}):
        values = [run.options.get(name) for run in (one, other)]
        if values[0] != values[1]:
            found[flag_of(name)] = ["(not set)" if value is None else written(_as_tuple(value)) for value in values]
    return found


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
