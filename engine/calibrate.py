"""``--calibrate``: one temperature fitted on the validation clips when training ends; best.pt keeps it."""

from pathlib import Path
from typing import Any

from analysis.calibration import Calibration, fit_temperature, stored_calibration
from engine.clip_predict import predict
from engine.data import evaluation_loader
from engine.interrupt import Watched
from engine.lists import Splits
from engine.options import Config
from utils.checkpoint import save_checkpoint
from utils.errors import UserError


def require_validation(splits: Splits, config: Config) -> None:
    """Before the first epoch."""
    if config.results.calibrate and not splits.val:
        raise UserError(
            "--calibrate needs validation clips: --val-annotation FILE, or --select-on val holds some out "
            "(or leave it out: --no-calibrate)"
        )


def calibrate(best: dict[str, Any], path: Path, trainer: Any, split: str) -> Calibration:
    """The temperature of ``best``, the content of ``path``, whose weights the trainer's model has; else what it holds.

    Fitted anew whenever a run ends, so that it belongs to these weights. ``split`` is scored next.
    """
    config, log = trainer.config, trainer.log
    if not config.results.calibrate:
        return stored_calibration(best, path)
    loader = evaluation_loader(config, trainer.splits["val"], trainer.views, trainer.session)
    loader = Watched(loader, trainer.stop, trainer.group)
    _, label, logits, _ = predict(trainer.task, loader, config, trainer.session, "calibration")
    temperature = fit_temperature(logits, label)
    if temperature is None:
        log.warn(
            f"--calibrate: the {len(label)} validation clips tell no temperature (all answers are right, or logits say "
            f"nothing of the label): probabilities stay as they are"
        )
        return stored_calibration({}, path)
    fitted = Calibration(temperature, "val", len(label))
    if trainer.group.is_main:
        save_checkpoint(best | {"calibration": fitted.as_dict()}, path)
    log.say(f"temperature {temperature:.3f}, fitted on {len(label)} validation clips{doubt(config, split)}")
    return fitted


def doubt(config: Config, split: str) -> str:
    if split == "val":
        return ", which are scored as well: their ECE is optimistic"
    chosen = config.optim.select_on == "val"
    return ", which chose the epoch too: for one number that matters little" if chosen else ""
