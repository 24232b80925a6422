"""Training: the run set up, the epochs, the step, and the best checkpoint scored at the end."""

import time
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from dataloader.classes import Classes, load_classes
from dataloader.clips import Views
from engine.data import Splits, evaluation_loader, make_views, read_splits, require_lists, training_loader
from engine.device import to_device
from engine.evaluate import predict, score_and_write
from engine.features import FeatureCache, cache_features
from engine.optim import build_optimizer, build_schedule, describe_groups, parameter_groups, set_trainable
from engine.options import Config
from engine.running import RunningScore, sum_finite
from engine.session import Session, open_session
from engine.tasks import ClipCaerTask
from models.build import build_clip_caer
from models.clip_backbone import load_clip
from models.clip_caer import ClipCaer
from models.clip_towers import Clip
from utils.checkpoint import FORMAT, halve_where_exact, load_checkpoint, save_checkpoint, to_full
from utils.errors import UserError
from utils.runlog import progress_bar


def train(config: Config) -> dict[str, Any]:
    """A whole run; returns its final metrics."""
    require_lists(config)
    classes = load_classes(config.data.dataset, config.data.class_texts)
    model, shape = build_model(config, classes)  # before any data: a wrong path costs no time
    with open_session(config) as session:
        task = ClipCaerTask(model.to(session.device), classes.names, config.loss)
        splits = read_splits(config, classes, session.log)
        trainer = Trainer(config, task, splits, classes, shape, session)
        trainer.run()
        return trainer.finish()


def build_model(config: Config, classes: Classes) -> tuple[ClipCaer, dict[str, int]]:
    """The model with its frozen parts frozen, and the sizes of its CLIP."""
    clip, texts = load_fitting_clip(config), classes.texts_of(config.model.text_type)
    model = build_clip_caer(
        clip,
        texts,
        classes.texts_of("descriptive") if needs_descriptive_texts(config) else texts,
        config.model,
        max_frames=config.data.num_segments * config.data.duration,
        seed=config.run.seed,
    )
    set_trainable(model, config.optim, config.model.tune_prompts)
    return model, clip.shape.as_dict()


def needs_descriptive_texts(config: Config) -> bool:
    in_classifier = config.model.slerp_weight > 0 and config.model.iec_text != "soft"
    return in_classifier or config.loss.mi_loss_weight > 0


def load_fitting_clip(config: Config) -> Clip:
    clip = load_clip(config.model.clip_path, config.run.seed)
    if clip.shape.image_size != config.data.image_size:
        raise UserError(
            f"--image-size {config.data.image_size} does not fit --clip-path {config.model.clip_path}, "
            f"which reads {clip.shape.image_size}; pass --image-size {clip.shape.image_size}"
        )
    return clip


class Trainer:
    """The state of one training: what the epochs share."""

    def __init__(
        self,
        config: Config,
        task: ClipCaerTask,
        splits: Splits,
        classes: Classes,
        shape: dict[str, int],
        session: Session,
    ) -> None:
        self.config, self.task, self.classes, self.shape = config, task, classes, shape
        self.session, self.device, self.amp, self.log = session, session.device, session.amp, session.log
        device, amp, log, pin = session.device, session.amp, session.log, session.pin_memory
        views = make_views(config, [*splits.train, *splits.val, *splits.test], log)
        caches = self._cache(splits, views)
        self.val_holds_test = bool({clip.key for clip in splits.val} & {clip.key for clip in splits.test})
        self.views, self.finals = views, {"val": splits.val, "test": splits.test}
        self.loader, self.order = training_loader(config, splits.train, views, len(classes), pin, caches.get("train"))
        watched = config.optim.select_on
        if watched != "last":
            self.check_loader = evaluation_loader(config, self.finals[watched], views, pin, caches.get(watched))
        labels = [clip.label for clip in splits.train]
        task.set_training_counts(np.bincount(labels, minlength=len(classes)), device)
        groups = parameter_groups(task.model, config.optim)
        log.say(f"training on {device}:\n{describe_groups(groups)}")
        self.optimizer = build_optimizer(groups, config.optim)
        self.schedule = build_schedule(self.optimizer, config.optim)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == torch.float16)
        self.best: dict[str, Any] = {"uar": -1.0, "epoch": 0}

    def _cache(self, splits: Splits, views: Views) -> dict[str, FeatureCache]:
        """With --cache-features: one cache for all that training may see; one for test only where it is looked at."""
        if not self.config.data.cache_features:
            return {}
        make = partial(cache_features, self.config, self.task.model.image_encoder, device=self.device, log=self.log)
        seen = make([*splits.train, *splits.val], views, self.config.data.cache_variants)
        watched = splits.test if self.config.optim.select_on == "test" else []
        return {"train": seen, "val": seen} | ({"test": make(watched, views, 1)} if watched else {})

    def run(self) -> None:
        """All epochs."""
        for epoch in range(self.config.optim.epochs):
            started = time.time()
            self.order.epoch = epoch
            values = self.train_epoch(epoch)
            watched = self.config.optim.select_on
            if watched != "last":
                values |= self.check(watched)
            values |= {"epoch": epoch + 1, "seconds": round(time.time() - started, 2), **self._rates()}
            self.schedule.step()
            self.log.epoch(values)
            self._keep(epoch, values)
            self._say(values)

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """One pass over the training clips."""
        self.task.model.train()
        torch.manual_seed(self.config.run.seed * 1_000_003 + epoch)  # dropout: the same whatever ran before
        seen = RunningScore(self.classes.names)
        bar = progress_bar(self.loader, len(self.loader), f"epoch {epoch + 1}/{self.config.optim.epochs}")
        window = self.config.optim.accumulate
        for step, batch in enumerate(bar):
            batch = to_device(batch, self.device, self.config.data.normalize)
            with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
                out = self.task.forward(batch)  # the one forward of this step
            losses = self.task.losses(out, batch, epoch)  # named and weighted, in full precision
            total = sum_finite(losses, epoch, step, batch["id"])
            steps_together = min(window, len(self.loader) - step // window * window)
            self.scaler.scale(total / steps_together).backward()
            if (step + 1) % window == 0 or step + 1 == len(self.loader):
                self.update()
            seen.add(losses, self.task.predictions(out), batch)
            self._report(bar, seen, epoch, step)
        return {f"train/{name}": value for name, value in seen.values().items()}

    def update(self) -> None:
        """One optimiser step; gradients are clipped unscaled."""
        if self.config.optim.grad_clip > 0:
            self.scaler.unscale_(self.optimizer)
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.config.optim.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def check(self, name: str) -> dict[str, Any]:
        """UAR and the others on a split during training."""
        _, label, logits, _ = predict(self.task, self.check_loader, self.config, self.session, name)
        metrics = self.task.score(logits, label)
        return {f"{name}/{key}": metrics[key] for key in ("uar", "war", "macro_f1")}

    def finish(self) -> dict[str, Any]:
        """The best checkpoint on the test list, or on validation where there is none; pictures."""
        from engine.plots import draw_curves, save

        save(draw_curves(self.log.history()), self.log.folder / "curves.png")
        best = load_checkpoint(self.log.folder / "best.pt", ("model", "epoch"))
        self.task.model.load_state_dict(to_full(best["model"]))
        self.log.say(f"best epoch: {best['epoch']} of {self.config.optim.epochs}, selected on {self.selected_on}")
        split = next((name for name in ("test", "val") if self.finals[name]), None)
        if split is None:
            self.log.warn("no test list and no validation list: nothing is scored")
            return {}
        if split == "val":
            chosen = ", which chose the epoch: optimistic" if self.config.optim.select_on == "val" else ""
            self.log.warn(f"no --test-annotation: scored on the validation clips{chosen}")
        # from pixels, also where the epochs read cached features: --mode eval gives the same numbers to the last digit
        loader = evaluation_loader(self.config, self.finals[split], self.views, self.session.pin_memory)
        return score_and_write(self.task, loader, self.config, self.session, self.selected_on, split)

    @property
    def selected_on(self) -> str:
        watched = self.config.optim.select_on
        if watched == "val" and self.val_holds_test:
            return "val, which holds test clips: optimistic"
        return "test: optimistic" if watched == "test" else watched

    def _keep(self, epoch: int, values: dict[str, Any]) -> None:
        """last.pt after every epoch, best.pt after a better one."""
        watched = self.config.optim.select_on
        better = watched == "last" or values[f"{watched}/uar"] > self.best["uar"]
        if better:
            self.best = {"uar": values.get(f"{watched}/uar", -1.0), "epoch": epoch + 1}
        content = {
            "format": FORMAT,
            "family": "clip-caer",
            "config": asdict(self.config),
            "classes": list(self.classes.names),
            "label_base": self.classes.label_base,
            "clip_shape": self.shape,
            "model": halve_where_exact(self.task.model.state_dict()),
            "epoch": epoch + 1,
            "best": self.best,
            "selected_on": self.selected_on,
        }
        if better:
            save_checkpoint(content, self.log.folder / "best.pt")
        state = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        save_checkpoint(content | state, self.log.folder / "last.pt")

    def _rates(self) -> dict[str, float]:
        return {f"lr/{group['name']}": group["lr"] for group in self.optimizer.param_groups}

    def _report(self, bar: Any, seen: RunningScore, epoch: int, step: int) -> None:
        if bar.disable and (step + 1) % self.config.run.print_freq != 0:
            return
        values = seen.values()
        so_far = f"loss {values['loss']:.4f}, UAR {values['uar']:.2f}"
        if bar.disable:
            self.log.say(f"epoch {epoch + 1} step {step + 1}/{len(self.loader)}: {so_far}")
        else:
            bar.set_postfix_str(so_far)

    def _say(self, values: dict[str, Any]) -> None:
        watched = self.config.optim.select_on
        shown = f"epoch {values['epoch']:>3}: train loss {values['train/loss']:.4f}, UAR {values['train/uar']:.2f}"
        if watched != "last":
            star = " *" if self.best["epoch"] == values["epoch"] else ""
            shown += f"; {watched} UAR {values[f'{watched}/uar']:.2f}, WAR {values[f'{watched}/war']:.2f}{star}"
        self.log.say(f"{shown}   ({values['seconds']:.0f} s)")
        if values["train/replaced_frames"]:
            self.log.warn(f"{values['train/replaced_frames']} unreadable frames were replaced in this epoch")
