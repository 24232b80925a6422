"""``--resume``: find the newest undamaged checkpoint of a run or an experiment, and the options to continue with."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from analysis.results import RunWarning, read_metrics
from engine.checkpoints import check_content, stored_config
from engine.config import make_config
from engine.options import GROUPS, Config, names_with, value_of
from engine.run_checkpoints import (
    LAST,
    HistoryRow,
    Progress,
    Resumable,
    ResumePoint,
    RunCheckpoints,
    Start,
    folder_state,
)
from engine.run_hash import hash_checkpoint, run_hash, stored_hash
from utils.checkpoint import previous_of, read_checkpoint, save_checkpoint
from utils.config import flag_of, from_json, written
from utils.errors import UserError, about
from utils.json_files import check_type, read_json
from utils.runlog import FLAGS_FILE, RunLog, safe_name

CHECKPOINTS = (LAST, previous_of(Path(LAST)).name)


def start_of_training(config: Config, flags: dict[str, Any]) -> Start:
    """Return what a training with ``--resume`` starts with."""
    if config.run.resume == "auto":
        if config.run.output_dir and begins_again(Path(config.run.output_dir)):
            return start_again(Path(config.run.output_dir), config, flags)
        if not config.run.output_dir and (folder := newest_without_checkpoints(config)) is not None:
            return start_again(folder, config, flags)
        point, messages = newest_of_experiment(config)
        return Start(config, point, continued_folder(point, config), messages, () if point is None else point.state)
    path = Path(config.run.resume)
    if begins_again(path):
        return start_again(path, config, flags)
    point, messages = newest_readable(path)
    resumed = resumed_config(point.content["config"], flags)
    require_same_options(path, stored_config(point.content), resumed, point.content.get("init_from"))
    return Start(resumed, point, continued_folder(point, resumed), messages, point.state)


def require_same_options(path: Path, stored: Config, config: Config, init_hash: str | None = None) -> None:
    if differences := different_options(stored, config, init_hash):
        raise UserError(
            f"--resume {path}: {'; '.join(differences)}; a run keeps its options "
            f"(leave out --resume to start another one)"
        )


def begins_again(folder: Path) -> bool:
    """Return whether a folder holds a run without a checkpoint to continue from, so that it must start again.

    It ended before it saved anything, or it is a run that saves no checkpoints, which ``FLAGS_FILE`` marks.
    """
    if not (folder / "config.json").is_file() or any((folder / name).exists() for name in CHECKPOINTS):
        return False
    has_epochs = (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").stat().st_size > 0
    return (folder / FLAGS_FILE).exists() or not (has_epochs or (folder / "metrics.json").exists())


def newest_without_checkpoints(config: Config) -> Path | None:
    """Return the newest run with this experiment's name and options that saves no checkpoints on its way."""
    files = Path("outputs").glob(f"{safe_name(config.run.exper_name)}-*/{FLAGS_FILE}")
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        if not begins_again(file.parent):
            continue
        try:
            run_config = stored_config({"config": read_json(file.with_name("config.json"), dict[str, Any])})
        except UserError:
            continue
        names = ("mode", "exper_name")
        is_same = all(value_of(run_config, name) == value_of(config, name) for name in names)
        if is_same and not different_options(run_config, config):
            return file.parent
    return None


def start_again(folder: Path, config: Config, flags: dict[str, Any]) -> Start:
    """Return the start of a run that ``begins_again`` in its folder, or that is complete and has no checkpoint."""
    state, file = folder_state(folder), folder / "config.json"
    options = read_json(file, dict[str, Any])
    with about(file):
        run_config = stored_config({"config": options})
        if run_config.run.mode != "train":
            mode = run_config.run.mode
            raise UserError(f"--resume {folder}: holds a run of --mode {mode}, which cannot be resumed; start it again")
    if config.run.resume != "auto":
        config = resumed_config(options, flags)
    if config.run.resume != "auto" or (folder / "metrics.json").exists():
        require_same_options(folder, run_config, config)
    output = Path(config.run.output_dir) if config.run.output_dir else folder
    if output.resolve() != folder.resolve():
        return Start(config)
    return Start(config, None, folder, [f"{folder}: no checkpoint there yet; the run starts again"], state)


def read_flags(folder: Path) -> dict[str, Any]:
    """Return the options that the user passed when the run or the ablation in a folder began."""
    file = folder / FLAGS_FILE
    with about(file):
        return from_json(GROUPS, dict.fromkeys(GROUPS, read_json(file, dict[str, Any])))


def write_flags(log: RunLog, flags: dict[str, Any]) -> None:
    log.write_json(FLAGS_FILE, {name: value for name, value in flags.items() if name not in ("output_dir", "resume")})


def newest_readable(path: Path) -> tuple[ResumePoint, list[str]]:
    """Return the newest readable checkpoint of ``path``, a run folder or a checkpoint, and messages on damaged ones.

    If last.pt is damaged, the checkpoint before it is used.
    """
    last = path / "last.pt" if path.is_dir() else path
    if not last.parent.is_dir() or not (last.exists() or previous_of(last).exists()):
        raise UserError(f"--resume {path}: no {last.name} there; name a run folder, its last.pt, or auto")
    faults: list[str] = []
    for candidate in (last, previous_of(last)):
        try:
            state = folder_state(candidate.parent)
            point = ResumePoint(candidate, read_resumable(candidate), state)
            return point, [f"{fault}; continuing from the checkpoint before it" for fault in faults]
        except UserError as error:
            faults.append(str(error))
    if last.name != LAST:  # a file that the user names has none before it
        raise UserError(faults[0])
    raise UserError(f"{faults[0]}; and there is no undamaged checkpoint before it")


def read_resumable(path: Path) -> dict[str, Any]:
    content = check_content(read_checkpoint(path), path)
    missing = [key for key in Resumable.__annotations__ if key not in content]
    if missing:
        raise UserError(f"{path}: holds no training state (lacks {missing[0]}); name the run's last.pt")
    check_type(content, Resumable, f"{path}: damaged")
    check_type(content.get("warnings", []), list[RunWarning], f"{path}: damaged: warnings")
    progress = content["progress"]
    check_type(progress["history"], list[HistoryRow], f"{path}: damaged: history")
    is_inside = progress["step"] != 0 or progress["random"] is not None
    if is_inside != (progress["seen"] is not None) or is_inside != isinstance(progress["random"], dict):
        raise UserError(f"{path}: damaged: its scores and its random state do not fit step {progress['step']}")
    return content


def newest_of_experiment(config: Config) -> tuple[ResumePoint | None, list[str]]:
    """Return the newest checkpoint with the same options, and messages on those that were skipped.

    All runs with this experiment's name are searched, or only ``--output-dir``.
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
            run_config = stored_config(point.content)
            if safe_name(run_config.run.exper_name) != safe_name(config.run.exper_name):
                continue
        except UserError as error:
            if config.run.output_dir:
                raise
            messages.append(f"not resumed: {error}")
            continue
        differences = different_options(run_config, config, point.content.get("init_from"))
        if not differences:
            return point, [*messages, *faults]
        if config.run.output_dir:
            raise UserError(
                f"--output-dir {folder} holds a run with other options ({differences[0]}); name another folder"
            )
        messages.append(f"not resumed: {folder} has other options ({differences[0]})")
    return None, [*messages, "--resume auto: no checkpoint to continue from; a new run starts"]


def _modified(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def different_options(stored: Config, config: Config, init_hash: str | None = None) -> list[str]:
    """Return texts on the options, defaults included, that differ from those that the run was started with.

    ``init_hash``: of the checkpoint that the run started from, where its last.pt stores one. That file may have moved,
    or be gone: the run no longer reads it.
    """
    differences = []
    before, now = stored.model.init_from, config.model.init_from
    hash_now = hash_checkpoint(now)
    is_same = before == now if None in (init_hash, hash_now) else init_hash == hash_now
    if not is_same and before == now:
        differences.append(f"--init-from {now}: its content has changed since the run was started")
    elif not is_same:
        differences.append(f"--init-from {written(now)}, but the run was started with {written(before)}")
    for name in names_with(free=False):
        before, now = value_of(stored, name), value_of(config, name)
        if before != now:
            differences.append(f"{flag_of(name)} {written(now)}, but the run was started with {written(before)}")
    before, now = stored.optim.epochs, config.optim.epochs
    if before != now and "cosine" in (stored.optim.schedule, config.optim.schedule):
        differences.append(f"--epochs {now}, but its learning rate falls to 0 at epoch {before}")
    return differences


def resumed_config(options: dict[str, Any], flags: dict[str, Any]) -> Config:
    """Return the Config of the stored ``options``, overridden by ``flags``."""
    groups = asdict(stored_config({"config": options}))
    replaced = {"output_dir", "resume", "files"} | ({"gpu", "device"} if {"gpu", "device"} & set(flags) else set())
    run = {name: value for name, value in groups["run"].items() if name not in replaced}
    return make_config(flags, groups | {"run": run})


def continued_folder(point: ResumePoint | None, config: Config) -> Path | None:
    """Return the run folder to continue in, or None to make a new one, for example if the old one is read-only."""
    output = Path(config.run.output_dir) if config.run.output_dir else None
    if point is None:
        return None
    return point.folder if output is None or output.resolve() == point.folder.resolve() else None


def completion(point: ResumePoint, config: Config) -> str | None:
    """Return a line on a run whose epochs are done and scored; None if it goes on, or lacks scores or a calibration."""
    epochs, best = point.content["progress"]["epoch"], point.content["progress"]["best"]
    if config.optim.epochs < epochs:
        raise UserError(f"--epochs {config.optim.epochs}: {point.path} has {epochs} epochs already; pass more")
    try:
        scores = read_metrics(point.folder)
    except UserError:
        scores = {}
    # a damaged file lacks the best epoch: the run then goes on, until ``restore`` refuses it
    goes_on = "epoch" not in best or Progress(epochs, best=best).goes_on(config.optim.epochs, config.optim.patience)
    if not scores or goes_on or continued_folder(point, config) is None:
        return None
    fitted_on = (scores.get("calibration") or {}).get("fitted_on")
    if config.results.calibrate and not stored_config(point.content).results.calibrate and fitted_on is None:
        return None
    require_unchanged(point.folder, config)
    advice = ""
    if epochs == config.optim.epochs and config.optim.schedule == "milestones":
        advice = "; raise --epochs to train more"
    elif epochs < config.optim.epochs:
        advice = f"; --patience {config.optim.patience} ended it"
    return f"{point.folder} is complete ({epochs} epochs, scored){advice}"


def require_unchanged(folder: Path, config: Config) -> None:
    """Raise a UserError if the complete run in a folder read other lists, boxes or weights than ``config`` names.

    It may have been computed on another device, or for another number of epochs. Runs without a stored hash are not
    compared, nor are those whose --init-from no longer exists.
    """
    before, start = stored_hash(folder), config.model.init_from
    if before is None or (start is not None and hash_checkpoint(start) is None):
        return
    epochs = stored_config({"config": read_json(folder / "config.json", dict[str, Any])}).optim.epochs
    config = replace(config, optim=replace(config.optim, epochs=epochs))
    if all(run_hash(config, device) != before for device in ("cpu", "cuda", "mps")):
        raise UserError(
            f"{folder}: was trained on lists, boxes or weights that are others now, or have changed since; name the "
            f"same ones, or remove it to train it again, or name another --output-dir"
        )


def adopt_best(point: ResumePoint, best: dict[str, Any], log: RunLog, writes: bool = True) -> dict[str, Any]:
    """Return the best epoch so far, as stored in best.pt: the run may have ended after best.pt but before last.pt.

    For a new folder best.pt is copied. If best.pt is lost, the best of the following epochs is used.
    """
    if not best["epoch"]:
        return best
    source = point.folder / "best.pt"
    try:
        content = check_content(read_checkpoint(source), source)
        if content["best"].keys() != best.keys():
            raise UserError(f"{source}: damaged: its best epoch has no valid {' and '.join(best)}")
        if content["epoch"] < best["epoch"]:
            raise UserError(f"{source}: is of epoch {content['epoch']}, expected {best['epoch']}")
        if writes and log.folder.resolve() != point.folder.resolve():
            save_checkpoint(content, log.folder / "best.pt")
        return content["best"]
    except (UserError, KeyError, TypeError) as error:
        log.warn(f"the best checkpoint so far (epoch {best['epoch']}) is lost: {error}; later epochs are used")
        return dict.fromkeys(best, -1.0) | {"epoch": 0}


def settle_folder(point: ResumePoint, folder: Path, checkpoints: RunCheckpoints, progress: Progress) -> None:
    """Remove files of the run folder that belong to another state than the one that is continued."""
    if not checkpoints.writes:
        return
    if folder.resolve() != point.folder.resolve():
        checkpoints.save_last(progress)
        return
    (folder / "metrics.json").unlink(missing_ok=True)  # scores of fewer epochs, or of none
    last = folder / "last.pt"
    if point.path != last and last.exists():  # damaged; the next save must not move it over the undamaged one before it
        os.replace(last, folder / "last.damaged.pt")
