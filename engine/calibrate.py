"""``--calibrate``: one temperature, fitted on the validation clips when training ends and stored in best.pt."""

from pathlib import Path
from typing import Any

from analysis.calibration import Calibration, fit_temperature, stored_calibration
from dataloader.annotation import Clip
from dataloader.clips import Views
from engine.clip_predict import predict
from engine.data import evaluation_loader
from engine.interrupt import Interruption, Watched
from engine.lists import Splits
from engine.methods.base import ClipTask
from engine.options import Config
from engine.session import Session
from utils.checkpoint import save_checkpoint
from utils.errors import UserError


def require_validation(splits: Splits, config: Config) -> None:
    """Raise a UserError before the first epoch where there is nothing to fit a temperature on."""
    if config.results.calibrate and not splits.val:
        raise UserError(
            "--calibrate needs validation clips: --val-annotation FILE, or --select-on val holds some out "
            "(or leave it out: --no-calibrate)"
        )


def calibrate(
    best: dict[str, Any],
    path: Path,
    *,
    task: ClipTask,
    clips: list[Clip],
    views: Views,
    stop: Interruption,
    config: Config,
    session: Session,
    split: str,
) -> Calibration:
    """Fit a temperature on validation clips, store it in ``best``, the content of ``path``, and return it.

    Without ``--calibrate`` return what ``best`` holds. A run that ends again fits again, so that the temperature
    belongs to the weights of ``task``. ``split`` is scored next.
    """
    log = session.log
    if not config.results.calibrate:
        return stored_calibration(best, path)
    loader = Watched(evaluation_loader(config, clips, views, session), stop, session.group)
    _, label, logits, _ = predict(task, loader, config, session, "calibration")
    temperature = fit_temperature(logits, label)
    if temperature is None:
        log.warn(
            f"--calibrate: the {len(label)} validation clips tell no temperature (all answers are right, or logits say "
            f"nothing of the label): probabilities stay as they are"
        )
        return stored_calibration({}, path)
    fitted = Calibration(temperature, "val", len(label))
    if session.group.is_main:
        save_checkpoint(best | {"calibration": fitted.as_dict()}, path)
    caveat = ""
    if split == "val":
        caveat = ", which are scored as well: their ECE is optimistic"
    elif config.optim.select_on == "val":
        caveat = ", which chose the epoch too: for one number that matters little"
    log.say(f"temperature {temperature:.3f}, fitted on {len(label)} validation clips{caveat}")
    return fitted
