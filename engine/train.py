"""Training: set up the run, run its epochs, and score its best checkpoint."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from analysis.calibration import Calibration, fit_temperature, nll, stored_calibration
from analysis.intervals import require_persons
from analysis.metrics import SCORES
from analysis.model_card import write_model_card
from dataloader.boxes import middle_width
from dataloader.classes import Classes
from dataloader.clips import Views
from engine.clip_predict import predict, score_and_write, score_views
from engine.data import augmentation_limits, evaluation_loader, make_views, training_loader
from engine.device import seed_epoch
from engine.epoch_scores import RunningScore
from engine.lists import Splits, read_splits, require_lists, run_classes
from engine.loop import Loop
from engine.methods import method_named
from engine.methods.base import ClipTask
from engine.model import build_model
from engine.optim import describe_groups
from engine.options import Config
from engine.run_checkpoints import RunCheckpoints, Start, hash_data, hash_frames, load_weights
from engine.run_hash import NAME as RUN_HASH
from engine.run_hash import run_hash
from engine.session import Session, open_session
from engine.shared import is_sharing
from engine.step import TrainingStep, with_partners
from engine.waiting import TimedLoader, WaitingAdvice, seconds_left
from utils.checkpoint import save_checkpoint
from utils.config import flag_of
from utils.errors import UserError, about
from utils.lazy import Lazy
from utils.runlog import progress_bar, time_left

if TYPE_CHECKING:
    from engine.feature_cache import FeatureCache

checkpoints = Lazy("engine.checkpoints")  # for --init-from
features = Lazy("engine.feature_cache")  # for --cache-features and sweeps
resume = Lazy("engine.resume")  # for --resume


def train(config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Train a model, or finish an interrupted training; return its final metrics."""
    start = Start(config) if config.run.resume is None else resume.start_of_training(config, flags)
    config, resume_point = start.config, start.resume_point
    method = method_named(config.model.model)
    if (train_otherwise := method.function("train", config.model.task)) is not None:
        return train_otherwise(start, flags)
    require_lists(config)
    if resume_point is not None and (line := resume.completion(resume_point, config)) is not None:
        print(line)
        return {}
    classes = run_classes(config)
    model, shape = build_model(config, classes)  # before the data is read, so that a wrong path fails at once
    if resume_point is not None and config.model.init_from:
        # caches and copies of frozen towers are made of these weights, before the rest of the run is restored
        with about(resume_point.path):
            load_weights(model, resume_point.content["model"], may_lack=resume_point.content["left_out"])
    with open_session(config, start) as session:
        if config.model.init_from and resume_point is None:
            summary, *tensors = checkpoints.initial_weights(model, config, classes.names)
            session.log.say(summary)
            session.log.note("\n".join(tensors))
        task = method.task(model.to(session.device), classes.names, config.loss)
        splits = read_splits(config, classes, session.log)
        require_persons([clip.person for clip in splits.test or splits.val], config.results.ci)
        if config.results.calibrate and not splits.val:  # nothing to fit a temperature on
            raise UserError(
                "--calibrate needs validation clips: --val-annotation FILE, or --select-on val, which holds some out "
                "(or leave it out: --no-calibrate)"
            )
        trainer = Trainer(config, task, splits, classes, shape, session)
        if resume_point is not None:
            trainer.resume(resume_point)
        return trainer.run()


class Trainer(Loop):
    """One training: model, data, optimiser, progress and checkpoints."""

    def __init__(
        self,
        config: Config,
        task: ClipTask,
        splits: Splits,
        classes: Classes,
        shape: dict[str, int],
        session: Session,
    ) -> None:
        super().__init__(config, session, config.optim.select_by)
        self.task, self.classes, device, log = task, classes, session.device, session.log
        views = make_views(config, [*splits.train, *splits.val, *splits.test], log)
        with session.group.main_first():  # the other processes then read the cache
            caches = self._cache(splits, views)
        self.hash = run_hash(config)  # now, since lists and boxes may change during the run
        self.val_holds_test = bool({clip.key for clip in splits.val} & {clip.key for clip in splits.test})
        self.views, self.clips, self.splits = views, splits.train, {"val": splits.val, "test": splits.test}
        self.loader, self.order = training_loader(
            config, splits.train, views, len(classes), session, caches.get("train")
        )
        split = config.optim.select_on
        if split != "last":
            self.check_loader = evaluation_loader(config, self.splits[split], views, session, caches.get(split))
        for warning in task.prepare(splits.train, classes, device):
            log.warn(warning)
        self.step = TrainingStep(task, config, device, session.amp, session.group)
        log.say(f"training on {device}:\n{describe_groups(self.step.groups)}")
        learning = self.prepare_learning(task.model, self.step.optimizer, self.step.scaler)
        self.replaced_here = 0  # unreadable frames that are not yet summed over the processes
        self.report_time = 0.0  # when the progress bar last showed scores
        self.waiting = WaitingAdvice(config, session, decodes="train" not in caches)
        clips = [*splits.train, *self.splits.get(split, [])]  # the clips that the epochs read
        data, frames = hash_data(clips, views), hash_frames(clips, views)
        width = middle_width(splits.train, views.face_boxes)
        self.checkpoints = RunCheckpoints(
            config, task.model, learning, classes, shape, data, self.selected_on, session, width, frames
        )

    def _cache(self, splits: Splits, views: Views) -> "dict[str, FeatureCache]":
        """Return the caches of ``--cache-features`` by split; for test clips only if they select the epoch."""
        if not self.config.data.cache_features:
            return {}
        ranges = features.sampled_ranges(augmentation_limits(self.config.data))
        if self.config.data.cache_variants == 1 and ranges:
            name, value = next(iter(ranges.items()))
            raise UserError(
                f"{flag_of(name)} {value:g}: --cache-variants 1 stores frames without augmentation; pass "
                f"--cache-variants 2 or more"
            )
        make = partial(features.cache_features, self.config, self.task.model.image_encoder, session=self.session)
        clips = [*splits.train, *splits.val, *splits.left_out]  # the same cache for every class that is left out
        cache = make(clips, views, self.config.data.cache_variants)
        test_clips = splits.test if self.config.optim.select_on == "test" else []
        return {"train": cache, "val": cache} | ({"test": make(test_clips, views, 1)} if test_clips else {})

    def run_epoch(self, epoch: int) -> None:
        started = time.time()
        values = self.train_epoch(epoch)
        split = self.config.optim.select_on
        if split != "last":
            values |= self.check(split)
        rates = {f"lr/{group['name']}": group["lr"] for group in self.step.optimizer.param_groups}
        values |= {"epoch": epoch + 1, "seconds": round(time.time() - started, 2), **rates}
        if values["train/replaced_frames"]:  # before last.pt is written, which stores the warnings
            self.log.warn(f"{values['train/replaced_frames']} unreadable frames were replaced in this epoch")
        self.keep_epoch(values, values.get(f"{split}/{self.best_by}", -1.0))
        self.log.epoch(values)
        self._say(values)

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """Run one pass over the training clips, or the rest of an interrupted pass; return losses and scores."""
        self.task.model.train()
        seed_epoch(self.config.run.seed, epoch, self.device, self.progress.random)
        score, first = RunningScore(self.classes.names, self.progress.seen), self.progress.step
        self.order.epoch, self.order.start = epoch, first * self.config.optim.batch_size
        steps, window, saved = len(self.loader), self.config.optim.accumulate, time.time()
        self.mark_step(score, first)
        label = f"epoch {epoch + 1}/{self.config.optim.epochs}"
        loader = TimedLoader(self.watch(self.loader))
        bar = progress_bar(loader, steps, label, first)
        for step, batch in enumerate(bar, first):
            batch = self.whole_step(batch, step)
            if self.config.loss.mixup > 0:
                batch = with_partners(batch, self.config.loss.mixup, self.config.run.seed, epoch, step)
            updates = (step + 1) % window == 0 or step + 1 == steps  # the last window of an epoch may be shorter
            losses, logits = self.step(batch, epoch, min(window, steps - step // window * window), updates)
            score.add(losses, logits, batch, epoch, step)
            score.read(all_but=1)  # one step late, so that the GPU has work while the CPU waits for the numbers
            self._report(bar, score, epoch, step)
            if updates:
                self.after_update()
                is_stopping = self.agree(score)
                self.mark_step(score, step + 1)
                saved = self.save_inside(saved)
                if is_stopping:  # a later signal counts in the next step, so all processes stop together
                    self.stop.end()
        values = {f"train/{name}": value for name, value in score.values().items()}
        return values | {"seconds_waiting": round(loader.seconds_waiting, 2)}

    def whole_step(self, batch: dict[str, Any], step: int) -> dict[str, Any]:
        """Return the batch with labels and ids of the clips of all processes; each process has only its own frames.

        Every process knows the lists and the order of the epoch, so no message is needed.
        """
        if self.group.world == 1:
            return batch
        clips = [self.clips[index] for index in self.order.clips_of_batch(step, self.config.optim.batch_size)]
        total = len(clips)
        self.replaced_here += batch["replaced_frames"] if self.group.shard_size(total) else 0
        label, ids = torch.tensor([clip.label for clip in clips]), [clip.id for clip in clips]
        return batch | {"step_clips": total, "label": label, "id": ids, "replaced_frames": 0}

    def agree(self, score: RunningScore) -> bool:
        """Return whether any process got a signal, so that all stop after the same step; sum up replaced frames."""
        stopping, replaced = self.group.sum([self.stop.received is not None, self.replaced_here])
        score.replaced, self.replaced_here = score.replaced + int(replaced), 0
        return stopping > 0

    def check(self, name: str) -> dict[str, Any]:
        """Return UAR, WAR, macro F1 and the loss of a split during training.

        The loss is the plain cross entropy of the logits that are scored: it has no class weights, no label smoothing
        and no other terms, so it is not on the scale of a training loss that has them.
        """
        loader = self.watch(self.check_loader)
        with self.averaged():
            _, label, logits, _ = predict(self.task, loader, self.config, self.session, name)
        metrics = self.task.score(logits, label)
        scores = {f"{name}/{key}": metrics[key] for key in ("uar", "war", "macro_f1")}
        # Rounded, because the last bits depend on how many clips go through the model together.
        return scores | {f"{name}/loss": round(nll(logits, label), 4)}

    def finish(self) -> dict[str, Any]:
        """Score the best checkpoint on the test clips, or on validation clips if there are none; draw the curves."""
        from analysis.plots import draw_curves, save

        if self.group.is_main:
            score = "" if self.config.optim.select_on == "last" else SCORES[self.best_by]
            curves = draw_curves(self.log.history(), self.progress.best["epoch"], score)
            save(curves, self.log.folder / "curves.png")
        self.group.barrier()  # best.pt is complete
        by_score = "" if self.config.optim.select_on == "last" else f" by {SCORES[self.best_by]}"
        path, best = self.load_best(self.task.model, f", selected on {self.selected_on}{by_score}")
        split = next((name for name in ("test", "val") if self.splits[name]), None)
        if split is None:
            self.log.warn("no test list and no validation list: nothing is scored")
            return {}
        if split == "val":
            caveat = ", which selected the epoch: optimistic" if self.config.optim.select_on == "val" else ""
            self.log.warn(f"no --test-annotation: scored on the validation clips{caveat}")
        calibrated = self.calibrate(best, path, split)
        # Score from pixels even if the epochs read cached features, so that --mode eval gives exactly the same numbers.
        clips = self.splits[split]
        loader = self.watch(evaluation_loader(self.config, clips, self.views, self.session))
        if is_sharing():
            loader = features.final_loader(loader, self.task.model, clips, self.views, self.config, self.session)
        self.log.write_text(RUN_HASH, f"{self.hash}\n")
        metrics = score_and_write(
            self.task, loader, clips, self.views, self.config, self.session, split, self.selected_on, calibrated
        )
        if self.config.results.test_views:
            metrics |= score_views(
                self.task, clips, self.views, metrics, self.config, self.session, calibrated, self.watch
            )
        if self.group.is_main:
            write_model_card(self.log, self.config.data.root_dir, method_named(self.config.model.model))
        return metrics

    def calibrate(self, best: dict[str, Any], path: Path, split: str) -> Calibration:
        """Return the calibration in ``best``, the content of ``path``; with ``--calibrate`` fit it first and store it.

        One temperature is fitted on the validation clips. A run that is resumed and ends again fits it again, so that
        it belongs to the weights of best.pt. ``split`` is the split that is scored afterwards.
        """
        if not self.config.results.calibrate:
            return stored_calibration(best, path)
        if self.config.optim.select_on == "val":  # its features may be cached
            loader = self.check_loader
        else:
            loader = evaluation_loader(self.config, self.splits["val"], self.views, self.session)
        _, label, logits, _ = predict(self.task, self.watch(loader), self.config, self.session, "calibration")
        temperature = fit_temperature(logits, label)
        if temperature is None:
            self.log.warn(
                f"--calibrate: no temperature fits the {len(label)} validation clips (all answers are correct, or all "
                f"logits are equal): probabilities stay as they are"
            )
            return stored_calibration({}, path)
        calibration = Calibration(temperature, "val", len(label))
        if self.group.is_main:
            save_checkpoint(best | {"calibration": calibration.as_dict()}, path)
        caveat = ""
        if split == "val":
            caveat = ", which are scored as well: their ECE is optimistic"
        elif self.config.optim.select_on == "val":
            caveat = ", which also selected the epoch: for a single number this matters little"
        self.log.say(f"temperature {temperature:.3f}, fitted on {len(label)} validation clips{caveat}")
        return calibration

    @property
    def selected_on(self) -> str:
        split = self.config.optim.select_on
        if split == "val" and self.val_holds_test:
            return "val, which holds test clips: optimistic"
        return "test: optimistic" if split == "test" else split

    def _report(self, bar: Any, score: RunningScore, epoch: int, step: int) -> None:
        """Show the scores so far. They are read only when they are shown, because reading waits for the GPU."""
        is_due = (step + 1) % self.config.run.print_freq == 0 if bar.disable else time.time() - self.report_time > 0.5
        if not is_due:
            return
        self.report_time, values = time.time(), score.values()
        so_far = f"loss {values['loss']:.4f}, UAR {values['uar']:.2f}"
        if bar.disable:
            self.log.say(f"epoch {epoch + 1} step {step + 1}/{len(self.loader)}: {so_far}")
        else:
            bar.set_postfix_str(so_far)

    def _say(self, values: dict[str, Any]) -> None:
        split = self.config.optim.select_on
        text = f"epoch {values['epoch']:>3}: train loss {values['train/loss']:.4f}, UAR {values['train/uar']:.2f}"
        if split != "last":
            star = ", best so far" if self.progress.best["epoch"] == values["epoch"] else ""
            scores = {"UAR": "uar", "WAR": "war"} | ({"macro F1": "macro_f1"} if self.best_by == "macro_f1" else {})
            text += f"; {split} " + ", ".join(f"{k} {values[f'{split}/{v}']:.2f}" for k, v in scores.items()) + star
        history = self.progress.history
        seconds = seconds_left([row["seconds"] for row in history], self.config.optim.epochs - len(history))
        test = "" if self.config.optim.epochs > len(history) else "then the test"
        self.log.say(f"{text}   ({values['seconds']:.0f} s, {test or f'epochs: {time_left(seconds)}'})")
        self.waiting.after_epoch(values["seconds"], values["seconds_waiting"])
