"""The checkpoints of a run: ``best.pt``, the model of its best epoch, and ``last.pt``, from which a run is resumed.

``last.pt`` leaves out the towers of CLIP that do not learn, and so does the ``best.pt`` of a run with LoRA: they are in
the file of --clip-path, and a hash tells whether it is the same file. Every other ``best.pt`` needs nothing but itself.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from torch import nn

from dataloader.annotation import Clip, set_note
from dataloader.classes import Classes
from dataloader.clips import Views
from dataloader.frames import hash_files
from engine.optim import (
    StoredLearning,
    count_updates,
    restore_average,
    restore_optimizer,
    restore_scaler,
    restore_schedule,
)
from engine.options import Config
from engine.run_hash import hash_checkpoint
from engine.session import Session
from engine.shared import cached_result
from models.lora import is_lora
from utils.checkpoint import FORMAT, halve_where_exact, hash_tensors, previous_of, save_checkpoint, to_full
from utils.errors import UserError, about
from utils.json_files import AnyNumber, Range

LAST = "last.pt"
Count = Annotated[int, Range(0, 10**9)]
TOWERS = ("image_encoder", "text_encoder", "token_embedding")  # parts of CLIP, which its own file holds


@dataclass
class Progress:
    """The progress of a run: ``epoch`` complete epochs, and ``step`` batches of the next one.

    Checkpoints store it under these names.
    """

    epoch: int = 0
    step: int = 0
    seen: dict[str, Any] | None = None  # scores of those batches
    random: dict[str, torch.Tensor] | None = None  # the random state after them
    best: dict[str, Any] = field(default_factory=lambda: {"uar": -1.0, "epoch": 0})
    history: list[dict[str, Any]] = field(default_factory=list)

    def goes_on(self, epochs: int, patience: int) -> bool:
        """Return whether another epoch should run; with ``patience`` 0 training never stops early.

        If there is no best epoch, since its checkpoint is lost, the next epoch becomes the best one.
        """
        without_better = self.epoch - self.best["epoch"] if self.best["epoch"] else 0
        return self.epoch < epochs and not 0 < patience <= without_better


class StoredScore(TypedDict):
    """Scores of the batches of an interrupted epoch, see ``RunningScore.state``."""

    clips: Count
    replaced: Count
    sums: dict[str, float]
    confusion: list[list[Count]]


class HistoryRow(TypedDict):
    epoch: Count


class StoredProgress(TypedDict):
    """``Progress`` in a file. Inside an epoch it needs scores and a random state, whose tensors torch checks."""

    epoch: Count
    step: Count
    seen: StoredScore | None
    random: Any
    best: dict[str, AnyNumber]
    history: list[dict[str, AnyNumber | None]]


class Resumable(TypedDict):
    """What last.pt holds besides the content of every checkpoint."""

    progress: StoredProgress
    learning: StoredLearning
    left_out: dict[str, str]
    train_list: str
    best: dict[str, AnyNumber]
    clip_shape: dict[str, Any]


@dataclass
class ResumePoint:
    """A checkpoint from which a run is resumed."""

    path: Path
    content: dict[str, Any]
    state: "FolderState"  # of the run folder, before the checkpoint was read

    @property
    def folder(self) -> Path:
        return self.path.parent


@dataclass
class Start:
    """What a training starts with.

    ``folder``: the run folder to continue in, None if a new one is made; ``messages``: for the user; ``state``: that
    of the folder when it was selected.
    """

    config: Config
    resume_point: ResumePoint | None = None
    folder: Path | None = None
    messages: Sequence[str] = ()
    state: "FolderState" = ()

    def is_current(self) -> bool:
        """Return whether the folder is unchanged since it was selected; another process may have used it meanwhile."""
        return self.folder is None or folder_state(self.folder) == self.state


FolderState = tuple[tuple[str, int, int, int], ...]


def folder_state(folder: Path) -> FolderState:
    """Return name, inode, time and size of the files in a run folder that hold its progress."""
    names = (LAST, previous_of(Path(LAST)).name, "metrics.json")
    stats = [(name, (folder / name).stat()) for name in names if (folder / name).exists()]
    return tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def checkpoint_facts(
    config: Config, classes: Sequence[str], label_base: int, selected_on: str, shape: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of every checkpoint except its tensors and its epoch."""
    return {
        "format": FORMAT,
        "family": config.model.model,
        "config": asdict(config),
        "classes": list(classes),
        "label_base": label_base,
        "clip_shape": shape,
        "selected_on": selected_on,
    }


def dataset_facts(root: str | None, face_width: float | None) -> dict[str, Any]:
    """Return what is known about the training data set, for a checkpoint."""
    facts = {"trained_on": set_note(root) or None, "face_width": face_width}
    return {name: value for name, value in facts.items() if value is not None}


class RunCheckpoints:
    """Writes and reads the state of one training."""

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        learning: dict[str, Any],
        classes: Classes,
        shape: dict[str, int],
        data: str,
        selected_on: str,
        session: Session,
        face_width: float | None = None,
        frames: str | None = None,
    ) -> None:
        """Prepare to save and restore.

        ``learning``: objects with a state besides the model (optimizer, schedule, scaler, average). ``data``: a hash of
        what the epochs depend on. ``face_width``: median width of the face boxes in pixels. ``frames``:
        ``hash_frames`` of the clips, or a hash of what a run reads in place of frames.
        """
        self.model, self.learning, self.folder, self.log = model, learning, session.log.folder, session.log
        self.writes = session.group.is_main
        learning = {name for name, p in model.named_parameters() if p.requires_grad}
        self.frozen = {
            tower: hash_tensors(tensors)
            for tower, tensors in ((tower, tower_tensors(model, tower)) for tower in TOWERS)
            if tensors and not any(f"{tower}.{name}" in learning for name in tensors)
        }
        if config.model.init_from:  # its towers may differ from those in the file of --clip-path
            self.frozen = {}
        self.init_hash = hash_checkpoint(config.model.init_from)
        self.has_lora = any(map(is_lora, learning))
        self.order, self.frames, self.window = data, frames, config.optim.accumulate
        self.about = checkpoint_facts(config, classes.names, classes.label_base, selected_on, shape)
        self.about |= dataset_facts(config.data.root_dir, face_width)

    def save_best(self, progress: Progress) -> None:
        self._require_finite()
        if not self.writes:
            return
        state = self._without_frozen() if self.has_lora else self.model.state_dict()
        left_out = {"left_out": self.frozen} if self.has_lora else {}
        save_checkpoint(self._content(halve_where_exact(state), progress) | left_out, self.folder / "best.pt")

    def save_last(self, progress: Progress) -> None:
        """Write last.pt without the frozen towers."""
        self._require_finite()
        if not self.writes:
            return
        state = self._without_frozen()
        resumable = {
            "left_out": self.frozen,
            "progress": asdict(progress),
            # without the milestones of a schedule: they are a Counter, and the config holds them
            "learning": {
                name: {key: value for key, value in part.state_dict().items() if key != "milestones"}
                for name, part in self.learning.items()
            },
            "train_list": self.order,
            "frames": self.frames,
            "init_from": self.init_hash,
            "warnings": self.log.facts["warnings"],
        }
        save_checkpoint(self._content(state, progress) | resumable, self.folder / LAST, keep_previous=True)

    def restore(self, point: ResumePoint, best: dict[str, Any], steps: int) -> Progress:
        """Restore everything as it was when ``point`` was saved; return the progress.

        Everything in the file is checked against this run before it is used. ``best``: its value at the start of a run;
        ``steps``: number of batches in an epoch.
        """
        content, source = point.content, point.path
        self.init_hash = content.get("init_from", self.init_hash)  # the file may be gone by now
        if content["train_list"] != self.order:
            raise UserError(
                f"{source}: the lists or boxes are not those of its training; use them again or start a new run"
            )
        before = content.get("frames")  # checkpoints of older versions lack it
        if None not in (before, self.frames) and before != self.frames:
            raise UserError(
                f"{source}: the content of frame or feature files has changed since it was trained; restore them or "
                f"start a new run"
            )
        if content["left_out"] != self.frozen:
            raise UserError(f"{source}: --clip-path holds other weights than at the start of the run")
        progress, learning = content["progress"], content["learning"]
        with about(source):
            self._require_fitting_progress(progress, best, steps)
            if progress["random"] is not None:
                require_random_state(progress["random"], next(self.model.parameters()).device)
            load_weights(self.model, content["model"], may_lack=self.frozen)
            restore_optimizer(self.learning["optimizer"], learning["optimizer"])
            in_epoch, so_far = (count_updates(number, self.window) for number in (steps, progress["step"]))
            updates = progress["epoch"] * in_epoch + so_far
            restore_schedule(self.learning["schedule"], learning["schedule"], progress["epoch"], updates)
            restore_scaler(self.learning["scaler"], learning["scaler"])
            if "average" in self.learning:
                restore_average(self.learning["average"], learning.get("average"), updates)
        self.log.restore_warnings(content.get("warnings", []))  # checkpoints of older versions lack them
        return Progress(**{name: progress[name] for name in Progress.__annotations__})

    def _require_fitting_progress(self, progress: "StoredProgress", best: dict[str, Any], steps: int) -> None:
        """Check a stored progress against this run: its initial ``best``, and ``steps``, the batches of an epoch."""
        if progress["best"].keys() != best.keys() or not 0 <= progress["best"]["epoch"] <= progress["epoch"]:
            raise UserError(f"damaged: its best epoch has no valid {' and '.join(best)}")
        if [row["epoch"] for row in progress["history"]] != list(range(1, progress["epoch"] + 1)):
            raise UserError(f"damaged: its history does not hold {progress['epoch']} epochs")
        if progress["step"] > steps:
            raise UserError(f"damaged: it is at step {progress['step']} of an epoch of {steps}")
        if (score := progress["seen"]) is None:
            return
        confusion, size = score["confusion"], len(self.about["classes"])
        is_square = len(confusion) in (0, size) and all(len(row) == len(confusion) for row in confusion)
        if not is_square or sum(map(sum, confusion)) > score["clips"] or bool(score["clips"]) != bool(progress["step"]):
            raise UserError(f"damaged: its scores do not fit {progress['step']} steps")

    def _without_frozen(self) -> dict[str, torch.Tensor]:
        state = self.model.state_dict()
        return {key: value for key, value in state.items() if is_lora(key) or key.split(".")[0] not in self.frozen}

    def _content(self, state: dict[str, torch.Tensor], progress: Progress) -> dict[str, Any]:
        return self.about | {"model": state, "epoch": progress.epoch, "best": progress.best}

    def _require_finite(self) -> None:
        learning = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        infinite = [name for name, p in learning.items() if not torch.isfinite(p).all()]
        if infinite:
            raise UserError(
                f"{infinite[0]} and {len(infinite) - 1} more tensors are not finite; the previous checkpoint "
                f"stays in {self.folder}; lower --lr or set --grad-clip 1"
            )


def load_weights(model: nn.Module, state: dict[str, torch.Tensor], may_lack: Collection[str] = ()) -> None:
    """Load the tensors of a checkpoint into the model; towers in ``may_lack`` may be missing, but not their LoRA."""
    try:
        keys = model.load_state_dict(to_full(state), strict=False)
    except RuntimeError as error:
        raise UserError(f"does not fit this run ({' '.join(str(error).split())[:120]})") from None
    missing = [key for key in keys.missing_keys if is_lora(key) or key.split(".")[0] not in may_lack]
    if missing or keys.unexpected_keys:
        listed = ", ".join([*missing[:2], *keys.unexpected_keys[:2]])[:120]
        raise UserError(f"does not fit this run: its tensors are not those of the model ({listed})")
    infinite = [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if infinite:
        raise UserError(f"its tensor {infinite[0]} holds values that are not finite")


def require_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Check that torch accepts a stored random state, which is otherwise used only when the epoch starts."""
    try:
        torch.Generator().set_state(state["cpu"])
        if device.type == "cuda" and "cuda" in state:
            torch.Generator(device).set_state(state["cuda"])
    except (RuntimeError, TypeError, KeyError):
        raise UserError("damaged: its random state cannot be used") from None


def tower_tensors(model: nn.Module, part: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a tower of CLIP without LoRA, under the names that they have inside it."""
    state = {name: value for name, value in model.state_dict().items() if not is_lora(name)}
    return {name.removeprefix(f"{part}."): value for name, value in state.items() if name.split(".")[0] == part}


def hash_data(clips: list[Clip], views: Views) -> str:
    """Return a hash of what the epochs depend on: clips, their order, labels, boxes and captions."""
    digest = hashlib.sha256()
    for clip in clips:
        boxes = views.face_boxes.get(clip.key), views.body_boxes.get(clip.key)
        extra = [] if clip.caption is None else [clip.caption]
        digest.update(json.dumps([clip.key, clip.label, len(clip.frames), boxes, *extra]).encode())
    return digest.hexdigest()


def hash_frames(clips: list[Clip], views: Views) -> str | None:
    """Return a hash of samples of the clips' frame files; None if a pack replaces them, which has its own hash."""
    if views.pack:
        return None
    frames = tuple((clip.folder, clip.frames) for clip in clips)
    return cached_result("frame contents", frames, lambda: hash_files([path for clip in clips for path in clip.paths]))
