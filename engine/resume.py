"""``--resume``: the newest sound checkpoint of a run or of an experiment, and the options it goes on with."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis.results import read_metrics
from engine.checkpoints import check_content, stored_config
from engine.config import make_config
from engine.options import Config, names_with, value_of
from engine.run_checkpoints import Progress, ResumePoint, RunCheckpoints, Start
from utils.checkpoint import previous_of, read_checkpoint, save_checkpoint
from utils.config import flag_of, written
from utils.errors import UserError
from utils.runlog import RunLog, safe_name

NEEDED = {"progress": dict, "learning": dict, "left_out": dict, "train_list": str, "best": dict, "clip_shape": dict}


def start_of_training(config: Config, flags: dict[str, Any]) -> Start:
    """Return what a training with ``--resume`` starts with."""
    if config.run.resume == "auto":
        point, messages = newest_of_experiment(config)
        return Start(config, point, continued_folder(point, config), messages)
    path = Path(config.run.resume)
    point, messages = newest_readable(path)
    resumed = resumed_config(point, flags)
    differences = different_options(stored_config(point.content), resumed)
    if differences:
        raise UserError(
            f"--resume {path}: {'; '.join(differences)}; a run goes on as it began "
            f"(leave out --resume for another experiment)"
        )
    return Start(resumed, point, continued_folder(point, resumed), messages)


def newest_readable(path: Path) -> tuple[ResumePoint, list[str]]:
    """Return the newest readable checkpoint of ``path``, a run folder or a checkpoint, and messages on damaged ones.

    Where last.pt is damaged, it is the one before it.
    """
    last = path / "last.pt" if path.is_dir() else path
    if not last.parent.is_dir() or not (last.exists() or previous_of(last).exists()):
        raise UserError(f"--resume {path}: no {last.name} there; name a run folder, its last.pt, or auto")
    faults: list[str] = []
    for candidate in (last, previous_of(last)):
        try:
            point = ResumePoint(candidate, read_resumable(candidate))
            return point, [f"{fault}; going on from the checkpoint before it" for fault in faults]
        except UserError as error:
            faults.append(str(error))
    raise UserError(f"{faults[0]}; and there is no sound checkpoint before it")


def read_resumable(path: Path) -> dict[str, Any]:
    content = check_content(read_checkpoint(path), path)
    missing = [key for key in NEEDED if key not in content]
    if missing:
        raise UserError(f"{path}: holds no state of training (lacks {missing[0]}): name the run's last.pt")
    wrong = [key for key, kind in NEEDED.items() if not isinstance(content[key], kind)]
    wrong = wrong or wrong_progress(content["progress"])
    if wrong:
        raise UserError(f"{path}: damaged: its {wrong[0]} is not what a run writes")
    return content


def wrong_progress(progress: dict[str, Any]) -> list[str]:
    """Return the entries that no run can go on from; a step inside an epoch needs its scores and random state."""
    inside = progress.get("step") != 0 or progress.get("random") is not None
    expected = {
        "epoch": lambda v: type(v) is int and v >= 0,
        "step": lambda v: type(v) is int and v >= 0,
        "seen": lambda v: is_score(v) if inside else v is None,
        "random": lambda v: is_random_state(v) if inside else v is None,
        "best": lambda v: isinstance(v, dict) and is_best(v),
        "history": lambda v: isinstance(v, list) and all(isinstance(row, dict) for row in v),
    }
    return [f"progress ({name})" for name, is_fine in expected.items() if not is_fine(progress.get(name))]


def is_best(value: dict[str, Any]) -> bool:
    """Return whether ``value`` holds an epoch and the score that chose it, under the method's name for the score."""
    scores = [number for name, number in value.items() if name != "epoch"]
    return type(value.get("epoch")) is int and len(scores) == 1 and type(scores[0]) in (int, float)


def is_score(value: Any) -> bool:
    counts = isinstance(value, dict) and type(value.get("clips")) is int and type(value.get("replaced")) is int
    if not counts or not isinstance(value.get("sums"), dict) or not isinstance(value.get("confusion"), list):
        return False
    return all(type(v) is float for v in value["sums"].values()) and all(
        isinstance(r, list) for r in value["confusion"]
    )


def is_random_state(value: Any) -> bool:
    if not isinstance(value, dict) or not all(isinstance(s, Tensor) and s.dtype == torch.uint8 for s in value.values()):
        return False
    return "cpu" in value and value["cpu"].shape == torch.get_rng_state().shape


def newest_of_experiment(config: Config) -> tuple[ResumePoint | None, list[str]]:
    """Return the newest checkpoint with the same options, and messages on those that were passed over.

    It is looked for in all runs with this experiment's name, or in ``--output-dir``.
    """
    messages: list[str] = []
    if config.run.output_dir:
        folders = [Path(config.run.output_dir)]
    else:
        folders = list(Path("outputs").glob(f"{safe_name(config.run.exper_name)}-*"))
    times = {f: max(map(_modified, (f / "last.pt", previous_of(f / "last.pt")))) for f in folders if f.is_dir()}
    for folder in sorted((f for f in times if times[f]), key=lambda f: (times[f], f), reverse=True):
        try:
            point, faults = newest_readable(folder)
            stored = stored_config(point.content)
            if safe_name(stored.run.exper_name) != safe_name(config.run.exper_name):
                continue
        except UserError as error:
            if config.run.output_dir:
                raise
            messages.append(f"not resumed: {error}")
            continue
        differences = different_options(stored, config)
        if not differences:
            return point, [*messages, *faults]
        if config.run.output_dir:
            raise UserError(
                f"--output-dir {folder} holds a run with other options ({differences[0]}); name another folder"
            )
        messages.append(f"not resumed: {folder} has other options ({differences[0]})")
    return None, [*messages, "--resume auto: nothing to go on from, a new run begins"]


def _modified(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def different_options(stored: Config, config: Config) -> list[str]:
    """Return what this command, defaults included, wants otherwise than the run was started with."""
    differences = []
    for name in names_with(free=False):
        before, now = value_of(stored, name), value_of(config, name)
        if before != now:
            differences.append(f"{flag_of(name)} {written(now)}, but the run was started with {written(before)}")
    return differences


def resumed_config(point: ResumePoint, flags: dict[str, Any]) -> Config:
    """Return the stored options, below what the user named."""
    stored = asdict(stored_config(point.content))
    replaced = {"output_dir", "resume", "files"} | ({"gpu", "device"} if {"gpu", "device"} & set(flags) else set())
    run = {name: value for name, value in stored["run"].items() if name not in replaced}
    return make_config(flags, stored | {"run": run})


def continued_folder(point: ResumePoint | None, config: Config) -> Path | None:
    """Return the run folder to go on in; None where a new one is made, which is how to leave a read-only folder."""
    output = Path(config.run.output_dir) if config.run.output_dir else None
    if point is not None:
        return point.folder if output is None or output.resolve() == point.folder.resolve() else None
    if config.run.resume == "auto" and output is not None and (output / "config.json").exists():
        results = ("last.pt", previous_of(Path("last.pt")).name, "metrics.json")
        return None if any((output / name).exists() for name in results) else output  # ended before it saved anything
    return None


def is_complete(point: ResumePoint, config: Config) -> bool:
    """Return whether all epochs are done and scored, and nothing else is asked for."""
    epochs = point.content["progress"]["epoch"]
    if config.optim.epochs < epochs:
        raise UserError(f"--epochs {config.optim.epochs}: {point.path} has {epochs} epochs behind it already")
    try:
        scores = read_metrics(point.folder)
    except UserError:
        scores = {}
    if not scores or epochs != config.optim.epochs or continued_folder(point, config) is None:
        return False
    fitted_on = (scores.get("calibration") or {}).get("fitted_on")
    return not config.results.calibrate or stored_config(point.content).results.calibrate or fitted_on is not None


def adopt_best(point: ResumePoint, best: dict[str, Any], log: RunLog, writes: bool = True) -> dict[str, Any]:
    """Return the best epoch so far, as best.pt says: the run may have ended between writing it and writing last.pt.

    In a new folder best.pt is copied; where it is lost, the best of the epochs to come counts.
    """
    if not best["epoch"]:
        return best
    source = point.folder / "best.pt"
    try:
        content = read_checkpoint(source)
        if content["epoch"] < best["epoch"]:
            raise UserError(f"{source}: is of epoch {content['epoch']}, not of {best['epoch']}")
        if writes and log.folder.resolve() != point.folder.resolve():
            save_checkpoint(content, log.folder / "best.pt")
        return content["best"]
    except (UserError, KeyError, TypeError) as error:
        log.warn(f"the best checkpoint so far (epoch {best['epoch']}) is lost: {error}; the best epoch to come counts")
        return dict.fromkeys(best, -1.0) | {"epoch": 0}


def settle_folder(point: ResumePoint, folder: Path, checkpoints: RunCheckpoints, progress: Progress) -> None:
    """Remove what belongs to another state of the run than the one that it goes on from."""
    if not checkpoints.writes:
        return
    if folder.resolve() != point.folder.resolve():
        checkpoints.save_last(progress)
        return
    (folder / "metrics.json").unlink(missing_ok=True)  # scores of fewer epochs, or of none
    last = folder / "last.pt"
    if point.path != last and last.exists():  # damaged: the sound one before it must not be replaced by it
        os.replace(last, folder / "last.damaged.pt")
