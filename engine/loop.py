"""What every training shares: epochs until they are done, signals that lose nothing, going on where a run was."""

import shlex
import time
from dataclasses import asdict, replace
from typing import Any

from engine.device import random_state
from engine.epoch_scores import RunningLosses
from engine.interrupt import Interruption, Watched
from engine.options import Config
from engine.resume import ResumePoint, adopt_best, settle_folder
from engine.run_checkpoints import Progress, RunCheckpoints
from engine.session import Session
from utils.checkpoint import load_checkpoint, to_full
from utils.errors import Interrupted
from utils.runlog import RunLog


class Loop:
    """A training says how an epoch runs and how it all ends; ``inside`` is how far the epoch under way is."""

    config: Config
    session: Session
    log: RunLog
    checkpoints: RunCheckpoints
    progress: Progress
    inside: dict[str, Any]
    stop: Interruption

    def run_epoch(self, epoch: int) -> None:
        raise NotImplementedError

    def finish(self) -> dict[str, Any]:
        raise NotImplementedError

    def resume(self, point: ResumePoint) -> None:
        """Restore everything as it was when ``point`` was saved."""
        self.progress = self.checkpoints.restore(point.content, point.path)
        self.progress.best = adopt_best(point, self.progress.best, self.log, self.session.group.is_main)
        self.log.write_json("config.json", asdict(self.config))
        self.log.restore(self.progress.history)
        settle_folder(point, self.log.folder, self.checkpoints, self.progress)
        at = f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"
        self.log.say(f"resumed from {point.path}: goes on with {at}")

    def run(self) -> dict[str, Any]:
        """All epochs that are left, then the score. A signal ends them with everything saved."""
        with self.stop:
            try:
                while self.progress.goes_on(self.config.optim.epochs, self.config.sequence.patience):
                    self.run_epoch(self.progress.epoch)
                return self.finish()
            except Interrupted as signal:
                if self.inside:  # else the last epoch is saved, and the model may hold the best one's weights
                    self.checkpoints.save_last(self.progress_inside())
                again = f"python main.py --resume {shlex.quote(str(self.log.folder))}"
                self.log.say(f"stopped and saved; go on with: {again}")
                raise Interrupted(signal.number, f"stopped; go on with: {again}") from None

    def watch(self, loader: Any) -> Watched:
        """Return a loader that ends between two batches once a signal came."""
        return Watched(loader, self.stop, self.session.group)

    def mark_step(self, losses: RunningLosses, step: int) -> None:
        """Note how far the epoch is, after each update of the weights: a save goes on from here."""
        self.inside = {"step": step, "seen": losses.copy(), "random": random_state(self.session.device)}

    def keep_epoch(self, values: dict[str, Any], name: str, score: float) -> None:
        """Save best.pt if the epoch is the best so far by ``score``, stored as ``name``, and last.pt in any case."""
        best, epoch = self.progress.best, self.progress.epoch + 1
        is_best = self.config.optim.select_on == "last" or score > best[name] or not best["epoch"]
        best = {name: score, "epoch": epoch} if is_best else best
        self.progress = Progress(epoch, best=best, history=[*self.progress.history, values])
        self.inside = {}
        if is_best:
            self.checkpoints.save_best(self.progress)
        self.checkpoints.save_last(self.progress)

    def load_best(self, how: str = "") -> dict[str, Any]:
        """Load the weights of best.pt, say ``how`` its epoch was selected, and return the content of the file."""
        best, epochs = load_checkpoint(self.log.folder / "best.pt", ("model", "epoch")), self.config.optim.epochs
        self.checkpoints.model.load_state_dict(to_full(best["model"]))
        self.log.say(f"best epoch: {best['epoch']} of {epochs}{how}")
        self.log.facts["best"] = {"epoch": best["epoch"], "epochs": epochs}
        return best

    def save_inside(self, saved: float) -> float:
        """Save last.pt inside an epoch when its time has come; return when it was saved last."""
        minutes = self.config.run.save_every_minutes
        if minutes == 0 or time.time() - saved < 60 * minutes:
            return saved
        self.checkpoints.save_last(self.progress_inside())
        return time.time()

    def progress_inside(self) -> Progress:
        """Return the progress inside the epoch. A loss that is not finite raises here, before anything is saved."""
        return replace(self.progress, **self.inside | {"seen": self.inside["seen"].state()})
