"""``--resume``: the newest sound checkpoint of a run or of an experiment, and the options it goes on with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checkpoints import check_content
from engine.options import Config
from engine.settings import make_config
from utils.checkpoint import previous_of, read_checkpoint, save_checkpoint
from utils.config import flag_of
from utils.errors import UserError
from utils.runlog import RunLog, safe_name

NEEDED = ("progress", "learning", "left_out", "train_list", "best")
FREE = {  # what may differ when a run goes on: nothing that a result depends on, and more epochs
    "run": {
        "mode", "file", "exper_name", "output_dir", "resume", "save_every_minutes", "device", "gpu", "workers",
        "print_freq", "dry_run", "eval_checkpoint", "allow_partial",
    },
    "data": {"root_dir", "cache_dir", "train_annotation", "val_annotation", "test_annotation", "bounding_box_face",
             "bounding_box_body"},
    "model": {"clip_path"},
    "optim": {"epochs", "eval_batch_size", "grad_checkpointing"},
    "pretrain": {"stills", "attribute_weight", "clip_out"},
}  # fmt: skip


@dataclass
class Found:
    """A checkpoint to go on from; ``said``: what the user should know about how it was chosen."""

    path: Path
    content: dict[str, Any]
    said: list[str]

    @property
    def folder(self) -> Path:
        return self.path.parent


def find_checkpoint(config: Config, given: dict[str, Any]) -> tuple[Found | None, list[str]]:
    """What ``--resume`` names, and what there is to say; None where ``auto`` finds nothing to go on from."""
    if config.run.resume == "auto":
        return newest_of_experiment(config)
    path = Path(config.run.resume)
    found = newest_sound(path)
    differing = differences(found.content["config"], given)
    if differing:
        raise UserError(
            f"--resume {path}: {'; '.join(differing)}; a run goes on as it began "
            f"(leave out --resume for another experiment)"
        )
    return found, found.said


def newest_sound(path: Path) -> Found:
    """``path``: a run folder or a checkpoint; a damaged last.pt falls back to the one before it."""
    last = path / "last.pt" if path.is_dir() else path
    if not last.parent.is_dir() or not (last.exists() or previous_of(last).exists()):
        raise UserError(f"--resume {path}: no {last.name} there; name a run folder, its last.pt, or auto")
    faults: list[str] = []
    for candidate in (last, previous_of(last)):
        try:
            said = [f"{fault}; going on from the checkpoint before it" for fault in faults]
            return Found(candidate, read_resumable(candidate), said)
        except UserError as error:
            faults.append(str(error))
    raise UserError(f"{faults[0]}; and there is no sound checkpoint before it")


def read_resumable(path: Path) -> dict[str, Any]:
    content = check_content(read_checkpoint(path), path)
    missing = [key for key in NEEDED if key not in content]
    if missing:
        raise UserError(f"{path}: holds no state of training (lacks {missing[0]}): name the run's last.pt")
    return content


def newest_of_experiment(config: Config) -> tuple[Found | None, list[str]]:
    """Of all runs with this experiment's name, or of ``--output-dir``: the newest whose options are the same."""
    said: list[str] = []
    if config.run.output_dir:
        folders = [Path(config.run.output_dir)]
    else:
        folders = list(Path("outputs").glob(f"{safe_name(config.run.exper_name)}-*"))
    kept = [(max(map(_written, (f / "last.pt", previous_of(f / "last.pt")))), f) for f in folders if f.is_dir()]
    for written, folder in sorted(kept, reverse=True):
        if not written:
            continue
        try:
            found = newest_sound(folder)
        except UserError as error:
            said.append(f"not resumed: {error}")
            continue
        differing = different_options(found.content["config"], config)
        if not differing:
            return found, [*said, *found.said]
        if config.run.output_dir:
            raise UserError(
                f"--output-dir {folder} holds a run with other options ({differing[0]}); name another folder"
            )
        said.append(f"not resumed: {folder} has other options ({differing[0]})")
    return None, [*said, "--resume auto: nothing to go on from, a new run begins"]


def _written(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def differences(stored: dict[str, dict[str, Any]], given: dict[str, Any]) -> list[str]:
    """Flags that the user typed and that the run was not started with."""
    found = []
    for group, values in stored.items():
        for name in set(values) & set(given) - FREE.get(group, set()):
            if _plain(given[name]) != _plain(values[name]):
                found.append(f"{flag_of(name)} {given[name]}, but the run was started with {values[name]}")
    return found


def different_options(stored: dict[str, dict[str, Any]], config: Config) -> list[str]:
    """Options of this command, defaults included, that a stored run does not share."""
    found = []
    for group, values in vars(config).items():
        for name, value in vars(values).items():
            if name in FREE.get(group, set()):
                continue
            before = stored.get(group, {}).get(name, value)
            if _plain(before) != _plain(value):
                found.append(f"{flag_of(name)} {before}, here {value}")
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def resumed_config(found: Found, given: dict[str, Any]) -> Config:
    """The stored options, below what may differ and was typed."""
    stored, done = found.content["config"], found.content["progress"]["epoch"]
    here = {"output_dir", "resume", "file"} | ({"gpu", "device"} if {"gpu", "device"} & set(given) else set())
    run = {name: value for name, value in stored["run"].items() if name not in here}
    config = make_config(given, stored | {"run": run})
    if config.optim.epochs < done:
        raise UserError(f"--epochs {config.optim.epochs}: {found.path} has {done} epochs behind it already")
    return config


def continued_folder(found: Found | None, config: Config) -> Path | None:
    """The run folder to go on in; None where a new one is made, which is also how to leave a read-only one."""
    named = Path(config.run.output_dir) if config.run.output_dir else None
    if found is not None:
        return found.folder if named is None or named.resolve() == found.folder.resolve() else None
    if config.run.resume == "auto" and named is not None and (named / "config.json").exists():
        results = ("last.pt", previous_of(Path("last.pt")).name, "metrics.json")
        return None if any((named / name).exists() for name in results) else named  # ended before it saved anything
    return None


def is_complete(found: Found, config: Config) -> bool:
    """All epochs are done and scored, and nothing else is asked for."""
    done = found.content["progress"]["epoch"] >= config.optim.epochs
    return done and continued_folder(found, config) is not None and (found.folder / "metrics.json").exists()


def adopt_best(found: Found, best: dict[str, Any], log: RunLog) -> dict[str, Any]:
    """The best so far is what best.pt says: the run may have ended between writing it and writing last.pt.

    In a new folder it is copied; where it is lost, the best of the epochs to come counts.
    """
    if not best["epoch"]:
        return best
    source = found.folder / "best.pt"
    try:
        content = read_checkpoint(source)
        if content["epoch"] < best["epoch"]:
            raise UserError(f"{source}: is of epoch {content['epoch']}, not of {best['epoch']}")
        if log.folder.resolve() != found.folder.resolve():
            save_checkpoint(content, log.folder / "best.pt")
        return content["best"]
    except (UserError, KeyError, TypeError) as error:
        log.warn(f"the best checkpoint so far (epoch {best['epoch']}) is lost: {error}; the best epoch to come counts")
        return {"uar": -1.0, "epoch": 0}
