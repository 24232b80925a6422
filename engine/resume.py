"""``--resume``: the newest sound checkpoint of a run or of an experiment, and the options it goes on with."""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.attention_options import AttentionOptions
from engine.checkpoints import check_content, stored_config
from engine.keep import Keeper, Progress
from engine.options import Config
from engine.settings import make_config
from engine.video_options import VideoOptions
from utils.checkpoint import previous_of, read_checkpoint, save_checkpoint
from utils.config import flag_of, written
from utils.errors import UserError
from utils.runlog import RunLog, safe_name

NEEDED = {"progress": dict, "learning": dict, "left_out": dict, "train_list": str, "best": dict, "clip_shape": dict}
FREE = {  # what may differ when a run goes on: nothing that a result depends on, and more epochs
    "run": {
        "mode", "files", "exper_name", "output_dir", "resume", "save_every_minutes", "device", "gpu", "workers",
        "print_freq", "dry_run", "eval_checkpoint", "allow_partial",
    },
    "data": {"root_dir", "cache_dir", "train_annotation", "val_annotation", "test_annotation", "bounding_box_face",
             "bounding_box_body"},
    "model": {"clip_path", "init_from"},
    "optim": {"epochs", "eval_batch_size", "grad_checkpointing"},
    "pretrain": {"stills", "attribute_weight", "clip_out"},
    "sequence": {"features"},
    "results": {"ci", "calibrate", "abstain", "seeds", "grid", "drop_one", "mistake_frames"},
    "attention": {f.name for f in fields(AttentionOptions)},
    "video": {f.name for f in fields(VideoOptions)},
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


def find_checkpoint(config: Config, given: dict[str, Any]) -> tuple[Found | None, list[str], Config]:
    """What ``--resume`` names (None where ``auto`` finds nothing), what to say about it, the options to go on with."""
    if config.run.resume == "auto":
        return *newest_of_experiment(config), config
    path = Path(config.run.resume)
    found = newest_sound(path)
    resumed = resumed_config(found, given)
    differing = different_options(asdict(stored_config(found.content)), resumed)
    if differing:
        raise UserError(
            f"--resume {path}: {'; '.join(differing)}; a run goes on as it began "
            f"(leave out --resume for another experiment)"
        )
    return found, found.said, resumed


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
    wrong = [key for key, kind in NEEDED.items() if not isinstance(content[key], kind)]
    wrong = wrong or wrong_progress(content["progress"])
    if wrong:
        raise UserError(f"{path}: damaged: its {wrong[0]} is not what a run writes")
    return content


def wrong_progress(progress: dict[str, Any]) -> list[str]:
    """The entries that cannot be gone on from; a step inside an epoch needs what was seen and drawn until there."""
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
    """The epoch and the score that chose it, under the name that its method has for it."""
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


def newest_of_experiment(config: Config) -> tuple[Found | None, list[str]]:
    """Of all runs with this experiment's name, or of ``--output-dir``: the newest whose options are the same."""
    said: list[str] = []
    if config.run.output_dir:
        folders = [Path(config.run.output_dir)]
    else:
        folders = list(Path("outputs").glob(f"{safe_name(config.run.exper_name)}-*"))
    kept = [(max(map(_moment, (f / "last.pt", previous_of(f / "last.pt")))), f) for f in folders if f.is_dir()]
    for moment, folder in sorted(kept, reverse=True):
        if not moment:
            continue
        try:
            found = newest_sound(folder)
            if safe_name(stored_config(found.content).run.exper_name) != safe_name(config.run.exper_name):
                continue
        except UserError as error:
            if config.run.output_dir:
                raise
            said.append(f"not resumed: {error}")
            continue
        differing = different_options(asdict(stored_config(found.content)), config)
        if not differing:
            return found, [*said, *found.said]
        if config.run.output_dir:
            raise UserError(
                f"--output-dir {folder} holds a run with other options ({differing[0]}); name another folder"
            )
        said.append(f"not resumed: {folder} has other options ({differing[0]})")
    return None, [*said, "--resume auto: nothing to go on from, a new run begins"]


def _moment(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def different_options(stored: dict[str, dict[str, Any]], config: Config) -> list[str]:
    """Options of this command, defaults included, that a stored run does not share."""
    found = []
    for group, values in vars(config).items():
        for name, value in vars(values).items():
            if name in FREE.get(group, set()):
                continue
            before = stored[group][name]
            if before != value:
                found.append(f"{flag_of(name)} {written(value)}, but the run was started with {written(before)}")
    return found


def resumed_config(found: Found, given: dict[str, Any]) -> Config:
    """The stored options, below what may differ and was typed."""
    stored = asdict(stored_config(found.content))
    here = {"output_dir", "resume", "files"} | ({"gpu", "device"} if {"gpu", "device"} & set(given) else set())
    run = {name: value for name, value in stored["run"].items() if name not in here}
    return make_config(given, stored | {"run": run})


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
    done = found.content["progress"]["epoch"]
    if config.optim.epochs < done:
        raise UserError(f"--epochs {config.optim.epochs}: {found.path} has {done} epochs behind it already")
    scores = stored_scores(found.folder)
    is_done = done == config.optim.epochs and continued_folder(found, config) is not None and bool(scores)
    return is_done and not lacks_temperature(found, config, scores)


def stored_scores(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def lacks_temperature(found: Found, config: Config, scores: dict[str, Any]) -> bool:
    """``--calibrate`` is asked for now, and was not when the run ended."""
    before = stored_config(found.content).results.calibrate
    return config.results.calibrate and not before and (scores.get("calibration") or {}).get("fitted_on") is None


def adopt_best(found: Found, best: dict[str, Any], log: RunLog, writes: bool = True) -> dict[str, Any]:
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
        if writes and log.folder.resolve() != found.folder.resolve():
            save_checkpoint(content, log.folder / "best.pt")
        return content["best"]
    except (UserError, KeyError, TypeError) as error:
        log.warn(f"the best checkpoint so far (epoch {best['epoch']}) is lost: {error}; the best epoch to come counts")
        return dict.fromkeys(best, -1.0) | {"epoch": 0}


def settle_folder(found: Found, folder: Path, keeper: Keeper, progress: Progress) -> None:
    """Nothing in the run folder belongs to another state of the run than the one that it goes on from."""
    if not keeper.writes:
        return
    if folder.resolve() != found.folder.resolve():
        keeper.save_last(progress)
        return
    (folder / "metrics.json").unlink(missing_ok=True)  # scores of fewer epochs, or of none
    last = folder / "last.pt"
    if found.path != last and last.exists():  # damaged: the sound one before it must not be replaced by it
        os.replace(last, folder / "last.damaged.pt")
