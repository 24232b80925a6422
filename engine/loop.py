"""The loop that every training shares: run the remaining epochs, save on signals, and resume a run."""

import shlex
import time
from collections.abc import Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from engine.device import random_state
from engine.epoch_scores import RunningScore
from engine.interrupt import InterruptibleLoader, Interruption
from engine.optim import WeightAverage, build_schedule, count_updates, follows_epochs
from engine.options import Config
from engine.run_checkpoints import Progress, ResumePoint, RunCheckpoints, load_weights
from engine.session import Session
from utils.checkpoint import load_checkpoint
from utils.command import python_name
from utils.errors import Interrupted, UserError, about
from utils.lazy import Lazy

resume = Lazy("engine.resume")  # a new run reads no checkpoint


class Loop:
    """Base class of trainings. A subclass defines one epoch (``run_epoch``) and the final scores (``finish``)."""

    checkpoints: RunCheckpoints
    loader: Sized  # batches of an epoch
    schedule: LRScheduler
    average: WeightAverage | None  # of --ema

    def __init__(self, config: Config, session: Session, best_by: str) -> None:
        """``best_by``: name of the score by which the best epoch is selected; higher is better."""
        self.config, self.session, self.best_by = config, session, best_by
        self.device, self.log, self.group = session.device, session.log, session.group
        self.progress = Progress(best={best_by: -1.0, "epoch": 0})
        self.inside: dict[str, Any] = {}  # progress inside the current epoch
        self.stop = Interruption()

    def prepare_learning(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> dict[str, Any]:
        """Make the schedule and the average of the weights; return all that learns besides the model, for last.pt."""
        optim = self.config.optim
        self.schedule = build_schedule(optimizer, optim, count_updates(len(self.loader), optim.accumulate))
        self.average = WeightAverage(model, optim.ema) if optim.ema > 0 else None
        learning = {"optimizer": optimizer, "schedule": self.schedule, "scaler": scaler}
        return learning if self.average is None else learning | {"average": self.average}

    def after_update(self) -> None:
        """Count an update of the weights in the schedule and in the average."""
        if not follows_epochs(self.schedule):
            self.schedule.step()
        if self.average is not None:
            self.average.update()

    def averaged(self) -> AbstractContextManager[None]:
        """Return a block in which the model has the weights that are validated and that best.pt holds."""
        return nullcontext() if self.average is None else self.average.in_model()

    def run_epoch(self, epoch: int) -> None:
        raise NotImplementedError

    def finish(self) -> dict[str, Any]:
        raise NotImplementedError

    def resume(self, point: ResumePoint) -> None:
        """Restore everything as it was when ``point`` was saved."""
        self.progress = self.checkpoints.restore(point, self.progress.best, len(self.loader))
        self.progress.best = resume.adopt_best(point, self.progress.best, self.log, self.group.is_main)
        self.log.write_json("config.json", asdict(self.config))
        self.log.restore(self.progress.history)
        resume.settle_folder(point, self.log.folder, self.checkpoints, self.progress)
        at = f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"
        self.log.say(f"resumed from {point.path}: continues with {at}")

    def run(self) -> dict[str, Any]:
        """Run the remaining epochs and score; return the metrics. A signal saves the run and raises ``Interrupted``."""
        with self.stop:
            try:
                while self.progress.goes_on(self.config.optim.epochs, self.config.optim.patience):
                    self.run_epoch(self.progress.epoch)
                if not self.progress.best["epoch"]:
                    file = self.log.folder / "best.pt"
                    raise UserError(f"{file}: is lost, and no epoch follows; raise --epochs to train more")
                if self.progress.epoch < self.config.optim.epochs:
                    patience, best = self.config.optim.patience, self.progress.best["epoch"]
                    self.log.say(f"--patience {patience}: no epoch was better than epoch {best}; training ends here")
                return self.finish()
            except Interrupted as signal:
                if self.inside:  # else last.pt is current, and the model may hold the weights of the best epoch
                    self.checkpoints.save_last(self.progress_inside())
                again = f"{python_name()} main.py --resume {shlex.quote(str(self.log.folder))}"
                self.log.say(f"stopped and saved; continue with: {again}")
                raise Interrupted(signal.number, f"stopped; continue with: {again}") from None

    def watch(self, loader: Any) -> InterruptibleLoader:
        """Return a loader that ends between two batches once a signal came."""
        return InterruptibleLoader(loader, self.stop, self.group)

    def mark_step(self, losses: RunningScore, step: int) -> None:
        """Note the progress of the epoch after each update of the weights; a resumed run continues from here."""
        # Copies, because a save may come after the next step has changed both.
        self.inside = {"step": step, "seen": losses.copy(), "random": random_state(self.device)}

    def keep_epoch(self, values: dict[str, Any], score: float) -> None:
        """End an epoch: save best.pt if it has the best ``score`` so far, and always last.pt."""
        if follows_epochs(self.schedule):
            self.schedule.step()
        name, best, epoch = self.best_by, self.progress.best, self.progress.epoch + 1
        is_best = self.config.optim.select_on == "last" or score > best[name] or not best["epoch"]
        best = {name: score, "epoch": epoch} if is_best else best
        self.progress = Progress(epoch, best=best, history=[*self.progress.history, values])
        self.inside = {}
        # best.pt first: after a kill between the two saves, ``adopt_best`` reads the newer best epoch from best.pt.
        if is_best:
            with self.averaged():
                self.checkpoints.save_best(self.progress)
        self.checkpoints.save_last(self.progress)

    def load_best(self, model: nn.Module, note: str = "") -> tuple[Path, dict[str, Any]]:
        """Load the weights of best.pt into the model; return its path and content."""
        path = self.log.folder / "best.pt"
        best = load_checkpoint(path, ("model", "epoch"))
        with about(path):
            load_weights(model, best["model"], may_lack=best.get("left_out", ()))
        self.log.say(f"best epoch: {best['epoch']} of {self.config.optim.epochs}{note}")
        self.log.facts["best"] = {"epoch": best["epoch"], "epochs": self.config.optim.epochs}
        return path, best

    def save_inside(self, saved: float) -> float:
        """Save last.pt inside an epoch if --save-every-minutes have passed; return the time of the last save."""
        minutes = self.config.run.save_every_minutes
        if minutes == 0 or time.time() - saved < 60 * minutes:
            return saved
        self.checkpoints.save_last(self.progress_inside())
        return time.time()

    def progress_inside(self) -> Progress:
        """Return the progress inside the epoch. A loss that is not finite raises here, before anything is saved."""
        return replace(self.progress, **self.inside | {"seen": self.inside["seen"].state()})
