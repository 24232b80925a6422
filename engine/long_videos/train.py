"""Train ``--model sequence`` on windows of stored features."""

import time
from typing import Any

import torch
from torch import Tensor

from analysis.affect import PooledVideos, main_scores
from analysis.model_card import write_model_card
from dataloader.affwild import Video
from dataloader.classes import Classes
from engine.device import seed_epoch
from engine.epoch_scores import RunningScore
from engine.long_videos.data import (
    VideoSets,
    describe_video_sets,
    hash_features,
    hash_video_sets,
    read_video_sets,
    training_windows,
    video_set_facts,
)
from engine.long_videos.evaluate import score_and_write
from engine.long_videos.predict import predict_videos
from engine.loop import Loop
from engine.methods import method_named
from engine.methods.sequence import SequenceTask
from engine.optim import build_optimizer, step_scaled
from engine.options import Config
from engine.resume import completion
from engine.run_checkpoints import RunCheckpoints, Start
from engine.session import Session, open_session
from utils.checkpoint import save_checkpoint
from utils.errors import UserError
from utils.runlog import progress_bar


def train_sequence(start: Start, flags: dict[str, Any]) -> dict[str, Any]:
    """Train a model, or finish an interrupted training; return its final metrics."""
    config, point = start.config, start.resume_point
    line, sets = None if point is None else completion(point, config), read_video_sets(config)
    if line is not None:
        frames = point.content.get("frames")  # checkpoints of older versions lack it
        is_same = point.content["train_list"] == hash_video_sets(sets) and frames in (None, hash_features(sets))
        if not is_same:
            raise UserError(
                f"{point.folder}: its videos, labels or features are not those of its training; use them again"
            )
        print(line)
        return {}
    with open_session(config, start) as session:
        if session.group.world > 1:
            raise UserError(f"--model sequence trains in one process, not in {session.group.world}")
        session.log.say(describe_video_sets(sets))
        session.log.facts["data"] = video_set_facts(sets)
        trainer = SequenceTrainer(config, sets, session)
        if point is not None:
            trainer.resume(point)
        return trainer.run()


class SequenceTrainer(Loop):
    """One training: model, data, optimizer, schedule and progress."""

    def __init__(self, config: Config, sets: VideoSets, session: Session) -> None:
        super().__init__(config, session, best_by="score")
        self.sets, self.amp = sets, session.amp
        model = method_named(config.model.model).build_for(sets.features.width, config).to(self.device)
        self.task = SequenceTask(model, config)
        self.task.prepare(sets.train, self.device)
        self.loader, self.order = training_windows(sets, config, session)
        parameters, steps = sum(parameter.numel() for parameter in model.parameters()), len(self.loader)
        self.log.say(f"training on {self.device}: {parameters:,} parameters, {steps} steps an epoch")
        group = {"name": "sequence", "params": list(model.parameters()), "lr": config.optim.lr}
        self.optimizer = build_optimizer([group], config.optim)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == torch.float16)
        learning = self.prepare_learning(model, self.optimizer, self.scaler)
        classes = Classes(tuple(self.task.names), 0, {}, "the labels")
        data, selected_on = hash_video_sets(sets), config.optim.select_on
        self.checkpoints = RunCheckpoints(
            config, model, learning, classes, {}, data, selected_on, session, frames=hash_features(sets)
        )

    def run_epoch(self, epoch: int) -> None:
        started = time.time()
        values = {f"train/{name}": value for name, value in self.train_epoch(epoch).items()}
        with self.averaged():
            scores = main_scores(self.pool_predictions(self.sets.validation, "validation").score())
        values |= {f"val/{name}": value for name, value in scores.items()}
        rate = self.optimizer.param_groups[0]["lr"]
        values |= {"epoch": epoch + 1, "seconds": round(time.time() - started, 2), "lr": rate}
        self.keep_epoch(values, values["val/score"])
        self.log.epoch(values)
        listed = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        star = ", best so far" if self.progress.best["epoch"] == values["epoch"] else ""
        line = f"epoch {values['epoch']:>3}: train loss {values['train/loss']:.4f}; val {listed}{star}"
        self.log.say(f"{line}   ({values['seconds']:.0f} s)")

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Run all steps of an epoch, or the steps after an interruption; return the mean losses."""
        self.task.model.train()
        seed_epoch(self.config.run.seed, epoch, self.device, self.progress.random)
        running, first, saved = RunningScore(state=self.progress.seen), self.progress.step, time.time()
        self.order.epoch, self.order.start = epoch, first * self.config.optim.batch_size
        self.mark_step(running, first)
        label = f"epoch {epoch + 1}/{self.config.optim.epochs}"
        for step, batch in enumerate(progress_bar(self.watch(self.loader), len(self.loader), label, first), first):
            batch = {k: v.to(self.device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
            with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
                out = self.task.forward(batch)
            losses = self.task.losses(out, batch)
            self.update(sum(losses.values()))
            running.add(losses, None, batch, epoch, step)
            running.read(all_but=1)  # one step late, so that the GPU has work while the CPU waits for the numbers
            self.mark_step(running, step + 1)
            saved = self.save_inside(saved)
            self.stop.check()
        return running.values()

    def update(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()
        step_scaled(self.optimizer, self.scaler, self.config.optim.grad_clip)
        self.after_update()

    def finish(self) -> dict[str, Any]:
        """Fit the thresholds of action units to the training videos, then score the best checkpoint."""
        path, best = self.load_best(self.task.model)
        thresholds = None
        if "au" in self.task.tasks:
            thresholds = self.pool_predictions(self.sets.train, "thresholds").best_thresholds()
            save_checkpoint(best | {"thresholds": thresholds}, path)
        videos, features = self.sets.validation, self.sets.features
        metrics = score_and_write(self.task, videos, features, self.config, self.session, thresholds)
        write_model_card(self.log, self.config.data.root_dir, method_named(self.config.model.model))
        return metrics

    def pool_predictions(self, videos: list[Video], name: str) -> PooledVideos:
        pooled, features = PooledVideos(self.task.tasks), self.sets.features
        for predictions in predict_videos(self.task, videos, features, self.config, self.session, name, self.watch):
            pooled.add(predictions)
        return pooled
