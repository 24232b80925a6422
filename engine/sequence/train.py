"""``--model sequence`` trained: windows of stored features → valence-arousal, expression, action units a frame."""

import time
from typing import Any

import torch
from torch import Tensor

from analysis.model_card import write_model_card
from dataloader.classes import Classes
from engine.device import random_state, seed_epoch
from engine.interrupt import Interruption, Watched
from engine.keep import Keeper, Progress
from engine.loop import Loop
from engine.methods.sequence import SequenceTask
from engine.optim import build_optimizer, step_scaled
from engine.options import Config
from engine.registry import method_named
from engine.resume import ResumePoint, Start, continued_folder, is_complete
from engine.running import RunningLosses
from engine.sequence.data import (
    Sequences,
    describe_sequences,
    hash_sequences,
    read_sequences,
    sequence_facts,
    training_windows,
)
from engine.sequence.predict import predict_videos
from engine.sequence.results import score_and_write
from engine.sequence.schedule import warm_cosine
from engine.sequence.score import Pooled, main_numbers
from engine.session import Session, open_session
from utils.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint, to_full
from utils.errors import UserError
from utils.runlog import progress_bar


def train_sequence(start: Start, given: dict[str, Any]) -> dict[str, Any]:
    """Train a model, or finish a training; return its final metrics."""
    config, point = start.config, start.resume_point
    if point is not None:
        require_same_end(point, config)
        if is_complete(point, config):
            print(f"{point.folder} is complete ({config.optim.epochs} epochs, scored)")
            return {}
    sequences = read_sequences(config)
    with open_session(config, continued_folder(point, config)) as session:
        if session.group.world > 1:
            raise UserError(f"--model sequence trains in one process, not in {session.group.world}")
        for message in start.messages:
            session.log.warn(message)
        session.log.say(describe_sequences(sequences))
        session.log.facts["data"] = sequence_facts(sequences)
        trainer = SequenceTrainer(config, sequences, session)
        if point is not None:
            trainer.resume(point)
        return trainer.run()


def require_same_end(point: ResumePoint, config: Config) -> None:
    planned = point.content["config"]["optim"]["epochs"]
    if config.optim.epochs != planned:
        raise UserError(
            f"--epochs {config.optim.epochs}: the rate of {point.path} falls to 0 at epoch {planned}, where it ends"
        )


class SequenceTrainer(Loop):
    """The state of one training: what the epochs share."""

    def __init__(self, config: Config, sequences: Sequences, session: Session) -> None:
        self.config, self.sequences, self.session = config, sequences, session
        self.device, self.amp, self.log = session.device, session.amp, session.log
        method = method_named(config.model.model)
        model = method.build_for(sequences.source.width, config).to(self.device)
        self.task = SequenceTask(model, config)
        self.task.prepare(sequences.train, self.device)
        self.loader, self.order = training_windows(sequences, config, session)
        self.log.say(
            f"training on {self.device}: {count_parameters(model):,} parameters, {len(self.loader)} steps an epoch"
        )
        group = {"name": "sequence", "params": list(model.parameters()), "lr": config.optim.lr}
        self.optimizer = build_optimizer([group], config.optim)
        steps = len(self.loader)
        warmup = round(config.sequence.warmup_epochs * steps)
        self.schedule = warm_cosine(self.optimizer, warmup, config.optim.epochs * steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == torch.float16)
        self.progress = Progress(best={"score": -1.0, "epoch": 0})
        self.inside: dict[str, Any] = {}  # how far the epoch under way is
        self.stop = Interruption()
        learning = {"optimizer": self.optimizer, "schedule": self.schedule, "scaler": self.scaler}
        names = Classes(tuple(self.task.names), 0, {}, "the labels")
        data, selected_on = hash_sequences(sequences), config.optim.select_on
        self.keeper = Keeper(config, model, learning, names, {}, data, selected_on, session)

    def run_epoch(self, epoch: int) -> None:
        started = time.time()
        values = {f"train/{name}": value for name, value in self.train_epoch(epoch).items()}
        values |= {f"val/{name}": value for name, value in self.check().items()}
        rate = self.optimizer.param_groups[0]["lr"]
        values |= {"epoch": epoch + 1, "seconds": round(time.time() - started, 2), "lr": rate}
        self._keep(epoch, values)
        self.log.epoch(values)
        self._say(values)

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training windows, or the rest of one that was interrupted."""
        self.task.model.train()
        seed_epoch(self.config.run.seed, epoch, self.device, self.progress.random)
        seen, first, saved = RunningLosses(self.progress.seen), self.progress.step, time.time()
        self.order.epoch, self.order.start = epoch, first * self.config.optim.batch_size
        self._mark(seen, first)
        label = f"epoch {epoch + 1}/{self.config.optim.epochs}"
        for step, batch in enumerate(progress_bar(self._watch(self.loader), len(self.loader), label, first), first):
            batch = {k: v.to(self.device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
            with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
                out = self.task.forward(batch)
            losses = self.task.losses(out, batch)
            self.update(sum(losses.values()))
            seen.add(losses, batch["id"], epoch, step)
            seen.read(all_but=1)
            self._mark(seen, step + 1)
            saved = self.save_inside(saved)
            self.stop.check()
        return seen.values()

    def update(self, total: Tensor) -> None:
        self.scaler.scale(total).backward()
        step_scaled(self.optimizer, self.scaler, self.config.optim.grad_clip)
        self.schedule.step()

    def check(self) -> dict[str, float]:
        """The scores of the validation videos."""
        return main_numbers(self._pool(self.sequences.validation, "validation").score())

    def finish(self) -> dict[str, Any]:
        """The best checkpoint, its thresholds, its score."""
        path = self.log.folder / "best.pt"
        best = load_checkpoint(path, ("model", "epoch"))
        self.task.model.load_state_dict(to_full(best["model"]))
        self.log.say(f"best epoch: {best['epoch']} of {self.config.optim.epochs}")
        self.log.facts["best"] = {"epoch": best["epoch"], "epochs": self.config.optim.epochs}
        thresholds = None
        if "au" in self.task.tasks:
            thresholds = self._pool(self.sequences.train, "thresholds").thresholds()
            save_checkpoint(read_checkpoint(path) | {"thresholds": thresholds}, path)
        metrics = score_and_write(
            self.task, self.sequences.validation, self.sequences.source, self.config, self.session, thresholds
        )
        write_model_card(self.log, self.config.data.root_dir, method_named(self.config.model.model))
        return metrics

    def _pool(self, videos: list[Any], name: str) -> Pooled:
        pooled, source = Pooled(self.task.tasks), self.sequences.source
        for found in predict_videos(self.task, videos, source, self.config, self.session, name, self._watch):
            pooled.add(found)
        return pooled

    def _watch(self, loader: Any) -> Watched:
        return Watched(loader, self.stop, self.session.group)

    def _mark(self, seen: RunningLosses, step: int) -> None:
        """What belongs to the weights as they are."""
        self.inside = {"step": step, "seen": seen.copy(), "random": random_state(self.device)}

    def _keep(self, epoch: int, values: dict[str, Any]) -> None:
        """best.pt after a better epoch, last.pt after every one."""
        best, score = self.progress.best, values["val/score"]
        better = self.config.optim.select_on == "last" or score > best["score"] or not best["epoch"]
        best = {"score": score, "epoch": epoch + 1} if better else best
        self.progress = Progress(epoch + 1, best=best, history=[*self.progress.history, values])
        self.inside = {}
        if better:
            self.keeper.save_best(self.progress)
        self.keeper.save_last(self.progress)

    def _say(self, values: dict[str, Any]) -> None:
        scores = [f"{name.removeprefix('val/')} {value:.3f}" for name, value in values.items() if "val/" in name]
        star = " *" if self.progress.best["epoch"] == values["epoch"] else ""
        shown = f"epoch {values['epoch']:>3}: train loss {values['train/loss']:.4f}; val {', '.join(scores)}{star}"
        self.log.say(f"{shown}   ({values['seconds']:.0f} s)")


def count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
